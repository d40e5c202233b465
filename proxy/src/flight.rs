//! One upstream request for all who ask the same at the same time: two replicas of one Prometheus.
//!
//! The first asks and passes on what comes as it comes; what passes is kept, so far as it is small, and those who came meanwhile get the same bytes. The same
//! means: instance, node, owner's epoch, format, encoding and query. Nothing that was asked for more than a second ago is given to anybody.
//! Who waits is not bound to the first: if that one fails, is put out or reads slowly, the others ask for themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sonde_expo::Encoding;
use tokio::sync::watch;
use uuid::Uuid;

/// How old an answer may be, from when its agent was asked.
pub const REUSED_FOR: Duration = Duration::from_secs(1);
/// The largest body that is shared: more than an ordinary exposition has, compressed or not.
const SHARED_BYTES: usize = 1 << 20;
/// All bodies that are kept, those that are on their way among them.
const KEPT_BYTES: usize = 128 << 20;
/// Past so much, what landed first goes before its second is over: in a processor's cache it costs nothing to keep, and more costs each scrape memory that is
/// not there yet. Who asks at the same time comes sooner than that.
const ROOM_BYTES: usize = 16 << 20;
/// What stays then is younger than the first of these that leaves half of the room.
const YOUNG: [Duration; 3] = [Duration::from_millis(500), Duration::from_millis(100), Duration::from_millis(20)];
/// Room is made so often at most: it is a walk over all, and bodies that are on their way stay.
const ROOM_EVERY: Duration = Duration::from_millis(10);

/// What has to be the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub target: Uuid,
    pub node: Uuid,
    pub owner_epoch: u64,
    /// The negotiated content type.
    pub format: &'static str,
    pub encoding: Encoding,
    /// Path and query, as the agent gets them.
    pub path: String,
}

/// A whole answer.
#[derive(Debug)]
pub struct Shared {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub chunks: Vec<Bytes>,
    size: usize,
    kept: Arc<AtomicUsize>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.size, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone)]
enum Stage {
    Flying,
    Landed(Arc<Shared>),
    /// Too large to be shared.
    Alone,
}

#[derive(Debug)]
struct Entry {
    began: Instant,
    stage: watch::Receiver<Stage>,
}

/// All flights, and what landed within the last second.
#[derive(Debug, Default)]
pub struct Flights {
    known: Mutex<Known>,
    kept: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Known {
    entries: HashMap<Key, Entry>,
    room_made: Option<Instant>,
}

/// How one takes part.
#[derive(Debug)]
pub enum Joined {
    /// One asks, for all.
    Lead(Lead),
    /// Another asks.
    Follow(Follow),
    Landed(Arc<Shared>),
}

/// What became of a flight that one followed.
#[derive(Debug)]
pub enum Arrival {
    Landed(Arc<Shared>),
    /// It is too large: each for itself.
    Alone,
    /// Whoever asked has not brought it home.
    Lost,
}

/// Waits for another's flight.
#[derive(Debug)]
pub struct Follow(watch::Receiver<Stage>);

impl Follow {
    pub async fn arrival(mut self) -> Arrival {
        match self.0.wait_for(|stage| !matches!(stage, Stage::Flying)).await.map(|stage| stage.clone()) {
            Ok(Stage::Landed(shared)) => Arrival::Landed(shared),
            Ok(Stage::Alone | Stage::Flying) => Arrival::Alone,
            Err(_) => Arrival::Lost,
        }
    }
}

impl Flights {
    /// Takes part in the flight of that key, the first as its leader.
    pub fn join(&self, key: &Key) -> Joined {
        let now = Instant::now();
        let mut known = self.lock();
        if let Some(entry) = known.entries.get(key).filter(|entry| now.duration_since(entry.began) <= REUSED_FOR) {
            let stage = entry.stage.borrow().clone();
            match stage {
                Stage::Landed(shared) => return Joined::Landed(shared),
                Stage::Flying if entry.stage.has_changed().is_ok() => {
                    return Joined::Follow(Follow(entry.stage.clone()));
                }
                Stage::Flying | Stage::Alone => {}
            }
        }
        known.make_room(&self.kept, now);
        let (stage, receiver) = watch::channel(Stage::Flying);
        known.entries.insert(key.clone(), Entry { began: now, stage: receiver });
        Joined::Lead(Lead { stage, kept: self.kept.clone(), taken: None })
    }

    /// What landed within the last second, if anything: costs nobody a request.
    pub fn landed(&self, key: &Key) -> Option<Arc<Shared>> {
        let known = self.lock();
        let entry = known.entries.get(key).filter(|entry| entry.began.elapsed() <= REUSED_FOR)?;
        match &*entry.stage.borrow() {
            Stage::Landed(shared) => Some(shared.clone()),
            Stage::Flying | Stage::Alone => None,
        }
    }

    /// Forgets what is too old for anybody.
    pub fn sweep(&self) {
        self.lock().entries.retain(|_, entry| entry.began.elapsed() <= REUSED_FOR);
    }

    /// Answers and bytes that are kept.
    pub fn counts(&self) -> (usize, usize) {
        (self.lock().entries.len(), self.kept.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Lets the oldest go where there is no room for more.
    fn make_room(&mut self, kept: &AtomicUsize, now: Instant) {
        let is_full = |most: usize| kept.load(Ordering::Relaxed) > most;
        let was_made = self.room_made.is_some_and(|at| now.duration_since(at) < ROOM_EVERY);
        if !is_full(ROOM_BYTES) || was_made {
            return;
        }
        self.room_made = Some(now);
        for age in YOUNG {
            let stays =
                |entry: &Entry| now.duration_since(entry.began) < age || matches!(*entry.stage.borrow(), Stage::Flying);
            self.entries.retain(|_, entry| stays(entry));
            if !is_full(ROOM_BYTES / 2) {
                return;
            }
        }
    }
}

/// The one who asks. Dropped before it landed, the flight is lost, and the others ask for themselves.
#[derive(Debug)]
pub struct Lead {
    stage: watch::Sender<Stage>,
    kept: Arc<AtomicUsize>,
    taken: Option<Shared>,
}

impl Lead {
    /// The head has come; `size` is what the body will have, if that is known.
    pub fn head(&mut self, status: StatusCode, headers: &HeaderMap, size: Option<u64>) {
        if size.is_some_and(|size| size > SHARED_BYTES as u64) {
            self.alone();
            return;
        }
        let (headers, kept) = (headers.clone(), self.kept.clone());
        self.taken = Some(Shared { status, headers, chunks: Vec::new(), size: 0, kept });
    }

    /// A part of the body passes.
    pub fn pass(&mut self, chunk: &Bytes) {
        let Some(taken) = &mut self.taken else { return };
        taken.size += chunk.len();
        let kept = self.kept.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        taken.chunks.push(chunk.clone());
        if taken.size > SHARED_BYTES || kept > KEPT_BYTES {
            self.alone();
        }
    }

    /// The body is whole.
    pub fn land(mut self) {
        if let Some(shared) = self.taken.take() {
            self.stage.send_replace(Stage::Landed(Arc::new(shared)));
        }
    }

    fn alone(&mut self) {
        self.taken = None;
        self.stage.send_replace(Stage::Alone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Key {
        let id = Uuid::nil();
        let encoding = Encoding::Gzip;
        Key { target: id, node: id, owner_epoch: 0, format: "text/plain", encoding, path: path.into() }
    }

    fn lead(flights: &Flights, path: &str) -> Lead {
        match flights.join(&key(path)) {
            Joined::Lead(lead) => lead,
            other => panic!("{other:?} is not the first"),
        }
    }

    fn follow(flights: &Flights, path: &str) -> Follow {
        match flights.join(&key(path)) {
            Joined::Follow(follow) => follow,
            other => panic!("{other:?} does not follow"),
        }
    }

    #[tokio::test]
    async fn those_who_ask_the_same_get_the_same_bytes_for_a_second() {
        let flights = Flights::default();
        let mut first = lead(&flights, "a");
        let second = follow(&flights, "a");
        drop(lead(&flights, "b"));
        first.head(StatusCode::OK, &HeaderMap::new(), None);
        first.pass(&Bytes::from_static(b"x"));
        first.pass(&Bytes::from_static(b"y"));
        assert!(flights.landed(&key("a")).is_none(), "half of one is none");
        first.land();
        let Arrival::Landed(shared) = second.arrival().await else { panic!("it has landed") };
        assert_eq!(shared.chunks.concat(), b"xy");
        assert!(matches!(flights.join(&key("a")), Joined::Landed(_)) && flights.landed(&key("a")).is_some());
        assert_eq!(flights.counts(), (2, 2));
        flights.lock().entries.values_mut().for_each(|entry| entry.began -= REUSED_FOR * 2);
        assert!(flights.landed(&key("a")).is_none());
        drop(lead(&flights, "a"));
        flights.sweep();
        drop(shared);
        assert_eq!(flights.counts(), (1, 0));
    }

    #[tokio::test]
    async fn past_the_room_the_oldest_go_and_what_is_on_its_way_stays() {
        let flights = Flights::default();
        let land = |path: &str| {
            let mut first = lead(&flights, path);
            first.head(StatusCode::OK, &HeaderMap::new(), None);
            (0..SHARED_BYTES / 1024).for_each(|_| first.pass(&Bytes::from_static(&[0; 1024])));
            first
        };
        let flying = land("flying");
        for path in 0..ROOM_BYTES / SHARED_BYTES {
            land(&path.to_string()).land();
        }
        let kept = flights.counts().1;
        assert!(kept > ROOM_BYTES);
        flights.lock().entries.values_mut().for_each(|entry| entry.began -= YOUNG[0]);
        land("newest").land();
        assert_eq!(flights.counts().1, 2 * SHARED_BYTES);
        assert!(flights.landed(&key("newest")).is_some());
        flying.land();
        assert!(flights.landed(&key("flying")).is_some());
    }

    #[tokio::test]
    async fn a_leader_that_is_lost_or_brings_too_much_leaves_the_others_to_themselves() {
        let flights = Flights::default();
        let first = lead(&flights, "a");
        let second = follow(&flights, "a");
        drop(first);
        assert!(matches!(second.arrival().await, Arrival::Lost));
        let mut first = lead(&flights, "a");
        let second = follow(&flights, "a");
        first.head(StatusCode::OK, &HeaderMap::new(), Some(SHARED_BYTES as u64 + 1));
        assert!(matches!(second.arrival().await, Arrival::Alone));
        let mut first = lead(&flights, "a");
        let second = follow(&flights, "a");
        first.head(StatusCode::OK, &HeaderMap::new(), None);
        for _ in 0..=SHARED_BYTES / 1024 {
            first.pass(&Bytes::from_static(&[0; 1024]));
        }
        assert!(matches!(second.arrival().await, Arrival::Alone));
        assert_eq!(flights.counts().1, 0);
    }
}
