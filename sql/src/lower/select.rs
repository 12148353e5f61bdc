//! One SELECT: its list is spelled out and named, then it goes one of three ways: as it is, grouped, or windowed.
//!
//! Start reading at [`Lowering::select`].

use std::ops::ControlFlow;

use model::{Result, error, fail};
use sqlparser::ast::{
    BinaryOperator, DataType, Distinct, ExceptSelectItem, ExcludeSelectItem, Expr, Function, GroupByExpr, LimitClause,
    OrderBy, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, Visit, Visitor,
    WildcardAdditionalOptions,
};

use super::naming::{self, Unique, name_of};
use super::scope::{Class, Scope};
use super::walk::{self, WINDOW_COLUMNS, is_star, placed, plain_args};
use super::{Env, Lowering, Out, build, has_group_by};
use crate::parser::markers::{Markers, Windowing};
use crate::plan::error::shown;
use crate::plan::names::{folded, parts_of};

/// One column of a SELECT list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) expr: Expr,
    /// As the user meets it.
    pub(super) name: String,
    /// Whether it is the time of its row.
    pub(super) key: bool,
    /// Whether it is a time.
    pub(super) time: bool,
}

/// What is rewritten besides the list.
pub(super) struct Parts<'s> {
    pub(super) select: &'s mut Select,
    pub(super) order_by: &'s mut Option<OrderBy>,
    pub(super) limit: &'s mut Option<LimitClause>,
}

impl Parts<'_> {
    /// The expressions of ORDER BY; none for `ORDER BY ALL`.
    pub(super) fn order_exprs(&mut self) -> Vec<&mut Expr> {
        match self.order_by {
            Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) => {
                exprs.iter_mut().map(|order| &mut order.expr).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Lowering<'_> {
    /// Lowers a SELECT with the ORDER BY and LIMIT that belong to it.
    pub(super) fn select(
        &mut self,
        select: &mut Select,
        order_by: &mut Option<OrderBy>,
        limit: &mut Option<LimitClause>,
        env: &Env,
    ) -> Result<Vec<Out>> {
        let windowing = Markers::take(select);
        if let Some(windowing) = &windowing {
            refuse(windowing, has_group_by(select))?;
        }
        let scope = self.from(&mut select.from, env)?;
        let mut list = self.list(select, &scope)?;
        let mut parts = Parts { select, order_by, limit };
        let mut windowing = windowing.unwrap_or_default();
        resolve_partition(&mut windowing, &list, &scope)?;
        for listed in &mut list {
            self.walk(&mut listed.expr, &scope, env)?;
        }
        check_clauses(&mut parts, list.len())?;
        self.walk_clauses(&list, &mut parts, &mut windowing, &scope, env)?;
        self.tags_only(&list, &mut parts, &mut windowing, &scope)?;
        if let Some(outs) = self.rowwise(&mut list, &mut parts, &windowing, &scope)? {
            return Ok(outs);
        }
        if windowing.interval.is_some() {
            return self.windowed(list, parts, &windowing, &scope);
        }
        self.grouped(&mut list, &mut parts, &windowing, &scope)?;
        self.sliced(&list, &mut parts, &windowing, &scope)?;
        Ok(finish(list, parts.select))
    }

    /// The list, every `*` spelled out, every column named.
    fn list(&mut self, select: &mut Select, scope: &Scope) -> Result<Vec<Listed>> {
        let mut list = Vec::new();
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::UnnamedExpr(expr) => match all_columns(&expr, scope) {
                    Some(columns) => list.extend(columns),
                    None => list.push(listed(expr, None, scope)),
                },
                SelectItem::ExprWithAlias { expr, alias } => list.push(listed(expr, Some(folded(&alias)), scope)),
                SelectItem::Wildcard(options) => {
                    if scope.items.is_empty() {
                        fail!(SyntaxError, "SELECT * with no tables specified is not valid");
                    }
                    list.extend(starred(scope.star(), &options, scope)?);
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    let parts = parts_of(&name);
                    let qualifier = parts.last().cloned().unwrap_or_default();
                    let Some(item) = scope.item(&qualifier) else {
                        fail!(UndefinedTable, "missing FROM-clause entry for table \"{qualifier}\"");
                    };
                    list.extend(starred(scope.star_of(item, false), &options, scope)?);
                }
                other => fail!(FeatureNotSupported, "{other} in a select list is not supported"),
            }
        }
        Ok(list)
    }

    fn walk_clauses(
        &mut self,
        list: &[Listed],
        parts: &mut Parts<'_>,
        windowing: &mut Windowing,
        scope: &Scope,
        env: &Env,
    ) -> Result<()> {
        for expr in &mut windowing.partition {
            self.walk(expr, scope, env)?;
        }
        for expr in parts.order_exprs() {
            if !names_output(expr, list)? {
                self.walk(expr, scope, env)?;
            }
        }
        let select = &mut *parts.select;
        let optional = [&mut select.selection, &mut select.having, &mut select.qualify];
        for expr in optional.into_iter().flatten() {
            self.walk(expr, scope, env)?;
        }
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            for key in keys {
                self.walk(key, scope, env)?;
            }
        }
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            for expr in exprs {
                self.walk(expr, scope, env)?;
            }
        }
        Ok(())
    }

    /// `SELECT TAGS …` and `SELECT DISTINCT tbname, tag …` are answered from the tables, not from their rows.
    fn tags_only(
        &mut self,
        list: &[Listed],
        parts: &mut Parts<'_>,
        windowing: &mut Windowing,
        scope: &Scope,
    ) -> Result<()> {
        let asked = windowing.tags;
        let distinct = matches!(parts.select.distinct, Some(Distinct::Distinct));
        if !asked && (!distinct || has_group_by(parts.select) || windowing.interval.is_some()) {
            return Ok(());
        }
        let mut exprs: Vec<&Expr> = list.iter().map(|listed| &listed.expr).collect();
        exprs.extend(parts.select.selection.as_ref());
        let names = exprs.iter().flat_map(|expr| super::window::columns_in(expr)).collect::<Vec<_>>();
        let plain = |expr: &Expr| {
            scope.resolve(expr).is_some_and(|(_, column)| matches!(column.class, Class::Tag | Class::Hidden))
        };
        let source = scope.single_source().filter(|(_, source)| source.kind == model::schema::RelationKind::Super);
        let fits = source.is_some() && !names.is_empty() && names.iter().all(plain);
        match source {
            Some((_, source)) if fits => {
                let table = source.table.clone();
                self.tags_scan(&table);
                Ok(())
            }
            _ if asked => {
                let error = error!(InvalidColumnReference, "SELECT TAGS takes tags and tbname of one super table");
                Err(match windowing.position {
                    0 => error,
                    position => error.at(position),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Refuses what PostgreSQL refuses of clauses by their form alone.
fn check_clauses(parts: &mut Parts<'_>, width: usize) -> Result<()> {
    for expr in parts.order_exprs() {
        check_position(expr, width, "ORDER BY")?;
    }
    if let GroupByExpr::Expressions(keys, _) = &parts.select.group_by {
        for key in keys {
            check_position(key, width, "GROUP BY")?;
            if let Some(call) = super::group::aggregates_in(key).first() {
                return Err(placed(error!(GroupingError, "aggregate functions are not allowed in GROUP BY"), call));
            }
            no_window(key, "GROUP BY")?;
        }
    }
    if let Some(condition) = &parts.select.selection {
        if let Some(call) = super::group::aggregates_in(condition).first() {
            return Err(placed(error!(GroupingError, "aggregate functions are not allowed in WHERE"), call));
        }
        no_window(condition, "WHERE")?;
    }
    if let Some(condition) = &parts.select.having {
        no_window(condition, "HAVING")?;
    }
    Ok(())
}

/// 42P10 for a number that is no position of the select list.
pub(super) fn check_position(expr: &Expr, width: usize, clause: &str) -> Result<()> {
    let Expr::Value(value) = expr else { return Ok(()) };
    let sqlparser::ast::Value::Number(digits, _) = &value.value else { return Ok(()) };
    match digits.parse::<usize>() {
        Ok(n) if n >= 1 && n <= width => Ok(()),
        Ok(n) => Err(placed(error!(InvalidColumnReference, "{clause} position {n} is not in select list"), expr)),
        Err(_) => Err(placed(error!(SyntaxError, "non-integer constant in {clause}"), expr)),
    }
}

/// 42P20 for a window function in a clause that is read before there are windows.
fn no_window(expr: &Expr, clause: &str) -> Result<()> {
    struct Windows(u32);
    impl Visitor for Windows {
        type Break = Expr;
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Expr> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Expr> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Expr> {
            match expr {
                Expr::Function(function) if self.0 == 0 && function.over.is_some() => ControlFlow::Break(expr.clone()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match expr.visit(&mut Windows(0)) {
        ControlFlow::Break(call) => {
            Err(placed(error!(WindowingError, "window functions are not allowed in {clause}"), &call))
        }
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Whether an expression of ORDER BY is the name of an output, which goes before the columns of FROM.
fn names_output(expr: &Expr, list: &[Listed]) -> Result<bool> {
    let Expr::Identifier(ident) = expr else { return Ok(false) };
    let name = folded(ident);
    let mut named = list.iter().filter(|listed| shown(&listed.name) == name);
    let Some(first) = named.next() else { return Ok(false) };
    if named.any(|other| other.expr != first.expr) {
        return Err(placed(error!(AmbiguousColumn, "ORDER BY \"{name}\" is ambiguous"), expr));
    }
    Ok(true)
}

fn refuse(windowing: &Windowing, grouped: bool) -> Result<()> {
    use crate::parser::markers::OtherWindow;
    let at = |error: model::Error| if windowing.position == 0 { error } else { error.at(windowing.position) };
    let name = match &windowing.other {
        Some(OtherWindow::Session(..)) => Some("SESSION"),
        Some(OtherWindow::State(_)) => Some("STATE_WINDOW"),
        Some(OtherWindow::Event(..)) => Some("EVENT_WINDOW"),
        Some(OtherWindow::Count(_)) => Some("COUNT_WINDOW"),
        None if windowing.range.is_some() => Some("RANGE"),
        None if windowing.every.is_some() => Some("EVERY"),
        None if windowing.auto_offset => Some("INTERVAL(…, AUTO)"),
        None => None,
    };
    if let Some(name) = name {
        return Err(at(error!(FeatureNotSupported, "{name} is not supported yet")));
    }
    if grouped && (windowing.interval.is_some() || !windowing.partition.is_empty()) {
        return Err(at(error!(SyntaxError, "GROUP BY cannot be combined with PARTITION BY or a window"))
            .with_hint("use PARTITION BY in place of GROUP BY"));
    }
    if windowing.fill.is_some() && windowing.interval.is_none() {
        return Err(at(error!(SyntaxError, "FILL needs an INTERVAL")));
    }
    if windowing.partition.is_empty() && (windowing.slimit.is_some() || windowing.soffset.is_some()) {
        return Err(at(error!(SyntaxError, "SLIMIT and SOFFSET need PARTITION BY")));
    }
    Ok(())
}

/// PARTITION BY takes positions and aliases of the list, as GROUP BY does.
fn resolve_partition(windowing: &mut Windowing, list: &[Listed], scope: &Scope) -> Result<()> {
    for expr in &mut windowing.partition {
        let replacement = match &*expr {
            Expr::Value(value) => {
                let position = value.value.to_string().parse::<usize>().ok();
                let listed = position.and_then(|n| list.get(n.checked_sub(1)?));
                let Some(listed) = listed else {
                    fail!(InvalidColumnReference, "PARTITION BY position {} is not in select list", value.value);
                };
                Some(listed.expr.clone())
            }
            Expr::Identifier(ident) if scope.resolve(expr).is_none() => {
                let name = folded(ident);
                list.iter().find(|listed| listed.name == name).map(|listed| listed.expr.clone())
            }
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
    }
    Ok(())
}

fn listed(expr: Expr, alias: Option<String>, scope: &Scope) -> Listed {
    let name = alias.unwrap_or_else(|| name_of(&expr));
    let pseudo = |name: &str| matches!(name, "_wstart" | "_c0" | "_rowts");
    let key = match scope.resolve(&expr) {
        Some((_, column)) => column.class == Class::Key,
        None => matches!(&expr, Expr::Identifier(ident) if pseudo(&folded(ident))),
    };
    let time = key || is_time(&expr, scope);
    Listed { expr, name, key, time }
}

/// Whether an expression is a time for certain: a column that is one, something near it, or cast to one.
fn is_time(expr: &Expr, scope: &Scope) -> bool {
    let of_time = |of: &DataType| matches!(of, DataType::Timestamp(..));
    let length = |expr: &Expr| matches!(expr, Expr::Interval(_) | Expr::Value(_));
    match expr {
        Expr::Nested(inner) => is_time(inner, scope),
        Expr::Cast { data_type, .. } => of_time(data_type),
        Expr::TypedString(typed) => of_time(&typed.data_type),
        Expr::BinaryOp { left, op: BinaryOperator::Plus | BinaryOperator::Minus, right } => {
            is_time(left, scope) && length(right)
        }
        Expr::Function(function) => {
            let (Some(name), Some(args)) = (walk::name_of(function), plain_args(function)) else { return false };
            let at = match name.as_str() {
                "min" | "max" | "first" | "last" | "last_row" | "timetruncate" | "coalesce" | "greatest" | "least"
                | "unnest" => 0,
                "date_trunc" | "date_bin" | "time_bucket" => 1,
                "pg_timestamptz" | "pg_timestamp" => return true,
                "pg_series" => return args.iter().any(|arg| is_time(arg, scope)),
                _ => return false,
            };
            args.get(at).is_some_and(|arg| is_time(arg, scope))
        }
        Expr::Identifier(ident) if scope.resolve(expr).is_none() => {
            matches!(folded(ident).as_str(), "_wend" | "_qstart" | "_qend")
        }
        _ => scope.resolve(expr).is_some_and(|(_, column)| column.time || column.class == Class::Key),
    }
}

/// `first(*)`, `last(*)`, `last_row(*)`: one column each, under the columns' own names.
fn all_columns(expr: &Expr, scope: &Scope) -> Option<Vec<Listed>> {
    let Expr::Function(function) = expr else { return None };
    let name = walk::name_of(function)?;
    if !matches!(name.as_str(), "first" | "last" | "last_row") || !is_star(function) {
        return None;
    }
    let of = |item: &super::scope::Item| {
        let columns = item.columns.iter().filter(|column| matches!(column.class, Class::Key | Class::Data));
        let one = |column: &super::scope::Column| Listed {
            expr: build::call(&name, vec![scope.reference(item, &column.name)]),
            name: column.name.clone(),
            key: column.class == Class::Key,
            time: column.time,
        };
        columns.map(one).collect::<Vec<_>>()
    };
    Some(scope.items.iter().flat_map(of).collect())
}

fn starred(columns: Vec<(Expr, String)>, options: &WildcardAdditionalOptions, scope: &Scope) -> Result<Vec<Listed>> {
    if options.opt_replace.is_some() || options.opt_rename.is_some() || options.opt_ilike.is_some() {
        fail!(FeatureNotSupported, "REPLACE, RENAME and ILIKE after * are not supported");
    }
    let mut without: Vec<String> = Vec::new();
    match &options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => without.extend(parts_of(name).pop()),
        Some(ExcludeSelectItem::Multiple(names)) => without.extend(names.iter().filter_map(|n| parts_of(n).pop())),
        None => {}
    }
    if let Some(ExceptSelectItem { first_element, additional_elements }) = &options.opt_except {
        without.push(folded(first_element));
        without.extend(additional_elements.iter().map(folded));
    }
    let kept = columns.into_iter().filter(|(_, name)| !without.contains(name));
    Ok(kept.map(|(expr, name)| listed(expr, Some(name), scope)).collect())
}

/// Puts the list back, every column under a name of its own.
pub(super) fn finish(list: Vec<Listed>, select: &mut Select) -> Vec<Out> {
    let mut unique = Unique::default();
    let mut outs = Vec::new();
    for Listed { expr, name, key, time } in list {
        let name = unique.take(&name);
        select.projection.push(SelectItem::ExprWithAlias { expr, alias: naming::alias(&name) });
        outs.push(Out { name, key, time });
    }
    outs
}

/// The first pseudo-column of a window in a SELECT without one.
pub(super) fn refuse_window_columns(list: &[Listed], scope: &Scope) -> Result<()> {
    for listed in list {
        for column in super::window::columns_in(&listed.expr) {
            if let Expr::Identifier(ident) = &column
                && ident.quote_style.is_none()
                && WINDOW_COLUMNS.contains(&folded(ident).as_str())
                && scope.resolve(&column).is_none()
            {
                let error = error!(InvalidColumnReference, "{} needs an INTERVAL", folded(ident));
                return Err(placed(error, &column));
            }
        }
    }
    Ok(())
}

/// `top(x, k)`, `bottom(x, k)`, `diff(x, n)`: the call and its name, if `expr` is one.
pub(super) fn rows_call(expr: &Expr) -> Option<(&Function, String, Vec<&Expr>)> {
    let Expr::Function(function) = expr else { return None };
    let name = walk::name_of(function)?;
    let args = plain_args(function)?;
    let fits = match name.as_str() {
        "top" | "bottom" => args.len() == 2,
        "diff" => matches!(args.len(), 1 | 2),
        _ => false,
    };
    (fits && function.over.is_none()).then_some((function, name, args))
}
