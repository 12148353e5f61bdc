//! DDL: databases, tables, views and users. Each takes effect at once, also inside a transaction block, with a NOTICE.

use model::catalog::{CatalogChange, Defined, RelationChange, User};
use model::options::DatabaseOptions;
use model::schema::{Relation, RelationKind, Table};
use model::write::{Change, NewTable, TableRef, WriteBatch};
use model::{Result, SqlState, error, fail};

use super::resolve::{self, Object, Resolved};
use super::{Notice, Session};
use crate::statement::{
    AlterTable, CreateChild, CreateTable, DatabaseOption, Statement, TableName, UserOptions, Using,
};

impl Session {
    pub(super) async fn create_database(
        &mut self,
        name: &str,
        given: &[DatabaseOption],
        if_not_exists: bool,
    ) -> Result<String> {
        let mut options = DatabaseOptions::default();
        self.apply_options(&mut options, given);
        check_options(&options)?;
        let change = CatalogChange::CreateDatabase { name: name.to_owned(), options, if_not_exists };
        if self.engine.plane.define(change).await? == Defined::Existed {
            self.notice("42P04", format!("database \"{name}\" already exists, skipping"));
        }
        Ok("CREATE DATABASE".to_owned())
    }

    pub(super) async fn alter_database(&mut self, name: &str, given: &[DatabaseOption]) -> Result<String> {
        let database = resolve::database(self.plane(), name).await?;
        for option in given {
            let fixed = match option {
                DatabaseOption::Vgroups(_) => Some("VGROUPS"),
                DatabaseOption::Precision(_) => Some("PRECISION"),
                DatabaseOption::DurationMinutes(_) => Some("DURATION"),
                DatabaseOption::MaxRows(_) => Some("MAXROWS"),
                DatabaseOption::Comp(_) => Some("COMP"),
                DatabaseOption::PageSizeKb(_) => Some("PAGESIZE"),
                DatabaseOption::SingleStable(_) => Some("SINGLE_STABLE"),
                _ => None,
            };
            if let Some(option) = fixed {
                fail!(FeatureNotSupported, "{option} cannot be changed after CREATE DATABASE");
            }
        }
        let mut options = database.options.clone();
        self.apply_options(&mut options, given);
        check_options(&options)?;
        self.engine.plane.define(CatalogChange::AlterDatabase { database: database.id, options }).await?;
        Ok("ALTER DATABASE".to_owned())
    }

    fn apply_options(&mut self, options: &mut DatabaseOptions, given: &[DatabaseOption]) {
        for option in given {
            option.apply(options);
            if let DatabaseOption::Ignored(name) = option {
                self.notice("00000", format!("option {name} is accepted without effect"));
            }
        }
    }

    pub(super) async fn drop_database(&mut self, name: &str, if_exists: bool) -> Result<String> {
        let done = "DROP DATABASE".to_owned();
        if name == "postgres" {
            fail!(ObjectInUse, "database \"postgres\" cannot be dropped: clients connect to it by default");
        }
        let database = match resolve::database(self.plane(), name).await {
            Ok(database) => database,
            Err(error) if if_exists && error.state() == SqlState::InvalidCatalogName => {
                self.notice("00000", format!("database \"{name}\" does not exist, skipping"));
                return Ok(done);
            }
            Err(error) => return Err(error),
        };
        self.engine.plane.define(CatalogChange::DropDatabase { database: database.id }).await?;
        Ok(done)
    }

    pub(super) async fn create_table(&mut self, create: CreateTable) -> Result<String> {
        if create.temporary {
            return Err(error!(FeatureNotSupported, "temporary tables are not supported")
                .with_hint("CREATE TABLE … WITH (kind = 'plain') makes an ordinary relational table"));
        }
        let tag = if create.stable { "CREATE STABLE" } else { "CREATE TABLE" };
        let kind = relation_kind(&create)?;
        let with_default = create.columns.iter().find(|column| column.default.is_some());
        if let (true, Some(column)) = (kind != RelationKind::Plain, with_default) {
            return Err(error!(FeatureNotSupported, "DEFAULT of column \"{}\" in a time series", column.name)
                .with_hint(
                    "A column that an INSERT leaves out keeps its old value, or is NULL; plain tables have defaults.",
                )
                .at(create.table.position));
        }
        let database = resolve::database_of(self.plane(), &self.database, &create.table).await?;
        if self.exists_already(&create.table, create.if_not_exists).await? {
            return Ok(tag.to_owned());
        }
        self.advise(kind, &create);
        for option in &create.ignored {
            self.notice("00000", format!("option {option} is accepted without effect"));
        }
        let name = create.table.name.clone();
        let change = CatalogChange::CreateRelation {
            database: database.id,
            name: name.clone(),
            kind,
            columns: create.columns,
            tags: create.tags.unwrap_or_default(),
            primary_key: create.primary_key,
            comment: create.comment,
            if_not_exists: create.if_not_exists,
        };
        match self.engine.plane.define(change).await? {
            Defined::Relation(suid) if kind != RelationKind::Super => {
                let tables = vec![NewTable { name, tags: Vec::new() }];
                let change = Change::CreateTables { suid, tables, if_not_exists: false };
                let batch = WriteBatch { database: database.id, changes: vec![change] };
                let written = self.engine.plane.write(batch).await.and_then(|outcome| outcome.total());
                if let Err(error) = written {
                    // The name belongs to a child by now: the relation must not stay behind without its series.
                    self.engine.plane.define(CatalogChange::DropRelation { suid }).await?;
                    return Err(error);
                }
            }
            Defined::Existed => self.notice("42P07", format!("relation \"{name}\" already exists, skipping")),
            _ => {}
        }
        Ok(tag.to_owned())
    }

    /// Whether a table of this name is there and may be passed over.
    async fn exists_already(&mut self, table: &TableName, if_not_exists: bool) -> Result<bool> {
        let found = resolve::tables(self.plane(), &self.database, std::slice::from_ref(table)).await?.pop().flatten();
        match found {
            None => Ok(false),
            Some(_) if if_not_exists => {
                self.notice("42P07", format!("relation \"{}\" already exists, skipping", table.name));
                Ok(true)
            }
            Some(_) => Err(error!(DuplicateTable, "relation \"{}\" already exists", table.name).at(table.position)),
        }
    }

    /// The first CREATE TABLE of a normal table in a session says what that means.
    fn advise(&mut self, kind: RelationKind, create: &CreateTable) {
        if kind == RelationKind::Normal && create.kind.is_none() && !self.advised {
            self.advised = true;
            self.notice(
                "00000",
                format!(
                    "\"{}\" is a time series: a second row at the same time updates the first; WITH (kind = 'plain') \
                     makes an ordinary relational table",
                    create.table.name
                ),
            );
        }
    }

    pub(super) async fn create_children(&mut self, children: Vec<CreateChild>) -> Result<String> {
        let mut batches: Vec<WriteBatch> = Vec::new();
        for child in children {
            let database = resolve::database_of(self.plane(), &self.database, &child.table).await?;
            let stable = self.stable(&child.using.stable).await?;
            if database.relations.contains_key(&child.table.name) {
                if child.if_not_exists {
                    self.notice("42P07", format!("relation \"{}\" already exists, skipping", child.table.name));
                    continue;
                }
                return Err(
                    error!(DuplicateTable, "relation \"{}\" already exists", child.table.name).at(child.table.position)
                );
            }
            let tags = self.tag_values(stable.relation()?, &child.using, database.options.precision).await?;
            let table = NewTable { name: child.table.name, tags };
            let suid = stable.relation()?.suid;
            let change = Change::CreateTables { suid, tables: vec![table], if_not_exists: child.if_not_exists };
            match batches.iter_mut().find(|batch| batch.database == database.id) {
                Some(batch) => push_create(batch, change),
                None => batches.push(WriteBatch { database: database.id, changes: vec![change] }),
            }
        }
        for batch in batches {
            self.engine.plane.write(batch).await?.total()?;
        }
        Ok("CREATE TABLE".to_owned())
    }

    /// Child tables that held rows create are made at once, like all DDL inside a transaction, so that the transaction's
    /// own reads find them by name and tags. The rows stay held.
    pub(super) async fn create_held_children(&mut self, batch: &mut WriteBatch) -> Result<()> {
        let mut changes = Vec::new();
        for change in &mut batch.changes {
            let Change::Rows(rows) = change else { continue };
            let create = |table: &mut TableRef| Some(NewTable { name: table.name.clone(), tags: table.create.take()? });
            let tables: Vec<NewTable> = rows.tables.iter_mut().filter_map(create).collect();
            if !tables.is_empty() {
                changes.push(Change::CreateTables { suid: rows.suid, tables, if_not_exists: true });
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let made = self.engine.plane.write(WriteBatch { database: batch.database, changes }).await?.total()?;
        if made.created > 0 && self.transaction.is_block() {
            self.notice(
                "00000",
                format!("{} child tables are created at once, whatever becomes of the transaction", made.created),
            );
        }
        Ok(())
    }

    /// The super table of this name.
    ///
    /// # Errors
    ///
    /// `UndefinedTable`, or `WrongObjectType` for something else.
    pub(super) async fn stable(&self, name: &TableName) -> Result<Resolved> {
        let found = resolve::table(self.plane(), &self.database, name).await?;
        match &found.object {
            Object::Table(Table::Relation(relation)) if relation.kind == RelationKind::Super => Ok(found),
            Object::Table(Table::Child(_)) => {
                Err(error!(WrongObjectType, "\"{}\" is a child table, not a super table", name.name).at(name.position))
            }
            _ => Err(error!(WrongObjectType, "\"{}\" is not a super table", name.name).at(name.position)),
        }
    }

    pub(super) async fn alter_table(
        &mut self,
        table: &TableName,
        changes: Vec<AlterTable>,
        stable: bool,
        if_exists: bool,
    ) -> Result<String> {
        let tag = if stable { "ALTER STABLE" } else { "ALTER TABLE" };
        let found = resolve::tables(self.plane(), &self.database, std::slice::from_ref(table)).await?.pop().flatten();
        let Some(found) = found else {
            if if_exists {
                self.notice("00000", format!("relation \"{}\" does not exist, skipping", table.name));
                return Ok(tag.to_owned());
            }
            return Err(resolve::undefined(table));
        };
        for change in changes {
            // Every change sees what the one before it made of the relation.
            let found = resolve::table(self.plane(), &self.database, table).await.unwrap_or(found.clone());
            self.alter_one(&found, table, change, stable).await?;
        }
        Ok(tag.to_owned())
    }

    async fn alter_one(&mut self, found: &Resolved, table: &TableName, change: AlterTable, stable: bool) -> Result<()> {
        let relation = match &found.object {
            Object::Table(Table::Relation(relation)) => relation.clone(),
            Object::Table(Table::Child(child)) => {
                let AlterTable::SetTags(values) = change else {
                    return match change {
                        AlterTable::Ignored(name) => {
                            self.notice("00000", format!("{name} is accepted without effect"));
                            Ok(())
                        }
                        _ => Err(error!(
                            WrongObjectType,
                            "\"{}\" is a child table: only its tags can be changed", table.name
                        )
                        .with_hint(format!(
                            "ALTER STABLE {} changes the schema of all its child tables",
                            child.parent.name
                        ))
                        .at(table.position)),
                    };
                };
                let using = set_tags_as_using(&child.parent, table, values);
                let values = self.given_tags(&child.parent, &using, found.database.options.precision).await?;
                let change = Change::SetTags { suid: child.parent.suid, name: child.name.clone(), values };
                let batch = WriteBatch { database: found.database.id, changes: vec![change] };
                self.engine.plane.write(batch).await?.total()?;
                return Ok(());
            }
            Object::View(_) => fail!(WrongObjectType, "\"{}\" is a view", table.name),
        };
        if stable && relation.kind != RelationKind::Super {
            return Err(error!(WrongObjectType, "\"{}\" is not a super table", table.name).at(table.position));
        }
        let Some(change) = self.relation_change(&relation, change)? else { return Ok(()) };
        let change = CatalogChange::AlterRelation { suid: relation.suid, version: relation.version, change };
        self.engine.plane.define(change).await?;
        Ok(())
    }

    /// The replicated form of one change, None if it has no effect.
    fn relation_change(&mut self, relation: &Relation, change: AlterTable) -> Result<Option<RelationChange>> {
        let column = |name: &str| {
            relation.column(name).map(|column| column.id).ok_or_else(|| undefined_column(relation, "column", name))
        };
        let tag =
            |name: &str| relation.tag(name).map(|tag| tag.id).ok_or_else(|| undefined_column(relation, "tag", name));
        Ok(Some(match change {
            AlterTable::AddColumn(column) => RelationChange::AddColumn(column),
            AlterTable::DropColumn(name) => RelationChange::DropColumn(column(&name)?),
            AlterTable::ModifyColumn(mut changed) => {
                let before = relation
                    .column(&changed.name)
                    .ok_or_else(|| undefined_column(relation, "column", &changed.name))?;
                changed.id = before.id;
                changed.compression = changed.compression.over(&before.compression);
                RelationChange::ModifyColumn(changed)
            }
            AlterTable::ModifyCompression(name, compression) => {
                let mut changed =
                    relation.column(&name).cloned().ok_or_else(|| undefined_column(relation, "column", &name))?;
                changed.compression = compression.over(&changed.compression);
                changed.compression.check(&name, changed.data_type)?;
                RelationChange::ModifyColumn(changed)
            }
            AlterTable::RenameColumn(from, to) => RelationChange::RenameColumn(column(&from)?, to),
            AlterTable::AddTag(tag) => RelationChange::AddTag(tag),
            AlterTable::DropTag(name) => RelationChange::DropTag(tag(&name)?),
            AlterTable::ModifyTag(mut changed) => {
                changed.id = tag(&changed.name)?;
                RelationChange::ModifyTag(changed)
            }
            AlterTable::RenameTag(from, to) => RelationChange::RenameTag(tag(&from)?, to),
            AlterTable::Comment(text) => RelationChange::Comment((!text.is_empty()).then_some(text)),
            AlterTable::Rename(to) => RelationChange::Rename(to),
            AlterTable::SetTags(_) => {
                return Err(error!(
                    WrongObjectType,
                    "\"{}\" is not a child table: it has no tag values", relation.name
                ));
            }
            AlterTable::Ignored(name) => {
                self.notice("00000", format!("{name} is accepted without effect"));
                return Ok(None);
            }
        }))
    }

    pub(super) async fn drop_tables(&mut self, names: &[TableName], if_exists: bool, stable: bool) -> Result<String> {
        let tag = if stable { "DROP STABLE" } else { "DROP TABLE" };
        let found = resolve::tables(self.plane(), &self.database, names).await?;
        // All names are looked at before the first one goes.
        for (name, found) in names.iter().zip(&found) {
            match found {
                None if !if_exists => return Err(resolve::undefined(name)),
                Some(Resolved { object: Object::View(_), .. }) => {
                    return Err(error!(WrongObjectType, "\"{}\" is a view", name.name).with_hint("Use DROP VIEW."));
                }
                Some(found) if stable && found.relation()?.kind != RelationKind::Super => {
                    return Err(error!(WrongObjectType, "\"{}\" is not a super table", name.name).at(name.position));
                }
                _ => {}
            }
        }
        for (name, found) in names.iter().zip(found) {
            let Some(found) = found else {
                self.notice("00000", format!("table \"{}\" does not exist, skipping", name.name));
                continue;
            };
            match found.object {
                Object::Table(Table::Child(child)) => {
                    let change = Change::DropTables { suid: child.parent.suid, names: vec![child.name] };
                    let batch = WriteBatch { database: found.database.id, changes: vec![change] };
                    self.engine.plane.write(batch).await?.total()?;
                }
                Object::Table(Table::Relation(relation)) => {
                    self.engine.plane.define(CatalogChange::DropRelation { suid: relation.suid }).await?;
                }
                Object::View(_) => {}
            }
        }
        Ok(tag.to_owned())
    }

    pub(super) async fn create_view(&mut self, view: &TableName, query: String, or_replace: bool) -> Result<String> {
        let database = resolve::database_of(self.plane(), &self.database, view).await?;
        let change = CatalogChange::CreateView { database: database.id, name: view.name.clone(), query, or_replace };
        self.engine.plane.define(change).await?;
        Ok("CREATE VIEW".to_owned())
    }

    pub(super) async fn drop_view(&mut self, view: &TableName, if_exists: bool) -> Result<String> {
        let database = resolve::database_of(self.plane(), &self.database, view).await?;
        if if_exists && !database.views.contains_key(&view.name) {
            self.notice("00000", format!("view \"{}\" does not exist, skipping", view.name));
        } else {
            self.engine
                .plane
                .define(CatalogChange::DropView { database: database.id, name: view.name.clone() })
                .await?;
        }
        Ok("DROP VIEW".to_owned())
    }

    pub(super) async fn create_user(
        &mut self,
        name: &str,
        options: &UserOptions,
        if_not_exists: bool,
    ) -> Result<String> {
        let catalog = self.engine.plane.refresh().await?;
        if if_not_exists && catalog.users.contains_key(name) {
            self.notice("42710", format!("role \"{name}\" already exists, skipping"));
            return Ok("CREATE ROLE".to_owned());
        }
        let fresh = User {
            name: name.to_owned(),
            password: None,
            superuser: false,
            enabled: true,
            sysinfo: true,
            createdb: false,
            created_ms: 0,
        };
        self.put_user(fresh, options, true).await?;
        Ok("CREATE ROLE".to_owned())
    }

    pub(super) async fn alter_user(&mut self, name: &str, options: &UserOptions) -> Result<String> {
        let catalog = self.engine.plane.refresh().await?;
        let user = catalog.users.get(name).cloned();
        let user = user.ok_or_else(|| error!(UndefinedObject, "role \"{name}\" does not exist"))?;
        self.put_user(user, options, false).await?;
        Ok("ALTER ROLE".to_owned())
    }

    async fn put_user(&mut self, mut user: User, options: &UserOptions, create: bool) -> Result<()> {
        if let Some(password) = &options.password {
            let cleared = password.as_deref() == Some("") && !options.pass;
            if cleared {
                self.notice("00000", "empty string is not a valid password, clearing password".to_owned());
            }
            user.password = match password {
                Some(password) if !cleared => {
                    check_password(password, options.pass)?;
                    Some((self.engine.scram)(password)?)
                }
                _ => None,
            };
        }
        user.enabled = options.enabled.unwrap_or(user.enabled);
        user.sysinfo = options.sysinfo.unwrap_or(user.sysinfo);
        user.createdb = options.createdb.unwrap_or(user.createdb);
        user.superuser = options.superuser.unwrap_or(user.superuser);
        self.engine.plane.define(CatalogChange::PutUser { user, create }).await?;
        Ok(())
    }

    pub(super) async fn drop_user(&mut self, name: &str, if_exists: bool) -> Result<String> {
        let catalog = self.engine.plane.refresh().await?;
        if if_exists && !catalog.users.contains_key(name) {
            self.notice("00000", format!("role \"{name}\" does not exist, skipping"));
            return Ok("DROP ROLE".to_owned());
        }
        if name == self.login.user {
            fail!(ObjectInUse, "current user cannot be dropped");
        }
        self.engine.plane.define(CatalogChange::DropUser { name: name.to_owned() }).await?;
        Ok("DROP ROLE".to_owned())
    }

    /// Databases and users are a superuser's; a user may change the own password, and create databases where allowed.
    pub(super) fn check_privilege(&self, statement: &Statement) -> Result<()> {
        let catalog = self.engine.plane.catalog();
        let user = catalog.users.get(&self.login.user);
        if user.is_none_or(|user| user.superuser) {
            return Ok(());
        }
        let createdb = user.is_some_and(|user| user.createdb);
        let what = match statement {
            Statement::CreateDatabase { .. } if !createdb => "to create database",
            Statement::AlterDatabase { .. } | Statement::DropDatabase { .. } => "to change or drop a database",
            Statement::CreateDnode { .. } | Statement::CreateMnode { .. } => "to change the cluster",
            Statement::CreateUser { .. } | Statement::DropUser { .. } => "to create or drop users",
            Statement::AlterUser { name, options } => {
                let own =
                    UserOptions { password: options.password.clone(), pass: options.pass, ..UserOptions::default() };
                if *name == self.login.user && *options == own {
                    return Ok(());
                }
                "to change this user"
            }
            _ => return Ok(()),
        };
        fail!(InsufficientPrivilege, "permission denied {what}")
    }

    pub(super) fn notice(&mut self, code: &'static str, message: String) {
        self.notices.push(Notice { severity: "NOTICE", code, message });
    }
}

/// TDengine's rules for PASS; PostgreSQL has none for PASSWORD, but takes what was hashed by the client, which we cannot.
fn check_password(password: &str, pass: bool) -> Result<()> {
    let md5 = |hash: &str| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    if password.starts_with("SCRAM-SHA-256$") || password.strip_prefix("md5").is_some_and(md5) {
        return Err(error!(FeatureNotSupported, "a password that the client has hashed is not supported")
            .with_hint("Send the password itself: ALTER USER … PASSWORD '…'."));
    }
    if !pass {
        return Ok(());
    }
    if !(8..=255).contains(&password.chars().count()) {
        return Err(error!(InvalidParameterValue, "a password has 8 to 255 characters")
            .with_hint("PASSWORD '…' takes shorter ones."));
    }
    let classes: [fn(char) -> bool; 4] =
        [|c| c.is_uppercase(), |c| c.is_lowercase(), |c| c.is_numeric(), |c| !c.is_alphanumeric()];
    if classes.iter().filter(|class| password.chars().any(**class)).count() < 3 {
        return Err(error!(InvalidParameterValue, "a password needs three of: upper case, lower case, digits, others")
            .with_hint("PASSWORD '…' takes simpler ones."));
    }
    Ok(())
}

/// Tables of the same relation that follow one another are one change.
fn push_create(batch: &mut WriteBatch, change: Change) {
    if let (
        Some(Change::CreateTables { suid, tables, if_not_exists }),
        Change::CreateTables { suid: next_suid, tables: next, if_not_exists: next_if },
    ) = (batch.changes.last_mut(), &change)
        && *suid == *next_suid
        && *if_not_exists == *next_if
    {
        tables.extend(next.iter().cloned());
        return;
    }
    batch.changes.push(change);
}

/// `SET TAG a = 1, b = 2` is the tag list and values of a USING clause.
fn set_tags_as_using(
    stable: &Relation,
    table: &TableName,
    values: Vec<(crate::statement::ColumnName, sqlparser::ast::Expr)>,
) -> Using {
    let (tags, values) = values.into_iter().unzip();
    let stable = TableName { qualifier: Vec::new(), name: stable.name.clone(), position: table.position };
    Using { stable, tags: Some(tags), values, positions: Vec::new(), opens: table.position }
}

fn undefined_column(relation: &Relation, what: &str, name: &str) -> model::Error {
    error!(UndefinedColumn, "{what} \"{name}\" of relation \"{}\" does not exist", relation.name)
}

/// Which kind of table a CREATE asks for: decision 23 of the design.
fn relation_kind(create: &CreateTable) -> Result<RelationKind> {
    if create.tags.is_some() {
        return Ok(RelationKind::Super);
    }
    if create.stable {
        return Err(error!(SyntaxError, "CREATE STABLE needs TAGS (…)").at(create.table.position));
    }
    let timed = create.columns.first().is_some_and(|column| column.data_type == model::DataType::Timestamp);
    match create.kind.as_deref() {
        Some("plain") => Ok(RelationKind::Plain),
        Some("series") if timed => Ok(RelationKind::Normal),
        Some("series") => Err(error!(InvalidTableDefinition, "the first column of a time series must be a TIMESTAMP")),
        Some(other) => {
            Err(error!(InvalidParameterValue, "unknown kind of table '{other}'")
                .with_hint("It is 'plain' or 'series'."))
        }
        None if timed && create.columns.len() > 1 && create.primary_key.is_empty() && !create.serial => {
            Ok(RelationKind::Normal)
        }
        None => Ok(RelationKind::Plain),
    }
}

/// The rules that tie options to one another.
fn check_options(options: &DatabaseOptions) -> Result<()> {
    let [tier0, tier1, tier2] = options.keep_minutes;
    if tier0 > tier1 || tier1 > tier2 {
        fail!(InvalidParameterValue, "KEEP must not fall from one tier to the next");
    }
    if tier0 < options.duration_minutes.saturating_mul(3) {
        return Err(error!(
            InvalidParameterValue,
            "KEEP ({} minutes) must be at least three times DURATION ({} minutes)", tier0, options.duration_minutes
        )
        .with_hint("Lower DURATION or raise KEEP."));
    }
    if options.precision == model::Precision::Nano && u64::from(tier2) > 365 * 292 * 1440 {
        fail!(InvalidParameterValue, "KEEP of a database in nanoseconds is at most 106580 days");
    }
    if options.minrows > options.maxrows {
        fail!(InvalidParameterValue, "MINROWS must not be larger than MAXROWS");
    }
    Ok(())
}
