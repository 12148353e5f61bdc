//! Column definitions: TDengine's and PostgreSQL's names of types, and what may stand behind them.

use model::schema::{Column, Compression};
use model::{ColumnId, DataType, Result, error};
use sqlparser::tokenizer::Token;

use crate::parser::cursor::Cursor;

/// Longest string of a column in bytes: a row's length less its header.
const STRING_BYTES_MAX: u32 = 65_517;

/// Longest string of a column in characters of four bytes.
const NCHAR_CHARACTERS_MAX: u32 = 16_379;

/// Digits of a DECIMAL without a length.
const DECIMAL_DEFAULT: (u8, i8) = (38, 10);

/// One column with what its own definition says of the table.
pub(super) struct Definition {
    pub(super) column: Column,
    pub(super) primary_key: bool,
    pub(super) serial: bool,
}

/// The type at the cursor, and whether it was SERIAL.
pub(super) fn data_type(cursor: &mut Cursor<'_>) -> Result<(DataType, bool)> {
    let position = cursor.position();
    let Some(name) = cursor.word_ahead() else {
        return quoted_type(cursor);
    };
    cursor.skip();
    let mut serial = false;
    let data_type = match name.as_str() {
        "TIMESTAMP" => timestamp(cursor)?,
        "TIMESTAMPTZ" => {
            length(cursor)?;
            DataType::Timestamp
        }
        "BOOL" | "BOOLEAN" => DataType::Bool,
        "TINYINT" => unsigned(cursor, DataType::TinyInt, DataType::UTinyInt),
        "SMALLINT" => unsigned(cursor, DataType::SmallInt, DataType::USmallInt),
        "INT" | "INTEGER" => unsigned(cursor, DataType::Int, DataType::UInt),
        "BIGINT" => unsigned(cursor, DataType::BigInt, DataType::UBigInt),
        "INT2" => DataType::SmallInt,
        "INT4" => DataType::Int,
        "INT8" => DataType::BigInt,
        "SMALLSERIAL" | "SERIAL2" | "SERIAL" | "SERIAL4" | "BIGSERIAL" | "SERIAL8" => {
            serial = true;
            match name.as_str() {
                "SMALLSERIAL" | "SERIAL2" => DataType::SmallInt,
                "SERIAL" | "SERIAL4" => DataType::Int,
                _ => DataType::BigInt,
            }
        }
        "FLOAT" | "REAL" | "FLOAT4" => {
            // FLOAT(n) is PostgreSQL's: up to 24 bits are 4 bytes. FLOAT alone is TDengine's 4 bytes.
            if length(cursor)?.is_some_and(|bits| bits > 24) { DataType::Double } else { DataType::Float }
        }
        "DOUBLE" => {
            cursor.eat("PRECISION");
            DataType::Double
        }
        "FLOAT8" => DataType::Double,
        "VARCHAR" | "BINARY" | "CHAR" | "CHARACTER" | "BPCHAR" | "NVARCHAR" | "NCHAR" | "NATIONAL" | "VARBINARY"
        | "GEOMETRY" => string(cursor, &name, position)?,
        "TEXT" | "NAME" => DataType::Text,
        "BYTEA" => DataType::Varbinary(STRING_BYTES_MAX),
        "JSON" | "JSONB" => DataType::Json,
        "DECIMAL" | "NUMERIC" | "DEC" => decimal(cursor, position)?,
        "DATE" => DataType::Date,
        "TIME" | "TIMETZ" | "INTERVAL" | "UUID" | "MONEY" | "INET" | "CIDR" | "XML" | "BIT" | "BLOB" | "POINT"
        | "OID" | "TSVECTOR" | "HSTORE" => {
            return Err(error!(FeatureNotSupported, "type {} is not supported", name.to_lowercase()).at(position));
        }
        _ => {
            let name = name.to_lowercase();
            return Err(error!(UndefinedObject, "type \"{name}\" does not exist").at(position));
        }
    };
    if cursor.is_token(&Token::LBracket) || cursor.is(0, "ARRAY") {
        return Err(cursor.refuse("a column of arrays"));
    }
    Ok((data_type, serial))
}

fn quoted_type(cursor: &mut Cursor<'_>) -> Result<(DataType, bool)> {
    let position = cursor.position();
    let name = cursor.identifier()?;
    Err(error!(UndefinedObject, "type \"{name}\" does not exist").at(position))
}

fn unsigned(cursor: &mut Cursor<'_>, signed: DataType, unsigned: DataType) -> DataType {
    if cursor.eat("UNSIGNED") {
        return unsigned;
    }
    cursor.eat("SIGNED");
    signed
}

fn timestamp(cursor: &mut Cursor<'_>) -> Result<DataType> {
    length(cursor)?;
    if !cursor.eat_all(&["WITH", "TIME", "ZONE"]) {
        cursor.eat_all(&["WITHOUT", "TIME", "ZONE"]);
    }
    Ok(DataType::Timestamp)
}

/// `(n)`.
fn length(cursor: &mut Cursor<'_>) -> Result<Option<i64>> {
    if !cursor.eat_token(&Token::LParen) {
        return Ok(None);
    }
    let length = cursor.integer()?;
    cursor.expect_token(&Token::RParen)?;
    Ok(Some(length))
}

fn string(cursor: &mut Cursor<'_>, name: &str, position: u32) -> Result<DataType> {
    if name == "NATIONAL" && !cursor.eat("CHARACTER") {
        cursor.expect("CHAR")?;
    }
    let varying = cursor.eat("VARYING");
    let length = length(cursor)?;
    let bytes = matches!(name, "VARBINARY" | "GEOMETRY");
    let characters = matches!(name, "NCHAR" | "NVARCHAR" | "NATIONAL");
    let max = if characters { NCHAR_CHARACTERS_MAX } else { STRING_BYTES_MAX };
    let length = match length {
        Some(n) => match u32::try_from(n) {
            Ok(n) if (1..=max).contains(&n) => n,
            _ => {
                let name = name.to_lowercase();
                return Err(error!(InvalidParameterValue, "length for type {name} is out of range")
                    .with_hint(format!("{name} takes 1 to {max}; use TEXT for strings without a limit in plain tables"))
                    .at(position));
            }
        },
        None if matches!(name, "CHAR" | "CHARACTER" | "NCHAR" | "NATIONAL") && !varying => 1,
        None if bytes => max,
        None => return Ok(DataType::Text),
    };
    Ok(match name {
        "VARBINARY" => DataType::Varbinary(length),
        "GEOMETRY" => DataType::Geometry(length),
        _ if characters => DataType::NChar(length),
        _ => DataType::Varchar(length),
    })
}

fn decimal(cursor: &mut Cursor<'_>, position: u32) -> Result<DataType> {
    if !cursor.is_token(&Token::LParen) {
        return Ok(DataType::Decimal(DECIMAL_DEFAULT.0, DECIMAL_DEFAULT.1));
    }
    let numbers = cursor.parenthesized(Cursor::integer)?;
    let (digits, scale) = match numbers.as_slice() {
        [digits] => (*digits, 0),
        [digits, scale] => (*digits, *scale),
        _ => return Err(error!(InvalidParameterValue, "invalid NUMERIC type modifier").at(position)),
    };
    if !(1..=38).contains(&digits) || !(0..=digits).contains(&scale) {
        return Err(error!(InvalidParameterValue, "NUMERIC({digits},{scale}) is out of range")
            .with_hint("precision takes 1 to 38, scale 0 to the precision")
            .at(position));
    }
    Ok(DataType::Decimal(digits as u8, scale as i8))
}

/// `name type [modifiers]`.
pub(super) fn definition(cursor: &mut Cursor<'_>, table: &str) -> Result<Definition> {
    let name = cursor.identifier()?;
    let (data_type, serial) = data_type(cursor)?;
    let mut definition = Definition { column: Column::new(ColumnId(0), name, data_type), primary_key: false, serial };
    while modifier(cursor, &mut definition)? {}
    if definition.serial {
        let column = &mut definition.column;
        column.nullable = false;
        column.default = Some(format!("nextval('{table}_{}_seq'::regclass)", column.name));
    }
    Ok(definition)
}

fn modifier(cursor: &mut Cursor<'_>, definition: &mut Definition) -> Result<bool> {
    let column = &mut definition.column;
    let Some(word) = cursor.word_ahead() else { return Ok(false) };
    match word.as_str() {
        "NOT" => {
            cursor.skip();
            cursor.expect("NULL")?;
            column.nullable = false;
        }
        "NULL" => cursor.skip(),
        "DEFAULT" => {
            cursor.skip();
            column.default = Some(default(cursor)?);
        }
        "PRIMARY" | "COMPOSITE" => {
            cursor.skip();
            cursor.expect("KEY")?;
            column.nullable = false;
            definition.primary_key = true;
        }
        "CONSTRAINT" => {
            cursor.skip();
            cursor.identifier()?;
        }
        "COLLATE" => {
            cursor.skip();
            cursor.table()?;
        }
        "COMMENT" => {
            cursor.skip();
            column.comment = Some(cursor.string()?);
        }
        "ENCODE" | "COMPRESS" | "LEVEL" => {
            let position = compression(cursor, &word, &mut column.compression)?;
            column.compression.check(&column.name, column.data_type).map_err(|error| error.at(position))?;
        }
        "GENERATED" => {
            cursor.skip();
            if !cursor.eat("ALWAYS") {
                cursor.expect("BY")?;
                cursor.expect("DEFAULT")?;
            }
            if !cursor.eat_all(&["AS", "IDENTITY"]) {
                return Err(cursor.refuse("a generated column"));
            }
            definition.serial = true;
        }
        "UNIQUE" | "CHECK" | "REFERENCES" => return Err(cursor.refuse(&format!("the constraint {word}"))),
        _ => return Ok(false),
    }
    Ok(true)
}

/// ENCODE, COMPRESS or LEVEL with its value, which is kept as given. Gives the place of the value.
pub(super) fn compression(cursor: &mut Cursor<'_>, word: &str, compression: &mut Compression) -> Result<u32> {
    let (slot, values): (_, &[&str]) = match word {
        "ENCODE" => (&mut compression.encode, &["simple8b", "delta-i", "delta-d", "bit-packing", "disabled"]),
        "COMPRESS" => (&mut compression.compress, &["lz4", "zlib", "zstd", "xz", "tsz", "disabled"]),
        _ => (&mut compression.level, &["high", "medium", "low", "disabled"]),
    };
    cursor.skip();
    let position = cursor.position();
    let value = cursor.string()?.to_ascii_lowercase();
    if !values.contains(&value.as_str()) {
        return Err(error!(InvalidParameterValue, "invalid value for {word}: \"{value}\"")
            .with_hint(format!("{word} takes {}", values.join(", ")))
            .at(position));
    }
    *slot = Some(value);
    Ok(position)
}

/// The text of a DEFAULT expression: up to the next modifier of the column.
fn default(cursor: &mut Cursor<'_>) -> Result<String> {
    const MODIFIERS: &[&str] = &[
        "NOT",
        "NULL",
        "PRIMARY",
        "UNIQUE",
        "CHECK",
        "REFERENCES",
        "COMMENT",
        "ENCODE",
        "COMPRESS",
        "LEVEL",
        "CONSTRAINT",
        "COLLATE",
        "GENERATED",
        "COMPOSITE",
    ];
    let start = cursor.position();
    let mut depth = 0_usize;
    let mut first = true;
    while !cursor.at_end() {
        match &cursor.peek(0).token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth > 0 => depth -= 1,
            Token::RParen => break,
            Token::Comma if depth == 0 => break,
            _ if depth == 0 && !first && cursor.is_any(MODIFIERS) => break,
            _ => {}
        }
        first = false;
        cursor.skip();
    }
    let text = cursor.slice(start, cursor.position());
    if text.is_empty() {
        return Err(cursor.unexpected());
    }
    crate::parser::expression(text).map_err(|error| {
        let position = error.fields().position.unwrap_or(1);
        error.at(position + start - 1)
    })?;
    Ok(text.to_owned())
}
