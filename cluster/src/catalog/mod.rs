//! What the mnode group agrees on: [`apply`] makes the next [`Catalog`] from a [`CatalogChange`].
//!
//! Pure: the same catalog, change and stamp give the same answer on every replica. All refusals of DDL that need
//! nothing but metadata are here, so that a race between two sessions is decided by the log and by nothing else.

mod limits;
mod placement;
mod relation;

use std::sync::Arc;

use model::catalog::{CatalogChange, Database, Defined, Dnode, Mnode, User, Vgroup, View};
use model::options::DatabaseOptions;
use model::{Catalog, DatabaseId, DnodeId, Result, error, fail};

/// Databases that are made of system tables.
pub const SYSTEM_DATABASES: [&str; 3] = ["information_schema", "performance_schema", "pg_catalog"];

/// The user that founds a cluster.
pub const ROOT: &str = "root";

/// The catalog after `change`, and what the change gave. `stamp_ms` is the leader's time. The index of the result is
/// the one of `catalog`: whoever knows the log position sets it.
///
/// # Errors
///
/// The refusal as the client is to see it; the catalog stays as it is.
pub fn apply(catalog: &Catalog, change: &CatalogChange, stamp_ms: i64) -> Result<(Catalog, Defined)> {
    let mut next = catalog.clone();
    let defined = match change {
        CatalogChange::Found { cluster_id, endpoint, support_vnodes } => {
            found(&mut next, *cluster_id, endpoint, *support_vnodes, stamp_ms)?
        }
        CatalogChange::CreateDatabase { name, options, if_not_exists } => {
            create_database(&mut next, name, options, *if_not_exists, stamp_ms)?
        }
        CatalogChange::AlterDatabase { database, options } => alter_database(&mut next, *database, options)?,
        CatalogChange::DropDatabase { database } => drop_database(&mut next, *database)?,
        CatalogChange::CreateRelation { .. } => relation::create(&mut next, change, stamp_ms)?,
        CatalogChange::AlterRelation { suid, version, change } => {
            relation::alter(&mut next, *suid, *version, change, stamp_ms)?
        }
        CatalogChange::DropRelation { suid } => relation::drop(&mut next, *suid)?,
        CatalogChange::CreateView { database, name, query, or_replace } => {
            create_view(&mut next, *database, name, query, *or_replace, stamp_ms)?
        }
        CatalogChange::DropView { database, name } => drop_view(&mut next, *database, name)?,
        CatalogChange::PutUser { user, create } => put_user(&mut next, user, *create, stamp_ms)?,
        CatalogChange::DropUser { name } => drop_user(&mut next, name)?,
        CatalogChange::TakeWriter => {
            let writer = next.next.writer;
            next.next.writer += 1;
            Defined::Writer(writer)
        }
        CatalogChange::CreateDnode { endpoint, support_vnodes } => {
            create_dnode(&mut next, endpoint, *support_vnodes, stamp_ms)?
        }
        CatalogChange::CreateMnode { dnode } => create_mnode(&mut next, *dnode, stamp_ms)?,
        CatalogChange::Join { endpoint, support_vnodes, uuid } => {
            join(&mut next, endpoint, *support_vnodes, *uuid, stamp_ms)?
        }
    };
    Ok((next, defined))
}

fn found(
    catalog: &mut Catalog,
    cluster_id: u64,
    endpoint: &str,
    support_vnodes: u32,
    stamp_ms: i64,
) -> Result<Defined> {
    if catalog.cluster_id != 0 {
        fail!(DuplicateObject, "the cluster was founded before");
    }
    let dnode = catalog.next.dnode;
    let replica = catalog.next.replica;
    catalog.next.dnode = dnode.next();
    catalog.next.replica += 1;
    catalog.cluster_id = cluster_id;
    catalog.created_ms = stamp_ms;
    catalog
        .dnodes
        .insert(dnode, Dnode { id: dnode, endpoint: endpoint.to_owned(), support_vnodes, created_ms: stamp_ms });
    catalog.mnodes.insert(dnode, Mnode { replica, created_ms: stamp_ms });
    let root = User {
        name: ROOT.to_owned(),
        password: None,
        superuser: true,
        enabled: true,
        sysinfo: true,
        createdb: true,
        created_ms: stamp_ms,
    };
    catalog.users.insert(root.name.clone(), root);
    Ok(Defined::Done)
}

fn create_dnode(catalog: &mut Catalog, endpoint: &str, support_vnodes: u32, stamp_ms: i64) -> Result<Defined> {
    if catalog.dnodes.values().any(|dnode| dnode.endpoint == endpoint) {
        fail!(DuplicateObject, "dnode \"{endpoint}\" already exists");
    }
    let id = catalog.next.dnode;
    catalog.next.dnode = id.next();
    let dnode = Dnode { id, endpoint: endpoint.to_owned(), support_vnodes, created_ms: stamp_ms };
    catalog.dnodes.insert(id, dnode);
    Ok(Defined::Done)
}

fn create_mnode(catalog: &mut Catalog, dnode: DnodeId, stamp_ms: i64) -> Result<Defined> {
    if !catalog.dnodes.contains_key(&dnode) {
        fail!(UndefinedObject, "dnode {} does not exist", dnode.0);
    }
    if dnode != DnodeId(1) && !catalog.joined.contains_key(&dnode) {
        return Err(error!(ObjectNotInPrerequisiteState, "dnode {} has not joined yet", dnode.0)
            .with_hint("Start it with --first-ep first"));
    }
    if catalog.mnodes.contains_key(&dnode) {
        fail!(DuplicateObject, "dnode {} has an mnode already", dnode.0);
    }
    if catalog.mnodes.len() >= limits::MNODES_MAX {
        fail!(ConfigurationLimitExceeded, "a cluster has at most {} mnodes", limits::MNODES_MAX);
    }
    catalog.mnodes.insert(dnode, Mnode { replica: mnode_replica(dnode), created_ms: stamp_ms });
    Ok(Defined::Done)
}

/// The replica of the mnode group that a dnode carries: every dnode follows that group, and an mnode also votes in it.
/// Dnode ids are never reused, so these are not either; they lie beyond all replicas that the catalog gives out. The
/// founder's came from there.
pub(crate) fn mnode_replica(dnode: DnodeId) -> u64 {
    if dnode == DnodeId(1) { 1 } else { 1 << 32 | u64::from(dnode.0) }
}

fn join(catalog: &mut Catalog, endpoint: &str, support_vnodes: u32, uuid: u128, stamp_ms: i64) -> Result<Defined> {
    let known = catalog.dnodes.values().find(|dnode| dnode.endpoint == endpoint).map(|dnode| dnode.id);
    let id = match known {
        Some(id) => id,
        None => {
            create_dnode(catalog, endpoint, support_vnodes, stamp_ms)?;
            DnodeId(catalog.next.dnode.0 - 1)
        }
    };
    match catalog.joined.get(&id) {
        None if id == DnodeId(1) => {
            fail!(DuplicateObject, "\"{endpoint}\" is the endpoint of the dnode that founded the cluster")
        }
        Some(other) if *other != uuid => {
            return Err(error!(
                DuplicateObject,
                "dnode {} has joined from \"{endpoint}\" before, with other data", id.0
            )
            .with_detail("A dnode that has lost its data has forgotten what it voted for and acknowledged")
            .with_hint("Start it with its old data directory, or under an endpoint that no dnode has had"));
        }
        _ => {}
    }
    if let Some(dnode) = catalog.dnodes.get_mut(&id) {
        dnode.support_vnodes = support_vnodes;
    }
    catalog.joined.insert(id, uuid);
    Ok(Defined::Dnode(id))
}

fn create_database(
    catalog: &mut Catalog,
    name: &str,
    options: &DatabaseOptions,
    if_not_exists: bool,
    stamp_ms: i64,
) -> Result<Defined> {
    limits::name("database", name, limits::DATABASE_NAME_BYTES)?;
    if SYSTEM_DATABASES.contains(&name) {
        fail!(DuplicateDatabase, "database \"{name}\" is made of system tables and cannot be created");
    }
    if catalog.databases.contains_key(name) {
        if if_not_exists {
            return Ok(Defined::Existed);
        }
        fail!(DuplicateDatabase, "database \"{name}\" already exists");
    }
    limits::options(options)?;
    let id = catalog.next.database;
    catalog.next.database = id.next();
    let mut vgroups = Vec::new();
    for (hash_begin, hash_end) in model::hash::hash_ranges(options.vgroups) {
        let vgroup = catalog.next.vgroup;
        let replicas = placement::place(catalog, options.replica)?;
        catalog.next.vgroup = vgroup.next();
        catalog.vgroups.insert(vgroup, Vgroup { id: vgroup, database: id, hash_begin, hash_end, replicas, epoch: 1 });
        vgroups.push(vgroup);
    }
    let database = Database {
        id,
        name: name.to_owned(),
        options: options.clone(),
        created_ms: stamp_ms,
        relations: std::collections::BTreeMap::new(),
        views: std::collections::BTreeMap::new(),
        vgroups,
    };
    catalog.databases.insert(name.to_owned(), Arc::new(database));
    Ok(Defined::Done)
}

fn alter_database(catalog: &mut Catalog, id: DatabaseId, options: &DatabaseOptions) -> Result<Defined> {
    let old = database(catalog, id)?.options.clone();
    limits::options(options)?;
    limits::alterable(&old, options)?;
    if options.replica != old.replica {
        placement::enough(catalog, options.replica)?;
        fail!(FeatureNotSupported, "changing REPLICA of a database with data is not supported yet");
    }
    database_mut(catalog, id)?.options = options.clone();
    Ok(Defined::Done)
}

fn drop_database(catalog: &mut Catalog, id: DatabaseId) -> Result<Defined> {
    let name = database(catalog, id)?.name.clone();
    catalog.databases.remove(&name);
    catalog.vgroups.retain(|_, vgroup| vgroup.database != id);
    Ok(Defined::Done)
}

fn create_view(
    catalog: &mut Catalog,
    id: DatabaseId,
    name: &str,
    query: &str,
    or_replace: bool,
    stamp_ms: i64,
) -> Result<Defined> {
    limits::name("view", name, limits::TABLE_NAME_BYTES)?;
    let suid = catalog.next.suid;
    let database = database_mut(catalog, id)?;
    if database.relations.contains_key(name) || (database.views.contains_key(name) && !or_replace) {
        fail!(DuplicateTable, "relation \"{name}\" already exists");
    }
    let view = View { suid, name: name.to_owned(), query: query.to_owned(), created_ms: stamp_ms };
    database.views.insert(name.to_owned(), Arc::new(view));
    catalog.next.suid = suid.next();
    Ok(Defined::Relation(suid))
}

fn drop_view(catalog: &mut Catalog, id: DatabaseId, name: &str) -> Result<Defined> {
    match database_mut(catalog, id)?.views.remove(name) {
        Some(_) => Ok(Defined::Done),
        None => Err(error!(UndefinedTable, "view \"{name}\" does not exist")),
    }
}

fn put_user(catalog: &mut Catalog, user: &User, create: bool, stamp_ms: i64) -> Result<Defined> {
    limits::name("user", &user.name, limits::USER_NAME_BYTES)?;
    let old = catalog.users.get(&user.name);
    match (old, create) {
        (Some(_), true) => fail!(DuplicateObject, "role \"{}\" already exists", user.name),
        (None, false) => fail!(UndefinedObject, "role \"{}\" does not exist", user.name),
        _ => {}
    }
    let created_ms = old.map_or(stamp_ms, |old| old.created_ms);
    if user.name == ROOT && !(user.superuser && user.enabled) {
        fail!(InsufficientPrivilege, "user \"{ROOT}\" must stay an enabled superuser");
    }
    catalog.users.insert(user.name.clone(), User { created_ms, ..user.clone() });
    Ok(Defined::Done)
}

fn drop_user(catalog: &mut Catalog, name: &str) -> Result<Defined> {
    if name == ROOT {
        fail!(InsufficientPrivilege, "user \"{ROOT}\" cannot be dropped");
    }
    match catalog.users.remove(name) {
        Some(_) => Ok(Defined::Done),
        None => Err(error!(UndefinedObject, "role \"{name}\" does not exist")),
    }
}

/// The database of this id, or 3D000.
fn database(catalog: &Catalog, id: DatabaseId) -> Result<&Arc<Database>> {
    catalog.database_by_id(id).ok_or_else(|| gone(id))
}

/// The same to be changed; shared parts are copied first.
fn database_mut(catalog: &mut Catalog, id: DatabaseId) -> Result<&mut Database> {
    let found = catalog.databases.values_mut().find(|database| database.id == id);
    found.map(Arc::make_mut).ok_or_else(|| gone(id))
}

fn gone(id: DatabaseId) -> model::Error {
    error!(InvalidCatalogName, "database {id} does not exist")
        .with_detail("It was dropped while the statement was on its way")
}

#[cfg(test)]
mod tests;
