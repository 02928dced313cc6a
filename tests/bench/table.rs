//! The figures, as a table for people and as JSON.
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::machine::Machine;

/// Something measured.
#[derive(Clone, Copy, Debug)]
pub enum Quantity {
    /// Bytes.
    Bytes(u64),
    /// How often, or how many.
    Count(f64),
    /// A part of the whole, from 0 to 1.
    Share(f64),
    /// A time.
    Time(Duration),
}

impl Quantity {
    /// In the unit that JSON has it in.
    fn number(self) -> f64 {
        match self {
            Self::Bytes(bytes) => bytes as f64,
            Self::Count(number) | Self::Share(number) => number,
            Self::Time(time) => time.as_secs_f64() * 1e6,
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Bytes(_) => "bytes",
            Self::Count(_) => "count",
            Self::Share(_) => "share",
            Self::Time(_) => "microseconds",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::Bytes(bytes) if bytes >= 1 << 20 => {
                format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
            }
            Self::Bytes(bytes) => format!("{bytes} B"),
            Self::Count(number) if number.fract() == 0.0 => format!("{number:.0}"),
            Self::Count(number) => format!("{number:.2}"),
            Self::Share(share) => format!("{:.1} %", share * 100.0),
            Self::Time(time) if time >= Duration::from_secs(1) => {
                format!("{:.1} s", time.as_secs_f64())
            }
            Self::Time(time) if time >= Duration::from_millis(1) => {
                format!("{:.2} ms", time.as_secs_f64() * 1e3)
            }
            Self::Time(time) => format!("{:.1} us", time.as_secs_f64() * 1e6),
        };
        f.pad(&text)
    }
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// No less than this.
    AtLeast(Quantity),
    /// No more than this.
    AtMost(Quantity),
    /// No more than so many times what it is compared with.
    Ratio(f64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::AtLeast(quantity) => format!(">= {quantity}"),
            Self::AtMost(quantity) => format!("<= {quantity}"),
            Self::Ratio(ratio) => format!("x <= {ratio}"),
        };
        f.pad(&text)
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    part: char,
    name: String,
    measured: Quantity,
    against: Option<(&'static str, Quantity)>,
    target: Option<Target>,
}

impl Figure {
    /// What part measured under this name.
    pub fn new(part: char, name: impl Into<String>, measured: Quantity) -> Self {
        Self { part, name: name.into(), measured, against: None, target: None }
    }

    /// What it is compared with.
    #[must_use]
    pub fn against(self, what: &'static str, quantity: Quantity) -> Self {
        Self { against: Some((what, quantity)), ..self }
    }

    /// What it should be.
    #[must_use]
    pub fn target(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        let (_, against) = self.against?;
        (against.number() > 0.0).then(|| self.measured.number() / against.number())
    }

    /// Whether the target is met. Where there is nothing to compare with, it is not.
    fn met(&self) -> Option<bool> {
        let measured = self.measured.number();
        Some(match self.target? {
            Target::AtLeast(least) => measured >= least.number(),
            Target::AtMost(most) => measured <= most.number(),
            Target::Ratio(most) => self.ratio().is_some_and(|ratio| ratio <= most),
        })
    }

    fn json(&self) -> Value {
        let against = self.against.map(|(what, quantity)| {
            json!({ "what": what, "value": rounded(quantity.number()), "unit": quantity.unit() })
        });
        json!({
            "part": self.part,
            "name": self.name,
            "measured": rounded(self.measured.number()),
            "unit": self.measured.unit(),
            "comparedWith": against,
            "ratio": self.ratio().map(rounded),
            "target": self.target.map(|target| target.to_string()),
            "met": self.met(),
        })
    }
}

/// A thousandth is as much as any figure is good for.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// The figures in their order.
#[derive(Debug, Default)]
pub struct Table(Vec<Figure>);

impl Table {
    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    /// All of it, with the machine that it was measured on.
    pub fn json(&self, machine: &Machine, took: Duration) -> Value {
        let figures: Vec<_> = self.0.iter().map(Figure::json).collect();
        json!({ "machine": machine.json(), "seconds": took.as_secs(), "figures": figures })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["", "figure", "measured", "compared with", "ratio", "target", ""];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.0.iter().map(row));
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        for row in &rows {
            let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                // Numbers stand on the right.
                if matches!(column, 2 | 4) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:width$}")
                }
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn row(figure: &Figure) -> [String; 7] {
    let met = match figure.met() {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let against = figure.against.map(|(what, quantity)| format!("{quantity}, {what}"));
    [
        figure.part.to_string(),
        figure.name.clone(),
        figure.measured.to_string(),
        against.unwrap_or_default(),
        figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        figure.target.map(|target| target.to_string()).unwrap_or_default(),
        met.to_owned(),
    ]
}
