//! Numerics as Arrow decimals: how many digits a type has, and how many of them a value shows.
//!
//! A PostgreSQL numeric carries its own scale, an Arrow decimal has that of its type. Where one scale is right for every
//! value the type has just that ([`Shown::All`]). Where it differs from value to value (a column of `1` and `2.5`, a
//! division) the type is a Decimal256 of one of two scales that nothing else uses, and the values print fewer digits than
//! it has. The type itself says so, because metadata does not survive every plan; what is always shown is in its precision.
//!
//! Start reading at [`Shape`].

use datafusion::arrow::datatypes::{DataType, i256};

/// Digits of a Decimal128.
const NARROW: u8 = 38;
/// Digits of a Decimal256.
const WIDE: u8 = 76;
/// The scale of numerics that show only as many digits as they need.
const FREE_SCALE: u8 = 28;
/// The scale of quotients, which show at least sixteen significant digits.
const QUOTIENT_SCALE: u8 = 29;
/// The most digits that a free numeric or a quotient may always show.
const MIN_SHOWN_MAX: u8 = 20;
/// PostgreSQL's NUMERIC_MIN_SIG_DIGITS.
const SIGNIFICANT: i32 = 16;

/// How many digits behind the point the values of a type show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All that the scale has.
    All,
    /// No trailing zeros beyond this many digits.
    Free(u8),
    /// As PostgreSQL's division: four digits fewer for every four before the point, and at least this many.
    Quotient(u8),
}

/// The digits of a numeric type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Digits before the point.
    pub whole: u8,
    /// Digits behind it.
    pub scale: u8,
    /// How many of those are shown.
    pub shown: Shown,
}

impl Shape {
    /// A numeric whose scale is not known when the query is planned.
    pub const FREE: Self = Self { whole: WIDE - FREE_SCALE, scale: FREE_SCALE, shown: Shown::Free(0) };

    /// A type of so many digits, all of which are shown.
    #[must_use]
    pub const fn fixed(whole: u8, scale: u8) -> Self {
        Self { whole, scale, shown: Shown::All }
    }

    /// The digits of an exact number type; None for other types.
    #[must_use]
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Int8 | DataType::UInt8 => Self::fixed(3, 0),
            DataType::Int16 | DataType::UInt16 => Self::fixed(5, 0),
            DataType::Int32 | DataType::UInt32 => Self::fixed(10, 0),
            DataType::Int64 => Self::fixed(19, 0),
            DataType::UInt64 => Self::fixed(20, 0),
            DataType::Decimal256(precision, scale) => {
                let shown = shown(data_type);
                let whole = if shown == Shown::All { precision.saturating_sub(digits(*scale)) } else { WIDE };
                Self { whole: whole.min(WIDE - digits(*scale)), scale: digits(*scale), shown }
            }
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => {
                let whole = i16::from(*precision) - i16::from(*scale);
                Self::fixed(u8::try_from(whole).unwrap_or(0), digits(*scale))
            }
            _ => return None,
        })
    }

    /// The Arrow type with these digits, as near as there is one.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self.shown {
            Shown::Free(least) if self.scale == FREE_SCALE => DataType::Decimal256(WIDE - least, FREE_SCALE as i8),
            Shown::Quotient(least) if self.scale == QUOTIENT_SCALE => {
                DataType::Decimal256(WIDE - least, QUOTIENT_SCALE as i8)
            }
            _ => {
                let scale = self.scale.min(WIDE);
                let precision = self.whole.saturating_add(scale).clamp(1, WIDE);
                if precision <= NARROW {
                    DataType::Decimal128(precision, scale as i8)
                } else {
                    DataType::Decimal256(precision, scale as i8)
                }
            }
        }
    }

    /// Holds the values of both, each shown as it was.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let whole = self.whole.max(other.whole);
        if self.shown == Shown::All && other.shown == Shown::All && self.scale == other.scale {
            return Self::fixed(whole, self.scale);
        }
        match (self.shown, other.shown) {
            (Shown::Quotient(a), Shown::Quotient(b)) => Self::quotient_of(a.min(b)),
            // Whole numbers beside quotients show like them: PostgreSQL would show none of the zeros.
            (Shown::Quotient(a), _) | (_, Shown::Quotient(a)) => Self::quotient_of(a),
            _ => Self::free_of(whole, self.least().min(other.least()), self.scale.max(other.scale)),
        }
    }

    /// The digits that every value shows.
    fn least(self) -> u8 {
        match self.shown {
            Shown::All => self.scale,
            Shown::Free(least) | Shown::Quotient(least) => least,
        }
    }

    fn free_of(whole: u8, least: u8, scale: u8) -> Self {
        if scale > FREE_SCALE || whole > WIDE - FREE_SCALE {
            return Self::fixed(whole, scale);
        }
        Self { whole, scale: FREE_SCALE, shown: Shown::Free(least.min(MIN_SHOWN_MAX)) }
    }

    fn quotient_of(least: u8) -> Self {
        Self { whole: WIDE - QUOTIENT_SCALE, scale: QUOTIENT_SCALE, shown: Shown::Quotient(least.min(MIN_SHOWN_MAX)) }
    }

    /// Of `a + b` and `a - b`.
    #[must_use]
    pub fn sum(self, other: Self) -> Self {
        let (whole, scale) = (self.whole.max(other.whole).saturating_add(1).min(WIDE), self.scale.max(other.scale));
        self.combined(other, whole, scale, self.least().max(other.least()))
    }

    /// Of `a * b`.
    #[must_use]
    pub fn product(self, other: Self) -> Self {
        let (whole, scale) = (self.whole.saturating_add(other.whole).min(WIDE), self.scale.saturating_add(other.scale));
        self.combined(other, whole, scale, self.least().saturating_add(other.least()))
    }

    /// Of `a % b`.
    #[must_use]
    pub fn remainder(self, other: Self) -> Self {
        let (whole, scale) = (self.whole.max(other.whole), self.scale.max(other.scale));
        self.combined(other, whole, scale, self.least().max(other.least()))
    }

    /// Of `a / b`.
    #[must_use]
    pub fn quotient(self, other: Self) -> Self {
        let least = self.least().max(other.least());
        if least > MIN_SHOWN_MAX {
            return Self::fixed(WIDE - least.min(WIDE - 1), least);
        }
        Self::quotient_of(least)
    }

    fn combined(self, other: Self, whole: u8, scale: u8, least: u8) -> Self {
        match (self.shown, other.shown) {
            (Shown::All, Shown::All) => {
                let scale = scale.min(WIDE - 1);
                Self::fixed(whole.min(WIDE - scale), scale)
            }
            (Shown::Quotient(_), _) | (_, Shown::Quotient(_)) => Self::quotient_of(least),
            _ if least > MIN_SHOWN_MAX => Self::fixed(WIDE - least.min(WIDE - 1), least),
            _ => Self { whole: WIDE - FREE_SCALE, scale: FREE_SCALE, shown: Shown::Free(least) },
        }
    }
}

fn digits(scale: i8) -> u8 {
    u8::try_from(scale).unwrap_or(0)
}

/// How many digits the values of a decimal type show.
#[must_use]
pub fn shown(data_type: &DataType) -> Shown {
    match data_type {
        DataType::Decimal256(precision, scale) if *precision >= WIDE - MIN_SHOWN_MAX => match digits(*scale) {
            FREE_SCALE => Shown::Free(WIDE - precision),
            QUOTIENT_SCALE => Shown::Quotient(WIDE - precision),
            _ => Shown::All,
        },
        _ => Shown::All,
    }
}

/// The digits behind the point that one value shows, given by its unscaled decimal digits without sign.
#[must_use]
pub fn shown_scale(shown: Shown, unscaled: &str, scale: usize) -> usize {
    let least = match shown {
        Shown::All => return scale,
        Shown::Free(least) => usize::from(least),
        Shown::Quotient(least) => {
            let by_weight = SIGNIFICANT - 4 * weight(unscaled.trim_start_matches('0').len(), scale);
            usize::from(least).max(usize::try_from(by_weight).unwrap_or(0))
        }
    };
    let zeros = unscaled.bytes().rev().take_while(|digit| *digit == b'0').count();
    let needed = if zeros == unscaled.len() { 0 } else { scale.saturating_sub(zeros) };
    needed.max(least).min(scale)
}

/// The weight of the first of PostgreSQL's digits, which are of base 10000, in a value of so many decimal digits.
fn weight(digits: usize, scale: usize) -> i32 {
    // Zero counts as less than one.
    if digits == 0 { -1 } else { (digits as i32 - scale as i32 - 1).div_euclid(4) }
}

/// A power of ten.
#[must_use]
pub fn power_of_ten(exponent: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent)
}

/// `value` at another scale: halves are rounded away from zero, as PostgreSQL's numerics are. None if it is too large.
#[must_use]
pub fn rescaled(value: i256, from: u8, to: u8) -> Option<i256> {
    if to >= from {
        return value.checked_mul(power_of_ten(u32::from(to - from))?);
    }
    divided(value, power_of_ten(u32::from(from - to))?)
}

/// `value / by`, rounded half away from zero. None by zero.
#[must_use]
pub fn divided(value: i256, by: i256) -> Option<i256> {
    let whole = value.checked_div(by)?;
    let rest = value.checked_rem(by)?;
    let distance = rest.checked_abs()?;
    // The rest is less than the divisor, so that this cannot overflow where the division did not.
    let up = distance >= by.checked_abs()?.checked_sub(distance)?;
    if !up {
        return Some(whole);
    }
    let negative = (value < i256::ZERO) != (by < i256::ZERO);
    if negative { whole.checked_sub(i256::ONE) } else { whole.checked_add(i256::ONE) }
}

/// PostgreSQL's scale of `left / right` (select_div_scale), from their unscaled digits without sign and their scales.
#[must_use]
pub fn division_scale(left: (&str, usize), right: (&str, usize)) -> usize {
    let first = |(text, scale): (&str, usize)| -> (i32, u32) {
        let text = text.trim_start_matches('0');
        if text.is_empty() {
            return (0, 0);
        }
        let weight = weight(text.len(), scale);
        // The digits of the value from its first group of four.
        let before = (text.len() as i32 - scale as i32 - 4 * weight).clamp(1, 4) as usize;
        let mut group: String = text.chars().take(before).collect();
        group.extend(std::iter::repeat_n('0', before - group.len()));
        (weight, group.parse().unwrap_or(0))
    };
    let ((left_weight, left_first), (right_weight, right_first)) = (first(left), first(right));
    let weight = left_weight - right_weight - i32::from(left_first <= right_first);
    let scale = usize::try_from(SIGNIFICANT - 4 * weight).unwrap_or(0);
    scale.max(left.1).max(right.1)
}

/// The value of a double with the fifteen significant digits that PostgreSQL keeps of it (six of a real), at
/// [`Shape::FREE`]'s scale. None if it is too large or no number.
#[must_use]
pub fn of_float(value: f64, single: bool) -> Option<i256> {
    if !value.is_finite() {
        return None;
    }
    let text = if single { format!("{value:.5e}") } else { format!("{value:.14e}") };
    let (mantissa, exponent) = text.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len()) as i32;
    let unscaled = i256::from_i128(mantissa.replace('.', "").parse().ok()?);
    let shift = i32::from(FREE_SCALE) + exponent - fraction;
    if shift >= 0 {
        let value = unscaled.checked_mul(power_of_ten(shift as u32)?)?;
        let bound = power_of_ten(u32::from(WIDE))?;
        return (value < bound && value > bound.wrapping_neg()).then_some(value);
    }
    match power_of_ten(shift.unsigned_abs()) {
        Some(by) => divided(unscaled, by),
        None => Some(i256::ZERO),
    }
}

/// The unscaled value of decimal text such as `-12.50e3` with its scale; None if it is no number or has too many digits.
#[must_use]
pub fn parse(text: &str) -> Option<(i256, u8)> {
    use datafusion::scalar::ScalarValue;
    match crate::pgvalue::decode(crate::pgtype::PgType::NUMERIC, false, text.as_bytes(), &Default::default()).ok()? {
        ScalarValue::Decimal128(Some(value), _, scale) => Some((i256::from_i128(value), digits(scale))),
        ScalarValue::Decimal256(Some(value), _, scale) => Some((value, digits(scale))),
        _ => None,
    }
}

/// How many decimal digits a value has; 1 for zero.
#[must_use]
pub fn digits_of(value: i256) -> u8 {
    match value.to_i128() {
        Some(narrow) => narrow.unsigned_abs().checked_ilog10().map_or(1, |log| log as u8 + 1),
        None => value.to_string().trim_start_matches('-').len() as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_have_postgres_scales() {
        // What PostgreSQL 15 shows of 1 / 3.0, 10 / 4.0, 10000 / 3.0, 3 / 3.0, 0 / 3.0, 1.000000000000000000001 / 1.
        let of = |a: &str, a_scale, b: &str, b_scale| division_scale((a, a_scale), (b, b_scale));
        assert_eq!(of("1", 0, "30", 1), 20);
        assert_eq!(of("10", 0, "40", 1), 16);
        assert_eq!(of("10000", 0, "30", 1), 16);
        assert_eq!(of("3", 0, "30", 1), 20);
        assert_eq!(of("0", 0, "30", 1), 20);
        assert_eq!(of("1000000000000000000001", 21, "1", 0), 21);
    }

    #[test]
    fn free_numerics_show_what_they_need() {
        assert_eq!(shown_scale(Shown::Free(0), "250", 2), 1);
        assert_eq!(shown_scale(Shown::Free(2), "250", 2), 2);
        assert_eq!(shown_scale(Shown::Free(0), "0", 2), 0);
        assert_eq!(shown_scale(Shown::Quotient(0), "25", 1), 1);
        assert_eq!(shown_scale(Shown::Quotient(0), &format!("25{}", "0".repeat(28)), 29), 16);
        assert_eq!(shown_scale(Shown::Quotient(0), &format!("5{}", "0".repeat(28)), 29), 20);
    }

    #[test]
    fn types_keep_what_is_shown() {
        let one = Shape::fixed(1, 0).union(Shape::fixed(1, 1));
        assert_eq!(shown(&one.arrow()), Shown::Free(0));
        assert_eq!(Shape::fixed(1, 1).union(Shape::fixed(3, 1)).arrow(), DataType::Decimal128(4, 1));
        assert_eq!(shown(&Shape::fixed(5, 2).quotient(Shape::fixed(10, 0)).arrow()), Shown::Quotient(2));
        assert_eq!(Shape::fixed(10, 0).product(Shape::fixed(1, 1)).arrow(), DataType::Decimal128(12, 1));
    }

    #[test]
    fn halves_round_away_from_zero() {
        let of = |n| i256::from_i128(n);
        assert_eq!(rescaled(of(25), 1, 0), Some(of(3)));
        assert_eq!(rescaled(of(-25), 1, 0), Some(of(-3)));
        assert_eq!(rescaled(of(24), 1, 0), Some(of(2)));
        assert_eq!(of_float(0.1, false), Some(of(10).checked_pow(27).unwrap()));
    }
}
