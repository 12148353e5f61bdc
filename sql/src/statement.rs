//! What a statement says, as the parser gives it to the session. Names are folded and unquoted already.
//!
//! Values of TAGS, options and the like are kept as typed here; expressions stay sqlparser's AST.

use model::Precision;
use model::options::{CacheModel, DatabaseOptions};
use model::schema::Column;
use sqlparser::ast;

use crate::copy::CopyFormat;

/// One statement and where it stood.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// Its own text, without the semicolon.
    pub text: String,
    /// Characters of the whole message before `text`: added to positions in errors.
    pub offset: u32,
}

/// A table's name: `t`, `db.t`, `public.t`, `db.public.t`. Which of `db` and `schema` the first part is, the session decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// `db` or schema, if given.
    pub qualifier: Vec<String>,
    /// The table.
    pub name: String,
    /// Where it stands in the statement: characters, starting at 1; 0 if unknown.
    pub position: u32,
}

/// Every statement there is.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Only white space, comments or semicolons.
    Empty,
    /// SELECT, WITH, VALUES, TABLE: TDengine's clauses are marker calls in GROUP BY, see [`crate::parser`].
    Query(Box<ast::Query>),
    /// A query whose text has come before with other literals, and has a plan.
    Repeated(Box<crate::session::Repeated>),
    /// EXPLAIN.
    Explain {
        /// Run it and show what happened.
        analyze: bool,
        /// More of it.
        verbose: bool,
        /// `FORMAT JSON`.
        json: bool,
        /// What to explain: a query or another statement.
        statement: Box<Statement>,
    },
    /// A message that is one INSERT as far as its beginning tells: it is read, or refused, at execution.
    InsertUnread,
    /// INSERT with VALUES that the fast path takes: the text is read at execution, when the tables are known.
    InsertValues,
    /// INSERT that the general parser read: VALUES with expressions or parameters, SELECT, FILE.
    Insert(Box<Insert>),
    /// DELETE.
    Delete {
        /// From where.
        table: TableName,
        /// `WHERE`.
        condition: Option<ast::Expr>,
    },
    /// UPDATE of a plain table.
    Update {
        /// Which.
        table: TableName,
        /// Column and new value.
        assignments: Vec<(String, ast::Expr)>,
        /// `WHERE`.
        condition: Option<ast::Expr>,
    },
    /// COPY.
    Copy(Box<Copy>),
    /// CREATE DATABASE.
    CreateDatabase {
        /// Its name.
        name: String,
        /// What was given.
        options: Vec<DatabaseOption>,
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// ALTER DATABASE.
    AlterDatabase {
        /// Its name.
        name: String,
        /// What was given.
        options: Vec<DatabaseOption>,
    },
    /// DROP DATABASE.
    DropDatabase {
        /// Its name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// USE.
    Use(String),
    /// CREATE STABLE, and CREATE TABLE without USING.
    CreateTable(Box<CreateTable>),
    /// CREATE TABLE … USING … TAGS, one or many.
    CreateChildren(Vec<CreateChild>),
    /// CREATE TABLE … AS SELECT.
    CreateTableAs {
        /// Its name.
        table: TableName,
        /// The query.
        query: Box<ast::Query>,
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// ALTER STABLE, ALTER TABLE.
    AlterTable {
        /// Which.
        table: TableName,
        /// Changes, in order.
        changes: Vec<AlterTable>,
        /// ALTER STABLE was written.
        stable: bool,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// DROP TABLE, DROP STABLE.
    DropTable {
        /// Which.
        tables: Vec<TableName>,
        /// IF EXISTS.
        if_exists: bool,
        /// DROP STABLE was written.
        stable: bool,
    },
    /// TRUNCATE.
    Truncate(Vec<TableName>),
    /// CREATE VIEW.
    CreateView {
        /// Its name.
        view: TableName,
        /// The SELECT as given.
        query: String,
        /// OR REPLACE.
        or_replace: bool,
    },
    /// CREATE DNODE: authorises a server process.
    CreateDnode {
        /// `host:port` of its internal port.
        endpoint: String,
    },
    /// CREATE MNODE ON DNODE.
    CreateMnode {
        /// Which dnode.
        dnode: u32,
    },
    /// DROP VIEW.
    DropView {
        /// Which.
        view: TableName,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// CREATE SCHEMA, CREATE INDEX, CREATE EXTENSION, COMMENT ON, ANALYZE, VACUUM, GRANT …: known, and refused or passed
    /// over by name.
    Other(Other),
    /// DESCRIBE.
    Describe(TableName),
    /// SHOW of TDengine's things.
    Show(Show),
    /// SHOW of a setting, `ALL` for all.
    ShowSetting(String),
    /// SET.
    Set {
        /// Which setting, lower case.
        name: String,
        /// Values; none for DEFAULT.
        values: Option<Vec<String>>,
        /// SET LOCAL.
        local: bool,
    },
    /// RESET, `all` for all.
    Reset(String),
    /// SET TRANSACTION, SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetTransaction {
        /// What was said.
        modes: TransactionModes,
        /// For the transactions to come.
        session: bool,
    },
    /// BEGIN, START TRANSACTION.
    Begin {
        /// What was said.
        modes: TransactionModes,
        /// START TRANSACTION was written.
        start: bool,
    },
    /// COMMIT, END.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE.
    Release(String),
    /// ROLLBACK TO.
    RollbackTo(String),
    /// DECLARE … CURSOR.
    Declare {
        /// Its name.
        name: String,
        /// WITH HOLD.
        hold: bool,
        /// BINARY.
        binary: bool,
        /// SCROLL was asked for.
        scroll: bool,
        /// The query.
        query: Box<ast::Query>,
    },
    /// FETCH and MOVE.
    Fetch {
        /// Which cursor.
        cursor: String,
        /// How many rows forward; None for ALL. Negative is backward.
        count: Option<i64>,
        /// MOVE: no rows are sent.
        only_move: bool,
    },
    /// CLOSE; None for ALL.
    Close(Option<String>),
    /// PREPARE.
    Prepare {
        /// Its name.
        name: String,
        /// Type names as given.
        types: Vec<String>,
        /// The statement's own text.
        text: String,
    },
    /// EXECUTE.
    Execute {
        /// Which.
        name: String,
        /// Arguments.
        arguments: Vec<ast::Expr>,
    },
    /// DEALLOCATE; None for ALL.
    Deallocate(Option<String>),
    /// DISCARD with its word: ALL, PLANS, SEQUENCES, TEMP.
    Discard(String),
    /// LISTEN, UNLISTEN, NOTIFY, LOCK, CHECKPOINT: accepted without effect; the command tag.
    Accepted(&'static str),
    /// CREATE USER, CREATE ROLE.
    CreateUser {
        /// Its name.
        name: String,
        /// What was given.
        options: UserOptions,
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// ALTER USER.
    AlterUser {
        /// Its name.
        name: String,
        /// What was given.
        options: UserOptions,
    },
    /// DROP USER.
    DropUser {
        /// Its name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// FLUSH DATABASE.
    Flush(String),
    /// COMPACT DATABASE.
    Compact {
        /// Which.
        name: String,
        /// START WITH.
        start: Option<TimeBound>,
        /// END WITH.
        end: Option<TimeBound>,
    },
    /// KILL COMPACT.
    KillCompact(u64),
    /// TRIM DATABASE.
    Trim(String),
}

/// A time as it was written, to be read in the precision of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeBound {
    /// Text, or ticks in digits.
    pub text: String,
    /// Where it stands: characters of the statement, starting at 1.
    pub position: u32,
}

/// Characteristics of a transaction, as settings: `transaction_read_only` and its kin with their values, in order.
pub type TransactionModes = Vec<(&'static str, &'static str)>;

/// One option of CREATE or ALTER DATABASE, its range checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the option of its name, in the unit of DatabaseOptions")]
pub enum DatabaseOption {
    Vgroups(u32),
    Replica(u8),
    Precision(Precision),
    KeepMinutes([u32; 3]),
    DurationMinutes(u32),
    BufferMb(u32),
    MinRows(u32),
    MaxRows(u32),
    CacheModel(CacheModel),
    CacheSizeMb(u32),
    Comp(u8),
    WalLevel(u8),
    WalFsyncPeriodMs(u32),
    WalRetentionPeriodS(i64),
    WalRetentionSizeKb(i64),
    PageSizeKb(u32),
    Pages(u32),
    SttTrigger(u32),
    SingleStable(bool),
    Comment(String),
    /// A harmless option that is accepted without effect, by name: a NOTICE says so.
    Ignored(String),
}

impl DatabaseOption {
    /// Puts this option into `options`.
    pub fn apply(&self, options: &mut DatabaseOptions) {
        match self {
            Self::Vgroups(n) => options.vgroups = *n,
            Self::Replica(n) => options.replica = *n,
            Self::Precision(precision) => options.precision = *precision,
            Self::KeepMinutes(keep) => options.keep_minutes = *keep,
            Self::DurationMinutes(n) => options.duration_minutes = *n,
            Self::BufferMb(n) => options.buffer_mb = *n,
            Self::MinRows(n) => options.minrows = *n,
            Self::MaxRows(n) => options.maxrows = *n,
            Self::CacheModel(model) => options.cachemodel = *model,
            Self::CacheSizeMb(n) => options.cachesize_mb = *n,
            Self::Comp(n) => options.comp = *n,
            Self::WalLevel(n) => options.wal_level = *n,
            Self::WalFsyncPeriodMs(n) => options.wal_fsync_period_ms = *n,
            Self::WalRetentionPeriodS(n) => options.wal_retention_period_s = *n,
            Self::WalRetentionSizeKb(n) => options.wal_retention_size_kb = *n,
            Self::PageSizeKb(n) => options.pagesize_kb = *n,
            Self::Pages(n) => options.pages = *n,
            Self::SttTrigger(n) => options.stt_trigger = *n,
            Self::SingleStable(yes) => options.single_stable = *yes,
            Self::Comment(text) => options.comment = Some(text.clone()),
            Self::Ignored(_) => {}
        }
    }
}

/// INSERT as the general parser read it. A statement may name many tables, one after another.
#[derive(Clone, Debug)]
pub struct Insert {
    /// At least one.
    pub targets: Vec<InsertTarget>,
    /// RETURNING was written (refused).
    pub returning: bool,
    /// ON CONFLICT was written: `DO NOTHING` is true.
    pub on_conflict: Option<bool>,
}

/// One table of an INSERT.
#[derive(Clone, Debug)]
pub struct InsertTarget {
    /// Into which table; a super table if `columns` has `tbname`.
    pub table: TableName,
    /// `USING st [(tags)] TAGS (values)`.
    pub using: Option<Using>,
    /// Column list, if given.
    pub columns: Option<Vec<ColumnName>>,
    /// What is inserted.
    pub source: InsertSource,
}

/// A column's name and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnName {
    /// The column.
    pub name: String,
    /// Characters, starting at 1.
    pub position: u32,
}

/// What an INSERT inserts.
#[derive(Clone, Debug)]
pub enum InsertSource {
    /// VALUES.
    Values(Vec<InsertRow>),
    /// SELECT.
    Query(Box<ast::Query>),
    /// FILE 'csv' on the server.
    File(String),
    /// DEFAULT VALUES.
    Default,
}

/// One row of VALUES.
#[derive(Clone, Debug)]
pub struct InsertRow {
    /// Where its opening parenthesis stands: characters of the statement, starting at 1.
    pub position: u32,
    /// Its values; `DEFAULT` is the unquoted identifier of that name.
    pub values: Vec<ast::Expr>,
    /// Where each value starts.
    pub positions: Vec<u32>,
}

/// `USING st [(tags)] TAGS (values)`.
#[derive(Clone, Debug)]
pub struct Using {
    /// The super table.
    pub stable: TableName,
    /// Names of the tags given, all in order if None.
    pub tags: Option<Vec<ColumnName>>,
    /// Their values: literals or parameters.
    pub values: Vec<ast::Expr>,
    /// Where each value starts: characters of the statement, starting at 1.
    pub positions: Vec<u32>,
    /// Where the opening parenthesis of the values stands.
    pub opens: u32,
}

/// CREATE TABLE … USING … TAGS.
#[derive(Clone, Debug)]
pub struct CreateChild {
    /// Its name.
    pub table: TableName,
    /// Its super table and tags.
    pub using: Using,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
}

/// CREATE STABLE, or CREATE TABLE of a normal or plain table.
#[derive(Clone, Debug)]
pub struct CreateTable {
    /// Its name.
    pub table: TableName,
    /// Columns in order; ids are zero.
    pub columns: Vec<Column>,
    /// Tags in order; `Some` makes it a super table.
    pub tags: Option<Vec<Column>>,
    /// Positions of PRIMARY KEY columns.
    pub primary_key: Vec<u16>,
    /// `SERIAL` columns were among them.
    pub serial: bool,
    /// `WITH (kind = 'plain' | 'series')`.
    pub kind: Option<String>,
    /// TEMP, TEMPORARY.
    pub temporary: bool,
    /// COMMENT.
    pub comment: Option<String>,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// CREATE STABLE was written.
    pub stable: bool,
    /// Options that are accepted without effect (TTL, SMA, KEEP, storage parameters), by name: a NOTICE says so.
    pub ignored: Vec<String>,
}

/// One change of ALTER TABLE. Columns are named, not numbered: the session looks them up.
#[derive(Clone, Debug)]
pub enum AlterTable {
    /// ADD COLUMN.
    AddColumn(Column),
    /// DROP COLUMN.
    DropColumn(String),
    /// MODIFY COLUMN.
    ModifyColumn(Column),
    /// MODIFY COLUMN with nothing but ENCODE, COMPRESS, LEVEL: what is None stays as it is.
    ModifyCompression(String, model::schema::Compression),
    /// RENAME COLUMN.
    RenameColumn(String, String),
    /// ADD TAG.
    AddTag(Column),
    /// DROP TAG.
    DropTag(String),
    /// MODIFY TAG.
    ModifyTag(Column),
    /// RENAME TAG.
    RenameTag(String, String),
    /// SET TAG of a child table.
    SetTags(Vec<(ColumnName, ast::Expr)>),
    /// COMMENT.
    Comment(String),
    /// RENAME TO.
    Rename(String),
    /// TTL, KEEP and other options, by name: accepted with a NOTICE.
    Ignored(String),
}

/// What CREATE and ALTER USER were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserOptions {
    /// `PASS 'p'`, `PASSWORD 'p'`; `Some(None)` is `PASSWORD NULL`.
    pub password: Option<Option<String>>,
    /// PASS was written: TDengine's rules for passwords hold, otherwise PostgreSQL's.
    pub pass: bool,
    /// ENABLE 0|1, LOGIN, NOLOGIN.
    pub enabled: Option<bool>,
    /// SYSINFO 0|1.
    pub sysinfo: Option<bool>,
    /// CREATEDB 0|1.
    pub createdb: Option<bool>,
    /// SUPERUSER, NOSUPERUSER.
    pub superuser: Option<bool>,
}

/// SHOW of TDengine's things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// SHOW [USER|SYSTEM] DATABASES.
    Databases,
    /// SHOW [NORMAL|CHILD] [db.]TABLES [LIKE]; the word is `normal`, `child` or empty.
    Tables(String, Option<String>, Option<String>),
    /// SHOW [db.]STABLES [LIKE].
    Stables(Option<String>, Option<String>),
    /// SHOW [db.]VGROUPS.
    Vgroups(Option<String>),
    /// SHOW TAGS FROM child [FROM db].
    Tags(TableName),
    /// SHOW TABLE TAGS [tag, …] FROM st.
    TableTags(Vec<String>, TableName),
    /// SHOW CREATE TABLE, SHOW CREATE STABLE.
    CreateTable(TableName),
    /// SHOW CREATE DATABASE.
    CreateDatabase(String),
    /// SHOW CREATE VIEW.
    CreateView(TableName),
    /// SHOW COMPACT id.
    Compact(i64),
    /// SHOW db.ALIVE.
    Alive(Option<String>),
    /// SHOW DNODES, MNODES, VNODES, USERS, CLUSTER, VARIABLES, QUERIES, CONNECTIONS, VIEWS, TRANSACTIONS, COMPACTS, …: lower case.
    Thing(String),
}

/// Known statements that have no meaning of their own here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// Harmless: accepted, with this command tag.
    Accept(&'static str),
    /// Refused with 0A000 and this sentence.
    Refuse(String),
}

/// COPY.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The table, or None for `COPY (query)`.
    pub table: Option<TableName>,
    /// Column list, if given.
    pub columns: Option<Vec<ColumnName>>,
    /// The query of `COPY (query) TO`.
    pub query: Option<Box<ast::Query>>,
    /// FROM STDIN; otherwise TO STDOUT.
    pub from: bool,
    /// Options.
    pub format: CopyFormat,
}
