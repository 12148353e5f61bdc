//! Turns columns into few bytes and back: one encoding per vector of 1,024 values, chosen by a cheap estimate.

mod corrupt;

pub use corrupt::Corrupt;

/// Values in a vector: the unit that is encoded, and can be decoded, alone.
pub const VECTOR_ROWS: usize = 1024;

/// Most rows in one column, hence in a block.
pub const ROWS_MAX: usize = 4 * VECTOR_ROWS;

/// Most bytes of text or binary in one vector, and so the most that a reader allocates on the word of stored bytes.
pub const VECTOR_BYTES_MAX: usize = 32 << 20;
