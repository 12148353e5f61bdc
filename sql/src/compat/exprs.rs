//! Expressions: operators with a schema, collations, ANY and ALL over arrays, LIKE with another escape, fields of
//! composites, subscripts of vectors, functions that return sets.

use std::collections::HashSet;

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Ident, ObjectName, OrderByExpr, OrderByOptions, SelectItem, Subscript,
    UnaryOperator, Value, ValueWithSpan, Values,
};

use super::build::{arguments, call, literal, number, take, text};
use super::{casts, system_name, times};
use crate::functions::pg::{given, parse_array};

/// Rewrites one expression whose parts are rewritten already.
pub(super) fn rewrite(expr: &mut Expr) {
    let new = match expr {
        Expr::BinaryOp { left, op, right } => {
            operator(op);
            if matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
                flag(left, right);
            }
            operator_function(op).map(|function| call(function, vec![take(left), take(right)]))
        }
        Expr::SimilarTo { negated, expr: inner, pattern, escape_char } => {
            let escape = escape_char.take().map(Expr::Value);
            let args = [take(inner), take(pattern)].into_iter().chain(escape).collect();
            let matches = call("pg_similar", args);
            Some(if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(matches) } } else { matches })
        }
        Expr::Collate { expr: inner, .. } => Some(take(inner)),
        Expr::Function(function) if ranking(function).is_some() => {
            ranking(function).map(|data_type| as_type(take(expr), data_type))
        }
        Expr::Function(function)
            if matches!(system_name(&function.name).as_deref(), Some("array_position" | "array_ndims")) =>
        {
            Some(as_type(take(expr), DataType::Int(None)))
        }
        Expr::Cast { expr: inner, data_type, kind: CastKind::Cast | CastKind::DoubleColon, .. } => {
            let cast = casts::rewrite(inner, data_type);
            cast.or_else(|| array_literal(inner, data_type)).or_else(|| times::cast(inner, data_type))
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => any(left, right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => any(left, right, true),
        Expr::AnyOp { left, compare_op, right, .. } => each(left, compare_op, right, BinaryOperator::Or),
        Expr::AllOp { left, compare_op, right } => each(left, compare_op, right, BinaryOperator::And),
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            like_escape(pattern, escape_char);
            None
        }
        Expr::CompoundFieldAccess { root, access_chain } => access(root, access_chain),
        Expr::Function(function) => self::function(function),
        Expr::Extract { field, expr: inner, .. } => {
            Some(call("pg_extract", vec![text(&field.to_string().to_lowercase()), take(inner)]))
        }
        Expr::AtTimeZone { timestamp, time_zone } => Some(call("timezone", vec![take(time_zone), take(timestamp)])),
        Expr::Interval(interval) => {
            times::interval(interval);
            None
        }
        Expr::UnaryOp { op, expr: inner } => unary(*op, inner),
        Expr::TypedString(typed) => times::typed(typed).or_else(|| {
            // `uuid '…'` is a cast of a literal.
            let mut inner = Expr::Value(typed.value.clone());
            casts::rewrite(&mut inner, &mut typed.data_type.clone())
        }),
        Expr::Identifier(ident) => bare(ident),
        Expr::Value(of) => match &of.value {
            Value::Number(digits, _) => huge(digits),
            _ => None,
        },
        _ => None,
    };
    if let Some(new) = new {
        *expr = new;
    }
}

/// Operators before an operand that DataFusion lacks.
fn unary(op: UnaryOperator, inner: &mut Expr) -> Option<Expr> {
    match (op, &*inner) {
        (UnaryOperator::PGAbs, _) => Some(call("abs", vec![take(inner)])),
        (UnaryOperator::BitwiseNot, _) => {
            let right = Box::new(Expr::Nested(Box::new(take(inner))));
            let less_one = Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number(1)) });
            Some(Expr::Nested(Box::new(Expr::BinaryOp { left: less_one, op: BinaryOperator::Minus, right })))
        }
        // DataFusion would put the minus before the first number only.
        (UnaryOperator::Minus, Expr::Interval(interval)) => times::negated(interval).map(Expr::Interval),
        _ => None,
    }
}

/// `LIKE pattern ESCAPE 'c'` as the pattern with a backslash in its place.
fn like_escape(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) {
    let Some(of) = escape.take() else { return };
    match &of.value {
        Value::SingleQuotedString(c) if c == "\\" => {}
        Value::SingleQuotedString(_) => *pattern = call("pg_like_escape", vec![take(pattern), Expr::Value(of)]),
        _ => *escape = Some(of),
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

/// A number with more digits than a numeric has here, as a double.
fn huge(digits: &str) -> Option<Expr> {
    const DIGITS_MAX: i64 = 70;
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let count = |of: &str| i64::try_from(of.len()).unwrap_or(i64::MAX);
    let whole = count(whole).saturating_add(exponent).max(0);
    let scale = count(fraction).saturating_sub(exponent).max(0);
    (whole.saturating_add(scale) > DIGITS_MAX).then(|| Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(text(digits)),
        data_type: DataType::DoublePrecision,
        array: false,
        format: None,
    })
}

/// The function that an operator is.
fn operator_function(op: &BinaryOperator) -> Option<&'static str> {
    match op {
        BinaryOperator::HashArrow => Some("pg_json_path"),
        BinaryOperator::HashLongArrow => Some("pg_json_path_text"),
        BinaryOperator::PGOverlap => Some("array_has_any"),
        BinaryOperator::PGStartsWith => Some("starts_with"),
        _ => None,
    }
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
        "variance" | "every" | "gen_random_uuid" => {
            let other = match name.as_str() {
                "variance" => "var_samp",
                "every" => "bool_and",
                _ => "uuid",
            };
            function.name = ObjectName::from(vec![Ident::new(other)]);
            None
        }
        // DataFusion's take the first one only.
        "array_remove" => Some(call("array_remove_all", args()?)),
        "array_replace" => Some(call("array_replace_all", args()?)),
        "string_agg" | "array_agg" => {
            sorted_distinct(function);
            None
        }
        "mod" => {
            let [left, right] = args()?.try_into().ok()?;
            let [left, right] = [left, right].map(|side| Box::new(Expr::Nested(Box::new(side))));
            Some(Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Modulo, right })))
        }
        _ => None,
    }
}

/// `array_agg(DISTINCT x)` comes sorted from PostgreSQL.
fn sorted_distinct(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    if list.duplicate_treatment != Some(DuplicateTreatment::Distinct) || !list.clauses.is_empty() {
        return;
    }
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first() else { return };
    let options = OrderByOptions { asc: Some(true), nulls_first: None };
    let by = OrderByExpr { expr: first.clone(), options, with_fill: None };
    list.clauses.push(FunctionArgumentClause::OrderBy(vec![by]));
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

/// Marks what is written in VALUES: DataFusion casts the rows of a column to a common type of its own, which must be undone.
/// A column of one kind of literal needs no mark; one whose kinds differ has no type until all of them are known.
pub(super) fn mark_values(values: &mut Values) {
    let kind = |expr: &Expr| match expr {
        Expr::Value(of) => match &of.value {
            Value::Number(digits, _) if digits.bytes().all(|c| c.is_ascii_digit()) && digits.len() < 10 => 'i',
            Value::Number(..) => 'n',
            Value::SingleQuotedString(_) => 't',
            Value::Boolean(_) => 'b',
            Value::Null => '-',
            _ => '?',
        },
        _ => '*',
    };
    let width = values.rows.first().map_or(0, |row| row.content.len());
    for at in 0..width {
        let kinds: HashSet<char> =
            values.rows.iter().filter_map(|row| row.content.get(at)).map(kind).filter(|kind| *kind != '-').collect();
        let plain = kinds.len() <= 1 && !kinds.contains(&'*') && !kinds.contains(&'n');
        if plain {
            continue;
        }
        let own = kinds.len() <= 1;
        for expr in values.rows.iter_mut().filter_map(|row| row.content.get_mut(at)) {
            let inner = take(expr);
            let args = if own { vec![inner] } else { vec![inner, number(0)] };
            *expr = call(given::NAME, args);
        }
    }
}

/// The type of window functions that count, which are unsigned in DataFusion.
fn ranking(function: &Function) -> Option<DataType> {
    function.over.as_ref()?;
    match system_name(&function.name)?.as_str() {
        "row_number" | "rank" | "dense_rank" => Some(DataType::BigInt(None)),
        "ntile" => Some(DataType::Int(None)),
        _ => None,
    }
}

fn as_type(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}
