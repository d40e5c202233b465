//! Asking a running proxy for the operator's changes: which one, and one request over its socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sonde_proxy::accounts::socket::NAME;
use tokio::net::UnixStream;

use crate::client::escape;
use crate::data_folder;
use crate::failure::{Failure, print};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest answer: a hundred thousand accounts.
const BODY_BYTES: usize = 256 << 20;
/// Where the socket is in a data folder: of a proxy alone, of `sonde up`.
const PLACES: [&str; 2] = ["", "proxy"];

/// Which running proxy to ask, and how to answer.
#[derive(Args)]
pub struct Operator {
    /// The data folder of a running proxy or `sonde up`
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// The proxy's socket itself
    #[arg(long, value_name = "PATH", conflicts_with = "data_dir")]
    socket: Option<PathBuf>,
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

impl Operator {
    /// The folder that was named.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// One request. A refusal is the proxy's own sentence.
    pub fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Value, Failure> {
        let socket = self.socket()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime can be started: {error}")))?;
        let asking = ask(&socket, method, path, body.into());
        let asked = runtime.block_on(async { tokio::time::timeout(DEADLINE, asking).await });
        let shown = socket.display();
        let (status, body) = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Err(Failure::failed(format!(
                    "the proxy at {shown} does not answer: {error}; is it running, and may you open its socket?"
                )));
            }
            Err(_) => {
                return Err(Failure::failed(format!("the proxy at {shown} has not answered within {DEADLINE:?}")));
            }
        };
        if status != 200 {
            let said = String::from_utf8_lossy(&body).trim().to_owned();
            // What cannot be meant is wrong usage.
            return Err(if status == 400 { Failure::usage(said) } else { Failure::failed(said) });
        }
        serde_json::from_slice(&body)
            .map_err(|error| Failure::failed(format!("the proxy's answer is not JSON: {error}")))
    }

    /// Prints the value for programs, or else what `people` makes of it.
    pub fn show(&self, value: &Value, people: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        let text = if self.json { format!("{value}\n") } else { people(value) };
        print(text.as_bytes())
    }

    fn socket(&self) -> Result<PathBuf, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let named = self.data_dir.as_deref();
        let folder = named.unwrap_or(Path::new(data_folder::DEFAULT));
        let found = PLACES.iter().map(|place| folder.join(place).join(NAME)).find(|path| path.exists());
        found.ok_or_else(|| {
            Failure::failed(match named {
                Some(folder) => format!("there is no {NAME} in {}: is a proxy running there?", folder.display()),
                None => {
                    "no running proxy was named: give --data-dir D of a running proxy or `sonde up`, or --socket PATH"
                        .to_owned()
                }
            })
        })
    }
}

async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(u16, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "sonde").body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    Ok((status, Limited::new(response.into_body(), BODY_BYTES).collect().await?.to_bytes()))
}

/// The path of an account, or of a part of it.
pub fn of_account(account: &str, part: &str) -> String {
    format!("/v1/accounts/{}{part}", escape(account))
}

/// A list's cell: its strings with commas, or a dash.
pub fn list(value: &Value, otherwise: &str) -> String {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
    if all.is_empty() { otherwise.to_owned() } else { all.join(",") }
}

/// A text's cell.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}
