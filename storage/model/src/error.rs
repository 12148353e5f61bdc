//! The error that a client sees. Rooms keep small enums of their own for what their callers branch on;
//! at the waist everything becomes an [`Error`].

use crate::sqlstate::SqlState;

/// Result with the error that a client sees.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One failure as a client is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Fields>);

/// The parts of an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// The kind of failure.
    pub state: SqlState,
    /// What was wrong, in one line, without a full stop.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// The way out.
    pub hint: Option<String>,
    /// Where in the statement, in characters, starting at 1.
    pub position: Option<u32>,
    /// Where in the data, such as `COPY meters, line 7, column voltage`.
    pub context: Option<String>,
}

impl Error {
    /// A failure of this kind with this message.
    #[must_use]
    pub fn new(state: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(Fields {
            state,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
        }))
    }

    /// A defect in this server.
    #[must_use]
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(SqlState::InternalError, message.to_string())
    }

    /// The same error with more detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// The same error with the way out.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error with its place in the statement: characters, starting at 1.
    #[must_use]
    pub fn at(mut self, position: u32) -> Self {
        self.0.position = Some(position);
        self
    }

    /// The same error with its place in the data.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.0.context = Some(context.into());
        self
    }

    /// The kind of failure.
    #[must_use]
    pub fn state(&self) -> SqlState {
        self.0.state
    }

    /// All parts.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.0
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

/// An [`Error`] from a [`SqlState`] variant and a format string: `error!(UndefinedTable, "table {name:?} does not exist")`.
#[macro_export]
macro_rules! error {
    ($state:ident, $($message:tt)+) => {
        $crate::Error::new($crate::SqlState::$state, format!($($message)+))
    };
}

/// Returns early with an [`Error`]: `fail!(UndefinedTable, "table {name:?} does not exist")`.
#[macro_export]
macro_rules! fail {
    ($state:ident, $($message:tt)+) => {
        return Err($crate::error!($state, $($message)+))
    };
}
