//! Bodies that tenants send: bounded in size, in time, and in how many come at once.
//!
//! A digest is known only when the last byte is here, so an artifact is held until then: one upload of an account at once, and [`AT_ONCE`] of all, hold 16 MiB
//! each at most, and so does what reads an artifact to look at its manifest. What is pushed and replaced at once lies in the store for a minute, and what is
//! there already is written anew; so an account may push its own bound of bytes at once, and then that much each ten minutes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes};
use sonde_inventory::AccountName;

/// Uploads of all accounts at once.
const AT_ONCE: usize = 8;
/// How long a body may take, and between two of its pieces: 16 MiB at 2 Mbit/s.
const WITHIN: Duration = Duration::from_secs(70);
const PIECE_WITHIN: Duration = Duration::from_secs(10);
/// In which an account's allowance of pushed bytes fills up.
const REFILL: Duration = Duration::from_secs(600);
/// Changes of an account's sensors at once, and one more each second after that: each is a write that nodes hear of.
const CHANGES: f64 = 60.0;
const CHANGES_PER_SECOND: f64 = 1.0;

/// Why a body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadFault {
    #[error("the body is longer than {0} bytes, the most that this account may send here")]
    TooLong(u64),
    #[error("the body did not come in time: all of it within {WITHIN:?}, and no pause over {PIECE_WITHIN:?}")]
    Slow,
    #[error("the body ended before it was whole; send it again")]
    Cut,
    #[error("another upload of this account, or too many of others, is under way; try again in a moment")]
    Busy,
    #[error("the account has pushed as many bytes as it may for now; try again in some minutes")]
    Often,
    #[error("the account's sensors have been changed too often; one change a second goes on")]
    Changes,
}

/// Uploads under way, and what accounts have pushed lately.
#[derive(Debug, Default)]
pub struct Uploads {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: Vec<AccountName>,
    /// Bytes that were pushed and have not been refilled, as of then.
    pushed: HashMap<AccountName, (f64, Instant)>,
    /// Changes that an account may make now, as of then.
    changes: HashMap<AccountName, (f64, Instant)>,
}

/// A place for an upload.
#[derive(Debug)]
pub struct Upload {
    uploads: Arc<Uploads>,
    account: AccountName,
    allowance: u64,
}

impl Uploads {
    /// A place, for an account that may have so many bytes in all.
    ///
    /// # Errors
    /// There is none now.
    pub fn begin(self: &Arc<Self>, account: &AccountName, allowance: u64) -> Result<Upload, UploadFault> {
        let place = self.place(account, allowance)?;
        let mut state = self.lock();
        state.pushed.retain(|_, (bytes, at)| *bytes > 0.0 && at.elapsed() < REFILL);
        let is_spent = state.left(account, allowance, Instant::now()) <= 0.0;
        drop(state);
        if is_spent { Err(UploadFault::Often) } else { Ok(place) }
    }

    /// A place for what holds an artifact and keeps none: no allowance is asked of it.
    ///
    /// # Errors
    /// There is none now.
    pub fn place(self: &Arc<Self>, account: &AccountName, allowance: u64) -> Result<Upload, UploadFault> {
        let mut state = self.lock();
        if state.under_way.len() >= AT_ONCE || state.under_way.contains(account) {
            return Err(UploadFault::Busy);
        }
        state.under_way.push(account.clone());
        Ok(Upload { uploads: self.clone(), account: account.clone(), allowance })
    }

    /// Whether an account may change a sensor now; if so, it has.
    ///
    /// # Errors
    /// It has too often.
    pub fn change(&self, account: &AccountName) -> Result<(), UploadFault> {
        let now = Instant::now();
        let left = |(left, at): (f64, Instant)| {
            (left + now.duration_since(at).as_secs_f64() * CHANGES_PER_SECOND).min(CHANGES)
        };
        let mut state = self.lock();
        state.changes.retain(|_, known| left(*known) < CHANGES);
        let now_left = state.changes.get(account).map_or(CHANGES, |known| left(*known));
        if now_left < 1.0 {
            return Err(UploadFault::Changes);
        }
        state.changes.insert(account.clone(), (now_left - 1.0, now));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is left of an allowance. It may be less than nothing: how much comes shows when it has come.
    fn left(&self, account: &AccountName, allowance: u64, now: Instant) -> f64 {
        let allowance = allowance as f64;
        let pushed = self.pushed.get(account).map_or(0.0, |(bytes, at)| {
            let refilled = now.duration_since(*at).as_secs_f64() / REFILL.as_secs_f64() * allowance;
            (bytes - refilled).max(0.0)
        });
        allowance - pushed
    }
}

impl Upload {
    /// So much goes to the store: it counts against what the account may push, be it there already or not.
    pub fn kept(&self, bytes: u64) {
        let now = Instant::now();
        let mut state = self.uploads.lock();
        let pushed = self.allowance as f64 - state.left(&self.account, self.allowance, now) + bytes as f64;
        state.pushed.insert(self.account.clone(), (pushed, now));
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.uploads.lock().under_way.retain(|account| *account != self.account);
    }
}

/// A body, whole; `heard` is told of each piece.
///
/// # Errors
/// It is too long, too slow, or is cut off.
pub async fn receive<B>(mut body: B, most: u64, mut heard: impl FnMut(u64)) -> Result<Vec<u8>, UploadFault>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > most {
        return Err(UploadFault::TooLong(most));
    }
    let mut whole = Vec::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or_default());
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        let piece_until = until.min(tokio::time::Instant::now() + PIECE_WITHIN);
        let frame = tokio::time::timeout_at(piece_until, body.frame()).await.map_err(|_| UploadFault::Slow)?;
        let Some(frame) = frame else { return Ok(whole) };
        let Ok(data) = frame.map_err(|_| UploadFault::Cut)?.into_data() else { continue };
        heard(data.len() as u64);
        if whole.len() as u64 + data.len() as u64 > most {
            return Err(UploadFault::TooLong(most));
        }
        whole.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::Full;
    use hyper::body::Frame;

    use super::*;

    #[test]
    fn an_account_has_one_place_and_an_allowance() {
        let uploads = Arc::new(Uploads::default());
        let account = |name: &str| AccountName::new(name).unwrap();
        let first = uploads.begin(&account("a"), 100).unwrap();
        assert_eq!(uploads.begin(&account("a"), 100).unwrap_err(), UploadFault::Busy);
        let others: Vec<Upload> =
            (1..AT_ONCE).map(|n| uploads.begin(&account(&format!("b{n}")), 100).unwrap()).collect();
        assert_eq!(uploads.begin(&account("c"), 100).unwrap_err(), UploadFault::Busy);
        drop(others);
        first.kept(60);
        drop(first);
        let second = uploads.begin(&account("a"), 100).unwrap();
        second.kept(60);
        drop(second);
        assert_eq!(uploads.begin(&account("a"), 100).unwrap_err(), UploadFault::Often);
        // What keeps nothing may go on, one at once.
        let looking = uploads.place(&account("a"), 100).unwrap();
        assert_eq!(uploads.place(&account("a"), 100).unwrap_err(), UploadFault::Busy);
        drop(looking);
        assert!(uploads.begin(&account("b"), 100).is_ok(), "another's is its own");
        // It fills up.
        let state = uploads.lock();
        assert!(state.left(&account("a"), 100, Instant::now() + REFILL / 2) > 20.0);
    }

    #[test]
    fn an_account_changes_its_sensors_no_oftener_than_nodes_can_follow() {
        let uploads = Uploads::default();
        let account = |name: &str| AccountName::new(name).unwrap();
        let made = (0..200).filter(|_| uploads.change(&account("a")).is_ok()).count();
        assert!((60..=61).contains(&made), "{made}");
        assert!(uploads.change(&account("b")).is_ok(), "another's is its own");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_time() {
        assert_eq!(receive(Full::new(Bytes::from_static(b"four")), 4, |_| {}).await.unwrap(), b"four");
        let long = receive(Full::new(Bytes::from_static(b"fives")), 4, |_| {}).await;
        assert_eq!(long, Err(UploadFault::TooLong(4)));
        // One that does not say how long it is, and goes on.
        let endless = || dripping(Duration::from_millis(1));
        assert_eq!(receive(endless(), 4, |_| {}).await, Err(UploadFault::TooLong(4)));
        let mut heard = 0;
        let slow = receive(dripping(Duration::from_secs(9)), 1 << 20, |bytes| heard += bytes).await;
        assert_eq!((slow, heard), (Err(UploadFault::Slow), 7), "a byte each 9 s is in time, and all of them are not");
        let stuck = receive(dripping(Duration::from_secs(11)), 1 << 20, |_| {}).await;
        assert_eq!(stuck, Err(UploadFault::Slow));
    }

    /// A byte after each pause, for ever.
    fn dripping(pause: Duration) -> Dripping {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                if sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.is_err() {
                    return;
                }
            }
        });
        Dripping(receiver)
    }

    type Piece = Result<Frame<Bytes>, Infallible>;

    struct Dripping(tokio::sync::mpsc::Receiver<Piece>);

    impl Body for Dripping {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
            self.0.poll_recv(cx)
        }
    }
}
