//! Limits of names, tables and options. The numbers are TDengine's.

use model::options::DatabaseOptions;
use model::schema::{Column, RelationKind};
use model::{DataType, Result, fail};

/// Bytes of a database name.
pub(super) const DATABASE_NAME_BYTES: usize = 64;
/// Bytes of the name of a table, super table or view.
pub(super) const TABLE_NAME_BYTES: usize = 192;
/// Bytes of the name of a column or tag.
pub(super) const COLUMN_NAME_BYTES: usize = 64;
/// Bytes of a user name.
pub(super) const USER_NAME_BYTES: usize = 23;
/// Columns and tags of one relation together.
const COLUMNS_MAX: usize = 4096;
/// Tags of one super table.
const TAGS_MAX: usize = 128;
/// Bytes of all tags of one table together.
const TAG_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of one row.
const ROW_BYTES_MAX: u64 = 65_531;
/// Bytes of one VARCHAR, VARBINARY or GEOMETRY.
const VARCHAR_MAX: u32 = 65_517;
/// Characters of one NCHAR.
const NCHAR_MAX: u32 = 16_379;
/// Bytes of a comment.
const COMMENT_BYTES: usize = 1024;
/// Vgroups of one database.
const VGROUPS_MAX: u32 = 1024;
/// Replicas of the mnode group.
pub(super) const MNODES_MAX: usize = 3;
/// Replicas of one vgroup.
const REPLICA_MAX: u8 = 5;

/// Whether `name` can name a `what`.
pub(super) fn name(what: &str, name: &str, bytes_max: usize) -> Result<()> {
    if name.is_empty() {
        fail!(InvalidName, "the name of a {what} must not be empty");
    }
    if name.len() > bytes_max {
        fail!(InvalidName, "name of {what} \"{name}\" is too long: {} bytes, at most {bytes_max}", name.len());
    }
    if name.contains('\0') || (what != "column" && what != "tag" && name.contains('.')) {
        fail!(InvalidName, "name of {what} \"{name}\" holds a character that names cannot have");
    }
    Ok(())
}

/// Whether a comment fits.
pub(super) fn comment(comment: Option<&String>) -> Result<()> {
    match comment {
        Some(text) if text.len() > COMMENT_BYTES => {
            fail!(StringDataRightTruncation, "a comment holds at most {COMMENT_BYTES} bytes, not {}", text.len())
        }
        _ => Ok(()),
    }
}

/// Whether a database can have these options at all. The parser refuses most of this with a position.
pub(super) fn options(options: &DatabaseOptions) -> Result<()> {
    if !(1..=VGROUPS_MAX).contains(&options.vgroups) {
        fail!(InvalidParameterValue, "VGROUPS must be 1 to {VGROUPS_MAX}, not {}", options.vgroups);
    }
    if !(1..=REPLICA_MAX).contains(&options.replica) {
        fail!(InvalidParameterValue, "REPLICA must be 1 to {REPLICA_MAX}, not {}", options.replica);
    }
    if options.duration_minutes == 0 {
        fail!(InvalidParameterValue, "DURATION must not be zero");
    }
    let [first, second, third] = options.keep_minutes;
    if first > second || second > third {
        fail!(InvalidParameterValue, "the three times of KEEP must not get shorter: {first}m,{second}m,{third}m");
    }
    if third < options.duration_minutes {
        let duration = options.duration_minutes;
        fail!(InvalidParameterValue, "KEEP ({third}m) must not be shorter than DURATION ({duration}m)");
    }
    comment(options.comment.as_ref())
}

/// Whether ALTER DATABASE may turn `old` into `new`.
pub(super) fn alterable(old: &DatabaseOptions, new: &DatabaseOptions) -> Result<()> {
    let fixed = [
        ("PRECISION", old.precision != new.precision),
        ("VGROUPS", old.vgroups != new.vgroups),
        ("DURATION", old.duration_minutes != new.duration_minutes),
        ("MAXROWS", old.maxrows != new.maxrows),
        ("COMP", old.comp != new.comp),
        ("PAGESIZE", old.pagesize_kb != new.pagesize_kb),
        ("SINGLE_STABLE", old.single_stable != new.single_stable),
    ];
    match fixed.iter().find(|(_, changed)| *changed) {
        Some((option, _)) => {
            Err(model::error!(FeatureNotSupported, "{option} of an existing database cannot be changed")
                .with_hint("Create another database with it and copy the tables"))
        }
        None => Ok(()),
    }
}

/// Whether a column or tag can have this type.
pub(super) fn column(what: &str, column: &Column) -> Result<()> {
    name(what, &column.name, COLUMN_NAME_BYTES)?;
    comment(column.comment.as_ref())?;
    let (length, most) = match column.data_type {
        DataType::Varchar(n) | DataType::Varbinary(n) | DataType::Geometry(n) => (n, VARCHAR_MAX),
        DataType::NChar(n) => (n, NCHAR_MAX),
        DataType::Decimal(precision, scale) => {
            let scale_fits = u8::try_from(scale).is_ok_and(|scale| scale <= precision);
            if !(1..=38).contains(&precision) || !scale_fits {
                fail!(InvalidTableDefinition, "{what} \"{}\" cannot be {}", column.name, column.data_type);
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    if length == 0 || length > most {
        let name = column.data_type.name();
        fail!(InvalidTableDefinition, "{what} \"{}\": the length of {name} is 1 to {most}, not {length}", column.name);
    }
    Ok(())
}

/// Bytes that a value of this type takes at most in a row, by TDengine's counting.
fn bytes(column: &Column) -> u64 {
    match column.data_type {
        DataType::NChar(n) => u64::from(n) * 4 + 2,
        DataType::Varchar(n) | DataType::Varbinary(n) | DataType::Geometry(n) => u64::from(n) + 2,
        other => u64::from(other.length()),
    }
}

/// Whether these columns and tags together make a possible relation. TDengine's bound on a row holds for time series.
pub(super) fn shape(kind: RelationKind, columns: &[Column], tags: &[Column]) -> Result<()> {
    if columns.len() + tags.len() > COLUMNS_MAX {
        let count = columns.len() + tags.len();
        fail!(TooManyColumns, "a table has at most {COLUMNS_MAX} columns and tags, not {count}");
    }
    if tags.len() > TAGS_MAX {
        fail!(TooManyColumns, "a super table has at most {TAGS_MAX} tags, not {}", tags.len());
    }
    let row: u64 = columns.iter().map(bytes).sum();
    if kind != RelationKind::Plain && row > ROW_BYTES_MAX {
        fail!(TooManyColumns, "a row has at most {ROW_BYTES_MAX} bytes, these columns make {row}");
    }
    let json = tags.iter().any(|tag| tag.data_type == DataType::Json);
    if json && tags.len() > 1 {
        fail!(InvalidTableDefinition, "a JSON tag must be the only tag");
    }
    let tag_bytes: u64 = tags.iter().map(bytes).sum();
    if tag_bytes > TAG_BYTES_MAX {
        fail!(TooManyColumns, "all tags together have at most {TAG_BYTES_MAX} bytes, these make {tag_bytes}");
    }
    let mut seen = std::collections::BTreeSet::new();
    match columns.iter().chain(tags).find(|column| !seen.insert(column.name.as_str())) {
        Some(twice) => fail!(DuplicateColumn, "column \"{}\" specified more than once", twice.name),
        None => Ok(()),
    }
}
