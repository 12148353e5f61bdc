//! Turns columns into few bytes and back: one encoding per vector of 1,024 values, chosen by a cheap estimate.
//!
//! ```text
//! column  format u8 | bytes of each vector: varint × vectors | vector …
//! vector  cells u8 (1: has NULLs, 2: has absent cells) | rest
//! rest    validity bitset | absent bitset | values of the valid cells
//! ```
//!
//! Format 2 is what the general stage makes: where `cells` has 4, `rest` is its length as a varint and a zstd frame of it.
//!
//! Every vector is decodable alone. Start reading at [`encode_column`] and [`decode_column`]; what each kind of value
//! becomes is said at the top of its file: [`int`], [`wide`], [`float`], [`text`], [`bitset`].
//!
//! Bytes that are read are never trusted: whatever they say, the outcome is a value or [`Corrupt`], and nothing is
//! allocated beyond [`ROWS_MAX`] values and [`VECTOR_BYTES_MAX`] bytes of text per vector.

mod bitset;
pub(crate) mod bytes;
mod coding;
mod column;
mod corrupt;
mod float;
pub(crate) mod int;
mod packing;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod wide;

pub use coding::Coding;
pub use column::{decode_column, decode_longs, describe_column, encode_column, encode_longs};
pub(crate) use column::{encode_column_as, encode_longs_as};
pub(crate) use column::{natives, valid_cells};
pub use corrupt::Corrupt;

/// Values in a vector: the unit that is encoded, and can be decoded, alone.
pub const VECTOR_ROWS: usize = 1024;

/// Most rows in one column, hence in a block.
pub const ROWS_MAX: usize = 4 * VECTOR_ROWS;

/// Most bytes of text or binary in one vector, and so the most that a reader allocates on the word of stored bytes.
pub const VECTOR_BYTES_MAX: usize = 32 << 20;
