//! Points in time and durations of expressions, as CEL has them.
use std::any::Any;
use std::cmp::Ordering;

use ::cel::ExecutionError;
use ::cel::common::traits::Adder;
use ::cel::common::traits::Comparer;
use ::cel::common::traits::Subtractor;
use ::cel::common::types::CelString;
use ::cel::common::types::DURATION_TYPE;
use ::cel::common::types::TIMESTAMP_TYPE;
use ::cel::common::types::Type;
use ::cel::common::value::CowVal;
use ::cel::common::value::StaticVal;
use ::cel::common::value::Val;
use jiff::SignedDuration;
use jiff::Timestamp;

static TIME: Type = TIMESTAMP_TYPE;
static SPAN: Type = DURATION_TYPE;

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(Timestamp);

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, Debug)]
struct Span(SignedDuration);

impl Time {
    pub(super) const fn new(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

macro_rules! value {
    ($name:ident $kind:ident) => {
        impl Val for $name {
            fn get_type(&self) -> &Type {
                &$kind
            }

            fn cel_type() -> &'static Type {
                &$kind
            }

            fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
            where
                Self: 'v,
            {
                Some(self)
            }

            fn as_comparer(&self) -> Option<&dyn Comparer> {
                Some(self)
            }

            fn as_subtractor<'b, 'v>(&'b self) -> Option<&'b (dyn Subtractor + 'v)>
            where
                Self: 'v,
            {
                Some(self)
            }

            fn equals(&self, other: &dyn Val) -> bool {
                other.downcast_ref::<Self>().is_some_and(|other| self.0 == other.0)
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
            where
                Self: 'v,
            {
                Box::new(*self)
            }

            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }
        }

        impl StaticVal for $name {}

        impl Comparer for $name {
            fn compare(&self, other: &dyn Val) -> Result<Ordering, ExecutionError> {
                match other.downcast_ref::<Self>() {
                    Some(other) => Ok(self.0.cmp(&other.0)),
                    None => Err(mismatch("<", self, other)),
                }
            }
        }
    };
}

value!(Time TIME);
value!(Span SPAN);

impl Adder for Time {
    fn add<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(Span(span)) = other.downcast_ref::<Span>() else {
            return Err(mismatch("+", self, other));
        };
        self.0.checked_add(*span).map(|sum| CowVal::owned(Self(sum))).map_err(overflow)
    }
}

impl Subtractor for Time {
    fn sub<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        if let Some(Span(span)) = other.downcast_ref::<Span>() {
            return self
                .0
                .checked_sub(*span)
                .map(|rest| CowVal::owned(Self(rest)))
                .map_err(overflow);
        }
        match other.downcast_ref::<Self>() {
            Some(other) => Ok(CowVal::owned(Span(self.0.duration_since(other.0)))),
            None => Err(mismatch("-", self, other)),
        }
    }
}

impl Adder for Span {
    fn add<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        if let Some(Time(time)) = other.downcast_ref::<Time>() {
            return time.checked_add(self.0).map(|sum| CowVal::owned(Time(sum))).map_err(overflow);
        }
        let Some(Self(span)) = other.downcast_ref::<Self>() else {
            return Err(mismatch("+", self, other));
        };
        let sum = self.0.checked_add(*span).ok_or_else(|| overflow("a duration"))?;
        Ok(CowVal::owned(Self(sum)))
    }
}

impl Subtractor for Span {
    fn sub<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(Self(span)) = other.downcast_ref::<Self>() else {
            return Err(mismatch("-", self, other));
        };
        let rest = self.0.checked_sub(*span).ok_or_else(|| overflow("a duration"))?;
        Ok(CowVal::owned(Self(rest)))
    }
}

/// `timestamp(text)`: RFC 3339.
pub(super) fn timestamp<'b, 'v>(
    args: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = text(&args, "timestamp")?;
    let time = text.parse().map_err(|_| bad("timestamp", text, "2026-01-31T12:00:00Z"))?;
    Ok(CowVal::owned(Time(time)))
}

/// `duration(text)`: hours, minutes, seconds and parts of them, for example `1h30m`.
pub(super) fn duration<'b, 'v>(
    args: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = text(&args, "duration")?;
    let span = text.parse().map_err(|_| bad("duration", text, "24h"))?;
    Ok(CowVal::owned(Span(span)))
}

fn text<'a>(args: &'a [CowVal<'_, '_>], function: &str) -> Result<&'a str, ExecutionError> {
    let text = args.first().and_then(|arg| arg.downcast_ref::<CelString<'_>>());
    text.map(CelString::inner)
        .ok_or_else(|| ExecutionError::function_error(function, "it is asked of what is no string"))
}

fn bad(function: &str, text: &str, example: &str) -> ExecutionError {
    let text: String = text.chars().take(40).collect();
    ExecutionError::function_error(function, format!("`{text}` is none, wanted as in `{example}`"))
}

fn mismatch(operator: &str, left: &dyn Val, right: &dyn Val) -> ExecutionError {
    let name = |value: &dyn Val| value.get_type().name().to_owned();
    ExecutionError::no_such_overload(operator, vec![name(left), name(right)])
}

fn overflow(error: impl std::fmt::Display) -> ExecutionError {
    ExecutionError::function_error("time", format!("out of range: {error}"))
}
