//! INTERVAL: an inner SELECT that groups by the window's start, FILL above it, and an outer SELECT with the list.
//!
//! The inner one has `_w`, the start; `_p0 …`, the partition; `_e0 …`, one column per output that aggregates.
//! FILL works on that: the derived table's name says which [`FillSpec`] to put above it. Start reading at
//! [`Lowering::windowed`].

use std::ops::ControlFlow;

use model::{Error, Result, error};
use sqlparser::ast::{
    BinaryOperator, DataType, Expr, GroupByExpr, LimitClause, Offset, OrderBy, OrderByKind, Query, Select, Visit,
    VisitMut, Visitor, VisitorMut,
};

use super::edges::{needs_neighbours, with_neighbours};
use super::group::{Aggregation, aggregates_in, contains_aggregate};
use super::scope::Scope;
use super::select::{Listed, Parts, finish};
use super::walk::{WINDOW_COLUMNS, key};
use super::{Lowering, Out, build};
use crate::parser::markers::{Duration, FillMode, Unit, Windowing};
use crate::plan::fill::FillSpec;
use crate::plan::names::folded;

/// The name of the window's start in the inner SELECT.
pub(super) const START: &str = "_w";

impl Lowering<'_> {
    /// Lowers a SELECT with INTERVAL: `parts` becomes the outer SELECT.
    pub(super) fn windowed(
        &mut self,
        mut list: Vec<Listed>,
        mut parts: Parts<'_>,
        windowing: &Windowing,
        scope: &Scope,
    ) -> Result<Vec<Out>> {
        let window = self.window(windowing, parts.select.selection.as_ref(), scope)?;
        let mut aggregation = Aggregation::new(scope, windowing.partition.clone(), &list)?;
        let mut columns = Columns::default();
        for listed in &mut list {
            listed.expr = window.outer(listed.expr.clone(), &mut aggregation, &mut columns)?;
        }
        let listed = columns.0.len();
        let names: Vec<String> = list.iter().map(|listed| listed.name.clone()).collect();
        for expr in parts.order_exprs() {
            if !is_output(expr, &names) {
                *expr = window.outer(expr.clone(), &mut aggregation, &mut columns)?;
            }
        }
        let mut having = parts.select.having.take();
        if let Some(having) = &mut having {
            aggregation.complete(having)?;
        }
        let neighbours =
            columns.0.iter().any(|c| needs_neighbours(c, false)) || having.iter().any(|h| needs_neighbours(h, true));
        let inner = if neighbours {
            let name = self.unique("windows");
            with_neighbours(&mut parts, &window, &aggregation, columns.0, having, &name)?
        } else {
            let columns = columns.0.into_iter().enumerate().map(|(n, column)| (column, format!("_e{n}")));
            grouped_select(&mut parts, &window, &aggregation.groups, columns.collect(), having)
        };
        let groups = aggregation.groups.len();
        let derived = self.filled(inner, windowing, groups, listed)?;
        let partition: Vec<Expr> = (0..groups).map(|n| build::column(&format!("_p{n}"))).collect();
        let start = build::column(START);
        default_order(&mut parts, &partition, std::slice::from_ref(&start));
        parts.select.from = build::from(derived);
        slice(&mut parts, &list, &partition, &Slices::of(windowing), &[start]);
        Ok(finish(list, parts.select))
    }

    /// The window of a SELECT with INTERVAL.
    pub(super) fn window(&self, windowing: &Windowing, selection: Option<&Expr>, scope: &Scope) -> Result<Window> {
        check(windowing)?;
        let key = match windowing.partition.first() {
            Some(first) => key(scope, first)?,
            None => key(scope, &build::column(START)).map_err(|error| match windowing.position {
                0 => error,
                position => error.at(position),
            })?,
        };
        let bounds = super::range::bounds(selection, &key, scope);
        Ok(Window { spec: self.spec(windowing), key, bounds })
    }

    fn spec(&self, windowing: &Windowing) -> Spec {
        let text = |duration: Option<Duration>| duration.map_or_else(String::new, |duration| duration.to_string());
        Spec {
            width: text(windowing.interval),
            offset: text(windowing.offset),
            sliding: text(windowing.sliding.filter(|sliding| Some(*sliding) != windowing.interval)),
            zone: self.context.timezone.name(),
        }
    }

    /// The inner SELECT as a table; with FILL its name says so.
    fn filled(
        &mut self,
        inner: Query,
        windowing: &Windowing,
        groups: usize,
        listed: usize,
    ) -> Result<sqlparser::ast::TableFactor> {
        let Some(fill) = windowing.fill.as_ref().filter(|fill| fill.mode != FillMode::None) else {
            let name = self.unique("window");
            return Ok(build::derived(inner, &name));
        };
        let name = self.unique("fill");
        let spec = self.spec(windowing);
        self.fills.insert(
            name.clone(),
            FillSpec {
                mode: fill.mode,
                values: fill.values.iter().map(fill_value).collect::<Result<_>>()?,
                width: spec.width,
                offset: spec.offset,
                sliding: spec.sliding,
                zone: spec.zone,
                groups,
                listed,
            },
        );
        Ok(build::derived(inner, &name))
    }
}

/// How many partitions are wanted.
pub(super) struct Slices {
    limit: Option<u64>,
    offset: u64,
}

impl Slices {
    /// What SLIMIT and SOFFSET say.
    pub(super) fn of(windowing: &Windowing) -> Self {
        Self { limit: windowing.slimit, offset: windowing.soffset.unwrap_or(0) }
    }
}

/// The window as calls take it.
struct Spec {
    width: String,
    offset: String,
    sliding: String,
    zone: String,
}

impl Spec {
    /// The arguments of a function of windows.
    fn call(&self, time: Expr) -> Vec<Expr> {
        let Self { width, offset, sliding, zone } = self;
        let texts = [width, offset, sliding, zone].map(|part| build::text(part));
        std::iter::once(time).chain(texts).collect()
    }
}

/// The windows of one SELECT.
pub(super) struct Window {
    spec: Spec,
    /// The time of the rows.
    pub(super) key: Expr,
    /// What WHERE says of the key: `_qstart` and `_qend`.
    bounds: Vec<(BinaryOperator, Expr)>,
}

/// The columns of the inner SELECT that aggregate.
#[derive(Default)]
struct Columns(Vec<Expr>);

impl Columns {
    fn take(&mut self, expr: Expr) -> Expr {
        let at = self.0.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.0.push(expr);
            self.0.len() - 1
        });
        build::column(&format!("_e{at}"))
    }
}

impl Window {
    /// The start of the row's window; with SLIDING one row per window.
    pub(super) fn start(&self) -> Expr {
        let args = self.spec.call(self.key.clone());
        if self.spec.sliding.is_empty() {
            build::call("__window_start", args)
        } else {
            build::call("unnest", vec![build::call("__window_starts", args)])
        }
    }

    /// The first tick after a window, where [`START`] is in sight.
    pub(super) fn end(&self) -> Expr {
        build::call("__window_end", self.spec.call(build::column(START)))
    }

    /// An expression of the list as the outer SELECT has it.
    fn outer(&self, expr: Expr, aggregation: &mut Aggregation<'_>, columns: &mut Columns) -> Result<Expr> {
        let pseudo = columns_in(&expr).iter().any(is_pseudo_column);
        if contains_aggregate(&expr) && !pseudo {
            let mut expr = expr;
            aggregation.complete(&mut expr)?;
            return Ok(columns.take(expr));
        }
        let mut expr = expr;
        if contains_aggregate(&expr) {
            for call in aggregates_in(&expr) {
                let column = columns.take(call.clone());
                replace(&mut expr, &|candidate| (*candidate == call).then(|| column.clone()));
            }
        }
        self.pseudo_columns(&mut expr);
        aggregation.references(&mut expr, &mut |companion| columns.take(companion))?;
        Ok(expr)
    }

    /// Replaces the pseudo-columns of windows where [`START`] is in sight.
    pub(super) fn pseudo_columns(&self, expr: &mut Expr) {
        let start = build::column(START);
        super::range::pseudo_columns(expr, &self.bounds, &start);
        replace(expr, &|candidate| {
            Some(match window_column(candidate)?.as_str() {
                "_wstart" => start.clone(),
                "_wend" => self.end(),
                "_wduration" => build::call("__window_ticks", self.spec.call(start.clone())),
                _ => return None,
            })
        });
    }
}

/// The pseudo-column that `expr` is.
fn window_column(expr: &Expr) -> Option<String> {
    let Expr::Identifier(ident) = expr else { return None };
    let name = folded(ident);
    (ident.quote_style.is_none() && WINDOW_COLUMNS.contains(&name.as_str())).then_some(name)
}

/// Whether `expr` is a pseudo-column of the window or the range.
pub(super) fn is_pseudo_column(expr: &Expr) -> bool {
    window_column(expr).is_some() || super::range::range_column(expr).is_some()
}

/// A SELECT of the window's start and the partition, from a level that has them.
pub(super) fn level(groups: usize) -> Select {
    let mut select = build::empty_select();
    let names = std::iter::once(START.to_owned()).chain((0..groups).map(|n| format!("_p{n}")));
    select.projection = names.map(|name| build::named(build::column(&name), &name)).collect();
    select
}

/// The innermost SELECT: one row per window and partition, with these columns. Takes FROM and WHERE of `parts`.
pub(super) fn grouped_select(
    parts: &mut Parts<'_>,
    window: &Window,
    groups: &[Expr],
    columns: Vec<(Expr, String)>,
    having: Option<Expr>,
) -> Query {
    let start = window.start();
    let mut keys = vec![start.clone()];
    keys.extend(groups.iter().cloned());
    let mut inner = build::empty_select();
    inner.projection.push(build::named(start, START));
    inner.projection.extend(groups.iter().enumerate().map(|(n, group)| build::named(group.clone(), format!("_p{n}"))));
    inner.projection.extend(columns.into_iter().map(|(column, name)| build::named(column, name)));
    inner.from = std::mem::take(&mut parts.select.from);
    inner.selection = parts.select.selection.take();
    inner.having = having;
    inner.group_by = GroupByExpr::Expressions(keys, Vec::new());
    build::query(inner)
}

/// Whether an ORDER BY expression is a position or the name of an output.
pub(super) fn is_output(expr: &Expr, names: &[String]) -> bool {
    match expr {
        Expr::Value(_) => true,
        Expr::Identifier(ident) => names.contains(&folded(ident)),
        _ => false,
    }
}

/// By partition and time, unless something else was asked for.
pub(super) fn default_order(parts: &mut Parts<'_>, partition: &[Expr], times: &[Expr]) {
    if parts.order_by.is_some() || parts.select.distinct.is_some() {
        return;
    }
    let exprs = partition.iter().chain(times).cloned().map(|expr| build::ordered(expr, true)).collect();
    *parts.order_by = Some(OrderBy { kind: OrderByKind::Expressions(exprs), interpolate: None });
}

/// LIMIT inside each partition, SLIMIT over partitions. Rows of equal rank in ORDER BY come by `times`.
pub(super) fn slice(parts: &mut Parts<'_>, list: &[Listed], partition: &[Expr], slices: &Slices, times: &[Expr]) {
    if partition.is_empty() {
        return;
    }
    let mut conditions: Vec<Expr> = parts.select.qualify.take().into_iter().collect();
    let between = |rank: Expr, offset: Expr, limit: Option<Expr>, conditions: &mut Vec<Expr>| {
        let rank = build::cast(rank, DataType::BigInt(None));
        if let Some(limit) = limit {
            let last = build::binary(offset.clone(), BinaryOperator::Plus, limit);
            conditions.push(build::binary(rank.clone(), BinaryOperator::LtEq, last));
        }
        if offset != build::number(0) {
            conditions.push(build::binary(rank, BinaryOperator::Gt, offset));
        }
    };
    let ascending = |exprs: &[Expr]| exprs.iter().cloned().map(|expr| build::ordered(expr, true)).collect::<Vec<_>>();
    if let Some((limit, offset)) = taken_limit(parts.limit) {
        let mut order = match parts.order_by {
            Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) => exprs.clone(),
            _ => Vec::new(),
        };
        for by in &mut order {
            if let Some(output) = output_of(&by.expr, list) {
                by.expr = output.clone();
            }
        }
        order.extend(ascending(times));
        let rank = build::over("row_number", Vec::new(), partition.to_vec(), order);
        let offset = offset.map_or_else(|| build::number(0), |offset| count(offset, 0));
        between(rank, offset, limit.map(|limit| count(limit, i64::MAX / 2)), &mut conditions);
    }
    if slices.limit.is_some() || slices.offset > 0 {
        let rank = build::over("dense_rank", Vec::new(), Vec::new(), ascending(partition));
        let whole = |n: u64| build::number(i64::try_from(n).unwrap_or(i64::MAX / 2));
        between(rank, whole(slices.offset), slices.limit.map(whole), &mut conditions);
    }
    parts.select.qualify = build::all_of(conditions);
}

/// LIMIT or OFFSET as a number; NULL is as if it were not there.
fn count(expr: Expr, absent: i64) -> Expr {
    match &expr {
        Expr::Value(value) if matches!(value.value, sqlparser::ast::Value::Number(..)) => expr,
        _ => build::call("coalesce", vec![build::cast(expr, DataType::BigInt(None)), build::number(absent)]),
    }
}

/// The output that an expression of ORDER BY means by its position or name.
fn output_of<'l>(expr: &Expr, list: &'l [Listed]) -> Option<&'l Expr> {
    let listed = match expr {
        Expr::Value(value) => {
            let position = value.value.to_string().parse::<usize>().ok()?;
            list.get(position.checked_sub(1)?)?
        }
        Expr::Identifier(ident) => {
            let name = folded(ident);
            list.iter().find(|listed| listed.name == name)?
        }
        _ => return None,
    };
    Some(&listed.expr)
}

/// LIMIT and OFFSET, taken away.
fn taken_limit(limit: &mut Option<LimitClause>) -> Option<(Option<Expr>, Option<Expr>)> {
    match limit.take()? {
        LimitClause::LimitOffset { limit: None, offset: None, .. } => None,
        LimitClause::LimitOffset { limit, offset, .. } => Some((limit, offset.map(|Offset { value, .. }| value))),
        LimitClause::OffsetCommaLimit { offset, limit } => Some((Some(limit), Some(offset))),
    }
}

/// What INTERVAL, its offset and SLIDING may be, as far as that does not depend on the precision.
fn check(windowing: &Windowing) -> Result<()> {
    let at = |error: Error| if windowing.position == 0 { error } else { error.at(windowing.position) };
    let refuse = |message: String| Err(at(error!(InvalidParameterValue, "{message}")));
    let Some(width) = windowing.interval else { return Ok(()) };
    let calendar = |d: Duration| matches!(d.unit, Unit::Month | Unit::Year);
    if width.count <= 0 {
        return refuse(format!("INTERVAL({width}) is not longer than nothing"));
    }
    let slides = |s: &Duration| s.count <= 0 || calendar(*s) != calendar(width) || longer(*s, width) == Some(true);
    if let Some(sliding) = windowing.sliding.filter(slides) {
        return refuse(format!("SLIDING({sliding}) must be longer than nothing and no longer than INTERVAL({width})"));
    }
    if let Some(offset) = windowing.offset {
        let fits = match (calendar(width), calendar(offset)) {
            (true, false) => true,
            (false, true) => false,
            _ => longer(width, offset) != Some(false),
        };
        if offset.count < 0 || !fits {
            return refuse(format!("the offset {offset} must be shorter than INTERVAL({width})"));
        }
    }
    let fill = windowing.fill.as_ref().filter(|fill| fill.mode != FillMode::None);
    if fill.is_some_and(|fill| fill.mode == FillMode::Near) {
        return Err(at(error!(FeatureNotSupported, "FILL(NEAR) is only for INTERP")));
    }
    Ok(())
}

/// Whether `a` is longer than `b`; None where only the database's precision says.
fn longer(a: Duration, b: Duration) -> Option<bool> {
    let nanos = |d: Duration| d.unit.nanos().map(|n| i128::from(n) * i128::from(d.count));
    match (a.months(), b.months()) {
        (Some(a), Some(b)) => Some(a > b),
        _ if a.unit == b.unit => Some(a.count > b.count),
        _ => Some(nanos(a)? > nanos(b)?),
    }
}

/// A value of FILL(VALUE, …): a literal.
fn fill_value(expr: &Expr) -> Result<datafusion::common::ScalarValue> {
    use datafusion::common::ScalarValue;
    use sqlparser::ast::{UnaryOperator, Value};
    let wrong = || error!(InvalidParameterValue, "FILL takes literals, not {expr}");
    Ok(match expr {
        Expr::Value(value) => match &value.value {
            Value::Null => ScalarValue::Null,
            Value::Boolean(yes) => ScalarValue::Boolean(Some(*yes)),
            Value::SingleQuotedString(text) => ScalarValue::Utf8(Some(text.clone())),
            Value::Number(digits, _) => match digits.parse::<i64>() {
                Ok(n) => ScalarValue::Int64(Some(n)),
                Err(_) => ScalarValue::Float64(Some(digits.parse().map_err(|_| wrong())?)),
            },
            _ => return Err(wrong()),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match fill_value(expr)? {
            ScalarValue::Int64(Some(n)) => ScalarValue::Int64(Some(-n)),
            ScalarValue::Float64(Some(n)) => ScalarValue::Float64(Some(-n)),
            _ => return Err(wrong()),
        },
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } | Expr::Nested(expr) => fill_value(expr)?,
        _ => return Err(wrong()),
    })
}

/// Every column reference in `expr`, not those in subqueries.
pub(super) fn columns_in(expr: &Expr) -> Vec<Expr> {
    #[derive(Default)]
    struct Columns(Vec<Expr>, usize);
    impl Visitor for Columns {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.1 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.1 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if self.1 == 0 && matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                self.0.push(expr.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut columns = Columns::default();
    let _ = expr.visit(&mut columns);
    columns.0
}

/// Replaces parts of `expr`, from the outside in; what was put in is not looked at again. Subqueries are left alone.
pub(super) fn replace(expr: &mut Expr, with: &dyn Fn(&Expr) -> Option<Expr>) {
    struct Replacer<'f> {
        with: &'f dyn Fn(&Expr) -> Option<Expr>,
        queries: usize,
        /// Inside what was put in.
        inside: usize,
    }
    impl VisitorMut for Replacer<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.queries += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.queries -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if self.inside > 0 {
                self.inside += 1;
            } else if self.queries == 0
                && let Some(new) = (self.with)(expr)
            {
                *expr = new;
                self.inside = 1;
            }
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, _: &mut Expr) -> ControlFlow<()> {
            self.inside = self.inside.saturating_sub(1);
            ControlFlow::Continue(())
        }
    }
    let _ = expr.visit(&mut Replacer { with, queries: 0, inside: 0 });
}
