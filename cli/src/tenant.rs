//! Asking a proxy as a tenant does: which proxy, as whom, and one request over TLS.
//!
//! Flags go before the environment, and that before a `sonde up` in the folder here. A token is read from its file and shown to nobody.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::data_folder;
use crate::failure::{Failure, print};

/// How long an answer may take: a large artifact over a slow line.
const DEADLINE: Duration = Duration::from_secs(90);
const BODY_BYTES: usize = 64 << 20;
/// The proxy's port, where a URL has none.
const PORT: u16 = 9163;
/// What this machine trusts, where no authority is named.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What help says of these flags, for each command that has them.
pub const HELP: &str = "\
Which proxy, and as whom (a flag, else the environment, else the `sonde up` of --data-dir):
  --proxy URL          SONDE_PROXY        https://metrics.example.com:9163
  --ca FILE            SONDE_CA           what the proxy's certificate is checked with; the system's if not given
  --token-file FILE    SONDE_TOKEN_FILE   a token of your account (`sonde token new`), or
  --certificate FILE   SONDE_CERTIFICATE  a certificate of your account (`sonde cert issue`), and
  --key FILE           SONDE_KEY          its key";

/// Which proxy is asked, as whom, and how to answer.
#[derive(Args)]
pub struct Tenant {
    /// The proxy: https://HOST[:PORT]
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// The authority of the proxy's certificate, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A file with a token of your account
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A certificate of your account, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// The folder of a running `sonde up`
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// Where, and with what.
struct Way {
    url: String,
    ca: PathBuf,
    /// Its text, from its file.
    token: Option<String>,
    certificate: Option<(PathBuf, PathBuf)>,
}

/// An answer: status, the record's tag, body.
pub struct Answer {
    pub status: u16,
    pub etag: Option<String>,
    /// Of a list that is cut: how many rows more there would be.
    pub left_out: Option<u64>,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON, where the proxy did what was asked; else its own sentence.
    pub fn value(&self) -> Result<Value, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::failed(format!("the proxy's answer is not JSON: {error}")))
    }

    fn refusal(&self) -> Failure {
        let said = String::from_utf8_lossy(&self.body).trim().to_owned();
        match self.status {
            400 => Failure::usage(said),
            401 => Failure::failed(
                "the proxy does not take this credential: draw another with `sonde token new`, or ask its operator",
            ),
            403 => Failure::failed(format!(
                "{said}; `sonde token new ACCOUNT --scope push-sensors --scope read-metrics` draws a token that does both"
            )),
            status => Failure::failed(if said.is_empty() { format!("the proxy answered {status}") } else { said }),
        }
    }
}

impl Tenant {
    /// One request.
    pub fn ask(&self, method: &Method, path: &str, headers: &[(&str, String)], body: Bytes) -> Result<Answer, Failure> {
        let way = self.way()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime can be started: {error}")))?;
        let connector = way.connector()?;
        let asking = way.ask(&connector, method, path, headers, body);
        match runtime.block_on(async { tokio::time::timeout(DEADLINE, asking).await }) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                Err(Failure::failed(format!("the proxy at {} cannot be asked: {error}; is --proxy right?", way.url)))
            }
            Err(_) => Err(Failure::failed(format!("the proxy at {} has not answered within {DEADLINE:?}", way.url))),
        }
    }

    /// One GET.
    pub fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(&Method::GET, path, &[], Bytes::new())
    }

    /// Prints the value for programs, or else what `people` makes of it.
    pub fn show(&self, value: &Value, people: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        let text = if self.json { format!("{value}\n") } else { people(value) };
        print(text.as_bytes())
    }

    fn way(&self) -> Result<Way, Failure> {
        let path = |flag: &Option<PathBuf>, variable: &str| {
            flag.clone().or_else(|| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from))
        };
        let url = self.proxy.clone().or_else(|| std::env::var("SONDE_PROXY").ok().filter(|url| !url.is_empty()));
        let url = match (&self.data_dir, url) {
            (None, Some(url)) => url,
            (Some(folder), _) => return of_folder(folder),
            (None, None) => {
                return of_folder(Path::new(data_folder::DEFAULT)).map_err(|_| {
                    Failure::failed(
                        "no proxy was named: give --proxy URL or set SONDE_PROXY, or --data-dir D of a running `sonde up`",
                    )
                });
            }
        };
        let certificate = path(&self.certificate, "SONDE_CERTIFICATE").zip(path(&self.key, "SONDE_KEY"));
        let token = path(&self.token_file, "SONDE_TOKEN_FILE").as_deref().map(token).transpose()?;
        if certificate.is_none() && token.is_none() {
            return Err(Failure::usage(
                "no credential was given: --token-file FILE, or --certificate FILE and --key FILE",
            ));
        }
        let ca = path(&self.ca, "SONDE_CA").unwrap_or_else(|| SYSTEM_CA.into());
        Ok(Way { url, ca, token, certificate })
    }
}

fn token(path: &Path) -> Result<String, Failure> {
    let unreadable = |error| {
        Failure::usage(format!(
            "{} cannot be read: {error}; `sonde token new ACCOUNT > FILE` makes one",
            path.display()
        ))
    };
    Ok(std::fs::read_to_string(path).map_err(unreadable)?.trim().to_owned())
}

/// The proxy of a running `sonde up`, as its operator.
fn of_folder(folder: &Path) -> Result<Way, Failure> {
    let endpoints = data_folder::endpoints(folder)?;
    let get = |key: &str| endpoints[key].as_str().map(str::to_owned);
    let way = || {
        let certificate = (get("proxy_certificate")?.into(), get("proxy_key")?.into());
        Some(Way { url: get("proxy_url")?, ca: get("proxy_ca")?.into(), token: None, certificate: Some(certificate) })
    };
    way().ok_or_else(|| data_folder::names_no(folder, "a proxy"))
}

impl Way {
    fn connector(&self) -> Result<TlsConnector, Failure> {
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::usage(format!("{} cannot be read: {error}", path.display()))
        };
        let all = |path: &Path| CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut roots = RootCertStore::empty();
        for authority in all(&self.ca).map_err(|error| unreadable(&self.ca, &error))? {
            // Of a system's many, one that is not understood is not needed.
            let _ = roots.add(authority);
        }
        if roots.is_empty() {
            return Err(Failure::usage(format!("{} has no certificate of an authority", self.ca.display())));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let failed = |error: rustls::Error| Failure::failed(format!("TLS cannot be set up: {error}"));
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.map_err(failed)?.with_root_certificates(roots);
        let configuration = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = all(certificate).map_err(|error| unreadable(certificate, &error))?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
                builder.with_client_auth_cert(chain, key).map_err(failed)?
            }
        };
        Ok(TlsConnector::from(Arc::new(configuration)))
    }

    async fn ask(
        &self,
        connector: &TlsConnector,
        method: &Method,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let uri: Uri = self.url.trim_end_matches('/').parse()?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
        let authority = authority.ok_or("it is not of the form https://HOST[:PORT]")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let stream = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(PORT))).await?;
        let stream = connector.connect(ServerName::try_from(host)?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, authority.as_str());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("etag").map(str::to_owned);
        let left_out = header("x-sonde-left-out").and_then(|count| count.parse().ok());
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await?.to_bytes();
        Ok(Answer { status, etag, left_out, body })
    }
}
