//! `sonde cert`: certificates of accounts, of nodes and proxies, and the authorities that sign them.
//!
//! A private key is made here, where the command runs, and goes nowhere else: what a running proxy is told of is a certificate's fingerprint.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use sonde_fault::chain;
use sonde_inventory::{AccountName, Scope};
use sonde_proxy::identity::TierRole;
use sonde_proxy::issue::{
    AuthorityKind, IssueError, Issued, IssuingAuthority, SshPrivateKey, Terms, issue_triton, pem,
};
use sonde_proxy::tls::CertificateFiles;
use uuid::Uuid;

use crate::client::escape;
use crate::data_folder;
use crate::failure::{Failure, print};
use crate::operator::{Operator, list, of_account, text};
use crate::scrape_config::{http_sd, server_ca, triton_sd};
use crate::table::table;

/// Where authorities are, below a data folder.
const AUTHORITIES: &str = "tls";

#[derive(Subcommand)]
pub enum Cert {
    /// Issue a certificate to an account, bind it, and print how Prometheus uses it
    #[command(after_help = "Example: sonde cert issue acme --endpoint metrics.example.com --out prometheus/")]
    Issue(Issue),
    /// List an account's certificates
    Ls(Ls),
    /// Take a certificate away from an account: it counts for nothing from the next request on
    Revoke(Revoke),
    /// Issue a certificate to a node or a proxy
    #[command(
        after_help = "Example: sonde cert tier --role proxy --out /etc/sonde\n         sonde cert tier --node 5f0d2bb6-7c3e-4e0a-9a44-61d30f8e7a15 --out node7/"
    )]
    Tier(Tier),
    /// Put certificates of nodes or proxies on the list of revoked ones
    RevokeTier(crate::cert_revoke_tier::RevokeTier),
    /// Issue a certificate to the tenants' listener
    Server(Server),
    /// Make the authorities that are not there yet, and print their certificates
    Ca(Ca),
    /// Make a certificate as `triton profile cmon-certgen` does, signed by an account's SSH key
    Triton(Triton),
}

impl Cert {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Issue(issue) => issue.run(),
            Self::Ls(ls) => ls.run(),
            Self::Revoke(revoke) => revoke.run(),
            Self::Tier(tier) => tier.run(),
            Self::RevokeTier(revoke) => revoke.run(),
            Self::Server(server) => server.run(),
            Self::Ca(ca) => ca.run(),
            Self::Triton(triton) => triton.run(),
        }
    }
}

/// The folder that has the authorities.
#[derive(Args)]
pub(crate) struct Authorities {
    /// The folder of the authorities' files, if it is not `tls` in the data folder
    #[arg(long, value_name = "D")]
    ca_dir: Option<PathBuf>,
}

impl Authorities {
    pub(crate) fn open(
        &self,
        data_dir: Option<&Path>,
        kind: AuthorityKind,
    ) -> Result<(IssuingAuthority, CertificateFiles), Failure> {
        IssuingAuthority::open_or_create(&self.folder(data_dir), kind).map_err(failure)
    }

    fn folder(&self, data_dir: Option<&Path>) -> PathBuf {
        let folder = self.ca_dir.clone();
        folder.unwrap_or_else(|| data_dir.unwrap_or(Path::new(data_folder::DEFAULT)).join(AUTHORITIES))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum ScopeName {
    ReadMetrics,
    PushSensors,
}

#[derive(Args)]
pub struct Issue {
    account: String,
    /// How long it lasts, such as 12h or 30d
    #[arg(long, value_parser = duration, default_value = "30d")]
    ttl: Duration,
    /// Where its files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Only for instances of this group; may be given several times
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// What it may be used for (reading metrics if none is given); may be given twice
    #[arg(long, value_enum)]
    scope: Vec<ScopeName>,
    /// What it is called in lists
    #[arg(long, default_value = "")]
    label: String,
    /// The host that tenants reach the proxy by, for the printed configuration
    #[arg(long, value_name = "HOST[:PORT]", default_value = "127.0.0.1:9163")]
    endpoint: String,
    #[command(flatten)]
    authorities: Authorities,
    #[command(flatten)]
    proxy: Operator,
}

impl Issue {
    fn run(self) -> Result<(), Failure> {
        let account = account(&self.account)?;
        let (authority, _) = self.authorities.open(self.proxy.data_dir(), AuthorityKind::Accounts)?;
        let scopes = self.scope.iter().map(|scope| match scope {
            ScopeName::ReadMetrics => Scope::ReadMetrics,
            ScopeName::PushSensors => Scope::PushSensors,
        });
        let groups = (!self.group.is_empty()).then(|| self.group.clone());
        let terms = Terms { ttl: self.ttl, label: self.label.clone(), scopes: scopes.collect(), groups };
        let (issued, record) = authority.issue_account(&account, &terms).map_err(failure)?;
        // Bound first: files that count for nothing would only puzzle whoever finds them.
        let body = serde_json::to_string(&record).map_err(|error| Failure::failed(error.to_string()))?;
        self.proxy.ask(Method::POST, &of_account(&self.account, "/certificates"), body)?;
        let files = issued.write_over(&self.out, account.as_str()).map_err(failure)?;
        let has_ca = self.deliver_ca()?;
        let config = self.out.join(format!("{account}-prometheus.yml"));
        write(&config, &http_sd(&account, &self.endpoint, &files, has_ca))?;
        let shown = serde_json::json!({
            "certificate": files.certificate, "key": files.key, "prometheus": config,
            "sha256": record.sha256, "not_after": record.not_after,
        });
        self.proxy.show(&shown, |_| said(&files, &config))
    }

    /// What the scraper trusts, where the listener's authority is ours too: else the operator's own is in its place.
    fn deliver_ca(&self) -> Result<bool, Failure> {
        let name = server_ca();
        let ours = self.authorities.folder(self.proxy.data_dir()).join(&name);
        let Ok(ca) = fs::read_to_string(&ours) else { return Ok(false) };
        write(&self.out.join(name), &ca)?;
        Ok(true)
    }
}

#[derive(Args)]
pub struct Ls {
    account: String,
    #[command(flatten)]
    proxy: Operator,
}

impl Ls {
    fn run(self) -> Result<(), Failure> {
        let account = self.proxy.ask(Method::GET, &of_account(&self.account, ""), "")?;
        self.proxy.show(&account["certificates"], |certificates| {
            let heads = ["SHA-256", "LABEL", "SCOPES", "GROUPS", "ENDS (SECONDS SINCE 1970)"];
            let mut rows = vec![heads.map(str::to_owned).to_vec()];
            rows.extend(certificates.as_array().into_iter().flatten().map(|one| {
                let ends = one["not_after"].as_u64().unwrap_or_default().to_string();
                let (scopes, groups) = (list(&one["scopes"], "read-metrics"), list(&one["groups"], "all"));
                vec![text(&one["sha256"]), text(&one["label"]), scopes, groups, ends]
            }));
            table(&rows)
        })
    }
}

#[derive(Args)]
pub struct Revoke {
    account: String,
    /// Its fingerprint as `sonde cert ls` has it, or a beginning that only it has
    sha256: String,
    #[command(flatten)]
    proxy: Operator,
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        let path = of_account(&self.account, &format!("/certificates?which={}", escape(&self.sha256)));
        let done = self.proxy.ask(Method::DELETE, &path, "")?;
        self.proxy.show(&done, |_| format!("certificate {} is revoked and counts for nothing now\n", self.sha256))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Proxy,
}

#[derive(Args)]
#[group(id = "holder", required = true, multiple = false, args = ["role", "node"])]
pub struct Tier {
    /// For a proxy
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// For the node of this id, as its agent says it
    #[arg(long, value_name = "UUID")]
    node: Option<Uuid>,
    /// A DNS name or address that it is reached by; may be given several times
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// How long it lasts
    #[arg(long, value_parser = duration, default_value = "90d")]
    ttl: Duration,
    /// Where its files go, and the authority's certificate beside them
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// The data folder whose authority signs
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    authorities: Authorities,
}

impl Tier {
    fn run(self) -> Result<(), Failure> {
        let (authority, _) = self.authorities.open(self.data_dir.as_deref(), AuthorityKind::Tier)?;
        let (role, name) = match self.node {
            Some(id) => (TierRole::Node(id), "node"),
            None => (TierRole::Proxy, "proxy"),
        };
        let issued = authority.issue_tier(role, &self.name, self.ttl).map_err(failure)?;
        deliver(&issued, &authority, AuthorityKind::Tier, &self.out, name)
    }
}

#[derive(Args)]
pub struct Server {
    /// A DNS name (`*.` first is a wildcard) or address of the listener
    #[arg(required = true)]
    name: Vec<String>,
    /// How long it lasts
    #[arg(long, value_parser = duration, default_value = "90d")]
    ttl: Duration,
    /// Where its files go, and the authority's certificate beside them
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// The data folder whose authority signs
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    authorities: Authorities,
}

impl Server {
    fn run(self) -> Result<(), Failure> {
        let (authority, _) = self.authorities.open(self.data_dir.as_deref(), AuthorityKind::Server)?;
        let issued = authority.issue_server(&self.name, self.ttl).map_err(failure)?;
        deliver(&issued, &authority, AuthorityKind::Server, &self.out, "server")
    }
}

#[derive(Args)]
pub struct Ca {
    /// The data folder
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    authorities: Authorities,
}

impl Ca {
    fn run(self) -> Result<(), Failure> {
        for kind in AuthorityKind::ALL {
            let (_, files) = self.authorities.open(self.data_dir.as_deref(), kind)?;
            print(format!("{}\n", files.certificate.display()).as_bytes())?;
        }
        Ok(())
    }
}

#[derive(Args)]
pub struct Triton {
    account: String,
    /// The private half of one of the account's SSH keys, without a passphrase
    #[arg(long, value_name = "F")]
    key: PathBuf,
    /// How long it lasts
    #[arg(long, value_parser = duration, default_value = "30d")]
    ttl: Duration,
    /// Where its files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// The host that discovery is asked at, and below which instances' names are
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    endpoint: String,
}

impl Triton {
    fn run(self) -> Result<(), Failure> {
        let account = account(&self.account)?;
        let key = SshPrivateKey::read(&self.key).map_err(|error| Failure::usage(chain(&error)))?;
        let issued = issue_triton(&account, &key, self.ttl).map_err(failure)?;
        let files = issued.write_over(&self.out, &format!("{account}-triton")).map_err(failure)?;
        let config = self.out.join(format!("{account}-triton-prometheus.yml"));
        write(&config, &triton_sd(&account, &self.endpoint, &files))?;
        eprintln!(
            "it counts while the account has the key; `sonde key add {account} {}.pub` adds it",
            self.key.display()
        );
        print(said(&files, &config).as_bytes())
    }
}

/// Writes a certificate of a tier or server, and the authority's own for the other end.
fn deliver(
    issued: &Issued,
    authority: &IssuingAuthority,
    kind: AuthorityKind,
    out: &Path,
    name: &str,
) -> Result<(), Failure> {
    let files = issued.write_over(out, name).map_err(failure)?;
    let ca = out.join(format!("{}-ca.pem", kind.name()));
    write(&ca, &pem("CERTIFICATE", authority.certificate()))?;
    print(said(&files, &ca).as_bytes())
}

fn said(files: &CertificateFiles, third: &Path) -> String {
    format!("{}\n{}\n{}\n", files.certificate.display(), files.key.display(), third.display())
}

fn account(name: &str) -> Result<AccountName, Failure> {
    AccountName::new(name).map_err(|error| Failure::usage(error.to_string()))
}

fn write(path: &Path, contents: &str) -> Result<(), Failure> {
    fs::write(path, contents).map_err(|error| Failure::failed(format!("{} cannot be written: {error}", path.display())))
}

pub(crate) fn failure(error: IssueError) -> Failure {
    match &error {
        IssueError::Ttl(_) | IssueError::Name(_) | IssueError::Curve => Failure::usage(chain(&error)),
        _ => Failure::failed(chain(&error)),
    }
}

/// `90s`, `15m`, `12h`, `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
    let parsed =
        units.iter().find_map(|(unit, seconds)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*seconds));
    parsed.map(Duration::from_secs).ok_or_else(|| "a number and s, m, h or d, such as 30d".to_owned())
}
