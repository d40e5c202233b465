//! What a Prometheus beside this machine needs: `endpoints.json` and `prometheus.yml`.
//!
//! Only for `sonde up`. Prometheus finds instances through the proxy's `http_sd_configs`, as a tenant's does, with the operator's token; the list follows
//! them by itself. Each file is written whole and renamed, so that a reader never sees half of one.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The proxy beside the agent, as a scraper meets it.
#[derive(Debug, Clone)]
pub struct Through {
    /// `https://ADDRESS`.
    pub url: String,
    pub admin: SocketAddr,
    /// What a scraper trusts.
    pub ca: PathBuf,
    /// The operator's.
    pub token: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Serialize)]
struct Endpoints<'a> {
    agent: &'a str,
    node: String,
    instances: String,
    metrics: String,
    proxy_url: &'a str,
    proxy_admin: String,
    proxy_ca: PathBuf,
    proxy_token: PathBuf,
    proxy_certificate: PathBuf,
    proxy_key: PathBuf,
}

/// Writes the files of a data folder.
#[derive(Debug)]
pub(crate) struct ScrapeConfig<'a> {
    folder: &'a Path,
    address: SocketAddr,
    through: &'a Through,
}

impl<'a> ScrapeConfig<'a> {
    pub(crate) fn new(folder: &'a Path, address: SocketAddr, through: &'a Through) -> Self {
        Self { folder, address, through }
    }

    /// Writes what does not change while the two run. `endpoints.json` comes last: who waits for it finds the rest.
    pub(crate) fn write(&self) -> io::Result<()> {
        replace(&self.folder.join("prometheus.yml"), self.prometheus()?.as_bytes())?;
        let agent = format!("http://{}", self.address);
        let endpoints = Endpoints {
            node: format!("{agent}/v1/node/metrics"),
            instances: format!("{agent}/v1/instances"),
            metrics: format!("{agent}/metrics"),
            agent: &agent,
            proxy_url: &self.through.url,
            proxy_admin: format!("http://{}", self.through.admin),
            proxy_ca: std::path::absolute(&self.through.ca)?,
            proxy_token: std::path::absolute(&self.through.token)?,
            proxy_certificate: std::path::absolute(&self.through.certificate)?,
            proxy_key: std::path::absolute(&self.through.key)?,
        };
        let mut json = serde_json::to_vec_pretty(&endpoints)?;
        json.push(b'\n');
        replace(&self.folder.join("endpoints.json"), &json)
    }

    fn prometheus(&self) -> io::Result<String> {
        let (url, address) = (&self.through.url, self.address);
        let (ca, token) = (quoted(&self.through.ca)?, quoted(&self.through.token)?);
        let shown = format!("tls_config: {{ca_file: {ca}}}\n    authorization: {{credentials_file: {token}}}");
        let inside = format!("tls_config: {{ca_file: {ca}}}\n        authorization: {{credentials_file: {token}}}");
        Ok(format!(
            "# Written by `sonde up` at each start. Works as it stands: prometheus --config.file=prometheus.yml
global:
  scrape_interval: 15s

scrape_configs:
  # Every instance on this machine, through the proxy. The list follows them as they come and go.
  - job_name: sonde
    honor_labels: false
    scheme: https
    {shown}
    http_sd_configs:
      - url: {url}/v1/sd/http
        refresh_interval: 5s
        {inside}

  # The machine itself.
  - job_name: sonde-node
    scheme: https
    {shown}
    http_sd_configs:
      - url: {url}/v1/sd/http?role=node
        refresh_interval: 5s
        {inside}

  # All instances at a glance, and what they may use of the proxy.
  - job_name: sonde-account
    metrics_path: /v1/account/metrics
    scheme: https
    {shown}
    static_configs:
      - targets: [\"{}\"]

  # The agent and the proxy about themselves.
  - job_name: sonde-agent
    static_configs:
      - targets: [\"{address}\"]
  - job_name: sonde-proxy
    static_configs:
      - targets: [\"{}\"]
",
            url.trim_start_matches("https://"),
            self.through.admin,
        ))
    }
}

/// A path as YAML has it between quotes, from the root, so that a copy of the file works elsewhere.
fn quoted(path: &Path) -> io::Result<String> {
    // JSON's strings are YAML's.
    Ok(serde_json::Value::from(std::path::absolute(path)?.display().to_string()).to_string())
}

/// Writes a file whole: to another name beside it, then renamed.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, path)
}
