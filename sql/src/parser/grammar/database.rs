//! CREATE, ALTER and USE DATABASE, and the commands FLUSH, COMPACT, KILL COMPACT and TRIM.
//!
//! Every option of TDengine is in one of three tables: [`NUMBERS`] with its range, [`IGNORED`] without effect here, or
//! refused by name. PostgreSQL's options of CREATE DATABASE are ignored too, except an encoding other than UTF-8.

use std::ops::RangeInclusive;

use model::options::CacheModel;
use model::{Precision, Result, error};
use sqlparser::tokenizer::Token;

use crate::parser::cursor::Cursor;
use crate::parser::markers::{Duration, Unit};
use crate::statement::{DatabaseOption, Statement, TimeBound};

/// An option whose value is a whole number.
struct NumberOption {
    name: &'static str,
    range: RangeInclusive<i64>,
    alter: bool,
    make: fn(i64) -> DatabaseOption,
}

const I32_MAX: i64 = i32::MAX as i64;

/// Whole-number options, with the ranges of TDengine (REPLICA: of this server) and whether ALTER takes them.
const NUMBERS: &[NumberOption] = &[
    number("VGROUPS", 1..=1024, false, |n| DatabaseOption::Vgroups(n as u32)),
    number("REPLICA", 1..=5, true, |n| DatabaseOption::Replica(n as u8)),
    number("BUFFER", 3..=16384, true, |n| DatabaseOption::BufferMb(n as u32)),
    number("PAGES", 64..=I32_MAX - 1, true, |n| DatabaseOption::Pages(n as u32)),
    number("PAGESIZE", 1..=16384, false, |n| DatabaseOption::PageSizeKb(n as u32)),
    number("CACHESIZE", 1..=65536, true, |n| DatabaseOption::CacheSizeMb(n as u32)),
    number("COMP", 0..=2, false, |n| DatabaseOption::Comp(n as u8)),
    number("MINROWS", 10..=1_000_000, true, |n| DatabaseOption::MinRows(n as u32)),
    number("MAXROWS", 200..=10_000_000, false, |n| DatabaseOption::MaxRows(n as u32)),
    number("STT_TRIGGER", 1..=16, true, |n| DatabaseOption::SttTrigger(n as u32)),
    number("SINGLE_STABLE", 0..=1, false, |n| DatabaseOption::SingleStable(n == 1)),
    number("WAL_LEVEL", 1..=2, true, |n| DatabaseOption::WalLevel(n as u8)),
    number("WAL", 1..=2, true, |n| DatabaseOption::WalLevel(n as u8)),
    number("WAL_FSYNC_PERIOD", 0..=180_000, true, |n| DatabaseOption::WalFsyncPeriodMs(n as u32)),
    number("FSYNC", 0..=180_000, true, |n| DatabaseOption::WalFsyncPeriodMs(n as u32)),
    number("WAL_RETENTION_PERIOD", -1..=I32_MAX, true, DatabaseOption::WalRetentionPeriodS),
    number("WAL_RETENTION_SIZE", -1..=i64::MAX, true, DatabaseOption::WalRetentionSizeKb),
    number("CACHELAST", 0..=3, true, |n| DatabaseOption::CacheModel(cachelast(n))),
    // Accepted in their ranges, without effect.
    number("TSDB_PAGESIZE", 1..=16384, false, |_| DatabaseOption::Ignored("TSDB_PAGESIZE".into())),
    number("CACHESHARDBITS", -1..=20, false, |_| DatabaseOption::Ignored("CACHESHARDBITS".into())),
    number("KEEP_TIME_OFFSET", 0..=23, true, |_| DatabaseOption::Ignored("KEEP_TIME_OFFSET".into())),
    number("TABLE_PREFIX", -191..=191, false, |_| DatabaseOption::Ignored("TABLE_PREFIX".into())),
    number("TABLE_SUFFIX", -191..=191, false, |_| DatabaseOption::Ignored("TABLE_SUFFIX".into())),
    number("WAL_ROLL_PERIOD", 0..=I32_MAX, false, |_| DatabaseOption::Ignored("WAL_ROLL_PERIOD".into())),
    number("WAL_SEGMENT_SIZE", 0..=I32_MAX, false, |_| DatabaseOption::Ignored("WAL_SEGMENT_SIZE".into())),
    number("BLOCKS", 0..=I32_MAX, true, |_| DatabaseOption::Ignored("BLOCKS".into())),
    number("CACHE", 0..=I32_MAX, true, |_| DatabaseOption::Ignored("CACHE".into())),
    number("QUORUM", 0..=I32_MAX, true, |_| DatabaseOption::Ignored("QUORUM".into())),
    number("UPDATE", 0..=2, false, |_| DatabaseOption::Ignored("UPDATE".into())),
    number("SCHEMALESS", 0..=1, false, |_| DatabaseOption::Ignored("SCHEMALESS".into())),
    number("WITH_ARBITRATOR", 0..=0, false, |_| DatabaseOption::Ignored("WITH_ARBITRATOR".into())),
];

/// PostgreSQL's options and TDengine's vestiges: any value, without effect.
const IGNORED: &[&str] = &[
    "OWNER",
    "TEMPLATE",
    "LOCALE",
    "LC_COLLATE",
    "LC_CTYPE",
    "TABLESPACE",
    "ALLOW_CONNECTIONS",
    "IS_TEMPLATE",
    "LOCALE_PROVIDER",
    "ICU_LOCALE",
    "COLLATION_VERSION",
    "STRATEGY",
    "STRICT",
];

/// TDengine's options that this server does not do.
const REFUSED: &[&str] = &[
    "DNODES",
    "RETENTIONS",
    "S3_CHUNKPAGES",
    "S3_KEEPLOCAL",
    "S3_COMPACT",
    "SS_CHUNKPAGES",
    "SS_KEEPLOCAL",
    "SS_COMPACT",
    "ENCRYPT_ALGORITHM",
    "COMPACT_INTERVAL",
    "COMPACT_TIME_RANGE",
    "COMPACT_TIME_OFFSET",
];

const fn number(
    name: &'static str,
    range: RangeInclusive<i64>,
    alter: bool,
    make: fn(i64) -> DatabaseOption,
) -> NumberOption {
    NumberOption { name, range, alter, make }
}

const fn cachelast(n: i64) -> CacheModel {
    match n {
        1 => CacheModel::LastRow,
        2 => CacheModel::LastValue,
        3 => CacheModel::Both,
        _ => CacheModel::None,
    }
}

pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DATABASE")?;
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.identifier()?;
    cursor.eat("WITH");
    let options = options(cursor, false)?;
    Ok(Statement::CreateDatabase { name, options, if_not_exists })
}

pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DATABASE")?;
    let name = cursor.identifier()?;
    if cursor.is_any(&["SET", "RESET", "RENAME", "OWNER", "REFRESH"]) {
        return Err(cursor.refuse("ALTER DATABASE … SET, RESET, RENAME and OWNER"));
    }
    if cursor.at_end() {
        return Err(cursor.unexpected());
    }
    let options = options(cursor, true)?;
    Ok(Statement::AlterDatabase { name, options })
}

pub(super) fn use_database(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("USE")?;
    cursor.eat("DATABASE");
    Ok(Statement::Use(cursor.identifier()?))
}

/// FLUSH, COMPACT and TRIM DATABASE. What would be ignored is refused.
pub(super) fn operate(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let verb = cursor.word_ahead().unwrap_or_default();
    cursor.skip();
    if verb == "COMPACT"
        && (cursor.is(0, "VGROUPS") || (cursor.peek(1).token == Token::Period && cursor.is(2, "VGROUPS")))
    {
        return Err(cursor.refuse("COMPACT VGROUPS"));
    }
    cursor.expect("DATABASE")?;
    let name = cursor.identifier()?;
    Ok(match verb.as_str() {
        "FLUSH" => Statement::Flush(name),
        "COMPACT" => {
            let start = bound(cursor, "START")?;
            let end = bound(cursor, "END")?;
            if cursor.is(0, "META_ONLY") {
                return Err(cursor.refuse("COMPACT DATABASE … META_ONLY"));
            }
            Statement::Compact { name, start, end }
        }
        _ if cursor.is(0, "BWLIMIT") => return Err(cursor.refuse("TRIM DATABASE with a BWLIMIT")),
        _ => Statement::Trim(name),
    })
}

/// `START WITH time` or `END WITH time`: text, or a number of ticks.
fn bound(cursor: &mut Cursor<'_>, word: &str) -> Result<Option<TimeBound>> {
    if !cursor.eat(word) {
        return Ok(None);
    }
    cursor.expect("WITH")?;
    cursor.eat("TIMESTAMP");
    let position = cursor.position();
    let text = if cursor.is_string() { cursor.string()? } else { cursor.integer()?.to_string() };
    Ok(Some(TimeBound { text, position }))
}

/// `COMPACT id`, from the word KILL on; other things are not killed by number.
pub(super) fn kill(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("KILL")?;
    cursor.expect("COMPACT")?;
    let position = cursor.position();
    let id = cursor.integer()?;
    let id =
        u64::try_from(id).map_err(|_| error!(InvalidParameterValue, "{id} is no number of a compact").at(position))?;
    Ok(Statement::KillCompact(id))
}

fn options(cursor: &mut Cursor<'_>, alter: bool) -> Result<Vec<DatabaseOption>> {
    let mut options = Vec::new();
    while !cursor.at_end() {
        options.push(option(cursor, alter)?);
    }
    // As ALTER may change one of the two alone, the session checks them against what the database has.
    let keep = options.iter().find_map(|option| match option {
        DatabaseOption::KeepMinutes(keep) => Some(keep[0]),
        _ => None,
    });
    let duration = options.iter().find_map(|option| match option {
        DatabaseOption::DurationMinutes(minutes) => Some(*minutes),
        _ => None,
    });
    if let (Some(keep), Some(duration)) = (keep, duration)
        && keep < duration.saturating_mul(3)
    {
        return Err(error!(InvalidParameterValue, "KEEP must be at least three times DURATION")
            .with_detail(format!("KEEP is {keep} minutes, DURATION {duration} minutes.")));
    }
    Ok(options)
}

fn option(cursor: &mut Cursor<'_>, alter: bool) -> Result<DatabaseOption> {
    let position = cursor.position();
    let Some(name) = cursor.word_ahead() else { return Err(cursor.unexpected()) };
    if REFUSED.contains(&name.as_str()) {
        return Err(cursor.refuse(&format!("database option {name}")));
    }
    if let Some(option) = NUMBERS.iter().find(|option| option.name == name) {
        if alter && !option.alter {
            return Err(fixed(cursor, &name));
        }
        cursor.skip();
        cursor.eat_token(&Token::Eq);
        return Ok((option.make)(in_range(cursor, &name, &option.range)?));
    }
    let known = matches!(name.as_str(), "PRECISION" | "KEEP" | "DURATION" | "DAYS" | "CACHEMODEL" | "COMMENT");
    if !known && !IGNORED.contains(&name.as_str()) && !matches!(name.as_str(), "ENCODING" | "CONNECTION") {
        return Err(cursor.unexpected());
    }
    if alter && matches!(name.as_str(), "PRECISION" | "DURATION" | "DAYS") {
        return Err(fixed(cursor, &name));
    }
    cursor.skip();
    cursor.eat_token(&Token::Eq);
    match name.as_str() {
        "PRECISION" => precision(cursor),
        "KEEP" => keep(cursor),
        "DURATION" | "DAYS" => {
            let minutes = minutes(cursor, &name)?;
            check(&name, i64::from(minutes), &(60..=3650 * 1440), "60m to 3650d", position)?;
            Ok(DatabaseOption::DurationMinutes(minutes))
        }
        "CACHEMODEL" => cachemodel(cursor),
        "COMMENT" => Ok(DatabaseOption::Comment(cursor.string()?)),
        "ENCODING" => encoding(cursor),
        _ => {
            if name == "CONNECTION" {
                cursor.expect("LIMIT")?;
                cursor.eat_token(&Token::Eq);
                cursor.integer()?;
            } else if !matches!(cursor.peek(0).token, Token::Number(..)) && !cursor.is_string() {
                cursor.identifier()?;
            } else {
                cursor.skip();
            }
            Ok(DatabaseOption::Ignored(name))
        }
    }
}

fn fixed(cursor: &Cursor<'_>, name: &str) -> model::Error {
    error!(FeatureNotSupported, "{name} of a database cannot be changed")
        .with_hint("create a database with the value wanted and copy the data")
        .at(cursor.position())
}

/// A whole number, which may stand in quotes.
fn in_range(cursor: &mut Cursor<'_>, name: &str, range: &RangeInclusive<i64>) -> Result<i64> {
    let position = cursor.position();
    let value = if cursor.is_string() {
        let text = cursor.string()?;
        text.parse().map_err(|_| error!(InvalidParameterValue, "invalid value for {name}: \"{text}\"").at(position))?
    } else {
        cursor.integer()?
    };
    check(name, value, range, &format!("{} to {}", range.start(), range.end()), position)?;
    Ok(value)
}

fn check(name: &str, value: i64, range: &RangeInclusive<i64>, valid: &str, position: u32) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(error!(InvalidParameterValue, "{name} is out of range").with_hint(format!("{name} takes {valid}")).at(position))
}

fn one_of<T>(cursor: &mut Cursor<'_>, name: &str, of: fn(&str) -> Option<T>, valid: &str) -> Result<T> {
    let position = cursor.position();
    let text = if cursor.is_string() { cursor.string()? } else { cursor.identifier()? };
    let bad = || {
        error!(InvalidParameterValue, "invalid value for {name}: \"{text}\"")
            .with_hint(format!("{name} takes {valid}"))
            .at(position)
    };
    of(&text.to_ascii_lowercase()).ok_or_else(bad)
}

fn precision(cursor: &mut Cursor<'_>) -> Result<DatabaseOption> {
    let of = |text: &str| match text {
        "ms" => Some(Precision::Milli),
        "us" => Some(Precision::Micro),
        "ns" => Some(Precision::Nano),
        _ => None,
    };
    Ok(DatabaseOption::Precision(one_of(cursor, "PRECISION", of, "'ms', 'us' or 'ns'")?))
}

fn cachemodel(cursor: &mut Cursor<'_>) -> Result<DatabaseOption> {
    let of = |text: &str| match text {
        "none" => Some(CacheModel::None),
        "last_row" => Some(CacheModel::LastRow),
        "last_value" => Some(CacheModel::LastValue),
        "both" => Some(CacheModel::Both),
        _ => None,
    };
    let model = one_of(cursor, "CACHEMODEL", of, "'none', 'last_row', 'last_value' or 'both'")?;
    Ok(DatabaseOption::CacheModel(model))
}

fn encoding(cursor: &mut Cursor<'_>) -> Result<DatabaseOption> {
    let of = |text: &str| matches!(text, "utf8" | "utf-8" | "default" | "unicode").then_some(());
    one_of(cursor, "ENCODING", of, "'UTF8'")?;
    Ok(DatabaseOption::Ignored("ENCODING".into()))
}

/// `KEEP k0[, k1[, k2]]`: a value left out is as the one before it.
fn keep(cursor: &mut Cursor<'_>) -> Result<DatabaseOption> {
    const TIERS_MAX: usize = 3;
    let position = cursor.position();
    if cursor.is_string() {
        // '1d,2d,3d' in one string.
        let text = cursor.string()?;
        let tiers: Result<Vec<u32>> = text.split(',').map(|part| to_minutes(part.trim(), "KEEP", position)).collect();
        return tiers_of(&tiers?, position);
    }
    let mut tiers = vec![minutes(cursor, "KEEP")?];
    while tiers.len() < TIERS_MAX && cursor.eat_token(&Token::Comma) {
        tiers.push(minutes(cursor, "KEEP")?);
    }
    tiers_of(&tiers, position)
}

fn tiers_of(tiers: &[u32], position: u32) -> Result<DatabaseOption> {
    for minutes in tiers {
        check("KEEP", i64::from(*minutes), &(1440..=365_000 * 1440), "1d to 365000d", position)?;
    }
    let keep = match tiers {
        [a] => [*a; 3],
        [a, b] => [*a, *b, *b],
        [a, b, c] => [*a, *b, *c],
        _ => return Err(error!(InvalidParameterValue, "KEEP takes one to three values").at(position)),
    };
    if keep[0] > keep[1] || keep[1] > keep[2] {
        return Err(error!(InvalidParameterValue, "the values of KEEP must not fall").at(position));
    }
    Ok(DatabaseOption::KeepMinutes(keep))
}

/// A length of time: `10d`, `240h`, `14400m`, or days without a unit; in quotes too.
fn minutes(cursor: &mut Cursor<'_>, name: &str) -> Result<u32> {
    let position = cursor.position();
    let text = if cursor.is_string() {
        cursor.string()?
    } else {
        let Token::Number(digits, _) = &cursor.peek(0).token else { return Err(cursor.unexpected()) };
        let mut text = digits.clone();
        let adjacent = cursor.peek(0).span.end == cursor.peek(1).span.start;
        cursor.skip();
        if adjacent && cursor.word_ahead().is_some() {
            text.push_str(&cursor.identifier()?);
        }
        text
    };
    to_minutes(&text, name, position)
}

fn to_minutes(text: &str, name: &str, position: u32) -> Result<u32> {
    let bad = || {
        error!(InvalidParameterValue, "invalid value for {name}: \"{text}\"")
            .with_hint(format!("{name} takes a number of days, or one with the unit m, h, d, w or y"))
            .at(position)
    };
    let duration = Duration::parse(text).ok_or_else(bad)?;
    let unit = match duration.unit {
        Unit::Tick | Unit::Day => 1440,
        Unit::Minute => 1,
        Unit::Hour => 60,
        Unit::Week => 7 * 1440,
        Unit::Year => 365 * 1440,
        _ => return Err(bad()),
    };
    let minutes = duration.count.checked_mul(unit).and_then(|minutes| u32::try_from(minutes).ok());
    minutes.ok_or_else(|| error!(InvalidParameterValue, "{name} is out of range").at(position))
}
