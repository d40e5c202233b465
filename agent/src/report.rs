//! Telling a proxy what runs here: everything once, then what changes, at once for births and deaths; and hearing from it what is to run.
//!
//! A task of its own that reads what others publish and is waited for by nobody: where no proxy answers, the agent goes on as without any. One proxy is told
//! at a time, because they share what they hear; when it fails, the next is, after a wait that doubles and is never the same on two nodes.
//! State is what scrapes have found; what is not scraped is looked at now and then, and at birth.

mod carrier;
mod credentials;
mod ledger;
mod link;
mod view;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sonde_inventory::assignment::SensorStanding;
use sonde_inventory::report as itself;
use sonde_listen::stopped;
use tokio::sync::watch;
use uuid::Uuid;

use crate::about::About;
use crate::config::{Config, Report};
use crate::instance::Catalogue;
use crate::reading_threads::ReadingThreads;
use carrier::{Carrier, Told};
use ledger::Ledger;
use link::{Link, Outcome};
use view::View;

pub(crate) use credentials::Credentials;
pub(crate) use view::claim;

/// A node's beats within its lease: two may be lost.
const BEATS: u32 = 3;
/// The lease until a proxy has said which it keeps.
const LEASE: Duration = sonde_inventory::LEASE;
/// The shortest lease that is believed: a proxy that says 0 is not asked without pause.
const SHORTEST_LEASE: Duration = Duration::from_millis(300);
/// Between two reports: what is born meanwhile is told together.
const GAP: Duration = Duration::from_millis(50);
/// How long the first wait after a failure is, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// All that a report is made of.
pub(crate) struct Reporter {
    pub(crate) node: Uuid,
    pub(crate) itself: itself::About,
    pub(crate) settings: Report,
    /// None where no proxy is asked with TLS.
    pub(crate) credentials: Option<Arc<Credentials>>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) threads: Arc<ReadingThreads>,
    pub(crate) about: Arc<About>,
    /// How sensors stand that proxies assigned.
    pub(crate) sensors: watch::Receiver<Arc<Vec<SensorStanding>>>,
    pub(crate) config: watch::Receiver<Arc<Config>>,
}

impl Reporter {
    /// Tells proxies until it is stopped.
    pub(crate) async fn run(self, mut ready: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
        // Before the first look nothing is known, and a list of nothing would end all that was there.
        tokio::select! {
            () = stopped(&mut stop) => return,
            looked = ready.wait_for(|ready| *ready) => if looked.is_err() { return },
        }
        let (tell, told) = watch::channel(None);
        let carrier = Carrier::new(self.credentials.clone(), self.config.clone(), told);
        tokio::select! {
            () = stopped(&mut stop) => {}
            () = self.tell(&tell) => {}
            () = carrier.run() => {}
        }
    }

    async fn tell(self, assigned: &watch::Sender<Option<Told>>) {
        let mut changes = self.catalogue.changes();
        let mut view = View::default();
        let mut ledger = Ledger::new(self.node, self.itself.clone(), session(self.node));
        let mut proxies = Proxies::new(&self.settings, self.credentials.as_ref());
        let mut beat = LEASE / BEATS;
        loop {
            changes.mark_unchanged();
            let mut claims = view.look(&self.catalogue, &self.threads).await;
            self.about.instances_untold(ledger.fit(&mut claims));
            let standings = self.sensors.borrow().clone();
            let report = ledger.next(claims, &self.catalogue, &standings);
            match proxies.current().send(&report).await {
                Outcome::Taken(taken) => {
                    self.about.reports.add(1);
                    if let Some(mark) = taken.assignments {
                        let proxy = proxies.current().proxy().to_owned();
                        assigned.send_replace(Some(Told { proxy, mark }));
                    }
                    beat = Duration::from_millis(taken.lease_ms).max(SHORTEST_LEASE) / BEATS;
                    ledger.taken();
                    proxies.is_well();
                    tokio::time::sleep(GAP).await;
                    tokio::select! {
                        () = tokio::time::sleep(shorter(beat).saturating_sub(GAP)) => {}
                        // The catalogue lives as long as this does.
                        _ = changes.changed() => {}
                    }
                }
                Outcome::Again => {
                    ledger.begin_anew();
                    // Two of them at once would say the same for ever.
                    tokio::time::sleep(GAP).await;
                }
                Outcome::Later => {
                    ledger.not_told();
                    tokio::time::sleep(shorter(beat)).await;
                }
                Outcome::Failed(why) => {
                    self.about.reports_failed.add(1);
                    ledger.begin_anew();
                    tokio::time::sleep(proxies.next(&why)).await;
                }
            }
        }
    }
}

/// The proxies, and which is told.
struct Proxies {
    links: Vec<Link>,
    at: usize,
    wait: Duration,
    /// Whether the last was well, or what was said of it.
    said: Option<String>,
    is_well: bool,
}

impl Proxies {
    fn new(settings: &Report, credentials: Option<&Arc<Credentials>>) -> Self {
        let links: Vec<Link> =
            settings.proxies.iter().map(|proxy| Link::new(proxy.clone(), credentials.cloned())).collect();
        // Nodes that are told of the same proxies do not all begin with the first.
        let at = usize::try_from(random() % links.len().max(1) as u64).unwrap_or(0);
        Self { links, at, wait: FIRST_WAIT, said: None, is_well: false }
    }

    fn current(&mut self) -> &mut Link {
        &mut self.links[self.at]
    }

    fn is_well(&mut self) {
        if !self.is_well {
            tracing::info!(proxy = self.links[self.at].proxy(), "a proxy takes this node's reports");
        }
        (self.is_well, self.said, self.wait) = (true, None, FIRST_WAIT);
    }

    /// Goes on to the next, and says how long to wait before it is asked.
    fn next(&mut self, why: &str) -> Duration {
        let proxy = self.links[self.at].proxy();
        let said = format!("{proxy}: {why}");
        if self.said.as_ref() != Some(&said) && (self.is_well || self.links.len() == 1 || self.said.is_none()) {
            tracing::warn!(
                proxy,
                why,
                "a proxy does not take this node's reports; others are tried, and this one again"
            );
            self.said = Some(said);
        }
        self.is_well = false;
        self.at = (self.at + 1) % self.links.len();
        let wait = shorter(self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        wait
    }
}

/// By up to a quarter: so that nodes do not speak in step.
fn shorter(duration: Duration) -> Duration {
    let quarter = u32::try_from(random() % 256).unwrap_or(0);
    duration - duration / 1024 * quarter
}

/// From the standard library's own seeds: for spreading things, not for secrets.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Another one at each start.
fn session(node: Uuid) -> Uuid {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Uuid::new_v5(&node, format!("{since} {} {}", std::process::id(), random()).as_bytes())
}

#[cfg(test)]
mod tests;
