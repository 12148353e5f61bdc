//! Arrays as PostgreSQL has them, and the functions that [`crate::compat`] puts in the place of its constructs.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int32Array, Int32Builder, ListArray, StringBuilder, StructArray,
    UInt32Builder, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Call, external};
use super::text::show;
use super::whole::Whole;
use crate::catalogs::relations::field;
use crate::pgtype::PgType;
use crate::pgvalue::OidNames as _;

/// The mark that compat puts around what is written in VALUES.
pub(crate) mod given {
    /// The function's name. With a second argument it has no type of its own until the plan is coerced.
    pub(crate) const NAME: &str = "pg_given";
}

/// `CAST(x AS text)`.
pub(crate) fn text_function() -> &'static Arc<ScalarUDF> {
    static TEXT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Whole::udf("pg_text", text_type, to_text)));
    &TEXT
}

fn given_type(fields: &[FieldRef]) -> Result<FieldRef> {
    let data_type = match fields {
        [only] => only.data_type().clone(),
        _ => DataType::Null,
    };
    Ok(Arc::new(Field::new("given", data_type, true)))
}

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Whole::udf("array_length", int4, |_, args, count, _| lengths(args, count, |n| (n > 0).then_some(n))),
        Whole::udf("array_upper", int4, |_, args, count, _| lengths(args, count, |n| (n > 0).then_some(n))),
        Whole::udf("array_lower", int4, |_, args, count, _| lengths(args, count, |n| (n > 0).then_some(1))),
        Whole::udf("cardinality", int4, |_, args, count, _| lengths(&args[..1], count, Some)),
        Whole::udf("pg_subscripts", subscripts_type, subscripts),
        Whole::udf("pg_any", bool_type, any),
        Whole::udf("pg_only", only_type, only),
        Whole::udf("pg_unequal", unequal_type, unequal),
        Whole::udf("pg_array", same_type, filled),
        Whole::udf("pg_expandarray", expand_type, expand),
        Whole::udf("pg_names", texts_type, names_of),
        Whole::udf("pg_typeof", regtype, type_of),
        text_function().as_ref().clone(),
        Whole::udf(given::NAME, given_type, |_, args, _, _| Ok(Arc::clone(&args[0]))),
    ]
}

fn int4(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("length", PgType::INT4, true)))
}

fn bool_type(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("any", PgType::BOOL, true)))
}

fn text_type(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("text", PgType::TEXT, true)))
}

fn regtype(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("pg_typeof", PgType::REGTYPE, true)))
}

/// The list in an argument; None for the untyped NULL.
fn list(array: &ArrayRef) -> Result<Option<ListArray>> {
    match array.data_type() {
        DataType::Null => Ok(None),
        DataType::List(_) => Ok(Some(array.as_list::<i32>().clone())),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::ListView(item) => {
            let array = cast(array, &DataType::List(Arc::clone(item)))?;
            Ok(Some(array.as_list::<i32>().clone()))
        }
        other => exec_err!("{other} is no array"),
    }
}

/// Something of the length of each array. A second argument is the dimension, of which there is one.
fn lengths(args: &[ArrayRef], count: usize, of: fn(i32) -> Option<i32>) -> Result<ArrayRef> {
    let Some(lists) = list(&args[0])? else { return Ok(Arc::new(Int32Array::new_null(count))) };
    let dimension = match args.get(1) {
        Some(array) => Some(cast(array, &DataType::Int64)?),
        None => None,
    };
    let first = |row: usize| {
        let Some(dimension) = &dimension else { return true };
        dimension.is_valid(row) && dimension.as_primitive::<arrow::datatypes::Int64Type>().value(row) == 1
    };
    let value = |row: usize| {
        let length = (lists.is_valid(row) && first(row)).then(|| lists.value_length(row))?;
        of(length)
    };
    Ok(Arc::new((0..count).map(value).collect::<Int32Array>()))
}

fn subscripts_type(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("subscripts", PgType::from_oid(PgType::INT4.array).unwrap_or(PgType::TEXT), true)))
}

/// `generate_subscripts(array, 1)` as a list: 1 to the length. Vectors count from 0, as PostgreSQL's.
fn subscripts(call: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let lists = list(&args[0])?;
    let base = i32::from(!is_vector(call.fields.first()));
    let mut offsets = vec![0];
    let mut values = Int32Builder::new();
    for row in 0..count {
        let length = lists.as_ref().filter(|lists| lists.is_valid(row)).map_or(0, |lists| lists.value_length(row));
        (0..length).for_each(|at| values.append_value(at + base));
        offsets.push(offsets[row] + length);
    }
    let DataType::List(item) = of.data_type() else { return exec_err!("subscripts are a list") };
    Ok(Arc::new(ListArray::new(item.clone(), OffsetBuffer::new(offsets.into()), Arc::new(values.finish()), None)))
}

/// Whether an argument is an `int2vector` or `oidvector`, whose subscripts start at 0.
fn is_vector(field: Option<&FieldRef>) -> bool {
    field.is_some_and(|field| matches!(PgType::of(field), PgType::INT2VECTOR | PgType::OIDVECTOR))
}

/// `x = ANY(array)`: the array may be a list or the text of one, `{a,b}`. Values are compared as text.
fn any(call: &Call<'_>, args: &[ArrayRef], count: usize, _: &FieldRef) -> Result<ArrayRef> {
    let [needle, hay] = args else { return exec_err!("= ANY takes a value and an array") };
    let mut out = BooleanBuilder::with_capacity(count);
    let lists = if hay.data_type() == &DataType::Utf8 { None } else { list(hay)? };
    let item = match hay.data_type() {
        DataType::List(item) => Arc::clone(item),
        _ => Arc::new(Field::new("item", DataType::Utf8, true)),
    };
    for row in 0..count {
        let wanted = show(call, needle, &call.fields[0], row)?;
        let members = match &lists {
            _ if hay.is_null(row) => None,
            Some(lists) => {
                let values = lists.value(row);
                let all: Result<Vec<_>> = (0..values.len()).map(|at| show(call, &values, &item, at)).collect();
                Some(all?)
            }
            None if hay.data_type() == &DataType::Utf8 => Some(parse_array(hay.as_string::<i32>().value(row))?),
            None => None,
        };
        out.append_option(match (wanted, members) {
            (Some(wanted), Some(members)) => {
                let found = members.iter().any(|member| member.as_deref() == Some(wanted.as_str()));
                if found { Some(true) } else { (!members.contains(&None)).then_some(false) }
            }
            (None, Some(members)) if members.is_empty() => Some(false),
            _ => None,
        });
    }
    Ok(Arc::new(out.finish()))
}

/// The members of a one-dimensional array literal such as `{a,"b c",NULL}`.
pub(crate) fn parse_array(text: &str) -> Result<Vec<Option<String>>> {
    let bad = || external(model::error!(InvalidTextRepresentation, "malformed array literal: \"{text}\""));
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(bad)?;
    let mut members = Vec::new();
    let mut chars = inner.chars().peekable();
    if inner.trim().is_empty() {
        return Ok(members);
    }
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut member = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        loop {
            match chars.peek() {
                Some('"') if quoted => break,
                Some(',') | None if !quoted => break,
                Some('{' | '}' | '"') if !quoted => return Err(bad()),
                None => return Err(bad()),
                Some('\\') => {
                    chars.next();
                    member.push(chars.next().ok_or_else(bad)?);
                }
                Some(&c) => {
                    member.push(c);
                    chars.next();
                }
            }
        }
        if quoted {
            chars.next();
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            members.push(Some(member));
        } else {
            let member = member.trim_end();
            members.push((!member.eq_ignore_ascii_case("null")).then(|| member.to_owned()));
        }
        match chars.next() {
            Some(',') => {}
            None => return Ok(members),
            Some(_) => return Err(bad()),
        }
    }
}

fn only_type(fields: &[FieldRef]) -> Result<FieldRef> {
    match fields.first().map(|field| field.data_type()) {
        Some(DataType::List(item)) => Ok(Arc::new(item.as_ref().clone().with_nullable(true))),
        Some(DataType::Null) => text_type(fields),
        _ => plan_err!("a subquery's rows are gathered as a list"),
    }
}

/// The only member of each array, NULL if there is none: a correlated subquery whose rows were gathered.
fn only(_: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let Some(lists) = list(&args[0])? else { return Ok(arrow::array::new_null_array(of.data_type(), count)) };
    let mut indices = UInt32Builder::with_capacity(count);
    for row in 0..count {
        match if lists.is_valid(row) { lists.value_length(row) } else { 0 } {
            0 => indices.append_null(),
            1 => indices.append_value(lists.value_offsets()[row] as u32),
            _ => {
                return Err(external(model::error!(
                    CardinalityViolation,
                    "more than one row returned by a subquery used as an expression"
                )));
            }
        }
    }
    Ok(take(lists.values(), &indices.finish(), None)?)
}

/// The list of `v` in a list of structs (v, k).
fn unequal_type(fields: &[FieldRef]) -> Result<FieldRef> {
    if let Some(DataType::List(item)) = fields.first().map(|field| field.data_type())
        && let DataType::Struct(parts) = item.data_type()
    {
        let item = Field::new("item", parts[0].data_type().clone(), true);
        return Ok(Arc::new(Field::new("values", DataType::List(Arc::new(item)), true)));
    }
    plan_err!("pg_unequal takes pairs")
}

/// Of each list of pairs (v, k) the v whose k is not the second argument: a subquery's condition `outer <> inner`.
fn unequal(call: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let (Some(lists), DataType::List(item)) = (list(&args[0])?, of.data_type()) else {
        return exec_err!("pg_unequal takes pairs");
    };
    let pairs = lists.values().as_struct();
    let key = Arc::new(Field::new("k", pairs.column(1).data_type().clone(), true));
    let mut indices = UInt32Builder::new();
    let mut lengths = Vec::with_capacity(count);
    for row in 0..count {
        let outer = show(call, &args[1], &call.fields[1], row)?;
        let offsets = lists.value_offsets();
        let range = if lists.is_valid(row) { offsets[row]..offsets[row + 1] } else { 0..0 };
        let mut kept = 0;
        for at in range {
            let inner = show(call, pairs.column(1), &key, at as usize)?;
            if inner.is_some() && outer.is_some() && inner != outer {
                indices.append_value(at as u32);
                kept += 1;
            }
        }
        lengths.push(kept);
    }
    let values = take(pairs.column(0), &indices.finish(), None)?;
    Ok(Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), values, None)))
}

fn same_type(fields: &[FieldRef]) -> Result<FieldRef> {
    match fields.first() {
        Some(field) => Ok(Arc::new(field.as_ref().clone().with_nullable(true))),
        None => plan_err!("pg_array takes an array"),
    }
}

/// `ARRAY(subquery)` of no rows is an empty array, not NULL.
fn filled(_: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let Some(lists) = list(&args[0])? else { return Ok(Arc::clone(&args[0])) };
    let DataType::List(item) = of.data_type() else { return exec_err!("ARRAY() is a list") };
    if lists.null_count() == 0 {
        return Ok(Arc::new(lists));
    }
    let rows: Vec<_> = (0..count)
        .map(|row| if lists.is_valid(row) { lists.value(row) } else { new_empty_array(item.data_type()) })
        .collect();
    let parts: Vec<&dyn Array> = rows.iter().map(|row| row.as_ref() as &dyn Array).collect();
    let values = if parts.is_empty() { new_empty_array(item.data_type()) } else { arrow::compute::concat(&parts)? };
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.len()));
    Ok(Arc::new(ListArray::new(item.clone(), offsets, values, None)))
}

fn pair_fields(value: &DataType) -> Fields {
    Fields::from(vec![Field::new("x", value.clone(), true), Field::new("n", DataType::Int32, true)])
}

fn expand_type(fields: &[FieldRef]) -> Result<FieldRef> {
    let value = match fields.first().map(|field| field.data_type()) {
        Some(DataType::List(item)) => item.data_type().clone(),
        _ => DataType::Int16,
    };
    let item = Field::new("item", DataType::Struct(pair_fields(&value)), true);
    Ok(Arc::new(Field::new("_pg_expandarray", DataType::List(Arc::new(item)), true)))
}

/// `information_schema._pg_expandarray` as a list of (x, n): the members and their numbers from 1.
fn expand(_: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let DataType::List(item) = of.data_type() else { return exec_err!("_pg_expandarray is a list") };
    let Some(lists) = list(&args[0])? else { return Ok(arrow::array::new_null_array(of.data_type(), count)) };
    let mut numbers = Vec::new();
    let mut indices = UInt32Builder::new();
    let mut lengths = Vec::with_capacity(count);
    for row in 0..count {
        let length = if lists.is_valid(row) { lists.value_length(row) } else { 0 };
        let start = lists.value_offsets()[row];
        for at in 0..length {
            indices.append_value((start + at) as u32);
            numbers.push(at + 1);
        }
        lengths.push(length as usize);
    }
    let values = take(lists.values(), &indices.finish(), None)?;
    let DataType::Struct(fields) = item.data_type() else { return exec_err!("_pg_expandarray gives pairs") };
    let pairs = StructArray::try_new(fields.clone(), vec![values, Arc::new(Int32Array::from(numbers))], None)?;
    Ok(Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), Arc::new(pairs), None)))
}

fn texts_type(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("names", PgType::from_oid(PgType::TEXT.array).unwrap_or(PgType::TEXT), true)))
}

/// Arrays of oids as arrays of the names that `regtype[]` and the like print.
fn names_of(call: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let Some(lists) = list(&args[0])? else { return Ok(arrow::array::new_null_array(of.data_type(), count)) };
    let DataType::List(item) = of.data_type() else { return exec_err!("names are a list") };
    let values = cast(lists.values(), &DataType::Int64)?;
    let oids = values.as_primitive::<arrow::datatypes::Int64Type>();
    let kind = match args.get(1).map(|kind| kind.as_string::<i32>()).filter(|kinds| !kinds.is_empty()) {
        Some(kinds) => crate::catalogs::relations::type_named(kinds.value(0)).unwrap_or(PgType::REGTYPE),
        None => PgType::REGTYPE,
    };
    let mut out = StringBuilder::new();
    for oid in oids {
        let oid = oid.and_then(|oid| u32::try_from(oid).ok());
        let name = |oid| call.session.and_then(|session| session.as_ref().name(kind, oid));
        out.append_option(oid.map(|oid| name(oid).unwrap_or_else(|| oid.to_string())));
    }
    let nulls = lists.nulls().cloned();
    Ok(Arc::new(ListArray::new(item.clone(), lists.offsets().clone(), Arc::new(out.finish()), nulls)))
}

fn type_of(call: &Call<'_>, _: &[ArrayRef], count: usize, _: &FieldRef) -> Result<ArrayRef> {
    let oid = call.fields.first().map_or(0, |field| match field.data_type() {
        DataType::Null => PgType::UNKNOWN.oid,
        _ => PgType::of(field).oid,
    });
    let oid = i32::try_from(oid).unwrap_or_default();
    Ok(Arc::new(Int32Array::from(vec![oid; count])))
}

/// `CAST(x AS text)`, as PostgreSQL prints x.
fn to_text(call: &Call<'_>, args: &[ArrayRef], count: usize, _: &FieldRef) -> Result<ArrayRef> {
    let array = &args[0];
    match array.data_type() {
        DataType::Utf8 if PgType::of(&call.fields[0]) == PgType::BPCHAR => {
            let bare = |text: Option<&str>| text.map(|text| text.trim_end_matches(' ').to_owned());
            return Ok(Arc::new(array.as_string::<i32>().iter().map(bare).collect::<arrow::array::StringArray>()));
        }
        DataType::Utf8 => return Ok(Arc::clone(array)),
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => return Ok(cast(array, &DataType::Utf8)?),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Boolean
            if !is_reg(&call.fields[0]) =>
        {
            return Ok(cast(array, &DataType::Utf8)?);
        }
        _ => {}
    }
    let mut out = StringBuilder::with_capacity(count, count * 8);
    let settings = super::text::settings(call)?;
    let of = PgType::of(&call.fields[0]);
    for row in 0..count {
        out.append_option(crate::pgvalue::text_of(array, row, of, &settings).map_err(external)?);
    }
    Ok(Arc::new(out.finish()))
}

fn is_reg(field: &FieldRef) -> bool {
    matches!(PgType::of(field), PgType::REGCLASS | PgType::REGTYPE | PgType::REGPROC | PgType::REGNAMESPACE)
}
