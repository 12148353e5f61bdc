//! The tables of a vnode: who has which sid. Cheap to take a snapshot of.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, UInt32Array};
use model::types::Value;
use model::{ColumnId, DataType, Precision, Sid, Suid};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::vnode::SeriesInfo;
use crate::vnode::values::array_of;

/// Series in one part of a [`SeriesList`]: what a change copies while a scan holds the list, and whose columns it drops.
const PART_MAX: usize = if cfg!(test) { 64 } else { 4096 };

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
    parts: Vec<Arc<Part>>,
    len: usize,
}

/// Neighbouring tables, and columns of what is known of them, which are made when somebody asks: a predicate on tags is
/// decided column by column, and looking a million tables up one by one takes a tenth of a second.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Ascending.
    sids: Vec<u32>,
    /// As long as `sids`.
    series: Vec<Arc<Series>>,
    columns: Mutex<Vec<(Known, ArrayRef)>>,
}

/// What is known of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Sid,
    Name,
    Uid,
    Created,
    /// A tag, as a type with ticks of a length.
    Tag(ColumnId, DataType, Precision),
}

impl Clone for Part {
    /// Without the columns: whoever copies is about to change something.
    fn clone(&self) -> Self {
        Self { sids: self.sids.clone(), series: self.series.clone(), columns: Mutex::default() }
    }
}

impl Part {
    pub(crate) fn sids(&self) -> &[u32] {
        &self.sids
    }

    pub(crate) fn series(&self) -> &[Arc<Series>] {
        &self.series
    }

    /// A column of all its tables.
    pub(crate) fn column(&self, of: &Known) -> ArrayRef {
        if let Some((_, column)) = self.columns.lock().iter().find(|(known, _)| known == of) {
            return Arc::clone(column);
        }
        let column = of.column(&self.series);
        let mut columns = self.columns.lock();
        if !columns.iter().any(|(known, _)| known == of) {
            columns.push((of.clone(), Arc::clone(&column)));
        }
        column
    }

    fn change(&mut self) -> (&mut Vec<u32>, &mut Vec<Arc<Series>>) {
        self.columns.get_mut().clear();
        (&mut self.sids, &mut self.series)
    }
}

impl Known {
    /// What is known of each of these tables.
    pub(crate) fn column(&self, tables: &[Arc<Series>]) -> ArrayRef {
        match self {
            Self::Sid => Arc::new(UInt32Array::from_iter_values(tables.iter().map(|series| series.sid))),
            Self::Name => Arc::new(StringArray::from_iter_values(tables.iter().map(|series| &*series.name))),
            Self::Uid => Arc::new(Int64Array::from_iter_values(tables.iter().map(|series| series.uid as i64))),
            Self::Created => Arc::new(Int64Array::from_iter_values(tables.iter().map(|series| series.created_ms))),
            Self::Tag(id, data_type, precision) => {
                array_of(*data_type, *precision, tables.iter().map(|series| series.tag(*id)))
            }
        }
    }
}

impl SeriesList {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.parts.iter().flat_map(|part| part.series.iter())
    }

    pub(crate) fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }

    /// Every sid, ascending.
    pub(crate) fn sids(&self) -> Vec<u32> {
        let mut sids = Vec::with_capacity(self.len);
        self.parts.iter().for_each(|part| sids.extend_from_slice(&part.sids));
        sids
    }

    /// For each part that has some of these ascending sids, their places in it.
    pub(crate) fn places<'a>(&'a self, wanted: &'a [Sid]) -> impl Iterator<Item = (&'a Arc<Part>, Vec<u32>)> {
        let mut rest = wanted;
        self.parts.iter().filter_map(move |part| {
            let (first, last) = (*part.sids.first()?, *part.sids.last()?);
            rest = &rest[rest.partition_point(|sid| sid.0 < first)..];
            let (here, after) = rest.split_at(rest.partition_point(|sid| sid.0 <= last));
            rest = after;
            let mut at = 0;
            let place = |sid: &Sid| {
                // Sids are given out in order: the next one is at the next place, if none is missing.
                if part.sids.get(at) != Some(&sid.0) {
                    at += part.sids[at..].partition_point(|other| *other < sid.0);
                }
                let found = part.sids.get(at) == Some(&sid.0);
                at += usize::from(found);
                found.then(|| at as u32 - 1)
            };
            let places: Vec<u32> = here.iter().filter_map(place).collect();
            (!places.is_empty()).then_some((part, places))
        })
    }

    pub(crate) fn get(&self, sid: u32) -> Option<&Arc<Series>> {
        let (part, at) = self.find(sid)?;
        Some(&self.parts[part].series[at])
    }

    fn find(&self, sid: u32) -> Option<(usize, usize)> {
        let part = self.parts.partition_point(|part| part.sids.first().is_some_and(|first| *first <= sid));
        let part = part.checked_sub(1)?;
        let at = self.parts[part].sids.binary_search(&sid).ok()?;
        Some((part, at))
    }

    /// Adds a series, or replaces the one of its sid. A new sid is greater than all others.
    pub(crate) fn put(&mut self, series: Arc<Series>) {
        if let Some((part, at)) = self.find(series.sid) {
            Arc::make_mut(&mut self.parts[part]).change().1[at] = series;
            return;
        }
        self.len += 1;
        match self.parts.last_mut() {
            Some(part) if part.sids.len() < PART_MAX => {
                let (sids, all) = Arc::make_mut(part).change();
                sids.push(series.sid);
                all.push(series);
            }
            _ => {
                let (sids, series) = (vec![series.sid], vec![series]);
                self.parts.push(Arc::new(Part { sids, series, columns: Mutex::default() }));
            }
        }
    }

    pub(crate) fn remove(&mut self, sid: u32) {
        if let Some((part, at)) = self.find(sid) {
            self.len -= 1;
            let (sids, series) = Arc::make_mut(&mut self.parts[part]).change();
            sids.remove(at);
            series.remove(at);
            if self.parts[part].sids.is_empty() {
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

    #[test]
    fn columns_follow_changes() {
        let tagged = |sid: u32, tag: i64| {
            let mut series = Series::clone(&series(sid));
            series.set_tag(ColumnId(9), Value::Int(tag));
            Arc::new(series)
        };
        let known = Known::Tag(ColumnId(9), DataType::Int, Precision::Milli);
        let column = |list: &SeriesList| {
            let parts = list.parts().iter().map(|part| part.column(&known));
            parts.flat_map(|part| crate::codec::natives::<i32>(&part).to_vec()).collect::<Vec<_>>()
        };
        let mut list = SeriesList::default();
        (0..150).for_each(|sid| list.put(tagged(sid, i64::from(sid))));
        let before = list.clone();
        assert_eq!(column(&list), (0..150).collect::<Vec<_>>());
        list.put(tagged(70, -1));
        list.remove(3);
        list.put(tagged(150, 7));
        let mut expected: Vec<i32> = (0..150).collect();
        expected[70] = -1;
        expected.remove(3);
        expected.push(7);
        assert_eq!(column(&list), expected);
        assert_eq!(column(&before), (0..150).collect::<Vec<_>>());
    }

    #[test]
    fn places_of_sids() {
        let mut list = SeriesList::default();
        (0..300).for_each(|sid| list.put(series(sid)));
        (100..130).for_each(|sid| list.remove(sid));
        let wanted: Vec<Sid> = (0..400).filter(|sid| sid % 7 == 0 || sid % 7 == 1).map(Sid).collect();
        let found = list
            .places(&wanted)
            .flat_map(|(part, places)| places.into_iter().map(|place| part.sids()[place as usize]).collect::<Vec<_>>());
        let expected = wanted.iter().map(|sid| sid.0).filter(|sid| list.get(*sid).is_some());
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert_eq!(list.sids(), list.iter().map(|series| series.sid).collect::<Vec<_>>());
    }
}
