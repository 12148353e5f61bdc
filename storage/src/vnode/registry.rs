//! The tables of a vnode: who has which sid. Cheap to take a snapshot of.

use std::sync::Arc;

use model::types::Value;
use model::{ColumnId, Sid, Suid};
use serde::{Deserialize, Serialize};

use crate::vnode::SeriesInfo;

/// Series in one part of a [`SeriesList`]: what a change copies while a scan holds the list.
const PART_MAX: usize = 512;

/// One table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) sid: u32,
    pub(crate) suid: Suid,
    pub(crate) uid: u64,
    pub(crate) name: Arc<str>,
    /// Tags that are not NULL, by ascending id.
    pub(crate) tags: Vec<(ColumnId, Value)>,
    pub(crate) created_ms: i64,
}

impl Series {
    /// The value of a tag.
    pub(crate) fn tag(&self, id: ColumnId) -> &Value {
        match self.tags.binary_search_by_key(&id, |(tag, _)| *tag) {
            Ok(at) => &self.tags[at].1,
            Err(_) => &Value::Null,
        }
    }

    /// Sets a tag; NULL removes it.
    pub(crate) fn set_tag(&mut self, id: ColumnId, value: Value) {
        match (self.tags.binary_search_by_key(&id, |(tag, _)| *tag), value) {
            (Ok(at), Value::Null) => drop(self.tags.remove(at)),
            (Ok(at), value) => self.tags[at].1 = value,
            (Err(_), Value::Null) => {}
            (Err(at), value) => self.tags.insert(at, (id, value)),
        }
    }

    pub(crate) fn info(&self) -> SeriesInfo {
        SeriesInfo {
            suid: self.suid,
            uid: self.uid,
            sid: Sid(self.sid),
            name: self.name.to_string(),
            tags: self.tags.clone(),
            created_ms: self.created_ms,
        }
    }
}

/// The tables of one relation by ascending sid. A clone shares everything, a change copies one part.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeriesList {
    parts: Vec<Arc<Vec<Arc<Series>>>>,
    len: usize,
}

impl SeriesList {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    pub(crate) fn get(&self, sid: u32) -> Option<&Arc<Series>> {
        let (part, at) = self.find(sid)?;
        Some(&self.parts[part][at])
    }

    fn find(&self, sid: u32) -> Option<(usize, usize)> {
        let part = self.parts.partition_point(|part| part.first().is_some_and(|first| first.sid <= sid));
        let part = part.checked_sub(1)?;
        let at = self.parts[part].binary_search_by_key(&sid, |series| series.sid).ok()?;
        Some((part, at))
    }

    /// Adds a series, or replaces the one of its sid. A new sid is greater than all others.
    pub(crate) fn put(&mut self, series: Arc<Series>) {
        if let Some((part, at)) = self.find(series.sid) {
            Arc::make_mut(&mut self.parts[part])[at] = series;
            return;
        }
        self.len += 1;
        match self.parts.last_mut() {
            Some(part) if part.len() < PART_MAX => Arc::make_mut(part).push(series),
            _ => self.parts.push(Arc::new(vec![series])),
        }
    }

    pub(crate) fn remove(&mut self, sid: u32) {
        if let Some((part, at)) = self.find(sid) {
            self.len -= 1;
            Arc::make_mut(&mut self.parts[part]).remove(at);
            if self.parts[part].is_empty() {
                self.parts.remove(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(sid: u32) -> Arc<Series> {
        Arc::new(Series { sid, suid: Suid(1), uid: 0, name: "t".into(), tags: Vec::new(), created_ms: 0 })
    }

    #[test]
    fn a_snapshot_does_not_see_later_changes() {
        let mut list = SeriesList::default();
        for sid in 0..2000 {
            list.put(series(sid));
        }
        let snapshot = list.clone();
        for sid in (0..2000).step_by(3) {
            list.remove(sid);
        }
        list.put(series(5000));
        assert_eq!(snapshot.len(), 2000);
        assert_eq!(snapshot.iter().count(), 2000);
        assert_eq!(list.len(), list.iter().count());
        assert!(list.get(3).is_none() && list.get(4).is_some() && list.get(5000).is_some());
        assert!(snapshot.get(3).is_some() && snapshot.get(5000).is_none());
        for sid in 0..5001 {
            list.remove(sid);
        }
        assert_eq!((list.len(), list.iter().count()), (0, 0));
    }
}
