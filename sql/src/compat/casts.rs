//! Casts to types that DataFusion does not know: `name`, `"char"`, `oid`, `regclass` and its kin, arrays of them.

use sqlparser::ast::{self, ArrayElemTypeDef, DataType, Expr};

use super::build::{call, is_placeholder, literal, take};
use super::system_name;

/// Rewrites `expr::data_type`, of which `inner` is the expression; None leaves it as it is.
pub(super) fn rewrite(inner: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, size)) = data_type {
        return array(inner, element, *size);
    }
    if matches!(data_type, DataType::Bytea)
        && let Some(written) = literal(inner)
        && let Some(hex) = bytea_hex(written)
    {
        return Some(Expr::Value(ast::Value::HexStringLiteral(hex).with_empty_span()));
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
        "json" | "jsonb" | "uuid" => DataType::Text,
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

/// The bytes that a literal of type bytea means, in hexadecimal: `\\x…`, or text with `\\\\` and `\\ooo`.
fn bytea_hex(written: &str) -> Option<String> {
    if let Some(hex) = written.strip_prefix("\\x") {
        let digits: String = hex.chars().filter(|c| !c.is_whitespace()).collect();
        return (digits.len().is_multiple_of(2) && digits.chars().all(|c| c.is_ascii_hexdigit())).then_some(digits);
    }
    let mut hex = String::with_capacity(written.len() * 2);
    let mut rest = written.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let (value, after) = match (byte, after) {
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                ((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), after)
            }
            (b'\\', _) => return None,
            (byte, after) => (*byte, after),
        };
        hex.push_str(&format!("{value:02x}"));
        rest = after;
    }
    Some(hex)
}
