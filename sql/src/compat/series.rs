//! `generate_series` in FROM and in a select list: its list unnested, with the types that PostgreSQL gives its arguments.

use sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, SelectItem, SetExpr,
    TableAlias, TableAliasColumnDef, TableFactor, TimezoneInfo, Value,
};

use super::build::{call, is_placeholder};

/// `unnest(pg_series(…))`: what the call is in a select list.
pub(super) fn unnested(args: Vec<Expr>) -> Expr {
    call("unnest", vec![call("pg_series", typed(args))])
}

/// `generate_series(…) [WITH ORDINALITY] AS alias` in FROM: a subquery that may look at the tables before it.
pub(super) fn table(args: Vec<Expr>, ordinality: bool, alias: Option<TableAlias>) -> TableFactor {
    let alias = alias.unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new("generate_series"),
        columns: Vec::new(),
        at: None,
    });
    let mut names = vec![alias.name.clone()];
    names.extend(ordinality.then(|| Ident::new("ordinality")));
    for (name, given) in names.iter_mut().zip(&alias.columns) {
        *name = given.name.clone();
    }
    let narrow = args.iter().all(|arg| whole(arg).is_some_and(|n| i32::try_from(n).is_ok()));
    let plain = !ordinality && (2..=3).contains(&args.len()) && args.iter().all(|arg| whole(arg).is_some());
    let mut select = crate::lower::empty_select();
    let columns = if plain && args.get(2).is_none_or(|step| whole(step) != Some(0)) {
        // Integers are not collected in a list, so there may be any number of them.
        select.from = vec![sqlparser::ast::TableWithJoins { relation: stream(args), joins: Vec::new() }];
        let value = Expr::Identifier(Ident::new("generate_series"));
        vec![if narrow { cast(value, DataType::Int(None)) } else { value }]
    } else {
        let list = call("pg_series", typed(args));
        let ordinals = ordinality
            .then(|| cast(call("unnest", vec![call("pg_subscripts", vec![list.clone()])]), DataType::BigInt(None)));
        std::iter::once(call("unnest", vec![list])).chain(ordinals).collect()
    };
    let named = |(expr, alias): (Expr, &Ident)| SelectItem::ExprWithAlias { expr, alias: alias.clone() };
    select.projection = columns.into_iter().zip(&names).map(named).collect();
    let column = |name: &Ident| TableAliasColumnDef { name: name.clone(), data_type: None };
    let given = alias.columns.iter().skip(names.len()).cloned();
    let columns = names.iter().map(column).chain(given).collect();
    TableFactor::Derived {
        lateral: true,
        subquery: Box::new(super::build::query(SetExpr::Select(Box::new(select)))),
        alias: Some(TableAlias { columns, ..alias }),
        sample: None,
    }
}

/// DataFusion's own function of tables, which takes whole numbers.
fn stream(args: Vec<Expr>) -> TableFactor {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    TableFactor::Function {
        lateral: false,
        name: ObjectName::from(vec![Ident::new("generate_series")]),
        args,
        with_ordinality: false,
        alias: Some(TableAlias {
            explicit: true,
            name: Ident::new("generate_series"),
            columns: vec![TableAliasColumnDef { name: Ident::new("generate_series"), data_type: None }],
            at: None,
        }),
    }
}

/// The value of a whole number as written.
fn whole(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Nested(inner) => whole(inner),
        Expr::UnaryOp { op: sqlparser::ast::UnaryOperator::Minus, expr } => whole(expr)?.checked_neg(),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Digits after the point of a number as written.
fn scale(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Nested(inner) => scale(inner),
        Expr::UnaryOp { op: sqlparser::ast::UnaryOperator::Minus, expr } => scale(expr),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
                Some(digits.split_once('.')?.1.len()).filter(|scale| *scale <= 18)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The type that an argument says it is.
fn said(expr: &Expr) -> Option<DataType> {
    match expr {
        Expr::Nested(inner) => said(inner),
        Expr::Cast { data_type, .. } => Some(data_type.clone()),
        Expr::TypedString(typed) => Some(typed.data_type.clone()),
        Expr::Interval(_) => Some(DataType::Interval { fields: None, precision: None }),
        Expr::Function(function) => {
            let name = super::system_name(&function.name)?;
            let zoned = matches!(name.as_str(), "now" | "pg_timestamptz" | "date_trunc" | "today" | "to_timestamp");
            zoned.then(timestamptz)
        }
        _ => None,
    }
}

fn timestamptz() -> DataType {
    DataType::Timestamp(None, TimezoneInfo::WithTimeZone)
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// The arguments with the types that PostgreSQL finds for literals and parameters.
fn typed(args: Vec<Expr>) -> Vec<Expr> {
    let bounds: Vec<DataType> = args.iter().take(2).filter_map(said).collect();
    let step = args.get(2).and_then(said);
    let of_time = |of: &DataType| matches!(of, DataType::Timestamp(..) | DataType::Date);
    let times = bounds.iter().any(of_time) || matches!(step, Some(DataType::Interval { .. }));
    let fits = |arg: &Expr| is_placeholder(arg) || whole(arg).is_some_and(|n| i32::try_from(n).is_ok());
    let narrow = args.iter().all(fits) && !args.iter().all(is_placeholder);
    let one = |(at, arg): (usize, Expr)| {
        if times {
            let bound = bounds.iter().find(|of| matches!(of, DataType::Timestamp(..))).cloned();
            let of = if at < 2 {
                bound.unwrap_or_else(timestamptz)
            } else {
                DataType::Interval { fields: None, precision: None }
            };
            return if is_placeholder(&arg) { cast(arg, of) } else { arg };
        }
        match scale(&arg) {
            Some(scale) => cast(arg, DataType::Numeric(ExactNumberInfo::PrecisionAndScale(38, scale as i64))),
            None if narrow => cast(arg, DataType::Int(None)),
            None if is_placeholder(&arg) => cast(arg, DataType::BigInt(None)),
            None => arg,
        }
    };
    args.into_iter().enumerate().map(one).collect()
}
