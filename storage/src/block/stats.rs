//! Statistics of one column of one block, exact for the cells of the block.

use model::Value;

/// Statistics of one column.
///
/// They speak for the rows of the block alone: whoever answers from them makes sure that no tombstone, no other run and
/// no memtable row touches these rows, and that [`Statistics::usable`] holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Cells with a value.
    pub count: u32,
    /// Cells with an explicit NULL.
    pub nulls: u32,
    /// Cells that this block says nothing about: an older run may hold their value.
    pub absent: u32,
    /// Whether some value is NaN. NaN is left out of `min` and `max`, not of `sum`.
    pub nan: bool,
    /// Least value; of floats by IEEE 754's total order. None if there is none, or it is text or bytes too long to keep.
    pub min: Option<Value>,
    /// Greatest value; None as for `min`, and both are None or neither.
    pub max: Option<Value>,
    /// Sum of the values; None if the type has none (text, time, bytes) or it overflows (DECIMAL).
    pub sum: Option<Sum>,
    /// The cell of the block's first row, [`Value::Null`] if it is NULL or absent. None if the block has several series,
    /// or the value is too long to keep.
    pub first: Option<Value>,
    /// The cell of the block's last row, as `first`.
    pub last: Option<Value>,
}

impl Statistics {
    /// Whether they say all about the column: no cell is absent.
    #[must_use]
    pub const fn usable(&self) -> bool {
        self.absent == 0
    }
}

/// Sum of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sum {
    /// Of integers, truth values (how many are true), and the unscaled digits of a DECIMAL. Exact.
    Int(i128),
    /// Of floats, added in row order.
    Float(CompensatedSum),
}

/// Neumaier's sum: the same values in the same order give the same digits, and small terms are not lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CompensatedSum {
    /// The plain sum.
    pub sum: f64,
    /// What the plain sum lost.
    pub compensation: f64,
}

impl CompensatedSum {
    /// Adds one value.
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_finite() {
            self.compensation +=
                if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        }
        self.sum = sum;
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: Self) {
        self.add(other.sum);
        self.compensation += other.compensation;
    }

    /// The sum.
    #[must_use]
    pub fn value(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.compensation } else { self.sum }
    }
}
