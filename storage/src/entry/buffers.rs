//! The arrays of an entry: written as they are in memory, read as slices of the entry's bytes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, GenericByteArray, StringArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ByteArrayType, DataType as Arrow};
use bytes::Bytes;
use model::command::ChunkColumn;

use super::PLACE;
use super::head::HeadColumn;
use crate::Corrupt;

/// Buffers start at multiples of this.
const ALIGN: usize = 8;

/// Bytes of the text or binary that an array shows; 0 of other types.
pub(super) fn text_bytes(values: &ArrayRef) -> usize {
    match values.data_type() {
        Arrow::Utf8 => shown(values.as_string::<i32>()).1.len(),
        Arrow::Binary => shown(values.as_binary::<i32>()).1.len(),
        _ => 0,
    }
}

/// The first offset and the bytes of the rows of an array that may be a slice.
fn shown<T: ByteArrayType<Offset = i32>>(values: &GenericByteArray<T>) -> (i32, &[u8]) {
    let offsets = values.value_offsets();
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    (first, &values.value_data()[first as usize..last as usize])
}

/// Bytes of a fixed type.
fn width(arrow: &Arrow) -> Option<usize> {
    match arrow {
        Arrow::Boolean | Arrow::Utf8 | Arrow::Binary => None,
        other => other.primitive_width(),
    }
}

/// Where buffers are written to.
#[derive(Debug)]
pub(super) struct Target {
    out: Vec<u8>,
}

impl Target {
    /// Continues `out`.
    pub(super) fn new(out: Vec<u8>) -> Self {
        let mut target = Self { out };
        target.pad();
        target
    }

    /// All bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(ALIGN), 0);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.pad();
    }

    /// Appends numbers, little-endian.
    pub(super) fn put_numbers<T: Copy, const N: usize>(&mut self, numbers: &[T], bytes: impl Fn(T) -> [u8; N]) {
        let start = self.out.len();
        self.out.resize(start + numbers.len() * N, 0);
        for (target, number) in self.out[start..].as_chunks_mut::<N>().0.iter_mut().zip(numbers) {
            *target = bytes(*number);
        }
        self.pad();
    }

    fn put_bits(&mut self, bits: &BooleanBuffer) {
        self.put(&bits.sliced()[..bits.len().div_ceil(8)]);
    }

    fn put_text<T: ByteArrayType<Offset = i32>>(&mut self, values: &GenericByteArray<T>) {
        let (first, bytes) = shown(values);
        self.put_numbers(values.value_offsets(), |offset| (offset - first).to_le_bytes());
        self.put(bytes);
    }

    /// Appends what [`Source::take_column`] reads.
    pub(super) fn put_column(&mut self, column: &ChunkColumn) {
        let values = &column.values;
        if let Some(nulls) = values.nulls().filter(|nulls| nulls.null_count() > 0) {
            self.put_bits(nulls.inner());
        }
        if let Some(absent) = &column.absent {
            assert_eq!(absent.len(), values.len(), "column {} and its absent cells differ in length", column.id);
            self.put_bits(absent);
        }
        match values.data_type() {
            Arrow::Utf8 => self.put_text(values.as_string::<i32>()),
            Arrow::Binary => self.put_text(values.as_binary::<i32>()),
            Arrow::Boolean => self.put_bits(values.as_boolean().values()),
            arrow => {
                let width = width(arrow).expect("every type of a column is text, bytes, bits or of a fixed width");
                let data = values.to_data();
                let start = data.offset() * width;
                self.put(&data.buffers()[0].as_slice()[start..start + data.len() * width]);
            }
        }
    }
}

/// Where buffers are read from.
#[derive(Debug)]
pub(super) struct Source {
    bytes: Buffer,
    at: usize,
}

impl Source {
    /// The buffers after the first `head` bytes.
    pub(super) fn new(bytes: Bytes, head: usize) -> Self {
        Self { bytes: Buffer::from(bytes), at: head.next_multiple_of(ALIGN) }
    }

    /// Fails unless everything was read.
    pub(super) fn end(&self) -> Result<(), Corrupt> {
        let end = self.bytes.len().next_multiple_of(ALIGN);
        if self.at == end { Ok(()) } else { Err(Corrupt::damaged(PLACE, "it has bytes after its end")) }
    }

    /// The next `count * width` bytes, not copied.
    fn take(&mut self, count: usize, width: usize) -> Result<Buffer, Corrupt> {
        let end = count.checked_mul(width).and_then(|length| self.at.checked_add(length));
        match end {
            Some(end) if end <= self.bytes.len() => {
                let taken = self.bytes.slice_with_length(self.at, end - self.at);
                self.at = end.next_multiple_of(ALIGN);
                Ok(taken)
            }
            _ => Err(Corrupt::damaged(PLACE, "it ends early")),
        }
    }

    /// The next `count * width` bytes at an address that is a multiple of `align`, copied if they are not.
    fn take_aligned(&mut self, count: usize, width: usize, align: usize) -> Result<Buffer, Corrupt> {
        let taken = self.take(count, width)?;
        // Arrow's own buffers are aligned for every type.
        Ok(if taken.as_ptr().align_offset(align) == 0 { taken } else { Buffer::from(taken.as_slice()) })
    }

    /// The next `count` numbers.
    pub(super) fn take_numbers<T, const N: usize>(
        &mut self,
        count: usize,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Corrupt> {
        let bytes = self.take(count, N)?;
        Ok(bytes.as_slice().as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect())
    }

    fn take_bits(&mut self, count: usize) -> Result<BooleanBuffer, Corrupt> {
        Ok(BooleanBuffer::new(self.take(count.div_ceil(8), 1)?, 0, count))
    }

    fn take_offsets(&mut self, rows: usize, bytes: usize) -> Result<OffsetBuffer<i32>, Corrupt> {
        let buffer = self.take_aligned(rows + 1, 4, 4)?;
        let offsets = ScalarBuffer::<i32>::new(buffer, 0, rows + 1);
        let ascend = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascend || offsets[0] != 0 || offsets[rows] as usize != bytes {
            return Err(Corrupt::damaged(PLACE, "its text has other lengths"));
        }
        Ok(OffsetBuffer::new(offsets))
    }

    /// The values and absent bits of the next column.
    pub(super) fn take_column(
        &mut self,
        column: &HeadColumn,
        rows: usize,
    ) -> Result<(ArrayRef, Option<BooleanBuffer>), Corrupt> {
        let refused = |_| Corrupt::damaged(PLACE, "its text is not UTF-8");
        let nulls = if column.nulls { Some(NullBuffer::new(self.take_bits(rows)?)) } else { None };
        let absent = if column.absent { Some(self.take_bits(rows)?) } else { None };
        let arrow = column.data_type.arrow(column.precision);
        let bytes = usize::try_from(column.bytes).unwrap_or(usize::MAX);
        let values: ArrayRef = match &arrow {
            Arrow::Utf8 => {
                let offsets = self.take_offsets(rows, bytes)?;
                Arc::new(StringArray::try_new(offsets, self.take(bytes, 1)?, nulls).map_err(refused)?)
            }
            Arrow::Binary => {
                let offsets = self.take_offsets(rows, bytes)?;
                Arc::new(BinaryArray::try_new(offsets, self.take(bytes, 1)?, nulls).map_err(refused)?)
            }
            Arrow::Boolean => Arc::new(BooleanArray::new(self.take_bits(rows)?, nulls)),
            arrow => {
                let width = width(arrow).ok_or_else(|| Corrupt::damaged(PLACE, "a type has no width"))?;
                let buffer = self.take_aligned(rows, width, width)?;
                let data = ArrayData::builder(arrow.clone()).len(rows).add_buffer(buffer).nulls(nulls).build();
                make_array(data.map_err(|_| Corrupt::damaged(PLACE, "Arrow refuses its values"))?)
            }
        };
        Ok((values, absent))
    }
}
