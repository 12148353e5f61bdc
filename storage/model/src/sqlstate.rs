//! SQLSTATEs, each said once: the enum, the code on the wire and the retry advice come from this table.

/// Whether sending the same statement again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same statement will fail again.
    Never,
    /// The same statement may succeed later; it had no effect.
    Later,
    /// Nobody knows whether it had an effect.
    Unknown,
}

macro_rules! sql_states {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $retry:ident;)+) => {
        /// What kind of failure a client is told.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SqlState {
            $($(#[doc = $doc])+ $name,)+
        }

        impl SqlState {
            /// Every state, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The five characters on the wire.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Whether sending the statement again can help.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)+ }
            }

            /// The state with this code, if the table has it.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

sql_states! {
    /// A protocol message arrived out of turn or malformed.
    ProtocolViolation = "08P01", Never;
    /// The statement is valid SQL that this server does not do.
    FeatureNotSupported = "0A000", Never;
    /// A string is longer than its column.
    StringDataRightTruncation = "22001", Never;
    /// A text function was given an impossible length or position.
    SubstringError = "22011", Never;
    /// SIMILAR TO's escape with a double quote in the wrong place.
    InvalidUseOfEscapeCharacter = "2200C", Never;
    /// A regular expression is not one.
    InvalidRegularExpression = "2201B", Never;
    /// A logarithm of zero or of a negative number.
    InvalidArgumentForLogarithm = "2201E", Never;
    /// A power that is no real number.
    InvalidArgumentForPower = "2201F", Never;
    /// LIMIT is negative.
    InvalidRowCountInLimit = "2201W", Never;
    /// OFFSET is negative.
    InvalidRowCountInOffset = "2201X", Never;
    /// A number is outside its type's range.
    NumericValueOutOfRange = "22003", Never;
    /// A time is malformed or has impossible fields.
    InvalidDatetimeFormat = "22007", Never;
    /// A time is outside its type's range or the database's KEEP.
    DatetimeFieldOverflow = "22008", Never;
    /// A subquery used as a value gave more than one row.
    CardinalityViolation = "21000", Never;
    /// An escape of LIKE or SIMILAR TO is not one character.
    InvalidEscapeSequence = "22025", Never;
    /// Division by zero.
    DivisionByZero = "22012", Never;
    /// A parameter, setting or option has a value out of its range.
    InvalidParameterValue = "22023", Never;
    /// An argument that must not be null was NULL.
    NullValueNotAllowed = "22004", Never;
    /// Bytes are not valid UTF-8, or hold a NUL.
    CharacterNotInRepertoire = "22021", Never;
    /// Text cannot be read as a value of its type.
    InvalidTextRepresentation = "22P02", Never;
    /// A binary value has the wrong length or form.
    InvalidBinaryRepresentation = "22P03", Never;
    /// A line of a COPY has the wrong number of columns or a broken escape.
    BadCopyFileFormat = "22P04", Never;
    /// A column that must not be null was given NULL.
    NotNullViolation = "23502", Never;
    /// A primary key exists already.
    UniqueViolation = "23505", Never;
    /// A portal or prepared statement is not in a state for this.
    InvalidCursorState = "24000", Never;
    /// The statement cannot run inside a transaction block.
    ActiveSqlTransaction = "25001", Never;
    /// The transaction only reads.
    ReadOnlySqlTransaction = "25006", Never;
    /// A client was idle inside a transaction for too long.
    IdleInTransactionSessionTimeout = "25P03", Never;
    /// There is no transaction in progress.
    NoActiveSqlTransaction = "25P01", Never;
    /// The transaction failed; only ROLLBACK is accepted.
    InFailedSqlTransaction = "25P02", Never;
    /// A prepared statement does not exist.
    InvalidSqlStatementName = "26000", Never;
    /// The user may not connect like this.
    InvalidAuthorizationSpecification = "28000", Never;
    /// The password is wrong.
    InvalidPassword = "28P01", Never;
    /// A cursor or portal does not exist.
    InvalidCursorName = "34000", Never;
    /// A database does not exist.
    InvalidCatalogName = "3D000", Never;
    /// A schema does not exist.
    InvalidSchemaName = "3F000", Never;
    /// A savepoint does not exist.
    InvalidSavepoint = "3B001", Never;
    /// The statement was overtaken by a concurrent change of the catalog.
    SerializationFailure = "40001", Later;
    /// The outcome of a write is not known: it may or may not be there.
    StatementCompletionUnknown = "40003", Unknown;
    /// The user lacks the privilege.
    InsufficientPrivilege = "42501", Never;
    /// The statement is not valid in our dialect.
    SyntaxError = "42601", Never;
    /// A name is longer than the limit or malformed.
    InvalidName = "42602", Never;
    /// A column is named twice.
    DuplicateColumn = "42701", Never;
    /// A name could mean more than one column.
    AmbiguousColumn = "42702", Never;
    /// A column does not exist.
    UndefinedColumn = "42703", Never;
    /// A named object other than a table, column or function does not exist.
    UndefinedObject = "42704", Never;
    /// A named object other than a table or database exists already.
    DuplicateObject = "42710", Never;
    /// A table of FROM, or a CTE, is named twice.
    DuplicateAlias = "42712", Never;
    /// A function or operator could be more than one for these types.
    AmbiguousFunction = "42725", Never;
    /// A column is neither grouped nor aggregated.
    GroupingError = "42803", Never;
    /// Types do not fit together.
    DatatypeMismatch = "42804", Never;
    /// The object is of the wrong kind for this.
    WrongObjectType = "42809", Never;
    /// There is no cast between two types.
    CannotCoerce = "42846", Never;
    /// A function or operator does not exist for these types.
    UndefinedFunction = "42883", Never;
    /// A table, super table or child table does not exist.
    UndefinedTable = "42P01", Never;
    /// A parameter `$n` has no value.
    UndefinedParameter = "42P02", Never;
    /// A cursor exists already.
    DuplicateCursor = "42P03", Never;
    /// A database exists already.
    DuplicateDatabase = "42P04", Never;
    /// A prepared statement exists already.
    DuplicatePreparedStatement = "42P05", Never;
    /// A table exists already.
    DuplicateTable = "42P07", Never;
    /// A column reference is not allowed here.
    InvalidColumnReference = "42P10", Never;
    /// A table definition is not possible.
    InvalidTableDefinition = "42P16", Never;
    /// The type of a parameter cannot be inferred.
    IndeterminateDatatype = "42P18", Never;
    /// A recursive query is not of the form that a recursion must have.
    InvalidRecursion = "42P19", Never;
    /// A window function stands where there must be none.
    WindowingError = "42P20", Never;
    /// The disk is full.
    DiskFull = "53100", Later;
    /// A memory budget is used up.
    OutOfMemory = "53200", Later;
    /// Too many connections.
    TooManyConnections = "53300", Later;
    /// A named limit of the configuration is reached.
    ConfigurationLimitExceeded = "53400", Never;
    /// A statement is larger or more deeply nested than the limit.
    StatementTooComplex = "54001", Never;
    /// Too many columns.
    TooManyColumns = "54011", Never;
    /// The object is not in the state for this.
    ObjectNotInPrerequisiteState = "55000", Never;
    /// The object is in use.
    ObjectInUse = "55006", Later;
    /// A setting cannot be changed now.
    CantChangeRuntimeParam = "55P02", Never;
    /// The statement was cancelled, by the user or by `statement_timeout`.
    QueryCanceled = "57014", Never;
    /// The server is shutting down.
    AdminShutdown = "57P01", Later;
    /// A client was idle for too long.
    IdleSessionTimeout = "57P05", Never;
    /// A vgroup has no leader right now.
    CannotConnectNow = "57P03", Later;
    /// Reading or writing a file failed.
    IoError = "58030", Later;
    /// The configuration file has an error.
    ConfigFileError = "F0000", Never;
    /// A defect in this server.
    InternalError = "XX000", Never;
    /// Stored bytes fail their checksum.
    DataCorrupted = "XX001", Never;
}
