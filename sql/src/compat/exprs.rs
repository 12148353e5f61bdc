//! Expressions: operators with a schema, collations, ANY and ALL over arrays, LIKE with another escape, fields of
//! composites, subscripts of vectors, functions that return sets.

use std::collections::HashSet;

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, Ident, ObjectName, SelectItem, Subscript,
    UnaryOperator, Value,
};

use super::build::{arguments, call, literal, number, take, text};
use super::{casts, system_name, times};
use crate::functions::pg::parse_array;

/// Rewrites one expression whose parts are rewritten already.
pub(super) fn rewrite(expr: &mut Expr) {
    let new = match expr {
        Expr::BinaryOp { left, op, right } => {
            operator(op);
            if matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
                flag(left, right);
            }
            None
        }
        Expr::Collate { expr: inner, .. } => Some(take(inner)),
        Expr::Function(function) if is_ranking(function) => Some(bigint(take(expr))),
        Expr::Cast { expr: inner, data_type, kind: CastKind::Cast | CastKind::DoubleColon, .. } => {
            let cast = casts::rewrite(inner, data_type);
            cast.or_else(|| array_literal(inner, data_type)).or_else(|| times::cast(inner, data_type))
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => any(left, right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => any(left, right, true),
        Expr::AnyOp { left, compare_op, right, .. } => each(left, compare_op, right, BinaryOperator::Or),
        Expr::AllOp { left, compare_op, right } => each(left, compare_op, right, BinaryOperator::And),
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            if let Some(of) = escape_char.take() {
                match &of.value {
                    Value::SingleQuotedString(c) if c == "\\" => {}
                    Value::SingleQuotedString(_) => {
                        **pattern = call("pg_like_escape", vec![take(pattern), Expr::Value(of)]);
                    }
                    _ => *escape_char = Some(of),
                }
            }
            None
        }
        Expr::CompoundFieldAccess { root, access_chain } => access(root, access_chain),
        Expr::Function(function) => self::function(function),
        Expr::Extract { field, expr: inner, .. } => {
            Some(call("date_part", vec![text(&field.to_string().to_lowercase()), take(inner)]))
        }
        Expr::AtTimeZone { timestamp, time_zone } => Some(call("timezone", vec![take(time_zone), take(timestamp)])),
        Expr::Interval(interval) => {
            times::interval(interval);
            None
        }
        Expr::TypedString(typed) => times::typed(typed),
        Expr::Identifier(ident) => bare(ident),
        _ => None,
    };
    if let Some(new) = new {
        *expr = new;
    }
}

/// `indisprimary = 't'`: a flag of a system relation compared with the text of a truth value.
fn flag(left: &Expr, right: &mut Expr) {
    const PREFIXES: [&str; 9] = ["indis", "relis", "relhas", "attis", "attnotnull", "atthas", "typis", "rol", "datis"];
    let column = match left {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    let name = column.map(|of| of.value.to_ascii_lowercase()).unwrap_or_default();
    if name == "rolname" || !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return;
    }
    let value = match literal(right) {
        Some("t" | "true") => true,
        Some("f" | "false") => false,
        _ => return,
    };
    *right = super::build::boolean(value);
}

/// `OPERATOR(pg_catalog.~)`: the operator itself.
fn operator(op: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return };
    let known = match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("!~~") => BinaryOperator::PGNotLikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>" | "!=") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        Some("*") => BinaryOperator::Multiply,
        Some("/") => BinaryOperator::Divide,
        Some("||") => BinaryOperator::StringConcat,
        _ => return,
    };
    *op = known;
}

/// `'{a,b}'::text[]` as the array that it means.
fn array_literal(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    let element = casts::element_type(data_type)?.clone();
    let members = parse_array(literal(inner)?).ok()?;
    if members.is_empty() {
        return None;
    }
    let member = |member: Option<String>| Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(member.map_or_else(super::build::null, |of| text(&of))),
        data_type: element.clone(),
        array: false,
        format: None,
    };
    Some(Expr::Array(sqlparser::ast::Array { elem: members.into_iter().map(member).collect(), named: true }))
}

/// `x = ANY(array)` and, negated, `x <> ALL(array)`. A subquery is left: DataFusion knows it.
fn any(left: &mut Expr, right: &mut Expr, negated: bool) -> Option<Expr> {
    let expr = Box::new(take(left));
    let right = match take(right) {
        Expr::Nested(inner) => *inner,
        other => other,
    };
    if let Expr::Subquery(subquery) = right {
        return Some(Expr::InSubquery { expr, subquery, negated });
    }
    let list = match &right {
        Expr::Array(array) => Some(array.elem.clone()),
        other => literal(other).and_then(|of| parse_array(of).ok()).map(|members| {
            let null_or = |of: Option<String>| of.map_or_else(super::build::null, |of| text(&of));
            members.into_iter().map(null_or).collect()
        }),
    };
    if let Some(list) = list.filter(|list| !list.is_empty()) {
        return Some(Expr::InList { expr, list, negated });
    }
    let any = call("pg_any", vec![*expr, right]);
    Some(if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) } } else { any })
}

/// `x < ANY(ARRAY[a, b])`: a comparison with each member. Other arrays are left to DataFusion.
fn each(left: &Expr, op: &BinaryOperator, right: &Expr, joined: BinaryOperator) -> Option<Expr> {
    let Expr::Array(array) = right else { return None };
    let compare = |member: &Expr| {
        Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(left.clone()),
            op: op.clone(),
            right: Box::new(member.clone()),
        }))
    };
    let all = array.elem.iter().map(compare);
    let join = |left, right| Expr::BinaryOp { left: Box::new(left), op: joined.clone(), right: Box::new(right) };
    all.reduce(join).map(|of| Expr::Nested(Box::new(of)))
}

/// Columns of the types `int2vector` and `oidvector`, which are counted from 0.
const VECTORS: [&str; 5] = ["indkey", "indclass", "indoption", "indcollation", "proargtypes"];

fn access(root: &mut Box<Expr>, chain: &mut Vec<AccessExpr>) -> Option<Expr> {
    let vector = match root.as_ref() {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    if vector.is_some_and(|of| VECTORS.contains(&of.value.to_ascii_lowercase().as_str()))
        && let Some(AccessExpr::Subscript(Subscript::Index { index })) = chain.first_mut()
    {
        let shifted = take(index);
        let right = Box::new(number(1));
        *index = Expr::BinaryOp { left: Box::new(Expr::Nested(Box::new(shifted))), op: BinaryOperator::Plus, right };
    }
    // A column may be followed by subscripts, which DataFusion reads; `(composite).field` it does not.
    let [AccessExpr::Dot(Expr::Identifier(field))] = chain.as_slice() else { return None };
    let field = if field.quote_style.is_some() { field.value.clone() } else { field.value.to_lowercase() };
    let root = match take(root) {
        Expr::Nested(inner) => *inner,
        other => other,
    };
    Some(call("get_field", vec![root, text(&field)]))
}

/// PostgreSQL's functions that DataFusion has under another name or as a list.
fn function(function: &mut Function) -> Option<Expr> {
    let name = system_name(&function.name)?;
    if function.name.0.len() > 1 {
        function.name = ObjectName::from(vec![Ident::new(name.clone())]);
    }
    let args = || arguments(function).map(|args| args.into_iter().cloned().collect::<Vec<_>>());
    let unnest = |inner: &str| Some(call("unnest", vec![call(inner, args()?)]));
    let quoted =
        matches!(function.name.0.as_slice(), [part] if part.as_ident().is_some_and(|of| of.quote_style.is_some()));
    if quoted {
        return None;
    }
    match name.as_str() {
        "generate_subscripts" => Some(call("unnest", vec![call("pg_subscripts", vec![args()?.swap_remove(0)])])),
        "_pg_expandarray" => unnest("pg_expandarray"),
        "generate_series" => Some(super::series::unnested(args()?)),
        "mod" => {
            let [left, right] = args()?.try_into().ok()?;
            let [left, right] = [left, right].map(|side| Box::new(Expr::Nested(Box::new(side))));
            Some(Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Modulo, right })))
        }
        _ => None,
    }
}

/// Words that are functions without parentheses.
fn bare(ident: &Ident) -> Option<Expr> {
    let word = ident.value.to_ascii_lowercase();
    let known = matches!(
        word.as_str(),
        "current_schema" | "current_catalog" | "current_role" | "current_user" | "session_user" | "user"
    );
    (ident.quote_style.is_none() && known).then(|| call(&word, Vec::new()))
}

/// DataFusion wants the columns of a SELECT told apart by name: PostgreSQL does not. Later ones of a name get a number.
pub(super) fn tell_apart(items: &mut [SelectItem]) {
    let mut seen = HashSet::new();
    for (at, item) in items.iter_mut().enumerate() {
        let name = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => ident.value.clone(),
            SelectItem::UnnamedExpr(expr) => expr.to_string(),
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            _ => continue,
        };
        if seen.insert(name.clone()) {
            continue;
        }
        let alias = Ident::with_quote('"', format!("{name}:{}", at + 1));
        let expr = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => take(expr),
            _ => continue,
        };
        *item = SelectItem::ExprWithAlias { expr, alias };
    }
}

/// Window functions that count: unsigned in DataFusion, bigint in PostgreSQL.
fn is_ranking(function: &Function) -> bool {
    const NAMES: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];
    function.over.is_some() && system_name(&function.name).is_some_and(|name| NAMES.contains(&name.as_str()))
}

fn bigint(expr: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    }
}
