//! Aggregates beside plain columns: what TDengine allows and SQL does not.
//!
//! Over a time series, a tag beside an aggregate is part of the group when the group is one table, and any other column
//! beside exactly one selection function (`max`, `min`, `first`, `last`, `last_row`) is that of the chosen row: it
//! becomes `__at_max(column, value, key)`. Start reading at [`Lowering::grouped`].

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use model::schema::RelationKind;
use model::{Result, fail};
use sqlparser::ast::{Expr, GroupByExpr, OrderBy, OrderByKind, Query, Visit, Visitor};

use super::range::range_column;
use super::scope::{Class, Column, Item, Scope};
use super::select::{Listed, Parts, refuse_window_columns};
use super::walk::{key, name_of, plain_args};
use super::window::{Slices, columns_in, default_order, replace, slice};
use super::{Lowering, build, has_group_by};
use crate::parser::markers::Windowing;
use crate::plan::names::folded;

/// The groups of one SELECT and what stands beside its aggregates.
pub(super) struct Aggregation<'s> {
    scope: &'s Scope,
    /// What is grouped by; tags that are read join it.
    pub(super) groups: Vec<Expr>,
    /// Each group is one table.
    by_table: bool,
    /// The one selection function of the list.
    selection: Option<Expr>,
}

impl<'s> Aggregation<'s> {
    pub(super) fn new(scope: &'s Scope, groups: Vec<Expr>, list: &[Listed]) -> Result<Self> {
        let tbname = |expr: &Expr| scope.resolve(expr).is_some_and(|(_, column)| column.name == "tbname");
        let single =
            scope.single_source().is_some_and(|(_, source)| source.child || source.kind == RelationKind::Normal);
        let by_table = single || groups.iter().any(tbname);
        let mut selections: Vec<Expr> = Vec::new();
        for call in list.iter().flat_map(|listed| aggregates_in(&without_spans(&listed.expr))) {
            if picker(&call).is_some() && !selections.contains(&call) {
                selections.push(call);
            }
        }
        // Several LAST_ROWs are of one row.
        let same = selections.iter().all(|call| picker(call) == Some("__at_last_row"));
        let selection = if selections.len() == 1 || same { selections.pop() } else { None };
        Ok(Self { scope, groups, by_table, selection })
    }

    /// The place of `expr` among the groups.
    pub(super) fn group(&self, expr: &Expr) -> Option<usize> {
        let wanted = self.canonical(expr);
        self.groups.iter().position(|group| self.canonical(group) == wanted)
    }

    /// Whether two expressions are the same column.
    pub(super) fn same(&self, left: &Expr, right: &Expr) -> bool {
        self.canonical(left) == self.canonical(right)
    }

    fn canonical(&self, expr: &Expr) -> String {
        match self.scope.resolve(expr) {
            Some((item, column)) => format!("{}\u{1}{}", item.qualifier, column.name),
            None => expr.to_string(),
        }
    }

    /// Makes the plain columns beside aggregates in `expr` legal.
    pub(super) fn complete(&mut self, expr: &mut Expr) -> Result<()> {
        self.stand_ins(expr, &mut |_, companion| companion, false)
    }

    /// `expr`, which aggregates nothing, over the grouped rows: groups become `_p0 …`, companions what `take` gives.
    pub(super) fn references(&mut self, expr: &mut Expr, take: &mut dyn FnMut(Expr) -> Expr) -> Result<()> {
        self.stand_ins(expr, &mut |_, companion| take(companion), true)
    }

    /// Replaces groups (where `outer`) and companions. Aggregates and what is named with `_` are left alone.
    fn stand_ins(&mut self, expr: &mut Expr, take: &mut dyn FnMut(&Self, Expr) -> Expr, outer: bool) -> Result<()> {
        let mut made: Vec<(Expr, Expr)> = Vec::new();
        for column in self.free_columns(expr) {
            let Some((item, of)) = self.scope.resolve(&column) else { continue };
            if self.group(&column).is_some() {
                continue;
            }
            if self.is_fixed(item, of) {
                self.groups.push(column);
            } else if let Some(companion) = self.companion(&column) {
                let stand_in = take(self, companion);
                made.push((column, stand_in));
            } else {
                let name = &of.name;
                let error = model::error!(
                    GroupingError,
                    "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"
                );
                return Err(super::walk::placed(error, &column));
            }
        }
        let this = &*self;
        replace(expr, &|candidate| {
            if is_aggregate(candidate) {
                return Some(candidate.clone());
            }
            if outer && let Some(at) = this.group(candidate) {
                return Some(build::column(&format!("_p{at}")));
            }
            if !outer && this.group(candidate).is_some() {
                return Some(candidate.clone());
            }
            made.iter().find(|(column, _)| column == candidate).map(|(_, stand_in)| stand_in.clone())
        });
        Ok(())
    }

    /// Columns of `expr` that are in no aggregate and no group.
    pub(super) fn free_columns(&self, expr: &Expr) -> Vec<Expr> {
        let mut rest = expr.clone();
        replace(&mut rest, &|candidate| {
            (is_aggregate(candidate) || self.group(candidate).is_some()).then(|| build::number(0))
        });
        columns_in(&rest)
    }

    /// The same for all rows of a group.
    fn is_fixed(&self, item: &Item, column: &Column) -> bool {
        let ours = item.relation.is_some();
        ours && self.by_table && (column.class == Class::Tag || column.name == "tbname")
    }

    /// The value of `column` in the row that the selection function chose.
    fn companion(&self, column: &Expr) -> Option<Expr> {
        let Some(Expr::Function(function)) = &self.selection else { return None };
        let name = picker(self.selection.as_ref()?)?;
        let mut args = vec![column.clone()];
        args.extend(plain_args(function)?.into_iter().cloned());
        if matches!(name, "__at_max" | "__at_min") {
            args.push(self.scope.key().or_else(|| self.scope.time())?);
        }
        let mut call = build::function(name, args);
        call.filter.clone_from(&function.filter);
        Some(Expr::Function(call))
    }
}

/// `expr` without SPREAD and ELAPSED: the MAX and MIN in them choose no row.
fn without_spans(expr: &Expr) -> Expr {
    let mut rest = expr.clone();
    replace(&mut rest, &|candidate| {
        let Expr::Function(function) = candidate else { return None };
        matches!(name_of(function)?.as_str(), "__spread" | "__elapsed").then(|| build::number(0))
    });
    rest
}

/// The function that gives a companion of a selection function.
fn picker(call: &Expr) -> Option<&'static str> {
    let Expr::Function(function) = call else { return None };
    let count = plain_args(function)?.len();
    match (name_of(function)?.as_str(), count) {
        ("max", 1) => Some("__at_max"),
        ("min", 1) => Some("__at_min"),
        ("first", 2) => Some("__at_first"),
        ("last", 2) => Some("__at_last"),
        ("last_row", 2) => Some("__at_last_row"),
        _ => None,
    }
}

impl Lowering<'_> {
    /// A SELECT without INTERVAL: groups and companions. PARTITION BY beside aggregates is GROUP BY.
    pub(super) fn grouped(
        &mut self,
        list: &mut [Listed],
        parts: &mut Parts<'_>,
        windowing: &Windowing,
        scope: &Scope,
    ) -> Result<()> {
        refuse_window_columns(list, scope)?;
        let aggregates = list.iter().any(|listed| contains_aggregate(&listed.expr)) || parts.select.having.is_some();
        let grouped = has_group_by(parts.select);
        if !aggregates && !grouped {
            return range_columns(list, parts, scope, &|key| key);
        }
        let keys = match &parts.select.group_by {
            GroupByExpr::Expressions(keys, modifiers) if modifiers.is_empty() => keys.clone(),
            _ => return Ok(()),
        };
        let sets = |key: &Expr| matches!(key, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_));
        if keys.iter().any(sets) || (scope.key().is_none() && windowing.partition.is_empty()) {
            return Ok(());
        }
        let mut groups: Vec<Expr> = keys.iter().map(|key| spelled(key, list, scope)).collect();
        groups.extend(windowing.partition.iter().cloned());
        let known = groups.len();
        let mut aggregation = Aggregation::new(scope, groups, list)?;
        for listed in list.iter_mut() {
            aggregation.complete(&mut listed.expr)?;
        }
        let names: Vec<String> = list.iter().map(|listed| listed.name.clone()).collect();
        for expr in parts.order_exprs() {
            let named = matches!(&*expr, Expr::Identifier(ident) if names.contains(&folded(ident)));
            if !named && contains_aggregate(expr) {
                aggregation.complete(expr)?;
            }
        }
        if let Some(having) = &mut parts.select.having {
            aggregation.complete(having)?;
        }
        range_columns(list, parts, scope, &|key| build::call("min", vec![key]))?;
        if known > keys.len() || aggregation.groups.len() > known {
            parts.select.group_by = GroupByExpr::Expressions(aggregation.groups.clone(), Vec::new());
        }
        Ok(())
    }

    /// A SELECT with PARTITION BY and without INTERVAL: LIMIT counts inside each partition, SLIMIT counts partitions.
    pub(super) fn sliced(
        &mut self,
        list: &[Listed],
        parts: &mut Parts<'_>,
        windowing: &Windowing,
        scope: &Scope,
    ) -> Result<()> {
        if windowing.partition.is_empty() {
            return Ok(());
        }
        let aggregates = list.iter().any(|listed| contains_aggregate(&listed.expr));
        let time = if aggregates { None } else { scope.key() };
        let time = match (time, windowing.partition.first()) {
            (Some(time), _) => time,
            (None, Some(first)) => first.clone(),
            (None, None) => fail!(InternalError, "a partition without expressions"),
        };
        let times = std::slice::from_ref(&time);
        default_order(parts, &windowing.partition, times);
        slice(parts, list, &windowing.partition, &Slices::of(windowing), times);
        Ok(())
    }
}

/// `_qstart` and the like outside windows; `time` makes an expression that may stand there of the key.
fn range_columns(list: &mut [Listed], parts: &mut Parts<'_>, scope: &Scope, time: &dyn Fn(Expr) -> Expr) -> Result<()> {
    let selection = parts.select.selection.clone();
    let mut exprs: Vec<&mut Expr> = list.iter_mut().map(|listed| &mut listed.expr).collect();
    exprs.extend(parts.select.having.as_mut());
    if let Some(OrderBy { kind: OrderByKind::Expressions(by), .. }) = parts.order_by {
        exprs.extend(by.iter_mut().map(|by| &mut by.expr));
    }
    for expr in exprs {
        let Some(column) = columns_in(expr).into_iter().find(|column| range_column(column).is_some()) else { continue };
        if scope.resolve(&column).is_some() {
            continue;
        }
        let key = key(scope, &column)?;
        let bounds = super::range::bounds(selection.as_ref(), &key, scope);
        super::range::pseudo_columns(expr, &bounds, &time(key));
    }
    Ok(())
}

/// A GROUP BY key: a position or alias of the list is what stands there.
pub(super) fn spelled(key: &Expr, list: &[Listed], scope: &Scope) -> Expr {
    let found = match key {
        Expr::Value(value) => {
            let position = value.value.to_string().parse::<usize>().ok();
            position.and_then(|n| list.get(n.checked_sub(1)?))
        }
        Expr::Identifier(ident) if scope.resolve(key).is_none() => {
            let name = folded(ident);
            list.iter().find(|listed| listed.name == name)
        }
        _ => None,
    };
    found.map_or_else(|| key.clone(), |listed| listed.expr.clone())
}

/// Whether `name` is an aggregate: DataFusion's and ours.
pub(super) fn is_aggregate_name(name: &str) -> bool {
    static NAMES: OnceLock<HashSet<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let stock = datafusion::functions_aggregate::all_default_aggregate_functions();
        let ours = crate::functions::aggregate::all();
        let all = stock.iter().map(std::convert::AsRef::as_ref).chain(ours.iter());
        all.flat_map(|f| f.aliases().iter().cloned().chain([f.name().to_owned()])).collect()
    });
    names.contains(name)
}

/// Whether `expr` itself is a call of an aggregate, not over a window.
pub(super) fn is_aggregate(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    function.over.is_none() && name_of(function).is_some_and(|name| is_aggregate_name(&name))
}

/// Whether `expr` aggregates, outside subqueries.
pub(super) fn contains_aggregate(expr: &Expr) -> bool {
    !aggregates_in(expr).is_empty()
}

/// The calls of aggregates in `expr`, outermost only, not those in subqueries.
pub(super) fn aggregates_in(expr: &Expr) -> Vec<Expr> {
    #[derive(Default)]
    struct Calls {
        found: Vec<Expr>,
        queries: usize,
        inside: usize,
    }
    impl Visitor for Calls {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.queries += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.queries -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if self.queries == 0 && is_aggregate(expr) {
                if self.inside == 0 {
                    self.found.push(expr.clone());
                }
                self.inside += 1;
            }
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if self.queries == 0 && is_aggregate(expr) {
                self.inside -= 1;
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls::default();
    let _ = expr.visit(&mut calls);
    calls.found
}
