//! The one accept loop: whoever comes is let in within bounds, and told to leave when the daemon stops.
//!
//! Where descriptors are out, spare ones are used, and then the quietest connections'. When it is time to stop nobody more is let in; who has said nothing yet
//! (a handshake that is not done, a head that has not begun) is ended at once, for there is nothing to wait for; who has asked, or begun to, is answered,
//! within a deadline, and what is left then is ended too. It knows nothing of what is said on a connection, and counts nothing: each thing
//! that happens is told to who does.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::connections::{Connections, Place};
use crate::spare::{Spare, is_want_of_descriptors, is_want_of_the_node};

/// Accept errors are met with a pause that doubles to this: spinning would make it worse.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Spare descriptors that were given are taken back this long after.
const TAKE_BACK: Duration = Duration::from_secs(1);

/// What happens at an entrance, each time that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A connection was let in.
    Admitted,
    /// One had to leave: for its place or for its descriptor.
    PutOut,
    /// One could not be accepted for want of descriptors.
    NoDescriptors,
}

/// Where connections come in.
pub struct Entrance {
    pub listener: TcpListener,
    pub connections: Arc<Connections>,
    pub spare: Arc<Spare>,
    /// How long what was asked is waited for at the end; no time at all where it is asked again elsewhere.
    pub drain: Duration,
}

/// Who was let in. Cheap to clone.
#[derive(Clone)]
pub struct Guest {
    pub from: IpAddr,
    /// The connection's number, its own at this entrance for as long as it lasts.
    pub id: u64,
    connections: Arc<Connections>,
}

impl Guest {
    /// Notes that the connection has asked for something.
    pub fn heard(&self) {
        self.connections.heard(self.id);
    }

    /// Notes that HTTP/1.1 is spoken from here on: hyper itself ends such a connection at a stop where nothing has been said on it, and waits for the rest of a head
    /// that has begun. Of one of HTTP/2 it would wait for the preface, whether one has begun or not.
    pub fn speaks_http1(&self) {
        self.connections.await_at_a_stop(self.id);
    }
}

/// Resolves when it is time to stop, also when whoever could say so is gone.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Entrance {
    /// Lets in until `stop` becomes true, then drains. `converse` makes a connection's life, which is dropped where the connection has to end; its
    /// [`Watcher`] says when it is time to leave.
    pub async fn serve<F>(
        self,
        mut stop: watch::Receiver<bool>,
        happened: impl Fn(Event),
        converse: impl Fn(TcpStream, Guest, Watcher) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let graceful = GracefulShutdown::new();
        let mut pause = SHORTEST_PAUSE;
        // Its beat is its own: who connects again and again must not put it off.
        let mut taking_back = tokio::time::interval(TAKE_BACK);
        taking_back.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                () = stopped(&mut stop) => break,
                accepted = self.listener.accept() => accepted,
                _ = taking_back.tick(), if !self.spare.is_whole() => {
                    if self.spare.take_back() {
                        tracing::info!("there are descriptors again");
                    }
                    continue;
                }
            };
            match accepted {
                Ok((stream, from)) => {
                    pause = SHORTEST_PAUSE;
                    let _ = stream.set_nodelay(true);
                    let (guest, place) = self.admit(from.ip(), &happened);
                    tokio::spawn(until_put_out(converse(stream, guest, graceful.watcher()), place));
                }
                Err(error) if self.make_room(&error, &happened) => pause = SHORTEST_PAUSE,
                Err(_) => {
                    tokio::select! {
                        () = stopped(&mut stop) => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        self.drain(graceful).await;
    }

    fn admit(&self, from: IpAddr, happened: &impl Fn(Event)) -> (Guest, Place) {
        let place = self.connections.admit(from);
        happened(Event::Admitted);
        if place.displaced {
            happened(Event::PutOut);
        }
        (Guest { from, id: place.id, connections: self.connections.clone() }, place)
    }

    /// After a connection that could not be accepted: whether there is a descriptor for the next attempt already.
    fn make_room(&self, error: &io::Error, happened: &impl Fn(Event)) -> bool {
        if !is_want_of_descriptors(error) {
            tracing::warn!(%error, "a connection could not be accepted");
            return false;
        }
        happened(Event::NoDescriptors);
        if self.spare.is_whole() {
            tracing::warn!(%error, "descriptors are out; spare ones are used");
        }
        if self.spare.give() {
            return true;
        }
        // A scraper with a connection is worth more than a new one, where its place would be somebody else's at once.
        if !is_want_of_the_node(error) && self.connections.put_out_quietest() {
            happened(Event::PutOut);
        }
        false
    }

    async fn drain(self, graceful: GracefulShutdown) {
        drop(self.listener);
        self.connections.put_out_silent();
        let is_late = tokio::time::timeout(self.drain, graceful.shutdown()).await.is_err();
        if is_late && self.connections.put_out_all() && !self.drain.is_zero() {
            tracing::warn!("requests in flight were cut off after {:?}", self.drain);
        }
    }
}

async fn until_put_out(conversation: impl Future<Output = ()>, mut place: Place) {
    tokio::select! {
        () = conversation => {}
        _ = &mut place.put_out => {}
    }
}

#[cfg(test)]
mod tests;
