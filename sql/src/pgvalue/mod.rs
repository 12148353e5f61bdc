//! Values on their way to and from a PostgreSQL client: Arrow arrays to text and binary as PostgreSQL 15 prints them,
//! parameters to DataFusion's scalars, rows to COPY data.
//!
//! Pure: no sockets, no catalogs, no clock. Start reading at [`RowEncoder`] for results and [`decode`] for parameters.

mod copy_out;
mod decode;
mod decode_time;
mod encode;
mod fast;
mod list;
mod number;
mod settings;
#[cfg(test)]
mod tests;
mod time;
mod zone;

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::scalar::ScalarValue;
use model::{Error, Result};

pub use copy_out::CopyEncoder;
pub use decode::decode;
pub use encode::full_name;
pub use settings::{DateOrder, DateStyle, IntervalStyle, OidNames, ValueSettings, parse_date_style};
pub use zone::{TimeZone, ZoneOffset};

use crate::pgtype::PgType;
use encode::{ColumnEncoder, Target};

/// Writes the rows of one result: what each column is made of is decided once per batch, not per cell.
pub struct RowEncoder {
    columns: Vec<Target>,
}

/// The rows of one batch, ready to be written: made by [`RowEncoder::batch`].
pub struct BatchEncoder {
    columns: Vec<ColumnEncoder>,
}

impl RowEncoder {
    /// For rows of these columns: the type on the wire, and whether in binary format.
    #[must_use]
    pub fn new(columns: Vec<(PgType, bool)>, settings: Arc<ValueSettings>) -> Self {
        let target = |(pg_type, binary)| Target { pg_type, binary, settings: Arc::clone(&settings) };
        Self { columns: columns.into_iter().map(target).collect() }
    }

    /// Prepares one batch of as many columns.
    ///
    /// # Errors
    ///
    /// `InternalError` if the columns are others in number, or cannot be shown as the type on the wire.
    pub fn batch(&self, batch: &RecordBatch) -> Result<BatchEncoder> {
        if batch.num_columns() != self.columns.len() {
            return Err(Error::internal(format!(
                "a batch has {} columns, its description {}",
                batch.num_columns(),
                self.columns.len()
            )));
        }
        let pairs = batch.columns().iter().zip(&self.columns);
        let columns = pairs.map(|(array, target)| encode::column(array, target)).collect::<Result<_>>()?;
        Ok(BatchEncoder { columns })
    }
}

impl BatchEncoder {
    /// Appends the body of a DataRow message: the number of columns, then each value with its length before it.
    ///
    /// # Errors
    ///
    /// `NumericValueOutOfRange` or `DatetimeFieldOverflow` if a value does not fit its type on the wire.
    pub fn data_row(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        out.put_u16(self.columns.len() as u16);
        for column in &self.columns {
            column.put_sized(row, out)?;
        }
        Ok(())
    }

    /// The columns, for other frames than DataRow.
    fn columns(&self) -> &[ColumnEncoder] {
        &self.columns
    }
}

/// The text of one value as a client would see it; None for NULL. For casts to text.
///
/// # Errors
///
/// `InternalError` if the array cannot be shown as `pg_type`.
pub fn text_of(array: &ArrayRef, row: usize, pg_type: PgType, settings: &Arc<ValueSettings>) -> Result<Option<String>> {
    let target = Target { pg_type, binary: false, settings: Arc::clone(settings) };
    let column = encode::column(&array.slice(row, 1), &target)?;
    if column.is_null(0) {
        return Ok(None);
    }
    let mut out = BytesMut::new();
    column.put(0, &mut out)?;
    String::from_utf8(out.to_vec()).map(Some).map_err(Error::internal)
}

/// The text of a scalar as a client would see it; None for NULL.
///
/// # Errors
///
/// As [`text_of`].
pub fn scalar_text(value: &ScalarValue, settings: &Arc<ValueSettings>) -> Result<Option<String>> {
    let array = value.to_array().map_err(Error::internal)?;
    text_of(&array, 0, PgType::of_arrow(array.data_type()), settings)
}
