//! A system relation as DataFusion's table: rows are made when the scan runs, not when it is planned.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::relations::SystemRelation;
use super::rows::Rows;
use super::{CatalogContext, information, pg, statics, tdengine};

/// Conditions `column = 'text'` of a query: all of them hold for every row that is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted(Vec<(String, String)>);

impl Wanted {
    /// Whether a row whose `column` is `value` may be asked for.
    pub(super) fn allows(&self, column: &str, value: &str) -> bool {
        self.0.iter().all(|(name, wanted)| name != column || wanted == value)
    }

    /// The value that `column` must have, if one is given.
    pub(super) fn value(&self, column: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value.as_str())
    }

    fn of(filters: &[Expr]) -> Self {
        Self(filters.iter().filter_map(equality).collect())
    }
}

/// `column = 'text'` in either order.
fn equality(filter: &Expr) -> Option<(String, String)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
    let text = |expr: &Expr| match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text.clone()),
        _ => None,
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), other) | (other, Expr::Column(column)) => Some((column.name.clone(), text(other)?)),
        _ => None,
    }
}

/// The provider of one system relation.
pub(super) struct SystemTable {
    relation: &'static SystemRelation,
    context: Arc<CatalogContext>,
}

impl SystemTable {
    pub(super) fn new(relation: &'static SystemRelation, context: Arc<CatalogContext>) -> Self {
        Self { relation, context }
    }
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemTable({})", self.relation.name)
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.relation.arrow)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let of = |filter: &&Expr| match equality(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(of).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let source =
            SystemScan { relation: self.relation, context: Arc::clone(&self.context), wanted: Wanted::of(filters) };
        let schema = Arc::clone(&self.relation.arrow);
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(source)], projection, None, false, None)?))
    }
}

/// One scan of a system relation.
struct SystemScan {
    relation: &'static SystemRelation,
    context: Arc<CatalogContext>,
    wanted: Wanted,
}

impl fmt::Debug for SystemScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.relation.schema, self.relation.name)
    }
}

impl PartitionStream for SystemScan {
    fn schema(&self) -> &SchemaRef {
        &self.relation.arrow
    }

    fn execute(&self, _task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = batches(self.relation, Arc::clone(&self.context), self.wanted.clone());
        let batches = batches.map(|batch| batch.map_err(|error| DataFusionError::External(Box::new(error))));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.relation.arrow), batches))
    }
}

/// The rows of `relation`, in batches.
fn batches(
    relation: &'static SystemRelation,
    context: Arc<CatalogContext>,
    wanted: Wanted,
) -> BoxStream<'static, model::Result<RecordBatch>> {
    match relation.name {
        "ins_tables" | "ins_tags" => tdengine::children(relation, context, wanted),
        _ => futures::stream::once(async move {
            let mut rows = Rows::of(relation);
            if relation.schema == "pg_catalog" {
                statics::fill(&context, &mut rows)?;
                pg::fill(&context, &mut rows);
            } else if relation.name.starts_with("ins_") || relation.name.starts_with("perf_") {
                tdengine::fill(&context, &mut rows).await?;
            } else {
                information::fill(&context, &mut rows);
            }
            rows.finish()
        })
        .boxed(),
    }
}
