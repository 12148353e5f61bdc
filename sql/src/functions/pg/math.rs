//! Mathematics where DataFusion rounds, types or fails otherwise than PostgreSQL: numerics stay numerics, doubles round
//! half to even, whole numbers become doubles, and what has no result is an error.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, i256};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use model::error;

use super::numeric::{scaled, unscaled};
use super::scalar::{Cell, Scalar, external, float};
use crate::numeric::{self, Shape};
use crate::pgtype::PgType;

/// A function of one number, and of digits to keep for two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Round,
    Trunc,
    Ceil,
    Floor,
    Sign,
    Div,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Math {
    kind: Kind,
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let math = |kind, name: &'static str, aliases: &[&str]| {
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        ScalarUDF::from(Math { kind, name, aliases, signature: Signature::variadic_any(Volatility::Immutable) })
    };
    let mut all = vec![
        math(Kind::Round, "round", &[]),
        math(Kind::Trunc, "trunc", &["truncate"]),
        math(Kind::Ceil, "ceil", &["ceiling"]),
        math(Kind::Floor, "floor", &[]),
        math(Kind::Sign, "sign", &[]),
        math(Kind::Div, "div", &[]),
    ];
    all.extend(doubles().into_iter().map(Scalar::udf));
    all
}

fn overflow() -> DataFusionError {
    external(error!(NumericValueOutOfRange, "value out of range: overflow"))
}

/// A result of finite arguments that must be finite too.
fn finite(result: f64, given: &[f64]) -> Result<Cell> {
    if result.is_infinite() && given.iter().all(|of| of.is_finite()) {
        Err(overflow())
    } else {
        Ok(Cell::Float(result))
    }
}

fn logarithm(of: f64) -> Result<f64> {
    if of > 0.0 || of.is_nan() {
        return Ok(of.ln());
    }
    let what = if of == 0.0 { "zero" } else { "a negative number" };
    Err(external(error!(InvalidArgumentForLogarithm, "cannot take logarithm of {what}")))
}

fn doubles() -> Vec<Scalar> {
    vec![
        Scalar::new("sqrt", "f", PgType::FLOAT8, |_, args| {
            let of = float(&args[0])?;
            if of < 0.0 {
                return Err(external(error!(InvalidArgumentForPower, "cannot take square root of a negative number")));
            }
            Ok(Cell::Float(of.sqrt()))
        }),
        Scalar::new("exp", "f", PgType::FLOAT8, |_, args| {
            let of = float(&args[0])?;
            finite(of.exp(), &[of])
        }),
        Scalar::new("ln", "f", PgType::FLOAT8, |_, args| Ok(Cell::Float(logarithm(float(&args[0])?)?))),
        Scalar::new("log10", "f", PgType::FLOAT8, |_, args| {
            let of = float(&args[0])?;
            logarithm(of)?;
            Ok(Cell::Float(of.log10()))
        }),
        Scalar::new("log2", "f", PgType::FLOAT8, |_, args| {
            let of = float(&args[0])?;
            logarithm(of)?;
            Ok(Cell::Float(of.log2()))
        }),
        Scalar::new("log", "f?f", PgType::FLOAT8, |_, args| match args {
            [of] => {
                let of = float(of)?;
                logarithm(of)?;
                Ok(Cell::Float(of.log10()))
            }
            [base, of, ..] => {
                let (base, of) = (logarithm(float(base)?)?, logarithm(float(of)?)?);
                if base == 0.0 {
                    return Err(external(error!(DivisionByZero, "division by zero")));
                }
                Ok(Cell::Float(of / base))
            }
            [] => internal_err!("log without arguments"),
        }),
        Scalar::new("power", "ff", PgType::FLOAT8, |_, args| power(float(&args[0])?, float(&args[1])?)).named(&["pow"]),
    ]
}

fn power(base: f64, exponent: f64) -> Result<Cell> {
    if base == 0.0 && exponent < 0.0 {
        return Err(external(error!(InvalidArgumentForPower, "zero raised to a negative power is undefined")));
    }
    if base < 0.0 && exponent.fract() != 0.0 && exponent.is_finite() {
        return Err(external(error!(
            InvalidArgumentForPower,
            "a negative number raised to a non-integer power yields a complex result"
        )));
    }
    finite(base.powf(exponent), &[base, exponent])
}

fn wrong(name: &str, fields: &[FieldRef]) -> DataFusionError {
    let types: Vec<String> = fields.iter().map(|of| crate::plan::types::type_name(PgType::of(of))).collect();
    let error = error!(UndefinedFunction, "function {name}({}) does not exist", types.join(", "));
    external(
        error.with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        ),
    )
}

impl Math {
    /// Digits behind the point that are kept, if the call says so.
    fn digits(args: &[Option<&ScalarValue>]) -> Option<i64> {
        match args.get(1).copied().flatten()? {
            ScalarValue::Int64(digits) => *digits,
            ScalarValue::Int32(digits) => digits.map(i64::from),
            _ => None,
        }
    }

    fn returned(&self, fields: &[FieldRef], scalars: &[Option<&ScalarValue>]) -> Result<DataType> {
        let takes_digits = matches!(self.kind, Kind::Round | Kind::Trunc);
        let least = if self.kind == Kind::Div { 2 } else { 1 };
        let most = if takes_digits { 2 } else { least };
        let number = |of: &FieldRef| {
            let of = of.data_type();
            of.is_numeric() || of.is_null() || of.is_string()
        };
        if fields.len() < least || fields.len() > most || !fields.iter().all(number) {
            return Err(wrong(self.name, fields));
        }
        let given = fields[0].data_type();
        if self.kind == Kind::Div {
            let float = fields.iter().any(|of| of.data_type().is_floating());
            return Ok(if float { DataType::Float64 } else { Shape::fixed(38, 0).arrow() });
        }
        // Digits are kept of numerics only: whole numbers become such.
        let limited = fields.len() > 1;
        let exact = given.is_decimal() || limited && given.is_integer();
        let Some(shape) = Shape::of(given).filter(|_| exact) else { return Ok(DataType::Float64) };
        let whole = shape.whole.saturating_add(1).min(76);
        Ok(match (self.kind, limited) {
            (Kind::Sign, _) => DataType::Decimal128(1, 0),
            (_, false) => Shape::fixed(whole, 0).arrow(),
            (_, true) => match Self::digits(scalars) {
                Some(digits) => {
                    let scale = u8::try_from(digits.clamp(0, 38)).unwrap_or(0);
                    Shape::fixed(whole.min(76 - scale), scale).arrow()
                }
                None => Shape::FREE.arrow(),
            },
        })
    }

    fn doubles(&self, values: &ArrayRef, digits: Option<&Int64Array>) -> Result<ArrayRef> {
        let values = cast(values, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        let whole = |value: f64| match self.kind {
            Kind::Round => value.round_ties_even(),
            Kind::Trunc => value.trunc(),
            Kind::Ceil => value.ceil(),
            Kind::Floor => value.floor(),
            _ if value == 0.0 || value.is_nan() => value,
            _ => value.signum(),
        };
        let one = |row: usize| {
            let value = values.is_valid(row).then(|| values.value(row))?;
            let Some(digits) = digits else { return Some(whole(value)) };
            let places = digits.is_valid(row).then(|| digits.value(row).clamp(-300, 300))? as i32;
            // TDengine's: a double to so many digits, half away from zero.
            let factor = 10_f64.powi(places);
            let scaled = value * factor;
            let cut = if self.kind == Kind::Round { scaled.round() } else { scaled.trunc() };
            Some(if scaled.is_finite() { cut / factor } else { value })
        };
        Ok(Arc::new((0..values.len()).map(one).collect::<Float64Array>()))
    }

    fn numerics(&self, values: &ArrayRef, digits: Option<&Int64Array>, to: &DataType) -> Result<ArrayRef> {
        let (Some(from), Some(wanted)) = (Shape::of(values.data_type()), Shape::of(to)) else {
            return internal_err!("{} of no numeric", self.name);
        };
        let unscaled = unscaled(values)?;
        let too_long = || external(error!(NumericValueOutOfRange, "value overflows numeric format"));
        let one = |row: usize| -> Result<Option<i256>> {
            if unscaled.is_null(row) || digits.is_some_and(|digits| digits.is_null(row)) {
                return Ok(None);
            }
            let places = digits.map_or(0, |digits| digits.value(row)).clamp(-76, 76);
            let value = unscaled.value(row);
            if self.kind == Kind::Sign {
                return Ok(Some(i256::from_i128(value.cmp(&i256::ZERO) as i128)));
            }
            // As many digits as are dropped, and the power of ten that they stand for.
            let dropped = i64::from(from.scale) - places;
            let kept = if dropped <= 0 {
                value
            } else {
                match numeric::power_of_ten(dropped as u32) {
                    None => i256::ZERO,
                    Some(power) => {
                        let cut = self.cut(value, power).ok_or_else(too_long)?;
                        cut.checked_mul(power).ok_or_else(too_long)?
                    }
                }
            };
            numeric::rescaled(kept, from.scale, wanted.scale).map(Some).ok_or_else(too_long)
        };
        let values: Result<Vec<_>> = (0..unscaled.len()).map(one).collect();
        scaled(values?, to)
    }

    /// `value / power` as a whole number.
    fn cut(&self, value: i256, power: i256) -> Option<i256> {
        let whole = value.checked_div(power)?;
        let rest = value.checked_rem(power)?;
        Some(match self.kind {
            Kind::Round => return numeric::divided(value, power),
            Kind::Ceil if rest > i256::ZERO => whole.checked_add(i256::ONE)?,
            Kind::Floor if rest < i256::ZERO => whole.checked_sub(i256::ONE)?,
            _ => whole,
        })
    }
}

impl ScalarUDFImpl for Math {
    fn name(&self) -> &'static str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{} is asked for its return field", self.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let to = self.returned(args.arg_fields, args.scalar_arguments)?;
        Ok(Arc::new(Field::new(self.name, to, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(count)).collect::<Result<Vec<_>>>()?;
        let to = args.return_type();
        let array = if self.kind == Kind::Div {
            divided(&arrays, to, count)?
        } else {
            let digits = match arrays.get(1) {
                Some(digits) => Some(cast(digits, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
                None => None,
            };
            if *to == DataType::Float64 {
                self.doubles(&arrays[0], digits.as_ref())?
            } else {
                self.numerics(&arrays[0], digits.as_ref(), to)?
            }
        };
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// `div(a, b)`: the quotient without its fraction.
fn divided(arrays: &[ArrayRef], to: &DataType, count: usize) -> Result<ArrayRef> {
    let by_zero = || external(error!(DivisionByZero, "division by zero"));
    if *to == DataType::Float64 {
        let [left, right] = [&arrays[0], &arrays[1]].map(|of| cast(of, &DataType::Float64));
        let (left, right) = (left?, right?);
        let (left, right) = (left.as_primitive::<Float64Type>(), right.as_primitive::<Float64Type>());
        let one = |row: usize| match left.is_valid(row) && right.is_valid(row) {
            true if right.value(row) == 0.0 => Err(by_zero()),
            true => Ok(Some((left.value(row) / right.value(row)).trunc())),
            false => Ok(None),
        };
        return Ok(Arc::new((0..count).map(one).collect::<Result<Float64Array>>()?));
    }
    let shape = |of: &ArrayRef| Shape::of(of.data_type()).unwrap_or(Shape::fixed(0, 0));
    let scale = shape(&arrays[0]).scale.max(shape(&arrays[1]).scale);
    let (left, right) = (unscaled(&arrays[0])?, unscaled(&arrays[1])?);
    let at = |value, of: Shape| numeric::rescaled(value, of.scale, scale).ok_or_else(overflow);
    let one = |row: usize| {
        if left.is_null(row) || right.is_null(row) {
            return Ok(None);
        }
        let (a, b) = (at(left.value(row), shape(&arrays[0]))?, at(right.value(row), shape(&arrays[1]))?);
        a.checked_div(b).map(Some).ok_or_else(by_zero)
    };
    scaled((0..count).map(one).collect::<Result<Vec<_>>>()?, to)
}
