//! Pieces of AST that rewrites put in.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Query, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, Value,
    ValueWithSpan, Values,
};
use sqlparser::tokenizer::Span;

/// `name(arguments)`.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    call_with(name, arguments, Vec::new())
}

/// `name(arguments ORDER BY …)` and the like.
pub(super) fn call_with(name: &str, arguments: Vec<Expr>, clauses: Vec<FunctionArgumentClause>) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `'text'`.
pub(super) fn text(text: &str) -> Expr {
    value(Value::SingleQuotedString(text.to_owned()))
}

/// An integer.
pub(super) fn number(n: i64) -> Expr {
    value(Value::Number(n.to_string(), false))
}

/// A truth value.
pub(super) fn boolean(of: bool) -> Expr {
    value(Value::Boolean(of))
}

/// NULL.
pub(super) fn null() -> Expr {
    value(Value::Null)
}

fn value(value: Value) -> Expr {
    Expr::Value(ValueWithSpan { value, span: Span::empty() })
}

/// Takes an expression out of the tree; what stays is put over at once.
pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

/// The text of a string literal, through parentheses and casts to text.
pub(super) fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(of) => match &of.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            Value::DollarQuotedString(of) => Some(&of.value),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

/// Whether an expression is a placeholder such as `$1`, through parentheses.
pub(super) fn is_placeholder(expr: &Expr) -> bool {
    match expr {
        Expr::Value(of) => matches!(of.value, Value::Placeholder(_)),
        Expr::Nested(inner) => is_placeholder(inner),
        _ => false,
    }
}

/// The plain arguments of a call; None if one is named or a star, or the list has clauses.
pub(super) fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if !list.clauses.is_empty() || list.duplicate_treatment.is_some() {
        return None;
    }
    let plain = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)));
    if !list.args.iter().all(plain) {
        return None;
    }
    let exprs = list.args.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    Some(exprs.collect())
}

/// `SELECT item FROM (rows) AS _rows(columns) [WHERE condition]`.
pub(super) fn over_rows(item: SelectItem, rows: Query, columns: Vec<Ident>, condition: Option<Expr>) -> Query {
    let columns = columns.into_iter().map(|name| TableAliasColumnDef { name, data_type: None }).collect();
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', "_rows"), columns, at: None };
    let relation = TableFactor::Derived { lateral: false, subquery: Box::new(rows), alias: Some(alias), sample: None };
    let mut select = crate::lower::build::empty_select();
    select.projection = vec![item];
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    select.selection = condition;
    query(SetExpr::Select(Box::new(select)))
}

/// A query of this body and nothing else.
pub(super) fn query(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// What stands in for a query that was taken out of the tree.
pub(super) fn nothing() -> Query {
    query(SetExpr::Values(Values { explicit_row: false, value_keyword: false, rows: Vec::new() }))
}
