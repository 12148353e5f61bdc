//! What a client asks of the server and of the catalog: current_user, version(), pg_get_userbyid, format_type and the like.

use std::sync::Arc;

use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;
use model::schema::Relation;

use super::scalar::{Call, Cell, Scalar, bool, external, int, oid, text};
use crate::catalogs::describe::quote_literal;
use crate::catalogs::{SERVER_VERSION, names, pg, statics};
use crate::pgtype::PgType;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let lists = [session(), server(), objects(), definitions(), privileges(), quoting(), oids()];
    lists.into_iter().flatten().map(Scalar::udf).collect()
}

fn session() -> Vec<Scalar> {
    vec![
        Scalar::new("current_database", "", PgType::NAME, |call, _| Ok(call.context()?.database.clone().into()))
            .named(&["current_catalog", "database"]),
        Scalar::new("current_user", "", PgType::NAME, |call, _| Ok(call.context()?.user.clone().into())).named(&[
            "session_user",
            "user",
            "current_role",
        ]),
        Scalar::new("current_schema", "", PgType::NAME, |call, _| {
            let exists = |schema: &&String| names::schema_oid(schema).is_some();
            Ok(call.context()?.search_path.iter().find(exists).cloned().into())
        }),
        Scalar::new("current_schemas", "b", array(PgType::NAME), |call, args| {
            let path = call.context()?.search_path.iter().filter(|schema| names::schema_oid(schema).is_some());
            let implied = bool(&args[0]).then(|| "pg_catalog".to_owned());
            Ok(Cell::Texts(implied.into_iter().chain(path.cloned()).collect()))
        }),
        Scalar::new("current_setting", "t?b", PgType::TEXT, current_setting),
        Scalar::new("set_config", "ttb", PgType::TEXT, set_config).lenient().volatile(),
        Scalar::new("pg_backend_pid", "", PgType::INT4, |call, _| Ok(call.context()?.backend.into())),
        Scalar::new("pg_cancel_backend", "i", PgType::BOOL, |call, args| signal(call, args, false)).volatile(),
        Scalar::new("pg_terminate_backend", "i?i", PgType::BOOL, |call, args| signal(call, args, true)).volatile(),
        Scalar::new("inet_client_addr", "", PgType::TEXT, |call, _| {
            let address = &call.context()?.address;
            Ok((!address.is_empty()).then(|| address.clone()).into())
        }),
        Scalar::new("inet_client_port", "", PgType::INT4, |_, _| Ok(Cell::Null)),
        Scalar::new("inet_server_addr", "", PgType::TEXT, |_, _| Ok(Cell::Null)),
        Scalar::new("inet_server_port", "", PgType::INT4, |call, _| setting_number(call, "port")),
        Scalar::new("pg_my_temp_schema", "", PgType::OID, |_, _| Ok(0.into())),
        Scalar::new("pg_is_other_temp_schema", "i", PgType::BOOL, |_, _| Ok(false.into())),
    ]
}

fn array(of: PgType) -> PgType {
    of.array_of().unwrap_or(PgType::TEXT)
}

fn current_setting(call: &Call<'_>, args: &[Cell]) -> Result<Cell> {
    let name = text(&args[0])?;
    match call.context()?.shown_setting(name) {
        Some(value) => Ok(value.into()),
        None if args.get(1).is_some_and(bool) => Ok(Cell::Null),
        None => Err(external(model::error!(UndefinedObject, "unrecognized configuration parameter \"{name}\""))),
    }
}

/// Stops another session's statement, or ends the session. Users may do so to their own, superusers to all.
fn signal(call: &Call<'_>, args: &[Cell], terminate: bool) -> Result<Cell> {
    let context = call.context()?;
    let Some(observer) = &context.observer else { return Ok(false.into()) };
    let backend = i32::try_from(int(&args[0])?).unwrap_or(0);
    let sessions = observer.connections();
    let Some(other) = sessions.iter().find(|of| of.backend == backend) else { return Ok(false.into()) };
    let is_super = |user: &str| context.catalog.users.get(user).is_none_or(|user| user.superuser);
    if other.user != context.user && !is_super(&context.user) {
        let what = if terminate { "process" } else { "query" };
        let message = format!("must be a member of the role whose {what} is being {}", ended(terminate));
        return Err(external(model::error!(InsufficientPrivilege, "{message}")));
    }
    Ok(observer.signal(backend, terminate).into())
}

fn ended(terminate: bool) -> &'static str {
    if terminate { "terminated" } else { "canceled" }
}

/// Sets a setting, for the session or for the transaction only, and gives its new value; NULL is its default.
fn set_config(call: &Call<'_>, args: &[Cell]) -> Result<Cell> {
    let (name, value, local) = (&args[0], &args[1], bool(&args[2]));
    if matches!(name, Cell::Null) {
        return Err(external(model::error!(NullValueNotAllowed, "SET requires parameter name")));
    }
    let name = text(name)?;
    let settings = &call.context()?.settings;
    let changed = match value {
        Cell::Null => settings.change(|settings| settings.set_list(name, None, local)),
        value => {
            let value = text(value)?;
            settings.change(|settings| settings.set(name, value, local))
        }
    };
    changed.map_err(external)?;
    Ok(settings.now().shown(name).into())
}

fn setting_number(call: &Call<'_>, name: &str) -> Result<Cell> {
    Ok(call.context()?.setting(name).and_then(|value| value.parse::<i32>().ok()).into())
}

/// What `version()` answers; clients look for `PostgreSQL X.Y`.
pub(crate) fn version() -> String {
    let (ours, target) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    format!("PostgreSQL {SERVER_VERSION} (Marigraph {ours}) on {target}-{}, 64-bit", std::env::consts::OS)
}

fn server() -> Vec<Scalar> {
    let pretty = |_: &Call<'_>, args: &[Cell]| Ok(pretty_size(int(&args[0])?).into());
    let zero = |_: &Call<'_>, _: &[Cell]| Ok(Cell::Int(0));
    let nothing = |_: &Call<'_>, _: &[Cell]| Ok(Cell::Null);
    vec![
        Scalar::new("version", "", PgType::TEXT, |_, _| Ok(version().into())),
        Scalar::new("server_version", "", PgType::TEXT, |_, _| Ok(env!("CARGO_PKG_VERSION").into())),
        Scalar::new("client_version", "", PgType::TEXT, |_, _| Ok(env!("CARGO_PKG_VERSION").into())),
        Scalar::new("server_status", "", PgType::INT4, |_, _| Ok(1.into())),
        Scalar::new("pg_is_in_recovery", "", PgType::BOOL, |_, _| Ok(false.into())),
        Scalar::new("pg_is_wal_replay_paused", "", PgType::BOOL, |_, _| Ok(false.into())),
        Scalar::new("txid_current", "", PgType::INT8, |call, _| Ok(index(call)?.into())).named(&["pg_current_xact_id"]),
        Scalar::new("pg_postmaster_start_time", "", PgType::TIMESTAMPTZ, |call, _| {
            Ok((call.context()?.started_ms.saturating_mul(1000)).into())
        })
        .named(&["pg_conf_load_time"]),
        Scalar::new("pg_size_pretty", "i", PgType::TEXT, pretty),
        Scalar::new("pg_table_size", "a?a", PgType::INT8, zero).named(&[
            "pg_relation_size",
            "pg_total_relation_size",
            "pg_indexes_size",
            "pg_database_size",
            "pg_tablespace_size",
            "pg_stat_get_numscans",
        ]),
        Scalar::new("pg_tablespace_location", "i", PgType::TEXT, |_, _| Ok("".into())),
        Scalar::new("pg_encoding_to_char", "i", PgType::NAME, |_, args| {
            Ok(if int(&args[0])? == 6 { "UTF8" } else { "" }.into())
        }),
        Scalar::new("pg_char_to_encoding", "t", PgType::INT4, |_, args| {
            let name = text(&args[0])?.to_ascii_lowercase();
            Ok(if matches!(name.as_str(), "utf8" | "utf-8" | "unicode") { 6 } else { -1 }.into())
        }),
        Scalar::new("pg_advisory_unlock_all", "", PgType::VOID, nothing).lenient(),
        Scalar::new("pg_advisory_lock", "i?i", PgType::VOID, nothing).named(&["pg_advisory_xact_lock"]).lenient(),
        Scalar::new("pg_advisory_unlock", "i?i", PgType::BOOL, |_, _| Ok(true.into()))
            .named(&["pg_try_advisory_lock", "pg_try_advisory_xact_lock"]),
    ]
}

fn index(call: &Call<'_>) -> Result<i64> {
    Ok(i64::try_from(call.context()?.catalog.index).unwrap_or(i64::MAX))
}

/// Bytes as `pg_size_pretty` prints them: rounded to the nearest, up to 10 of a unit in the unit below.
fn pretty_size(bytes: i64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    if bytes.unsigned_abs() < 10 * 1024 {
        return format!("{bytes} bytes");
    }
    // One bit below the unit is kept until the end, so that the last step rounds to the nearest.
    let mut half_units = bytes >> 9;
    for unit in units {
        if half_units.unsigned_abs() < 20 * 1024 - 1 || unit == "PB" {
            return format!("{} {unit}", (half_units + half_units.signum()) / 2);
        }
        half_units >>= 10;
    }
    unreachable!("the last unit takes everything")
}

fn objects() -> Vec<Scalar> {
    vec![
        Scalar::new("pg_get_userbyid", "i", PgType::NAME, |call, args| {
            let oid = oid(&args[0])?;
            let name = names::user_of(call.context()?, oid);
            Ok(name.unwrap_or_else(|| format!("unknown (OID={oid})")).into())
        }),
        Scalar::new("pg_table_is_visible", "i", PgType::BOOL, |call, args| {
            let name = names::name_of_relation(call.context()?, oid(&args[0])?);
            Ok(name.map(|name| !name.contains('.') || name.starts_with('"')).into())
        }),
        Scalar::new("pg_type_is_visible", "i", PgType::BOOL, |_, args| {
            Ok(PgType::from_oid(oid(&args[0])?).map(|_| true).into())
        }),
        Scalar::new("pg_function_is_visible", "i", PgType::BOOL, |_, args| {
            Ok(statics::function_name(oid(&args[0])?).map(|_| true).into())
        }),
        Scalar::new("pg_collation_is_visible", "i", PgType::BOOL, |_, _| Ok(true.into())).named(&[
            "pg_operator_is_visible",
            "pg_opclass_is_visible",
            "pg_opfamily_is_visible",
            "pg_conversion_is_visible",
            "pg_statistics_obj_is_visible",
            "pg_ts_config_is_visible",
            "pg_ts_dict_is_visible",
            "pg_ts_parser_is_visible",
            "pg_ts_template_is_visible",
        ]),
        Scalar::new("format_type", "ii", PgType::TEXT, |_, args| {
            if args[0] == Cell::Null {
                return Ok(Cell::Null);
            }
            let typmod = if args[1] == Cell::Null { None } else { i32::try_from(int(&args[1])?).ok() };
            Ok(names::format_type(oid(&args[0])?, typmod).into())
        })
        .lenient(),
        Scalar::new("obj_description", "i?t", PgType::TEXT, |call, args| {
            let class = args.get(1).map(text).transpose()?;
            if class.is_some_and(|class| class != "pg_class") {
                return Ok(Cell::Null);
            }
            Ok(relation(call, oid(&args[0])?)?.and_then(|of| of.comment.clone()).into())
        }),
        Scalar::new("col_description", "ii", PgType::TEXT, |call, args| {
            let Some(relation) = relation(call, oid(&args[0])?)? else { return Ok(Cell::Null) };
            let number = int(&args[1])?;
            let column = names::columns(&relation).find(|(at, _)| i64::from(*at) == number);
            Ok(column.and_then(|(_, column)| column.comment.clone()).into())
        }),
        Scalar::new("shobj_description", "it", PgType::TEXT, |call, args| {
            let oid = oid(&args[0])?;
            let all = call.context()?.catalog.databases.values();
            let database = all.into_iter().find(|of| names::database_oid(of.id) == oid);
            Ok(database.filter(|_| args[1] == "pg_database".into()).and_then(|of| of.options.comment.clone()).into())
        }),
    ]
}

/// The relation of this oid in the current database.
fn relation(call: &Call<'_>, oid: u32) -> Result<Option<Arc<Relation>>> {
    let database = call.context()?.current();
    Ok(database.and_then(|of| of.relations.values().find(|of| names::relation_oid(of.suid) == oid).cloned()))
}

/// The relation whose primary key has an index of this oid.
fn keyed(call: &Call<'_>, oid: u32) -> Result<Option<Arc<Relation>>> {
    let database = call.context()?.current();
    let of = |of: &&Arc<Relation>| names::index_oid(of.suid) == oid && names::index_name(of).is_some();
    Ok(database.and_then(|database| database.relations.values().find(of).cloned()))
}

fn definitions() -> Vec<Scalar> {
    let nothing = |_: &Call<'_>, _: &[Cell]| Ok(Cell::Null);
    vec![
        Scalar::new("pg_get_expr", "ti?b", PgType::TEXT, |_, args| Ok(args[0].clone())),
        Scalar::new("pg_get_indexdef", "i?ib", PgType::TEXT, index_definition),
        Scalar::new("pg_get_constraintdef", "i?b", PgType::TEXT, |call, args| {
            let Some(relation) = keyed(call, oid(&args[0])?)? else { return Ok(Cell::Null) };
            let keys: Vec<_> = pg::key_columns(&relation).map(|(_, of)| names::quote_ident(&of.name)).collect();
            Ok(format!("PRIMARY KEY ({})", keys.join(", ")).into())
        }),
        Scalar::new("pg_get_viewdef", "a?a", PgType::TEXT, |call, args| {
            let context = call.context()?;
            let named = text(&args[0])?;
            let oid = named.parse().ok().or_else(|| names::relation_of_name(context, named));
            let mut views = context.current().into_iter().flat_map(|of| of.views.values());
            Ok(views.find(|of| Some(names::relation_oid(of.suid)) == oid).map(|of| of.query.clone()).into())
        }),
        Scalar::new("pg_get_function_result", "i", PgType::TEXT, nothing).named(&[
            "pg_get_function_arguments",
            "pg_get_function_identity_arguments",
            "pg_get_functiondef",
            "pg_get_partkeydef",
            "pg_get_statisticsobjdef",
            "pg_get_statisticsobjdef_columns",
        ]),
        Scalar::new("pg_get_triggerdef", "i?b", PgType::TEXT, nothing).named(&["pg_get_ruledef"]),
        Scalar::new("pg_get_serial_sequence", "tt", PgType::TEXT, nothing),
        Scalar::new("pg_relation_is_publishable", "i", PgType::BOOL, |call, args| {
            Ok(relation(call, oid(&args[0])?)?.is_some().into())
        }),
        Scalar::new("pg_relation_is_updatable", "ib", PgType::INT4, |call, args| {
            Ok(if relation(call, oid(&args[0])?)?.is_some() { 28 } else { 0 }.into())
        }),
    ]
}

fn index_definition(call: &Call<'_>, args: &[Cell]) -> Result<Cell> {
    let Some(relation) = keyed(call, oid(&args[0])?)? else { return Ok(Cell::Null) };
    let column = args.get(1).map(int).transpose()?.unwrap_or(0);
    if column == 0 {
        // The short form leaves the schema out when the search path has it.
        let definition = pg::index_definition(&relation);
        let pretty = args.get(2).is_some_and(bool);
        return Ok(definition.map(|of| if pretty { of.replace(" ON public.", " ON ") } else { of }).into());
    }
    let at = usize::try_from(column - 1).unwrap_or(usize::MAX);
    Ok(pg::key_columns(&relation).nth(at).map(|(_, of)| names::quote_ident(&of.name)).into())
}

fn privileges() -> Vec<Scalar> {
    // Everybody who may connect may read and write; only users and databases are kept from users without the right.
    let yes = |_: &Call<'_>, _: &[Cell]| Ok(Cell::Bool(true));
    vec![
        Scalar::new("has_table_privilege", "aa?a", PgType::BOOL, yes).named(&[
            "has_schema_privilege",
            "has_database_privilege",
            "has_any_column_privilege",
            "has_function_privilege",
            "has_sequence_privilege",
            "has_type_privilege",
            "has_tablespace_privilege",
            "has_language_privilege",
        ]),
        Scalar::new("has_column_privilege", "aaa?a", PgType::BOOL, yes),
        Scalar::new("pg_has_role", "aa?a", PgType::BOOL, |call, args| {
            let context = call.context()?;
            let role = text(&args[args.len() - 2])?;
            let superuser = context.catalog.users.get(&context.user).is_some_and(|user| user.superuser);
            let own = role == context.user || role == names::user_oid(&context.user).to_string();
            Ok((superuser || own).into())
        }),
        Scalar::new("row_security_active", "a", PgType::BOOL, |_, _| Ok(false.into())),
    ]
}

/// What is there of `args`, as PostgreSQL prints it.
fn joined(args: &[Cell], separator: &str) -> String {
    let texts = args.iter().filter_map(|arg| match arg {
        Cell::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(separator)
}

fn quoting() -> Vec<Scalar> {
    vec![
        Scalar::new("quote_ident", "t", PgType::TEXT, |_, args| Ok(names::quote_ident(text(&args[0])?).into())),
        Scalar::new("quote_literal", "a", PgType::TEXT, |_, args| Ok(quote_literal(text(&args[0])?).into())),
        Scalar::new("quote_nullable", "a", PgType::TEXT, |_, args| {
            Ok(if args[0] == Cell::Null { "NULL".to_owned() } else { quote_literal(text(&args[0])?) }.into())
        })
        .lenient(),
        Scalar::new("parse_ident", "t?b", array(PgType::TEXT), |_, args| {
            let given = text(&args[0])?;
            match names::parse_ident(given) {
                Some(parts) => Ok(Cell::Texts(parts)),
                None => {
                    Err(external(model::error!(InvalidParameterValue, "string is not a valid identifier: \"{given}\"")))
                }
            }
        }),
        Scalar::new("format", "t?a*", PgType::TEXT, format).lenient(),
        Scalar::new("concat", "a*", PgType::TEXT, |_, args| Ok(joined(args, "").into())).lenient(),
        Scalar::new("concat_ws", "ta*", PgType::TEXT, |_, args| match args {
            [Cell::Text(separator), rest @ ..] => Ok(joined(rest, separator).into()),
            _ => Ok(Cell::Null),
        })
        .lenient(),
        Scalar::new("pg_like_escape", "tt", PgType::TEXT, like_escape).named(&["like_escape"]),
    ]
}

/// `format`: `%s`, `%I`, `%L`, `%%`, with `%n$`; widths are not taken.
fn format(_: &Call<'_>, args: &[Cell]) -> Result<Cell> {
    if args[0] == Cell::Null {
        return Ok(Cell::Null);
    }
    let mut out = String::new();
    let mut chars = text(&args[0])?.chars().peekable();
    let mut next = 1;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if !digits.is_empty() {
            if chars.next() != Some('$') {
                return exec_err!("format(): a width is not supported");
            }
            next = digits.parse().unwrap_or(usize::MAX);
        }
        let Some(value) = args.get(next) else { return exec_err!("too few arguments for format()") };
        next += 1;
        match (chars.next(), value) {
            (Some('s'), Cell::Null) => {}
            (Some('s'), value) => out.push_str(text(value)?),
            (Some('I'), Cell::Null) => return exec_err!("null values cannot be formatted as an SQL identifier"),
            (Some('I'), value) => out.push_str(&names::quote_ident(text(value)?)),
            (Some('L'), Cell::Null) => out.push_str("NULL"),
            (Some('L'), value) => out.push_str(&quote_literal(text(value)?)),
            _ => return exec_err!("unrecognized format() type specifier"),
        }
    }
    Ok(out.into())
}

/// A LIKE pattern with another escape character, as one with backslashes.
fn like_escape(_: &Call<'_>, args: &[Cell]) -> Result<Cell> {
    let escape = text(&args[1])?;
    let mut letters = escape.chars();
    let (Some(escape), None) = (letters.next(), letters.next()) else {
        return match escape {
            "" => Ok(text(&args[0])?.replace('\\', "\\\\").into()),
            _ => Err(external(model::error!(InvalidEscapeSequence, "invalid escape string"))),
        };
    };
    let mut out = String::new();
    let mut chars = text(&args[0])?.chars();
    while let Some(c) = chars.next() {
        if c == escape {
            out.push('\\');
            out.extend(chars.next());
        } else if c == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(c);
        }
    }
    Ok(out.into())
}

/// Casts to `regclass` and its kin: [`crate::compat`] makes calls of these of them.
fn oids() -> Vec<Scalar> {
    vec![
        Scalar::new("pg_regclass", "o", PgType::REGCLASS, |call, args| {
            let find = |name: &str| names::relation_of_name(call.context().ok()?, name);
            reg(&args[0], find, |name| model::error!(UndefinedTable, "relation \"{name}\" does not exist"))
        }),
        Scalar::new("pg_regtype", "o", PgType::REGTYPE, |_, args| {
            reg(&args[0], names::type_oid, |name| model::error!(UndefinedObject, "type \"{name}\" does not exist"))
        }),
        Scalar::new("pg_regproc", "o", PgType::REGPROC, |_, args| {
            let find = |name: &str| statics::function_oid(name.strip_prefix("pg_catalog.").unwrap_or(name));
            reg(&args[0], find, |name| model::error!(UndefinedFunction, "function \"{name}\" does not exist"))
        }),
        Scalar::new("pg_regnamespace", "o", PgType::REGNAMESPACE, |_, args| {
            reg(&args[0], names::schema_oid, |name| {
                model::error!(InvalidSchemaName, "schema \"{name}\" does not exist")
            })
        }),
        Scalar::new("pg_regrole", "o", PgType::OID, |call, args| {
            let find = |name: &str| {
                let users = &call.context().ok()?.catalog.users;
                users.contains_key(name).then(|| names::user_oid(name))
            };
            reg(&args[0], find, |name| model::error!(UndefinedObject, "role \"{name}\" does not exist"))
        }),
        Scalar::new("pg_oid", "o", PgType::OID, |_, args| {
            let given = text(&args[0])?;
            reg(
                &args[0],
                |_| None,
                |_| model::error!(InvalidTextRepresentation, "invalid input syntax for type oid: \"{given}\""),
            )
        }),
        Scalar::new("to_regclass", "t", PgType::REGCLASS, |call, args| {
            Ok(names::relation_of_name(call.context()?, text(&args[0])?).into())
        }),
        Scalar::new("to_regtype", "t", PgType::REGTYPE, |_, args| {
            Ok(names::type_of_name(text(&args[0])?).map(|of| of.oid).into())
        }),
        Scalar::new("to_regnamespace", "t", PgType::REGNAMESPACE, |_, args| {
            Ok(names::schema_oid(text(&args[0])?).into())
        }),
    ]
}

/// An oid from its digits or from a name.
fn reg(given: &Cell, find: impl Fn(&str) -> Option<u32>, absent: impl Fn(&str) -> model::Error) -> Result<Cell> {
    let given = text(given)?;
    if given == "-" {
        return Ok(0.into());
    }
    let oid = given.parse().ok().or_else(|| find(given));
    match oid {
        Some(oid) => Ok(Cell::Int(i64::from(oid))),
        None => Err(external(absent(given))),
    }
}
