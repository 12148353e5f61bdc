//! Row-wise scalar functions: one function pointer over [`Cell`]s, with the coercion, the null handling and the arrays
//! done here.
//!
//! Parameters are described by one letter each: `t` text, `i` int8, `f` float8, `b` bool, `z` timestamptz (microseconds),
//! `s` timestamp without zone (microseconds), `d` date (days), `a` anything, shown as PostgreSQL's text, `o` the same
//! with oids as numbers. What follows `?`
//! may be missing; `*` at the end repeats the last one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

pub(crate) use crate::catalogs::rows::Cell;
use crate::catalogs::rows::array;
use crate::catalogs::{CatalogContext, SessionExtension, relations};
use crate::pgtype::PgType;
use crate::pgvalue::TimeZone;

/// What a call knows besides its arguments.
pub(crate) struct Call<'a> {
    /// The session, if the caller planned with one.
    pub(crate) session: Option<&'a Arc<CatalogContext>>,
    /// The options of the query.
    pub(crate) options: &'a ConfigOptions,
    /// The fields of the arguments.
    pub(crate) fields: &'a [FieldRef],
}

impl Call<'_> {
    /// The session.
    pub(crate) fn context(&self) -> Result<&Arc<CatalogContext>> {
        self.session.ok_or_else(|| DataFusionError::Internal("this query was planned without a session".into()))
    }

    /// The session's time zone.
    pub(crate) fn zone(&self) -> Result<TimeZone> {
        zone(self.options)
    }
}

/// The session's time zone.
pub(crate) fn zone(options: &ConfigOptions) -> Result<TimeZone> {
    match &options.execution.time_zone {
        Some(name) => TimeZone::of_arrow_name(name).map_err(external),
        None => Ok(TimeZone::UTC),
    }
}

/// An error of this server inside DataFusion.
pub(crate) fn external(error: model::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The session in the options of a query.
pub(crate) fn session(options: &ConfigOptions) -> Option<&Arc<CatalogContext>> {
    options.extensions.get::<SessionExtension>()?.0.as_ref()
}

/// A row-wise function.
pub(crate) type Body = fn(&Call<'_>, &[Cell]) -> Result<Cell>;

/// A scalar function of PostgreSQL made of a [`Body`].
#[derive(Clone)]
pub(crate) struct Scalar {
    name: &'static str,
    aliases: Vec<String>,
    parameters: &'static str,
    returns: PgType,
    body: Body,
    strict: bool,
    signature: Signature,
}

impl Scalar {
    /// A function that gives NULL when an argument is NULL and the same result for the same arguments in one statement.
    pub(crate) fn new(name: &'static str, parameters: &'static str, returns: PgType, body: Body) -> Self {
        let signature = Signature::user_defined(Volatility::Stable);
        Self { name, aliases: Vec::new(), parameters, returns, body, strict: true, signature }
    }

    /// The same, for calls with NULL too.
    pub(crate) fn lenient(mut self) -> Self {
        self.strict = false;
        self
    }

    /// The same, evaluated anew for every row.
    pub(crate) fn volatile(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Volatile);
        self
    }

    /// The same, with more names.
    pub(crate) fn named(mut self, aliases: &[&str]) -> Self {
        self.aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        self
    }

    /// For the registry.
    pub(crate) fn udf(self) -> ScalarUDF {
        ScalarUDF::from(self)
    }

    /// The letter of each of `count` arguments, or None if the function does not take so many.
    fn letters(&self, count: usize) -> Option<Vec<char>> {
        let least = self.parameters.find('?').unwrap_or(self.parameters.trim_end_matches('*').len());
        let repeats = self.parameters.ends_with('*');
        let mut letters: Vec<char> = self.parameters.chars().filter(|c| !matches!(c, '?' | '*')).collect();
        if repeats {
            let last = *letters.last()?;
            while letters.len() < count {
                letters.push(last);
            }
        }
        let least = if repeats && !self.parameters.contains('?') { least - 1 } else { least };
        (least..=letters.len()).contains(&count).then(|| letters[..count].to_vec())
    }
}

impl std::fmt::Debug for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scalar {}

impl std::hash::Hash for Scalar {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(relations::arrow_type(self.returns))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(relations::field(self.name, self.returns, true)))
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let Some(letters) = self.letters(given.len()) else {
            return plan_err!("function {}() does not take {} arguments", self.name, given.len());
        };
        let one = |(letter, given): (char, &DataType)| match wanted(letter, given) {
            Some(wanted) => Ok(wanted),
            None => plan_err!("function {}() does not take an argument of type {given}", self.name),
        };
        letters.into_iter().zip(given).map(one).collect()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let call =
            Call { session: session(&args.config_options), options: &args.config_options, fields: &args.arg_fields };
        let letters = self.letters(args.args.len()).unwrap_or_default();
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if scalar && self.signature.volatility != Volatility::Volatile { 1 } else { args.number_rows };
        let arrays: Result<Vec<_>> = args.args.iter().map(|arg| arg.to_array(count)).collect();
        let arrays = arrays?;
        let mut results = Vec::with_capacity(count);
        let mut cells = vec![Cell::Null; arrays.len()];
        for row in 0..count {
            for ((cell, array), (letter, field)) in
                cells.iter_mut().zip(&arrays).zip(letters.iter().zip(&args.arg_fields))
            {
                *cell = read(&call, *letter, array, field, row)?;
            }
            let null = self.strict && cells.contains(&Cell::Null);
            results.push(if null { Cell::Null } else { (self.body)(&call, &cells)? });
        }
        let array = array(&args.return_field, &results).map_err(external)?;
        if scalar && count == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// The Arrow type that a parameter of this letter has; None if what is given would lose something in becoming it.
fn wanted(letter: char, given: &DataType) -> Option<DataType> {
    let text = matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null);
    let fits = match letter {
        'i' => given.is_integer(),
        'f' => given.is_numeric(),
        'b' => *given == DataType::Boolean,
        'z' | 's' | 'd' => given.is_temporal(),
        _ => true,
    };
    (fits || text).then(|| parameter_type(letter, given))
}

fn parameter_type(letter: char, given: &DataType) -> DataType {
    match letter {
        't' => DataType::Utf8,
        'i' => DataType::Int64,
        'f' => DataType::Float64,
        'b' => DataType::Boolean,
        'z' => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        's' => DataType::Timestamp(TimeUnit::Microsecond, None),
        'd' => DataType::Date32,
        _ if *given == DataType::Null => DataType::Utf8,
        _ => given.clone(),
    }
}

fn read(call: &Call<'_>, letter: char, array: &ArrayRef, field: &Field, row: usize) -> Result<Cell> {
    if array.is_null(row) {
        return Ok(Cell::Null);
    }
    Ok(match letter {
        't' => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        'i' => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        'f' => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        'b' => Cell::Bool(array.as_boolean().value(row)),
        'z' | 's' => Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        'o' if array.data_type().is_integer() => {
            let number = arrow::compute::cast(&array.slice(row, 1), &DataType::Int64)?;
            Cell::Text(number.as_primitive::<Int64Type>().value(0).to_string())
        }
        'd' => Cell::Int(i64::from(array.as_primitive::<Date32Type>().value(row))),
        _ => super::text::show(call, array, field, row)?.map_or(Cell::Null, Cell::Text),
    })
}

/// The text of an argument; the caller has said `t` or `a` of it.
pub(crate) fn text(cell: &Cell) -> Result<&str> {
    match cell {
        Cell::Text(text) => Ok(text),
        other => exec_err!("{other:?} is no text"),
    }
}

/// The number of an argument; the caller has said `i`, `z`, `s` or `d` of it.
pub(crate) fn int(cell: &Cell) -> Result<i64> {
    match cell {
        Cell::Int(value) => Ok(*value),
        other => exec_err!("{other:?} is no integer"),
    }
}

/// An oid among the arguments; one that no object has if it is out of range.
pub(crate) fn oid(cell: &Cell) -> Result<u32> {
    Ok(u32::try_from(int(cell)?).unwrap_or(u32::MAX))
}

/// The number of an argument; the caller has said `f` of it.
pub(crate) fn float(cell: &Cell) -> Result<f64> {
    match cell {
        Cell::Float(value) => Ok(*value),
        other => exec_err!("{other:?} is no number"),
    }
}

/// The truth value of an argument; the caller has said `b` of it.
pub(crate) fn bool(cell: &Cell) -> bool {
    *cell == Cell::Bool(true)
}
