//! Where the agent listens: at the address of the configuration, beside a proxy in the same process tree, and for admins.
//!
//! All is bound before anything is started: who cannot listen starts nothing.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::StartError;
use crate::config::{Config, Report, Tls};
use crate::keeper::ConfigSource;
use crate::serve::TlsFiles;

/// A second listener, with TLS, for the proxy beside it: what `sonde up` has, so that the two speak as in production.
pub struct BesideProxy {
    pub tls: Tls,
    pub report: Report,
}

/// What was made of it.
pub(crate) type Beside = (TcpListener, TlsFiles, Report);

/// All that the agent listens with.
pub(crate) struct Listeners {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) beside: Option<Beside>,
    pub(crate) admin: Option<std::net::TcpListener>,
}

impl Listeners {
    /// Binds them.
    pub(crate) async fn bind(
        config: &Config,
        source: &ConfigSource,
        beside: Option<BesideProxy>,
    ) -> Result<Self, StartError> {
        let listener = listen(config, source).await?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
        let tls = config.tls.clone().map(TlsFiles::load).transpose().map_err(|source| StartError::Tls { source })?;
        let beside = match beside {
            Some(beside) => Some(listen_beside(beside).await?),
            None => None,
        };
        let admin = config.admin.map(listen_for_admins).transpose()?;
        Ok(Self { listener, address, tls, beside, admin })
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.address)
    }
}

/// Binds the second listener, on loopback, and says in the report where it is.
async fn listen_beside(beside: BesideProxy) -> Result<Beside, StartError> {
    let anywhere = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    let failed = |source| StartError::Listen { address: anywhere, source };
    let listener = TcpListener::bind(anywhere).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let tls = TlsFiles::load(beside.tls).map_err(|source| StartError::Tls { source })?;
    let report = Report { url: Some(format!("https://{address}")), ..beside.report };
    Ok((listener, tls, report))
}

/// Binds. Where only the default port was meant and another program has it, any will do if the source says so.
async fn listen(config: &Config, source: &ConfigSource) -> Result<TcpListener, StartError> {
    let address = config.listen;
    match TcpListener::bind(address).await {
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse && source.any_port && address == source.default_listen =>
        {
            tracing::warn!(%address, "another program listens there; a free port is taken instead");
            let free = SocketAddr::new(address.ip(), 0);
            TcpListener::bind(free).await.map_err(|source| StartError::Listen { address: free, source })
        }
        bound => bound.map_err(|source| StartError::Listen { address, source }),
    }
}

/// Binds the admin routes' own socket, for a runtime that is not there yet.
fn listen_for_admins(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        tracing::info!(url = format!("http://{}", listener.local_addr()?), "the admin routes are served");
        Ok(listener)
    });
    bound.map_err(|source| StartError::Listen { address, source })
}
