//! Plans that the sessions of a process share, by the texts that they were made of without their literals.
//!
//! A text gets in when it comes for the second time, so that what is asked once costs nothing. Start reading at
//! [`Plans::find`].

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::datatypes::TimeUnit;
use datafusion::common::ScalarValue;
use parking_lot::Mutex;

use crate::plan::coerce::parse_instant;
use crate::plan::filter::unit_nanos;
use crate::plan::template::Template;
use crate::plan::{PlanContext, coerce};

/// Texts that have plans at most.
const TEXTS_MAX: usize = 256;
/// Bytes of these texts at most.
const BYTES_MAX: usize = 1 << 20;
/// Plans of one text: for other databases, time zones, or literals that are part of the plan.
const PLANS_MAX: usize = 4;
/// Texts that are remembered to have come once.
const SEEN_MAX: usize = 4096;
/// So many plans are made of a text before one of them is used.
const CREDIT: u32 = 8;

/// What a literal of a text is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Slot {
    /// A part of the plan.
    Fixed(String),
    /// A value of a column of text.
    Text,
    /// A value of a column of times, with its unit and zone.
    Time(TimeUnit, Arc<str>),
}

/// A plan and the literals that it was made for.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) template: Template,
    /// In the order of the text.
    pub(super) slots: Vec<Slot>,
}

impl Known {
    /// The values of the parameters, in their order, if the plan is for these literals.
    pub(super) fn values(&self, literals: &[String], context: &PlanContext) -> Option<Vec<ScalarValue>> {
        if self.slots.len() != literals.len() {
            return None;
        }
        let mut values = Vec::with_capacity(literals.len());
        for (slot, literal) in self.slots.iter().zip(literals) {
            match slot {
                Slot::Fixed(own) if own == literal => {}
                Slot::Fixed(_) => return None,
                Slot::Text => values.push(ScalarValue::from(literal.as_str())),
                Slot::Time(unit, zone) => values.push(instant(literal, *unit, zone, context)?),
            }
        }
        Some(values)
    }
}

/// A literal as a whole number of ticks. None where the statement by itself has to say what it is.
pub(super) fn instant(text: &str, unit: TimeUnit, zone: &Arc<str>, context: &PlanContext) -> Option<ScalarValue> {
    let nanos = parse_instant(text, context).ok()?;
    let tick = i128::from(unit_nanos(unit));
    let ticks = i64::try_from(nanos.div_euclid(tick)).ok()?;
    (nanos.rem_euclid(tick) == 0).then(|| coerce::timestamp(unit, ticks, Arc::clone(zone)))
}

/// What is known of a text.
pub(super) enum Found {
    /// It has not come before.
    New,
    /// It has, and has no plan yet.
    Again,
    /// These are its plans.
    Plans(Vec<Arc<Known>>),
    /// No plan can be made of it.
    Hopeless,
}

struct Entry {
    plans: Vec<Arc<Known>>,
    /// Plans that may still be made of it; uses give some back.
    credit: u32,
    /// When it was last asked for.
    used: u64,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    bytes: usize,
    seen: HashSet<u64>,
    clock: u64,
}

/// The plans of a process.
#[derive(Default)]
pub(super) struct Plans {
    inner: Mutex<Inner>,
    hasher: RandomState,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Plans {
    /// What is known of a text.
    pub(super) fn find(&self, text: &str) -> Found {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        if let Some(entry) = inner.entries.get_mut(text) {
            entry.used = now;
            return if entry.plans.is_empty() && entry.credit == 0 {
                Found::Hopeless
            } else {
                Found::Plans(entry.plans.clone())
            };
        }
        let hash = self.hasher.hash_one(text);
        if inner.seen.len() >= SEEN_MAX {
            inner.seen.clear();
        }
        if inner.seen.insert(hash) { Found::New } else { Found::Again }
    }

    /// Whether another plan of this text may be made.
    pub(super) fn may_learn(&self, text: &str) -> bool {
        self.inner.lock().entries.get(text).is_none_or(|entry| entry.credit > 0)
    }

    /// Keeps a plan of this text, or that there can be none.
    pub(super) fn learn(&self, text: &str, known: Option<Known>, context: &PlanContext) {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        if !inner.entries.contains_key(text) {
            inner.make_room(text.len());
            inner.bytes += text.len();
            inner.entries.insert(text.to_owned(), Entry { plans: Vec::new(), credit: CREDIT, used: now });
        }
        let Some(entry) = inner.entries.get_mut(text) else { return };
        entry.used = now;
        let Some(known) = known else {
            entry.credit = if entry.plans.is_empty() { 0 } else { entry.credit.saturating_sub(1) };
            return;
        };
        let before = entry.plans.len();
        entry.plans.retain(|plan| plan.template.is_of(context));
        // Metadata that changes makes new plans of the same texts.
        entry.credit = if entry.plans.len() < before { CREDIT } else { entry.credit.saturating_sub(1) };
        if entry.plans.len() >= PLANS_MAX {
            entry.plans.remove(0);
        }
        entry.plans.push(Arc::new(known));
    }

    /// Counts a statement that was not planned by itself.
    pub(super) fn hit(&self, text: Option<&str>) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        if let Some(text) = text
            && let Some(entry) = self.inner.lock().entries.get_mut(text)
        {
            entry.credit = (entry.credit + 1).min(CREDIT);
        }
    }

    /// Counts a query that was.
    pub(super) fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Queries that were not planned by themselves since the start, and those that were.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

impl Inner {
    /// Forgets what was not used for the longest time, until another text fits.
    fn make_room(&mut self, bytes: usize) {
        while !self.entries.is_empty() && (self.entries.len() >= TEXTS_MAX || self.bytes + bytes > BYTES_MAX) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(text, _)| text.clone());
            let Some(oldest) = oldest else { return };
            self.entries.remove(&oldest);
            self.bytes -= oldest.len();
        }
    }
}
