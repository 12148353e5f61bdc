//! Small pieces of AST. No meaning, only shape.

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, ObjectName, ObjectNamePart, OrderByExpr, OrderByOptions, Query, Select,
    SelectFlavor, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value, ValueWithSpan,
    WildcardAdditionalOptions, WindowSpec, WindowType,
};

/// An identifier that is taken as it is.
pub(super) fn ident(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// A column by its name.
pub(super) fn column(name: &str) -> Expr {
    Expr::Identifier(ident(name))
}

/// A column of a table.
pub(super) fn qualified(table: &str, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![ident(table), ident(name)])
}

/// A string.
pub(super) fn text(value: &str) -> Expr {
    Expr::Value(ValueWithSpan::from(Value::SingleQuotedString(value.to_owned())))
}

/// A whole number.
pub(super) fn number(value: i64) -> Expr {
    let digits = Expr::Value(ValueWithSpan::from(Value::Number(value.unsigned_abs().to_string(), false)));
    if value < 0 { Expr::UnaryOp { op: sqlparser::ast::UnaryOperator::Minus, expr: Box::new(digits) } } else { digits }
}

/// A call.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(function(name, args))
}

/// A call that can be changed further.
pub(super) fn function(name: &str, args: Vec<Expr>) -> Function {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

/// `name(args) OVER (PARTITION BY partition ORDER BY order)`.
pub(super) fn over(name: &str, args: Vec<Expr>, partition: Vec<Expr>, order: Vec<OrderByExpr>) -> Expr {
    let mut function = function(name, args);
    function.over = Some(WindowType::WindowSpec(WindowSpec {
        window_name: None,
        partition_by: partition,
        order_by: order,
        window_frame: None,
    }));
    Expr::Function(function)
}

/// `expr ASC` or `expr DESC`.
pub(super) fn ordered(expr: Expr, ascending: bool) -> OrderByExpr {
    OrderByExpr { expr, options: OrderByOptions { asc: Some(ascending), nulls_first: None }, with_fill: None }
}

/// `CAST(expr AS data_type)`.
pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// `left op right`.
pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let nest = |expr| match expr {
        Expr::BinaryOp { .. } => Expr::Nested(Box::new(expr)),
        other => other,
    };
    Expr::BinaryOp { left: Box::new(nest(left)), op, right: Box::new(nest(right)) }
}

/// All of them, None for none.
pub(super) fn all_of(conditions: Vec<Expr>) -> Option<Expr> {
    conditions.into_iter().reduce(|left, right| binary(left, BinaryOperator::And, right))
}

/// `expr AS name` in a list.
pub(super) fn named(expr: Expr, name: impl AsRef<str>) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: ident(name.as_ref()) }
}

/// FROM one table.
pub(super) fn from(relation: TableFactor) -> Vec<TableWithJoins> {
    vec![TableWithJoins { relation, joins: Vec::new() }]
}

/// A table's name in FROM.
pub(super) fn alias(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: ident(name), columns: Vec::new(), at: None }
}

/// A SELECT of nothing from nothing.
pub(crate) fn empty_select() -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: Vec::new(),
        exclude: None,
        into: None,
        from: Vec::new(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

/// `SELECT * FROM name`.
pub(super) fn select_star(name: Vec<Ident>) -> Select {
    let name = ObjectName(name.into_iter().map(ObjectNamePart::Identifier).collect());
    let mut select = empty_select();
    select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    select.from = from(table(name, None));
    select
}

/// A table in FROM.
pub(super) fn table(name: ObjectName, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Table {
        name,
        alias,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

/// A SELECT as a query.
pub(super) fn query(select: Select) -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
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

/// A query in FROM.
pub(super) fn derived(query: Query, name: &str) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: Some(alias(name)), sample: None }
}
