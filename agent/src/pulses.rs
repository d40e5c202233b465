//! Whether the parts of the agent are at work: each is asked in its own thread, and what counts is that it answers.
//!
//! All of this lives on one thread of its own, `admin`, which shares nothing with the parts but what it asks them. While all answer, the service
//! manager is told so; when one has been silent too long it is told nothing any more, and starts the agent again. Readings are
//! not asked: a kernel that holds them does not let go of a new process either, and the agent serves the last ones meanwhile.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sonde_listen::{Notify, stopped};
use tokio::sync::watch;

/// A part is asked again so long after it has answered: five times until its silence counts, and seldom enough to cost nothing.
const PERIOD: Duration = Duration::from_secs(3);
/// A part is silent after this, unless a service manager's watchdog gives less: twice the time in which a busy node lets anything wait.
const SILENT_AFTER: Duration = Duration::from_secs(15);
/// Within a watchdog's time so many looks fit.
const LOOKS: u32 = 4;
/// Of a watchdog's time, a part may be silent for this part.
const SILENT_PART: u32 = 2;

/// Resolves to true when the part has answered, to false when it is not there any more.
pub(crate) type Answering = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A part and the way to ask it.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) ask: Box<dyn Fn() -> Answering + Send + Sync>,
}

/// When each part was last heard.
#[derive(Debug)]
pub(crate) struct Pulses {
    began: Instant,
    silent_after: Duration,
    /// In milliseconds since `began`.
    heard: Vec<(&'static str, AtomicU64)>,
}

impl Pulses {
    /// Of parts with these names, all of which are heard now.
    pub(crate) fn new(names: impl IntoIterator<Item = &'static str>, watchdog: Option<Duration>) -> Self {
        let silent_after = watchdog.map_or(SILENT_AFTER, |watchdog| SILENT_AFTER.min(watchdog / SILENT_PART));
        let heard = names.into_iter().map(|name| (name, AtomicU64::new(0))).collect();
        Self { began: Instant::now(), silent_after, heard }
    }

    /// How long each part has been silent.
    pub(crate) fn silences(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let now = self.began.elapsed();
        self.heard.iter().map(move |(name, heard)| {
            let heard = Duration::from_millis(heard.load(Ordering::Relaxed));
            (*name, now.saturating_sub(heard))
        })
    }

    /// A part that has been silent too long, and how long.
    pub(crate) fn silent(&self) -> Option<(&'static str, Duration)> {
        self.silences().find(|(_, silence)| *silence > self.silent_after)
    }

    fn hear(&self, name: &str) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some((_, heard)) = self.heard.iter().find(|(known, _)| *known == name) {
            heard.store(now, Ordering::Relaxed);
        }
    }
}

/// Starts the thread, which ends when `stop` becomes true. Beside asking the parts it does `work`, which is begun on it.
pub(crate) fn start(
    parts: Vec<Part>,
    pulses: Arc<Pulses>,
    notify: Arc<Notify>,
    work: impl Future<Output = ()> + Send + 'static,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async move {
            for part in parts {
                tokio::spawn(ask(part, pulses.clone()));
            }
            tokio::spawn(work);
            tokio::select! {
                () = look(&pulses, &notify) => {}
                () = stopped(&mut stop) => {}
            }
        });
    })?;
    Ok(())
}

async fn ask(part: Part, pulses: Arc<Pulses>) {
    loop {
        if (part.ask)().await {
            pulses.hear(part.name);
        }
        tokio::time::sleep(PERIOD.min(pulses.silent_after / LOOKS)).await;
    }
}

async fn look(pulses: &Pulses, notify: &Notify) {
    let period = notify.watchdog().map_or(PERIOD, |watchdog| PERIOD.min(watchdog / LOOKS));
    let mut said = None;
    loop {
        let silent = pulses.silent().map(|(part, _)| part);
        if silent != said {
            match silent {
                Some(part) => tracing::error!(
                    part,
                    "a part of the agent does not answer; the service manager is not told that all is well"
                ),
                None => tracing::info!("all parts of the agent answer again"),
            }
            said = silent;
        }
        if silent.is_none() && notify.watchdog().is_some() {
            notify.alive();
        }
        tokio::time::sleep(period).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A runtime of one thread as a part, as the agent's are.
    fn part(name: &'static str, runtime: &tokio::runtime::Runtime) -> Part {
        let handle = runtime.handle().clone();
        Part {
            name,
            ask: Box::new(move || {
                let asked = handle.spawn(async {});
                Box::pin(async { asked.await.is_ok() })
            }),
        }
    }

    #[track_caller]
    fn eventually(pulses: &Pulses, silent: Option<&str>) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while pulses.silent().map(|(part, _)| part) != silent {
            assert!(Instant::now() < deadline, "{:?} and not {silent:?}", pulses.silent());
            thread::yield_now();
        }
    }

    #[test]
    fn a_part_that_is_held_up_is_silent_until_it_is_not() {
        let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (well, held) = (runtime(), runtime());
        let pulses = Arc::new(Pulses::new(["well", "held"], Some(Duration::from_millis(600))));
        let (stop, stopping) = watch::channel(false);
        let (worked, work) = mpsc::channel();
        let parts = vec![part("well", &well), part("held", &held)];
        start(parts, pulses.clone(), Arc::default(), async move { worked.send(()).unwrap() }, stopping).unwrap();
        work.recv_timeout(Duration::from_secs(20)).expect("other work is done there too");
        eventually(&pulses, None);
        let (release, hold) = mpsc::channel::<()>();
        held.spawn(async move { hold.recv().unwrap_or(()) });
        eventually(&pulses, Some("held"));
        let silences: Vec<_> = pulses.silences().collect();
        assert!(silences[1].1 > silences[0].1, "{silences:?}");
        drop(release);
        eventually(&pulses, None);
        stop.send(true).unwrap();
    }

    #[test]
    fn a_watchdog_decides_how_long_silence_may_be() {
        let silent_after = |watchdog| Pulses::new([], watchdog).silent_after;
        assert_eq!(silent_after(None), SILENT_AFTER);
        assert_eq!(silent_after(Some(Duration::from_secs(10))), Duration::from_secs(5));
        assert_eq!(silent_after(Some(Duration::from_secs(600))), SILENT_AFTER);
    }
}
