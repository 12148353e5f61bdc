//! What the types of PostgreSQL and TDengine ask beyond DataFusion's own coercions, done once on the fresh plan.
//!
//! - a quoted string beside a timestamp is a time in the session's zone; a number beside one is ticks of its precision;
//! - a timestamp without zone beside one with a zone is a wall clock in the session's zone;
//! - whole numbers that fit are `int4`, as in PostgreSQL, not `int8`;
//! - `division = 'double'` makes `7 / 2` 3.5;
//! - `now()` is the time that the statement or transaction began.
//!
//! Start reading at [`coerce`].

use std::sync::Arc;

use chrono::{NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{InList, Placeholder};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Values,
};
use model::error;
use sqlparser::ast::BinaryOperator;

use super::PlanContext;
use super::error::to_datafusion;
use super::filter::unit_nanos;
use crate::functions::checked::checked;

/// Rewrites every expression of `plan`, inside subqueries too.
///
/// # Errors
///
/// 22007 for a string beside a timestamp that is no time.
pub fn coerce(plan: LogicalPlan, context: &PlanContext) -> Result<LogicalPlan> {
    let recursive = plan.exists(|node| Ok(matches!(node, LogicalPlan::RecursiveQuery(_))))?;
    let rewritten = plan.transform_up_with_subqueries(|node| {
        if let LogicalPlan::Values(values) = node {
            return narrow_values(values).map(Transformed::yes);
        }
        let mut schema = merge_schema(&node.inputs());
        if let LogicalPlan::TableScan(scan) = &node {
            schema = scan.projected_schema.as_ref().clone();
        }
        let limit = matches!(node, LogicalPlan::Limit(_));
        // Both arms of a recursion must go on agreeing in their types.
        let numbers = matches!(node, LogicalPlan::Projection(_)) && !recursive;
        let rewriter = Rewriter { schema: &schema, context };
        // What stands above knows a column by the name that its expression had.
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = if limit { count_parameters(expr)? } else { Transformed::no(expr) };
            let expr = if numbers { expr.transform_data(narrow_integers)? } else { expr };
            Ok(expr.transform_data(|expr| rewriter.rewrite(expr))?.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(rewritten.data)
}

/// Says in time what DataFusion's planner would refuse before [`coerce`] sees it: numbers beside timestamps.
#[derive(Debug)]
pub struct EarlyCoercion(pub Arc<PlanContext>);

impl ExprPlanner for EarlyCoercion {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let op = match raw.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let rewriter = Rewriter { schema, context: &self.0 };
        if let (Some(left), Some(right)) = (rewriter.type_of(&raw.left), rewriter.type_of(&raw.right))
            && let Some(checked) = checked(&raw.left, op, &raw.right, [&left, &right])
        {
            return Ok(PlannerResult::Planned(checked));
        }
        let is_time = |expr: &Expr| matches!(rewriter.type_of(expr), Some(DataType::Timestamp(..)));
        if !is_time(&raw.left) && !is_time(&raw.right) {
            return Ok(PlannerResult::Original(raw));
        }
        if matches!(op, Operator::Multiply | Operator::Divide) {
            return Ok(PlannerResult::Original(raw));
        }
        let binary = BinaryExpr::new(Box::new(raw.left), op, Box::new(raw.right));
        Ok(PlannerResult::Planned(rewriter.binary(binary)?.data))
    }
}

/// Column references without their table's name.
///
/// # Errors
///
/// Never.
pub fn without_qualifiers(expr: Expr) -> Result<Expr> {
    let bare = expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
            other => Transformed::no(other),
        })
    })?;
    Ok(bare.data)
}

/// Whole numbers outside calls, as `int4` where they fit.
fn narrow_integers(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), metadata) => match i32::try_from(n) {
            Ok(n) => Ok(Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(n)), metadata))),
            Err(_) => Ok(Transformed::no(Expr::Literal(ScalarValue::Int64(Some(n)), metadata))),
        },
        call @ (Expr::ScalarFunction(_)
        | Expr::AggregateFunction(_)
        | Expr::WindowFunction(_)
        | Expr::HigherOrderFunction(_)) => Ok(Transformed::new(call, false, TreeNodeRecursion::Jump)),
        other => Ok(Transformed::no(other)),
    })
}

/// VALUES, its whole numbers as `int4` where all of a column fit.
fn narrow_values(values: Values) -> Result<LogicalPlan> {
    let fits = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => i32::try_from(*n).is_ok(),
        Expr::Literal(value, _) => value.is_null(),
        _ => false,
    };
    let mut rows = values.values;
    let whole = |rows: &[Vec<Expr>], at: usize| {
        rows.iter().any(|row| whole_number(&row[at]).is_some()) && rows.iter().all(|row| fits(&row[at]))
    };
    let narrow: Vec<usize> = (0..values.schema.fields().len()).filter(|at| whole(&rows, *at)).collect();
    if narrow.is_empty() {
        return Ok(LogicalPlan::Values(Values { schema: values.schema, values: rows }));
    }
    for row in &mut rows {
        for at in &narrow {
            row[*at] = match whole_number(&row[*at]).and_then(|n| i32::try_from(n).ok()) {
                Some(n) => Expr::Literal(ScalarValue::Int32(Some(n)), None),
                None => Expr::Literal(ScalarValue::Int32(None), None),
            };
        }
    }
    LogicalPlanBuilder::values(rows)?.build()
}

/// A parameter of LIMIT or OFFSET is a whole number.
fn count_parameters(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Placeholder(Placeholder { id, field: None }) => {
                let field = Arc::new(Field::new(&id, DataType::Int64, true));
                Transformed::yes(Expr::Placeholder(Placeholder { id, field: Some(field) }))
            }
            other => Transformed::no(other),
        })
    })
}

struct Rewriter<'a> {
    schema: &'a DFSchema,
    context: &'a PlanContext,
}

impl Rewriter<'_> {
    fn rewrite(&self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| {
            Ok(match expr {
                Expr::BinaryExpr(binary) => self.binary(binary)?,
                Expr::Between(Between { expr, negated, low, high }) => {
                    let (low, high) = (self.beside(&expr, *low)?, self.beside(&expr, *high)?);
                    Transformed::yes(Expr::Between(Between::new(expr, negated, Box::new(low), Box::new(high))))
                }
                Expr::InList(InList { expr, list, negated }) => {
                    let list = list.into_iter().map(|item| self.beside(&expr, item)).collect::<Result<_>>()?;
                    Transformed::yes(Expr::InList(InList { expr, list, negated }))
                }
                Expr::Cast(cast) => self.cast(cast)?,
                Expr::ScalarFunction(call) => self.call(call)?,
                other => Transformed::no(other),
            })
        })
    }

    fn type_of(&self, expr: &Expr) -> Option<DataType> {
        expr.get_type(self.schema).ok()
    }

    fn binary(&self, binary: BinaryExpr) -> Result<Transformed<Expr>> {
        let BinaryExpr { mut left, op, mut right } = binary;
        let compares = op.supports_propagation()
            || matches!(op, Operator::NotEq | Operator::IsDistinctFrom)
            || matches!(op, Operator::IsNotDistinctFrom);
        if compares {
            right = Box::new(self.beside(&left, *right)?);
            left = Box::new(self.beside(&right, *left)?);
        }
        if matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo) {
            left = self.typed(*left, &right);
            right = self.typed(*right, &left);
        }
        if op == Operator::Divide && self.context.double_division {
            let whole = |expr: &Expr| self.type_of(expr).is_some_and(|t| t.is_integer());
            if whole(&left) && whole(&right) {
                left = Box::new(cast_to(*left, DataType::Float64));
            }
        }
        if matches!(op, Operator::Plus | Operator::Minus) {
            right = Box::new(self.ticks(&left, *right));
        }
        Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
    }

    /// A parameter of unknown type in arithmetic has the type of the other side.
    fn typed(&self, expr: Expr, other: &Expr) -> Box<Expr> {
        match expr {
            Expr::Placeholder(Placeholder { id, field: None }) => {
                let data_type = self.type_of(other).filter(|t| !t.is_null()).unwrap_or(DataType::Int64);
                let field = Arc::new(Field::new(&id, data_type, true));
                Box::new(Expr::Placeholder(Placeholder { id, field: Some(field) }))
            }
            other => Box::new(other),
        }
    }

    /// `ts + 1000`: ticks of the timestamp's precision.
    fn ticks(&self, left: &Expr, right: Expr) -> Expr {
        let (Some(DataType::Timestamp(unit, _)), Some(n)) = (self.type_of(left), whole_number(&right)) else {
            return right;
        };
        let nanos = i128::from(n) * i128::from(unit_nanos(unit));
        match i64::try_from(nanos) {
            Ok(nanos) => Expr::Literal(ScalarValue::new_interval_mdn(0, 0, nanos), None),
            Err(_) => right,
        }
    }

    /// `expr` as it is meant beside `anchor`: a string or a number beside a timestamp is a time.
    fn beside(&self, anchor: &Expr, expr: Expr) -> Result<Expr> {
        let Some(DataType::Timestamp(unit, Some(zone))) = self.type_of(anchor) else { return Ok(expr) };
        if let Some(n) = whole_number(&expr) {
            return Ok(Expr::Literal(timestamp(unit, n, zone), None));
        }
        if let Expr::Literal(value, _) = &expr
            && let Some(Some(text)) = value.try_as_str()
        {
            return self.instant(text, unit, &zone);
        }
        match self.type_of(&expr) {
            Some(DataType::Timestamp(unit, None)) => Ok(self.in_zone(expr, unit)),
            Some(DataType::Date32) => Ok(self.in_zone(cast_to(expr, DataType::Timestamp(unit, None)), unit)),
            _ => Ok(expr),
        }
    }

    /// A wall clock of the session's zone as an instant.
    fn in_zone(&self, expr: Expr, unit: TimeUnit) -> Expr {
        let local = DataType::Timestamp(unit, Some(self.context.timezone.name().into()));
        cast_to(cast_to(expr, local), DataType::Timestamp(unit, Some("UTC".into())))
    }

    fn instant(&self, text: &str, unit: TimeUnit, zone: &Arc<str>) -> Result<Expr> {
        let nanos = parse_instant(text, self.context).map_err(to_datafusion)?;
        // A time between two ticks is kept in nanoseconds where they can say it: bounds are rounded by the scan.
        let tick = i128::from(unit_nanos(unit));
        let value = if nanos % tick == 0 || i64::try_from(nanos).is_err() {
            let ticks = i64::try_from(nanos.div_euclid(tick)).map_err(|_| to_datafusion(out_of_range(text)))?;
            timestamp(unit, ticks, Arc::clone(zone))
        } else {
            ScalarValue::TimestampNanosecond(i64::try_from(nanos).ok(), Some(Arc::clone(zone)))
        };
        Ok(Expr::Literal(value, None))
    }

    fn cast(&self, cast: Cast) -> Result<Transformed<Expr>> {
        let to = cast.field.data_type().clone();
        if let DataType::Timestamp(unit, Some(zone)) = &to {
            if let Expr::Literal(value, _) = cast.expr.as_ref()
                && let Some(Some(text)) = value.try_as_str()
            {
                let finest = if *unit == TimeUnit::Nanosecond { TimeUnit::Microsecond } else { *unit };
                return Ok(Transformed::yes(self.instant(text, finest, zone)?));
            }
            if let Some(DataType::Timestamp(from, None)) = self.type_of(&cast.expr) {
                return Ok(Transformed::yes(self.in_zone(*cast.expr, from)));
            }
            if self.type_of(&cast.expr) == Some(DataType::Date32) {
                let naive = cast_to(*cast.expr, DataType::Timestamp(TimeUnit::Microsecond, None));
                return Ok(Transformed::yes(self.in_zone(naive, TimeUnit::Microsecond)));
            }
        }
        let local = matches!(to, DataType::Timestamp(_, None) | DataType::Date32 | DataType::Time64(_));
        if local && let Some(DataType::Timestamp(unit, Some(_))) = self.type_of(&cast.expr) {
            let wall = cast_to(*cast.expr, DataType::Timestamp(unit, Some(self.context.timezone.name().into())));
            return Ok(Transformed::yes(Expr::Cast(Cast { expr: Box::new(wall), field: cast.field })));
        }
        Ok(Transformed::no(Expr::Cast(cast)))
    }

    fn call(&self, call: datafusion::logical_expr::expr::ScalarFunction) -> Result<Transformed<Expr>> {
        if matches!(call.name(), "now" | "current_timestamp") && call.args.is_empty() {
            let now = timestamp(TimeUnit::Microsecond, self.context.now_us, Arc::from("UTC"));
            return Ok(Transformed::yes(Expr::Literal(now, None)));
        }
        Ok(Transformed::no(Expr::ScalarFunction(call)))
    }
}

fn timestamp(unit: TimeUnit, ticks: i64, zone: Arc<str>) -> ScalarValue {
    let (ticks, zone) = (Some(ticks), Some(zone));
    match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(ticks, zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(ticks, zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(ticks, zone),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(ticks, zone),
    }
}

fn cast_to(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), data_type))
}

fn whole_number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int32(Some(n)), _) => Some((*n).into()),
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => Some(*n),
        Expr::Negative(inner) => whole_number(inner).map(i64::wrapping_neg),
        _ => None,
    }
}

fn out_of_range(text: &str) -> model::Error {
    error!(DatetimeFieldOverflow, "timestamp out of range: \"{text}\"")
}

/// Nanoseconds since the epoch of a time as text; without a zone it is read in the session's.
///
/// # Errors
///
/// 22007 if it is no time.
pub fn parse_instant(text: &str, context: &PlanContext) -> model::Result<i128> {
    let trimmed = text.trim();
    let now = i128::from(context.now_us) * 1000;
    let day = |days: i64| {
        let local = chrono::DateTime::from_timestamp_micros(context.now_us)?.with_timezone(&context.timezone);
        let midnight = (local.date_naive() + chrono::Duration::days(days)).and_hms_opt(0, 0, 0)?;
        Some(i128::from(local_instant(context.timezone, midnight)?.timestamp()) * 1_000_000_000)
    };
    let special = match trimmed.to_ascii_lowercase().as_str() {
        "now" => Some(now),
        "epoch" => Some(0),
        "today" => day(0),
        "tomorrow" => day(1),
        "yesterday" => day(-1),
        _ => None,
    };
    if let Some(nanos) = special {
        return Ok(nanos);
    }
    let wrong = || error!(InvalidDatetimeFormat, "invalid input syntax for type timestamp with time zone: \"{text}\"");
    let (wall, rest) = split_zone(trimmed).ok_or_else(wrong)?;
    let naive = parse_wall(wall).ok_or_else(wrong)?;
    let nanos =
        |seconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(naive.and_utc().timestamp_subsec_nanos());
    if rest.is_empty() {
        let instant = local_instant(context.timezone, naive).ok_or_else(|| out_of_range(text))?;
        return Ok(nanos(instant.timestamp()));
    }
    if let Some(offset) = offset_seconds(rest) {
        return Ok(nanos(naive.and_utc().timestamp() - offset));
    }
    let zone: Tz = rest.parse().map_err(|_| wrong())?;
    Ok(nanos(local_instant(zone, naive).ok_or_else(|| out_of_range(text))?.timestamp()))
}

/// The instant of a wall clock: the earlier one where it comes twice; in a gap, as if the clock had gone on.
#[must_use]
pub fn local_instant(zone: Tz, wall: NaiveDateTime) -> Option<chrono::DateTime<Tz>> {
    match zone.from_local_datetime(&wall) {
        chrono::LocalResult::Single(instant) => Some(instant),
        chrono::LocalResult::Ambiguous(earlier, _) => Some(earlier),
        chrono::LocalResult::None => {
            let before = zone.from_local_datetime(&(wall - chrono::Duration::hours(3))).earliest()?;
            Some(before + chrono::Duration::hours(3))
        }
    }
}

/// Wall clock and zone of a time as text.
fn split_zone(text: &str) -> Option<(&str, &str)> {
    if let Some(wall) = text.strip_suffix(['Z', 'z']) {
        return Some((wall.trim_end(), "+00"));
    }
    let date_end = text.char_indices().nth(10).map_or(text.len(), |(at, _)| at);
    let tail = &text[date_end..];
    let sign = tail.find(['+', '-']);
    let word = tail.find(|c: char| c.is_ascii_alphabetic() && c != 'T' && c != 't');
    let at = match (sign, word) {
        (Some(sign), Some(word)) => sign.min(word),
        (Some(at), None) | (None, Some(at)) => at,
        (None, None) => return Some((text, "")),
    };
    Some((text[..date_end + at].trim_end(), tail[at..].trim()))
}

fn parse_wall(text: &str) -> Option<NaiveDateTime> {
    let text = text.replace(['T', 't', '/'], " ");
    let text = text.split_whitespace().collect::<Vec<_>>();
    let date = text.first()?.to_owned();
    // '2017/01/02' became three words above.
    let (date, time) = match text.as_slice() {
        [year, month, day, rest @ ..] if year.len() == 4 && month.len() <= 2 && day.len() <= 2 => {
            (format!("{year}-{month}-{day}"), rest.first().copied())
        }
        [_, rest @ ..] if rest.len() <= 1 => (date.to_owned(), rest.first().copied()),
        _ => return None,
    };
    let date = chrono::NaiveDate::parse_from_str(&date, "%Y-%m-%d").ok()?;
    let Some(time) = time else { return date.and_hms_opt(0, 0, 0) };
    let formats = ["%H:%M:%S%.f", "%H:%M"];
    let time = formats.iter().find_map(|format| chrono::NaiveTime::parse_from_str(time, format).ok())?;
    Some(date.and_time(time))
}

/// Seconds east of UTC in `+08`, `+0800`, `-08:00`, `+05:30:15`.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
    let part = |at: usize| padded.get(at..at + 2).map_or(Some(0), |two| two.parse::<i64>().ok());
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    (hours <= 15 && minutes < 60 && seconds < 60).then(|| sign * (hours * 3600 + minutes * 60 + seconds))
}
