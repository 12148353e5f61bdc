//! Which runs of a bucket to merge: arithmetic over their sizes alone, so that its bounds are tested without a disk.
//!
//! Every run has a *tier*. A flush puts its run into the tier of its size, and as many neighbours of one tier as the
//! trigger says are merged, with whatever smaller lies between them, into a run of the next. A row is therefore rewritten at
//! most once per tier, and tiers grow with the logarithm of what was ingested: that is the bound on write amplification.
//! When a bucket gets [`runs_max`] runs in spite of that, fewer neighbours are enough: reads never meet more runs.

use std::ops::Range;

/// Most runs in one merge.
pub(crate) const MERGE_RUNS_MAX: usize = 32;
/// Runs up to this size are of tier 0.
const TIER_BYTES: u64 = 1 << 20;

/// What the policy knows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunSize {
    pub(crate) tier: u8,
    pub(crate) bytes: u64,
    /// A last merge made it.
    pub(crate) last: bool,
}

/// The tier of a run of `bytes` that a flush made.
pub(crate) fn tier_of(bytes: u64, trigger: usize) -> u8 {
    let (mut tier, mut most) = (0, TIER_BYTES);
    while bytes > most && tier < u8::MAX / 2 {
        tier += 1;
        most = most.saturating_mul(trigger.max(2) as u64);
    }
    tier
}

/// Most runs in a bucket: a flush first merges some where there are so many.
pub(crate) fn runs_max(trigger: usize) -> usize {
    (8 * trigger).clamp(32, 128)
}

/// Which neighbours to merge, of runs from oldest to newest, and the tier of what they become.
pub(crate) fn due(runs: &[RunSize], trigger: usize) -> Option<(Range<usize>, u8)> {
    let trigger = trigger.max(2);
    if let Some(found) = equals(runs, trigger) {
        return Some(found);
    }
    let most = runs_max(trigger);
    if runs.len() <= most / 2 {
        return None;
    }
    (2..trigger).rev().find_map(|fewer| equals(runs, fewer)).or_else(|| {
        // Sizes that rise and fall, so that no two of one tier meet: the cheapest neighbours, whatever they are.
        let starts = 0..=runs.len().checked_sub(trigger)?;
        let window = |start: usize| start..start + trigger;
        let bytes = |start: &usize| runs[window(*start)].iter().map(|run| run.bytes).sum::<u64>();
        let start = starts.filter(|_| runs.len() >= most).min_by_key(bytes)?;
        Some((window(start), highest(&runs[window(start)])))
    })
}

/// `trigger` or more neighbours of one tier, the lowest tier and the newest first, with what is lower between them.
fn equals(runs: &[RunSize], trigger: usize) -> Option<(Range<usize>, u8)> {
    for tier in 0..=highest(runs) {
        let mut end = runs.len();
        while end > 0 {
            let below = runs[..end].iter().rev().take_while(|run| run.tier <= tier).count();
            let start = end - below;
            let equal = runs[start..end].iter().filter(|run| run.tier == tier).count();
            if equal >= trigger {
                let range = start..end.min(start + MERGE_RUNS_MAX);
                let raised = runs[range.clone()].iter().filter(|run| run.tier == tier).count() >= 2;
                return Some((range, tier.saturating_add(u8::from(raised))));
            }
            end -= below.max(1);
        }
    }
    None
}

fn highest(runs: &[RunSize]) -> u8 {
    runs.iter().map(|run| run.tier).max().unwrap_or(0)
}

/// Whether a bucket that gets no more rows shall be merged into one last run. Rows that came after a last merge must be as
/// many bytes as it wrote, so that nothing is rewritten again and again for a few late rows.
pub(crate) fn last_is_due(runs: &[RunSize], recode: bool) -> bool {
    let bytes = |last: bool| runs.iter().filter(|run| run.last == last).map(|run| run.bytes).sum::<u64>();
    let fresh = bytes(false);
    fresh > 0 && fresh >= bytes(true) && (recode || runs.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets of sizes, with what was flushed and merged.
    struct Bench {
        trigger: usize,
        buckets: Vec<Vec<RunSize>>,
        flushed: u64,
        merged: u64,
        most_runs: usize,
        rewrites: u8,
    }

    impl Bench {
        fn new(trigger: usize, buckets: usize) -> Self {
            Self { trigger, buckets: vec![Vec::new(); buckets], flushed: 0, merged: 0, most_runs: 0, rewrites: 0 }
        }

        fn flush(&mut self, bucket: usize, bytes: u64) {
            if bytes == 0 {
                return;
            }
            self.buckets[bucket].push(RunSize { tier: tier_of(bytes, self.trigger), bytes, last: false });
            self.flushed += bytes;
            self.most_runs = self.most_runs.max(self.buckets[bucket].len());
            while let Some((range, tier)) = due(&self.buckets[bucket], self.trigger) {
                assert!(range.len() > 1 && range.len() <= MERGE_RUNS_MAX);
                let bytes = self.buckets[bucket][range.clone()].iter().map(|run| run.bytes).sum();
                self.merged += bytes;
                self.rewrites = self.rewrites.max(tier);
                let merged = RunSize { tier, bytes, last: false };
                self.buckets[bucket].splice(range, [merged]);
            }
        }

        /// The last merges, when no more rows come.
        fn settle(&mut self) {
            for runs in &mut self.buckets {
                if last_is_due(runs, true) {
                    let bytes = runs.iter().map(|run| run.bytes).sum();
                    self.merged += bytes;
                    *runs = vec![RunSize { tier: highest(runs), bytes, last: true }];
                }
                assert!(!last_is_due(runs, true));
            }
        }

        fn amplification(&self) -> f64 {
            (self.flushed + self.merged) as f64 / self.flushed as f64
        }
    }

    fn random(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 33
    }

    /// 20,000 flushes of 16 MiB over 40 buckets, of which `late` percent of the bytes go anywhere in the past.
    fn ingest(trigger: usize, late: u64) -> Bench {
        let (flushes, buckets) = (20_000, 40);
        let mut bench = Bench::new(trigger, buckets);
        let mut seed = 1;
        for flush in 0..flushes {
            let now = flush * buckets / flushes;
            let bytes = (8 << 20) + random(&mut seed) % (16 << 20);
            let tail = bytes * late / 100;
            bench.flush(now, bytes - tail);
            for _ in 0..4 {
                let bucket = random(&mut seed) as usize % (now + 1);
                bench.flush(bucket, tail / 4);
            }
        }
        bench.settle();
        bench
    }

    #[test]
    fn a_row_is_rewritten_as_often_as_tiers_grow() {
        for trigger in [2, 3, 4, 8, 16] {
            for late in [0, 30] {
                let bench = ingest(trigger, late);
                // 500 flushes to a bucket, and four small ones for each of them if rows are late.
                let flushes: f64 = if late == 0 { 500.0 } else { 5.0 * 20_000.0 };
                let bound = flushes.log(trigger as f64).ceil() + 2.0;
                let amplification = bench.amplification();
                assert!(amplification <= bound, "trigger {trigger}, {late} % late: {amplification:.2} > {bound}");
                assert!(bench.most_runs <= runs_max(trigger) + 1, "trigger {trigger}: {} runs", bench.most_runs);
                assert!(bench.buckets.iter().all(|runs| runs.len() <= runs_max(trigger)));
            }
        }
        // What the default costs: the flush, three to four tiers, the last merge.
        assert!(ingest(4, 0).amplification() < 6.5, "{}", ingest(4, 0).amplification());
        assert!(ingest(4, 30).amplification() < 8.0, "{}", ingest(4, 30).amplification());
    }

    #[test]
    fn sizes_that_rise_and_fall_do_not_pile_up() {
        let mut bench = Bench::new(4, 1);
        let mut seed = 7;
        for flush in 0_u32..50_000 {
            // The ruler sequence: no two neighbours of one tier.
            let high = flush.trailing_ones().min(9);
            bench.flush(0, (1 << (2 * high)) << 20);
            if random(&mut seed).is_multiple_of(64) {
                bench.flush(0, 1);
            }
        }
        assert!(bench.most_runs <= runs_max(4) + 1, "{} runs", bench.most_runs);
        assert!(bench.amplification() < 16.0, "{}", bench.amplification());
    }

    #[test]
    fn a_few_late_rows_do_not_rewrite_a_merged_bucket() {
        let last = RunSize { tier: 5, bytes: 1 << 30, last: true };
        let late = RunSize { tier: 0, bytes: 1 << 20, last: false };
        assert!(!last_is_due(&[last], true));
        assert!(!last_is_due(&[last, late, late], true));
        assert!(last_is_due(&[last, RunSize { bytes: 1 << 30, ..late }], true));
        assert!(last_is_due(&[late], true) && !last_is_due(&[late], false));
        assert!(last_is_due(&[late, late], false));
        assert_eq!(due(&[last, late, late], 4), None);
        assert_eq!(due(&[last, late, late, late, late], 4), Some((1..5, 1)));
        assert_eq!(tier_of(1, 4), 0);
        assert_eq!(tier_of(16 << 20, 4), 2);
    }
}
