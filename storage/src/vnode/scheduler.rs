//! The threads that flush and merge the vnodes of a dnode.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

/// Something that has work to do in the background.
pub(crate) trait Work: Send + Sync {
    /// Does all of it that is due. Reports failures itself.
    fn work(&self);
}

/// Bounded parallelism for the background work of all vnodes. Each vnode is in the queue once at most.
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Weak<dyn Work>>,
    workers: usize,
    merges: usize,
    stopped: bool,
}

/// The right to merge in the background, until it is dropped.
pub(crate) struct MergeSlot<'a>(&'a Shared);

impl Drop for MergeSlot<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().merges -= 1;
    }
}

impl Scheduler {
    /// With this many threads; with none, requests are passed over.
    pub(crate) fn start(workers: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for number in 0..workers {
            let shared = Arc::clone(&shared);
            let name = format!("vnode-worker-{number}");
            match std::thread::Builder::new().name(name).spawn(move || run(&shared)) {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::error!(%error, "a background worker cannot start"),
            }
        }
        shared.queue.lock().workers = threads.len();
        Self { shared, threads: Mutex::new(threads) }
    }

    /// Whether requests are served.
    pub(crate) fn is_active(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.workers > 0 && !queue.stopped
    }

    /// The right to merge: one worker is always left for flushes, if there are several.
    pub(crate) fn merge_slot(&self) -> Option<MergeSlot<'_>> {
        let mut queue = self.shared.queue.lock();
        if queue.merges >= queue.workers.saturating_sub(1).max(1) {
            return None;
        }
        queue.merges += 1;
        Some(MergeSlot(&self.shared))
    }

    /// Asks for work to be done soon.
    pub(crate) fn request(&self, work: Weak<dyn Work>) {
        let mut queue = self.shared.queue.lock();
        if queue.workers == 0 || queue.stopped || queue.waiting.iter().any(|other| other.ptr_eq(&work)) {
            return;
        }
        queue.waiting.push_back(work);
        self.shared.wake.notify_one();
    }

    /// Ends the threads after what they are doing now.
    pub(crate) fn stop(&self) {
        {
            let mut queue = self.shared.queue.lock();
            queue.stopped = true;
            queue.waiting.clear();
        }
        self.shared.wake.notify_all();
        let this = std::thread::current().id();
        for thread in self.threads.lock().drain(..) {
            // The last reference may go on a worker itself, which cannot wait for its own end.
            if thread.thread().id() != this && thread.join().is_err() {
                tracing::error!("a background worker panicked");
            }
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared) {
    loop {
        let work = {
            let mut queue = shared.queue.lock();
            loop {
                if queue.stopped {
                    return;
                }
                match queue.waiting.pop_front() {
                    Some(work) => break work,
                    None => shared.wake.wait(&mut queue),
                }
            }
        };
        if let Some(work) = work.upgrade() {
            work.work();
        }
    }
}
