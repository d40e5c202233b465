//! Who is connected: bounded in number, in all and from one address, and the one that has been quiet longest makes room.
//!
//! Refusing the newest would let anybody who opens connections and says nothing make a daemon deaf; so
//! the oldest silence ends instead, and a scraper that is put out comes back with its next scrape. Where one address has its share, one of its
//! own makes room, and nobody else's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

/// Connections at once, if there are descriptors for so many. A Prometheus keeps one a target open.
const CONNECTIONS: usize = 4096;
/// Of the descriptors that the process may have, connections take this part at most: readings keep files open in half of them.
const PART: u64 = 4;
/// Of an IPv6 address, what one subscriber has as its own (RFC 6177): the lower half is its to choose.
const SUBSCRIBER: u128 = !0 << 64;

/// All open connections.
pub struct Connections {
    inner: Mutex<Inner>,
    most: usize,
    most_of_address: usize,
}

#[derive(Default)]
struct Inner {
    next: u64,
    open: HashMap<u64, Open>,
    of_address: HashMap<IpAddr, usize>,
}

struct Open {
    heard: Instant,
    is_awaited: bool,
    from: IpAddr,
    /// Dropped to end the connection.
    _end: oneshot::Sender<()>,
}

/// A place among the connections; leaving it frees the place.
pub struct Place {
    pub id: u64,
    /// Whether another had to leave for it.
    pub displaced: bool,
    connections: Arc<Connections>,
    /// Resolves when the place is given to another.
    pub put_out: oneshot::Receiver<()>,
}

impl Connections {
    /// Of a process that may have so many descriptors.
    pub fn fitting(descriptors: u64) -> Self {
        Self::of(usize::try_from(descriptors / PART).unwrap_or(CONNECTIONS).clamp(1, CONNECTIONS))
    }

    /// At most so many, whatever their addresses.
    pub fn of(most: usize) -> Self {
        Self::with_addresses(most, most)
    }

    /// At most so many, and from one address at most so many.
    pub fn with_addresses(most: usize, most_of_address: usize) -> Self {
        Self { inner: Mutex::default(), most: most.max(1), most_of_address: most_of_address.max(1) }
    }

    /// A place for a new connection, another one's if there is none free.
    pub fn admit(self: &Arc<Self>, from: IpAddr) -> Place {
        let from = subscriber(from);
        let mut inner = self.lock();
        let has_its_share = inner.of_address.get(&from).copied().unwrap_or(0) >= self.most_of_address;
        let displaced = if has_its_share {
            inner.put_out_quietest(|open| open.from == from)
        } else if inner.open.len() >= self.most {
            inner.put_out_quietest(|_| true)
        } else {
            false
        };
        let id = inner.next;
        inner.next += 1;
        let (end, put_out) = oneshot::channel();
        inner.open.insert(id, Open { heard: Instant::now(), is_awaited: false, from, _end: end });
        *inner.of_address.entry(from).or_default() += 1;
        Place { id, displaced, connections: self.clone(), put_out }
    }

    /// Ends the quietest connection, whose descriptor is wanted; false if there is none.
    pub fn put_out_quietest(&self) -> bool {
        self.lock().put_out_quietest(|_| true)
    }

    /// Notes that at a stop the connection is waited for: something may have been asked on it.
    pub fn await_at_a_stop(&self, id: u64) {
        if let Some(open) = self.lock().open.get_mut(&id) {
            open.is_awaited = true;
        }
    }

    /// Ends the connections on which nothing can have been asked yet: at a stop there is nothing to wait for on them.
    pub fn put_out_silent(&self) {
        self.lock().put_out(|open| !open.is_awaited);
    }

    /// Ends all connections; false if there was none.
    pub fn put_out_all(&self) -> bool {
        self.lock().put_out(|_| true)
    }

    /// Notes that a connection has asked for something.
    pub fn heard(&self, id: u64) {
        if let Some(open) = self.lock().open.get_mut(&id) {
            open.heard = Instant::now();
            open.is_awaited = true;
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// How many are waited for at a stop.
    #[cfg(test)]
    pub(crate) fn awaited(&self) -> usize {
        self.lock().open.values().filter(|open| open.is_awaited).count()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom an address stands for.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
        address => address,
    }
}

impl Inner {
    fn put_out_quietest(&mut self, is_among: impl Fn(&Open) -> bool) -> bool {
        let among = self.open.iter().filter(|(_, open)| is_among(open));
        let quietest = among.min_by_key(|(_, open)| open.heard).map(|(id, _)| *id);
        quietest.is_some_and(|id| self.remove(id))
    }

    fn put_out(&mut self, is_among: impl Fn(&Open) -> bool) -> bool {
        let among: Vec<u64> = self.open.iter().filter(|(_, open)| is_among(open)).map(|(id, _)| *id).collect();
        for id in &among {
            self.remove(*id);
        }
        !among.is_empty()
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some(open) = self.open.remove(&id) else { return false };
        if let Some(count) = self.of_address.get_mut(&open.from) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&open.from);
            }
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_put_out(place: &mut Place) -> bool {
        place.put_out.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_quietest_makes_room() {
        const MOST: usize = 100;
        let connections = Arc::new(Connections::of(MOST));
        let mut places: Vec<Place> = (0..MOST).map(|_| connections.admit(HERE)).collect();
        connections.heard(places[0].id);
        let newest = connections.admit(HERE);
        assert!(newest.displaced && !places[99].displaced);
        assert!(!is_put_out(&mut places[0]));
        assert!(is_put_out(&mut places[1]));
        drop(places);
        assert_eq!(connections.count(), 1);
        drop(newest);
        assert_eq!(connections.count(), 0);
        assert!(!connections.put_out_quietest());
    }

    #[test]
    fn an_address_that_has_its_share_makes_room_for_itself() {
        let connections = Arc::new(Connections::with_addresses(100, 2));
        let from = |text: &str| text.parse().unwrap();
        let mut other = connections.admit(from("192.0.2.9"));
        let mut first = connections.admit(from("2001:db8::1"));
        let mut second = connections.admit(from("2001:db8::ffff:1"));
        let third = connections.admit(from("2001:db8::2"));
        assert!(third.displaced && is_put_out(&mut first));
        assert!(!is_put_out(&mut second) && !is_put_out(&mut other), "nobody else's was quieter by right");
        assert!(!connections.admit(from("2001:db8:0:1::1")).displaced, "another subscriber");
        drop((first, second, third));
        assert!(!connections.admit(from("2001:db8::3")).displaced);
        drop(other);
        assert!(connections.lock().of_address.is_empty());
    }

    #[test]
    fn who_has_asked_nothing_goes_first() {
        let connections = Arc::new(Connections::of(3));
        let [mut silent, mut asked, mut begun] = [(); 3].map(|()| connections.admit(HERE));
        connections.heard(asked.id);
        connections.await_at_a_stop(begun.id);
        connections.put_out_silent();
        assert!(is_put_out(&mut silent) && !is_put_out(&mut asked) && !is_put_out(&mut begun));
        assert!(connections.put_out_all() && is_put_out(&mut asked) && is_put_out(&mut begun));
        assert!(!connections.put_out_all(), "there is nobody");
    }

    #[test]
    fn there_are_no_more_than_descriptors_for_them() {
        assert_eq!(Connections::fitting(16_384).most, CONNECTIONS);
        assert_eq!(Connections::fitting(1_000_000).most, CONNECTIONS);
        assert_eq!(Connections::fitting(256).most, 64);
        assert_eq!(Connections::fitting(0).most, 1);
    }
}
