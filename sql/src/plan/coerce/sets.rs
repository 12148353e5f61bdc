//! Rows from several places as one relation: set operations and VALUES have PostgreSQL's common types.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::logical_plan::{Projection, Union};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Values};

use super::{Rewriter, narrow};
use crate::functions::pg::given;
use crate::lower::sets::SIDES;
use crate::pgtype::{PG_OID, PgType};
use crate::plan::PlanContext;
use crate::plan::places::{moved, spotted};
use crate::plan::types::{Typed, common};

/// UNION ALL of inputs that have the same types, found pair by pair.
pub(super) fn union(union: Union, context: &PlanContext) -> Result<LogicalPlan> {
    let mut inputs = union.inputs.into_iter();
    let Some(first) = inputs.next() else { return datafusion::common::internal_err!("a union of nothing") };
    let mut merged: Vec<LogicalPlan> = vec![Arc::unwrap_or_clone(first)];
    // INTERSECT and EXCEPT come as unions of their sides.
    let last = merged[0].schema().fields().last().map_or("", |field| field.name().as_str());
    let construct = SIDES.iter().find(|(_, side)| *side == last).map_or("UNION", |(name, _)| *name);
    for next in inputs {
        let next = Arc::unwrap_or_clone(next);
        let (before, after) = (types(&merged[0]), types(&next));
        let mut chosen = Vec::with_capacity(before.len());
        for (at, (left, right)) in before.iter().zip(&after).enumerate() {
            let both = [left.clone(), right.clone()];
            let leaf = merged.iter().map(leaves).sum();
            let to = common(construct, &both).map_err(|(error, _)| spotted(error, construct, leaf, at))?;
            chosen.push(holding(to, &merged, &next, at));
        }
        merged.push(next);
        merged = merged.into_iter().map(|plan| projected(plan, &chosen, context)).collect::<Result<_>>()?;
    }
    Ok(LogicalPlan::Union(Union::try_new(merged.into_iter().map(Arc::new).collect())?))
}

/// A numeric type that has room for the literals that are read as numerics only now.
fn holding(to: Typed, merged: &[LogicalPlan], next: &LogicalPlan, at: usize) -> Typed {
    if to.pg != PgType::NUMERIC {
        return to;
    }
    let literal = |plan: &LogicalPlan| match plan {
        LogicalPlan::Projection(of) => match of.expr.get(at)?.clone().unalias() {
            Expr::Literal(value, _) => value.try_as_str().flatten().and_then(crate::numeric::parse),
            _ => None,
        },
        _ => None,
    };
    let shapes = merged.iter().chain([next]).filter_map(literal).map(|(value, scale)| {
        let whole = crate::numeric::digits_of(value).saturating_sub(scale).max(1);
        crate::numeric::Shape::fixed(whole, scale)
    });
    let own = crate::numeric::Shape::of(&to.arrow);
    match own.into_iter().chain(shapes).reduce(crate::numeric::Shape::union) {
        Some(shape) => Typed { pg: to.pg, arrow: shape.arrow() },
        None => to,
    }
}

/// How many SELECTs a plan unites.
fn leaves(plan: &LogicalPlan) -> usize {
    match plan {
        LogicalPlan::Union(union) => union.inputs.iter().map(|input| leaves(input)).sum(),
        LogicalPlan::Distinct(_) | LogicalPlan::Projection(_) => match plan.inputs().as_slice() {
            [input] if matches!(input, LogicalPlan::Union(_) | LogicalPlan::Distinct(_)) => leaves(input),
            _ => 1,
        },
        _ => 1,
    }
}

/// The types of a plan's columns; a literal that stands in its list is still of unknown type.
pub(super) fn types(plan: &LogicalPlan) -> Vec<Typed> {
    let literal = |at: usize| match plan {
        LogicalPlan::Projection(projection) => is_unknown(projection.expr.get(at)),
        _ => false,
    };
    let fields = plan.schema().fields().iter().enumerate();
    fields.map(|(at, field)| if literal(at) { Typed::unknown() } else { Typed::of(field) }).collect()
}

fn is_unknown(expr: Option<&Expr>) -> bool {
    match expr {
        Some(Expr::Alias(alias)) => is_unknown(Some(&alias.expr)),
        Some(Expr::Literal(value, metadata)) => {
            value.data_type().is_null() || metadata.is_none() && value.data_type().is_string()
        }
        Some(Expr::Placeholder(placeholder)) => placeholder.field.is_none(),
        _ => false,
    }
}

/// `plan` with columns of these types.
pub(super) fn projected(plan: LogicalPlan, to: &[Typed], context: &PlanContext) -> Result<LogicalPlan> {
    let from = types(&plan);
    let same = |(from, to): (&Typed, &Typed)| !from.is_unknown() && from.arrow == to.arrow;
    if from.iter().zip(to).all(same) {
        return Ok(plan);
    }
    if let LogicalPlan::Projection(projection) = plan {
        // Literals must be changed where they stand.
        let rewriter = Rewriter { schema: projection.input.schema(), context };
        let exprs = projection.expr.into_iter().zip(to).enumerate().map(|(at, (expr, to))| {
            let (relation, field) = projection.schema.qualified_field(at);
            converted(&rewriter, expr, to)?.alias_qualified(relation.cloned(), field.name()).pipe(Ok)
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        return Ok(LogicalPlan::Projection(Projection::try_new(exprs, projection.input)?));
    }
    let rewriter = Rewriter { schema: plan.schema(), context };
    let exprs = plan.schema().iter().zip(to).map(|((relation, field), to)| {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        converted(&rewriter, column, to)?.alias_qualified(relation.cloned(), field.name()).pipe(Ok)
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}

/// A value put into a function, for chains.
trait Pipe: Sized {
    fn pipe<T>(self, into: impl FnOnce(Self) -> T) -> T {
        into(self)
    }
}

impl Pipe for Expr {}

fn converted(rewriter: &Rewriter<'_>, expr: Expr, to: &Typed) -> Result<Expr> {
    let expr = narrow(expr.unalias());
    let Some(from) = rewriter.typed(&expr) else { return Ok(expr) };
    let expr = rewriter.converted(expr, &from, to)?;
    match rewriter.type_of(&expr) {
        Some(arrow) if arrow != to.arrow => rewriter.converted(expr, &Typed::of_arrow(arrow), to),
        _ => Ok(expr),
    }
}

/// VALUES whose columns have the types that their rows have in common.
pub(super) fn values(values: Values, context: &PlanContext) -> Result<LogicalPlan> {
    let empty = DFSchema::empty();
    let rewriter = Rewriter { schema: &empty, context };
    let Values { schema, values } = values;
    let mut rows = Vec::with_capacity(values.len());
    for row in values {
        let row = row.into_iter().map(|expr| {
            let expr = written(expr);
            let expr = rewriter.rewrite(expr)?.data;
            Ok(narrow(expr))
        });
        rows.push(row.collect::<Result<Vec<_>>>()?);
    }
    let mut fields = Vec::with_capacity(schema.fields().len());
    for (at, old) in schema.fields().iter().enumerate() {
        let column: Vec<Expr> = rows.iter().map(|row| row[at].clone()).collect();
        let column = rewriter.column_of_values(column, at)?;
        let first = column.iter().find_map(|expr| {
            let field = expr.to_field(&empty).ok()?.1;
            (!field.data_type().is_null()).then_some(field)
        });
        let all_same = |key: &str| {
            let of = |expr: &Expr| expr.to_field(&empty).ok().and_then(|(_, field)| field.metadata().get(key).cloned());
            let mut values = column.iter().map(of);
            let first = values.next().flatten();
            first.filter(|first| values.all(|other| other.as_ref() == Some(first)))
        };
        let data_type = first.map_or(DataType::Null, |field| field.data_type().clone());
        let mut field = Field::new(old.name(), data_type, true);
        if let Some(oid) = all_same(PG_OID) {
            field = field.with_metadata([(PG_OID.to_owned(), oid)].into());
        }
        fields.push((None, Arc::new(field)));
        for (row, expr) in rows.iter_mut().zip(column) {
            row[at] = expr;
        }
    }
    let schema = DFSchema::new_with_metadata(fields, schema.metadata().clone())?;
    Ok(LogicalPlan::Values(Values { schema: Arc::new(schema), values: rows }))
}

/// An expression of VALUES as it was written: DataFusion has cast it to its own idea of a common type; casts that were
/// written are marked.
fn written(expr: Expr) -> Expr {
    let expr = match expr {
        Expr::Cast(Cast { expr, .. }) => *expr,
        other => other,
    };
    match expr {
        Expr::Literal(value, _) if value.is_null() => Expr::Literal(ScalarValue::Null, None),
        Expr::ScalarFunction(mut call) if call.name() == given::NAME && !call.args.is_empty() => call.args.remove(0),
        other => other,
    }
}

impl Rewriter<'_> {
    fn column_of_values(&self, column: Vec<Expr>, at: usize) -> Result<Vec<Expr>> {
        let all = self.as_common("VALUES", column);
        all.map_err(|fault| moved(fault, at))
    }
}
