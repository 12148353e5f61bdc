//! PostgreSQL's types: oids, names, lengths, and which Arrow type each one is here.
//!
//! An Arrow field is one PostgreSQL type, given by its data type unless its metadata says otherwise
//! ([`PG_OID`], for `name`, `oid`, `regclass`, `json` and the like, which share an Arrow type with others).

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// Metadata key of an Arrow field: the oid of its PostgreSQL type in decimal.
pub const PG_OID: &str = "pg.oid";
/// Metadata key of an Arrow field: the type modifier in decimal.
pub const PG_TYPMOD: &str = "pg.typmod";

/// One PostgreSQL type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PgType {
    /// `pg_type.oid`.
    pub oid: u32,
    /// `pg_type.typname`.
    pub name: &'static str,
    /// `pg_type.typlen`: bytes, -1 for variable length.
    pub len: i16,
    /// Oid of the array of this type; 0 for array types.
    pub array: u32,
    /// Oid of the element type; 0 for others.
    pub element: u32,
}

macro_rules! pg_types {
    ($($name:ident = $oid:literal, $sql:literal, $len:literal, $array:literal;)+) => {
        impl PgType {
            $(#[doc = concat!("`", $sql, "`.")] pub const $name: Self =
                Self { oid: $oid, name: $sql, len: $len, array: $array, element: 0 };)+

            /// Every scalar type, by oid.
            pub const SCALARS: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

pg_types! {
    BOOL = 16, "bool", 1, 1000;
    BYTEA = 17, "bytea", -1, 1001;
    CHAR = 18, "char", 1, 1002;
    NAME = 19, "name", 64, 1003;
    INT8 = 20, "int8", 8, 1016;
    INT2 = 21, "int2", 2, 1005;
    INT2VECTOR = 22, "int2vector", -1, 1006;
    INT4 = 23, "int4", 4, 1007;
    REGPROC = 24, "regproc", 4, 1008;
    TEXT = 25, "text", -1, 1009;
    OID = 26, "oid", 4, 1028;
    XID = 28, "xid", 4, 1011;
    OIDVECTOR = 30, "oidvector", -1, 1013;
    JSON = 114, "json", -1, 199;
    PG_NODE_TREE = 194, "pg_node_tree", -1, 0;
    FLOAT4 = 700, "float4", 4, 1021;
    FLOAT8 = 701, "float8", 8, 1022;
    UNKNOWN = 705, "unknown", -2, 0;
    ACLITEM = 1033, "aclitem", 12, 1034;
    BPCHAR = 1042, "bpchar", -1, 1014;
    VARCHAR = 1043, "varchar", -1, 1015;
    DATE = 1082, "date", 4, 1182;
    TIME = 1083, "time", 8, 1183;
    TIMESTAMP = 1114, "timestamp", 8, 1115;
    TIMESTAMPTZ = 1184, "timestamptz", 8, 1185;
    INTERVAL = 1186, "interval", 16, 1187;
    NUMERIC = 1700, "numeric", -1, 1231;
    REGCLASS = 2205, "regclass", 4, 2210;
    REGTYPE = 2206, "regtype", 4, 2211;
    VOID = 2278, "void", 4, 0;
    UUID = 2950, "uuid", 16, 2951;
    JSONB = 3802, "jsonb", -1, 3807;
    REGNAMESPACE = 4089, "regnamespace", 4, 4090;
}

impl PgType {
    /// The type with this oid: a scalar or an array of one.
    #[must_use]
    pub fn from_oid(oid: u32) -> Option<Self> {
        let scalar = Self::SCALARS.iter().find(|of| of.oid == oid).copied();
        scalar.or_else(|| {
            let element = Self::SCALARS.iter().find(|of| of.array == oid && oid != 0)?;
            Some(Self { oid, name: array_name(element), len: -1, array: 0, element: element.oid })
        })
    }

    /// The type of one of its usual names, in SQL's or TDengine's words; a length is passed over.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        if let Some(element) = name.strip_suffix("[]").or_else(|| name.strip_suffix(" array")) {
            return Self::of_name(element)?.array_of();
        }
        let (head, tail) = match name.split_once('(') {
            Some((head, rest)) => (head.trim_end(), rest.split_once(')').map_or("", |(_, tail)| tail.trim())),
            None => (name.as_str(), ""),
        };
        let bare = if tail.is_empty() { head.to_owned() } else { format!("{head} {tail}") };
        let of_schema = bare.strip_prefix("pg_catalog.").or_else(|| bare.strip_prefix("\"pg_catalog\"."));
        let bare = of_schema.unwrap_or(&bare);
        // In quotes it is the type's own name: "char" is not char.
        if let Some(own) = bare.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            return Self::of_own_name(own);
        }
        Some(match bare {
            "int" | "integer" => Self::INT4,
            "bigint" => Self::INT8,
            "smallint" | "tinyint" => Self::INT2,
            "real" => Self::FLOAT4,
            "float" | "double" | "double precision" => Self::FLOAT8,
            "boolean" => Self::BOOL,
            "decimal" | "dec" => Self::NUMERIC,
            "character varying" | "char varying" | "nchar" => Self::VARCHAR,
            "string" => Self::TEXT,
            "character" | "char" => Self::BPCHAR,
            "timestamp with time zone" => Self::TIMESTAMPTZ,
            "timestamp without time zone" => Self::TIMESTAMP,
            "time without time zone" => Self::TIME,
            "varbinary" | "binary" | "blob" => Self::BYTEA,
            other => return Self::of_own_name(other),
        })
    }

    /// The type of this `typname`.
    fn of_own_name(name: &str) -> Option<Self> {
        let scalar = |name: &str| Self::SCALARS.iter().find(|of| of.name == name).copied();
        scalar(name).or_else(|| scalar(name.strip_prefix('_')?)?.array_of())
    }

    /// The array of this type.
    #[must_use]
    pub fn array_of(self) -> Option<Self> {
        Self::from_oid(self.array)
    }

    /// The type of an Arrow field.
    #[must_use]
    pub fn of(field: &Field) -> Self {
        let named = field.metadata().get(PG_OID).and_then(|oid| oid.parse().ok()).and_then(Self::from_oid);
        named.unwrap_or_else(|| Self::of_arrow(field.data_type()))
    }

    /// The type of an Arrow type without metadata.
    #[must_use]
    pub fn of_arrow(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::BOOL,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Self::INT2,
            DataType::Int32 | DataType::UInt16 => Self::INT4,
            DataType::Int64 | DataType::UInt32 => Self::INT8,
            DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => Self::NUMERIC,
            DataType::Float16 | DataType::Float32 => Self::FLOAT4,
            DataType::Float64 => Self::FLOAT8,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::BYTEA
            }
            DataType::Date32 | DataType::Date64 => Self::DATE,
            DataType::Time32(_) | DataType::Time64(_) => Self::TIME,
            DataType::Timestamp(_, Some(_)) => Self::TIMESTAMPTZ,
            DataType::Timestamp(_, None) => Self::TIMESTAMP,
            DataType::Interval(_) | DataType::Duration(_) => Self::INTERVAL,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Self::of(item).array_of().unwrap_or(Self::TEXT)
            }
            DataType::Dictionary(_, value) => Self::of_arrow(value),
            _ => Self::TEXT,
        }
    }

    /// The Arrow type that values of this type have in plans.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::BOOL => DataType::Boolean,
            Self::BYTEA => DataType::Binary,
            Self::INT2 => DataType::Int16,
            Self::INT4 | Self::REGCLASS | Self::REGTYPE | Self::REGPROC | Self::REGNAMESPACE => DataType::Int32,
            Self::INT8 | Self::OID | Self::XID => DataType::Int64,
            Self::FLOAT4 => DataType::Float32,
            Self::FLOAT8 => DataType::Float64,
            Self::NUMERIC => DataType::Decimal128(38, 10),
            Self::DATE => DataType::Date32,
            Self::TIME => DataType::Time64(TimeUnit::Microsecond),
            Self::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
            Self::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
            array if array.element != 0 => {
                let element = Self::from_oid(array.element).unwrap_or(Self::TEXT);
                DataType::List(Arc::new(Field::new("item", element.arrow(), true)))
            }
            _ => DataType::Utf8,
        }
    }
}

fn array_name(element: &PgType) -> &'static str {
    macro_rules! names {
        ($($name:literal)+) => { match element.name { $($name => concat!("_", $name),)+ _ => "_unknown" } };
    }
    names!(
        "bool" "bytea" "char" "name" "int8" "int2" "int2vector" "int4" "regproc" "text" "oid" "xid" "oidvector" "json"
        "float4" "float8" "aclitem" "bpchar" "varchar" "date" "time" "timestamp" "timestamptz" "interval" "numeric"
        "regclass" "regtype" "uuid" "jsonb" "regnamespace"
    )
}
