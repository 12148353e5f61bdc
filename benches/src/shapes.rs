//! The shapes of data that the field measures with. Distribution, order and cardinality are those of the suites; the
//! numbers themselves come from our own generator, the same ones in every run.
//!
//! [`Shape`] lists them.

mod devops;
mod disorder;
mod iot;
mod meters;

pub(crate) use devops::{GAUGES, Hosts};
pub(crate) use disorder::Disorder;
pub(crate) use iot::{FLEETS, Trucks};
pub(crate) use meters::Meters;

use crate::data::Source;

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// TSBS: ten gauges of each host every ten seconds.
    Cpu,
    /// TSBS: nine measurements of each host, 101 values.
    Devops,
    /// TSBS: trucks that report where they are and how they are, with gaps and disorder.
    Iot,
    /// TDengine's: current, voltage and phase of each meter.
    Meters,
}

impl Shape {
    pub(crate) const ALL: [(&str, Self); 4] =
        [("cpu", Self::Cpu), ("devops", Self::Devops), ("iot", Self::Iot), ("meters", Self::Meters)];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, shape)| *shape == self).expect("all are listed").0
    }

    /// A generator of so many hosts, trucks or meters, at its start.
    pub(crate) fn source(self, series: usize) -> Box<dyn Source> {
        match self {
            Self::Cpu => Box::new(Hosts::cpu_only(series)),
            Self::Devops => Box::new(Hosts::devops(series)),
            Self::Iot => Box::new(Trucks::new(series)),
            Self::Meters => Box::new(Meters::new(series)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::data::{Cell, Rows, START_MS, STEP_MS};

    fn all(source: &mut dyn Source, ticks: usize) -> Vec<Rows> {
        let mut rows = source.next(ticks);
        rows.extend(source.rest());
        rows
    }

    fn keys(all: &[Rows]) -> Vec<(usize, usize, i64)> {
        all.iter().flat_map(|rows| rows.each().map(|(series, ms, _)| (rows.table, series, ms))).collect()
    }

    #[test]
    fn shapes_have_the_width_of_their_suites_and_are_the_same_every_time() {
        for (shape, tables, values) in
            [(Shape::Cpu, 1, 10), (Shape::Devops, 9, 101), (Shape::Iot, 2, 10), (Shape::Meters, 1, 3)]
        {
            let (mut one, mut other) = (shape.source(5), shape.source(5));
            assert_eq!(one.tables().len(), tables, "{shape:?}");
            assert_eq!(one.tables().iter().map(|table| table.columns.len()).sum::<usize>(), values, "{shape:?}");
            for (a, b) in all(&mut *one, 100).iter().zip(&all(&mut *other, 100)) {
                assert!(a.each().eq(b.each()), "{shape:?}");
            }
        }
    }

    #[test]
    fn hosts_report_all_at_one_time_and_stay_in_their_bounds() {
        let rows = Hosts::cpu_only(3).next(50).remove(0);
        for (at, (host, ms, cells)) in rows.each().enumerate() {
            assert_eq!((host, ms), (at % 3, START_MS + at as i64 / 3 * STEP_MS));
            assert!(cells.iter().all(|cell| matches!(cell, Cell::Integer(0..=100))), "{cells:?}");
        }
    }

    #[test]
    fn trucks_lose_about_a_tenth_and_send_nothing_twice() {
        let sent = keys(&all(&mut Trucks::new(20), 500));
        let share = sent.len() as f64 / (20.0 * 500.0 * 2.0);
        assert!((0.87..0.91).contains(&share), "{share}");
        assert_eq!(sent.iter().collect::<HashSet<_>>().len(), sent.len());
        let late = sent.windows(2).filter(|two| two[0].0 == two[1].0 && two[1].2 < two[0].2).count();
        assert!(late > 100, "{late} come after a later one");
    }

    #[test]
    fn disorder_changes_the_order_of_as_many_rows_as_was_asked_for_and_nothing_else() {
        let orderly = keys(&all(&mut Hosts::cpu_only(10), 720));
        for share in [0.0, 0.05, 0.3] {
            let mut source = Disorder::new(Shape::Cpu.source(10), share);
            let mut sent = Vec::new();
            for _ in 0..12 {
                sent.extend(keys(&source.next(60)));
            }
            sent.extend(keys(&source.rest()));
            let mut newest = [0; 10];
            let late = sent.iter().filter(|(_, host, ms)| {
                let late = *ms < newest[*host];
                newest[*host] = newest[*host].max(*ms);
                late
            });
            let late = late.count() as f64 / orderly.len() as f64;
            assert!((late - share).abs() < 0.02, "{late} of {share}");
            sent.sort_unstable();
            let mut expected = orderly.clone();
            expected.sort_unstable();
            assert_eq!(sent, expected);
        }
    }
}
