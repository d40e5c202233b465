//! ClientHellos whose server name is made of any bytes, the same at each run: refused or begun and never finished, without a panic, and the door stays.
//!
//! A real hello is taken and its extension written anew, so the handshake cannot be completed whatever the door thinks of the name: what is tried is what
//! reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::get;
use crate::house::{House, SUFFIX, id, instance};

const HELLOS: usize = 400;
/// A handshake that goes no further is ended by the door after 10 s; what it says first comes at once.
const SAID: Duration = Duration::from_secs(5);
/// RFC 8446 §4.2, RFC 6066 §3, RFC 8446 §5.1.
const SERVER_NAME: u16 = 0;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// SplitMix64: the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn name(&mut self) -> Vec<u8> {
        const ODD: [&[u8]; 12] = [
            b"",
            b".",
            b"..",
            b"sonde.test.",
            b"sonde.test\0.evil",
            b"*.sonde.test",
            b"127.0.0.1",
            b"[::1]",
            b"SONDE.TEST",
            b"-.sonde.test",
            b"xn--\xff.sonde.test",
            "ü.sonde.test".as_bytes(),
        ];
        match self.roll(4) {
            0 => ODD[self.roll(ODD.len())].to_vec(),
            1 => vec![b'a'; self.roll(8000)],
            2 => [&[self.roll(256) as u8], &b".sonde.test"[..]].concat(),
            _ => (0..self.roll(300)).map(|_| self.roll(256) as u8).collect(),
        }
    }

    /// What is in the extension: names with their kinds and lengths, some of which lie.
    fn list(&mut self) -> Vec<u8> {
        let mut list = Vec::new();
        for _ in 0..[1, 1, 1, 0, 2, 5][self.roll(6)] {
            let name = self.name();
            list.push(if self.roll(6) == 0 { self.roll(256) as u8 } else { 0 });
            list.extend(self.length(name.len()));
            list.extend(name);
        }
        [self.length(list.len()).to_vec(), list].concat()
    }

    fn length(&mut self, right: usize) -> [u8; 2] {
        let said = if self.roll(8) == 0 { self.roll(1 << 16) } else { right };
        u16::try_from(said).unwrap_or(u16::MAX).to_be_bytes()
    }
}

/// A ClientHello of rustls's, as bytes of one record.
fn hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from(format!("here.{SUFFIX}")).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same with other bytes in the extension for the server's name, once or twice, and all lengths around it right.
fn with_list(hello: &[u8], list: &[u8], times: usize) -> Vec<u8> {
    let two = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    // Record (5), message (4), version (2), random (32), session, suites, compressions: then the extensions.
    let mut at = 5 + 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + two(at);
    at += 1 + usize::from(hello[at]);
    let (before, end) = (&hello[9..at], at + 2 + two(at));
    let mut extensions = Vec::new();
    at += 2;
    while at < end {
        let (kind, length) = (two(at), two(at + 2));
        if kind == usize::from(SERVER_NAME) {
            for _ in 0..times {
                extensions.extend(SERVER_NAME.to_be_bytes());
                extensions.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
                extensions.extend(list);
            }
        } else {
            extensions.extend(&hello[at..at + 4 + length]);
        }
        at += 4 + length;
    }
    let body = [before, &u16::try_from(extensions.len()).unwrap().to_be_bytes(), &extensions].concat();
    let message = [&[hello[5]], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], &body].concat();
    // As many records as it takes: 16 KiB are the most in one.
    let record = |part: &[u8]| [&hello[..3], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
    message.chunks(1 << 14).flat_map(record).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_for_the_servers_name_are_refused_or_go_no_further() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let house = House::configured(&[instance(1, "acme", json!({}))], "").await;
    let acme = house.token("acme", &[], None).await;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let mut dice = Dice(0x5e1f_0a11);
    let (mut begun, mut refused) = (0, 0);
    for round in 0..HELLOS {
        let (list, times) = (dice.list(), [1, 1, 1, 1, 1, 1, 2, 0][dice.roll(8)]);
        let bytes = with_list(&hello(), &list, times);
        let mut stream = TcpStream::connect(house.proxy.address()).await.unwrap();
        // It may be refused before all of it is sent.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut said = Vec::new();
        let heard = tokio::time::timeout(SAID, stream.read_to_end(&mut said)).await;
        assert!(heard.is_ok(), "{round}: {list:?} is not answered");
        match said.first() {
            Some(&HANDSHAKE) => begun += 1,
            Some(&ALERT) | None => refused += 1,
            Some(other) => panic!("{round}: {list:?} is answered with a record of kind {other}"),
        }
    }
    assert!(begun > HELLOS / 10 && refused > HELLOS / 10, "{begun} were begun, {refused} refused");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    let about = crate::outcomes::plain(house.proxy.admin_address(), "GET", "/metrics").await;
    assert!(about.contains("sonde_proxy_records{kind=\"instance\"} 1"), "{about}");
    let path = format!("/v1/instances/{}/metrics", id(1));
    assert_eq!(get(&house, &acme, &path).await.status, 200);
    assert_eq!(house.agent.heard(&id(1).to_string()).len(), 1, "nobody else was let in");
    house.proxy.stop().await;
}
