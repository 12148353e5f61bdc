//! What of a WHERE a vgroup can do itself: ranges of the key, bounds on columns, predicates on tags and names.
//!
//! Start reading at [`classify`]. DataFusion hands over conjuncts one by one.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as Arrow, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use model::aggregate::is_exact;
use model::scan::ColumnFilter;
use model::schema::{Column, Relation, RelationKind};
use model::{ColumnId, DataType, Precision, TimeRange, Value};

/// What one conjunct is to a scan.
#[derive(Debug, Clone, PartialEq)]
pub enum Pushed {
    /// Exactly this range of keys.
    Range(TimeRange),
    /// Exactly the tables of these names.
    Names(BTreeSet<String>),
    /// Exactly the rows inside these bounds; the column is one of numbers.
    Condition(ColumnFilter),
    /// Depends on tags and the table's name only: tables are chosen by it.
    Tags,
    /// Rows outside these bounds cannot satisfy it.
    Bounds(ColumnFilter),
    /// Nothing that a scan could use.
    Nothing,
}

/// What `filter` is to a scan of `relation`. With parameters whose types are known: what it is with most of their values.
#[must_use]
pub fn classify(filter: &Expr, relation: &Relation, precision: Precision) -> Pushed {
    if has_parameter(filter) {
        return match sampled(filter).map(|filter| classify(&filter, relation, precision)) {
            // Whether a number is one of the column's type depends on its value: the condition stays above the scan too.
            Some(Pushed::Condition(bounds)) => Pushed::Bounds(bounds),
            known => known.unwrap_or(Pushed::Nothing),
        };
    }
    if filter.is_volatile() || has_unknown(filter) {
        return Pushed::Nothing;
    }
    if relation.is_time_series() {
        if let Some(range) = key_range(filter, &relation.columns[0].name, precision) {
            return Pushed::Range(range);
        }
        if let Some(names) = names(filter) {
            return Pushed::Names(names);
        }
    }
    let columns = filter.column_refs();
    let is_tag = |name: &str| name == "tbname" || relation.tag(name).is_some();
    if relation.kind == RelationKind::Super && !columns.is_empty() && columns.iter().all(|c| is_tag(&c.name)) {
        return Pushed::Tags;
    }
    if let Some(condition) = condition(filter, relation, precision) {
        return Pushed::Condition(condition);
    }
    bounds(filter, relation, precision).map_or(Pushed::Nothing, Pushed::Bounds)
}

/// Whether there is a parameter in it.
#[must_use]
pub fn has_parameter(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_)))).unwrap_or(true)
}

/// The same with a value in the place of each parameter. None if there is one of a type whose values are not all alike to
/// a scan.
fn sampled(filter: &Expr) -> Option<Expr> {
    let sampled = filter.clone().transform(|expr| {
        let Expr::Placeholder(parameter) = &expr else { return Ok(Transformed::no(expr)) };
        let sample = match parameter.field.as_ref().map(|field| field.data_type()) {
            Some(Arrow::Timestamp(unit, Some(zone))) => super::coerce::timestamp(*unit, 0, Arc::clone(zone)),
            Some(Arrow::Utf8) => ScalarValue::from("x"),
            Some(Arrow::Int64) => ScalarValue::from(1_i64),
            Some(Arrow::Int32) => ScalarValue::from(1_i32),
            Some(Arrow::Int16) => ScalarValue::from(1_i16),
            _ => return datafusion::common::plan_err!("a parameter that may be anything"),
        };
        Ok(Transformed::yes(Expr::Literal(sample, None)))
    });
    sampled.ok().map(|sampled| sampled.data)
}

/// Subqueries, parameters and references to an outer query cannot be evaluated before the scan.
fn has_unknown(filter: &Expr) -> bool {
    let mut unknown = false;
    let _ = filter.apply(|expr| {
        unknown |= matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        );
        Ok(if unknown { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    unknown
}

/// The name of the column that `expr` is. With the length of a tick in nanoseconds also under a cast to a timestamp that
/// is no coarser than that.
fn column_under_cast(expr: &Expr, tick: Option<i64>) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) => match (cast.field.data_type(), tick) {
            (Arrow::Timestamp(unit, Some(_)), Some(length)) if unit_nanos(*unit) <= length => {
                column_under_cast(&cast.expr, tick)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Column, operator (as if the column stood left) and literal of a comparison.
fn comparison(filter: &Expr, tick: Option<i64>) -> Option<(&str, Operator, &ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    if let (Some(name), Expr::Literal(value, _)) = (column_under_cast(left, tick), right.as_ref()) {
        return Some((name, *op, value));
    }
    if let (Expr::Literal(value, _), Some(name)) = (left.as_ref(), column_under_cast(right, tick)) {
        return Some((name, op.swap()?, value));
    }
    None
}

/// The keys that satisfy `filter`, if it says nothing but that.
#[must_use]
pub fn key_range(filter: &Expr, key: &str, precision: Precision) -> Option<TimeRange> {
    if let Expr::Between(Between { expr, negated: false, low, high }) = filter {
        let (Expr::Literal(low, _), Expr::Literal(high, _)) = (low.as_ref(), high.as_ref()) else { return None };
        let of_key = column_under_cast(expr, Some(precision.nanos_per_tick())) == Some(key);
        let low = of_key.then(|| range_of(Operator::GtEq, low, precision.nanos_per_tick())).flatten()?;
        return Some(low.intersect(range_of(Operator::LtEq, high, precision.nanos_per_tick())?));
    }
    if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) = filter {
        return Some(key_range(left, key, precision)?.intersect(key_range(right, key, precision)?));
    }
    let (name, op, value) = comparison(filter, Some(precision.nanos_per_tick()))?;
    (name == key).then(|| range_of(op, value, precision.nanos_per_tick())).flatten()
}

const NOTHING: TimeRange = TimeRange { min: 1, max: 0 };

/// The ticks `t` for which `t op value`.
///
/// `tick` is in nanoseconds. None if the value is no timestamp with a zone or the operator no comparison.
#[must_use]
pub fn range_of(op: Operator, value: &ScalarValue, tick: i64) -> Option<TimeRange> {
    if value.is_null() {
        return matches!(value, ScalarValue::Null).then_some(NOTHING).or_else(|| nanos_of(value).map(|_| NOTHING));
    }
    let nanos = nanos_of(value)??;
    let tick = i128::from(tick);
    let (floor, whole) = (nanos.div_euclid(tick), nanos.rem_euclid(tick) == 0);
    let ceil = if whole { floor } else { floor + 1 };
    let (min, max) = match op {
        Operator::Eq if whole => (floor, floor),
        Operator::Eq => (1, 0),
        Operator::Gt => (floor + 1, i128::from(i64::MAX)),
        Operator::GtEq => (ceil, i128::from(i64::MAX)),
        Operator::Lt => (i128::from(i64::MIN), ceil - 1),
        Operator::LtEq => (i128::from(i64::MIN), floor),
        _ => return None,
    };
    let clamp = |n: i128| n.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    Some(if min > max { NOTHING } else { TimeRange { min: clamp(min), max: clamp(max) } })
}

/// Nanoseconds since the epoch of a timestamp with a zone; outer None for other types, inner None for NULL.
fn nanos_of(value: &ScalarValue) -> Option<Option<i128>> {
    let (ticks, scale) = match value {
        ScalarValue::TimestampSecond(ticks, Some(_)) => (ticks, 1_000_000_000),
        ScalarValue::TimestampMillisecond(ticks, Some(_)) => (ticks, 1_000_000),
        ScalarValue::TimestampMicrosecond(ticks, Some(_)) => (ticks, 1_000),
        ScalarValue::TimestampNanosecond(ticks, Some(_)) => (ticks, 1),
        _ => return None,
    };
    Some(ticks.map(|ticks| i128::from(ticks) * scale))
}

/// Nanoseconds since the epoch of a timestamp with a zone that is not NULL.
#[must_use]
pub fn instant_nanos(value: &ScalarValue) -> Option<i128> {
    nanos_of(value).flatten()
}

/// The table names in `tbname = 'x'`, `tbname IN ('x', 'y')` and ORs of them.
fn names(filter: &Expr) -> Option<BTreeSet<String>> {
    match filter {
        Expr::InList(InList { expr, list, negated: false }) => {
            let text = |item: &Expr| match item {
                Expr::Literal(value, _) => text_of(value),
                _ => None,
            };
            let named = column_under_cast(expr, None) == Some("tbname");
            named.then(|| list.iter().map(text).collect()).flatten()
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut both = names(left)?;
            both.extend(names(right)?);
            Some(both)
        }
        _ => {
            let (name, op, value) = comparison(filter, None)?;
            (name == "tbname" && op == Operator::Eq)
                .then(|| text_of(value).map(|name| BTreeSet::from([name])))
                .flatten()
        }
    }
}

fn text_of(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}

/// A comparison with a number, or BETWEEN two, as the values that satisfy it and no others.
fn condition(filter: &Expr, relation: &Relation, precision: Precision) -> Option<ColumnFilter> {
    let exact = |name: &str| {
        let column = relation.column(name)?;
        (is_exact(column.data_type) && column.id != ColumnId::KEY).then_some(column)
    };
    if let Expr::Between(Between { expr, negated: false, low, high }) = filter {
        let column = exact(column_under_cast(expr, None)?)?;
        let (Expr::Literal(low, _), Expr::Literal(high, _)) = (low.as_ref(), high.as_ref()) else { return None };
        let (min, max) = (value_of(low, column, precision)?, value_of(high, column, precision)?);
        return Some(ColumnFilter { column: column.id, min: Some(min), max: Some(max) });
    }
    let Some((name, op, value)) = comparison(filter, None) else { return beside_decimal(filter, exact) };
    let column = exact(name)?;
    let (min, max) = closed(op, value_of(value, column, precision)?)?;
    Some(ColumnFilter { column: column.id, min, max })
}

/// A column of whole numbers beside a decimal, as which it is compared: `i > 90.0`, `i <= 4.5`. `exact` finds the column.
fn beside_decimal<'a>(filter: &Expr, exact: impl Fn(&str) -> Option<&'a Column>) -> Option<ColumnFilter> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let (cast, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Cast(cast), Expr::Literal(value, _)) => (cast, *op, value),
        (Expr::Literal(value, _), Expr::Cast(cast)) => (cast, op.swap()?, value),
        _ => return None,
    };
    // Every whole number has at most so many digits: none is lost, and the cast never fails.
    let wide = |digits: u8, scale: i8| scale >= 0 && i16::from(digits) - i16::from(scale) >= 20;
    let holds_all = match cast.field.data_type() {
        Arrow::Decimal128(digits, scale) | Arrow::Decimal256(digits, scale) => wide(*digits, *scale),
        _ => false,
    };
    let Expr::Column(name) = cast.expr.as_ref() else { return None };
    let column = exact(&name.name).filter(|column| holds_all && !column.data_type.is_float())?;
    let (unscaled, scale) = match value {
        ScalarValue::Decimal128(Some(value), _, scale) => (*value, *scale),
        ScalarValue::Decimal256(Some(value), _, scale) => (value.to_i128()?, *scale),
        _ => return None,
    };
    let unit = 10_i128.checked_pow(u32::try_from(scale).ok()?)?;
    let floor = unscaled.div_euclid(unit);
    let whole = unscaled.rem_euclid(unit) == 0;
    let ceil = if whole { floor } else { floor + 1 };
    let (min, max) = match op {
        Operator::Eq if whole => (Some(floor), Some(floor)),
        Operator::Gt => (Some(floor + 1), None),
        Operator::GtEq => (Some(ceil), None),
        Operator::Lt => (None, Some(ceil - 1)),
        Operator::LtEq => (None, Some(floor)),
        _ => return None,
    };
    let unsigned = column.data_type.arrow(Precision::Milli).is_unsigned_integer();
    let value = |bound: Option<i128>| match bound {
        None => Some(None),
        Some(bound) if unsigned => u64::try_from(bound).ok().map(|bound| Some(Value::UInt(bound))),
        Some(bound) => i64::try_from(bound).ok().map(|bound| Some(Value::Int(bound))),
    };
    Some(ColumnFilter { column: column.id, min: value(min)?, max: value(max)? })
}

/// The least and the greatest number `n` for which `n op value`; bounds that nothing satisfies past the last whole number,
/// so that what a comparison is to a scan does not depend on the value. None for another operator, or past an infinity.
#[must_use]
pub fn closed(op: Operator, value: Value) -> Option<(Option<Value>, Option<Value>)> {
    match (op, &value) {
        (Operator::Gt, Value::Int(i64::MAX)) | (Operator::Lt, Value::Int(i64::MIN)) => {
            return Some((Some(Value::Int(i64::MAX)), Some(Value::Int(i64::MIN))));
        }
        (Operator::Gt, Value::UInt(u64::MAX)) | (Operator::Lt, Value::UInt(0)) => {
            return Some((Some(Value::UInt(u64::MAX)), Some(Value::UInt(0))));
        }
        _ => {}
    }
    Some(match op {
        Operator::Eq => (Some(value.clone()), Some(value)),
        Operator::GtEq => (Some(value), None),
        Operator::LtEq => (None, Some(value)),
        Operator::Gt => (Some(neighbour(value, true)?), None),
        Operator::Lt => (None, Some(neighbour(value, false)?)),
        _ => return None,
    })
}

/// The next greater or the next smaller number. None past the last one.
fn neighbour(value: Value, up: bool) -> Option<Value> {
    Some(match value {
        Value::Int(value) => Value::Int(if up { value.checked_add(1)? } else { value.checked_sub(1)? }),
        Value::UInt(value) => Value::UInt(if up { value.checked_add(1)? } else { value.checked_sub(1)? }),
        Value::Float(value) if value.is_finite() => Value::Float(if up { value.next_up() } else { value.next_down() }),
        _ => return None,
    })
}

fn bounds(filter: &Expr, relation: &Relation, precision: Precision) -> Option<ColumnFilter> {
    if let Expr::Between(Between { expr, negated: false, low, high }) = filter {
        let column = relation.column(column_under_cast(expr, None)?)?;
        let (Expr::Literal(low, _), Expr::Literal(high, _)) = (low.as_ref(), high.as_ref()) else { return None };
        let (min, max) = (value_of(low, column, precision), value_of(high, column, precision));
        return (min.is_some() || max.is_some()).then_some(ColumnFilter { column: column.id, min, max });
    }
    let (name, op, value) = comparison(filter, None)?;
    let column = relation.column(name)?;
    let value = value_of(value, column, precision)?;
    let (min, max) = match op {
        Operator::Eq => (Some(value.clone()), Some(value)),
        Operator::Gt | Operator::GtEq => (Some(value), None),
        Operator::Lt | Operator::LtEq => (None, Some(value)),
        _ => return None,
    };
    Some(ColumnFilter { column: column.id, min, max })
}

/// The literal as a value of the column's own type: only where that is the same value.
fn value_of(value: &ScalarValue, column: &Column, precision: Precision) -> Option<Value> {
    let arrow = column.data_type.arrow(precision);
    if value.is_null() || (value.data_type() != arrow && !same_kind(&value.data_type(), &arrow)) {
        return None;
    }
    let exact = value.cast_to(&arrow).ok()?;
    let back = exact.cast_to(&value.data_type()).ok()?;
    if back.partial_cmp(value) != Some(Ordering::Equal) {
        return None;
    }
    match exact {
        ScalarValue::Int8(Some(n)) => Some(Value::Int(n.into())),
        ScalarValue::Int16(Some(n)) => Some(Value::Int(n.into())),
        ScalarValue::Int32(Some(n)) => Some(Value::Int(n.into())),
        ScalarValue::Int64(Some(n)) => Some(Value::Int(n)),
        ScalarValue::UInt8(Some(n)) => Some(Value::UInt(n.into())),
        ScalarValue::UInt16(Some(n)) => Some(Value::UInt(n.into())),
        ScalarValue::UInt32(Some(n)) => Some(Value::UInt(n.into())),
        ScalarValue::UInt64(Some(n)) => Some(Value::UInt(n)),
        ScalarValue::Float32(Some(n)) if !n.is_nan() => Some(Value::Float(n.into())),
        ScalarValue::Float64(Some(n)) if !n.is_nan() => Some(Value::Float(n)),
        ScalarValue::TimestampMillisecond(Some(n), _)
        | ScalarValue::TimestampMicrosecond(Some(n), _)
        | ScalarValue::TimestampNanosecond(Some(n), _) => Some(Value::Int(n)),
        ScalarValue::Utf8(Some(text)) if column.data_type != DataType::Json => Some(Value::Text(text)),
        _ => None,
    }
}

fn same_kind(left: &Arrow, right: &Arrow) -> bool {
    let text = |t: &Arrow| matches!(t, Arrow::Utf8 | Arrow::Utf8View | Arrow::LargeUtf8);
    let time = |t: &Arrow| matches!(t, Arrow::Timestamp(_, Some(_)));
    left.is_integer() && right.is_integer() || text(left) && text(right) || time(left) && time(right)
}

/// Nanoseconds in one tick of an Arrow time unit.
#[must_use]
pub fn unit_nanos(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}
