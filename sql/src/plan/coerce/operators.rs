//! Operators: which one PostgreSQL means for two types, and what stands in for it where DataFusion's does something else.
//!
//! Start reading at [`Rewriter::operate`].

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{InList, InSubquery, Placeholder, ScalarFunction};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator, ScalarUDF};
use model::error;

use super::times::out_of_range;
use super::{Rewriter, cast_to, narrow, parse_instant, times, timestamp, whole_number};
use crate::functions::checked::{self, checked};
use crate::functions::pg::{moments, numeric, text_function};
use crate::pgtype::PgType;
use crate::plan::error::to_datafusion;
use crate::plan::filter::unit_nanos;
use crate::plan::types::{Typed, category, common};

/// The operator that a call of one of our functions stands in for.
pub(super) fn operator_of(call: &ScalarFunction) -> Option<Operator> {
    let inner = call.func.inner().as_ref() as &dyn std::any::Any;
    if let Some(of) = inner.downcast_ref::<numeric::Numeric>() {
        return Some(of.operator);
    }
    if let Some(of) = inner.downcast_ref::<moments::Moment>() {
        return Some(of.operator);
    }
    checked::operator_of(call)
}

fn call(function: &Arc<ScalarUDF>, arguments: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), arguments))
}

pub(super) fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
}

/// 42883 for an operator that these types do not have.
pub(super) fn no_operator(left: &Typed, op: &str, right: &Typed) -> DataFusionError {
    let error = error!(UndefinedFunction, "operator does not exist: {} {op} {}", left.name(), right.name());
    to_datafusion(
        error.with_hint(
            "No operator matches the given name and argument types. You might need to add explicit type casts.",
        ),
    )
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

impl Rewriter<'_> {
    /// `left op right` as PostgreSQL means it.
    pub(super) fn operate(&self, left: Expr, op: Operator, right: Expr) -> Result<Expr> {
        use Operator::{And, Divide, Minus, Modulo, Multiply, Or, Plus, StringConcat};
        let (Some(left_type), Some(right_type)) = (self.typed(&left), self.typed(&right)) else {
            return Ok(binary(left, op, right));
        };
        match op {
            And | Or => {
                let name = if op == And { "AND" } else { "OR" };
                Ok(binary(self.truth(left, name)?, op, self.truth(right, name)?))
            }
            Plus | Minus | Multiply | Divide | Modulo => self.arithmetic((left, left_type), op, (right, right_type)),
            StringConcat => self.concatenation((left, left_type), (right, right_type)),
            _ if is_comparison(op) => self.comparison((left, left_type), op, (right, right_type)),
            _ => Ok(binary(left, op, right)),
        }
    }

    fn comparison(&self, left: (Expr, Typed), op: Operator, right: (Expr, Typed)) -> Result<Expr> {
        let (mut left, left_type) = left;
        let (mut right, right_type) = right;
        let zoned = |of: &Typed| matches!(of.arrow, DataType::Timestamp(_, Some(_)));
        if zoned(&left_type) || zoned(&right_type) {
            right = self.beside(&left, right)?;
            left = self.beside(&right, left)?;
            return Ok(self.on_ticks(left, op, right));
        }
        if left_type.pg == PgType::BPCHAR || right_type.pg == PgType::BPCHAR {
            // Spaces at the end of a character(n) do not count.
            let text =
                |expr, of: &Typed| if of.pg == PgType::BPCHAR { call(text_function(), vec![expr]) } else { expr };
            return Ok(binary(text(left, &left_type), op, text(right, &right_type)));
        }
        let as_is = |of: &Typed| of.is_unknown() || matches!(category(of.pg), 'S' | 'U');
        if left_type.is_unknown() || right_type.is_unknown() {
            if as_is(&left_type) && as_is(&right_type) {
                return Ok(binary(left, op, right));
            }
            if is_oid_name(&left_type) || is_oid_name(&right_type) {
                return Ok(binary(left, op, right));
            }
            if left_type.is_unknown() {
                left = self.converted(left, &left_type, &right_type)?;
            } else {
                right = self.converted(right, &right_type, &left_type)?;
            }
            return match (self.typed(&left), self.typed(&right)) {
                (Some(a), Some(b)) if !a.is_unknown() && !b.is_unknown() => self.comparison((left, a), op, (right, b)),
                _ => Ok(binary(left, op, right)),
            };
        }
        let length = |of: &Typed| matches!(of.arrow, DataType::Interval(_) | DataType::Duration(_));
        if length(&left_type) && length(&right_type) {
            let of = |expr| call(moments::length(), vec![expr]);
            return Ok(binary(of(left), op, of(right)));
        }
        match (category(left_type.pg), category(right_type.pg)) {
            ('N', 'N') => {
                let [left, right] = self.as_numbers([(left, left_type), (right, right_type)])?;
                Ok(binary(left, op, right))
            }
            ('D', 'D') if left_type.pg != right_type.pg => match common("", &[left_type.clone(), right_type.clone()]) {
                Ok(to) => {
                    let (left, right) =
                        (self.converted(left, &left_type, &to)?, self.converted(right, &right_type, &to)?);
                    Ok(binary(left, op, right))
                }
                Err(_) => Err(no_operator(&left_type, &op.to_string(), &right_type)),
            },
            // Ticks beside a timestamp, and what is no type of PostgreSQL's, are DataFusion's to compare.
            ('D', 'N') | ('N', 'D') | ('U', _) | (_, 'U') => Ok(binary(left, op, right)),
            (a, b) if a == b => Ok(binary(left, op, right)),
            _ => Err(no_operator(&left_type, symbol(op), &right_type)),
        }
    }

    /// Two numbers as one type: doubles if one is a double, else numerics that hold both; whole numbers as they are.
    fn as_numbers(&self, sides: [(Expr, Typed); 2]) -> Result<[Expr; 2]> {
        let decimal = sides.iter().any(|(_, of)| of.pg == PgType::NUMERIC && !of.arrow.is_integer());
        let float = sides.iter().any(|(_, of)| of.arrow.is_floating());
        let same = sides[0].1.arrow == sides[1].1.arrow;
        if same || !(decimal || float) {
            return Ok(sides.map(|(expr, _)| expr));
        }
        let to = if float {
            Typed::of_arrow(DataType::Float64)
        } else {
            let types = [sides[0].1.clone(), sides[1].1.clone()];
            common("", &types).map_err(|(error, _)| to_datafusion(error))?
        };
        let [(left, left_type), (right, right_type)] = sides;
        Ok([self.converted(left, &left_type, &to)?, self.converted(right, &right_type, &to)?])
    }

    fn concatenation(&self, left: (Expr, Typed), right: (Expr, Typed)) -> Result<Expr> {
        let text = |of: &Typed| of.is_unknown() || category(of.pg) == 'S' || of.arrow.is_string();
        let other = |of: &Typed| matches!(category(of.pg), 'N' | 'B' | 'D' | 'T') && !of.arrow.is_string();
        if other(&left.1) && other(&right.1) {
            return Err(no_operator(&left.1, "||", &right.1));
        }
        let shown = |(expr, of): (Expr, Typed)| {
            if other(&of) || of.pg == PgType::BPCHAR { call(text_function(), vec![expr]) } else { expr }
        };
        if !text(&left.1) && !other(&left.1) || !text(&right.1) && !other(&right.1) {
            return Ok(binary(left.0, Operator::StringConcat, right.0));
        }
        Ok(binary(shown(left), Operator::StringConcat, shown(right)))
    }

    fn arithmetic(&self, left: (Expr, Typed), op: Operator, right: (Expr, Typed)) -> Result<Expr> {
        let (left, left_type) = left;
        let (right, right_type) = right;
        match (left_type.is_unknown(), right_type.is_unknown()) {
            (true, true) => self.both_unknown(left, op, right),
            (true, false) => {
                let to = beside_in_arithmetic(&right_type, op, true)?;
                let left = self.converted(left, &left_type, &to)?;
                self.arithmetic((left, to), op, (right, right_type))
            }
            (false, true) => {
                let to = beside_in_arithmetic(&left_type, op, false)?;
                let right = self.converted(right, &right_type, &to)?;
                self.arithmetic((left, left_type), op, (right, to))
            }
            _ => self.typed_arithmetic((left, left_type), op, (right, right_type)),
        }
    }

    /// `NULL + NULL` is NULL, `$1 + $2` whole numbers; of two literals nobody knows what they are.
    fn both_unknown(&self, left: Expr, op: Operator, right: Expr) -> Result<Expr> {
        let literal = |expr: &Expr| matches!(expr, Expr::Literal(value, _) if !value.is_null());
        if literal(&left) && literal(&right) {
            let error = error!(AmbiguousFunction, "operator is not unique: unknown {op} unknown");
            return Err(to_datafusion(
                error.with_hint(
                    "Could not choose a best candidate operator. You might need to add explicit type casts.",
                ),
            ));
        }
        let integer = Typed::of_arrow(DataType::Int64);
        let unknown = Typed::unknown();
        let (left, right) = (self.converted(left, &unknown, &integer)?, self.converted(right, &unknown, &integer)?);
        Ok(binary(left, op, right))
    }

    fn typed_arithmetic(&self, left: (Expr, Typed), op: Operator, right: (Expr, Typed)) -> Result<Expr> {
        let (left, left_type) = (self.signed(left.0, &left.1), left.1);
        let (right, right_type) = (self.signed(right.0, &right.1), right.1);
        let (Some(left_arrow), Some(right_arrow)) = (self.type_of(&left), self.type_of(&right)) else {
            return Ok(binary(left, op, right));
        };
        if category(left_type.pg) == 'N' && category(right_type.pg) == 'N' {
            return self.numbers((left, left_arrow), op, (right, right_arrow));
        }
        if let (DataType::Timestamp(unit, _), Some(n)) = (&left_arrow, whole_number(&right))
            && matches!(op, Operator::Plus | Operator::Minus)
        {
            return Ok(self.ticks(left, op, n, *unit));
        }
        if let Some(function) = moments::operator(&left_arrow, op, &right_arrow) {
            return Ok(call(function, vec![narrow(left), narrow(right)]));
        }
        let moment = |of: &DataType| matches!(of, DataType::Timestamp(..) | DataType::Date32);
        if op == Operator::Minus && moment(&left_arrow) && moment(&right_arrow) {
            let to = common("", &[left_type.clone(), right_type.clone()]).map_err(|(error, _)| to_datafusion(error))?;
            let (left, right) = (self.converted(left, &left_type, &to)?, self.converted(right, &right_type, &to)?);
            return Ok(binary(left, op, right));
        }
        let known = |of: &Typed| !matches!(category(of.pg), 'U' | 'A');
        let ticks = matches!(left_arrow, DataType::Timestamp(..))
            && right_arrow.is_integer()
            && matches!(op, Operator::Plus | Operator::Minus);
        if known(&left_type) && known(&right_type) && !ticks {
            return Err(no_operator(&left_type, symbol(op), &right_type));
        }
        Ok(binary(left, op, right))
    }

    /// A number that DataFusion would compute with without a sign, as PostgreSQL's type for it.
    fn signed(&self, expr: Expr, of: &Typed) -> Expr {
        match of.arrow {
            DataType::UInt8 => cast_to(expr, DataType::Int16),
            DataType::UInt16 => cast_to(expr, DataType::Int32),
            DataType::UInt32 => cast_to(expr, DataType::Int64),
            DataType::UInt64 => cast_to(expr, DataType::Decimal128(20, 0)),
            _ => expr,
        }
    }

    fn numbers(&self, left: (Expr, DataType), op: Operator, right: (Expr, DataType)) -> Result<Expr> {
        let (mut left, left_arrow) = left;
        let (mut right, right_arrow) = right;
        if left_arrow.is_floating() || right_arrow.is_floating() {
            if left_arrow != right_arrow {
                let double = Typed::of_arrow(DataType::Float64);
                left = self.converted(left, &Typed::of_arrow(left_arrow.clone()), &double)?;
                right = self.converted(right, &Typed::of_arrow(right_arrow.clone()), &double)?;
            }
            let types = [&self.type_of(&left).unwrap_or(left_arrow), &self.type_of(&right).unwrap_or(right_arrow)];
            return Ok(checked(&left, op, &right, types).unwrap_or_else(|| binary(left, op, right)));
        }
        if (left_arrow.is_decimal() || right_arrow.is_decimal())
            && !(op == Operator::Divide && self.context.double_division)
        {
            return self.numerics(left, op, right);
        }
        if op == Operator::Divide && self.context.double_division {
            let double = Typed::of_arrow(DataType::Float64);
            let left = self.converted(left, &Typed::of_arrow(left_arrow), &double)?;
            let right = self.converted(right, &Typed::of_arrow(right_arrow), &double)?;
            let types = [&DataType::Float64, &DataType::Float64];
            return Ok(checked(&left, op, &right, types).unwrap_or_else(|| binary(left, op, right)));
        }
        if let Some(checked) = checked(&left, op, &right, [&left_arrow, &right_arrow]) {
            return Ok(checked);
        }
        Ok(binary(narrow(left), op, narrow(right)))
    }

    /// At least one side is a decimal, the other is exact too.
    fn numerics(&self, left: Expr, op: Operator, right: Expr) -> Result<Expr> {
        if op == Operator::Divide
            && let (Expr::Literal(a, _), Expr::Literal(b, _)) = (&left, &right)
            && let Some(quotient) = numeric::literal_quotient(a, b)?
        {
            return Ok(Expr::Literal(quotient, None));
        }
        let function = numeric::operator(op).ok_or_else(|| plan_datafusion_err!("{op} is no operator of numerics"))?;
        Ok(call(function, vec![exact(left), exact(right)]))
    }

    /// `ts + 1000`: ticks of the timestamp's precision.
    fn ticks(&self, left: Expr, op: Operator, n: i64, unit: TimeUnit) -> Expr {
        let nanos = i64::try_from(i128::from(n) * i128::from(unit_nanos(unit))).unwrap_or(i64::MAX);
        let length = Expr::Literal(ScalarValue::new_interval_mdn(0, 0, nanos), None);
        let interval = DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano);
        let zoned = DataType::Timestamp(unit, Some(Arc::from("UTC")));
        match moments::operator(&zoned, op, &interval) {
            Some(function) => call(function, vec![left, length]),
            None => binary(left, op, length),
        }
    }

    pub(super) fn negative(&self, inner: Expr) -> Result<Expr> {
        let Some(of) = self.typed(&inner) else { return Ok(Expr::Negative(Box::new(inner))) };
        if matches!(of.arrow, DataType::Interval(_) | DataType::Duration(_)) {
            return Ok(call(moments::negation(), vec![inner]));
        }
        if of.is_unknown() {
            let double = Typed::of_arrow(DataType::Float64);
            return Ok(Expr::Negative(Box::new(self.converted(inner, &of, &double)?)));
        }
        Ok(Expr::Negative(Box::new(self.signed(inner, &of))))
    }

    pub(super) fn between(&self, between: Between) -> Result<Expr> {
        let Between { expr, negated, low, high } = between;
        let types = [self.typed(&expr), self.typed(&low), self.typed(&high)];
        let [Some(expr_type), Some(low_type), Some(high_type)] = types else {
            return Ok(Expr::Between(Between::new(expr, negated, low, high)));
        };
        let zoned = matches!(expr_type.arrow, DataType::Timestamp(_, Some(_)));
        if zoned {
            let (low, high) = (self.beside(&expr, *low)?, self.beside(&expr, *high)?);
            if times::is_finer(&low, &expr_type.arrow) || times::is_finer(&high, &expr_type.arrow) {
                let at_least = self.on_ticks((*expr).clone(), Operator::GtEq, low);
                let both = binary(at_least, Operator::And, self.on_ticks(*expr, Operator::LtEq, high));
                return Ok(if negated { Expr::Not(Box::new(both)) } else { both });
            }
            return Ok(Expr::Between(Between::new(expr, negated, Box::new(low), Box::new(high))));
        }
        // The same types on all sides stay one condition, which a scan can use.
        let all = [expr_type.clone(), low_type.clone(), high_type.clone()];
        let plain =
            !matches!(expr_type.arrow, DataType::Interval(_) | DataType::Duration(_)) && !expr_type.is_unknown();
        if plain
            && !is_oid_name(&expr_type)
            && !expr_type.arrow.is_integer()
            && let Ok(to) = common("", &all)
            && to.arrow == expr_type.arrow
        {
            let (low, high) = (self.converted(*low, &low_type, &to)?, self.converted(*high, &high_type, &to)?);
            return Ok(Expr::Between(Between::new(expr, negated, Box::new(low), Box::new(high))));
        }
        let whole = |of: &Typed| of.arrow.is_integer() || of.arrow.is_null() && of.pg != PgType::UNKNOWN;
        if whole(&expr_type) && whole(&low_type) && whole(&high_type) {
            return Ok(Expr::Between(Between::new(expr, negated, low, high)));
        }
        let at_least = self.operate((*expr).clone(), Operator::GtEq, *low)?;
        let at_most = self.operate(*expr, Operator::LtEq, *high)?;
        let both = binary(at_least, Operator::And, at_most);
        Ok(if negated { Expr::Not(Box::new(both)) } else { both })
    }

    pub(super) fn in_list(&self, list: InList) -> Result<Expr> {
        let InList { expr, list, negated } = list;
        let rest = |expr, list| Ok(Expr::InList(InList { expr, list, negated }));
        let Some(expr_type) = self.typed(&expr) else { return rest(expr, list) };
        if matches!(expr_type.arrow, DataType::Timestamp(_, Some(_))) {
            let list: Vec<Expr> = list.into_iter().map(|item| self.beside(&expr, item)).collect::<Result<_>>()?;
            if list.iter().any(|item| times::is_finer(item, &expr_type.arrow)) {
                let (op, join) = if negated { (Operator::NotEq, Operator::And) } else { (Operator::Eq, Operator::Or) };
                let each = list.into_iter().map(|item| self.on_ticks((*expr).clone(), op, item));
                return Ok(each.reduce(|a, b| binary(a, join, b)).unwrap_or(*expr));
            }
            return rest(expr, list);
        }
        let Some(types) = list.iter().map(|item| self.typed(item)).collect::<Option<Vec<_>>>() else {
            return rest(expr, list);
        };
        let all: Vec<Typed> = std::iter::once(expr_type.clone()).chain(types.iter().cloned()).collect();
        let odd = |of: &Typed| is_oid_name(of) || category(of.pg) == 'U';
        if all.iter().any(odd) || all.iter().all(|of| of.arrow.is_integer() || of.arrow.is_null() && !of.is_unknown()) {
            return rest(expr, list);
        }
        let to = match common("", &all) {
            Ok(to) => to,
            Err(_) => {
                let wrong = types.iter().find(|of| !of.is_unknown() && category(of.pg) != category(expr_type.pg));
                let wrong = wrong.unwrap_or(&expr_type);
                return Err(no_operator(&expr_type, if negated { "<>" } else { "=" }, wrong));
            }
        };
        if matches!(to.arrow, DataType::Interval(_)) {
            let op = if negated { Operator::NotEq } else { Operator::Eq };
            let join = if negated { Operator::And } else { Operator::Or };
            let each = list.into_iter().map(|item| self.operate((*expr).clone(), op, item));
            let each = each.collect::<Result<Vec<_>>>()?;
            return Ok(each.into_iter().reduce(|a, b| binary(a, join, b)).unwrap_or(*expr));
        }
        let items = list.into_iter().zip(&types).map(|(item, of)| self.converted(item, of, &to));
        rest(Box::new(self.converted(*expr, &expr_type, &to)?), items.collect::<Result<_>>()?)
    }

    pub(super) fn in_subquery(&self, of: InSubquery) -> Result<Expr> {
        let InSubquery { expr, mut subquery, negated } = of;
        let field = subquery.subquery.schema().fields().first().cloned();
        if let (Some(expr_type), Some(field)) = (self.typed(&expr), field) {
            let given = Typed::of(&field);
            let types = [expr_type.clone(), given.clone()];
            let differ = expr_type.arrow != given.arrow && !(expr_type.arrow.is_integer() && given.arrow.is_integer());
            let known = types.iter().all(|of| category(of.pg) != 'U' && !is_oid_name(of)) && !given.is_unknown();
            if differ && known {
                let Ok(to) = common("", &types) else { return Err(no_operator(&expr_type, "=", &given)) };
                let plan = super::sets::projected(
                    Arc::unwrap_or_clone(subquery.subquery),
                    std::slice::from_ref(&to),
                    self.context,
                )?;
                subquery.subquery = Arc::new(plan);
                let expr = Box::new(self.converted(*expr, &expr_type, &to)?);
                return Ok(Expr::InSubquery(InSubquery { expr, subquery, negated }));
            }
        }
        Ok(Expr::InSubquery(InSubquery { expr, subquery, negated }))
    }

    /// `expr LIKE pattern`: PostgreSQL has it of text only.
    pub(super) fn like(&self, like: Like) -> Result<Like> {
        let (Some(of), Some(pattern)) = (self.typed(&like.expr), self.typed(&like.pattern)) else { return Ok(like) };
        let other = |of: &Typed| !of.is_unknown() && matches!(category(of.pg), 'N' | 'B' | 'D' | 'T');
        if other(&of) || other(&pattern) {
            let op = match (like.case_insensitive, like.negated) {
                (false, false) => "~~",
                (false, true) => "!~~",
                (true, false) => "~~*",
                (true, true) => "!~~*",
            };
            return Err(no_operator(&of, op, &pattern));
        }
        Ok(like)
    }

    /// `expr` as a condition.
    pub(super) fn truth(&self, expr: Expr, construct: &str) -> Result<Expr> {
        let Some(of) = self.typed(&expr) else { return Ok(expr) };
        let boolean = Typed::of_arrow(DataType::Boolean);
        if of.is_unknown() {
            return self.converted(expr, &of, &boolean);
        }
        if of.pg == PgType::BOOL {
            return Ok(expr);
        }
        let error = error!(DatatypeMismatch, "argument of {construct} must be type boolean, not type {}", of.name());
        Err(to_datafusion(error))
    }

    /// Intervals are sorted by their length.
    pub(super) fn sort_key(&self, expr: Expr) -> Expr {
        match self.type_of(&expr) {
            Some(DataType::Interval(_)) => call(moments::length(), vec![expr]),
            _ => expr,
        }
    }

    /// `expr` as it is meant beside `anchor`: a string or a number beside a timestamp is a time.
    fn beside(&self, anchor: &Expr, expr: Expr) -> Result<Expr> {
        let Some(DataType::Timestamp(unit, Some(zone))) = self.type_of(anchor) else { return Ok(expr) };
        if let Some(n) = whole_number(&expr) {
            return Ok(Expr::Literal(timestamp(unit, n, zone), None));
        }
        if let Expr::Literal(value, None) = &expr
            && let Some(Some(text)) = value.try_as_str()
        {
            return self.instant(text, unit, &zone);
        }
        if let Expr::Placeholder(Placeholder { id, field: None }) = &expr {
            let field = Arc::new(Field::new(id, DataType::Timestamp(TimeUnit::Microsecond, Some(zone)), true));
            return Ok(Expr::Placeholder(Placeholder { id: id.clone(), field: Some(field) }));
        }
        match self.typed(&expr) {
            Some(of) if of.is_unknown() || of.arrow.is_integer() => Ok(expr),
            Some(Typed { arrow: DataType::Timestamp(unit, None), .. }) => Ok(self.in_zone(expr, unit)),
            Some(Typed { arrow: DataType::Timestamp(_, Some(_)), .. }) => Ok(expr),
            Some(Typed { arrow: DataType::Date32, .. }) => {
                Ok(self.in_zone(cast_to(expr, DataType::Timestamp(unit, None)), unit))
            }
            Some(other) => {
                let anchor = Typed::of_arrow(DataType::Timestamp(unit, Some(zone)));
                Err(no_operator(&anchor, "=", &other))
            }
            None => Ok(expr),
        }
    }

    /// A comparison of times, one of which may be a literal in finer ticks than the other has.
    fn on_ticks(&self, left: Expr, op: Operator, right: Expr) -> Expr {
        let unit = |expr: &Expr| match self.type_of(expr) {
            Some(DataType::Timestamp(unit, _)) => Some(unit),
            _ => None,
        };
        let compared = match (&left, &right) {
            (expr, Expr::Literal(value, _)) => unit(expr).and_then(|unit| times::on_ticks(expr, op, value, unit)),
            (Expr::Literal(value, _), expr) => {
                unit(expr).zip(op.swap()).and_then(|(unit, op)| times::on_ticks(expr, op, value, unit))
            }
            _ => None,
        };
        compared.unwrap_or_else(|| binary(left, op, right))
    }

    /// A wall clock of the session's zone as an instant.
    pub(super) fn in_zone(&self, expr: Expr, unit: TimeUnit) -> Expr {
        let local = DataType::Timestamp(unit, Some(self.context.timezone.arrow_name().into()));
        cast_to(cast_to(expr, local), DataType::Timestamp(unit, Some("UTC".into())))
    }

    pub(super) fn instant(&self, text: &str, unit: TimeUnit, zone: &Arc<str>) -> Result<Expr> {
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
}

/// Whole literals beside numerics are as short as they are written.
fn exact(expr: Expr) -> Expr {
    let short = |n: i64| {
        let digits = n.unsigned_abs().checked_ilog10().map_or(1, |log| log as u8 + 1);
        ScalarValue::Decimal128(Some(n.into()), digits, 0)
    };
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), metadata) => Expr::Literal(short(n), metadata),
        Expr::Literal(ScalarValue::Int32(Some(n)), metadata) => Expr::Literal(short(n.into()), metadata),
        other => other,
    }
}

/// PostgreSQL's spelling of an operator.
fn symbol(op: Operator) -> &'static str {
    match op {
        Operator::Plus => "+",
        Operator::Minus => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::Modulo => "%",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        _ => "=",
    }
}

/// A regclass and its kin, which take the names of objects.
fn is_oid_name(of: &Typed) -> bool {
    matches!(of.pg, PgType::REGCLASS | PgType::REGTYPE | PgType::REGPROC | PgType::REGNAMESPACE)
}

/// What an unknown literal is beside `known` in arithmetic; `before` if it stands on the left.
fn beside_in_arithmetic(known: &Typed, op: Operator, before: bool) -> Result<Typed> {
    let interval = || Typed::of_arrow(PgType::INTERVAL.arrow());
    let double = || Typed::of_arrow(DataType::Float64);
    Ok(match (known.pg, op) {
        (PgType::TIMESTAMP | PgType::TIMESTAMPTZ | PgType::TIME, Operator::Plus) => interval(),
        (PgType::DATE, Operator::Plus) => {
            let sides = if before { "unknown + date" } else { "date + unknown" };
            let error = error!(AmbiguousFunction, "operator is not unique: {sides}");
            return Err(to_datafusion(
                error.with_hint(
                    "Could not choose a best candidate operator. You might need to add explicit type casts.",
                ),
            ));
        }
        (PgType::INTERVAL, Operator::Plus | Operator::Minus) => interval(),
        (PgType::INTERVAL, _) => double(),
        (of, _) if category(of) == 'S' => {
            let unknown = Typed::unknown();
            let (left, right) = if before { (&unknown, known) } else { (known, &unknown) };
            return Err(no_operator(left, symbol(op), right));
        }
        _ => known.clone(),
    })
}
