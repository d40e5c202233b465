//! Asking a running agent: which one, and one request.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;

use crate::Running;
use crate::data_folder;
use crate::failure::Failure;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest body that is taken in.
const BODY_BYTES: usize = 256 << 20;
/// The environment's word for which agent to ask.
const AGENT_VARIABLE: &str = "SONDE_AGENT";

/// An answer: status and body.
pub struct Answer {
    pub status: u16,
    pub reason: Option<String>,
    pub body: Vec<u8>,
}

/// The URL of the agent: the one whose folder was given, else the environment's, else that of the folder here.
fn agent(running: &Running) -> Result<String, Failure> {
    if let Some(folder) = &running.data_dir {
        return of_folder(folder);
    }
    if let Ok(url) = std::env::var(AGENT_VARIABLE) {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    of_folder(Path::new(data_folder::DEFAULT)).map_err(|_| {
        Failure::failed(format!("no running agent was named: give --data-dir D of a running `sonde up`, or set {AGENT_VARIABLE}=http://ADDRESS"))
    })
}

fn of_folder(folder: &Path) -> Result<String, Failure> {
    let endpoints = data_folder::endpoints(folder)?;
    let agent = endpoints["agent"].as_str();
    agent.map(str::to_owned).ok_or_else(|| data_folder::names_no(folder, "an agent"))
}

/// One GET of a path, which begins with `/`.
pub fn get(running: &Running, path: &str) -> Result<Answer, Failure> {
    request(running, Method::GET, path)
}

/// One POST, without a body.
pub fn post(running: &Running, path: &str) -> Result<Answer, Failure> {
    request(running, Method::POST, path)
}

fn request(running: &Running, method: Method, path: &str) -> Result<Answer, Failure> {
    let url = agent(running)?;
    let authority = url.strip_prefix("http://").ok_or_else(|| {
        Failure::usage(format!("{url} is not an http:// URL; a TLS agent is asked through its proxy"))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime can be started: {error}")))?;
    let asked = runtime.block_on(async { tokio::time::timeout(DEADLINE, ask(authority, method, path)).await });
    match asked {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::failed(format!("the agent at {url} does not answer: {error}; is it running?"))),
        Err(_) => Err(Failure::failed(format!("the agent at {url} has not answered within {DEADLINE:?}"))),
    }
}

async fn ask(authority: &str, method: Method, path: &str) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let stream = tokio::net::TcpStream::connect(authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", authority).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let reason = response.headers().get("x-sonde-reason").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), BODY_BYTES).collect().await?.to_bytes().to_vec();
    Ok(Answer { status, reason, body })
}

/// A segment of a path, escaped.
pub fn escape(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    segment
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
