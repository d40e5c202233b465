//! Files that are read again when they have changed, and what they made when they were last good.
//!
//! What tells a file from the one before it is inode, size and time of writing, as in the agent: a file that was moved here may be older than the one it
//! replaces. What is refused is said and counted once, and looked at again when the files change again.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::TlsError;

/// How often files are looked at: seconds are what a revocation may take.
const LOOK: Duration = Duration::from_secs(1);

type Stamp = Option<(u64, u64, i64, i64)>;
type Load<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// See the module.
pub(super) struct Watched<T> {
    files: Vec<PathBuf>,
    load: Load<T>,
    current: Mutex<(Vec<Stamp>, Arc<T>)>,
    faults: AtomicU64,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files once, where a fault is the caller's; then looks at them for as long as the returned is held. Within a runtime.
    pub fn start(files: Vec<PathBuf>, load: Load<T>) -> Result<Arc<Self>, TlsError> {
        let current = Mutex::new((stamps(&files), Arc::new(load()?)));
        let watched = Arc::new(Self { files, load, current, faults: AtomicU64::new(0) });
        tokio::spawn(watch(Arc::downgrade(&watched)));
        Ok(watched)
    }

    pub fn current(&self) -> Arc<T> {
        self.lock().1.clone()
    }

    /// How often files were refused since the start.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Reads the files again, whether they seem changed or not; the error says why those before them stay.
    pub fn renew(&self) -> Result<(), TlsError> {
        // Before the reading: what is written meanwhile is seen as a change the next time.
        let stamps = stamps(&self.files);
        let renewed = (self.load)();
        let mut current = self.lock();
        current.0 = stamps;
        match renewed {
            Ok(renewed) => {
                tracing::info!(file = %self.files[0].display(), "certificates were read again");
                current.1 = Arc::new(renewed);
                Ok(())
            }
            Err(error) => {
                self.faults.fetch_add(1, Ordering::Relaxed);
                tracing::error!(error = %crate::chain(&error), "new certificates were refused; the old ones stay");
                Err(error)
            }
        }
    }

    fn look(&self) {
        // Not under the lock, which handshakes take: a file system may be long about it.
        let now = stamps(&self.files);
        if self.lock().0 != now {
            // What is refused has been said.
            let _ = self.renew();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<Stamp>, Arc<T>)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch<T: Send + Sync + 'static>(watched: Weak<Watched<T>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(watched) = watched.upgrade() else { return };
        // A file system may take its time, and that must be nobody else's.
        if tokio::task::spawn_blocking(move || watched.look()).await.is_err() {
            return;
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let file: io::Result<_> = std::fs::metadata(path);
        file.ok().map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}
