//! Values as PostgreSQL's text: `CAST(x AS text)`, and arguments of functions that take anything.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;

use super::scalar::{Call, external};
use crate::pgtype::PgType;
use crate::pgvalue::{OidNames, ValueSettings, text_of};

/// The text of one value, None for NULL.
pub(super) fn show(call: &Call<'_>, array: &ArrayRef, field: &Field, row: usize) -> Result<Option<String>> {
    if array.is_null(row) {
        return Ok(None);
    }
    if let DataType::Utf8 = array.data_type() {
        return Ok(Some(array.as_string::<i32>().value(row).to_owned()));
    }
    text_of(array, row, PgType::of(field), &settings(call)?).map_err(external)
}

/// How the session prints values.
pub(super) fn settings(call: &Call<'_>) -> Result<Arc<ValueSettings>> {
    let oid_names = call.session.map(|session| Arc::clone(session) as Arc<dyn OidNames>);
    let values = call.session.map_or_else(ValueSettings::default, |session| session.settings.now().values());
    Ok(Arc::new(ValueSettings { time_zone: call.zone()?, oid_names, ..values }))
}
