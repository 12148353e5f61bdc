//! DataFusion's errors as a client is told of them: one SQLSTATE each, PostgreSQL's words where there are some.
//!
//! Our own errors travel inside DataFusion's as [`DataFusionError::External`] and come out unchanged. Start reading at
//! [`from_datafusion`].

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use model::{Error, SqlState, error};

/// Wraps one of our errors so that DataFusion carries it.
#[must_use]
pub fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The error that a client sees.
#[must_use]
pub fn from_datafusion(error: DataFusionError) -> Error {
    match &error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => clone_of(inner),
        DataFusionError::Shared(inner) => clone_of(inner),
        DataFusionError::Collection(errors) => errors.first().map_or_else(|| Error::internal("no error"), clone_of),
        other => clone_of(other),
    }
}

fn clone_of(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => clone_of(inner),
        DataFusionError::Shared(inner) => clone_of(inner),
        DataFusionError::Collection(errors) => errors.first().map_or_else(|| Error::internal("no error"), clone_of),
        DataFusionError::External(inner) => of_boxed(inner.as_ref()),
        DataFusionError::ArrowError(arrow, _) => of_arrow(arrow),
        DataFusionError::SchemaError(schema, _) => of_schema(schema),
        DataFusionError::NotImplemented(message) => not_there(message),
        DataFusionError::Plan(message) => of_plan(message),
        DataFusionError::Execution(message) => of_execution(message),
        DataFusionError::SQL(parser, _) => Error::new(SqlState::SyntaxError, tidy(&parser.to_string())),
        DataFusionError::Configuration(message) => Error::new(SqlState::InvalidParameterValue, tidy(message)),
        DataFusionError::ResourcesExhausted(message) => out_of_memory(message),
        DataFusionError::IoError(io) => of_io(io),
        other => {
            let message = other.strip_backtrace();
            of_clause(&message).unwrap_or_else(|| Error::internal(tidy(&message)))
        }
    }
}

/// 53200, with who wanted how much.
fn out_of_memory(message: &str) -> Error {
    error!(OutOfMemory, "the query needs more memory than it may have").with_detail(tidy(message)).with_hint(
        "Narrow the time range, select fewer columns, or give the server more memory (setting memory, or query_memory_bytes)",
    )
}

/// What a temporary file says.
fn of_io(io: &std::io::Error) -> Error {
    let text = io.to_string();
    if text.contains("used disk space during the spilling process") {
        return error!(ConfigurationLimitExceeded, "the query needs more temporary files than it may have")
            .with_detail(tidy(text.split(". Please").next().unwrap_or(&text)))
            .with_hint(
                "Narrow the time range, select fewer columns, or let temporary files take more (setting temp_bytes)",
            );
    }
    if io.kind() == std::io::ErrorKind::StorageFull || text.contains("No space left on device") {
        return error!(DiskFull, "a temporary file cannot be written: {text}")
            .with_hint("Free space on the data directory's disk");
    }
    Error::new(SqlState::IoError, text)
}

/// What DataFusion cannot do, in words for people.
fn not_there(message: &str) -> Error {
    let has = |words: &str| message.contains(words);
    if has("OuterReferenceColumn") || has("InSubquery") || has("Exists(") || has("ScalarSubquery") {
        return unsupported_subquery();
    }
    Error::new(SqlState::FeatureNotSupported, tidy(message))
}

/// 0A000 for a subquery that no plan can be made of.
#[must_use]
pub fn unsupported_subquery() -> Error {
    error!(FeatureNotSupported, "a subquery that refers to the outer query in this way is not supported").with_hint(
        "Write it as a join, or compare its columns with those of the outer query by = alone, without LIMIT.",
    )
}

fn of_boxed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if let Some(own) = error.downcast_ref::<Error>() {
        return own.clone();
    }
    if let Some(spotted) = error.downcast_ref::<super::places::Spotted>() {
        return spotted.error().clone();
    }
    if let Some(datafusion) = error.downcast_ref::<DataFusionError>() {
        return clone_of(datafusion);
    }
    if let Some(arrow) = error.downcast_ref::<ArrowError>() {
        return of_arrow(arrow);
    }
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return of_io(io);
    }
    let message = error.to_string();
    if message.contains("regex parse error") {
        return bad_regex(&message);
    }
    Error::internal(error)
}

fn of_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => of_boxed(inner.as_ref()),
        ArrowError::IoError(text, io) if !text.is_empty() => of_io(io),
        ArrowError::DivideByZero => error!(DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(_) => error!(NumericValueOutOfRange, "value out of range"),
        ArrowError::CastError(message) => of_cast(message),
        ArrowError::ParseError(message) => of_cast(message),
        ArrowError::ComputeError(message) if message.contains("verflow") => {
            error!(NumericValueOutOfRange, "value out of range")
        }
        ArrowError::ComputeError(message) if message.contains("regex parse error") => bad_regex(message),
        ArrowError::InvalidArgumentError(message) => Error::new(SqlState::InvalidParameterValue, tidy(message)),
        ArrowError::NotYetImplemented(message) => Error::new(SqlState::FeatureNotSupported, tidy(message)),
        other => Error::internal(other),
    }
}

fn of_cast(message: &str) -> Error {
    let time = ["imestamp", "Date", "date", "Time", "Interval", "interval"].iter().any(|word| message.contains(word));
    if message.contains("Can't cast value") || message.contains("out of range") || message.contains("overflow") {
        return Error::new(SqlState::NumericValueOutOfRange, tidy(message));
    }
    let state = if time { SqlState::InvalidDatetimeFormat } else { SqlState::InvalidTextRepresentation };
    // "Cannot cast string 'x' to value of Int32 type" is what arrow says.
    if let Some((text, kind)) = quoted_and_type(message) {
        return Error::new(state, format!("invalid input syntax for type {kind}: \"{text}\""));
    }
    Error::new(state, tidy(message))
}

fn quoted_and_type(message: &str) -> Option<(&str, &'static str)> {
    let rest = message.strip_prefix("Cannot cast string '")?;
    let (text, rest) = rest.split_once("' to value of ")?;
    let kind = match rest.split(' ').next()? {
        "Int8" | "Int16" | "UInt8" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" => "bigint",
        "UInt64" => "numeric",
        "Float32" => "real",
        "Float64" => "double precision",
        "Boolean" => "boolean",
        _ => return None,
    };
    Some((text, kind))
}

/// `column "x" does not exist`, with the qualifier where one was written.
#[must_use]
pub fn undefined_column(column: &Column) -> Error {
    let name = shown(&column.name);
    match &column.relation {
        Some(relation) => error!(UndefinedColumn, "column {}.{name} does not exist", shown(relation.table())),
        None => error!(UndefinedColumn, "column \"{name}\" does not exist"),
    }
}

fn of_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let error = undefined_column(field);
            let alike = valid_fields.iter().find(|valid| valid.name.eq_ignore_ascii_case(&field.name));
            match alike {
                Some(valid) => error.with_hint(format!("there is a column \"{}\": quote it", shown(&valid.name))),
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => {
            error!(AmbiguousColumn, "column reference \"{}\" is ambiguous", shown(&field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            error!(DuplicateColumn, "column \"{}\" specified more than once", shown(name))
        }
    }
}

fn of_plan(message: &str) -> Error {
    let has = |words: &str| message.contains(words);
    // What one of our functions says of its arguments' types comes wrapped in words.
    if let Some((_, own)) = message.split_once("External error: ") {
        let own = own.split_once(". No function matches").map_or(own, |(own, _)| own);
        return Error::new(SqlState::UndefinedFunction, tidy(own));
    }
    if has("must be part of GROUP BY") || has("must appear in the GROUP BY") || has("GROUP BY clause or") {
        return Error::new(SqlState::GroupingError, grouping(message));
    }
    if let Some(error) = of_clause(message) {
        return error;
    }
    let any = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let functions = [
        "Invalid function",
        "No function matches",
        "not match any",
        "failed to match any signature",
        "Cannot coerce",
        "Cannot infer common",
        "Cannot get result type",
    ];
    let types =
        ["more than one", "same number of columns", "Expected type", "type mismatch", "filter with non-boolean"];
    let function = any(&functions) || (has("does not support") && has("function"));
    let state = if function || (has("table function") && has("not found")) {
        SqlState::UndefinedFunction
    } else if has("not found") && has("table '") {
        SqlState::UndefinedTable
    } else if has("nvalid placeholder") {
        SqlState::UndefinedParameter
    } else if any(&types) {
        SqlState::DatatypeMismatch
    } else {
        SqlState::SyntaxError
    };
    Error::new(state, plan_words(message))
}

/// What DataFusion's planner says of clauses, in PostgreSQL's words.
fn of_clause(message: &str) -> Option<Error> {
    let has = |words: &str| message.contains(words);
    Some(match () {
        () if has("Aggregate functions are not allowed in the WHERE") => {
            error!(GroupingError, "aggregate functions are not allowed in WHERE")
        }
        () if has("Aggregate function calls cannot be nested") => {
            error!(GroupingError, "aggregate function calls cannot be nested")
        }
        () if has("negative count not allowed") => error!(SubstringError, "negative substring length not allowed"),
        () if has("LIMIT must be >= 0") => error!(InvalidRowCountInLimit, "LIMIT must not be negative"),
        () if has("OFFSET must be >=0") => error!(InvalidRowCountInOffset, "OFFSET must not be negative"),
        () if has("SELECT DISTINCT ON expressions must match") => {
            error!(InvalidColumnReference, "SELECT DISTINCT ON expressions must match initial ORDER BY expressions")
        }
        () if has("For SELECT DISTINCT, ORDER BY expressions") => {
            error!(InvalidColumnReference, "for SELECT DISTINCT, ORDER BY expressions must appear in select list")
        }
        () if has("regex parse error") || has("Regular expression did not compile") => bad_regex(message),
        () if has("Unary operator 'NOT' requires a boolean") => {
            let arrow = message.rsplit("got ").next().unwrap_or_default();
            error!(DatatypeMismatch, "argument of NOT must be type boolean, not type {}", sql_type(arrow))
        }
        () if has("Cannot create filter with non-boolean predicate") => {
            let arrow = message.rsplit("returning ").next().unwrap_or_default();
            error!(DatatypeMismatch, "argument of WHERE must be type boolean, not type {}", sql_type(arrow))
        }
        () if has("given name and argument types '") => {
            let call = message.split("given name and argument types '").nth(1)?.split('\'').next()?;
            let (name, args) = call.split_once('(')?;
            let args: Vec<String> = args.trim_end_matches(')').split(", ").map(sql_type).collect();
            error!(UndefinedFunction, "function {name}({}) does not exist", args.join(", ")).with_hint(
                "No function matches the given name and argument types. You might need to add explicit type casts.",
            )
        }
        () => return None,
    })
}

fn bad_regex(message: &str) -> Error {
    let reason = message.rsplit("error: ").next().unwrap_or_default();
    error!(InvalidRegularExpression, "invalid regular expression: {}", tidy(reason))
}

/// PostgreSQL's name of an Arrow type as DataFusion prints it.
fn sql_type(arrow: &str) -> String {
    let arrow = arrow.trim().trim_end_matches('.');
    let name = arrow.split(['(', ' ']).next().unwrap_or(arrow);
    match name {
        "Int8" | "Int16" | "UInt8" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" => "bigint",
        "UInt64" | "Decimal128" | "Decimal256" => "numeric",
        "Float32" => "real",
        "Float64" => "double precision",
        "Boolean" => "boolean",
        "Utf8" | "LargeUtf8" | "Utf8View" | "String" => "text",
        "Binary" | "LargeBinary" | "BinaryView" => "bytea",
        "Date32" | "Date64" => "date",
        "Time32" | "Time64" => "time without time zone",
        "Timestamp" if arrow.contains('"') => "timestamp with time zone",
        "Timestamp" => "timestamp without time zone",
        "Interval" | "Duration" => "interval",
        "Null" => "unknown",
        other => return other.to_lowercase(),
    }
    .to_owned()
}

/// PostgreSQL's words for the plan errors that people meet most.
fn plan_words(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("Invalid function '")
        && let Some((name, _)) = rest.split_once('\'')
    {
        return format!("function {name} does not exist");
    }
    tidy(message)
}

/// "Column in SELECT must be in GROUP BY or an aggregate function: …: Column "t.v" must appear …".
fn grouping(message: &str) -> String {
    let column = message.split('"').nth(1).map(shown);
    match column {
        Some(column) => {
            format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function")
        }
        None => tidy(message),
    }
}

fn of_execution(message: &str) -> Error {
    let has = |words: &str| message.contains(words);
    if let Some(error) = of_clause(message) {
        return error;
    }
    let state = if has("returned more than one row") || has("more than one row") {
        return error!(CardinalityViolation, "more than one row returned by a subquery used as an expression");
    } else if has("overflow") || has("out of range") {
        SqlState::NumericValueOutOfRange
    } else if has("ivide by zero") || has("ivision by zero") {
        return error!(DivisionByZero, "division by zero");
    } else if has("not supported") || has("nsupported") {
        SqlState::FeatureNotSupported
    } else if has("parsing timestamp") || has("to_timestamp") {
        SqlState::InvalidDatetimeFormat
    } else if has("No value found for placeholder") || has("laceholder") {
        SqlState::UndefinedParameter
    } else {
        SqlState::InvalidParameterValue
    };
    Error::new(state, tidy(message))
}

/// A name without what lowering added to keep it apart from its twins.
#[must_use]
pub fn shown(name: &str) -> &str {
    name.split('\u{1}').next().unwrap_or(name)
}

/// One line, without the marks that lowering puts into names.
fn tidy(message: &str) -> String {
    let line = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| *c != '\u{1}').collect::<String>().trim_end_matches('.').to_owned()
}
