//! A proxy with its zone in namespaces of a test's own, and what is written into the configurations of its clients.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sonde_inventory::{Instance, Write};
pub use sonde_tests::in_own_network;
use sonde_tests::{Prometheus, eventually};
use tokio::runtime::Runtime;

use crate::house::{Credential, House, SUFFIX, name};

/// A refresh is each second, and a scrape too; a busy machine gets far longer.
pub const WITHIN: Duration = Duration::from_secs(60);

/// A house with names, and the threads that it runs on.
pub struct Town {
    pub runtime: Runtime,
    pub house: Option<House>,
    folder: tempfile::TempDir,
}

impl Town {
    pub fn build(instances: &[Instance]) -> Self {
        Self::with_proxies(instances, &["127.0.0.1"])
    }

    /// With these addresses of proxies in DNS; the one of this town is the first.
    pub fn with_proxies(instances: &[Instance], addresses: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("list.key");
        std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
        let names = format!("names = {{ listen = [\"127.0.0.1:53\"], addresses = {addresses:?}, list_key = {key:?} }}");
        let house = runtime.block_on(House::configured(instances, &names));
        Self { runtime, house: Some(house), folder }
    }

    pub fn house(&self) -> &House {
        self.house.as_ref().expect("the house stands")
    }

    pub fn port(&self) -> u16 {
        self.house().proxy.address().port()
    }

    pub fn certificate(&self, account: &str) -> Credential {
        self.runtime.block_on(self.house().certificate(account))
    }

    pub fn put(&self, was: Option<&Instance>, becomes: &Instance) {
        self.runtime.block_on(self.house().put(was.cloned(), becomes.clone()));
    }

    pub fn remove(&self, was: &Instance) {
        let store = self.house().proxy.store();
        self.runtime.block_on(store.write(vec![Write::remove(was.clone().into())])).unwrap();
    }

    /// A token in a file.
    pub fn token_file(&self, account: &str) -> PathBuf {
        let credential = self.runtime.block_on(self.house().token(account, &[], None));
        let path = self.folder.path().join(format!("{account}.token"));
        std::fs::write(&path, credential.token.unwrap()).unwrap();
        path
    }

    /// `tls_config` of a client, in YAML's flow form.
    pub fn tls(&self, credential: &Credential) -> String {
        let own = credential.certificate.as_ref().expect("it is a certificate");
        let ca = self.house().server_ca.display();
        format!("{{ ca_file: {ca}, cert_file: {}, key_file: {} }}", own.certificate.display(), own.key.display())
    }

    /// The one who owns the account and asks what its list is called in DNS.
    pub fn list_name(&self, token: &Path) -> String {
        let output = sonde_tests::run_to_end(
            Command::new("curl")
                .args(["-sSf", "--cacert"])
                .arg(&self.house().server_ca)
                .arg("-H")
                .arg(format!("Authorization: Bearer {}", std::fs::read_to_string(token).unwrap()))
                .arg(format!("https://{SUFFIX}:{}/v1/sd/dns", self.port())),
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Takes an account's certificate away.
    pub fn revoke(&self, account: &str) {
        let accounts = self.house().proxy.accounts();
        let all = accounts.get(&name(account)).unwrap().certificates.clone();
        for certificate in all {
            self.runtime.block_on(accounts.remove_certificate(&name(account), &certificate.sha256)).unwrap();
        }
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if let Some(house) = self.house.take() {
            self.runtime.block_on(house.proxy.stop());
        }
    }
}

/// What a Prometheus scrapes: the labels `alias` and `instance` and whether it is up, sorted.
pub fn up(prometheus: &Prometheus) -> Vec<(String, f64)> {
    let mut all: Vec<_> = prometheus
        .query("up")
        .iter()
        .map(|series| {
            let label = series.label("alias").or_else(|| series.label("instance")).unwrap_or_default();
            (label.to_owned(), series.samples.last().map_or(f64::NAN, |sample| sample.1))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Waits until these are its targets, each up or not.
#[track_caller]
pub fn wait_for_targets(prometheus: &Prometheus, expected: &[(&str, f64)]) {
    eventually("the targets", WITHIN, || {
        let now = up(prometheus);
        let same = now.iter().map(|(alias, up)| (alias.as_str(), *up)).eq(expected.iter().copied());
        if same { Ok(()) } else { Err(format!("{now:?} instead of {expected:?}; {}", prometheus.targets())) }
    });
}
