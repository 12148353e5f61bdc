//! Takes work to the vgroups: the first half of an aggregation over a scan becomes [`VgroupAggregateExec`], and a scan of
//! which only the oldest or newest rows are wanted asks for no more than these.
//!
//! Start reading at [`Pushdowns`]. It is the first physical rule, so that it sees plans as they were made, and the others
//! arrange partitions and order around the new leaves. What it does not know stays as it is.

use std::sync::Arc;

use datafusion::arrow::datatypes::TimeUnit;
use datafusion::common::{Result, ScalarValue};
use datafusion::config::{ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use model::aggregate::{Aggregate, AggregateRequest, Function, SeriesKey, Windows, is_exact};
use model::scan::{ColumnFilter, Output, RowsRequest, ScanRequest};
use model::{ColumnId, DataType, TimeRange, Value};

use crate::exec::aggregate::{Part, VgroupAggregateExec};
use crate::exec::scan::VgroupScanExec;
use crate::functions::grid;
use crate::plan::filter::closed;

/// What a session says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushdown {
    /// `push_aggregates`: whether vgroups reduce their rows.
    pub aggregates: bool,
    /// `block_statistics`: whether what is known of whole blocks may stand for their rows.
    pub statistics: bool,
    /// `push_conditions`: whether vgroups decide conditions on numbers.
    pub conditions: bool,
    /// `last_cache`: whether newest values that vgroups keep in memory may answer.
    pub last_cache: bool,
}

impl Default for Pushdown {
    fn default() -> Self {
        Self { aggregates: true, statistics: true, conditions: true, last_cache: true }
    }
}

impl ConfigExtension for Pushdown {
    const PREFIX: &'static str = "marigraph_pushdown";
}

impl ExtensionOptions for Pushdown {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(*self)
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        datafusion::common::config_err!("{key} is set by the session")
    }

    fn entries(&self) -> Vec<datafusion::config::ConfigEntry> {
        Vec::new()
    }
}

/// The rule.
#[derive(Debug)]
pub struct Pushdowns;

impl PhysicalOptimizerRule for Pushdowns {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let pushdown = config.extensions.get::<Pushdown>().copied().unwrap_or_default();
        let utc = config.execution.time_zone.as_deref() == Some("UTC");
        push(plan, None, Session { pushdown, utc })
    }

    fn name(&self) -> &'static str {
        "pushdowns"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What the rule knows of the session.
#[derive(Clone, Copy)]
struct Session {
    pushdown: Pushdown,
    /// Whether its wall clock is UTC.
    utc: bool,
}

/// Of an output column only the rows with the greatest so many values are wanted.
#[derive(Clone, Copy)]
struct Greatest {
    column: usize,
    rows: usize,
}

fn push(plan: Arc<dyn ExecutionPlan>, greatest: Option<Greatest>, session: Session) -> Result<Arc<dyn ExecutionPlan>> {
    let mut below = None;
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let first = sort.expr().first();
        let column = first.expr.downcast_ref::<Column>().filter(|_| first.options.descending);
        below = sort.fetch().zip(column).map(|(rows, column)| Greatest { column: column.index(), rows });
        if let Some(leaf) = ordered(sort) {
            return replace_children_if_necessary(plan, vec![Arc::new(leaf)]);
        }
    } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        below = greatest.and_then(|greatest| {
            let column = projection.expr().get(greatest.column)?.expr.downcast_ref::<Column>()?;
            Some(Greatest { column: column.index(), ..greatest })
        });
    } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        if *aggregate.mode() == AggregateMode::Partial {
            if session.pushdown.aggregates
                && let Some(leaf) = pushed(aggregate, greatest, session)
            {
                return Ok(Arc::new(leaf));
            }
        } else {
            below = greatest.filter(|greatest| greatest.column < aggregate.group_expr().num_group_exprs());
        }
    }
    let children: Vec<_> = plan.children().into_iter().cloned().collect();
    let mut changed = false;
    let mut new = Vec::with_capacity(children.len());
    for child in &children {
        let pushed = push(Arc::clone(child), below, session)?;
        changed |= !Arc::ptr_eq(child, &pushed);
        new.push(pushed);
    }
    if changed { replace_children_if_necessary(plan, new) } else { Ok(plan) }
}

/// The scan below a sort by time of which only the first rows are wanted, asked for these alone.
fn ordered(sort: &SortExec) -> Option<VgroupScanExec> {
    let limit = sort.fetch()?;
    let scan = sort.input().downcast_ref::<VgroupScanExec>()?;
    let [by] = &sort.expr()[..] else { return None };
    let column = by.expr.downcast_ref::<Column>()?;
    let is_key = scan.output(column.index()) == Some(Output::Column(ColumnId::KEY));
    is_key.then(|| scan.by_time(by.options.descending, Some(limit)))?
}

/// The leaf that takes the place of a partial aggregation, if vgroups can do all of it.
fn pushed(aggregate: &AggregateExec, greatest: Option<Greatest>, session: Session) -> Option<VgroupAggregateExec> {
    let groups = aggregate.group_expr();
    let plain = (groups.is_empty() || groups.is_single())
        && !groups.has_grouping_set()
        && aggregate.filter_expr().iter().all(Option::is_none)
        && aggregate.limit_options().is_none();
    let (scan, conditions) = below(aggregate.input()).filter(|_| plain)?;
    let requests: Option<Vec<_>> = scan
        .requests()
        .iter()
        .map(|(vgroup, request)| match request {
            ScanRequest::Rows(rows) if rows.limit.is_none() => Some((*vgroup, rows)),
            _ => None,
        })
        .collect();
    let requests = requests?;
    let (_, rows) = requests.first()?;
    let mut pushing =
        Pushing { scan, rows, utc: session.utc, series: Vec::new(), windows: None, aggregates: Vec::new() };
    let keys: Option<Vec<Key>> = groups.expr().iter().map(|(expr, _)| pushing.key(expr)).collect();
    let keys = keys?;
    let wanted: Option<Vec<Vec<State>>> =
        aggregate.aggr_expr().iter().map(|function| pushing.function(function)).collect();
    let wanted = wanted?;
    if pushing.aggregates.is_empty() && keys.is_empty() {
        return None;
    }
    let newest = greatest.filter(|greatest| matches!(keys.get(greatest.column), Some(Key::Window)));
    let requests_of = |rows: &RowsRequest| AggregateRequest {
        rows: RowsRequest {
            filters: Vec::new(),
            conditions: rows.conditions.iter().chain(&conditions).cloned().collect(),
            ..rows.clone()
        },
        series: pushing.series.clone(),
        windows: pushing.windows.clone(),
        aggregates: pushing.aggregates.clone(),
        newest: newest.map(|newest| newest.rows),
        statistics: session.pushdown.statistics,
        last_cache: session.pushdown.last_cache,
    };
    let request = requests_of(rows);
    let places = Places { series: request.series.len(), states: request.places() };
    let mut parts: Vec<Part> = keys.iter().map(|key| places.key(*key)).collect();
    parts.extend(wanted.into_iter().flatten().map(|state| places.state(state)));
    let schema = aggregate.schema();
    if parts.len() != schema.fields().len() {
        return None;
    }
    let requests = requests.iter().map(|(vgroup, rows)| (*vgroup, requests_of(rows))).collect();
    Some(VgroupAggregateExec::new(Arc::clone(scan.plane()), scan.table().to_owned(), requests, parts, schema))
}

/// The scan below an aggregation, and the conditions between them, if they are such as vgroups decide exactly. Those of the
/// scan itself are exact anyway.
fn below(input: &Arc<dyn ExecutionPlan>) -> Option<(&VgroupScanExec, Vec<ColumnFilter>)> {
    if let Some(scan) = input.downcast_ref::<VgroupScanExec>() {
        // Filters that only the scan knows of are not exact.
        let plain =
            |(_, request): &(_, ScanRequest)| matches!(request, ScanRequest::Rows(rows) if rows.filters.is_empty());
        return scan.requests().iter().all(plain).then(|| (scan, Vec::new()));
    }
    let filter = input.downcast_ref::<FilterExec>().filter(|filter| filter.projection().is_none())?;
    let scan = filter.input().downcast_ref::<VgroupScanExec>()?;
    let conditions = split_conjunction(filter.predicate()).into_iter().map(|one| condition(scan, one));
    Some((scan, conditions.collect::<Option<Vec<_>>>()?))
}

/// `column < literal` and the like, for a column of numbers.
fn condition(scan: &VgroupScanExec, expr: &Arc<dyn PhysicalExpr>) -> Option<ColumnFilter> {
    let comparison = expr.downcast_ref::<BinaryExpr>()?;
    let (column, op, literal) = match (comparison.left().downcast_ref(), comparison.right().downcast_ref()) {
        (Some(column), Some(literal)) => (column, *comparison.op(), literal),
        _ => {
            let (literal, column) = (comparison.left().downcast_ref()?, comparison.right().downcast_ref()?);
            (column, comparison.op().swap()?, literal)
        }
    };
    let (column, literal): (&Column, &Literal) = (column, literal);
    let Output::Column(id) = scan.output(column.index())? else { return None };
    let (_, ScanRequest::Rows(rows)) = scan.requests().first()? else { return None };
    let data_type = rows.relation.columns.iter().find(|column| column.id == id)?.data_type;
    let value = bound(literal.value()).filter(|_| is_exact(data_type) && id != ColumnId::KEY)?;
    let (min, max) = closed(op, value)?;
    Some(ColumnFilter { column: id, min, max })
}

/// A literal as storage compares it; None for NULL, NaN and what is no number.
fn bound(literal: &ScalarValue) -> Option<Value> {
    Some(match literal {
        ScalarValue::Int8(Some(value)) => Value::Int((*value).into()),
        ScalarValue::Int16(Some(value)) => Value::Int((*value).into()),
        ScalarValue::Int32(Some(value)) => Value::Int((*value).into()),
        ScalarValue::Int64(Some(value)) => Value::Int(*value),
        ScalarValue::UInt8(Some(value)) => Value::UInt((*value).into()),
        ScalarValue::UInt16(Some(value)) => Value::UInt((*value).into()),
        ScalarValue::UInt32(Some(value)) => Value::UInt((*value).into()),
        ScalarValue::UInt64(Some(value)) => Value::UInt(*value),
        ScalarValue::Float32(Some(value)) if !value.is_nan() => Value::Float((*value).into()),
        ScalarValue::Float64(Some(value)) if !value.is_nan() => Value::Float(*value),
        _ => return None,
    })
}

/// A column of a group.
#[derive(Clone, Copy)]
enum Key {
    /// A place in [`AggregateRequest::series`].
    Series(usize),
    Window,
}

/// A state of a function: how it is made, of which state of which aggregate.
#[derive(Clone, Copy)]
enum State {
    Same(usize, usize),
    Checked(usize),
    Rounded(usize),
    RoundedOff(usize),
    OrZero(usize, usize),
}

/// A request that is being put together.
struct Pushing<'a> {
    scan: &'a VgroupScanExec,
    rows: &'a RowsRequest,
    utc: bool,
    series: Vec<SeriesKey>,
    windows: Option<Windows>,
    aggregates: Vec<Aggregate>,
}

impl Pushing<'_> {
    /// What a column of the scan is.
    fn output(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Output> {
        self.scan.output(expr.downcast_ref::<Column>()?.index())
    }

    fn key(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Option<Key> {
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            let windows = self.windows_of(call)?;
            if self.windows.as_ref().is_some_and(|known| *known != windows) {
                return None;
            }
            self.windows = Some(windows);
            return Some(Key::Window);
        }
        let key = match self.output(expr)? {
            Output::Tag(id) => SeriesKey::Tag(id),
            Output::TableName => SeriesKey::TableName,
            _ => return None,
        };
        let known = self.series.iter().position(|known| *known == key);
        Some(Key::Series(known.unwrap_or_else(|| {
            self.series.push(key);
            self.series.len() - 1
        })))
    }

    /// The windows that a call sorts the key into.
    fn windows_of(&self, call: &ScalarFunctionExpr) -> Option<Windows> {
        let of_key = |expr| self.output(expr) == Some(Output::Column(ColumnId::KEY));
        let args = call.args();
        let text = |at: usize| match args.get(at)?.downcast_ref::<Literal>()?.value() {
            ScalarValue::Utf8(Some(text)) => Some(text.as_str()),
            _ => None,
        };
        let unit: TimeUnit = self.rows.precision.unit();
        match call.fun().name() {
            "__window_start" if of_key(args.first()?) => {
                let windows = grid::Windows::parse(text(1)?, text(2)?, text(3)?, text(4)?, unit).ok()?;
                windows.grid(self.rows.range)
            }
            "date_trunc" if of_key(args.get(1)?) => {
                let width = match text(0)?.to_ascii_lowercase().as_str() {
                    "second" => "1s",
                    "minute" if self.utc => "1m",
                    "hour" if self.utc => "1h",
                    "day" if self.utc => "1d",
                    _ => return None,
                };
                grid::Windows::parse(width, "", "", "UTC", unit).ok()?.grid(TimeRange::ALL)
            }
            _ => None,
        }
    }

    /// Asks for an aggregate; its number.
    fn ask(&mut self, function: Function, column: ColumnId) -> usize {
        let wanted = Aggregate { function, column };
        self.aggregates.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.aggregates.push(wanted);
            self.aggregates.len() - 1
        })
    }

    /// The states of one function in DataFusion's order.
    fn function(&mut self, function: &AggregateFunctionExpr) -> Option<Vec<State>> {
        if function.is_distinct() || !function.order_bys().is_empty() || function.ignore_nulls() {
            return None;
        }
        let args = function.expressions();
        let name = function.fun().name();
        let first = args.first()?;
        if let Some(literal) = first.downcast_ref::<Literal>() {
            let all = name == "count" && args.len() == 1 && !literal.value().is_null();
            return all.then(|| vec![State::Same(self.ask(Function::Rows, ColumnId::KEY), 0)]);
        }
        // `sum` and `avg` widen what they add up.
        let widens = matches!(name, "sum" | "avg");
        let inner = match first.downcast_ref::<CastExpr>() {
            Some(cast) if widens => cast.expr(),
            _ => first,
        };
        let Output::Column(id) = self.output(inner)? else { return None };
        let column = self.rows.relation.columns.iter().find(|column| column.id == id);
        let data_type = column.map_or(DataType::BigInt, |column| column.data_type);
        let floats = data_type.is_float();
        let takes = |function: Function| function.takes(data_type);
        Some(match name {
            "count" if args.len() == 1 => vec![State::Same(self.ask(Function::Count, id), 0)],
            "min" if takes(Function::Min) => vec![State::Same(self.ask(Function::Min, id), 0)],
            "max" if takes(Function::Max) => vec![State::Same(self.ask(Function::Max, id), 0)],
            "sum" if takes(Function::Sum) && !floats => vec![State::Checked(self.ask(Function::Sum, id))],
            "sum" | "avg" if takes(Function::Sum) => {
                let (sum, count) = (self.ask(Function::Sum, id), self.ask(Function::Count, id));
                if floats {
                    vec![State::OrZero(sum, 0), State::OrZero(sum, 1), State::Same(count, 0)]
                } else {
                    vec![State::Rounded(sum), State::RoundedOff(sum), State::Same(count, 0)]
                }
            }
            "first" | "last" | "last_row" if args.len() == 2 => {
                if self.output(&args[1]) != Some(Output::Column(ColumnId::KEY)) {
                    return None;
                }
                let picked = match name {
                    "first" => Function::First,
                    "last" => Function::Last,
                    _ => Function::LastRow,
                };
                let at = self.ask(picked, id);
                vec![State::Same(at, 0), State::Same(at, 1)]
            }
            _ => return None,
        })
    }
}

/// Where things are in the vgroups' answer.
struct Places {
    series: usize,
    /// The first state of each aggregate.
    states: Vec<usize>,
}

impl Places {
    fn key(&self, key: Key) -> Part {
        Part::Column(match key {
            Key::Series(at) => at,
            Key::Window => self.series,
        })
    }

    fn state(&self, state: State) -> Part {
        match state {
            State::Same(aggregate, at) => Part::Column(self.states[aggregate] + at),
            State::Checked(aggregate) => Part::Checked(self.states[aggregate]),
            State::Rounded(aggregate) => Part::Rounded(self.states[aggregate]),
            State::RoundedOff(aggregate) => Part::RoundedOff(self.states[aggregate]),
            State::OrZero(aggregate, at) => Part::OrZero(self.states[aggregate] + at),
        }
    }
}
