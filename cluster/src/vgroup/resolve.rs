//! Names become sids: the last thing that happens to a write before it stands in the log.
//!
//! What is found here may be gone when the entry is applied; then the vnode rejects it as stale and the gateway asks
//! again.

use model::command::{Chunk, Creation, Operation, Target};
use model::write::Tables;
use model::{Result, Suid, error, fail};
use storage::vnode::{TableId, Vnode};

use super::replica::failed;
use crate::hlc::Uids;
use crate::plane::share::{Part, Step};

/// Whether resolving reads rows, and so blocks on the disk.
pub(crate) fn reads_rows(part: &Part) -> bool {
    let reads = |step: &Step| matches!(step.operation, Operation::DeleteRange { .. } | Operation::DeleteKeys { .. });
    part.steps.iter().any(reads)
}

/// The operations of a part as the log wants them.
///
/// # Errors
///
/// 42P01 for a table that must be there and is not, 42P07 for a name that another relation has.
pub(crate) fn resolve(vnode: &Vnode, part: &Part, uids: &Uids) -> Result<Vec<Operation>> {
    part.steps.iter().map(|step| one(vnode, step, uids)).collect()
}

fn one(vnode: &Vnode, step: &Step, uids: &Uids) -> Result<Operation> {
    Ok(match &step.operation {
        Operation::Write(chunk) => Operation::Write(write(vnode, chunk, &step.names, uids)?),
        Operation::CreateTables { suid, tables, if_not_exists } => {
            let with_uid = |table: &Creation| Creation { uid: uids.next(), ..table.clone() };
            let tables = tables.iter().map(with_uid).collect();
            Operation::CreateTables { suid: *suid, tables, if_not_exists: *if_not_exists }
        }
        Operation::DeleteRange { suid, range, .. } => {
            let tables = if step.names.is_empty() { Tables::All } else { Tables::Named(step.names.clone()) };
            let found = vnode.resolve_range(*suid, &tables, *range).map_err(failed)?;
            Operation::DeleteRange { suid: *suid, sids: found.sids, range: *range, counted: found.counted }
        }
        Operation::DeleteKeys { suid, sids, keys, .. } => {
            let ordinals: Vec<u32> = sids.iter().map(|sid| sid.0).collect();
            let found = vnode.resolve_keys(*suid, &step.names, &ordinals, keys).map_err(failed)?;
            Operation::DeleteKeys { suid: *suid, sids: found.sids, keys: found.keys, counted: found.counted }
        }
        other @ (Operation::DropTables { .. } | Operation::DropRelation { .. } | Operation::SetTags { .. }) => {
            other.clone()
        }
    })
}

fn write(vnode: &Vnode, chunk: &Chunk, names: &[String], uids: &Uids) -> Result<Chunk> {
    let found = vnode.find(names);
    let targets = chunk.targets.iter().zip(names).zip(found);
    let targets = targets.map(|((wanted, name), found)| target(chunk.suid, wanted, name, found, uids));
    Ok(Chunk {
        suid: chunk.suid,
        version: chunk.version,
        targets: targets.collect::<Result<_>>()?,
        ordinals: chunk.ordinals.clone(),
        keys: chunk.keys.clone(),
        columns: chunk.columns.clone(),
    })
}

fn target(suid: Suid, wanted: &Target, name: &str, found: Option<TableId>, uids: &Uids) -> Result<Target> {
    match (found, wanted) {
        (Some(found), _) if found.suid == suid => Ok(Target::Existing { uid: found.uid, sid: found.sid }),
        (Some(_), Target::Create(_)) => fail!(DuplicateTable, "table \"{name}\" exists in another super table"),
        (None, Target::Create(creation)) => Ok(Target::Create(Creation { uid: uids.next(), ..creation.clone() })),
        (_, Target::Existing { .. }) => Err(error!(UndefinedTable, "table \"{name}\" does not exist")
            .with_detail("The statement gives no tags for it, so it is not created; or it was dropped meanwhile.")
            .with_hint("give its tags too, or create it first: CREATE TABLE … USING … TAGS (…)")),
    }
}
