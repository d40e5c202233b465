//! The operator's way in: a Unix socket of this user alone.
//!
//! The file's mode keeps others out, and so does what the kernel says of the other end (`SO_PEERCRED`), which holds also for who had the socket open
//! before the mode was set. Whoever is root or this user could read the inventory's file anyway, and is asked for nothing more.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::Accounts;
use super::routes::{Asked, answer, sentence};

/// What the socket is called, in the proxy's data folder.
pub const NAME: &str = "accounts.sock";
/// Connections at once: people and scripts.
const CONNECTIONS: usize = 32;
/// The largest body: a file of a hundred long keys.
const BODY_BYTES: usize = 1 << 20;
/// How long a request, and its answer, may take.
const WITHIN: Duration = Duration::from_secs(30);
/// Who may do everything anyway.
const ROOT: u32 = 0;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("another process answers at {}: stop that one, or give this one a folder of its own", path.display())]
    Taken { path: PathBuf },
    #[error("the socket {} cannot be made (a path of a socket is 107 bytes at most)", path.display())]
    Make { path: PathBuf, source: std::io::Error },
}

/// The socket, bound.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds it, in the place of one that nobody answers at any more.
    ///
    /// # Errors
    /// It cannot be made, or another process answers there.
    pub async fn bind(folder: &Path) -> Result<Self, SocketError> {
        let path = folder.join(NAME);
        if UnixStream::connect(&path).await.is_ok() {
            return Err(SocketError::Taken { path });
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SocketError::Make { path, source: error });
            }
            _ => {}
        }
        let made = UnixListener::bind(&path).and_then(|listener| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        match made {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(SocketError::Make { path, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until it is stopped; then the file is removed.
    pub async fn serve(self, accounts: Accounts, mut stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let accounts = accounts.clone();
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(WITHIN, serve_one(stream, accounts)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a caller of the accounts' socket could not be let in");
                    // Out of descriptors: others have to close some first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_trusted(uid: u32) -> bool {
    uid == ROOT || uid == rustix::process::geteuid().as_raw()
}

async fn serve_one(stream: UnixStream, accounts: Accounts) {
    let peer = stream.peer_cred().map(|peer| peer.uid());
    let trusted = peer.as_ref().is_ok_and(|uid| is_trusted(*uid));
    if !trusted {
        tracing::warn!(uid = peer.ok(), "a user who may not change accounts came to their socket");
    }
    let service = service_fn(|request: Request<Incoming>| {
        let accounts = &accounts;
        async move {
            let response = if trusted { respond(accounts, request).await } else { denied() };
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn denied() -> Response<Bytes> {
    sentence(StatusCode::FORBIDDEN, "accounts are changed by root or the proxy's own user; try with sudo")
}

async fn respond(accounts: &Accounts, request: Request<Incoming>) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
        return sentence(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 1 MiB");
    };
    let body = body.to_bytes();
    let asked = Asked { method: &head.method, path: head.uri.path(), query: head.uri.query(), body: &body };
    answer(accounts, asked).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_this_user_may_and_nobody_else() {
        let own = rustix::process::geteuid().as_raw();
        assert!(is_trusted(0) && is_trusted(own));
        assert!(!is_trusted(own.wrapping_add(12_345)));
    }
}
