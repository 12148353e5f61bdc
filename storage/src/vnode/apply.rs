//! Applies an entry: first a plan, which may be refused and changes nothing, then the change, which cannot fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::command::{Applied, Chunk, Creation, Entry, Operation, Rejection, Target};
use model::types::Value;
use model::write::{Effect, Keys};
use model::{ColumnId, Sid, Suid, TimeRange};

use crate::vnode::memtable::{MemChunk, Memtable};
use crate::vnode::registry::Series;
use crate::vnode::retry::Known;
use crate::vnode::state::{FIRST_ROW_ID, State};
use crate::vnode::{Inner, VnodeOptions};

/// What an entry does, checked.
pub(super) struct Plan {
    version: u64,
    steps: Vec<Step>,
    effect: Effect,
}

enum Step {
    Create(Series),
    Rows { suid: Suid, chunk: MemChunk },
    RowIds { suid: Suid, rows: usize },
    DropTable(u32),
    DropRelation(Suid),
    SetTags { sid: u32, values: Vec<(ColumnId, Value)> },
    DeleteRange { suid: Suid, sids: Option<Vec<u32>>, range: TimeRange },
    DeleteKeys { suid: Suid, sids: Vec<u32>, keys: Vec<i64> },
}

/// The state as it will be after the steps planned so far.
struct Planner<'a> {
    state: &'a State,
    options: &'a VnodeOptions,
    version: u64,
    millis: i64,
    created: HashMap<String, (u32, Suid, u64)>,
    dropped_sids: BTreeSet<u32>,
    dropped: BTreeSet<Suid>,
    next_sid: u32,
    row_ids: BTreeMap<Suid, i64>,
    steps: Vec<Step>,
    effect: Effect,
}

/// A table as the planner sees it.
#[derive(Clone, Copy)]
struct Table {
    sid: u32,
    suid: Suid,
    uid: u64,
}

/// What to do with an entry.
pub(super) enum Verdict {
    /// It was applied before, or cannot be told.
    Answer(Applied),
    /// It is refused; this is remembered.
    Refused(Applied),
    Go(Plan),
}

/// Decides what an entry does, without doing it.
pub(super) fn plan(state: &State, options: &VnodeOptions, entry: &Entry) -> Verdict {
    // Writer 0 is nobody: such an entry is not retried.
    if entry.stamp.writer != 0 {
        match state.retries.find((entry.stamp.writer, entry.stamp.seq)) {
            Known::Outcome(applied) => return Verdict::Answer(applied),
            Known::Forgotten => return Verdict::Answer(Applied::Rejected(Rejection::Forgotten)),
            Known::New => {}
        }
    }
    let version = next_version(state, entry);
    if entry.database != options.database || entry.epoch < state.epoch {
        return Verdict::Refused(Applied::Rejected(Rejection::WrongVgroup));
    }
    let mut planner = Planner {
        state,
        options,
        version,
        millis: entry.stamp.millis(),
        created: HashMap::new(),
        dropped_sids: BTreeSet::new(),
        dropped: BTreeSet::new(),
        next_sid: state.next_sid,
        row_ids: BTreeMap::new(),
        steps: Vec::new(),
        effect: Effect::default(),
    };
    for operation in &entry.operations {
        if let Err(rejection) = planner.operation(operation) {
            return Verdict::Refused(Applied::Rejected(rejection));
        }
    }
    Verdict::Go(Plan { version, steps: planner.steps, effect: planner.effect })
}

/// The version of an entry: its clock, and always greater than the one before, so that the order of versions is the
/// order of the log.
pub(super) fn next_version(state: &State, entry: &Entry) -> u64 {
    entry.stamp.hlc.max(state.clock + 1)
}

impl Planner<'_> {
    fn operation(&mut self, operation: &Operation) -> Result<(), Rejection> {
        match operation {
            Operation::Write(chunk) => self.write(chunk),
            Operation::CreateTables { suid, tables, if_not_exists } => {
                self.usable(*suid)?;
                tables.iter().try_for_each(|table| self.create_table(*suid, table, *if_not_exists))
            }
            Operation::DropTables { suid, names } => names.iter().try_for_each(|name| self.drop_table(*suid, name)),
            Operation::DropRelation { suid } => {
                self.drop_relation(*suid);
                Ok(())
            }
            Operation::SetTags { suid, name, values } => {
                let table = self.table_of(*suid, name)?;
                self.steps.push(Step::SetTags { sid: table.sid, values: values.clone() });
                Ok(())
            }
            Operation::DeleteRange { suid, sids, range, counted } => {
                self.usable(*suid)?;
                let sids = match sids {
                    Some(sids) => Some(self.live_sids(*suid, sids)?),
                    None => None,
                };
                self.forget_rows(*suid, |sid, key| {
                    range.contains(key) && sids.as_ref().is_none_or(|sids| sids.contains(&sid))
                });
                self.effect.deleted += counted;
                self.steps.push(Step::DeleteRange { suid: *suid, sids, range: *range });
                Ok(())
            }
            Operation::DeleteKeys { suid, sids, keys, counted } => {
                self.usable(*suid)?;
                let sids = self.live_sids(*suid, sids)?;
                let gone: BTreeSet<(u32, i64)> = sids.iter().copied().zip(keys.iter().copied()).collect();
                self.forget_rows(*suid, |sid, key| gone.contains(&(sid, key)));
                self.effect.deleted += counted;
                self.steps.push(Step::DeleteKeys { suid: *suid, sids, keys: keys.clone() });
                Ok(())
            }
        }
    }

    /// Refuses what was dropped.
    fn usable(&self, suid: Suid) -> Result<(), Rejection> {
        let dropped = self.state.dropped.contains(&suid) || self.dropped.contains(&suid);
        if dropped { Err(Rejection::Stale) } else { Ok(()) }
    }

    fn by_name(&self, name: &str) -> Option<Table> {
        if let Some((sid, suid, uid)) = self.created.get(name) {
            return Some(Table { sid: *sid, suid: *suid, uid: *uid });
        }
        let series = self.state.by_name(name)?;
        let known = Table { sid: series.sid, suid: series.suid, uid: series.uid };
        (!self.dropped_sids.contains(&known.sid)).then_some(known)
    }

    fn by_sid(&self, sid: u32) -> Option<Table> {
        let series = self.state.by_sid(sid)?;
        let known = Table { sid, suid: series.suid, uid: series.uid };
        (!self.dropped_sids.contains(&sid)).then_some(known)
    }

    /// The table of a relation, or `NoTable`.
    fn table_of(&self, suid: Suid, name: &str) -> Result<Table, Rejection> {
        self.usable(suid)?;
        let table = self.by_name(name).filter(|table| table.suid == suid);
        table.ok_or_else(|| Rejection::NoTable(name.to_owned()))
    }

    /// Checks that every sid is a table of the relation. Gives them ascending if they were.
    fn live_sids(&self, suid: Suid, sids: &[Sid]) -> Result<Vec<u32>, Rejection> {
        let live = |sid: &Sid| match self.by_sid(sid.0) {
            Some(known) if known.suid == suid => Ok(sid.0),
            _ => Err(Rejection::Stale),
        };
        sids.iter().map(live).collect()
    }

    fn create_table(&mut self, suid: Suid, table: &Creation, if_not_exists: bool) -> Result<(), Rejection> {
        match self.by_name(&table.name) {
            Some(known) if known.suid != suid => Err(Rejection::OtherRelation(table.name.clone())),
            Some(_) if if_not_exists => Ok(()),
            Some(_) => Err(Rejection::TableExists(table.name.clone())),
            None => self.create(suid, table).map(drop),
        }
    }

    fn create(&mut self, suid: Suid, table: &Creation) -> Result<u32, Rejection> {
        if !self.options.owns(&table.name) {
            return Err(Rejection::WrongVgroup);
        }
        let sid = self.next_sid;
        self.next_sid += 1;
        self.created.insert(table.name.clone(), (sid, suid, table.uid));
        let mut series = Series {
            sid,
            suid,
            uid: table.uid,
            name: Arc::from(table.name.as_str()),
            tags: Vec::with_capacity(table.tags.len()),
            created_ms: self.millis,
        };
        for (id, value) in &table.tags {
            series.set_tag(*id, value.clone());
        }
        self.steps.push(Step::Create(series));
        self.effect.created += 1;
        Ok(sid)
    }

    fn drop_table(&mut self, suid: Suid, name: &str) -> Result<(), Rejection> {
        let table = self.table_of(suid, name)?;
        self.created.remove(name);
        self.dropped_sids.insert(table.sid);
        self.steps.push(Step::DropTable(table.sid));
        self.effect.dropped += 1;
        Ok(())
    }

    fn drop_relation(&mut self, suid: Suid) {
        let created = self.created.values().filter(|(_, of, _)| *of == suid).count();
        let stored: Vec<u32> = self
            .state
            .relation(suid)
            .iter()
            .map(|series| series.sid)
            .filter(|sid| !self.dropped_sids.contains(sid))
            .collect();
        self.effect.dropped += (created + stored.len()) as u64;
        self.created.retain(|_, (_, of, _)| *of != suid);
        self.dropped_sids.extend(stored);
        self.dropped.insert(suid);
        self.steps.push(Step::DropRelation(suid));
    }

    /// A delete hides older versions only; rows of the same entry are taken out of the plan.
    fn forget_rows(&mut self, suid: Suid, hit: impl Fn(u32, i64) -> bool) {
        for step in &mut self.steps {
            if let Step::Rows { suid: of, chunk } = step
                && *of == suid
                && (0..chunk.rows()).any(|row| hit(chunk.sids[row], chunk.keys[row]))
            {
                match chunk.retain(|sid, key| !hit(sid, key)) {
                    Some(rest) => *chunk = rest,
                    None => *step = Step::RowIds { suid, rows: 0 },
                }
            }
        }
    }

    fn write(&mut self, chunk: &Chunk) -> Result<(), Rejection> {
        self.usable(chunk.suid)?;
        let mut sids = Vec::with_capacity(chunk.targets.len());
        for target in &chunk.targets {
            sids.push(self.target(chunk.suid, target)?);
        }
        let rows = chunk.keys.len();
        let keys = match &chunk.keys {
            Keys::Given(keys) => keys.clone(),
            Keys::Assigned(_) => {
                let stored = || self.state.row_ids.get(&chunk.suid).copied().unwrap_or(FIRST_ROW_ID);
                let next = self.row_ids.entry(chunk.suid).or_insert_with(stored);
                let first = *next;
                *next += rows as i64;
                self.steps.push(Step::RowIds { suid: chunk.suid, rows });
                (first..first + rows as i64).collect()
            }
        };
        if rows == 0 {
            return Ok(());
        }
        let sids = match &chunk.ordinals[..] {
            [] => vec![sids[0]; rows],
            ordinals => ordinals.iter().map(|ordinal| sids[*ordinal as usize]).collect(),
        };
        self.effect.written += rows as u64;
        let chunk =
            Step::Rows { suid: chunk.suid, chunk: MemChunk::new(sids, keys, self.version, chunk.columns.clone()) };
        self.steps.push(chunk);
        Ok(())
    }

    fn target(&mut self, suid: Suid, target: &Target) -> Result<u32, Rejection> {
        match target {
            Target::Existing { uid, sid } => match self.by_sid(sid.0) {
                Some(known) if known.uid == *uid && known.suid == suid => Ok(sid.0),
                _ => Err(Rejection::Stale),
            },
            Target::Create(table) => match self.by_name(&table.name) {
                Some(known) if known.suid == suid => Ok(known.sid),
                Some(_) => Err(Rejection::OtherRelation(table.name.clone())),
                None => self.create(suid, table),
            },
        }
    }
}

impl Inner {
    /// Does what was planned.
    pub(super) fn carry_out(&mut self, plan: Plan, options: &VnodeOptions) -> Applied {
        let version = plan.version;
        for step in plan.steps {
            self.step(step, version, options);
        }
        Applied::Done(plan.effect)
    }

    fn step(&mut self, step: Step, version: u64, options: &VnodeOptions) {
        let state = &mut self.state;
        match step {
            Step::Create(series) => {
                state.next_sid = state.next_sid.max(series.sid + 1);
                state.put_series(series);
            }
            Step::Rows { suid, chunk } => {
                let active: &mut Memtable = &mut self.active;
                active.push(suid, chunk, options.precision);
            }
            Step::RowIds { suid, rows } => {
                if rows > 0 {
                    state.assign_row_ids(suid, rows);
                }
            }
            Step::DropTable(sid) => state.remove_series(sid),
            Step::DropRelation(suid) => {
                state.drop_relation(suid);
                self.active.drop_relation(suid);
                fail::fail_point!("drop.relation", |_| std::process::abort());
            }
            Step::SetTags { sid, values } => {
                if let Some(series) = state.by_sid(sid) {
                    let mut series = Series::clone(series);
                    values.into_iter().for_each(|(id, value)| series.set_tag(id, value));
                    state.put_series(series);
                }
            }
            Step::DeleteRange { suid, sids, range } => {
                state.count_delete(suid);
                state.delete_range(suid, sids.as_deref(), range, version);
            }
            Step::DeleteKeys { suid, sids, keys } => {
                state.count_delete(suid);
                state.change_tombstones(suid, |tombstones| {
                    for (sid, key) in sids.iter().zip(&keys) {
                        tombstones.delete_key(*sid, *key, version);
                    }
                });
            }
        }
    }
}
