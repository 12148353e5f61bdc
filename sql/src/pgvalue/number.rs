//! Numbers as PostgreSQL prints them: floats with the fewest digits, numerics with every digit, and numeric's binary form.

use bytes::{BufMut, BytesMut};

/// Appends a double: `extra_float_digits` above 0 gives the fewest digits that read back the same.
pub(super) fn put_f64(out: &mut BytesMut, value: f64, extra_float_digits: i32) {
    if !put_special(out, value) {
        return;
    }
    let mut buffer = ryu::Buffer::new();
    if extra_float_digits > 0 {
        if let Some(text) = plain_f64(&mut buffer, value) {
            return out.put_slice(text.as_bytes());
        }
        let mut number = Scientific::parse(buffer.format_finite(value.abs()));
        let bits = value.abs().to_bits();
        let (mantissa, shift) = (bits & ((1 << 52) - 1) | 1 << 52, (bits >> 52) as i32 - 1075);
        if number.on_boundary(mantissa, shift) {
            number = (0..17)
                .map(|digits| Scientific::parse(&format!("{:.digits$e}", value.abs())))
                .find(|of| of.value() == value.abs() && !of.on_boundary(mantissa, shift))
                .unwrap_or(number);
        }
        number.put(out, value.is_sign_negative(), 15);
    } else {
        let digits = (15 + extra_float_digits).clamp(1, 15);
        put_rounded(out, value, digits);
    }
}

/// The fewest digits of a double that is printed without an exponent; None for others. As ryu prints it, but for `.0`.
pub(super) fn plain_f64(buffer: &mut ryu::Buffer, value: f64) -> Option<&str> {
    // Digits on a boundary are only those of much greater numbers.
    if !(1e-4..1e15).contains(&value.abs()) {
        return None;
    }
    let text = buffer.format_finite(value);
    Some(text.strip_suffix(".0").unwrap_or(text))
}

/// Appends a float4.
pub(super) fn put_f32(out: &mut BytesMut, value: f32, extra_float_digits: i32) {
    if !put_special(out, f64::from(value)) {
        return;
    }
    let mut buffer = ryu::Buffer::new();
    if extra_float_digits > 0 {
        let mut number = Scientific::parse(buffer.format_finite(value.abs()));
        let bits = value.abs().to_bits();
        let (mantissa, shift) = (u64::from(bits & ((1 << 23) - 1) | 1 << 23), (bits >> 23) as i32 - 150);
        if number.on_boundary(mantissa, shift) {
            number = (0..9)
                .map(|digits| Scientific::parse(&format!("{:.digits$e}", value.abs())))
                .find(|of| of.value() as f32 == value.abs() && !of.on_boundary(mantissa, shift))
                .unwrap_or(number);
        }
        number.put(out, value.is_sign_negative(), 6);
    } else {
        put_rounded(out, f64::from(value), (6 + extra_float_digits).clamp(1, 6));
    }
}

/// Like C's `%.*g`.
fn put_rounded(out: &mut BytesMut, value: f64, digits: i32) {
    let text = format!("{:.*e}", digits as usize - 1, value.abs());
    Scientific::parse(&text).put(out, value.is_sign_negative(), digits);
}

/// Appends NaN and the infinities; true if the value is none of them.
fn put_special(out: &mut BytesMut, value: f64) -> bool {
    let text = match value {
        _ if value.is_nan() => "NaN",
        _ if value == f64::INFINITY => "Infinity",
        _ if value == f64::NEG_INFINITY => "-Infinity",
        _ => return true,
    };
    out.put_slice(text.as_bytes());
    false
}

/// Decimal digits without trailing zeros, and the power of ten of the first one.
struct Scientific {
    digits: [u8; 24],
    len: usize,
    exponent: i32,
}

impl Scientific {
    /// Of `123.45`, `1.5e-7`, `0.001`, `1e20`.
    fn parse(text: &str) -> Self {
        let (mantissa, exponent) = match text.split_once('e') {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or(0)),
            None => (text, 0),
        };
        let mut number = Self { digits: [b'0'; 24], len: 0, exponent: 0 };
        let mut point = None;
        let mut leading = 0;
        for (at, byte) in mantissa.bytes().enumerate() {
            match byte {
                b'.' => point = Some(at as i32),
                b'0' if number.len == 0 => leading += 1,
                digit if number.len < number.digits.len() => {
                    number.digits[number.len] = digit;
                    number.len += 1;
                }
                _ => {}
            }
        }
        number.exponent = exponent + point.unwrap_or(mantissa.len() as i32) - leading - 1;
        while number.len > 0 && number.digits[number.len - 1] == b'0' {
            number.len -= 1;
        }
        if number.len == 0 {
            (number.len, number.exponent) = (1, 0);
        }
        number
    }

    fn value(&self) -> f64 {
        let digits = std::str::from_utf8(&self.digits[..self.len]).unwrap_or("0");
        format!("{digits}e{}", self.exponent + 1 - self.len as i32).parse().unwrap_or(f64::NAN)
    }

    /// Whether these digits lie exactly between two floats. PostgreSQL never prints such digits, ryu does if the mantissa
    /// is even. It takes a float without a fraction.
    fn on_boundary(&self, mantissa: u64, shift: i32) -> bool {
        if !(1..=70).contains(&shift) || mantissa % 2 == 1 {
            return false;
        }
        let power = self.exponent + 1 - self.len as i32;
        let digits = self.digits[..self.len].iter().fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        let Some(value) = u32::try_from(power)
            .ok()
            .and_then(|power| 10u128.checked_pow(power))
            .and_then(|scale| digits.checked_mul(scale))
        else {
            return false;
        };
        let twice = u128::from(mantissa) << 1;
        [twice + 1, twice - 1].iter().any(|odd| odd << (shift - 1) == value)
    }

    /// Without an exponent from 1e-4 up to, not including, 10^limit.
    fn put(&self, out: &mut BytesMut, negative: bool, limit: i32) {
        if negative {
            out.put_u8(b'-');
        }
        let digits = &self.digits[..self.len];
        if self.exponent < -4 || self.exponent >= limit {
            out.put_u8(digits[0]);
            if digits.len() > 1 {
                out.put_u8(b'.');
                out.put_slice(&digits[1..]);
            }
            out.put_u8(b'e');
            out.put_u8(if self.exponent < 0 { b'-' } else { b'+' });
            let exponent = self.exponent.unsigned_abs();
            if exponent < 10 {
                out.put_u8(b'0');
            }
            out.put_slice(itoa::Buffer::new().format(exponent).as_bytes());
        } else if self.exponent < 0 {
            out.put_slice(b"0.");
            out.put_bytes(b'0', (-self.exponent - 1) as usize);
            out.put_slice(digits);
        } else {
            let whole = self.exponent as usize + 1;
            if digits.len() <= whole {
                out.put_slice(digits);
                out.put_bytes(b'0', whole - digits.len());
            } else {
                out.put_slice(&digits[..whole]);
                out.put_u8(b'.');
                out.put_slice(&digits[whole..]);
            }
        }
    }
}

/// Appends a numeric given by its unscaled digits, ASCII, and its scale.
pub(super) fn put_numeric_text(out: &mut BytesMut, unscaled: &str, scale: i8) {
    let (negative, digits) = sign(unscaled);
    if negative {
        out.put_u8(b'-');
    }
    let scale_digits = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        out.put_slice(digits.as_bytes());
        if digits != "0" {
            out.put_bytes(b'0', scale_digits);
        }
    } else if digits.len() > scale_digits {
        let (whole, fraction) = digits.as_bytes().split_at(digits.len() - scale_digits);
        out.put_slice(whole);
        out.put_u8(b'.');
        out.put_slice(fraction);
    } else {
        out.put_slice(b"0.");
        out.put_bytes(b'0', scale_digits - digits.len());
        out.put_slice(digits.as_bytes());
    }
}

/// Appends numeric's binary form: counts of base-10000 digits, weight of the first, sign, scale, digits.
pub(super) fn put_numeric_binary(out: &mut BytesMut, unscaled: &str, scale: i8) {
    let (negative, digits) = sign(unscaled);
    // Decimal places in the digits; a negative scale appends zeros.
    let places = i32::from(scale);
    let zeros = if scale < 0 && digits != "0" { usize::from(scale.unsigned_abs()) } else { 0 };
    let places = places.max(0) as usize;
    let mut text = [b'0'; 512];
    // Aligned so that the decimal point falls between groups of four.
    let whole = (digits.len() + zeros).saturating_sub(places);
    let pad_left = (4 - whole % 4) % 4 + if digits.len() + zeros < places { places - digits.len() - zeros } else { 0 };
    let end = pad_left + digits.len() + zeros;
    text[pad_left..pad_left + digits.len()].copy_from_slice(digits.as_bytes());
    let groups: usize = end.div_ceil(4);
    let group = |at: usize| text[at * 4..at * 4 + 4].iter().fold(0i16, |sum, digit| sum * 10 + i16::from(digit - b'0'));
    let first = (0..groups).find(|at| group(*at) != 0).unwrap_or(groups);
    let last = (first..groups).rev().find(|at| group(*at) != 0).map_or(first, |at| at + 1);
    let whole_groups = whole.div_ceil(4) as i16;
    let weight = if first == last { 0 } else { whole_groups - 1 - first as i16 };
    out.put_i16((last - first) as i16);
    out.put_i16(weight);
    out.put_u16(if negative && first != last { 0x4000 } else { 0 });
    out.put_i16(places as i16);
    for at in first..last {
        out.put_i16(group(at));
    }
}

fn sign(unscaled: &str) -> (bool, &str) {
    match unscaled.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, unscaled),
    }
}
