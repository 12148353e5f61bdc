//! `pg_sleep`: waits without holding a thread, so that cancel and timeouts end it by dropping the query.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use async_trait::async_trait;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The longest that one call waits: a day.
const SLEEP_MAX_S: f64 = 86_400.0;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Volatile);
    vec![AsyncScalarUDF::new(Arc::new(Sleep { signature })).into_scalar_udf()]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sleep {
    signature: Signature,
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &'static str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("pg_sleep is only called asynchronously")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let seconds = cast(&args.args[0].to_array(args.number_rows)?, &DataType::Float64)?;
        let seconds = seconds.as_primitive::<Float64Type>();
        for row in 0..seconds.len() {
            if seconds.is_valid(row) && seconds.value(row) > 0.0 {
                tokio::time::sleep(Duration::from_secs_f64(seconds.value(row).min(SLEEP_MAX_S))).await;
            }
        }
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(String::new()))))
    }
}
