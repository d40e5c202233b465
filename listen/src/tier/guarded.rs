//! A connection between tiers that ends when the certificate at its other end counts no more.
//!
//! It is asked at most once a second, when something is read or to be written: nothing that comes later is heard, and nothing more is said. Signatures are
//! checked again only where the authority's files have changed, since else only time can change the answer.

use std::io::{self, IoSlice};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{End, LOOK, Loaded, NotCounted, TierAuthority};

/// See the module. What is inside can be looked at, and not be used beside it.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    standing: Standing,
}

#[derive(Debug)]
struct Standing {
    authority: Arc<TierAuthority>,
    shown: Vec<CertificateDer<'static>>,
    end: End,
    /// What the signatures were checked against.
    by: Arc<Loaded>,
    /// When all that was shown is valid, in seconds since 1970, both included.
    dates: (i64, i64),
    looked: Instant,
    over: Option<NotCounted>,
}

impl<S> Guarded<S> {
    /// A connection whose handshake is over, with what was shown in it. Within a runtime.
    ///
    /// # Errors
    /// It does not count now.
    pub fn new(
        stream: S,
        shown: Option<&[CertificateDer<'_>]>,
        end: End,
        authority: &Arc<TierAuthority>,
    ) -> Result<Self, NotCounted> {
        authority.watch();
        let by = authority.current();
        let shown: Vec<_> = shown.unwrap_or_default().iter().map(|one| one.clone().into_owned()).collect();
        by.check(&shown, end, UnixTime::now())?;
        let dates = dates(&shown).ok_or(NotCounted::Dates)?;
        let authority = authority.clone();
        let standing = Standing { authority, shown, end, by, dates, looked: Instant::now(), over: None };
        Ok(Self { stream, standing })
    }
}

impl Standing {
    fn holds(&mut self) -> io::Result<()> {
        if self.over.is_none() && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.over = self.look(UnixTime::now()).err();
            if let Some(why) = &self.over {
                tracing::warn!(why = %sonde_fault::chain(why), "a connection between tiers is ended");
            }
        }
        self.over.as_ref().map_or(Ok(()), |why| Err(io::Error::other(why.clone())))
    }

    fn look(&mut self, now: UnixTime) -> Result<(), NotCounted> {
        let current = self.authority.current();
        if !Arc::ptr_eq(&current, &self.by) {
            current.check(&self.shown, self.end, now)?;
            self.by = current;
        }
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (from, until) = self.dates;
        if (from..=until).contains(&seconds) { Ok(()) } else { Err(NotCounted::Dates) }
    }
}

/// Of all of them together.
fn dates(shown: &[CertificateDer<'_>]) -> Option<(i64, i64)> {
    let mut both = (i64::MIN, i64::MAX);
    for one in shown {
        let (_, read) = X509Certificate::from_der(one).ok()?;
        let validity = read.validity();
        both = (both.0.max(validity.not_before.timestamp()), both.1.min(validity.not_after.timestamp()));
    }
    Some(both)
}

impl<S> Deref for Guarded<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        // After it: what came in the meantime is of now.
        if buffer.filled().len() > before
            && let Err(over) = self.standing.holds()
        {
            buffer.set_filled(before);
            return Poll::Ready(Err(over));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.standing.holds()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.standing.holds()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
