//! Functions of Rego that are ours: bounded, or of the time that is handed in.
//!
//! A function of this name goes before the interpreter's own.
use anyhow::bail;
use jiff::SignedDuration;
use jiff::Timestamp;
use regorus::Engine;
use regorus::Value;

/// Longest text that a function may make, in bytes: enough for any message, and the end of every
/// doubling.
pub(super) const MAX_TEXT_BYTES: usize = 64 << 10;

/// Functions that are refused by name: they reach out of the module, or make much of little.
const REFUSED: [&str; 14] = [
    "array.concat",
    "bits.lsh",
    "http.send",
    "json.marshal",
    "json.marshal_with_options",
    "net.lookup_ip_addr",
    "numbers.range",
    "numbers.range_step",
    "object.union_n",
    "opa.runtime",
    "rand.intn",
    "regex.replace",
    "strings.replace_n",
    "strings.repeat",
];

/// Refuses a module that calls one of the refused functions.
pub(super) fn refuse(text: &str) -> Result<(), (String, String)> {
    let calls = |name: &&&str| {
        text.match_indices(**name).any(|(at, _)| {
            let rest = text.get(at + name.len()..).unwrap_or_default();
            rest.trim_start().starts_with('(')
        })
    };
    match REFUSED.iter().find(calls) {
        None => Ok(()),
        Some(name) => {
            let problem = format!("the function `{name}` is not available");
            Err((problem, "a rule over `input` alone".to_owned()))
        }
    }
}

/// Adds the functions to an engine.
pub(super) fn add(engine: &mut Engine, now: Timestamp) -> anyhow::Result<()> {
    for name in REFUSED {
        // Also where the name is hidden from the text; with any number of arguments it fails.
        let refuse = move |_: Vec<Value>| bail!("the function {name} is not available");
        engine.add_extension(name.to_owned(), 1, Box::new(refuse))?;
    }
    engine.add_extension("concat".to_owned(), 2, Box::new(|args| concat(&args)))?;
    engine.add_extension("replace".to_owned(), 3, Box::new(|args| replace(&args)))?;
    engine.add_extension("sprintf".to_owned(), 2, Box::new(|args| sprintf(&args)))?;
    let now = nanoseconds(now)?;
    engine.add_extension("time.now_ns".to_owned(), 0, Box::new(move |_| Ok(now.clone())))?;
    let parse_time = |args: Vec<Value>| nanoseconds(text(&args, 0)?.parse::<Timestamp>()?);
    engine.add_extension("time.parse_rfc3339_ns".to_owned(), 1, Box::new(parse_time))?;
    let parse_duration = |args: Vec<Value>| {
        let duration = text(&args, 0)?.parse::<SignedDuration>()?;
        Ok(Value::from(i64::try_from(duration.as_nanos())?))
    };
    engine.add_extension("time.parse_duration_ns".to_owned(), 1, Box::new(parse_duration))
}

fn nanoseconds(time: Timestamp) -> anyhow::Result<Value> {
    Ok(Value::from(i64::try_from(time.as_nanosecond())?))
}

fn argument(args: &[Value], index: usize) -> anyhow::Result<&Value> {
    args.get(index).ok_or_else(|| anyhow::anyhow!("an argument is missing"))
}

fn text(args: &[Value], index: usize) -> anyhow::Result<&str> {
    Ok(argument(args, index)?.as_string()?.as_ref())
}

/// Appends, up to the bound.
fn push(out: &mut String, text: &str) -> anyhow::Result<()> {
    if out.len().saturating_add(text.len()) > MAX_TEXT_BYTES {
        bail!("a text of more than {MAX_TEXT_BYTES} bytes");
    }
    out.push_str(text);
    Ok(())
}

/// `concat(delimiter, list or set)`.
fn concat(args: &[Value]) -> anyhow::Result<Value> {
    let delimiter = text(args, 0)?;
    let parts: Vec<&Value> = match argument(args, 1)? {
        Value::Array(list) => list.iter().collect(),
        Value::Set(set) => set.iter().collect(),
        Value::Bool(_)
        | Value::Null
        | Value::Number(_)
        | Value::Object(_)
        | Value::String(_)
        | Value::Undefined => bail!("concat takes a list or a set"),
    };
    let mut out = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            push(&mut out, delimiter)?;
        }
        push(&mut out, part.as_string()?)?;
    }
    Ok(Value::from(out))
}

/// `replace(text, old, new)`.
fn replace(args: &[Value]) -> anyhow::Result<Value> {
    let (whole, old, new) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    if old.is_empty() {
        bail!("replace of nothing");
    }
    let mut out = String::new();
    for (index, part) in whole.split(old).enumerate() {
        if index > 0 {
            push(&mut out, new)?;
        }
        push(&mut out, part)?;
    }
    Ok(Value::from(out))
}

/// `sprintf(format, list)` with `%s`, `%v`, `%d`, `%q` and `%%`.
fn sprintf(args: &[Value]) -> anyhow::Result<Value> {
    let format = text(args, 0)?;
    let mut values = argument(args, 1)?.as_array()?.iter();
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            push(&mut out, c.encode_utf8(&mut [0; 4]))?;
            continue;
        }
        match chars.next() {
            Some('%') => push(&mut out, "%")?,
            Some('s' | 'v' | 'd' | 'q') => {
                let Some(value) = values.next() else { bail!("sprintf has too few values") };
                print(&mut out, value)?;
            }
            _ => bail!("sprintf knows %s, %v, %d, %q and %% alone"),
        }
    }
    Ok(Value::from(out))
}

/// Texts as they are, the rest as JSON; every part counts toward the bound, so that a value whose
/// parts share their memory ends too.
fn print(out: &mut String, value: &Value) -> anyhow::Result<()> {
    let list = |out: &mut String, items: &mut dyn Iterator<Item = &Value>| {
        push(out, "[")?;
        for (index, item) in items.enumerate() {
            if index > 0 {
                push(out, ", ")?;
            }
            print(out, item)?;
        }
        push(out, "]")
    };
    match value {
        Value::String(text) => push(out, text),
        Value::Array(items) => list(out, &mut items.iter()),
        Value::Set(items) => list(out, &mut items.iter()),
        Value::Object(entries) => {
            push(out, "{")?;
            for (key, value) in entries.iter() {
                print(out, key)?;
                push(out, ": ")?;
                print(out, value)?;
                push(out, ", ")?;
            }
            push(out, "}")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Undefined => {
            push(out, &value.to_string())
        }
    }
}
