//! Values on their way to and from a PostgreSQL client: Arrow arrays to text and binary as PostgreSQL 15 prints them,
//! parameters to DataFusion's scalars, rows to COPY data.
//!
//! Pure: no sockets, no catalogs, no clock. Start reading at [`RowEncoder`] for results and [`decode`] for parameters.

mod settings;

use std::sync::Arc;

use bytes::BytesMut;
use datafusion::arrow::array::RecordBatch;
use datafusion::scalar::ScalarValue;
use model::Result;

pub use settings::{DateOrder, DateStyle, IntervalStyle, OidNames, TimeZone, ValueSettings, parse_date_style};

use crate::pgtype::PgType;

/// Writes rows of one result, column by column chosen once.
pub struct RowEncoder {
    columns: Vec<(PgType, bool)>,
    settings: Arc<ValueSettings>,
}

/// The encoders of one batch: [`RowEncoder::batch`].
pub struct BatchEncoder {}

impl RowEncoder {
    /// For rows of these columns: (type, whether in binary).
    #[must_use]
    pub fn new(columns: Vec<(PgType, bool)>, settings: Arc<ValueSettings>) -> Self {
        Self { columns, settings }
    }

    /// Prepares one batch.
    ///
    /// # Errors
    ///
    /// `InternalError` if an array cannot be shown as its column's type.
    pub fn batch(&self, _batch: &RecordBatch) -> Result<BatchEncoder> {
        let _ = (&self.columns, &self.settings);
        Err(model::Error::internal("not written yet"))
    }
}

impl BatchEncoder {
    /// Appends the body of a DataRow message: the number of columns, then each value with its length before it.
    ///
    /// # Errors
    ///
    /// `NumericValueOutOfRange` or `DatetimeFieldOverflow` if a value does not fit its type on the wire.
    pub fn data_row(&self, _row: usize, _out: &mut BytesMut) -> Result<()> {
        Ok(())
    }
}

/// Reads a parameter of type `pg_type` in text or binary format.
///
/// # Errors
///
/// `InvalidTextRepresentation`, `InvalidBinaryRepresentation`, `NumericValueOutOfRange`, `InvalidDatetimeFormat`,
/// `DatetimeFieldOverflow`.
pub fn decode(_pg_type: PgType, _binary: bool, _bytes: &[u8], _settings: &ValueSettings) -> Result<ScalarValue> {
    Err(model::Error::internal("not written yet"))
}
