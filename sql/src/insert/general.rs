//! Rows of an INSERT that the general grammar read. Literals are taken as the fast path takes them; the session
//! evaluates the rest.

use model::schema::{Column, Table};
use model::{ColumnId, DataType, Precision, Result, Value, error};
use sqlparser::ast::{BinaryOperator, Expr, Function, FunctionArguments, UnaryOperator, Value as Sql, ValueWithSpan};

use super::fast::shifted;
use super::stage::{Slot, Stage, Target};
use super::{Batch, Cell, Evaluate, Resolver, tags};
use crate::literal::{Literal, Reading, now, today};
use crate::parser::markers::{Duration, duration_of};
use crate::statement::{Insert, InsertRow, InsertSource, InsertTarget, Using};

/// See [`super::from_ast`].
pub(super) fn from_ast(
    insert: &Insert,
    resolver: &dyn Resolver,
    reading: &Reading,
    evaluate: &mut Evaluate<'_>,
) -> Result<Vec<Batch>> {
    let mut stage = Stage::new(*reading);
    for part in &insert.targets {
        let target = target(part, resolver, &mut stage, evaluate)?;
        let mut rows = Rows { stage: &mut stage, target: &target, evaluate };
        match &part.source {
            InsertSource::Values(all) => all.iter().try_for_each(|row| rows.row(row))?,
            InsertSource::Default => rows.defaults(part.table.position)?,
            InsertSource::Query(_) | InsertSource::File(_) => {
                return Err(error!(FeatureNotSupported, "only VALUES can be read here").at(part.table.position));
            }
        }
    }
    Ok(stage.finish())
}

fn target(
    part: &InsertTarget,
    resolver: &dyn Resolver,
    stage: &mut Stage,
    evaluate: &mut Evaluate<'_>,
) -> Result<Target> {
    let columns = part.columns.as_deref();
    let Some(using) = &part.using else {
        let resolved = tags::known(resolver, &part.table)?;
        return stage.target(&part.table, resolved, None, columns);
    };
    let stable = tags::stable(resolver, &part.table, &using.stable)?;
    let Table::Relation(relation) = &stable.table else {
        return Err(error!(WrongObjectType, "\"{}\" is not a super table", using.stable.name));
    };
    let values = tag_values(using, &relation.tags, relation, stable.precision, &stage.reading, evaluate)?;
    stage.target(&part.table, stable, Some((&part.table.name, values)), columns)
}

fn tag_values(
    using: &Using,
    all: &[Column],
    relation: &model::schema::Relation,
    precision: Precision,
    reading: &Reading,
    evaluate: &mut Evaluate<'_>,
) -> Result<Vec<(ColumnId, Value)>> {
    let slots = tags::slots(relation, using.tags.as_deref())?;
    let mut values = Vec::new();
    for (count, (expr, position)) in using.values.iter().zip(&using.positions).enumerate() {
        let Some(tag) = slots.get(count).map(|slot| &all[*slot]) else { return Err(tags::too_many().at(*position)) };
        let read = |literal: Literal<'_>| {
            crate::literal::value(literal, tag.data_type, precision, reading).map_err(|error| placed(error, *position))
        };
        let mut scratch = String::new();
        let value = match literal_of(expr, Some(tag.data_type), precision, reading, &mut scratch) {
            Some(literal) => read(literal)?,
            None => cell(&evaluate(expr, tag).map_err(|error| placed(error, *position))?, read)?,
        };
        if value != Value::Null {
            values.push((tag.id, value));
        }
    }
    if using.values.len() < slots.len() {
        // The opening parenthesis of the values.
        return Err(tags::too_few().at(using.opens));
    }
    Ok(values)
}

struct Rows<'r, 'e> {
    stage: &'r mut Stage,
    target: &'r Target,
    evaluate: &'r mut Evaluate<'e>,
}

impl Rows<'_, '_> {
    fn row(&mut self, row: &InsertRow) -> Result<()> {
        self.stage.begin_row(self.target);
        let precision = self.stage.precision(self.target);
        let reading = self.stage.reading;
        for (count, (expr, position)) in row.values.iter().zip(&row.positions).enumerate() {
            let Some(slot) = self.target.slots.get(count).copied() else {
                return Err(super::too_many_values().at(*position));
            };
            let data_type = self.stage.data_type(self.target, slot);
            let mut scratch = String::new();
            let put = if is_default(expr) {
                self.default(slot)
            } else if let Some(literal) = literal_of(expr, data_type, precision, &reading, &mut scratch) {
                self.stage.put(self.target, slot, literal)
            } else {
                self.evaluated(expr, slot)
            };
            put.map_err(|error| placed(error, *position))?;
        }
        let given = row.values.len();
        if given < self.target.slots.len() {
            if self.target.listed || self.stage.relation(self.target).is_time_series() {
                return Err(super::too_few_values().at(row.position));
            }
            for slot in self.target.slots[given..].iter().copied() {
                self.default(slot).map_err(|error| placed(error, row.position))?;
            }
        }
        self.unlisted().and_then(|()| self.stage.end_row(self.target)).map_err(|error| placed(error, row.position))
    }

    /// One row of nothing but defaults.
    fn defaults(&mut self, position: u32) -> Result<()> {
        self.row(&InsertRow { position, values: Vec::new(), positions: Vec::new() })
    }

    /// The defaults of columns that a column list leaves out.
    fn unlisted(&mut self) -> Result<()> {
        let relation = self.stage.relation(self.target).clone();
        for (index, column) in relation.columns.iter().enumerate() {
            let slot = Slot::Column(index);
            if column.default.is_some() && !self.target.slots.contains(&slot) && !relation.is_time_series() {
                self.default(slot)?;
            }
        }
        Ok(())
    }

    fn default(&mut self, slot: Slot) -> Result<()> {
        let default = self.stage.column(self.target, slot).and_then(|column| column.default.clone());
        match default {
            Some(text) => {
                let expr = crate::parser::expression(&text)?;
                let mut scratch = String::new();
                let data_type = self.stage.data_type(self.target, slot);
                let (precision, reading) = (self.stage.precision(self.target), self.stage.reading);
                match literal_of(&expr, data_type, precision, &reading, &mut scratch) {
                    Some(literal) => self.stage.put(self.target, slot, literal),
                    None => self.evaluated(&expr, slot),
                }
            }
            None => self.stage.put(self.target, slot, Literal::Absent),
        }
    }

    fn evaluated(&mut self, expr: &Expr, slot: Slot) -> Result<()> {
        let column = match self.stage.column(self.target, slot) {
            Some(column) => column.clone(),
            None => super::tbname(),
        };
        let value = (self.evaluate)(expr, &column)?;
        cell(&value, |literal| self.stage.put(self.target, slot, literal))
    }
}

/// See [`super::constant_defaults`].
pub(super) fn constant_defaults(stage: &Stage, target: &Target) -> Result<Vec<(Slot, Value)>> {
    let relation = stage.relation(target);
    let mut defaults = Vec::new();
    if relation.is_time_series() {
        return Ok(defaults);
    }
    for (index, column) in relation.columns.iter().enumerate() {
        let slot = Slot::Column(index);
        let Some(text) = column.default.as_ref().filter(|_| !target.slots.contains(&slot)) else { continue };
        let expr = crate::parser::expression(text)?;
        let (precision, mut scratch) = (stage.precision(target), String::new());
        let literal = literal_of(&expr, Some(column.data_type), precision, &stage.reading, &mut scratch);
        let Some(literal) = literal else {
            return Err(error!(FeatureNotSupported, "COPY cannot compute the default of column \"{}\"", column.name)
                .with_hint("give the column in the data, or use INSERT"));
        };
        defaults.push((slot, crate::literal::value(literal, column.data_type, precision, &stage.reading)?));
    }
    Ok(defaults)
}

/// Hands an evaluated value on as a literal.
pub(super) fn cell<T>(cell: &Cell, take: impl FnOnce(Literal<'_>) -> Result<T>) -> Result<T> {
    match cell {
        Cell::Null => take(Literal::Null),
        Cell::Absent => take(Literal::Absent),
        Cell::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => take(Literal::Text(text)),
            Err(_) => Err(error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")),
        },
        Cell::Binary(bytes) => take(Literal::Binary(bytes)),
        Cell::Value(value) => take(Literal::Value(value)),
    }
}

fn placed(error: model::Error, position: u32) -> model::Error {
    if error.fields().position.is_some() { error } else { error.at(position) }
}

fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(name) if name.quote_style.is_none() && name.value == "DEFAULT")
}

/// The literal that an expression is; None if it has to be evaluated. `scratch` holds a number's sign.
fn literal_of<'e>(
    expr: &'e Expr,
    data_type: Option<DataType>,
    precision: Precision,
    reading: &Reading,
    scratch: &'e mut String,
) -> Option<Literal<'e>> {
    match expr {
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Sql::Null => Some(Literal::Null),
            Sql::Boolean(value) => Some(Literal::Bool(*value)),
            Sql::Number(digits, _) => Some(Literal::Number(digits)),
            Sql::SingleQuotedString(text) | Sql::DoubleQuotedString(text) => Some(Literal::Text(text)),
            _ => None,
        },
        Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr } => match &**expr {
            Expr::Value(ValueWithSpan { value: Sql::Number(digits, _), .. }) => {
                scratch.push(if *op == UnaryOperator::Minus { '-' } else { '+' });
                scratch.push_str(digits);
                Some(Literal::Number(scratch))
            }
            _ => None,
        },
        _ if data_type == Some(DataType::Timestamp) => time_of(expr, precision, reading).map(Literal::Ticks),
        _ => None,
    }
}

/// The time of `NOW`, `NOW()`, `TODAY()` and durations added to them.
fn time_of(expr: &Expr, precision: Precision, reading: &Reading) -> Option<i64> {
    let mut steps: Vec<Duration> = Vec::new();
    let mut rest = expr;
    while let Expr::BinaryOp { left, op, right } = rest {
        let duration = duration_of(right)?;
        let count = match op {
            BinaryOperator::Plus => duration.count,
            BinaryOperator::Minus => -duration.count,
            _ => return None,
        };
        steps.insert(0, Duration { count, ..duration });
        rest = left;
    }
    let start = match rest {
        Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("now") => {
            now(precision, reading)
        }
        Expr::Function(Function { name, args, .. }) if no_arguments(args) => {
            match name.to_string().to_ascii_lowercase().as_str() {
                "now" => now(precision, reading),
                "today" => today(precision, reading),
                _ => return None,
            }
        }
        _ => return None,
    };
    shifted(start, &steps, precision)
}

fn no_arguments(args: &FunctionArguments) -> bool {
    match args {
        FunctionArguments::None => true,
        FunctionArguments::List(list) => list.args.is_empty(),
        FunctionArguments::Subquery(_) => false,
    }
}
