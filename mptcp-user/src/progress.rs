//! What a command does meanwhile: said on standard error, in plain lines, once it takes long.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::failure::warn;

/// What takes less is not spoken of.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says what is being done, from the first second on, and then at most once a second. Ends with the value.
pub(crate) struct Progress(Arc<SharedStep>);

#[derive(Default)]
struct SharedStep {
    /// What is being done.
    step: Mutex<Option<String>>,
    changed: Condvar,
    is_over: AtomicBool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let shared = Arc::<SharedStep>::default();
        let other = Arc::clone(&shared);
        // Without a thread nothing is said, and all is done all the same.
        let _ = thread::Builder::new().spawn(move || other.tell());
        Self(shared)
    }

    /// Notes what is done from now on.
    pub(crate) fn step(&self, text: &str) {
        let mut step = self.0.step.lock().unwrap_or_else(PoisonError::into_inner);
        *step = Some(text.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Under the lock, so that nobody begins to wait between the two.
        let _step = self.0.step.lock();
        self.0.is_over.store(true, Ordering::Relaxed);
        self.0.changed.notify_all();
    }
}

impl SharedStep {
    fn tell(&self) {
        let mut said = None;
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Instant::now() + PATIENCE;
        while !self.is_over.load(Ordering::Relaxed) {
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                let waited = self.changed.wait_timeout(step, left);
                step = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if let Some(text) = &*step
                && *step != said
            {
                warn(format!("{text} ..."));
                said.clone_from(&step);
            }
            next += PATIENCE;
        }
    }
}
