//! Which certificates of the tiers' authority count *now*: within their dates, and not on the authority's list of revoked ones.
//!
//! Both ends ask here, at the handshake and then once a second for as long as a connection is used, because connections between tiers outlive certificates.
//! A list counts for what it names; that it is past its own date takes nothing away: a tier that goes dark because a list was not renewed would lose more than it
//! keeps. It must be signed by the authority that it stands beside, else the file is refused; where there are two, as while one is replaced, each has its own. Roles and names are asked for elsewhere.

mod guarded;
mod signed;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

pub use guarded::Guarded;
pub use signed::has_issued;

/// How often files are looked at, and an open connection's certificate: seconds are what a revocation may take.
const LOOK: Duration = Duration::from_secs(1);
/// The authority's file has one, or two while it is replaced.
const MOST_ANCHORS: usize = 64;
/// Each is asked at a handshake, and costs a signature. An authority has one.
const MOST_LISTS: usize = 64;
/// A list of a hundred thousand has some 4 MiB.
const MOST_FILE_BYTES: u64 = 16 << 20;

/// Why the files were not taken.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: pem::Error },
    #[error("{path} is longer than {MOST_FILE_BYTES} bytes, or cannot be read")]
    Size { path: PathBuf },
    #[error("the tiers' authority {path} has no certificate, or more than {MOST_ANCHORS}")]
    Count { path: PathBuf },
    #[error("a certificate of the tiers' authority {path} is not valid")]
    Anchor { path: PathBuf, source: webpki::Error },
    #[error("the list of revoked certificates {path} is not valid")]
    List { path: PathBuf, source: webpki::Error },
    #[error("the file {path} has no list of revoked certificates, or more than {MOST_LISTS}")]
    ListCount { path: PathBuf },
    #[error("the list of revoked certificates {path} is not of the tiers' authority")]
    Stranger { path: PathBuf },
}

/// Why a certificate does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    #[error("the other end showed no certificate")]
    Nothing,
    #[error("the other end's certificate is revoked")]
    Revoked,
    #[error("the other end's certificate is past its date, or not valid yet")]
    Dates,
    #[error("the other end's certificate is not of the tiers' authority")]
    NotSigned { source: webpki::Error },
}

/// At which end of the handshake a certificate was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Client,
    Server,
}

/// The authority's files, and what they said when they were last good.
#[derive(Debug)]
pub struct TierAuthority {
    ca: PathBuf,
    crl: Option<PathBuf>,
    current: Mutex<(Vec<Stamp>, Arc<Loaded>)>,
    faults: AtomicU64,
    is_watched: AtomicBool,
}

#[derive(Debug)]
struct Loaded {
    anchors: Vec<Anchor>,
}

/// A certificate of the authority, and the lists that its key has signed.
#[derive(Debug)]
struct Anchor {
    trusted: TrustAnchor<'static>,
    lists: Vec<CertRevocationList<'static>>,
}

/// What tells a file from the one before it.
type Stamp = Option<(u64, u64, i64, i64)>;

impl TierAuthority {
    /// Reads the files once, where a fault is the caller's. They are looked at again from the first connection on.
    ///
    /// # Errors
    /// See [`TierError`].
    pub fn open(ca: &Path, crl: Option<&Path>) -> Result<Arc<Self>, TierError> {
        let (ca, crl) = (ca.to_owned(), crl.map(Path::to_owned));
        let current = Mutex::new((stamps(&ca, crl.as_deref()), Arc::new(load(&ca, crl.as_deref())?)));
        let (faults, is_watched) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Arc::new(Self { ca, crl, current, faults, is_watched }))
    }

    /// Whether what somebody showed counts: the certificate, then those between it and the authority.
    ///
    /// # Errors
    /// It does not, and why.
    pub fn check(&self, shown: &[CertificateDer<'_>], end: End, now: UnixTime) -> Result<(), NotCounted> {
        self.current().check(shown, end, now)
    }

    /// Reads the files again, whether they seem changed or not; the error says why those before them stay.
    ///
    /// # Errors
    /// See [`TierError`].
    pub fn renew(&self) -> Result<(), TierError> {
        // Before the reading: what is written meanwhile is seen as a change the next time.
        let stamps = stamps(&self.ca, self.crl.as_deref());
        let loaded = load(&self.ca, self.crl.as_deref());
        let mut current = self.lock();
        current.0 = stamps;
        match loaded {
            Ok(loaded) => {
                current.1 = Arc::new(loaded);
                Ok(())
            }
            Err(error) => {
                self.faults.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// How often changed files were refused.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    fn look(&self) {
        // Not under the lock, which every connection takes: a file system may be long about it.
        let now = stamps(&self.ca, self.crl.as_deref());
        if self.lock().0 == now {
            return;
        }
        match self.renew() {
            Ok(()) => tracing::info!(ca = %self.ca.display(), "the tiers' authority was read again"),
            Err(error) => tracing::error!(
                error = %sonde_fault::chain(&error),
                "the tiers' authority, or its list of revoked certificates, was refused; what was there stays"
            ),
        }
    }

    /// From now on, for as long as somebody holds it. Within a runtime.
    fn watch(self: &Arc<Self>) {
        if !self.is_watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }

    fn current(&self) -> Arc<Loaded> {
        self.lock().1.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Stamp>, Arc<Loaded>)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    fn check(&self, shown: &[CertificateDer<'_>], end: End, now: UnixTime) -> Result<(), NotCounted> {
        let mut why: Option<NotCounted> = None;
        for anchor in &self.anchors {
            match anchor.check(shown, end, now) {
                Ok(()) => return Ok(()),
                Err(other) if why.as_ref().is_none_or(|why| matches!(why, NotCounted::NotSigned { .. })) => {
                    why = Some(other);
                }
                Err(_) => {}
            }
        }
        Err(why.unwrap_or(NotCounted::Nothing))
    }
}

impl Anchor {
    fn check(&self, shown: &[CertificateDer<'_>], end: End, now: UnixTime) -> Result<(), NotCounted> {
        if self.lists.is_empty() {
            return self.check_by(None, shown, end, now);
        }
        // One at a time: of several lists with one name only the first would be asked.
        self.lists.iter().try_for_each(|list| self.check_by(Some(list), shown, end, now))
    }

    fn check_by(
        &self,
        list: Option<&CertRevocationList<'static>>,
        shown: &[CertificateDer<'_>],
        end: End,
        now: UnixTime,
    ) -> Result<(), NotCounted> {
        let (own, between) = shown.split_first().ok_or(NotCounted::Nothing)?;
        let own = EndEntityCert::try_from(own).map_err(not_counted)?;
        let lists: Vec<&CertRevocationList<'_>> = list.into_iter().collect();
        let revocation = (!lists.is_empty()).then(|| RevocationOptionsBuilder::new(&lists)).transpose();
        let revocation = revocation.map_err(|_| NotCounted::Revoked)?.map(|options| {
            let options = options.with_depth(RevocationCheckDepth::Chain);
            let options = options.with_status_policy(UnknownStatusPolicy::Allow);
            options.with_expiration_policy(ExpirationPolicy::Ignore).build()
        });
        let usage = match end {
            End::Client => KeyUsage::client_auth(),
            End::Server => KeyUsage::server_auth(),
        };
        let (algorithms, trusted) = (webpki::ALL_VERIFICATION_ALGS, std::slice::from_ref(&self.trusted));
        own.verify_for_usage(algorithms, trusted, between, now, usage, revocation, None).map_err(not_counted)?;
        Ok(())
    }
}

fn not_counted(error: webpki::Error) -> NotCounted {
    match error {
        webpki::Error::CertRevoked => NotCounted::Revoked,
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => NotCounted::Dates,
        source => NotCounted::NotSigned { source },
    }
}

fn load(ca: &Path, crl: Option<&Path>) -> Result<Loaded, TierError> {
    let certificates: Vec<CertificateDer<'static>> = read(ca)?;
    if certificates.is_empty() || certificates.len() > MOST_ANCHORS {
        return Err(TierError::Count { path: ca.to_owned() });
    }
    let anchor = |certificate: &CertificateDer<'static>| {
        anchor_from_trusted_cert(certificate).map(|trusted| Anchor { trusted: trusted.to_owned(), lists: Vec::new() })
    };
    let anchors: Result<Vec<_>, _> = certificates.iter().map(anchor).collect();
    let mut anchors = anchors.map_err(|source| TierError::Anchor { path: ca.to_owned(), source })?;
    if let Some(crl) = crl {
        give_lists(crl, &certificates, &mut anchors)?;
    }
    Ok(Loaded { anchors })
}

/// Each list to those whose key has signed it; one that nobody has would refuse every certificate that bears its issuer's name.
fn give_lists(path: &Path, of: &[CertificateDer<'_>], anchors: &mut [Anchor]) -> Result<(), TierError> {
    let lists: Vec<CertificateRevocationListDer<'static>> = read(path)?;
    if lists.is_empty() || lists.len() > MOST_LISTS {
        return Err(TierError::ListCount { path: path.to_owned() });
    }
    for der in &lists {
        let list = OwnedCertRevocationList::from_der(der);
        let list = list.map_err(|source| TierError::List { path: path.to_owned(), source })?;
        let mut is_strange = true;
        for (_, anchor) in of.iter().zip(&mut *anchors).filter(|(of, _)| signed::has_listed(of, der)) {
            anchor.lists.push(list.clone().into());
            is_strange = false;
        }
        if is_strange {
            return Err(TierError::Stranger { path: path.to_owned() });
        }
    }
    Ok(())
}

fn read<T: PemObject>(path: &Path) -> Result<Vec<T>, TierError> {
    if !std::fs::metadata(path).is_ok_and(|file| file.len() <= MOST_FILE_BYTES) {
        return Err(TierError::Size { path: path.to_owned() });
    }
    let items = T::pem_file_iter(path).and_then(Iterator::collect);
    items.map_err(|source| TierError::Read { path: path.to_owned(), source })
}

async fn watch(authority: Weak<TierAuthority>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(authority) = authority.upgrade() else { return };
        // A file system may take its time, and that must be nobody else's.
        if tokio::task::spawn_blocking(move || authority.look()).await.is_err() {
            return;
        }
    }
}

fn stamps(ca: &Path, crl: Option<&Path>) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let file: io::Result<_> = std::fs::metadata(path);
        file.ok().map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    std::iter::once(ca).chain(crl).map(stamp).collect()
}
