//! Functions over whole arrays, whose result depends on the types of their arguments.

use std::fmt;
use std::hash::{Hash, Hasher};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::scalar::{Call, session};

/// The field of the result, from the fields of the arguments.
pub(super) type Returns = fn(&[FieldRef]) -> Result<FieldRef>;
/// The result, from the call, the arguments as arrays of one length, that length and the result's field.
pub(super) type Body = fn(&Call<'_>, &[ArrayRef], usize, &FieldRef) -> Result<ArrayRef>;

/// A function that sees arrays as they are.
#[derive(Clone)]
pub(super) struct Whole {
    name: &'static str,
    returns: Returns,
    body: Body,
    signature: Signature,
}

impl Whole {
    /// A function of any number of arguments; `returns` refuses what it does not take.
    pub(super) fn udf(name: &'static str, returns: Returns, body: Body) -> ScalarUDF {
        let any = [Signature::nullary(Volatility::Stable), Signature::variadic_any(Volatility::Stable)];
        let one_of = any.into_iter().map(|of| of.type_signature).collect();
        ScalarUDF::from(Self { name, returns, body, signature: Signature::one_of(one_of, Volatility::Stable) })
    }
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Whole {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Whole {}

impl Hash for Whole {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Whole {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        datafusion::common::internal_err!("{} is asked for its return field", self.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        (self.returns)(args.arg_fields)
    }

    /// Text as text is the text itself, so that a condition on it still reaches the scan.
    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let text = matches!(self.name, "pg_text" | "pg_varchar");
        if text && args.len() == 1 && info.get_data_type(&args[0])? == DataType::Utf8 {
            let padded = match &args[0] {
                Expr::ScalarFunction(call) => call.name() == "pg_bpchar",
                _ => false,
            };
            if !padded {
                return Ok(ExprSimplifyResult::Simplified(args.swap_remove(0)));
            }
        }
        Ok(ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let call =
            Call { session: session(&args.config_options), options: &args.config_options, fields: &args.arg_fields };
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if scalar { 1 } else { args.number_rows };
        let arrays: Result<Vec<_>> = args.args.iter().map(|arg| arg.to_array(count)).collect();
        let array = (self.body)(&call, &arrays?, count, &args.return_field)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}
