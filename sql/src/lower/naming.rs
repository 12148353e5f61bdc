//! The name that PostgreSQL gives a column that has no alias (its `FigureColname`).

use std::ops::ControlFlow;

use sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Value, VisitMut,
    VisitorMut,
};

use super::walk::is_star;
use crate::plan::names::folded;

/// The name of an output without alias.
pub(super) fn name_of(expr: &Expr) -> String {
    figure(expr).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// A name and how much it weighs: 2 wins over the type of a cast around it, 1 does not.
fn figure(expr: &Expr) -> Option<(String, u8)> {
    let strong = |name: &str| Some((name.to_owned(), 2));
    match expr {
        Expr::Identifier(ident) => Some((folded(ident), 2)),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| (folded(ident), 2)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::CompoundFieldAccess { root, .. } => figure(root),
        Expr::Function(function) => Some((last_of(&function.name), 2)),
        Expr::Cast { expr, data_type, kind: CastKind::Cast | CastKind::DoubleColon | CastKind::TryCast, .. } => {
            match figure(expr) {
                Some((name, 2)) => Some((name, 2)),
                _ => Some((type_name(data_type), 1)),
            }
        }
        Expr::TypedString(typed) => Some((type_name(&typed.data_type), 1)),
        Expr::Interval(_) => Some(("interval".into(), 1)),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => Some(("bool".into(), 1)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, 2)) => Some((name, 2)),
            _ => Some(("case".into(), 1)),
        },
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first() {
                Some(SelectItem::ExprWithAlias { alias, .. }) => Some((folded(alias), 2)),
                Some(SelectItem::UnnamedExpr(expr)) => figure(expr),
                _ => None,
            },
            _ => None,
        },
        Expr::Extract { .. } => strong("extract"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Trim { trim_where, .. } => match trim_where {
            Some(sqlparser::ast::TrimWhereField::Leading) => strong("ltrim"),
            Some(sqlparser::ast::TrimWhereField::Trailing) => strong("rtrim"),
            _ => strong("btrim"),
        },
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        _ => None,
    }
}

fn last_of(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map_or_else(String::new, folded)
}

/// `pg_type.typname` of a type as written.
fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::SmallInt(_) | DataType::Int2(_) | DataType::TinyInt(_) => "int2",
        DataType::Float(_) | DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => "float8",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Boolean | DataType::Bool => "bool",
        DataType::Text | DataType::String(_) => "text",
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::Nvarchar(_) => "varchar",
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Bytea | DataType::Binary(_) | DataType::Varbinary(_) => "bytea",
        DataType::Date => "date",
        DataType::Time(..) => "time",
        DataType::Timestamp(_, zone) => match zone {
            sqlparser::ast::TimezoneInfo::Tz | sqlparser::ast::TimezoneInfo::WithTimeZone => "timestamptz",
            _ => "timestamp",
        },
        DataType::Interval { .. } => "interval",
        DataType::JSON => "json",
        DataType::JSONB => "jsonb",
        DataType::Uuid => "uuid",
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element)) => {
            return type_name(element);
        }
        DataType::Custom(name, _) => return last_of(name),
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}

/// Gives every output of every SELECT inside `query` the name that it has without an alias.
///
/// Calls such as `last(*)` stay: they are several columns.
pub(super) fn name_all(query: &mut Query) {
    struct Namer;
    impl VisitorMut for Namer {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            let mut unique = Unique::default();
            for item in &mut select.projection {
                match item {
                    SelectItem::UnnamedExpr(expr) if !is_several(expr) => {
                        let alias = alias(&unique.take(&name_of(expr)));
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    }
                    SelectItem::ExprWithAlias { alias: given, .. } => *given = alias(&unique.take(&folded(given))),
                    _ => {}
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Namer);
}

/// `first(*)` and the like are one column per column of the table.
fn is_several(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(call)
        if is_star(call) && matches!(last_of(&call.name).as_str(), "first" | "last" | "last_row"))
}

/// Keeps equal names apart: the first keeps its name, later ones get a mark and a number.
#[derive(Default)]
pub(super) struct Unique(std::collections::HashMap<String, usize>);

impl Unique {
    /// `name`, marked if it was taken.
    pub(super) fn take(&mut self, name: &str) -> String {
        let shown = crate::plan::error::shown(name);
        let count = self.0.entry(shown.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 { shown.to_owned() } else { format!("{shown}{}{count}", super::MARK) }
    }
}

/// An alias as an identifier that is taken as it is.
pub(super) fn alias(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
