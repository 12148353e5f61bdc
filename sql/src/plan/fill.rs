//! FILL in a plan: the logical node, and how it becomes [`FillExec`].
//!
//! Lowering gives the derived table below FILL a name of its own and says what to do in a [`FillSpec`]; [`insert`] puts
//! the node there once the plan is typed, with what WHERE says of the time.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, Extension, LogicalPlan, Operator, SubqueryAlias, UserDefinedLogicalNode,
    UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::{ColumnarValue, ExecutionPlan};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use model::{TimeRange, error};

use super::error::to_datafusion;
use super::filter::{range_of, unit_nanos};
use crate::exec::fill::{FillExec, Filling};
use crate::functions::grid::Windows;
use crate::parser::markers::FillMode;

/// What lowering says of one FILL: the derived table below it has the window's start, `groups` columns of the
/// partition, and then the columns to be filled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FillSpec {
    /// How.
    pub mode: FillMode,
    /// The values of FILL(VALUE, …), one per filled column of the SELECT list.
    pub values: Vec<ScalarValue>,
    /// INTERVAL's width.
    pub width: String,
    /// INTERVAL's offset, empty for none.
    pub offset: String,
    /// SLIDING, empty for none.
    pub sliding: String,
    /// The session's zone.
    pub zone: String,
    /// Columns of the partition.
    pub groups: usize,
    /// Filled columns that the SELECT list has; more may follow for ORDER BY.
    pub listed: usize,
}

/// FILL over windows.
#[derive(Clone, Debug)]
struct FillNode {
    input: LogicalPlan,
    spec: FillSpec,
    schema: DFSchemaRef,
    /// What WHERE says of the time.
    bounds: Vec<(Operator, Expr)>,
}

/// Puts FILL above the derived tables that `fills` names.
///
/// # Errors
///
/// 22023 if the time of the query has no bounds, or FILL has another number of values than there are columns.
pub fn insert(plan: LogicalPlan, fills: &HashMap<String, FillSpec>) -> Result<LogicalPlan> {
    if fills.is_empty() {
        return Ok(plan);
    }
    let filled = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::SubqueryAlias(alias) if fills.contains_key(alias.alias.table()) => {
            let spec = fills[alias.alias.table()].clone();
            let input = Arc::unwrap_or_clone(alias.input);
            let node = FillNode::new(input, spec)?;
            let plan = Arc::new(LogicalPlan::Extension(Extension { node: Arc::new(node) }));
            Ok(Transformed::yes(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(plan, alias.alias)?)))
        }
        // Columns that may be filled with NULL are nullable from here on.
        other => Ok(Transformed::yes(other.recompute_schema()?)),
    })?;
    Ok(filled.data)
}

impl FillNode {
    fn new(input: LogicalPlan, spec: FillSpec) -> Result<Self> {
        let bounds = bounds(&input)?;
        let has = |ops: [Operator; 3]| bounds.iter().any(|(op, _)| ops.contains(op));
        let bounded =
            has([Operator::Eq, Operator::Gt, Operator::GtEq]) && has([Operator::Eq, Operator::Lt, Operator::LtEq]);
        if !bounded {
            let error = error!(InvalidParameterValue, "FILL needs a WHERE with a lower and an upper bound of the time");
            return Err(to_datafusion(error.with_hint("add ts >= '…' AND ts < '…' to the WHERE of the same SELECT")));
        }
        let filled = input.schema().fields().len() - 1 - spec.groups;
        if matches!(spec.mode, FillMode::Value | FillMode::ValueForced) && spec.values.len() != spec.listed {
            let (given, wanted) = (spec.values.len(), spec.listed);
            let error = error!(InvalidParameterValue, "FILL(VALUE) has {given} values for {wanted} columns");
            return Err(to_datafusion(error.with_hint("give one value per aggregated column of the SELECT list")));
        }
        debug_assert!(spec.listed <= filled);
        let first = 1 + spec.groups;
        let field = |(at, (qualifier, field)): (usize, (Option<&_>, &Arc<Field>))| {
            let nullable = at >= first || field.is_nullable();
            let field: Arc<Field> = Arc::new(field.as_ref().clone().with_nullable(nullable));
            (Option::<&datafusion::common::TableReference>::cloned(qualifier), field)
        };
        let fields = input.schema().iter().enumerate().map(field).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input, spec, schema, bounds })
    }
}

/// The conjuncts of the WHERE below `plan` that compare the time of the windows with a constant.
fn bounds(plan: &LogicalPlan) -> Result<Vec<(Operator, Expr)>> {
    let mut key = None;
    let mut node = plan;
    let mut found = Vec::new();
    loop {
        for expr in node.expressions() {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && matches!(call.name(), "__window_start" | "__window_starts")
                {
                    key = call.args.first().cloned();
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        if let (LogicalPlan::Filter(filter), Some(key)) = (node, &key) {
            conjuncts(&filter.predicate, key, &mut found);
        }
        let inputs = node.inputs();
        match inputs.as_slice() {
            // Above the windows there may be a level that looks at their neighbours.
            [input] if key.is_none() || !matches!(node, LogicalPlan::SubqueryAlias(_)) => node = input,
            _ => return Ok(found),
        }
    }
}

fn conjuncts(expr: &Expr, key: &Expr, found: &mut Vec<(Operator, Expr)>) {
    let constant = |expr: &Expr| expr.column_refs().is_empty() && !matches!(expr, Expr::ScalarSubquery(_));
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            conjuncts(left, key, found);
            conjuncts(right, key, found);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if left.as_ref() == key && constant(right) => {
            found.push((*op, right.as_ref().clone()));
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if right.as_ref() == key && constant(left) => {
            found.extend(op.swap().map(|op| (op, left.as_ref().clone())));
        }
        Expr::Between(Between { expr, negated: false, low, high })
            if expr.as_ref() == key && constant(low) && constant(high) =>
        {
            found.push((Operator::GtEq, low.as_ref().clone()));
            found.push((Operator::LtEq, high.as_ref().clone()));
        }
        _ => {}
    }
}

impl PartialEq for FillNode {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input && self.spec == other.spec && self.bounds == other.bounds
    }
}

impl Eq for FillNode {}

impl Hash for FillNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.spec.hash(state);
        self.bounds.hash(state);
    }
}

impl PartialOrd for FillNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for FillNode {
    fn name(&self) -> &'static str {
        "Fill"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.bounds.iter().map(|(_, expr)| expr.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Fill: {:?}, interval={}", self.spec.mode, self.spec.width)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.pop().ok_or_else(|| to_datafusion(model::Error::internal("FILL without an input")))?;
        let bounds = self.bounds.iter().zip(exprs).map(|((op, _), expr)| (*op, expr)).collect();
        Ok(Self { input, bounds, spec: self.spec.clone(), schema: Arc::clone(&self.schema) })
    }
}

/// DataFusion's planner with our nodes.
#[derive(Debug)]
pub struct FillQueryPlanner;

#[async_trait]
impl QueryPlanner for FillQueryPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(FillPlanner)]);
        planner.create_physical_plan(logical_plan, session).await
    }
}

struct FillPlanner;

#[async_trait]
impl ExtensionPlanner for FillPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(fill) = node.as_any().downcast_ref::<FillNode>() else { return Ok(None) };
        let input = Arc::clone(&inputs[0]);
        let schema = input.schema();
        let DataType::Timestamp(unit, _) = schema.field(0).data_type() else {
            return Err(to_datafusion(model::Error::internal("windows start with a timestamp")));
        };
        let empty = DFSchema::empty();
        let mut range = TimeRange::ALL;
        for (op, expr) in &fill.bounds {
            let expr = planner.create_physical_expr(expr, &empty, session, context)?;
            let value = match expr.evaluate(&RecordBatch::new_empty(Arc::new(empty.as_arrow().clone())))? {
                ColumnarValue::Scalar(value) => value,
                ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
            };
            let bound = range_of(*op, &value, unit_nanos(*unit));
            range = range.intersect(bound.ok_or_else(|| {
                to_datafusion(error!(DatatypeMismatch, "a bound of FILL's time is a {}, no time", value.data_type()))
            })?);
        }
        let filling = fill.spec.filling(range, *unit, schema.fields())?;
        let schema = Arc::new(fill.schema.as_arrow().clone());
        Ok(Some(Arc::new(FillExec::try_new(input, schema, filling)?)))
    }
}

impl FillSpec {
    fn filling(
        &self,
        range: TimeRange,
        unit: TimeUnit,
        fields: &datafusion::arrow::datatypes::Fields,
    ) -> Result<Filling> {
        let windows = Windows::parse(&self.width, &self.offset, &self.sliding, &self.zone, unit);
        let mut values = Vec::new();
        for (at, field) in fields.iter().skip(1 + self.groups).enumerate() {
            let null = || ScalarValue::try_from(field.data_type());
            let value = match self.values.get(at) {
                Some(value) if !value.is_null() => value.cast_to(field.data_type()).map_err(|_| {
                    let of = crate::pgtype::PgType::of(field).name;
                    to_datafusion(error!(InvalidTextRepresentation, "FILL's value {value} is no {of}"))
                })?,
                _ => null()?,
            };
            values.push(value);
        }
        Ok(Filling { windows: windows.map_err(to_datafusion)?, mode: self.mode, values, range, groups: self.groups })
    }
}
