//! Errors that travel between dnodes and stand in the mnode group's history.

use model::SqlState;
use serde::{Deserialize, Serialize};

/// A [`model::Error`] that can travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    state: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl From<model::Error> for Refusal {
    fn from(error: model::Error) -> Self {
        let fields = error.fields();
        Self {
            state: fields.state.code().to_owned(),
            message: fields.message.clone(),
            detail: fields.detail.clone(),
            hint: fields.hint.clone(),
        }
    }
}

impl From<Refusal> for model::Error {
    fn from(refusal: Refusal) -> Self {
        let state = SqlState::from_code(&refusal.state).unwrap_or(SqlState::InternalError);
        let mut error = Self::new(state, refusal.message);
        if let Some(detail) = refusal.detail {
            error = error.with_detail(detail);
        }
        if let Some(hint) = refusal.hint {
            error = error.with_hint(hint);
        }
        error
    }
}
