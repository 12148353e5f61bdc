//! Any source with disorder: a share of its rows is held back and comes up to an hour late, at a random place.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::data::{HOUR_MS, Rows, Source, Table};

/// A source whose rows come late.
pub(crate) struct Disorder {
    inner: Box<dyn Source>,
    share: f64,
    random: StdRng,
    /// Rows held back, with the time of the data at which they come.
    held: Vec<(i64, Rows)>,
}

impl Disorder {
    /// `share` of the rows come late, 0 to 1.
    pub(crate) fn new(inner: Box<dyn Source>, share: f64) -> Self {
        Self { inner, share, random: StdRng::seed_from_u64(31), held: Vec::new() }
    }

    /// Some of the rows, with those that were held back until now at random places among them.
    fn mix(&mut self, rows: &Rows) -> Rows {
        let now = (0..rows.len()).map(|at| rows.row(at).1).max().unwrap_or(i64::MAX);
        let (mut order, mut late): (Vec<(f64, usize)>, Vec<usize>) = (Vec::with_capacity(rows.len()), Vec::new());
        for at in 0..rows.len() {
            if self.share > 0.0 && self.random.random_bool(self.share) {
                late.push(at);
            } else {
                order.push((at as f64, at));
            }
        }
        // Rows of this step that are late, in groups that come back together: one group for each of sixty delays.
        let groups: Vec<Vec<usize>> = (0..60).map(|n| late.iter().skip(n).step_by(60).copied().collect()).collect();
        for (n, group) in groups.iter().enumerate().filter(|(_, group)| !group.is_empty()) {
            let delay = HOUR_MS * (n as i64 + 1) / 60;
            self.held.push((now + delay, rows.pick(group)));
        }
        let mut all = rows.clone();
        let held = std::mem::take(&mut self.held);
        for (due, group) in held {
            if due > now || group.table != rows.table {
                self.held.push((due, group));
                continue;
            }
            for (series, ms, cells) in group.each() {
                order.push((self.random.random_range(0.0..rows.len() as f64), all.len()));
                all.push(series, ms, cells);
            }
        }
        order.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        all.pick(&order.into_iter().map(|(_, at)| at).collect::<Vec<_>>())
    }
}

impl Source for Disorder {
    fn tables(&self) -> &[Table] {
        self.inner.tables()
    }

    fn next(&mut self, ticks: usize) -> Vec<Rows> {
        self.inner.next(ticks).iter().map(|rows| self.mix(rows)).collect()
    }

    fn rest(&mut self) -> Vec<Rows> {
        let late = std::mem::take(&mut self.held).into_iter().map(|(_, rows)| rows);
        self.inner.rest().into_iter().chain(late).collect()
    }
}
