//! SELECTs that give rows, not aggregates, though one of TDengine's functions or windows stands in them: TOP, BOTTOM,
//! DIFF, and plain columns beside INTERVAL.
//!
//! Such a SELECT becomes three. The innermost reads: the columns that are named (`_c0 …`), the partition (`_p0 …`), the
//! time (`_t`), and the start of the window (`_w`), a row once for each of its windows. The middle one has the outputs
//! (`_e0 …`) and drops rows. The outer one counts LIMIT and SLIMIT over what is left. Start reading at [`Lowering::rowwise`].

use std::cell::RefCell;

use model::{Error, Result, error};
use sqlparser::ast::{BinaryOperator, Distinct, Expr, GroupByExpr, OrderByExpr, Value};

use super::group::{Aggregation, contains_aggregate, spelled};
use super::range::{bounds, pseudo_columns};
use super::scope::{Class, Scope};
use super::select::{Listed, Parts, finish, refuse_window_columns, rows_call};
use super::walk::{key, placed};
use super::window::{START, Slices, Window, default_order, is_output, is_pseudo_column, replace, slice};
use super::{Lowering, Out, build};
use crate::parser::markers::{FillMode, Windowing};

/// The name of the rows' time in the inner SELECTs.
const TIME: &str = "_t";

/// The calls of TOP, BOTTOM and DIFF in `expr`, not those in subqueries.
fn calls_in(expr: &Expr) -> Vec<Expr> {
    let found = RefCell::new(Vec::new());
    replace(&mut expr.clone(), &|candidate| {
        rows_call(candidate)?;
        found.borrow_mut().push(candidate.clone());
        Some(candidate.clone())
    });
    found.into_inner()
}

impl Lowering<'_> {
    /// Lowers a SELECT that is of this kind; None for others.
    pub(super) fn rowwise(
        &mut self,
        list: &mut Vec<Listed>,
        parts: &mut Parts<'_>,
        windowing: &Windowing,
        scope: &Scope,
    ) -> Result<Option<Vec<Out>>> {
        refuse_elsewhere(parts)?;
        let mut exprs: Vec<&Expr> = list.iter().map(|listed| &listed.expr).collect();
        let order: Vec<Expr> = parts.order_exprs().into_iter().map(|expr| expr.clone()).collect();
        exprs.extend(&order);
        let calls: Vec<Expr> = exprs.iter().flat_map(|expr| calls_in(expr)).collect();
        let first = match calls.first() {
            Some(call) => call.clone(),
            None => match projected(&exprs, windowing, scope)? {
                Some(column) => column,
                None => return Ok(None),
            },
        };
        let partition = allowed(&first, &exprs, list, parts, windowing, scope)?;
        let time = key(scope, &first)?;
        let window = windowing.interval.map(|_| self.window(windowing, parts.select.selection.as_ref(), scope));
        let rows = Rows {
            scope,
            window: window.transpose()?,
            bounds: bounds(parts.select.selection.as_ref(), &time, scope),
            partition: partition.len(),
            columns: RefCell::default(),
            failure: RefCell::default(),
        };
        let (middle, hidden) = rows.middle(list, parts, &calls)?;
        let inner = rows.inner(parts, partition, time)?;
        let mut middle = middle;
        middle.from = build::from(build::derived(build::query(inner), &self.unique("rows")));
        parts.select.from = build::from(build::derived(build::query(middle), &self.unique("rows")));
        for (n, listed) in list.iter_mut().enumerate() {
            listed.expr = output(n);
        }
        for (expr, n) in parts.ordering().into_iter().zip(hidden) {
            if let Some(n) = n {
                *expr = output(n);
            }
        }
        let columns = rows.partition_columns();
        default_order(parts, &columns, &rows.times());
        slice(parts, list, &columns, &Slices::of(windowing), &rows.times());
        Ok(Some(finish(std::mem::take(list), parts.select)))
    }
}

impl Parts<'_> {
    /// The expressions of ORDER BY and DISTINCT ON.
    fn ordering(&mut self) -> Vec<&mut Expr> {
        let on = match &mut self.select.distinct {
            Some(Distinct::On(exprs)) => exprs.iter_mut().collect(),
            _ => Vec::new(),
        };
        let by = match self.order_by {
            Some(sqlparser::ast::OrderBy { kind: sqlparser::ast::OrderByKind::Expressions(by), .. }) => {
                by.iter_mut().map(|by| &mut by.expr).collect()
            }
            _ => Vec::new(),
        };
        on.into_iter().chain::<Vec<&mut Expr>>(by).collect()
    }
}

/// An output of the middle SELECT.
fn output(n: usize) -> Expr {
    build::column(&format!("_e{n}"))
}

/// A column that makes a SELECT with INTERVAL give the rows of its windows: no aggregate stands beside it.
fn projected(exprs: &[&Expr], windowing: &Windowing, scope: &Scope) -> Result<Option<Expr>> {
    if windowing.interval.is_none() || exprs.iter().any(|expr| contains_aggregate(expr)) {
        return Ok(None);
    }
    let grouped = Aggregation::new(scope, windowing.partition.clone(), &[])?;
    let mut free = exprs.iter().flat_map(|expr| grouped.free_columns(expr));
    Ok(free.find(|column| {
        let class = scope.resolve(column).map(|(_, column)| column.class);
        matches!(class, Some(Class::Key | Class::Data))
    }))
}

/// TOP, BOTTOM and DIFF where rows are chosen or grouped.
fn refuse_elsewhere(parts: &Parts<'_>) -> Result<()> {
    let mut clauses: Vec<(&str, &Expr)> = Vec::new();
    clauses.extend(parts.select.selection.as_ref().map(|expr| ("WHERE", expr)));
    clauses.extend(parts.select.having.as_ref().map(|expr| ("HAVING", expr)));
    if let GroupByExpr::Expressions(keys, _) = &parts.select.group_by {
        clauses.extend(keys.iter().map(|key| ("GROUP BY", key)));
    }
    for (clause, expr) in clauses {
        if let Some(call) = calls_in(expr).first()
            && let Some((_, name, _)) = rows_call(call)
        {
            let error = error!(GroupingError, "{name} is not allowed in {clause}");
            return Err(placed(error.with_hint("take it from a subquery"), call));
        }
    }
    Ok(())
}

/// What such a SELECT is partitioned by, or why it may not be.
fn allowed(
    first: &Expr,
    exprs: &[&Expr],
    list: &[Listed],
    parts: &mut Parts<'_>,
    windowing: &Windowing,
    scope: &Scope,
) -> Result<Vec<Expr>> {
    let name = rows_call(first).map_or_else(|| "a plain column".to_owned(), |(_, name, _)| name);
    if windowing.interval.is_none() {
        refuse_window_columns(list, scope)?;
    }
    if exprs.iter().any(|expr| contains_aggregate(expr)) || parts.select.having.is_some() {
        let error = error!(GroupingError, "{name} gives rows: it cannot stand beside an aggregate or HAVING");
        return Err(placed(error.with_hint("take one of them from a subquery"), first));
    }
    if windowing.fill.as_ref().is_some_and(|fill| fill.mode != FillMode::None) {
        return Err(placed(error!(FeatureNotSupported, "FILL is not supported beside {name}"), first));
    }
    let keys = match &mut parts.select.group_by {
        GroupByExpr::Expressions(keys, modifiers) if modifiers.is_empty() => std::mem::take(keys),
        _ => return Err(error!(FeatureNotSupported, "{name} with this GROUP BY is not supported")),
    };
    if keys.is_empty() {
        return Ok(windowing.partition.clone());
    }
    if name == "diff" {
        let error = error!(GroupingError, "diff gives rows: it cannot stand beside GROUP BY");
        return Err(placed(error.with_hint("use PARTITION BY in place of GROUP BY"), first));
    }
    Ok(keys.iter().map(|key| spelled(key, list, scope)).collect())
}

/// The rows of one such SELECT.
struct Rows<'a> {
    scope: &'a Scope,
    window: Option<Window>,
    bounds: Vec<(BinaryOperator, Expr)>,
    /// How many expressions the partition has.
    partition: usize,
    /// What is read: `_c0 …`.
    columns: RefCell<Vec<Expr>>,
    failure: RefCell<Option<Error>>,
}

impl Rows<'_> {
    fn partition_columns(&self) -> Vec<Expr> {
        (0..self.partition).map(|n| build::column(&format!("_p{n}"))).collect()
    }

    /// What rows are ordered by inside a partition.
    fn times(&self) -> Vec<Expr> {
        let start = self.window.as_ref().map(|_| build::column(START));
        start.into_iter().chain([build::column(TIME)]).collect()
    }

    /// The rows that a function looks at together.
    fn together(&self) -> Vec<Expr> {
        let start = self.window.as_ref().map(|_| build::column(START));
        self.partition_columns().into_iter().chain(start).collect()
    }

    /// The innermost SELECT: what was named so far, and FROM and WHERE of `parts`.
    fn inner(&self, parts: &mut Parts<'_>, partition: Vec<Expr>, time: Expr) -> Result<sqlparser::ast::Select> {
        let mut inner = build::empty_select();
        inner.projection.extend(self.window.as_ref().map(|window| build::named(window.start(), START)));
        let partition = partition.into_iter().enumerate().map(|(n, expr)| build::named(expr, format!("_p{n}")));
        inner.projection.extend(partition);
        inner.projection.push(build::named(time, TIME));
        let columns = self.columns.take().into_iter().enumerate();
        inner.projection.extend(columns.map(|(n, column)| build::named(column, format!("_c{n}"))));
        inner.from = std::mem::take(&mut parts.select.from);
        inner.selection = parts.select.selection.take();
        Ok(inner)
    }

    /// The middle SELECT, and for each expression of ORDER BY the output that it became.
    fn middle(
        &self,
        list: &[Listed],
        parts: &mut Parts<'_>,
        calls: &[Expr],
    ) -> Result<(sqlparser::ast::Select, Vec<Option<usize>>)> {
        let mut middle = build::empty_select();
        for name in self.partition_columns().into_iter().chain(self.times()) {
            middle.projection.push(build::named(name.clone(), name.to_string().trim_matches('"')));
        }
        let mut outputs: Vec<Expr> = Vec::new();
        for listed in list {
            outputs.push(self.over(listed.expr.clone())?);
        }
        let names: Vec<String> = list.iter().map(|listed| listed.name.clone()).collect();
        let mut hidden = Vec::new();
        for expr in parts.ordering() {
            hidden.push(if is_output(expr, &names) {
                None
            } else {
                outputs.push(self.over(expr.clone())?);
                Some(outputs.len() - 1)
            });
        }
        let named = outputs.into_iter().enumerate().map(|(n, expr)| build::named(expr, format!("_e{n}")));
        middle.projection.extend(named);
        let mut conditions = self.kept(calls)?;
        if let Some(condition) = parts.select.qualify.take() {
            conditions.push(self.over(condition)?);
        }
        middle.qualify = build::all_of(conditions);
        Ok((middle, hidden))
    }

    /// An expression of the list over the innermost SELECT.
    fn over(&self, mut expr: Expr) -> Result<Expr> {
        match &self.window {
            Some(window) => window.pseudo_columns(&mut expr),
            None => pseudo_columns(&mut expr, &self.bounds, &build::column(TIME)),
        }
        replace(&mut expr, &|candidate| {
            if rows_call(candidate).is_some() {
                return self.function(candidate).map_err(|error| self.failure.replace(Some(error))).ok();
            }
            self.column(candidate)
        });
        self.failure.take().map_or(Ok(expr), Err)
    }

    /// `_c0 …` for a column of FROM.
    fn column(&self, candidate: &Expr) -> Option<Expr> {
        if !matches!(candidate, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) || is_pseudo_column(candidate) {
            return None;
        }
        self.scope.resolve(candidate)?;
        let mut columns = self.columns.borrow_mut();
        let at = columns.iter().position(|known| known == candidate).unwrap_or_else(|| {
            columns.push(candidate.clone());
            columns.len() - 1
        });
        Some(build::column(&format!("_c{at}")))
    }

    /// What stands for a call of TOP, BOTTOM or DIFF.
    fn function(&self, call: &Expr) -> Result<Expr> {
        let Some((_, name, args)) = rows_call(call) else { return Err(Error::internal("no function of rows")) };
        let nested = args.iter().find(|arg| !calls_in(arg).is_empty());
        if nested.is_some() {
            return Err(placed(error!(GroupingError, "{name} inside {name} needs a subquery"), call));
        }
        let value = self.over(args[0].clone())?;
        if name != "diff" {
            return Ok(value);
        }
        let option = build::number(difference_option(call)?.into());
        let args = vec![value, option, build::column(TIME)];
        Ok(build::over("__diff", args, self.together(), vec![build::ordered(build::column(TIME), true)]))
    }

    /// Which rows TOP, BOTTOM and DIFF keep.
    fn kept(&self, calls: &[Expr]) -> Result<Vec<Expr>> {
        let extreme = |call: &&Expr| rows_call(call).is_some_and(|(_, name, _)| name != "diff");
        if let Some(call) = calls.iter().find(extreme) {
            if let Some(other) = calls.iter().find(|other| *other != call) {
                let error = error!(FeatureNotSupported, "one TOP or BOTTOM chooses the rows of a SELECT");
                return Err(placed(error.with_hint("use a subquery for each of them"), other));
            }
            return self.extremes(call);
        }
        let drops = calls.iter().map(difference_option).collect::<Result<Vec<_>>>()?;
        if drops.is_empty() || drops.iter().any(|option| *option < 2) {
            return Ok(Vec::new());
        }
        // A row goes only if every DIFF in it is null and says that nulls go.
        let values = calls.iter().map(|call| Ok(Expr::IsNotNull(Box::new(self.function(call)?))));
        let values = values.collect::<Result<Vec<_>>>()?;
        Ok(values
            .into_iter()
            .reduce(|left, right| build::binary(left, BinaryOperator::Or, right))
            .into_iter()
            .collect())
    }

    /// The rows of the k greatest or least values, the earlier one of equal ones.
    fn extremes(&self, call: &Expr) -> Result<Vec<Expr>> {
        let Some((_, name, args)) = rows_call(call) else { return Ok(Vec::new()) };
        let count = match args[1] {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => digits.parse::<i64>().ok().filter(|k| (1..=100).contains(k)),
                _ => None,
            },
            _ => None,
        };
        let Some(count) = count else {
            let error = error!(InvalidParameterValue, "the second argument of {name} is a whole number from 1 to 100");
            return Err(placed(error, args[1]));
        };
        let value = self.over(args[0].clone())?;
        let mut by: OrderByExpr = build::ordered(value.clone(), name == "bottom");
        by.options.nulls_first = Some(false);
        let order = vec![by, build::ordered(build::column(TIME), true)];
        let rank = build::over("row_number", Vec::new(), self.together(), order);
        let few = build::binary(rank, BinaryOperator::LtEq, build::number(count));
        Ok(vec![Expr::IsNotNull(Box::new(Expr::Nested(Box::new(value)))), few])
    }
}

/// The second argument of DIFF: 1 and 3 make negative differences NULL, 2 and 3 drop rows without one.
fn difference_option(call: &Expr) -> Result<u8> {
    let Some((_, _, args)) = rows_call(call) else { return Ok(0) };
    let Some(option) = args.get(1) else { return Ok(0) };
    let known = match option {
        Expr::Value(value) => value.value.to_string().parse::<u8>().ok().filter(|n| *n <= 3),
        _ => None,
    };
    known.ok_or_else(|| {
        placed(error!(InvalidParameterValue, "the second argument of diff is a number from 0 to 3"), option)
    })
}
