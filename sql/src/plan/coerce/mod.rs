//! What the types of PostgreSQL and TDengine ask beyond DataFusion's own coercions, done once on the fresh plan.
//!
//! - operators, CASE, COALESCE, lists, VALUES and set operations have PostgreSQL's types: [`operators`], [`unify`], [`sets`];
//! - casts round, refuse and read text as PostgreSQL's do: [`casts`];
//! - a quoted string beside a timestamp is a time in the session's zone; a number beside one is ticks of its precision;
//! - a timestamp without zone beside one with a zone is a wall clock in the session's zone;
//! - whole numbers that fit are `int4`, as in PostgreSQL, not `int8`;
//! - `division = 'double'` makes `7 / 2` 3.5;
//! - `now()` is the time that the statement or transaction began.
//!
//! Types come from below: every node is rewritten after its inputs, so that an expression sees the types that they have
//! by then. Rewriting twice changes nothing more. Start reading at [`coerce`].

mod casts;
mod operators;
mod recursion;
mod sets;
mod times;
mod unify;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, Operator};
use sqlparser::ast::BinaryOperator;

use super::PlanContext;
use super::types::Typed;
use crate::pgtype::{PG_OID, PgType};
pub use times::{local_instant, parse_instant};

/// Rewrites every expression of `plan`, inside subqueries too.
///
/// # Errors
///
/// 22P02 and the like for a literal that is no value of its type, 42804 and 42883 for types that do not fit together.
pub fn coerce(plan: LogicalPlan, context: &PlanContext) -> Result<LogicalPlan> {
    // What a recursion gives is decided by its first term, before the second is looked at.
    let plan = plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::RecursiveQuery(query) => {
            Ok(Transformed::new(recursion::coerced(query, context)?, true, TreeNodeRecursion::Jump))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let rewritten = plan.data.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Values(values) => sets::values(values, context).map(Transformed::yes),
        LogicalPlan::Union(union) => sets::union(union, context).map(Transformed::yes),
        other => expressions(other, context),
    })?;
    Ok(rewritten.data)
}

/// Rewrites the expressions of one node.
fn expressions(node: LogicalPlan, context: &PlanContext) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&node.inputs());
    if let LogicalPlan::TableScan(scan) = &node {
        schema = scan.projected_schema.as_ref().clone();
    }
    let limit = matches!(node, LogicalPlan::Limit(_));
    let numbers = matches!(node, LogicalPlan::Projection(_));
    let condition = match &node {
        LogicalPlan::Filter(_) => Some("WHERE"),
        LogicalPlan::Join(_) => Some("JOIN/ON"),
        _ => None,
    };
    let rewriter = Rewriter { schema: &schema, context };
    let names = NamePreserver::new(&node);
    let sorted = matches!(node, LogicalPlan::Sort(_));
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = if limit { count_parameters(expr)? } else { Transformed::no(expr) };
        let expr = if numbers { expr.transform_data(narrow_integers)? } else { expr };
        let expr = expr.transform_data(|expr| rewriter.rewrite(expr))?;
        let expr = match condition {
            Some("WHERE") => Transformed::new_transformed(rewriter.truth(expr.data, "WHERE")?, expr.transformed),
            _ => expr,
        };
        let expr = if sorted { expr.update_data(|expr| rewriter.sort_key(expr)) } else { expr };
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?;
    node.map_data(LogicalPlan::recompute_schema)
}

/// Says in time what DataFusion's planner would refuse before [`coerce`] sees it: operators of types that it does not mix.
#[derive(Debug)]
pub struct EarlyCoercion(pub Arc<PlanContext>);

impl ExprPlanner for EarlyCoercion {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let op = match raw.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Modulo,
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            BinaryOperator::StringConcat => Operator::StringConcat,
            BinaryOperator::And => Operator::And,
            BinaryOperator::Or => Operator::Or,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let rewriter = Rewriter { schema, context: &self.0 };
        // Those of arrays are DataFusion's.
        let list = |expr: &Expr| matches!(rewriter.type_of(expr), Some(DataType::List(_)));
        if op == Operator::StringConcat && (list(&raw.left) || list(&raw.right)) {
            return Ok(PlannerResult::Original(raw));
        }
        Ok(PlannerResult::Planned(rewriter.operate(raw.left, op, raw.right)?))
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

/// The same number as `int4`, if it is a literal that fits, as in PostgreSQL.
fn narrow(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), metadata) => match i32::try_from(n) {
            // PostgreSQL reads the least int4 as minus the first number that is none.
            Ok(n) if n != i32::MIN => Expr::Literal(ScalarValue::Int32(Some(n)), metadata),
            _ => Expr::Literal(ScalarValue::Int64(Some(n)), metadata),
        },
        other => other,
    }
}

/// Whole numbers outside calls, as `int4` where they fit. The arguments of calls are narrowed by what knows the call.
fn narrow_integers(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| match expr {
        number @ Expr::Literal(ScalarValue::Int64(Some(_)), _) => Ok(Transformed::yes(narrow(number))),
        call @ (Expr::ScalarFunction(_)
        | Expr::AggregateFunction(_)
        | Expr::WindowFunction(_)
        | Expr::HigherOrderFunction(_)) => Ok(Transformed::new(call, false, TreeNodeRecursion::Jump)),
        other => Ok(Transformed::no(other)),
    })
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

/// Rewrites expressions over one schema.
struct Rewriter<'a> {
    schema: &'a DFSchema,
    context: &'a PlanContext,
}

impl Rewriter<'_> {
    fn rewrite(&self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| {
            Ok(match expr {
                Expr::BinaryExpr(binary) => Transformed::yes(self.operate(*binary.left, binary.op, *binary.right)?),
                Expr::Between(between) => Transformed::yes(self.between(between)?),
                Expr::InList(list) => Transformed::yes(self.in_list(list)?),
                Expr::InSubquery(subquery) => Transformed::yes(self.in_subquery(subquery)?),
                Expr::Like(like) => Transformed::yes(Expr::Like(self.like(like)?)),
                Expr::Case(case) => Transformed::yes(self.case(case)?),
                Expr::Not(inner) => Transformed::yes(Expr::Not(Box::new(self.truth(*inner, "NOT")?))),
                Expr::Negative(inner) => Transformed::yes(self.negative(*inner)?),
                Expr::Literal(value, metadata) => number(value, metadata),
                Expr::Cast(cast) => Transformed::yes(self.cast(cast)?),
                Expr::ScalarFunction(call) => Transformed::yes(self.call(call)?),
                Expr::AggregateFunction(mut call) => {
                    let name = call.func.name().to_owned();
                    call.params.args = self.as_doubles(&name, std::mem::take(&mut call.params.args));
                    Transformed::yes(Expr::AggregateFunction(call))
                }
                other => Transformed::no(other),
            })
        })
    }

    fn type_of(&self, expr: &Expr) -> Option<DataType> {
        expr.get_type(self.schema).ok()
    }

    /// The type of an expression as PostgreSQL sees it; None where it cannot be said.
    fn typed(&self, expr: &Expr) -> Option<Typed> {
        Some(match expr {
            Expr::Literal(value, metadata) if value.is_null() && (value.data_type().is_null() || is_text(value)) => {
                let _ = metadata;
                Typed::unknown()
            }
            Expr::Literal(value, None) if is_text(value) => Typed::unknown(),
            Expr::Placeholder(Placeholder { field: None, .. }) => Typed::unknown(),
            Expr::Literal(ScalarValue::Int64(Some(_)), _) => {
                Typed::of_arrow(narrow(expr.clone()).get_type(self.schema).ok()?)
            }
            Expr::Alias(alias) => self.typed(&alias.expr)?,
            _ => Typed::of(expr.to_field(self.schema).ok()?.1.as_ref()),
        })
    }

    fn call(&self, call: ScalarFunction) -> Result<Expr> {
        if matches!(call.name(), "now" | "current_timestamp") && call.args.is_empty() {
            let now = timestamp(TimeUnit::Microsecond, self.context.now(), Arc::from("UTC"));
            return Ok(Expr::Literal(now, None));
        }
        if call.name() == "pg_typeof"
            && let [of] = call.args.as_slice()
            && let Some(of) = self.typed(of)
        {
            let metadata = [(PG_OID.to_owned(), PgType::REGTYPE.oid.to_string())].into();
            let metadata = FieldMetadata::new(metadata);
            let oid = if of.is_unknown() { PgType::UNKNOWN.oid } else { of.pg.oid };
            return Ok(Expr::Literal(ScalarValue::Int32(Some(oid.cast_signed())), Some(metadata)));
        }
        if let Some(op) = operators::operator_of(&call)
            && let [left, right] = call.args.as_slice()
        {
            return self.operate(left.clone(), op, right.clone());
        }
        self.unified(call)
    }
}

fn is_text(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Utf8(_) | ScalarValue::LargeUtf8(_) | ScalarValue::Utf8View(_))
}

/// A number that DataFusion reads as a type that PostgreSQL does not have: one above bigint, or `1e3` with a negative scale.
fn number(value: ScalarValue, metadata: Option<FieldMetadata>) -> Transformed<Expr> {
    let wide = |value: &ScalarValue, digits: u8| value.cast_to(&DataType::Decimal128(digits, 0)).ok();
    let better = match &value {
        ScalarValue::UInt64(Some(n)) if i64::try_from(*n).is_err() => wide(&value, 20),
        ScalarValue::Decimal128(_, precision, scale) if *scale < 0 => {
            let digits = i16::from(*precision) - i16::from(*scale);
            match u8::try_from(digits).ok().filter(|digits| *digits <= 38) {
                Some(digits) => wide(&value, digits),
                None => value.cast_to(&DataType::Decimal256(76, 0)).ok(),
            }
        }
        ScalarValue::Decimal256(_, _, scale) if *scale < 0 => value.cast_to(&DataType::Decimal256(76, 0)).ok(),
        _ => None,
    };
    match better {
        Some(better) => Transformed::yes(Expr::Literal(better, metadata)),
        None => Transformed::no(Expr::Literal(value, metadata)),
    }
}

/// A number of ticks as a timestamp.
pub(crate) fn timestamp(unit: TimeUnit, ticks: i64, zone: Arc<str>) -> ScalarValue {
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
