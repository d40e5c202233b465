//! The thread that looks for instances: it sleeps until the kernel says that something changed.
//!
//! Walking cgroup directories and reading state files blocks, so it has a thread of its own and sends what changed to the keeper. It can be
//! told to look now, and to look with another configuration; then it sends everything that is there, because the differences it knew are void.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use sonde_collect::unheard::Unheard;
use sonde_collect::{
    Change, Discovery, DiscoveryConfig, Found, GroupSource, ProcessGroup, RefusalReason, Roots, Watcher,
};
use tokio::sync::{mpsc, oneshot};

/// Events that come together are one scan: a container's birth is a dozen of them.
const SETTLE: Duration = Duration::from_millis(20);

/// Two looks closer than this are a storm, and the pause before each doubles up to the second figure.
const CALM: Duration = Duration::from_millis(500);
const LONGEST_SETTLE: Duration = Duration::from_millis(320);

/// Before looking again after what should not have happened.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What the finder has found.
pub enum Finding {
    /// What is different from before.
    Changes(Vec<Change>),
    /// All that is there, after a change of configuration.
    Everything(Vec<Arc<Found>>),
    /// Claims refused so far, by reason, and the latest of them in words.
    Refused([u64; RefusalReason::ALL.len()], Vec<String>),
}

enum Order {
    Look(oneshot::Sender<()>),
    Configure(DiscoveryConfig),
}

/// The handle on the thread, which ends when it is dropped.
pub struct Finder {
    orders: Sender<Order>,
    wake: Arc<OwnedFd>,
}

impl Finder {
    /// Starts looking. What the kernel does not let it hear is counted there.
    pub fn start(
        roots: Arc<Roots>,
        config: DiscoveryConfig,
        findings: mpsc::Sender<Finding>,
        unheard: Arc<Unheard>,
    ) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, inbox) = channel();
        let watcher = Watcher::counting(unheard)?;
        let finding = Looking {
            roots,
            watcher,
            findings,
            refused: [0; RefusalReason::ALL.len()],
            wake: wake.clone(),
            settle: SETTLE,
            looked_at: Instant::now(),
            missing: Vec::new(),
        };
        thread::Builder::new().name("finder".into()).spawn(move || finding.look(config, &inbox))?;
        Ok(Self { orders, wake })
    }

    /// Looks now, and returns when what was found has been sent.
    pub async fn look(&self) {
        let (done, looked) = oneshot::channel();
        self.order(Order::Look(done));
        let _ = looked.await;
    }

    pub fn configure(&self, config: DiscoveryConfig) {
        self.order(Order::Configure(config));
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        // The thread sees a closed channel once it is woken; the sender itself is dropped right after this.
        let (closed, _) = channel();
        drop(std::mem::replace(&mut self.orders, closed));
        self.wake();
    }
}

struct Looking {
    roots: Arc<Roots>,
    watcher: Watcher,
    findings: mpsc::Sender<Finding>,
    refused: [u64; RefusalReason::ALL.len()],
    wake: Arc<OwnedFd>,
    settle: Duration,
    looked_at: Instant,
    /// Process groups that were not there at the last look.
    missing: Vec<ProcessGroup>,
}

impl Looking {
    fn look(mut self, mut config: DiscoveryConfig, orders: &Receiver<Order>) {
        let mut discovery = Discovery::new(self.roots.clone(), config.clone());
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut everything = false;
        loop {
            let Some(changes) = self.scan(&mut discovery) else {
                discovery = Discovery::new(self.roots.clone(), config.clone());
                everything = true;
                thread::sleep(AFTER_PANIC);
                continue;
            };
            let mut findings = Vec::new();
            let mut changes = changes;
            if std::mem::take(&mut everything) {
                findings.push(Finding::Everything(discovery.instances().cloned().collect()));
                // Of the rest the keeper knows better what is new; these are nowhere else.
                changes.retain(|change| matches!(change, Change::Unread(..)));
            }
            if !changes.is_empty() {
                findings.push(Finding::Changes(changes));
            }
            self.tell_missing(&discovery);
            if !self.tell(findings, &discovery) {
                return;
            }
            waiting.drain(..).for_each(|done| done.send(()).unwrap_or(()));
            self.wait(discovery.rescan_every());
            loop {
                match orders.try_recv() {
                    Ok(Order::Look(done)) => waiting.push(done),
                    Ok(Order::Configure(new)) => {
                        config = new;
                        discovery = discovery.configured(config.clone());
                        everything = true;
                    }
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// One look. `None` where it ended in a panic: one strange directory must not end all looking.
    fn scan(&mut self, discovery: &mut Discovery) -> Option<Vec<Change>> {
        let scanned = catch_unwind(AssertUnwindSafe(|| self.watcher.scan(discovery)));
        if scanned.is_err() {
            tracing::error!("looking for instances ended in a panic; this is a defect of the agent");
        }
        scanned.ok()
    }

    /// Says which process groups of the configuration are not there, once while it is so.
    fn tell_missing(&mut self, discovery: &Discovery) {
        for group in discovery.missing_groups().iter().filter(|group| !self.missing.contains(group)) {
            let why = match &group.source {
                GroupSource::Port(port) => format!("no process of the node's own listens on TCP port {port}"),
                GroupSource::PidFile(path) => format!(
                    "{} names no living process, or others than root and that process's user may write it",
                    path.display()
                ),
                GroupSource::Cgroup(path) => format!("there is no cgroup {path}"),
            };
            tracing::warn!(process_group = group.name, why, "a process group is not there");
        }
        self.missing = discovery.missing_groups().to_vec();
    }

    /// Sends; false when nobody listens any more.
    fn tell(&mut self, findings: Vec<Finding>, discovery: &Discovery) -> bool {
        let refused = discovery.refused();
        if refused != self.refused {
            self.refused = refused;
            let words = discovery.refusals().map(|refusal| format!("{}: {}", refusal.reason.as_str(), refusal.what));
            let finding = Finding::Refused(refused, words.collect());
            if self.findings.blocking_send(finding).is_err() {
                return false;
            }
        }
        findings.into_iter().all(|finding| self.findings.blocking_send(finding).is_ok())
    }

    /// Sleeps until something changed, somebody calls, or `most` has passed.
    fn wait(&mut self, most: Duration) {
        let until = Instant::now() + most;
        // What came while the scan was at it makes no descriptor ready any more.
        if self.watcher.drain() {
            return self.settle();
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let wake = self.wake.clone();
            let (called, changed) = {
                let mut fds =
                    [PollFd::new(&*wake, PollFlags::IN), PollFd::from_borrowed_fd(self.watcher.as_fd(), PollFlags::IN)];
                match poll(&mut fds, Some(&timeout)) {
                    Ok(_) => (!fds[0].revents().is_empty(), !fds[1].revents().is_empty()),
                    Err(rustix::io::Errno::INTR) => (false, false),
                    // Nothing can be waited for: the next look is as good as an event.
                    Err(_) => {
                        thread::sleep(AFTER_PANIC);
                        return;
                    }
                }
            };
            if called {
                let _ = rustix::io::read(&*wake, &mut [0_u8; 8]);
                return;
            }
            if changed && self.watcher.drain() {
                return self.settle();
            }
        }
    }

    /// A storm of births and deaths, which a tenant can make below its own cgroup, is looked at in slower and slower steps. The kernel's queues are
    /// emptied at the pace of the first all the while: they hold as much as a storm brings in a second.
    fn settle(&mut self) {
        self.settle = if self.looked_at.elapsed() < CALM { (self.settle * 2).min(LONGEST_SETTLE) } else { SETTLE };
        let until = Instant::now() + self.settle;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(SETTLE));
            self.watcher.drain();
        }
        self.looked_at = Instant::now();
    }
}
