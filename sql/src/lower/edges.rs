//! What windows ask of their neighbours: TWA and ELAPSED beside INTERVAL, and a HAVING that names a window.
//!
//! TWA follows the straight line to the row before the window and to the one after it; ELAPSED counts the whole window where
//! there are such rows. So there is a level more: the inner SELECT has the bare aggregates (`_a0 …`), the one above it looks
//! from window to window of a partition. Start reading at [`with_neighbours`].

use std::cell::RefCell;

use model::{Result, error};
use sqlparser::ast::{Expr, Function, Query};

use super::build;
use super::group::{Aggregation, is_aggregate};
use super::select::Parts;
use super::walk::{name_of, placed, plain_args};
use super::window::{START, Window, columns_in, grouped_select, is_pseudo_column, level, replace};

/// The name of HAVING's condition where it is a column.
const HAVING: &str = "_h";

/// Whether the plain inner SELECT cannot say `expr`.
pub(super) fn needs_neighbours(expr: &Expr, having: bool) -> bool {
    let found = RefCell::new(false);
    let mut expr = expr.clone();
    replace(&mut expr, &|candidate| {
        *found.borrow_mut() |= of_neighbours(candidate).is_some() || (having && is_pseudo_column(candidate));
        None
    });
    found.into_inner()
}

/// `twa(…)` or `__elapsed(…)`.
fn of_neighbours(expr: &Expr) -> Option<(&Function, String)> {
    let Expr::Function(function) = expr else { return None };
    let name = name_of(function)?;
    let ours = function.over.is_none() && matches!(name.as_str(), "twa" | "__elapsed");
    ours.then_some((function, name))
}

/// The levels below the outer SELECT: `_w`, `_p0 …`, and `columns` as `_e0 …`.
pub(super) fn with_neighbours(
    parts: &mut Parts<'_>,
    window: &Window,
    aggregation: &Aggregation<'_>,
    columns: Vec<Expr>,
    having: Option<Expr>,
    name: &str,
) -> Result<Query> {
    let above = Above { window, aggregation, calls: RefCell::default(), failure: RefCell::default() };
    let columns = columns.into_iter().map(|column| above.over(column)).collect::<Result<Vec<_>>>()?;
    let having = having.map(|having| above.over(having)).transpose()?;
    let calls = above.calls.into_inner().into_iter().enumerate().map(|(n, call)| (call, format!("_a{n}")));
    let inner = grouped_select(parts, window, &aggregation.groups, calls.collect(), None);
    let groups = aggregation.groups.len();
    let outputs: Vec<String> = (0..columns.len()).map(|n| format!("_e{n}")).collect();
    let mut select = level(groups);
    select.projection.extend(columns.into_iter().zip(&outputs).map(|(column, name)| build::named(column, name)));
    select.from = build::from(build::derived(inner, name));
    let Some(having) = having else { return Ok(build::query(select)) };
    // A window that HAVING leaves out is a neighbour all the same, so it is left out one level above.
    select.projection.push(build::named(having, HAVING));
    let mut above = level(groups);
    above.projection.extend(outputs.iter().map(|name| build::named(build::column(name), name)));
    above.from = build::from(build::derived(build::query(select), &format!("{name}+")));
    above.selection = Some(build::column(HAVING));
    Ok(build::query(above))
}

/// Expressions over the rows of the inner SELECT.
struct Above<'a> {
    window: &'a Window,
    aggregation: &'a Aggregation<'a>,
    /// The aggregates so far: `_a0 …`.
    calls: RefCell<Vec<Expr>>,
    failure: RefCell<Option<model::Error>>,
}

impl Above<'_> {
    fn over(&self, mut expr: Expr) -> Result<Expr> {
        self.window.pseudo_columns(&mut expr);
        replace(&mut expr, &|candidate| {
            if let Some((function, name)) = of_neighbours(candidate) {
                let made = if name == "twa" { self.twa(function) } else { self.elapsed(function) };
                return made.map_err(|error| self.failure.replace(Some(error))).ok();
            }
            if is_aggregate(candidate) {
                return Some(self.take(candidate.clone()));
            }
            let group = self.aggregation.group(candidate)?;
            Some(build::column(&format!("_p{group}")))
        });
        self.failure.take().map_or(Ok(expr), Err)
    }

    fn take(&self, call: Expr) -> Expr {
        let mut calls = self.calls.borrow_mut();
        let at = calls.iter().position(|known| *known == call).unwrap_or_else(|| {
            calls.push(call);
            calls.len() - 1
        });
        build::column(&format!("_a{at}"))
    }

    fn partition(&self) -> Vec<Expr> {
        (0..self.aggregation.groups.len()).map(|n| build::column(&format!("_p{n}"))).collect()
    }

    fn twa(&self, function: &Function) -> Result<Expr> {
        let mut points = build::function("__twa_points", args(function)?);
        points.filter.clone_from(&function.filter);
        let points = self.take(Expr::Function(points));
        let start = build::column(START);
        let order = vec![build::ordered(start.clone(), true)];
        Ok(build::over("__twa", vec![points, start, self.window.end()], self.partition(), order))
    }

    /// The window's own ends in place of its first and last row, where the partition has rows beyond them.
    fn elapsed(&self, function: &Function) -> Result<Expr> {
        let [min, max, unit] = <[Expr; 3]>::try_from(args(function)?)
            .map_err(|_| model::Error::internal("elapsed has two ends and a unit"))?;
        let time = if let Expr::Function(min) = &min { args(min)? } else { Vec::new() };
        let columns = time.iter().flat_map(columns_in);
        if let Some(column) = columns.into_iter().find(|column| !self.aggregation.same(column, &self.window.key)) {
            let error = error!(InvalidColumnReference, "elapsed with INTERVAL takes the time column of the rows");
            return Err(placed(error, &column));
        }
        let (min, max) = (self.take(min), self.take(max));
        let of_all = |name: &str, own: &Expr| build::over(name, vec![own.clone()], self.partition(), Vec::new());
        let (first, last) = (of_all("min", &min), of_all("max", &max));
        let args = vec![min, max, unit, first, last, build::column(START), self.window.end()];
        Ok(build::call("__elapsed", args))
    }
}

fn args(function: &Function) -> Result<Vec<Expr>> {
    let args =
        plain_args(function).ok_or_else(|| error!(FeatureNotSupported, "{} takes plain arguments", function.name))?;
    Ok(args.into_iter().cloned().collect())
}
