//! Subqueries used as values: `ARRAY(SELECT …)`, and correlated ones, whose rows are gathered and counted because
//! DataFusion takes such a subquery only if it aggregates.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, ObjectName, OrderByKind, Query, Select, SelectItem,
    SetExpr, TableFactor, TableWithJoins, Value, Visit, VisitMut as _, Visitor, VisitorMut,
};

use super::build::{call, call_with, literal, nothing, null, take, text};
use super::system_name;

/// System relations that have no rows here, ever: this server has no such things.
const EMPTY: [&str; 16] = [
    "pg_policy",
    "pg_statistic_ext",
    "pg_publication",
    "pg_publication_rel",
    "pg_publication_namespace",
    "pg_inherits",
    "pg_sequence",
    "pg_trigger",
    "pg_rewrite",
    "pg_enum",
    "pg_range",
    "pg_foreign_table",
    "pg_foreign_server",
    "pg_partitioned_table",
    "pg_auth_members",
    "pg_event_trigger",
];

/// A SELECT over a system relation that is always empty gives no rows, so what it would compute need not be planned:
/// its subqueries and array work become NULL.
pub(super) fn blank_if_empty(select: &mut Select) {
    if !is_grouped(select) && select.from.iter().any(joins_empty) || wants_foreign_keys(select) {
        for item in &mut select.projection {
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { continue };
            if is_hard(expr) {
                *expr = null_of(DataType::Text);
            }
        }
        // Said once more, so that nothing is planned of it: its NULLs would count as sorted.
        select.selection = Some(super::build::boolean(false));
    }
}

fn is_grouped(select: &Select) -> bool {
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(exprs, modifiers) => !exprs.is_empty() || !modifiers.is_empty(),
        GroupByExpr::All(_) => true,
    };
    // Without GROUP BY an aggregate gives a row even of nothing.
    let aggregate = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => is_aggregate(expr),
        _ => false,
    };
    !grouped && select.projection.iter().any(aggregate)
}

/// Whether an inner join of FROM has an empty relation: then there are no rows.
fn joins_empty(from: &TableWithJoins) -> bool {
    use sqlparser::ast::JoinOperator as Op;
    let inner = |op: &Op| matches!(op, Op::Join(_) | Op::Inner(_) | Op::CrossJoin(_));
    is_empty(&from.relation) && from.joins.iter().all(|join| inner(&join.join_operator) || is_left(&join.join_operator))
        || from.joins.iter().all(|join| inner(&join.join_operator))
            && from.joins.iter().any(|join| is_empty(&join.relation))
}

fn is_left(op: &sqlparser::ast::JoinOperator) -> bool {
    use sqlparser::ast::JoinOperator as Op;
    matches!(op, Op::Left(_) | Op::LeftOuter(_))
}

fn is_empty(table: &TableFactor) -> bool {
    match table {
        TableFactor::Table { name, args: None, .. } => {
            system_name(name).is_some_and(|name| EMPTY.contains(&name.as_str()))
        }
        TableFactor::Table { name, args: Some(args), .. } if system_name(name).as_deref() == Some("unnest") => {
            let unset = |arg: &FunctionArg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => is_unset(expr),
                _ => false,
            };
            args.args.iter().all(unset)
        }
        TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().all(is_unset),
        _ => false,
    }
}

/// Array columns of system relations that are NULL in every row here: nothing has options or privileges of its own.
fn is_unset(expr: &Expr) -> bool {
    const UNSET: [&str; 9] =
        ["reloptions", "attoptions", "spcoptions", "relacl", "attacl", "nspacl", "datacl", "proacl", "rolconfig"];
    let column = match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    column.is_some_and(|of| UNSET.contains(&of.value.to_ascii_lowercase().as_str()))
}

/// Whether a query gives no rows, whatever the data: an inner join with what is always empty.
fn is_blank(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    !is_grouped(select) && select.from.iter().any(joins_empty) || wants_foreign_keys(select)
}

fn null_of(data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(null()), data_type, array: false, format: None }
}

/// `contype = 'f'`, `'c'`, …: there are no constraints but primary keys.
fn wants_foreign_keys(select: &Select) -> bool {
    let absent = |expr: &&Expr| {
        let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = expr else { return false };
        let column = match left.as_ref() {
            Expr::Identifier(ident) => &ident.value,
            Expr::CompoundIdentifier(parts) => match parts.last() {
                Some(ident) => &ident.value,
                None => return false,
            },
            _ => return false,
        };
        column.eq_ignore_ascii_case("contype") && literal(right).is_some_and(|kind| kind != "p")
    };
    let Some(condition) = &select.selection else { return false };
    !is_grouped(select) && conjuncts(condition).iter().any(absent)
}

/// The parts of `a AND b AND c`.
fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => [conjuncts(left), conjuncts(right)].concat(),
        Expr::Nested(inner) => conjuncts(inner),
        other => vec![other],
    }
}

/// Whether an expression has a subquery or an array function, which may not be planned.
fn is_hard(expr: &Expr) -> bool {
    struct Hard;
    impl Visitor for Hard {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let set =
                |of: &Function| matches!(system_name(&of.name).as_deref(), Some("unnest" | "generate_subscripts"));
            match expr {
                Expr::AnyOp { .. } | Expr::AllOp { .. } => ControlFlow::Break(()),
                Expr::Function(of) if set(of) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Hard).is_break()
}

fn is_aggregate(expr: &Expr) -> bool {
    const NAMES: [&str; 14] = [
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "array_agg",
        "string_agg",
        "bool_and",
        "bool_or",
        "every",
        "json_agg",
        "json_object_agg",
        "first",
        "last",
    ];
    /// How many subqueries deep: theirs are not this SELECT's.
    struct Aggregate(u32);
    impl Visitor for Aggregate {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::Function(of) = expr else { return ControlFlow::Continue(()) };
            let known = || system_name(&of.name).is_some_and(|name| NAMES.contains(&name.as_str()));
            if self.0 == 0 && of.over.is_none() && known() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    expr.visit(&mut Aggregate(0)).is_break()
}

/// Rewrites an expression that is a subquery.
pub(super) fn rewrite(expr: &mut Expr) {
    match expr {
        Expr::Function(function) if system_name(&function.name).as_deref() == Some("array") => {
            if let FunctionArguments::Subquery(query) = &mut function.args {
                if is_blank(query) {
                    let texts = ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None);
                    *expr = call("pg_array", vec![null_of(DataType::Array(texts))]);
                } else if let Some(gathered) = gather(query) {
                    *expr = call("pg_array", vec![gathered]);
                }
            }
        }
        Expr::Subquery(query) if is_blank(query) => *expr = null_of(DataType::Text),
        Expr::Subquery(query) if is_correlated(query) && !is_aggregated(query) => {
            if let Some(gathered) = gather(query) {
                *expr = call("pg_only", vec![gathered]);
            }
        }
        Expr::Subquery(query) if is_correlated(query) => {
            if let Some(outer) = take_outer_conditions(query) {
                let inner = Expr::Subquery(std::mem::replace(query, Box::new(nothing())));
                *expr = when(outer, inner);
            }
        }
        _ => {}
    }
}

/// `EXISTS (…)` and `x IN (SELECT …)` among the results of a SELECT, which DataFusion knows only as conditions: counts.
pub(super) fn exists_as_values(items: &mut [SelectItem]) {
    struct Values(u32);
    impl VisitorMut for Values {
        type Break = ();
        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let new = match (self.0, &mut *expr) {
                (0, Expr::Exists { subquery, negated }) => Some(counted(subquery, *negated)),
                (0, Expr::InSubquery { expr: value, subquery, negated }) => Some(among(value, subquery, *negated)),
                _ => None,
            };
            if let Some(new) = new {
                *expr = new;
            }
            ControlFlow::Continue(())
        }
    }
    for item in items {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _ = expr.visit(&mut Values(0));
        }
    }
}

/// `(SELECT count(*) > 0 FROM …)` of `EXISTS (SELECT … FROM …)`.
fn counted(query: &mut Query, negated: bool) -> Expr {
    let op = if negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
    let count = call("count", vec![super::build::number(1)]);
    let any = Expr::BinaryOp { left: Box::new(count), op, right: Box::new(super::build::number(0)) };
    let item = SelectItem::UnnamedExpr(any);
    if is_plain(query)
        && let Some(select) = select_of(query)
    {
        select.projection = vec![item];
        query.order_by = None;
        return Expr::Subquery(Box::new(std::mem::replace(query, nothing())));
    }
    let rows = std::mem::replace(query, nothing());
    Expr::Subquery(Box::new(super::build::over_rows(item, rows, Vec::new(), None)))
}

/// Whether the rows of a query are those of its FROM and WHERE.
fn is_plain(query: &mut Query) -> bool {
    if query.with.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return false;
    }
    let plain = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select_of(query).is_some_and(|select| !is_grouped(select) && select.group_by == plain && select.having.is_none())
}

/// `x IN (SELECT c FROM q)` as counts of the rows: of those equal to x, of all, of those that are null.
fn among(value: &Expr, query: &mut Query, negated: bool) -> Expr {
    const COLUMN: &str = "_in";
    let query = std::mem::replace(query, nothing());
    let column = || Expr::Identifier(Ident::with_quote('"', COLUMN));
    let value = || Expr::Nested(Box::new(value.clone()));
    let count = |condition: Option<Expr>| {
        let item = SelectItem::UnnamedExpr(call("count", vec![super::build::number(1)]));
        let columns = vec![Ident::with_quote('"', COLUMN)];
        let counted = super::build::over_rows(item, query.clone(), columns, condition);
        call("coalesce", vec![Expr::Subquery(Box::new(counted)), super::build::number(0)])
    };
    let compared = |left: Expr, op: BinaryOperator, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    };
    let some = |condition| compared(count(Some(condition)), BinaryOperator::Gt, super::build::number(0));
    let equal = some(compared(column(), BinaryOperator::Eq, value()));
    let empty = compared(count(None), BinaryOperator::Eq, super::build::number(0));
    let null_among = some(Expr::IsNull(Box::new(column())));
    let unknown = compared(Expr::IsNull(Box::new(value())), BinaryOperator::Or, null_among);
    let arm = |condition, result| CaseWhen { condition, result };
    let truth = super::build::boolean;
    let conditions = vec![arm(equal, truth(!negated)), arm(empty, truth(negated)), arm(unknown, null())];
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: Some(Box::new(truth(negated))),
    }
}

fn select_of(query: &mut Query) -> Option<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// Whether DataFusion takes a correlated subquery as it is.
fn is_aggregated(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return true };
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_slice() else {
        return true;
    };
    query.limit_clause.is_some() || is_aggregate(expr) || select.from.is_empty()
}

/// `(SELECT array_agg(x ORDER BY …) FROM …)` of `(SELECT x FROM … ORDER BY …)`; None if it is not that simple.
fn gather(query: &mut Query) -> Option<Expr> {
    if query.with.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return None;
    }
    let order = query.order_by.take();
    let select = select_of(query)?;
    if select.distinct.is_some() || is_grouped(select) || select.having.is_some() {
        query.order_by = order;
        return None;
    }
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    else {
        query.order_by = order;
        return None;
    };
    let value = take(item);
    let mut clauses = Vec::new();
    if let Some(OrderByKind::Expressions(mut exprs)) = order.map(|order| order.kind) {
        for by in &mut exprs {
            if matches!(&by.expr, Expr::Value(of) if of.value == Value::Number("1".into(), false)) {
                by.expr = value.clone();
            }
        }
        clauses.push(FunctionArgumentClause::OrderBy(exprs));
    }
    let own = own_names(query);
    let select = select_of(query)?;
    let unequal = take_unequal(select, &own);
    let value = match &unequal {
        Some((inner, _)) => call("named_struct", vec![text("v"), value, text("k"), inner.clone()]),
        None => value,
    };
    select.projection = vec![SelectItem::UnnamedExpr(call_with("array_agg", vec![value], clauses))];
    let outer = take_outer_conditions(query);
    let gathered = Expr::Subquery(Box::new(std::mem::replace(query, nothing())));
    let gathered = match unequal {
        Some((_, outer)) => call("pg_unequal", vec![gathered, outer]),
        None => gathered,
    };
    Some(match outer {
        Some(outer) => when(outer, gathered),
        None => gathered,
    })
}

/// Takes `outer.x <> inner.y` out of a subquery's conditions, which DataFusion does not decorrelate: (inner, outer).
fn take_unequal(select: &mut Select, own: &HashSet<String>) -> Option<(Expr, Expr)> {
    let condition = select.selection.take()?;
    let mut parts: Vec<Expr> = conjuncts(&condition).into_iter().cloned().collect();
    let sides = |part: &Expr| {
        let Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } = part else { return None };
        let (left, right) = (left.as_ref().clone(), right.as_ref().clone());
        match (is_outer(&left, own), is_outer(&right, own)) {
            (true, false) => Some((right, left)),
            (false, true) => Some((left, right)),
            _ => None,
        }
    };
    let found = parts.iter().enumerate().find_map(|(at, part)| Some((at, sides(part)?)));
    let Some((at, sides)) = found else {
        select.selection = Some(condition);
        return None;
    };
    parts.remove(at);
    let join = |left, right| Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) };
    select.selection = parts.into_iter().reduce(join);
    Some(sides)
}

/// `CASE WHEN condition THEN value END`.
fn when(condition: Expr, value: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result: value }],
        else_result: None,
    }
}

/// Takes those conditions out of a subquery that look only at the outer query, which DataFusion does not decorrelate.
fn take_outer_conditions(query: &mut Query) -> Option<Expr> {
    let own = own_names(query);
    let select = select_of(query)?;
    let condition = select.selection.take()?;
    let parts: Vec<Expr> = conjuncts(&condition).into_iter().cloned().collect();
    let (outer, inner): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| is_outer(part, &own));
    let join = |left, right| Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) };
    if outer.is_empty() {
        select.selection = Some(condition);
        return None;
    }
    select.selection = inner.into_iter().reduce(join);
    outer.into_iter().reduce(join)
}

/// Whether every column of a condition has a qualifier that is not the subquery's own.
fn is_outer(expr: &Expr, own: &HashSet<String>) -> bool {
    struct Columns<'a>(&'a HashSet<String>, bool);
    impl Visitor for Columns<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) => ControlFlow::Break(()),
                Expr::CompoundIdentifier(parts) => {
                    self.1 = true;
                    if qualifier(parts).is_some_and(|name| !self.0.contains(&name)) {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let mut columns = Columns(own, false);
    expr.visit(&mut columns).is_continue() && columns.1
}

/// The table of a qualified column.
fn qualifier(parts: &[Ident]) -> Option<String> {
    let at = parts.len().checked_sub(2)?;
    Some(parts[at].value.to_ascii_lowercase())
}

/// The names by which a query's own tables are called, at any depth.
fn own_names(query: &Query) -> HashSet<String> {
    struct Names(HashSet<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
            let last = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).map(|of| of.value.clone());
            let (alias, name) = match table {
                TableFactor::Table { alias, name, .. } | TableFactor::Function { alias, name, .. } => {
                    (alias, last(name))
                }
                TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. } => (alias, None),
                _ => return ControlFlow::Continue(()),
            };
            let name = alias.as_ref().map(|alias| alias.name.value.clone()).or(name);
            self.0.extend(name.map(|name| name.to_ascii_lowercase()));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(HashSet::new());
    let _ = query.visit(&mut names);
    names.0
}

/// Whether a query names a table that is not its own.
fn is_correlated(query: &Query) -> bool {
    struct Foreign(HashSet<String>);
    impl Visitor for Foreign {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::CompoundIdentifier(parts) = expr else { return ControlFlow::Continue(()) };
            match qualifier(parts) {
                Some(name) if !self.0.contains(&name) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.visit(&mut Foreign(own_names(query))).is_break()
}
