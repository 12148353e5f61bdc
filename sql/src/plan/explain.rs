//! EXPLAIN: a plan as lines of text, with what happened in it if it was run.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use futures::StreamExt;
use model::Result;
use model::scan::RowStream;

use super::error::shown;
use super::{Planned, Planner};

/// What EXPLAIN was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    /// Run it, and show rows, time and bytes per operator.
    pub analyze: bool,
    /// The logical plan too.
    pub verbose: bool,
    /// One JSON document.
    pub json: bool,
}

impl Planner {
    /// Explains a planned query: one text column `QUERY PLAN`, one row per line (one row in all with `json`).
    ///
    /// # Errors
    ///
    /// As [`Planner::execute`].
    pub async fn explain(
        &self,
        planned: &Planned,
        values: Vec<ScalarValue>,
        options: ExplainOptions,
    ) -> Result<(SchemaRef, RowStream)> {
        let begun = std::time::Instant::now();
        let (state, plan) = self.physical(planned, values).await?;
        let planning = begun.elapsed();
        let mut rows = None;
        if options.analyze {
            let mut stream = self.run(Arc::clone(&plan), state.task_ctx(), planned.context.deadline)?;
            let mut count = 0;
            while let Some(batch) = stream.next().await {
                count += batch?.num_rows();
            }
            rows = Some(count);
        }
        let lines = if options.json {
            let tree = serde_json::json!([{ "Plan": json(&plan, options.analyze) }]);
            vec![serde_json::to_string_pretty(&tree).map_err(model::Error::internal)?]
        } else {
            let mut lines = Vec::new();
            if options.verbose {
                lines.extend(planned.plan.display_indent().to_string().lines().map(str::to_owned));
                lines.push(String::new());
            }
            describe(&plan, 0, options.analyze, &mut lines);
            lines.push(format!("Planning Time: {:.3} ms", planning.as_secs_f64() * 1e3));
            if let Some(rows) = rows {
                let elapsed = begun.elapsed().saturating_sub(planning);
                lines.push(format!("Execution Time: {:.3} ms, {rows} rows", elapsed.as_secs_f64() * 1e3));
            }
            lines
        };
        Ok(text(lines))
    }
}

/// Lines as rows of one column.
fn text(lines: Vec<String>) -> (SchemaRef, RowStream) {
    let schema = Arc::new(Schema::new(vec![Field::new("QUERY PLAN", DataType::Utf8, false)]));
    let plain = lines.iter().map(|line| line.replace('\u{1}', "_"));
    let column = Arc::new(StringArray::from_iter_values(plain));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).map_err(model::Error::internal);
    (schema, Box::pin(futures::stream::iter([batch])))
}

fn describe(plan: &Arc<dyn ExecutionPlan>, depth: usize, analyze: bool, lines: &mut Vec<String>) {
    let mut line = "  ".repeat(depth);
    if depth > 0 {
        line.push_str("-> ");
    }
    line.push_str(&label(plan));
    if analyze && let Some(metrics) = plan.metrics() {
        let _ = write!(line, "  ({})", figures(&metrics.aggregate_by_name()));
    }
    lines.push(line);
    for child in plan.children() {
        describe(child, depth + 1, analyze, lines);
    }
}

fn label(plan: &Arc<dyn ExecutionPlan>) -> String {
    struct One<'p>(&'p dyn ExecutionPlan);
    impl std::fmt::Display for One<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt_as(DisplayFormatType::Default, f)
        }
    }
    shown(&One(plan.as_ref()).to_string()).to_owned()
}

/// Rows, time and bytes of one operator, as a person reads them.
fn figures(metrics: &MetricsSet) -> String {
    let mut parts = Vec::new();
    if let Some(rows) = metrics.output_rows() {
        parts.push(format!("rows={rows}"));
    }
    if let Some(nanos) = metrics.elapsed_compute() {
        parts.push(format!("time={:.3} ms", nanos as f64 / 1e6));
    }
    for metric in metrics.iter() {
        match metric.value() {
            MetricValue::Count { name, count } if name.contains("bytes") => {
                parts.push(format!("{name}={}", count.value()));
            }
            MetricValue::SpillCount(count) if count.value() > 0 => parts.push(format!("spills={}", count.value())),
            MetricValue::SpilledBytes(count) if count.value() > 0 => {
                parts.push(format!("spilled_bytes={}", count.value()));
            }
            _ => {}
        }
    }
    parts.join(", ")
}

fn json(plan: &Arc<dyn ExecutionPlan>, analyze: bool) -> serde_json::Value {
    let mut node = serde_json::json!({ "Node Type": plan.name(), "Details": label(plan) });
    if analyze && let Some(metrics) = plan.metrics() {
        let metrics = metrics.aggregate_by_name();
        node["Actual Rows"] = metrics.output_rows().into();
        node["Actual Total Time"] = metrics.elapsed_compute().map(|nanos| nanos as f64 / 1e6).into();
    }
    let children: Vec<_> = plan.children().into_iter().map(|child| json(child, analyze)).collect();
    if !children.is_empty() {
        node["Plans"] = children.into();
    }
    node
}
