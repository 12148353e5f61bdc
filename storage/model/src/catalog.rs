//! The metadata of a cluster: an immutable snapshot and the changes that make the next one.
//!
//! The mnode group replicates [`CatalogChange`]s; applying one to a [`Catalog`] is a pure function (in `cluster`).
//! Every statement plans on one snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{ColumnId, DatabaseId, DnodeId, Suid, VgroupId};
use crate::options::DatabaseOptions;
use crate::schema::{Column, Relation, RelationKind};

/// All metadata at one index of the mnode group's log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// The log index that this snapshot reflects.
    pub index: u64,
    /// Given once, at the founding of the cluster.
    pub cluster_id: u64,
    /// Milliseconds since the epoch of the founding.
    pub created_ms: i64,
    /// By name.
    pub databases: BTreeMap<String, Arc<Database>>,
    /// Every vgroup of every database.
    pub vgroups: BTreeMap<VgroupId, Vgroup>,
    /// Every dnode that was authorised and not dropped.
    pub dnodes: BTreeMap<DnodeId, Dnode>,
    /// The dnodes that carry a replica of the mnode group.
    pub mnodes: BTreeMap<DnodeId, Mnode>,
    /// By name.
    pub users: BTreeMap<String, User>,
    /// The ids that come next.
    pub next: NextIds,
    /// The dnodes that have joined, each with the number that its data directory was given then: a dnode that comes
    /// back with another number has lost its data. The founder is not among them. Last, see `cluster`'s catalog file.
    pub joined: BTreeMap<DnodeId, u128>,
}

/// The ids that the next created objects get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextIds {
    /// For databases.
    pub database: DatabaseId,
    /// For relations.
    pub suid: Suid,
    /// For vgroups; 0 is the mnode group.
    pub vgroup: VgroupId,
    /// For dnodes.
    pub dnode: DnodeId,
    /// For Raft replicas, never reused.
    pub replica: u64,
    /// For writer incarnations: half of the key of exactly-once retries.
    pub writer: u64,
}

impl Default for NextIds {
    fn default() -> Self {
        Self { database: DatabaseId(1), suid: Suid(1), vgroup: VgroupId(2), dnode: DnodeId(1), replica: 1, writer: 1 }
    }
}

/// One database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// Never reused.
    pub id: DatabaseId,
    /// Its name.
    pub name: String,
    /// What CREATE and ALTER DATABASE asked for.
    pub options: DatabaseOptions,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
    /// Super, normal and plain tables by name.
    pub relations: BTreeMap<String, Arc<Relation>>,
    /// Views by name.
    pub views: BTreeMap<String, Arc<View>>,
    /// Its shards in the order of their hash ranges.
    pub vgroups: Vec<VgroupId>,
}

/// A stored SELECT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Its id, from the same row of numbers as relations.
    pub suid: Suid,
    /// Its name.
    pub name: String,
    /// The SELECT as given.
    pub query: String,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
}

/// One shard of one database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vgroup {
    /// Its id.
    pub id: VgroupId,
    /// The database that it belongs to.
    pub database: DatabaseId,
    /// First hash inside.
    pub hash_begin: u32,
    /// Last hash inside.
    pub hash_end: u32,
    /// Who carries it.
    pub replicas: Vec<Replica>,
    /// Grows when the range or the replicas change.
    pub epoch: u64,
}

/// One replica of a vgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The Raft node id. Never reused.
    pub id: u64,
    /// Where it is.
    pub dnode: DnodeId,
}

/// One server process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dnode {
    /// Its id.
    pub id: DnodeId,
    /// `host:port` of its internal port.
    pub endpoint: String,
    /// Most vnodes that it may carry.
    pub support_vnodes: u32,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
}

/// A replica of the mnode group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mnode {
    /// Its Raft node id.
    pub replica: u64,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// A SCRAM-SHA-256 verifier, or none: then only loopback may connect.
    pub password: Option<ScramVerifier>,
    /// May do everything.
    pub superuser: bool,
    /// May connect.
    pub enabled: bool,
    /// May see the system tables.
    pub sysinfo: bool,
    /// May create databases.
    pub createdb: bool,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
}

/// What the server keeps of a password (RFC 5802, as PostgreSQL's `SCRAM-SHA-256$…`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramVerifier {
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// `SaltedPassword := Hi(password, salt, iterations)`.
    pub salted_password: Vec<u8>,
}

impl std::fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramVerifier(…)")
    }
}

impl Catalog {
    /// The database of this name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.get(name)
    }

    /// The database of this id.
    #[must_use]
    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<Database>> {
        self.databases.values().find(|database| database.id == id)
    }

    /// The vgroup that is the registry of the table name `name` in `database`.
    ///
    /// # Panics
    ///
    /// If the database's vgroups do not cover the hash space: the catalog is broken.
    #[must_use]
    pub fn vgroup_of(&self, database: &Database, name: &str) -> &Vgroup {
        let hash = crate::hash::table_hash(name);
        let at = database.vgroups.partition_point(|id| self.vgroups[id].hash_end < hash);
        &self.vgroups[&database.vgroups[at]]
    }

    /// The relation with this id and its database.
    #[must_use]
    pub fn relation(&self, suid: Suid) -> Option<(&Arc<Database>, &Arc<Relation>)> {
        self.databases.values().find_map(|database| {
            let relation = database.relations.values().find(|relation| relation.suid == suid)?;
            Some((database, relation))
        })
    }
}

/// One step of DDL. Whatever can be refused by looking at the catalog is refused in applying it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CatalogChange {
    /// The first entry: names the cluster, its first dnode and the user `root`.
    Found {
        /// Random, never zero.
        cluster_id: u64,
        /// The founder's internal endpoint.
        endpoint: String,
        /// Most vnodes that it may carry.
        support_vnodes: u32,
    },
    /// CREATE DATABASE.
    CreateDatabase {
        /// Its name.
        name: String,
        /// Its options, complete.
        options: DatabaseOptions,
        /// Do nothing if it exists.
        if_not_exists: bool,
    },
    /// ALTER DATABASE: replaces the options.
    AlterDatabase {
        /// Its id.
        database: DatabaseId,
        /// The new options, complete.
        options: DatabaseOptions,
    },
    /// DROP DATABASE.
    DropDatabase {
        /// Its id.
        database: DatabaseId,
    },
    /// CREATE STABLE or CREATE TABLE of a normal or plain table. Column ids are given out here.
    CreateRelation {
        /// Where.
        database: DatabaseId,
        /// Its name.
        name: String,
        /// What.
        kind: RelationKind,
        /// Columns, the key first; ids are ignored.
        columns: Vec<Column>,
        /// Tags; ids are ignored.
        tags: Vec<Column>,
        /// Positions in `columns` that make the primary key.
        primary_key: Vec<u16>,
        /// `COMMENT`.
        comment: Option<String>,
        /// Do nothing if it exists.
        if_not_exists: bool,
    },
    /// ALTER STABLE or ALTER TABLE.
    AlterRelation {
        /// Which.
        suid: Suid,
        /// The version that the session looked at; another one is refused with 40001.
        version: u32,
        /// What to change.
        change: RelationChange,
    },
    /// DROP STABLE or DROP TABLE of a normal or plain table.
    DropRelation {
        /// Which.
        suid: Suid,
    },
    /// CREATE VIEW.
    CreateView {
        /// Where.
        database: DatabaseId,
        /// Its name.
        name: String,
        /// The SELECT.
        query: String,
        /// Replace one of that name.
        or_replace: bool,
    },
    /// DROP VIEW.
    DropView {
        /// Where.
        database: DatabaseId,
        /// Its name.
        name: String,
    },
    /// CREATE USER or ALTER USER: puts the whole record.
    PutUser {
        /// The record; `created_ms` is kept if the user exists.
        user: User,
        /// Refuse if the user exists.
        create: bool,
    },
    /// DROP USER.
    DropUser {
        /// Its name.
        name: String,
    },
    /// Takes a writer incarnation: the number is in the reply.
    TakeWriter,
    /// CREATE DNODE: authorises a server process.
    CreateDnode {
        /// `host:port` of its internal port.
        endpoint: String,
        /// Most vnodes that it may carry.
        support_vnodes: u32,
    },
    /// CREATE MNODE: gives a dnode a replica of the mnode group, which its membership is to follow.
    CreateMnode {
        /// Which dnode.
        dnode: DnodeId,
    },
    /// A server process joins: as the dnode that was authorised under its endpoint, else as a new one.
    Join {
        /// `host:port` of its internal port.
        endpoint: String,
        /// Most vnodes that it may carry.
        support_vnodes: u32,
        /// Random, kept in its data directory.
        uuid: u128,
    },
}

/// One ALTER of a relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RelationChange {
    /// ADD COLUMN; the id is given out in apply.
    AddColumn(Column),
    /// DROP COLUMN.
    DropColumn(ColumnId),
    /// MODIFY COLUMN: a longer string or a new compression.
    ModifyColumn(Column),
    /// RENAME COLUMN.
    RenameColumn(ColumnId, String),
    /// ADD TAG; the id is given out in apply.
    AddTag(Column),
    /// DROP TAG.
    DropTag(ColumnId),
    /// MODIFY TAG.
    ModifyTag(Column),
    /// RENAME TAG.
    RenameTag(ColumnId, String),
    /// COMMENT.
    Comment(Option<String>),
    /// RENAME TO. Plain and super tables only: a normal table's name decides its vgroup.
    Rename(String),
}

/// What applying a change gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Defined {
    /// Done.
    Done,
    /// Done nothing: the object was there (IF NOT EXISTS).
    Existed,
    /// The id of the new relation or view.
    Relation(Suid),
    /// The writer incarnation.
    Writer(u64),
    /// The dnode that has joined.
    Dnode(DnodeId),
}
