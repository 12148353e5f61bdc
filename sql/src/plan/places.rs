//! Where in the text of a query an error belongs.
//!
//! A plan has no positions, so the place is looked for in the statement: by the name or literal that the message has, or
//! by the construct that was refused if the statement has just one of its kind. Start reading at [`placed`].

use std::fmt;
use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use model::{Error, SqlState};
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, SelectItem, SetExpr, TableFactor, Value,
    Visit, Visitor,
};

use super::error::from_datafusion;
use super::names::folded;
use crate::parser::markers::position_of;

/// An error about one of several expressions that must agree.
#[derive(Debug)]
pub(super) struct Spotted {
    error: Error,
    /// `CASE`, `COALESCE`, `UNION`, …
    construct: String,
    /// Which of them; of a set operation which SELECT, of VALUES which row.
    at: usize,
    /// Which column, of a set operation and VALUES.
    column: usize,
}

impl fmt::Display for Spotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Spotted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Spotted {
    /// The error without its place.
    pub(super) fn error(&self) -> &Error {
        &self.error
    }
}

/// An error about one of several expressions, for DataFusion to carry.
pub(super) fn spotted(error: Error, construct: &str, at: usize, column: usize) -> DataFusionError {
    DataFusionError::External(Box::new(Spotted { error, construct: construct.to_owned(), at, column }))
}

/// The same error about another column.
pub(super) fn moved(fault: DataFusionError, to: usize) -> DataFusionError {
    match fault {
        DataFusionError::External(inner) => match inner.downcast::<Spotted>() {
            Ok(mut spotted) => {
                spotted.column = to;
                DataFusionError::External(spotted)
            }
            Err(inner) => DataFusionError::External(inner),
        },
        other => other,
    }
}

/// The error that a client sees, with its place in `query` if that can be told.
#[must_use]
pub(super) fn placed_fault(fault: DataFusionError, query: &Query) -> Error {
    let position = match &fault {
        DataFusionError::External(inner) => inner.downcast_ref::<Spotted>().and_then(|spotted| locate(spotted, query)),
        _ => None,
    };
    let error = from_datafusion(fault);
    match position {
        Some(position) if position > 0 => error.at(position),
        _ => placed(error, query),
    }
}

/// The place of the expression that does not fit, if the statement has one construct of the kind.
fn locate(spotted: &Spotted, query: &Query) -> Option<u32> {
    let mut candidates = Candidates { construct: &spotted.construct, found: Vec::new(), inside: 0 };
    let _ = query.visit(&mut candidates);
    let [candidate] = candidates.found.as_slice() else { return None };
    let row = candidate.get(spotted.at)?;
    row.get(spotted.column).copied()
}

/// The constructs of one kind: for each its rows, for each row the places of its columns.
struct Candidates<'a> {
    construct: &'a str,
    found: Vec<Vec<Vec<u32>>>,
    /// Set operations around the one that is visited.
    inside: usize,
}

impl Candidates<'_> {
    fn column(&mut self, exprs: &[&Expr]) {
        self.found.push(exprs.iter().map(|expr| vec![position_of(expr)]).collect());
    }

    fn call(&mut self, function: &Function) {
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        let FunctionArguments::List(list) = &function.args else { return };
        if !name.eq_ignore_ascii_case(self.construct) {
            return;
        }
        let args: Vec<&Expr> = list
            .args
            .iter()
            .filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect();
        self.column(&args);
    }

    fn body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::SetOperation { .. } if is_set(self.construct) => {
                let mut arms = Vec::new();
                arms_of(body, &mut arms);
                self.found.push(arms);
            }
            SetExpr::Values(values) if self.construct == "VALUES" => {
                let rows = values.rows.iter();
                self.found.push(rows.map(|row| row.content.iter().map(position_of).collect()).collect());
            }
            _ => {}
        }
    }
}

fn is_set(construct: &str) -> bool {
    matches!(construct, "UNION" | "INTERSECT" | "EXCEPT")
}

fn arms_of(body: &SetExpr, arms: &mut Vec<Vec<u32>>) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            arms_of(left, arms);
            arms_of(right, arms);
        }
        SetExpr::Query(query) => arms_of(&query.body, arms),
        SetExpr::Select(select) => {
            let place = |item: &SelectItem| match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => position_of(expr),
                _ => 0,
            };
            arms.push(select.projection.iter().map(place).collect());
        }
        SetExpr::Values(values) => {
            arms.push(values.rows.first().map_or_else(Vec::new, |row| row.content.iter().map(position_of).collect()));
        }
        _ => arms.push(Vec::new()),
    }
}

impl Visitor for Candidates<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.inside == 0 || !is_set(self.construct) {
            self.body(&query.body);
        }
        self.inside += usize::from(matches!(query.body.as_ref(), SetExpr::SetOperation { .. }));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.inside -= usize::from(matches!(query.body.as_ref(), SetExpr::SetOperation { .. }));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Case { conditions, else_result, .. } if self.construct == "CASE" => {
                let results = conditions.iter().map(|when| &when.result);
                let all: Vec<&Expr> = else_result.iter().map(AsRef::as_ref).chain(results).collect();
                self.column(&all);
            }
            Expr::Array(array) if self.construct == "ARRAY" => {
                let all: Vec<&Expr> = array.elem.iter().collect();
                self.column(&all);
            }
            Expr::Function(function) => self.call(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The error with the place of the name that it complains of, where the text has it.
#[must_use]
pub(super) fn placed(error: Error, query: &Query) -> Error {
    if error.fields().position.is_some() {
        return error;
    }
    if is_of_literal(error.state()) {
        return at_literal(error, query);
    }
    let error = missing_table(error, query);
    let named = matches!(
        error.state(),
        SqlState::UndefinedColumn | SqlState::AmbiguousColumn | SqlState::GroupingError | SqlState::UndefinedFunction
    );
    if !named {
        return error;
    }
    let message = error.fields().message.clone();
    let words: Vec<&str> = message.split(|c: char| c.is_whitespace() || c == '"' || c == '.' || c == '(').collect();
    let mut finder = Finder { words, function: error.state() == SqlState::UndefinedFunction, found: 0 };
    let _ = query.visit(&mut finder);
    if finder.found == 0 { error } else { error.at(finder.found) }
}

/// A qualified column that does not exist because nothing in the statement is called like its qualifier.
fn missing_table(error: Error, query: &Query) -> Error {
    struct Tables<'a>(&'a str);
    impl Visitor for Tables<'_> {
        type Break = ();
        fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
            let alias = match table {
                TableFactor::Table { alias: None, name, .. } => {
                    let last = name.0.last().and_then(|part| part.as_ident());
                    return if last.map(folded).as_deref() == Some(self.0) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    };
                }
                TableFactor::Table { alias, .. }
                | TableFactor::Derived { alias, .. }
                | TableFactor::Function { alias, .. }
                | TableFactor::UNNEST { alias, .. }
                | TableFactor::NestedJoin { alias, .. } => alias,
                _ => return ControlFlow::Break(()),
            };
            match alias {
                Some(alias) if folded(&alias.name) == self.0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let message = &error.fields().message;
    let qualified = message.strip_prefix("column ").and_then(|rest| rest.strip_suffix(" does not exist"));
    let table = qualified.filter(|name| !name.starts_with('"')).and_then(|name| name.split_once('.'));
    match table {
        Some((table, _))
            if error.state() == SqlState::UndefinedColumn && query.visit(&mut Tables(table)).is_continue() =>
        {
            model::error!(UndefinedTable, "missing FROM-clause entry for table \"{table}\"")
        }
        _ => error,
    }
}

/// Whether an error of this kind may be about a literal of the statement.
fn is_of_literal(state: SqlState) -> bool {
    use SqlState::{
        DatetimeFieldOverflow, InvalidDatetimeFormat, InvalidParameterValue, InvalidTextRepresentation,
        NumericValueOutOfRange,
    };
    matches!(
        state,
        InvalidParameterValue
            | InvalidTextRepresentation
            | NumericValueOutOfRange
            | InvalidDatetimeFormat
            | DatetimeFieldOverflow
    )
}

/// The error at the first literal with the text that its message quotes.
fn at_literal(error: Error, query: &Query) -> Error {
    struct Literal<'a>(&'a str, u32);
    impl Visitor for Literal<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let text = match expr {
                Expr::Value(value) => text_of(&value.value),
                Expr::TypedString(typed) => text_of(&typed.value.value),
                _ => None,
            };
            if text == Some(self.0) {
                self.1 = match expr {
                    Expr::TypedString(typed) => u32::try_from(typed.value.span.start.column).unwrap_or(0),
                    other => position_of(other),
                };
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
    }
    let message = error.fields().message.clone();
    if message.contains("bytea") || message.contains("hexadecimal") {
        return at_bytea(error, query);
    }
    let Some((from, to)) = message.find('"').zip(message.rfind('"')).filter(|(from, to)| from < to) else {
        return error;
    };
    let mut literal = Literal(&message[from + 1..to], 0);
    let _ = query.visit(&mut literal);
    if literal.1 == 0 { error } else { error.at(literal.1) }
}

/// The error at the only literal that is cast to bytea: the message does not have it.
fn at_bytea(error: Error, query: &Query) -> Error {
    struct Casts(Vec<u32>);
    impl Visitor for Casts {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Cast { expr, data_type: sqlparser::ast::DataType::Bytea, .. } => self.0.push(position_of(expr)),
                Expr::TypedString(typed) => self.0.push(u32::try_from(typed.value.span.start.column).unwrap_or(0)),
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut casts = Casts(Vec::new());
    let _ = query.visit(&mut casts);
    match casts.0.as_slice() {
        [position] if *position > 0 => error.at(*position),
        _ => error,
    }
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

struct Finder<'m> {
    words: Vec<&'m str>,
    function: bool,
    found: u32,
}

impl Visitor for Finder<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let name = match expr {
            Expr::Identifier(ident) if !self.function => Some(folded(ident)),
            Expr::CompoundIdentifier(parts) if !self.function => parts.last().map(folded),
            Expr::Function(call) if self.function => call.name.0.last().and_then(|part| part.as_ident()).map(folded),
            _ => None,
        };
        let complained = name.is_some_and(|name| self.words.iter().any(|word| *word == name));
        if complained {
            self.found = position_of(expr);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
