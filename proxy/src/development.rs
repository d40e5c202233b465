//! A proxy for one machine, for trying: a certificate authority, an account, a token and a certificate of its own making, on loopback.
//!
//! `sonde up` runs it beside the agent, and the two speak as in production: mTLS with roles. Authorities, token and inventory stay in the folder, so
//! that what a Prometheus was given goes on working; leaf certificates are made anew at each start. None of this is for a machine that others reach.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sonde_inventory::{AccountName, Scope};
use uuid::Uuid;

use crate::accounts::tokens::sha256;
use crate::accounts::{AccountError, TokenWanted};
use crate::identity::TierRole;
use crate::issue::{AuthorityKind, IssueError, IssuingAuthority, Terms};
use crate::proxy::{Proxy, StartError};
use crate::tls::CertificateFiles;

/// The port of tenants, unless another program has it.
const PUBLIC_PORT: u16 = 9163;
/// What names end in; RFC 6761 leads all of them to this machine.
const SUFFIX: &str = "sonde.localhost";
/// Longer than anybody tries something.
const TTL: Duration = Duration::from_secs(366 * 86_400);
/// What the operator's certificate is known by, so that the next start takes it away.
const LABEL: &str = "sonde up";
const CONFIG: &str = "proxy.toml";
const TOKEN: &str = "operator.token";

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    #[error("certificates cannot be made")]
    Issue(#[from] IssueError),
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
    #[error("the proxy did not start")]
    Start(#[from] StartError),
    #[error("the operator's account cannot be made")]
    Account(#[from] AccountError),
}

/// It runs, and this is what others need.
pub struct Development {
    pub proxy: Proxy,
    /// `https://127.0.0.1:PORT`.
    pub url: String,
    /// What a scraper trusts.
    pub server_ca: PathBuf,
    /// The operator's, who owns what no rule gives to another.
    pub token: PathBuf,
    pub certificate: CertificateFiles,
    /// The agent's, in its own listener and to the proxy.
    pub node: CertificateFiles,
    pub tier_ca: PathBuf,
    /// Where the agent reports.
    pub reports: String,
}

impl Development {
    /// Starts it in a data folder, for an agent of that node.
    ///
    /// # Errors
    /// See [`DevelopmentError`].
    pub async fn start(folder: &Path, node: Uuid) -> Result<Self, DevelopmentError> {
        let tls = folder.join("tls");
        let authority = |kind| IssuingAuthority::open_or_create(&tls, kind);
        let (server, server_files) = authority(AuthorityKind::Server)?;
        let (tier, tier_files) = authority(AuthorityKind::Tier)?;
        let here = [Ipv4Addr::LOCALHOST.to_string()];
        let names = [SUFFIX.to_owned(), format!("*.{SUFFIX}"), "localhost".to_owned(), here[0].clone()];
        let own = server.issue_server(&names, TTL)?.write_over(&tls, "server")?;
        let proxy_files = tier.issue_tier(TierRole::Proxy, &here, TTL)?.write_over(&tls, "proxy")?;
        let node = tier.issue_tier(TierRole::Node(node), &here, TTL)?.write_over(&tls, "node")?;

        let data = folder.join("proxy");
        std::fs::create_dir_all(&data).map_err(|source| DevelopmentError::Write { path: data.clone(), source })?;
        let path = data.join(CONFIG);
        let proxy = start_at(path, |port| configuration(port, &own, &proxy_files, &tier_files.certificate)).await?;
        let token = token(&proxy, &tls.join(TOKEN)).await?;
        let (accounts, _) = authority(AuthorityKind::Accounts)?;
        let certificate = certificate(&proxy, &accounts, &tls).await?;
        let reports = proxy.tier_address().map_or_else(String::new, |address| format!("https://{address}"));
        Ok(Self {
            url: format!("https://{}", proxy.address()),
            proxy,
            server_ca: server_files.certificate,
            token,
            certificate,
            node,
            tier_ca: tier_files.certificate,
            reports,
        })
    }
}

/// Starts it at the port of tenants. Where another program has that, any will do: everything that is written names the one that was taken.
async fn start_at(path: PathBuf, configuration: impl Fn(u16) -> String) -> Result<Proxy, DevelopmentError> {
    write(&path, configuration(PUBLIC_PORT).as_bytes())?;
    match Proxy::start(path.clone()).await {
        Err(StartError::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
            write(&path, configuration(0).as_bytes())?;
            Ok(Proxy::start(path).await?)
        }
        started => Ok(started?),
    }
}

fn configuration(port: u16, own: &CertificateFiles, proxy: &CertificateFiles, tier_ca: &Path) -> String {
    let path = |path: &Path| toml::Value::String(absolute(path).display().to_string()).to_string();
    format!(
        "# Written by `sonde up` at each start.\nsuffix = \"{SUFFIX}\"\n\n\
         [listen]\npublic = \"127.0.0.1:{port}\"\ntier = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\n\
         [tls]\ncertificate = {}\nkey = {}\n\n[tier]\ncertificate = {}\nkey = {}\nca = {}\n\n\
         # It is one machine, and whose instances are on it is its own to say.\n[sensors]\nsecrets_on_any_node = true\n",
        path(&own.certificate),
        path(&own.key),
        path(&proxy.certificate),
        path(&proxy.key),
        path(tier_ca),
    )
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The operator's account, made if it is not there, and its token: the one in the file where that is still good.
async fn token(proxy: &Proxy, path: &Path) -> Result<PathBuf, DevelopmentError> {
    let accounts = proxy.accounts();
    let operator = operator();
    let account = match accounts.get(&operator) {
        Ok(account) => account,
        Err(AccountError::NoAccount(_)) => accounts.add(&operator, true).await?,
        Err(error) => return Err(error.into()),
    };
    let kept = std::fs::read_to_string(path).ok().map(|text| sha256(text.trim()));
    if kept.is_some_and(|kept| account.tokens.iter().any(|token| token.sha256 == kept)) {
        return Ok(path.to_owned());
    }
    let drawn = accounts.new_token(&operator, &TokenWanted::default()).await?;
    crate::issue::write_secret(path, drawn.token.as_bytes())?;
    Ok(path.to_owned())
}

/// The operator's certificate, in place of the one of the last start.
async fn certificate(
    proxy: &Proxy,
    authority: &IssuingAuthority,
    folder: &Path,
) -> Result<CertificateFiles, DevelopmentError> {
    let accounts = proxy.accounts();
    let operator = operator();
    let account = accounts.get(&operator)?;
    for old in account.certificates.iter().filter(|old| old.label == LABEL) {
        accounts.remove_certificate(&operator, &old.sha256).await?;
    }
    // The token is what scrapers are given; who has this key may push sensors too.
    let scopes = vec![Scope::ReadMetrics, Scope::PushSensors];
    let terms = Terms { ttl: TTL, label: LABEL.to_owned(), scopes, ..Terms::default() };
    let (issued, record) = authority.issue_account(&operator, &terms)?;
    accounts.add_certificate(&operator, &record).await?;
    Ok(issued.write_over(folder, "operator")?)
}

fn operator() -> AccountName {
    AccountName::new(AccountName::OPERATOR).expect("it is a name")
}

fn write(path: &Path, text: &[u8]) -> Result<(), DevelopmentError> {
    std::fs::write(path, text).map_err(|source| DevelopmentError::Write { path: path.to_owned(), source })
}
