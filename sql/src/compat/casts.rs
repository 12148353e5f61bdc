//! Casts to types that DataFusion does not know: `name`, `"char"`, `oid`, `regclass` and its kin, arrays of them.

use sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, Expr};

use super::build::{call, is_placeholder, literal, take};
use super::system_name;

/// Rewrites `expr::data_type`, of which `inner` is the expression; None leaves it as it is.
pub(super) fn rewrite(inner: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, size)) = data_type {
        return array(inner, element, *size);
    }
    if let Some((precision, scale)) = numeric(data_type) {
        // A parameter gets its type by the cast.
        if is_placeholder(inner) && precision.is_none() {
            *data_type = DataType::Numeric(ExactNumberInfo::None);
            return None;
        }
        let modifier = [precision, scale].into_iter().flatten().map(super::build::number);
        return Some(call("pg_numeric", std::iter::once(take(inner)).chain(modifier).collect()));
    }
    if let Some((function, length)) = text_like(data_type)
        && !is_placeholder(inner)
    {
        let length = length.map(|length| super::build::number(i64::try_from(length).unwrap_or(i64::MAX)));
        return Some(call(function, std::iter::once(take(inner)).chain(length).collect()));
    }
    let name = type_name(data_type)?;
    let function = match name.as_str() {
        "regclass" => "pg_regclass",
        "regtype" => "pg_regtype",
        "regproc" | "regprocedure" | "regoper" | "regoperator" => "pg_regproc",
        "regnamespace" => "pg_regnamespace",
        "regrole" => "pg_regrole",
        "oid" | "xid" | "cid" => return oid(inner, data_type),
        "text" | "varchar" | "name" | "char" | "bpchar" | "cstring" | "unknown" => return text(inner, data_type),
        _ => {
            *data_type = builtin(&name)?;
            return None;
        }
    };
    Some(call(function, vec![take(inner)]))
}

/// Precision and scale of numeric and its other names.
fn numeric(data_type: &DataType) -> Option<(Option<i64>, Option<i64>)> {
    let (DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info)) = data_type else { return None };
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Some(match *info {
        ExactNumberInfo::None => (None, None),
        ExactNumberInfo::Precision(precision) => (Some(whole(precision)), None),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (Some(whole(precision)), Some(scale)),
    })
}

/// The name of a type without length, lower case, without PostgreSQL's schema.
fn type_name(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".into()),
        DataType::Text | DataType::String(None) => Some("text".into()),
        DataType::Varchar(None) | DataType::CharacterVarying(None) => Some("varchar".into()),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => system_name(name),
        _ => None,
    }
}

/// PostgreSQL's internal names of types that SQL spells otherwise.
fn builtin(name: &str) -> Option<DataType> {
    Some(match name {
        "int2" | "smallint" => DataType::SmallInt(None),
        "int4" | "int" | "integer" => DataType::Int(None),
        "int8" | "bigint" => DataType::BigInt(None),
        "float4" | "real" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "bool" | "boolean" => DataType::Boolean,
        "json" => DataType::JSON,
        "jsonb" => DataType::JSONB,
        "uuid" => DataType::Uuid,
        "date" => DataType::Date,
        "bytea" => DataType::Bytea,
        _ => return None,
    })
}

fn oid(inner: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
    if is_placeholder(inner) {
        *data_type = DataType::BigInt(None);
        return None;
    }
    Some(call("pg_oid", vec![take(inner)]))
}

/// Text: a literal needs no cast that PostgreSQL would print otherwise, a parameter gets its type by the cast.
fn text(inner: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
    if is_placeholder(inner) || literal(inner).is_some() {
        *data_type = DataType::Text;
        return None;
    }
    Some(call("pg_text", vec![take(inner)]))
}

/// The function that casts to a type that is text with a length or with a form of its own.
fn text_like(data_type: &DataType) -> Option<(&'static str, Option<u64>)> {
    let length = |of: &Option<CharacterLength>| match of {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        _ => None,
    };
    Some(match data_type {
        DataType::Varchar(of) | DataType::CharacterVarying(of) | DataType::CharVarying(of) | DataType::Nvarchar(of) => {
            ("pg_varchar", length(of))
        }
        DataType::Char(of) | DataType::Character(of) => ("pg_bpchar", length(of).or(Some(1))),
        DataType::JSON => ("pg_json", None),
        DataType::JSONB => ("pg_jsonb", None),
        DataType::Uuid => ("pg_uuid", None),
        _ => return None,
    })
}

fn array(inner: &mut Expr, element: &mut Box<DataType>, _size: Option<u64>) -> Option<Expr> {
    let name = type_name(element)?;
    match name.as_str() {
        "regtype" | "regclass" | "regproc" => Some(call("pg_names", vec![take(inner), super::build::text(&name)])),
        // An array literal, or an array given as a parameter, is read where it is used: as text.
        _ if is_placeholder(inner) => Some(take(inner)),
        _ => {
            **element = match name.as_str() {
                "text" | "varchar" | "name" | "char" | "bpchar" => DataType::Text,
                "oid" | "xid" => DataType::BigInt(None),
                other => builtin(other)?,
            };
            None
        }
    }
}

/// The type of the members of an array literal, once its cast was rewritten.
pub(super) fn element_type(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => Some(element),
        _ => None,
    }
}
