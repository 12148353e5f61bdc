//! The threads that flush and merge the vnodes of a dnode. Merges have threads of their own, of low priority, so that a
//! flush never waits for one.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Without a flush for so long nothing is being ingested.
const IDLE: Duration = Duration::from_secs(5);

/// Something that has work to do in the background.
pub(crate) trait Work: Send + Sync {
    /// Flushes, if that is due. Reports failures itself.
    fn flush_due(&self);

    /// Merges all that is due. Reports failures itself.
    fn merge_due(&self);
}

/// Bounded parallelism for the background work of all vnodes. Each vnode is in each queue once at most.
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    flush: Condvar,
    merge: Condvar,
    slot: Condvar,
}

#[derive(Default)]
struct Queue {
    flushes: VecDeque<Weak<dyn Work>>,
    merges: VecDeque<Weak<dyn Work>>,
    /// Flushes under way.
    flushing: usize,
    flushed: Option<Instant>,
    /// Merges under way, by whomever.
    merging: usize,
    /// Most merges at a time.
    merging_max: usize,
    active: bool,
    stopped: bool,
}

/// The right to merge, until it is dropped.
pub(crate) struct MergeSlot<'a>(&'a Shared);

impl Drop for MergeSlot<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().merging -= 1;
        self.0.slot.notify_one();
    }
}

impl Scheduler {
    /// With so many threads that flush and that merge; without any that flush, requests are passed over.
    pub(crate) fn start(flushers: usize, mergers: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        let mut spawn = |name: String, run: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            match std::thread::Builder::new().name(name).spawn(move || run(&shared)) {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::error!(%error, "a background worker cannot start"),
            }
        };
        let mergers = if flushers == 0 { 0 } else { mergers.max(1) };
        (0..flushers).for_each(|number| spawn(format!("vnode-flush-{number}"), flush));
        (0..mergers).for_each(|number| spawn(format!("vnode-merge-{number}"), merge));
        {
            let mut queue = shared.queue.lock();
            queue.active = !threads.is_empty();
            queue.merging_max = mergers.max(1);
        }
        Self { shared, threads: Mutex::new(threads) }
    }

    /// Whether requests are served.
    pub(crate) fn is_active(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.active && !queue.stopped
    }

    /// Whether everything under way shall come to an end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.queue.lock().stopped
    }

    /// Waits for the right to merge: only so many do at a time. None if `gives_up` says so before.
    pub(crate) fn merge_slot(&self, gives_up: impl Fn() -> bool) -> Option<MergeSlot<'_>> {
        // Asked without the lock, which the answer may need.
        while !gives_up() {
            let mut queue = self.shared.queue.lock();
            if queue.merging < queue.merging_max {
                queue.merging += 1;
                return Some(MergeSlot(&self.shared));
            }
            self.shared.slot.wait_for(&mut queue, Duration::from_millis(20));
        }
        None
    }

    /// Whether a flush is under way or waits for a thread, and whether there has been none for a while.
    pub(crate) fn load(&self) -> (bool, bool) {
        let queue = self.shared.queue.lock();
        let flushing = queue.flushing > 0 || !queue.flushes.is_empty();
        (flushing, !flushing && queue.flushed.is_none_or(|flushed| flushed.elapsed() > IDLE))
    }

    /// A flush begins, whoever asked for it; it lasts until the answer is dropped.
    pub(crate) fn flushing(&self) -> Flushing<'_> {
        self.shared.queue.lock().flushing += 1;
        Flushing(&self.shared)
    }

    /// Asks for a flush soon.
    pub(crate) fn request_flush(&self, work: Weak<dyn Work>) {
        let mut queue = self.shared.queue.lock();
        if queue.active && !queue.stopped && !queue.flushes.iter().any(|other| other.ptr_eq(&work)) {
            queue.flushes.push_back(work);
            self.shared.flush.notify_one();
        }
    }

    /// Asks for merges soon.
    pub(crate) fn request_merge(&self, work: Weak<dyn Work>) {
        let mut queue = self.shared.queue.lock();
        if queue.active && !queue.stopped && !queue.merges.iter().any(|other| other.ptr_eq(&work)) {
            queue.merges.push_back(work);
            self.shared.merge.notify_one();
        }
    }

    /// Ends the threads: after the flush that one is in, in the middle of a merge.
    pub(crate) fn stop(&self) {
        {
            let mut queue = self.shared.queue.lock();
            queue.stopped = true;
            queue.flushes.clear();
            queue.merges.clear();
        }
        self.shared.flush.notify_all();
        self.shared.merge.notify_all();
        let this = std::thread::current().id();
        for thread in self.threads.lock().drain(..) {
            // The last reference may go on a worker itself, which cannot wait for its own end.
            if thread.thread().id() != this && thread.join().is_err() {
                tracing::error!("a background worker panicked");
            }
        }
    }
}

/// A flush under way.
pub(crate) struct Flushing<'a>(&'a Shared);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.flushing -= 1;
        queue.flushed = Some(Instant::now());
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.stop();
    }
}

fn flush(shared: &Shared) {
    while let Some(work) = next(shared, &shared.flush, |queue| queue.flushes.pop_front()) {
        if let Some(work) = work.upgrade() {
            work.flush_due();
        }
    }
}

fn merge(shared: &Shared) {
    priority::lower();
    while let Some(work) = next(shared, &shared.merge, |queue| queue.merges.pop_front()) {
        if let Some(work) = work.upgrade() {
            work.merge_due();
        }
    }
}

/// The next work; None at the end.
fn next(
    shared: &Shared,
    wake: &Condvar,
    take: impl Fn(&mut Queue) -> Option<Weak<dyn Work>>,
) -> Option<Weak<dyn Work>> {
    let mut queue = shared.queue.lock();
    loop {
        if queue.stopped {
            return None;
        }
        match take(&mut queue) {
            Some(work) => return Some(work),
            None => wake.wait(&mut queue),
        }
    }
}

/// The priority of threads, which the standard library does not know.
mod priority {
    /// Lets all others go first on a busy processor.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "a system call that takes three numbers")]
    pub(super) fn lower() {
        const PRIO_PROCESS: i32 = 0;
        const NICE: i32 = 10;
        unsafe extern "C" {
            safe fn setpriority(which: i32, who: u32, nice: i32) -> i32;
        }
        // On Linux a priority is a thread's, and 0 the calling one.
        if setpriority(PRIO_PROCESS, 0, NICE) != 0 {
            tracing::debug!("a thread that merges keeps its priority");
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn lower() {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn only_so_many_merge_at_a_time_and_the_others_can_give_up() {
        let scheduler = Scheduler::start(1, 2);
        let first = scheduler.merge_slot(|| scheduler.is_stopped()).expect("free");
        let _second = scheduler.merge_slot(|| scheduler.is_stopped()).expect("free");
        let asked = AtomicUsize::new(0);
        // Whoever gives up may look at the scheduler for it.
        let third = scheduler.merge_slot(|| scheduler.is_stopped() || asked.fetch_add(1, Ordering::Relaxed) > 1);
        assert!(third.is_none());
        let waits = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let look = || {
                    waits.store(true, Ordering::Release);
                    scheduler.is_stopped()
                };
                scheduler.merge_slot(look).is_some()
            });
            while !waits.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            drop(first);
            assert!(waiter.join().expect("no panic"));
        });
        scheduler.stop();
        assert!(scheduler.merge_slot(|| scheduler.is_stopped()).is_none());
    }
}
