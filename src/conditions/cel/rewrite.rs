//! The tree of an expression, checked and made to count its own cost.
//!
//! - Only the functions and variables that are known may be named.
//! - `range.all(x, …)` becomes `@range(range, @meter, weight).all(x, …)`, so that a loop is paid
//!   for before it begins.
//! - Operands of every function, operator and literal collection become `@pay(operand, @meter)`,
//!   so that copying, joining and comparing large values is paid for before it is done.
//! - `text.matches('pattern')` becomes `@matches(text, @meter, @patterns, index)` with the pattern
//!   compiled within bounds.
//!
//! Everything else that the interpreter does costs a constant for each node, and the number of
//! nodes is bounded by the length of the text.
use ::cel::IdedExpr;
use ::cel::common::ast::CallExpr;
use ::cel::common::ast::ComprehensionExpr;
use ::cel::common::ast::EntryExpr;
use ::cel::common::ast::Expr;
use ::cel::common::ast::IdedEntryExpr;
use ::cel::common::ast::ListExpr;
use ::cel::common::ast::LiteralValue;
use ::cel::common::ast::MapEntryExpr;
use ::cel::common::ast::MapExpr;
use ::cel::common::ast::SelectExpr;
use ::cel::common::ast::operators;
use ::cel::common::types::CelInt;
use regex::Regex;
use regex::RegexBuilder;

use crate::policy::pattern::MAX_PATTERN_BYTES;
use crate::policy::pattern::MAX_REGEX_BYTES;
use crate::policy::suggest;

/// Names of our own functions and variables: `@` begins no name that can be written.
pub(super) const MATCHES: &str = "@matches";
pub(super) const METER: &str = "@meter";
pub(super) const PATTERNS: &str = "@patterns";
pub(super) const PAY: &str = "@pay";
pub(super) const RANGE: &str = "@range";

/// Deepest nesting of an expression's tree: the interpreter recurses as deep, on the stack of
/// whoever asks. `a + b + c` nests one level for each operator.
pub const MAX_DEPTH: usize = 64;

/// Operators that decide what is evaluated; they look at nothing but truth values.
const CONTROL: [&str; 5] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_NOT,
    operators::LOGICAL_OR,
    operators::NOT_STRICTLY_FALSE,
];

/// Operators that look at values.
const OPERATORS: [&str; 14] = [
    operators::ADD,
    operators::DIVIDE,
    operators::EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
    operators::IN,
    operators::INDEX,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::MODULO,
    operators::MULTIPLY,
    operators::NEGATE,
    operators::NOT_EQUALS,
    operators::SUBSTRACT,
];

/// Functions that may be called, besides `matches`.
const FUNCTIONS: [&str; 12] = [
    "bytes",
    "contains",
    "double",
    "duration",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// Macros, which the parser has replaced where they were called as they must be.
const MACROS: [&str; 6] = ["all", "exists", "exists_one", "filter", "has", "map"];

/// Names of types, to compare with `type(x)`.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// An expression that may be evaluated.
pub(super) struct Rewritten {
    pub(super) expression: IdedExpr,
    pub(super) patterns: Vec<Regex>,
    pub(super) used: Vec<&'static str>,
}

/// What is wrong with an expression.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) problem: String,
    pub(super) wanted: String,
}

impl Problem {
    fn new(problem: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { problem: problem.into(), wanted: wanted.into() }
    }
}

/// Checks an expression over these variables, and makes it count.
pub(super) fn rewrite(
    expression: IdedExpr,
    variables: &'static [&'static str],
) -> Result<Rewritten, Problem> {
    let mut rewriter = Rewriter {
        variables,
        used: Vec::new(),
        locals: Vec::new(),
        patterns: Vec::new(),
        depth: 0,
    };
    let expression = rewriter.node(expression)?;
    let Rewriter { patterns, used, .. } = rewriter;
    Ok(Rewritten { expression, patterns, used })
}

struct Rewriter {
    variables: &'static [&'static str],
    used: Vec<&'static str>,
    /// Variables of the loops around a node, the innermost last.
    locals: Vec<String>,
    patterns: Vec<Regex>,
    depth: usize,
}

impl Rewriter {
    fn node(&mut self, node: IdedExpr) -> Result<IdedExpr, Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let wanted = format!("at most {MAX_DEPTH} levels; split it into several conditions");
            return Err(Problem::new("an expression that nests too deep", wanted));
        }
        let IdedExpr { id, expr } = node;
        let expr = match expr {
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(comprehension) => self.comprehension(*comprehension)?,
            Expr::Ident(name) => self.ident(name)?,
            Expr::List(list) => self.list(list)?,
            literal @ Expr::Literal(_) => literal,
            Expr::Map(map) => self.map(map)?,
            Expr::Select(SelectExpr { operand, field, test }) => {
                Expr::Select(SelectExpr { operand: Box::new(self.node(*operand)?), field, test })
            }
            Expr::Struct(_) => return Err(Problem::new("it makes a message", "lists and maps")),
            Expr::Unspecified => return Err(Problem::new("it has an empty part", "a value")),
        };
        self.depth -= 1;
        Ok(IdedExpr { id, expr })
    }

    fn ident(&mut self, name: String) -> Result<Expr, Problem> {
        if self.locals.contains(&name) || TYPES.contains(&name.as_str()) {
            return Ok(Expr::Ident(name));
        }
        let Some(variable) = self.variables.iter().find(|variable| **variable == name) else {
            return Err(unknown("variable", &name, self.variables.iter().copied()));
        };
        self.used.push(variable);
        Ok(Expr::Ident(name))
    }

    fn call(&mut self, call: CallExpr) -> Result<Expr, Problem> {
        let name = call.func_name.as_str();
        if name == "matches" {
            return self.matches(call);
        }
        let control = CONTROL.contains(&name);
        if !control && !OPERATORS.contains(&name) && !FUNCTIONS.contains(&name) {
            if MACROS.contains(&name) {
                let problem = format!("`{name}` is not called as it must be");
                return Err(Problem::new(problem, "`has(a.b)`, or `list.all(x, …)` and the like"));
            }
            return Err(unknown("function", name, FUNCTIONS.into_iter().chain(["matches"])));
        }
        let CallExpr { func_name, target, args } = call;
        let operand = |this: &mut Self, operand: IdedExpr| {
            if control { this.node(operand) } else { this.paid(operand) }
        };
        let target = match target {
            Some(target) => Some(Box::new(operand(self, *target)?)),
            None => None,
        };
        let args = args.into_iter().map(|arg| operand(self, arg)).collect::<Result<_, _>>()?;
        Ok(Expr::Call(CallExpr { func_name, target, args }))
    }

    /// A node whose value is paid for. A literal list has paid for its elements already, and the
    /// accumulator of a loop for what was put into it: the interpreter appends to it in place, if
    /// it finds the two as they were.
    fn paid(&mut self, node: IdedExpr) -> Result<IdedExpr, Problem> {
        let accumulator = matches!(&node.expr, Expr::Ident(name) if name.starts_with('@'));
        let list = matches!(node.expr, Expr::List(_));
        let node = self.node(node)?;
        if accumulator || list { Ok(node) } else { Ok(function(PAY, vec![node, ident(METER)])) }
    }

    fn matches(&mut self, call: CallExpr) -> Result<Expr, Problem> {
        let CallExpr { func_name: _, target, args } = call;
        let mut operands = target.map(|target| *target).into_iter().chain(args);
        let (Some(text), Some(pattern), None) = (operands.next(), operands.next(), operands.next())
        else {
            let problem = "`matches` is not called as it must be";
            return Err(Problem::new(problem, "`text.matches('pattern')`"));
        };
        let Expr::Literal(LiteralValue::String(pattern)) = pattern.expr else {
            let problem = "the pattern of `matches` is not written out";
            return Err(Problem::new(problem, "a text between quotation marks"));
        };
        let index = i64::try_from(self.patterns.len()).unwrap_or(i64::MAX);
        self.patterns.push(compile(pattern.inner())?);
        let text = self.node(text)?;
        Ok(function(MATCHES, vec![text, ident(METER), ident(PATTERNS), int(index)]).expr)
    }

    fn comprehension(&mut self, loops: ComprehensionExpr) -> Result<Expr, Problem> {
        let ComprehensionExpr {
            iter_range,
            iter_var,
            iter_var2,
            accu_var,
            accu_init,
            loop_cond,
            loop_step,
            result,
        } = loops;
        if iter_var2.is_some() || iter_var.starts_with('@') || !accu_var.starts_with('@') {
            let wanted = "`all`, `exists`, `exists_one`, `filter` or `map`";
            return Err(Problem::new("a loop of an unknown kind", wanted));
        }
        let iter_range = self.node(iter_range)?;
        let accu_init = self.node(accu_init)?;
        self.locals.push(accu_var.clone());
        self.locals.push(iter_var.clone());
        let loop_cond = self.node(loop_cond)?;
        let loop_step = self.node(loop_step)?;
        self.locals.pop();
        let result = self.node(result)?;
        self.locals.pop();
        let weight = nodes(&loop_cond).saturating_add(nodes(&loop_step));
        let iter_range = function(RANGE, vec![iter_range, ident(METER), int(weight)]);
        Ok(Expr::Comprehension(Box::new(ComprehensionExpr {
            iter_range,
            iter_var,
            iter_var2: None,
            accu_var,
            accu_init,
            loop_cond,
            loop_step,
            result,
        })))
    }

    fn list(&mut self, list: ListExpr) -> Result<Expr, Problem> {
        let ListExpr { elements, optional_indices } = list;
        if !optional_indices.is_empty() {
            return Err(Problem::new("an optional element", "an element"));
        }
        let elements = elements.into_iter().map(|element| self.paid(element));
        Ok(Expr::List(ListExpr::new(elements.collect::<Result<_, _>>()?)))
    }

    fn map(&mut self, map: MapExpr) -> Result<Expr, Problem> {
        let entries = map.entries.into_iter().map(|IdedEntryExpr { id, expr }| {
            let EntryExpr::MapEntry(MapEntryExpr { key, value, optional: false }) = expr else {
                return Err(Problem::new("an optional entry", "an entry"));
            };
            let (key, value) = (self.paid(key)?, self.paid(value)?);
            let entry = EntryExpr::MapEntry(MapEntryExpr { key, value, optional: false });
            Ok(IdedEntryExpr { id, expr: entry })
        });
        Ok(Expr::Map(MapExpr { entries: entries.collect::<Result<_, _>>()? }))
    }
}

fn unknown(kind: &str, name: &str, known: impl Iterator<Item = &'static str> + Clone) -> Problem {
    let wanted = suggest::nearest(name, known.clone()).map_or_else(
        || format!("one of {}", known.collect::<Vec<_>>().join(", ")),
        |nearest| format!("`{nearest}`"),
    );
    Problem::new(format!("`{name}` is no {kind} here"), wanted)
}

/// A pattern in CEL's sense: found anywhere in the text.
fn compile(pattern: &str) -> Result<Regex, Problem> {
    let problem = if pattern.len() > MAX_PATTERN_BYTES {
        format!("it has {} bytes, more than {MAX_PATTERN_BYTES}", pattern.len())
    } else {
        match RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build() {
            Ok(regex) => return Ok(regex),
            Err(error) => error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
        }
    };
    let problem = format!("the pattern `{pattern}` cannot be used: {problem}");
    Err(Problem::new(problem, "a small regular expression"))
}

fn function(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    let call = CallExpr { func_name: name.to_owned(), target: None, args };
    IdedExpr { id: 0, expr: Expr::Call(call) }
}

fn ident(name: &str) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Ident(name.to_owned()) }
}

fn int(value: i64) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(CelInt::from(value))) }
}

/// How many nodes a tree has: what one step of a loop costs besides what it pays for.
fn nodes(node: &IdedExpr) -> i64 {
    let of_all = |nodes_in: &[IdedExpr]| nodes_in.iter().map(nodes).sum::<i64>();
    1 + match &node.expr {
        Expr::Call(call) => call.target.as_deref().map_or(0, nodes) + of_all(&call.args),
        Expr::Comprehension(loops) => {
            nodes(&loops.iter_range)
                + nodes(&loops.accu_init)
                + nodes(&loops.loop_cond)
                + nodes(&loops.loop_step)
                + nodes(&loops.result)
        }
        Expr::List(list) => of_all(&list.elements),
        Expr::Map(map) => map
            .entries
            .iter()
            .map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => nodes(&entry.key) + nodes(&entry.value),
                EntryExpr::StructField(field) => nodes(&field.value),
            })
            .sum::<i64>(),
        Expr::Select(select) => nodes(&select.operand),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => 0,
    }
}
