//! What runs until a signal ends it: an agent, a proxy, or both.

use sonde_agent::Agent;
use sonde_proxy::Proxy;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// What SIGHUP means: to a daemon, to reload; to what runs in a terminal, that the terminal is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    Reloads,
    Ends,
}

/// Something that runs.
pub trait Daemon {
    /// Resolves to the name of a part without which it is of no use, when that has ended by itself.
    async fn failed(&mut self) -> &'static str;
    /// Begins to reload. Not waited for: a reload that is stuck must not keep it from ending. What is refused is said where it is.
    fn reload(&self);
    async fn stop(self);
}

impl Daemon for Agent {
    async fn failed(&mut self) -> &'static str {
        self.failed().await
    }

    fn reload(&self) {
        let reloader = self.reloader();
        tokio::spawn(async move { reloader.reload().await });
    }

    async fn stop(self) {
        self.stop().await;
    }
}

impl Daemon for Proxy {
    async fn failed(&mut self) -> &'static str {
        self.failed().await
    }

    fn reload(&self) {
        let reloader = self.reloader();
        tokio::spawn(async move { reloader.reload().await });
    }

    async fn stop(self) {
        self.stop().await;
    }
}

/// An agent and the proxy in front of it. The proxy goes first, so that nobody is told that the agent is away.
impl Daemon for (Agent, Proxy) {
    async fn failed(&mut self) -> &'static str {
        tokio::select! {
            part = self.0.failed() => part,
            part = self.1.failed() => part,
        }
    }

    fn reload(&self) {
        Daemon::reload(&self.0);
        Daemon::reload(&self.1);
    }

    async fn stop(self) {
        self.1.stop().await;
        self.0.stop().await;
    }
}

/// Runs what `starting` starts until SIGINT or SIGTERM, then stops it cleanly. A second signal ends the process at once.
pub fn run_until_signal<D: Daemon>(
    hangup: Hangup,
    starting: impl Future<Output = Result<D, Failure>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("serve").enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("no threads can be started: {error}")))?;
    runtime.block_on(async {
        let signals =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hung_up)) = signals else {
            return Err(Failure::failed("signals cannot be caught"));
        };
        let mut daemon = tokio::select! {
            started = starting => started?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hung_up.recv(), if hangup == Hangup::Ends => return Ok(()),
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hung_up.recv() => match hangup {
                    Hangup::Reloads => daemon.reload(),
                    Hangup::Ends => break,
                },
                part = daemon.failed() => {
                    return Err(Failure::failed(format!("{part} has ended by itself, and nothing goes on without it; start it all again")));
                }
            }
        }
        tracing::info!("stopping; a second signal ends it at once");
        tokio::select! {
            () = daemon.stop() => Ok(()),
            _ = interrupt.recv() => Err(Failure::failed("ended by a second signal")),
            _ = terminate.recv() => Err(Failure::failed("ended by a second signal")),
        }
    })
}
