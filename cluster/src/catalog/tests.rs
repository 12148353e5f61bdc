//! Every change and refusal, as goldenscripts in `testscripts/catalog`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use model::catalog::{CatalogChange, RelationChange, User};
use model::options::DatabaseOptions;
use model::schema::{Column, Relation, RelationKind};
use model::{Catalog, ColumnId, DataType, DatabaseId, DnodeId, Precision, Suid};

/// Runs a script against one catalog; the stamp is the number of changes before.
#[derive(Default)]
struct Script {
    catalog: Catalog,
    changes: i64,
}

fn data_type(text: &str) -> Result<DataType, String> {
    let (name, arguments) = text.split_once('(').unwrap_or((text, ""));
    let numbers: Vec<u32> =
        arguments.trim_end_matches(')').split(',').filter_map(|number| number.trim().parse().ok()).collect();
    let first = numbers.first().copied().unwrap_or(0);
    Ok(match name {
        "timestamp" => DataType::Timestamp,
        "int" => DataType::Int,
        "double" => DataType::Double,
        "varchar" => DataType::Varchar(first),
        "nchar" => DataType::NChar(first),
        "json" => DataType::Json,
        "text" => DataType::Text,
        "decimal" => DataType::Decimal(first as u8, numbers[1] as i8),
        other => return Err(format!("unknown type {other}")),
    })
}

/// `name type, name type not_null, n*int` (the last makes n columns).
fn columns(text: &str) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        if let Some((count, kind)) = part.split_once('*') {
            let (first, kind) = (columns.len(), data_type(kind)?);
            let count: usize = count.parse().map_err(|_| format!("bad count {count}"))?;
            columns.extend((first..first + count).map(|at| Column::new(ColumnId(0), format!("c{at}"), kind)));
            continue;
        }
        let mut words = part.split(' ');
        let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut column = Column::new(ColumnId(0), name, data_type(kind)?);
        column.nullable = words.next() != Some("not_null");
        columns.push(column);
    }
    Ok(columns)
}

impl Script {
    fn database(&self, name: &str) -> DatabaseId {
        self.catalog.database(name).map_or(DatabaseId(999), |database| database.id)
    }

    fn relation(&self, path: &str) -> Option<&Relation> {
        let (database, name) = path.split_once('.')?;
        self.catalog.database(database)?.relations.get(name).map(std::convert::AsRef::as_ref)
    }

    fn column(&self, path: &str, name: &str) -> ColumnId {
        let relation = self.relation(path);
        let found = relation.and_then(|relation| relation.column(name).or_else(|| relation.tag(name)));
        found.map_or(ColumnId(999), |column| column.id)
    }

    fn change(&self, command: &Command) -> Result<Option<CatalogChange>, Box<dyn Error>> {
        let mut args = command.consume_args();
        let name = args.next_pos().unwrap_or_default().to_owned();
        let change = match command.name.as_str() {
            "found" => CatalogChange::Found { cluster_id: 42, endpoint: "a:6030".to_owned(), support_vnodes: 8 },
            "create-database" => CatalogChange::CreateDatabase {
                if_not_exists: args.take_key("if_not_exists").is_some(),
                options: options(DatabaseOptions::default(), &mut args)?,
                name,
            },
            "alter-database" => {
                let database = self.database(&name);
                let old = self.catalog.database(&name).map(|database| database.options.clone()).unwrap_or_default();
                CatalogChange::AlterDatabase { database, options: options(old, &mut args)? }
            }
            "drop-database" => CatalogChange::DropDatabase { database: self.database(&name) },
            "create" => self.create(&name, &mut args)?,
            "alter" => CatalogChange::AlterRelation {
                suid: self.relation(&name).map_or(Suid(999), |relation| relation.suid),
                version: match args.take_key("version") {
                    Some(version) => version.parse()?,
                    None => self.relation(&name).map_or(0, |relation| relation.version),
                },
                change: self.alter(&name, &mut args)?,
            },
            "drop" => CatalogChange::DropRelation { suid: self.relation(&name).map_or(Suid(999), |found| found.suid) },
            "create-view" | "drop-view" => {
                let (database, view) = name.split_once('.').ok_or("a view is database.name")?;
                let (database, view) = (self.database(database), view.to_owned());
                if command.name == "create-view" {
                    let or_replace = args.take_key("or_replace").is_some();
                    CatalogChange::CreateView { database, name: view, query: "select 1".to_owned(), or_replace }
                } else {
                    CatalogChange::DropView { database, name: view }
                }
            }
            "put-user" => {
                let create = args.take_key("create").is_some();
                let enabled = args.take_key("disabled").is_none();
                let superuser = args.take_key("superuser").is_some();
                let user =
                    User { name, password: None, superuser, enabled, sysinfo: true, createdb: false, created_ms: 0 };
                CatalogChange::PutUser { user, create }
            }
            "drop-user" => CatalogChange::DropUser { name },
            "create-dnode" => CatalogChange::CreateDnode { endpoint: name, support_vnodes: 8 },
            "join" => {
                let uuid = args.take_key("uuid").unwrap_or("7").parse()?;
                CatalogChange::Join { endpoint: name, support_vnodes: 8, uuid }
            }
            "create-mnode" => CatalogChange::CreateMnode { dnode: DnodeId(name.parse()?) },
            "take-writer" => CatalogChange::TakeWriter,
            _ => return Ok(None),
        };
        args.reject_next()?;
        Ok(Some(change))
    }

    fn create(&self, path: &str, args: &mut ArgumentConsumer<'_>) -> Result<CatalogChange, Box<dyn Error>> {
        let (database, name) = path.split_once('.').ok_or("a relation is database.name")?;
        let kind = match args.take_key("kind").unwrap_or("super") {
            "super" => RelationKind::Super,
            "normal" => RelationKind::Normal,
            _ => RelationKind::Plain,
        };
        let key = args.take_key("key").map(|key| key.split(',').map(str::parse).collect::<Result<_, _>>());
        Ok(CatalogChange::CreateRelation {
            database: self.database(database),
            name: if name == "long" { "x".repeat(193) } else { name.to_owned() },
            kind,
            columns: columns(args.take_key("columns").unwrap_or_default())?,
            tags: columns(args.take_key("tags").unwrap_or_default())?,
            primary_key: key.transpose()?.unwrap_or_default(),
            comment: None,
            if_not_exists: args.take_key("if_not_exists").is_some(),
        })
    }

    fn alter(&self, path: &str, args: &mut ArgumentConsumer<'_>) -> Result<RelationChange, Box<dyn Error>> {
        let (what, value) = args.next_key().ok_or("what to alter")?;
        let one = |text: &str| columns(text).map(|mut columns| columns.remove(0));
        let known = |text: &str| one(text).map(|column| Column { id: self.column(path, &column.name), ..column });
        let renamed = |text: &str| {
            let (old, new) = text.split_once('>').unwrap_or((text, ""));
            (self.column(path, old), new.to_owned())
        };
        Ok(match what {
            "add" => RelationChange::AddColumn(one(value)?),
            "drop" => RelationChange::DropColumn(self.column(path, value)),
            "modify" => RelationChange::ModifyColumn(known(value)?),
            "rename" => {
                let (id, name) = renamed(value);
                RelationChange::RenameColumn(id, name)
            }
            "add_tag" => RelationChange::AddTag(one(value)?),
            "drop_tag" => RelationChange::DropTag(self.column(path, value)),
            "modify_tag" => RelationChange::ModifyTag(known(value)?),
            "rename_tag" => {
                let (id, name) = renamed(value);
                RelationChange::RenameTag(id, name)
            }
            "comment" => RelationChange::Comment(Some(value.to_owned())),
            "to" => RelationChange::Rename(value.to_owned()),
            other => return Err(format!("unknown change {other}").into()),
        })
    }

    fn show(&self) -> String {
        let mut text = String::new();
        for database in self.catalog.databases.values() {
            let _ = writeln!(text, "{} {}", database.id, database.name);
            for vgroup in &database.vgroups {
                let vgroup = &self.catalog.vgroups[vgroup];
                let replicas: Vec<String> =
                    vgroup.replicas.iter().map(|replica| format!("r{}@{}", replica.id, replica.dnode)).collect();
                let (first, last) = (vgroup.hash_begin, vgroup.hash_end);
                let _ = writeln!(text, "  {} {first:08x}-{last:08x} {}", vgroup.id, replicas.join(" "));
            }
            for relation in database.relations.values() {
                let list = |columns: &[Column]| {
                    let one = |column: &Column| {
                        let null = if column.nullable { "" } else { " not null" };
                        format!("{} {} {}{null}", column.id, column.name, column.data_type)
                    };
                    columns.iter().map(one).collect::<Vec<_>>().join(", ")
                };
                let (columns, tags) = (list(&relation.columns), list(&relation.tags));
                let _ = write!(text, "  {} {:?} {} v{}", relation.suid, relation.kind, relation.name, relation.version);
                let _ = writeln!(text, " ({columns}) tags ({tags}) key {:?}", relation.primary_key);
            }
            for view in database.views.values() {
                let _ = writeln!(text, "  {} view {}", view.suid, view.name);
            }
        }
        text
    }
}

fn options(mut options: DatabaseOptions, args: &mut ArgumentConsumer<'_>) -> Result<DatabaseOptions, Box<dyn Error>> {
    while let Some((key, value)) = args.next_key() {
        match key {
            "vgroups" => options.vgroups = value.parse()?,
            "replica" => options.replica = value.parse()?,
            "keep" => {
                let minutes: Vec<u32> = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
                options.keep_minutes = [minutes[0], minutes[1], minutes[2]];
            }
            "duration" => options.duration_minutes = value.parse()?,
            "precision" => options.precision = Precision::Micro,
            "wal_level" => options.wal_level = value.parse()?,
            "single_stable" => options.single_stable = true,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(options)
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        if command.name == "show" {
            return Ok(self.show());
        }
        let change = self.change(command)?.ok_or_else(|| format!("unknown command {}", command.name))?;
        let before = self.catalog.clone();
        match super::apply(&before, &change, self.changes) {
            Ok((catalog, defined)) => {
                self.changes += 1;
                self.catalog = catalog;
                Ok(format!("{defined:?}"))
            }
            Err(error) => Err(format!("{} {error}", error.state().code()).into()),
        }
    }
}

#[test]
fn every_change_and_refusal() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts/catalog");
    let mut ran = 0;
    for entry in std::fs::read_dir(scripts).expect("the scripts are in the repository") {
        let path = entry.expect("readable").path();
        goldenscript::run(&mut Script::default(), &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        ran += 1;
    }
    assert!(ran >= 4, "only {ran} scripts were found");
}
