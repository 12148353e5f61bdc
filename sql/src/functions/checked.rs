//! `+`, `-` and `*` of whole numbers that fail with 22003 where DataFusion's wrap around, and `/` of doubles that fails
//! with 22012 where DataFusion's is infinite.
//!
//! The planner puts these in place of the operators, so they have no name that SQL could call.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::numeric::{add, div, mul, sub};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use model::error;

use crate::plan::error::to_datafusion;

/// One operator on whole numbers.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    signature: Signature,
}

macro_rules! checked {
    ($name:ident, $operator:ident) => {
        static $name: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
            let signature = Signature::any(2, Volatility::Immutable);
            Arc::new(ScalarUDF::from(Checked { operator: Operator::$operator, signature }))
        });
    };
}

checked!(PLUS, Plus);
checked!(MINUS, Minus);
checked!(MULTIPLY, Multiply);
checked!(DIVIDE, Divide);

/// `left operator right` that fails on overflow or division by zero; None where DataFusion's own operator does, or where
/// the types are others.
pub(crate) fn checked(left: &Expr, operator: Operator, right: &Expr, types: [&DataType; 2]) -> Option<Expr> {
    let function = match operator {
        Operator::Plus => &PLUS,
        Operator::Minus => &MINUS,
        Operator::Multiply => &MULTIPLY,
        Operator::Divide if types.iter().all(|of| of.is_numeric()) && types.iter().any(|of| of.is_floating()) => {
            let arguments = vec![left.clone(), right.clone()];
            return Some(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&DIVIDE), arguments)));
        }
        _ => return None,
    };
    if !types.iter().all(|of| of.is_signed_integer()) {
        return None;
    }
    let arguments = vec![narrow(left), narrow(right)];
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), arguments)))
}

/// The operator that a call of one of this file's functions stands in for.
pub(crate) fn operator_of(call: &ScalarFunction) -> Option<Operator> {
    let inner = call.func.inner().as_ref() as &dyn std::any::Any;
    inner.downcast_ref::<Checked>().map(|checked| checked.operator)
}

/// A literal that fits is int4, as in PostgreSQL.
fn narrow(expr: &Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), metadata) => match i32::try_from(*n) {
            Ok(n) => Expr::Literal(ScalarValue::Int32(Some(n)), metadata.clone()),
            Err(_) => expr.clone(),
        },
        other => other.clone(),
    }
}

/// The wider of two signed whole numbers.
fn wider(left: &DataType, right: &DataType) -> DataType {
    let width = |of: &DataType| of.primitive_width().unwrap_or(8);
    // PostgreSQL has nothing smaller than smallint.
    if *left == DataType::Int8 && *right == DataType::Int8 {
        return DataType::Int16;
    }
    if width(left) >= width(right) { left.clone() } else { right.clone() }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            Operator::Divide => "checked_divide",
            _ => "checked_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if self.operator == Operator::Divide {
            let single = types.iter().all(|of| *of == DataType::Float32);
            return Ok(if single { DataType::Float32 } else { DataType::Float64 });
        }
        Ok(wider(&types[0], &types[1]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_type();
        let scalars = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if scalars { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|value| Ok(cast(&value.to_array(rows)?, to)?)).collect::<Result<Vec<_>>>()?;
        let (left, right): (&dyn Datum, &dyn Datum) = (&arrays[0], &arrays[1]);
        let result = match self.operator {
            Operator::Plus => add(left, right),
            Operator::Minus => sub(left, right),
            Operator::Divide => quotient(&arrays[0], &arrays[1]),
            _ => mul(left, right),
        };
        let result: ArrayRef = result.map_err(|failure| out_of_range(failure, to))?;
        if scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn out_of_range(failure: ArrowError, data_type: &DataType) -> datafusion::error::DataFusionError {
    let name = match data_type {
        DataType::Int8 | DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    match failure {
        ArrowError::ArithmeticOverflow(_) => to_datafusion(error!(NumericValueOutOfRange, "{name} out of range")),
        other => other.into(),
    }
}

/// `left / right` of floats of one type.
fn quotient(left: &ArrayRef, right: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    let divisors = cast(right, &DataType::Float64)?;
    let divisors = divisors.as_primitive::<Float64Type>();
    let by_zero = |row: usize| divisors.value(row) == 0.0 && !divisors.is_null(row) && !left.is_null(row);
    if (0..divisors.len()).any(by_zero) {
        return Err(ArrowError::DivideByZero);
    }
    div(left, right)
}
