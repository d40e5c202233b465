//! `[report]`: the proxies that are told what runs here.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Proxies that are tried, one after the other.
const MOST_PROXIES: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReport {
    proxies: Vec<String>,
    url: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    crl: Option<PathBuf>,
}

/// Who is told, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `https://HOST:PORT`, or `http://` on loopback.
    pub proxies: Vec<String>,
    /// Where proxies reach this agent, where that is not its listener's address.
    pub url: Option<String>,
    /// None where all proxies are on loopback and without TLS.
    pub tls: Option<ReportTls>,
}

/// Files of the connection to a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
    /// What that authority has revoked; none means nothing.
    pub crl: Option<PathBuf>,
}

pub(super) fn read(raw: Option<RawReport>, folder: &Path, faults: &mut Vec<String>) -> Option<Report> {
    let raw = raw?;
    if !(1..=MOST_PROXIES).contains(&raw.proxies.len()) {
        faults.push(format!("report.proxies names {} proxies: 1 to {MOST_PROXIES} are allowed", raw.proxies.len()));
    }
    for proxy in &raw.proxies {
        if !is_address(proxy) {
            faults.push(format!(
                "report.proxies has {proxy:?}: https://HOST:PORT is allowed, and http://127.0.0.1:PORT on loopback"
            ));
        }
    }
    if let Some(url) = raw.url.as_ref().filter(|url| !is_address(url)) {
        faults.push(format!("report.url is {url:?}: https://HOST:PORT is allowed"));
    }
    let tls = match (raw.certificate, raw.key, raw.ca) {
        (Some(certificate), Some(key), Some(ca)) => {
            let crl = raw.crl.map(|crl| folder.join(crl));
            let [certificate, key, ca] = [certificate, key, ca].map(|file| folder.join(file));
            Some(ReportTls { certificate, key, ca, crl })
        }
        (None, None, None) if raw.proxies.iter().all(|proxy| proxy.starts_with("http://")) => None,
        _ => {
            faults.push("[report] needs certificate, key and ca: all three".to_owned());
            None
        }
    };
    for path in tls.iter().flat_map(|tls| [&tls.certificate, &tls.key, &tls.ca].into_iter().chain(&tls.crl)) {
        if let Err(error) = std::fs::File::open(path) {
            faults.push(format!("report: {} cannot be read: {error}", path.display()));
        }
    }
    Some(Report { proxies: raw.proxies, url: raw.url, tls })
}

/// As the file would say it.
pub(super) fn table_of(report: &Report) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert("proxies".into(), report.proxies.clone().into());
    if let Some(url) = &report.url {
        table.insert("url".into(), url.clone().into());
    }
    if let Some(tls) = &report.tls {
        let files = [("certificate", &tls.certificate), ("key", &tls.key), ("ca", &tls.ca)];
        for (key, path) in files.into_iter().chain(tls.crl.iter().map(|crl| ("crl", crl))) {
            table.insert(key.into(), path.display().to_string().into());
        }
    }
    table
}

/// A scheme, a host, a port and nothing else; without TLS only on loopback.
fn is_address(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let bare = authority.host().trim_matches(['[', ']']);
    let on_loopback = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let plain = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
    plain && authority.port_u16().is_some() && (scheme == "https" || (scheme == "http" && on_loopback))
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse;

    #[test]
    fn proxies_are_addresses_and_files_come_together() {
        let ok = "[report]\nproxies = [\"http://127.0.0.1:9\", \"http://[::1]:9\"]\nurl = \"https://node-1:9164\"\n";
        let config = parse(ok).unwrap();
        assert_eq!(config.report.as_ref().unwrap().proxies.len(), 2);
        assert_eq!(parse(&config.to_toml()).unwrap(), config);
        for (broken, named) in [
            ("proxies = []", "report.proxies"),
            ("proxies = [\"http://10.0.0.1:9\"]", "10.0.0.1"),
            ("proxies = [\"https://a/b\"]", "https://a/b"),
            ("proxies = [\"https://a:1\"]", "certificate, key and ca"),
            ("proxies = [\"http://127.0.0.1:9\"]\nurl = \"x\"", "report.url"),
            ("proxies = [\"https://a:1\"]\ncertificate = \"/none/c\"\nkey = \"/none/k\"\nca = \"/none/a\"", "/none/k"),
        ] {
            let error = parse(&format!("[report]\n{broken}\n")).unwrap_err();
            assert!(error.contains(named), "{named} is not in: {error}");
        }
    }
}
