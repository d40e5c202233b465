//! Real connections on loopback: who is let in, who has to leave, and the end.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;

use http::Response;
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;

use super::*;
use crate::Http;

const HTTP: Http = Http { head_deadline: LATE, head_bytes: 8 << 10, headers: 16, http2: None };
/// In which what is expected happens on the busiest machine.
const LATE: Duration = Duration::from_secs(30);
const WANT: i32 = 24;

/// An entrance at work. Each request is answered when there is a permit for it.
struct House {
    address: SocketAddr,
    connections: Arc<Connections>,
    permits: Arc<Semaphore>,
    events: Arc<Mutex<Vec<Event>>>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

async fn entrance(places: usize, drain: Duration) -> Entrance {
    Entrance {
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        connections: Arc::new(Connections::of(places)),
        spare: Arc::new(Spare::take(64)),
        drain,
    }
}

impl House {
    async fn open(places: usize, drain: Duration) -> Self {
        let entrance = entrance(places, drain).await;
        let (address, connections) = (entrance.listener.local_addr().unwrap(), entrance.connections.clone());
        let (permits, events) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<Vec<Event>>>::default());
        let (stop, stopping) = watch::channel(false);
        let (waiting, counted) = (permits.clone(), events.clone());
        let serving = tokio::spawn(async move {
            let happened = |event| counted.lock().unwrap().push(event);
            let converse = |stream, guest, leaving| speak(stream, guest, leaving, waiting.clone());
            entrance.serve(stopping, happened, converse).await;
        });
        Self { address, connections, permits, events, stop, serving }
    }

    /// A connection that has said this, and was let in.
    async fn visit(&self, said: &str) -> TcpStream {
        let before = self.count(Event::Admitted);
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        eventually(|| self.count(Event::Admitted) > before).await;
        stream
    }

    fn count(&self, event: Event) -> usize {
        self.events.lock().unwrap().iter().filter(|happened| **happened == event).count()
    }
}

async fn speak(stream: TcpStream, guest: Guest, leaving: Watcher, permits: Arc<Semaphore>) {
    // As a handshake that ends with the first byte.
    if !matches!(stream.peek(&mut [0]).await, Ok(1)) {
        return;
    }
    guest.speaks_http1();
    let answer = move |_| {
        guest.heard();
        let permits = permits.clone();
        async move {
            permits.acquire().await.unwrap().forget();
            Response::new(Full::new(Bytes::from_static(b"answered")))
        }
    };
    HTTP.converse(stream, false, leaving, answer).await;
}

async fn eventually(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LATE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come about");
        tokio::task::yield_now().await;
    }
}

/// All that comes until the other side has ended.
async fn rest(mut stream: TcpStream) -> String {
    let mut heard = Vec::new();
    // Ended hard where something had been said that nobody had read.
    let _ = tokio::time::timeout(LATE, stream.read_to_end(&mut heard)).await.expect("it is ended");
    String::from_utf8(heard).unwrap()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn who_has_said_nothing_does_not_hold_up_the_end_and_who_has_is_answered() {
    let house = House::open(16, LATE * 4).await;
    let (silent, asked, mut begun) = (house.visit("").await, house.visit(REQUEST).await, house.visit("GET / HT").await);
    eventually(|| house.connections.awaited() == 2).await;
    house.stop.send(true).unwrap();
    assert_eq!(rest(silent).await, "");
    assert!(!house.serving.is_finished(), "what was asked is not answered yet");
    assert!(TcpStream::connect(house.address).await.is_err(), "nobody more is let in");
    begun.write_all(&REQUEST.as_bytes()["GET / HT".len()..]).await.unwrap();
    house.permits.add_permits(2);
    assert!(rest(asked).await.ends_with("answered") && rest(begun).await.ends_with("answered"));
    tokio::time::timeout(LATE, house.serving).await.expect("it ends with the last answer").unwrap();
    assert_eq!(house.connections.count(), 0);
}

#[tokio::test]
async fn what_cannot_be_answered_in_time_is_cut_off() {
    let house = House::open(16, Duration::from_millis(50)).await;
    let asked = house.visit(REQUEST).await;
    eventually(|| house.connections.awaited() == 1).await;
    house.stop.send(true).unwrap();
    tokio::time::timeout(LATE, house.serving).await.expect("it does not wait for ever").unwrap();
    assert_eq!(rest(asked).await, "");
}

#[tokio::test]
async fn the_quietest_makes_room_and_it_is_told() {
    let house = House::open(2, LATE).await;
    let (first, second, third) = (house.visit("").await, house.visit("").await, house.visit(REQUEST).await);
    assert_eq!(rest(first).await, "");
    assert_eq!((house.count(Event::Admitted), house.count(Event::PutOut)), (3, 1));
    house.permits.add_permits(1);
    house.stop.send(true).unwrap();
    drop((second, third));
    house.serving.await.unwrap();
}

#[tokio::test]
async fn without_descriptors_spare_ones_are_given_and_then_the_quietest_goes() {
    let entrance = entrance(2, LATE).await;
    let events = Mutex::new(Vec::new());
    let happened = |event| events.lock().unwrap().push(event);
    let mut place = entrance.connections.admit(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    let want = io::Error::from_raw_os_error(WANT);
    let mut given = 0;
    while entrance.make_room(&want, &happened) {
        given += 1;
        assert_eq!(place.put_out.try_recv(), Err(TryRecvError::Empty));
    }
    assert!(given > 0);
    assert_eq!(place.put_out.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(events.lock().unwrap().iter().filter(|event| **event == Event::PutOut).count(), 1);
    assert_eq!(events.lock().unwrap().iter().filter(|event| **event == Event::NoDescriptors).count(), given + 1);
    let other: io::Error = io::ErrorKind::ConnectionAborted.into();
    assert!(entrance.spare.take_back() && !entrance.make_room(&other, &happened), "that is no want of descriptors");
    assert!(entrance.spare.is_whole());
}
