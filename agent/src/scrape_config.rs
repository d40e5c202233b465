//! What a Prometheus beside this machine needs: `endpoints.json`, `prometheus.yml` and the list of targets that it follows.
//!
//! Only for `sonde up`, which has no proxy to ask yet: Prometheus finds instances through `file_sd_configs`, and the list is written
//! anew whenever one appears or goes. Each file is written whole and renamed, so that a reader never sees half of one.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use uuid::Uuid;

use crate::instance::{Catalogue, Instance};
use crate::keeper::stopped;

/// Births that come together are one writing.
const SETTLE: Duration = Duration::from_millis(50);

/// When the list could not be written.
const RETRY: Duration = Duration::from_secs(1);

const TARGETS: &str = "targets.json";

#[derive(Serialize)]
struct Endpoints<'a> {
    agent: &'a str,
    node: String,
    instances: String,
    metrics: String,
}

#[derive(Serialize)]
struct TargetGroup {
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

/// Writes the files of a data folder.
#[derive(Debug)]
pub(crate) struct ScrapeConfig {
    folder: PathBuf,
    address: SocketAddr,
    /// The label `instance` of each.
    names: HashMap<Uuid, String>,
}

impl ScrapeConfig {
    pub(crate) fn new(folder: &Path, address: SocketAddr) -> Self {
        Self { folder: folder.to_owned(), address, names: HashMap::new() }
    }

    /// Writes what does not change while the agent runs. `endpoints.json` comes last: who waits for it finds the rest.
    pub(crate) fn write(&mut self, catalogue: &Catalogue) -> io::Result<()> {
        self.write_targets(catalogue)?;
        replace(&self.folder.join("prometheus.yml"), self.prometheus().as_bytes())?;
        let agent = format!("http://{}", self.address);
        let endpoints = Endpoints {
            node: format!("{agent}/v1/node/metrics"),
            instances: format!("{agent}/v1/instances"),
            metrics: format!("{agent}/metrics"),
            agent: &agent,
        };
        let mut json = serde_json::to_vec_pretty(&endpoints)?;
        json.push(b'\n');
        replace(&self.folder.join("endpoints.json"), &json)
    }

    /// Follows the catalogue until `stop`.
    pub(crate) async fn follow(
        mut self,
        catalogue: Arc<Catalogue>,
        mut changes: watch::Receiver<u64>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            tokio::time::sleep(SETTLE).await;
            changes.borrow_and_update();
            while let Err(error) = self.write_targets(&catalogue) {
                tracing::warn!(%error, "the list of targets could not be written; it is tried again");
                tokio::select! {
                    () = stopped(&mut stop) => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }

    fn write_targets(&mut self, catalogue: &Catalogue) -> io::Result<()> {
        let live = catalogue.live();
        self.names.retain(|id, _| live.iter().any(|instance| instance.id() == *id));
        for instance in &live {
            self.name(instance);
        }
        let groups: Vec<TargetGroup> = live
            .iter()
            .map(|instance| {
                let id = instance.id();
                let labels = BTreeMap::from([
                    ("__metrics_path__", format!("/v1/{id}/metrics")),
                    ("instance", self.names[&id].clone()),
                    ("runtime", instance.found.name.runtime.as_str().to_owned()),
                ]);
                TargetGroup { targets: [self.address.to_string()], labels }
            })
            .collect();
        replace(&self.folder.join(TARGETS), &serde_json::to_vec_pretty(&groups)?)
    }

    /// Gives an instance its label for life: its name, or where a namesake has that, the name and the beginning of its id.
    fn name(&mut self, instance: &Instance) {
        let id = instance.id();
        if self.names.contains_key(&id) {
            return;
        }
        let name = instance.display_name();
        let taken = self.names.values().any(|taken| taken == name);
        let label = if taken { format!("{name}-{}", &id.to_string()[..8]) } else { name.to_owned() };
        self.names.insert(id, label);
    }

    fn prometheus(&self) -> String {
        let address = self.address;
        format!(
            "# Written by `sonde up` at each start. Works as it stands: prometheus --config.file=prometheus.yml
global:
  scrape_interval: 15s

scrape_configs:
  # Every instance on this machine. The list follows them as they come and go.
  - job_name: sonde
    honor_labels: false
    file_sd_configs:
      - files: [{TARGETS}]
        refresh_interval: 5s

  # The machine itself.
  - job_name: sonde-node
    metrics_path: /v1/node/metrics
    static_configs:
      - targets: [\"{address}\"]

  # The agent about itself.
  - job_name: sonde-agent
    static_configs:
      - targets: [\"{address}\"]
"
        )
    }
}

/// Writes a file whole: to another name beside it, then renamed.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, path)
}
