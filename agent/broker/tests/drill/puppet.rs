//! The code in the runner's place.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::fcntl_dupfd_cloexec;
use sonde_host::wire::{self, Inbox, OpenReply, OpenRequest, Opened, Outbox};
use sonde_jail::Jail;

use crate::calls::{act, call};
use crate::orders::{GIVEN, Order, Ready, Said};

struct Puppet {
    broker: (Inbox, Outbox),
    /// The last few descriptors that the broker gave.
    given: VecDeque<OwnedFd>,
}

/// Closes the jail around itself, then obeys until its agent has closed the channel.
pub fn run(jail: &str) {
    let jail: Jail = serde_json::from_str(jail).unwrap();
    let layers = jail.enter();
    let duplicate = |number: i32| {
        let given = ManuallyDrop::new(descriptor(number));
        fcntl_dupfd_cloexec(&*given, 3).unwrap()
    };
    let (mut inbox, mut outbox) = wire::blocking(duplicate(0), true).unwrap();
    let broker = wire::blocking(duplicate(1), true);
    let uid = rustix::process::getuid().as_raw();
    outbox.push(&Ready { pid: std::process::id(), uid, layers }, None);
    outbox.flush_blocking().unwrap();
    // A compile worker has no broker's socket.
    let Ok(broker) = broker else { return };
    let mut puppet = Puppet { broker, given: VecDeque::new() };
    while let Ok(Some((order, _))) = inbox.next_blocking::<Order>() {
        let said = puppet.obey(order);
        outbox.push(&said, None);
        outbox.flush_blocking().unwrap();
    }
}

#[allow(unsafe_code, reason = "the descriptors that a process is started with have no owner in safe code")]
fn descriptor(number: i32) -> OwnedFd {
    // SAFETY: 0 and 1 are open, and are never closed as long as this process lives: see `ManuallyDrop` where it is called.
    unsafe { OwnedFd::from_raw_fd(number) }
}

impl Puppet {
    fn obey(&mut self, order: Order) -> Said {
        match order {
            Order::Call { number, arguments } => {
                let given = || self.given.back().map_or(-1, |descriptor| i64::from(descriptor.as_raw_fd()));
                call(number, arguments.map(|argument| if argument == GIVEN { given() } else { argument }))
            }
            Order::Act(name) => act(&name),
            Order::Ask(request) => {
                self.send(&[request]);
                self.answer()
            }
            Order::Flood { requests, reads } => self.flood(&requests, reads),
            Order::Bytes { bytes, times } => self.bytes(&bytes, times),
            Order::AskAndClose(request) => {
                self.send(&[request]);
                rustix::net::shutdown(io::stdout(), rustix::net::Shutdown::Both).unwrap();
                std::thread::sleep(Duration::from_secs(60));
                Said::Done(0)
            }
            Order::Threads(wanted) => threads(wanted),
            Order::Spin { threads, milliseconds } => spin(threads, Duration::from_millis(milliseconds)),
            Order::Memory(bytes) => {
                std::hint::black_box(vec![1_u8; usize::try_from(bytes).unwrap()]);
                Said::Done(0)
            }
        }
    }

    fn send(&mut self, requests: &[OpenRequest]) {
        for request in requests {
            self.broker.1.push(request, None);
        }
        let _ = self.broker.1.flush_blocking();
    }

    fn answer(&mut self) -> Said {
        let Ok(Some((reply, descriptor))) = self.broker.0.next_blocking::<OpenReply>() else {
            // The broker ends who comes here.
            std::thread::sleep(Duration::from_secs(60));
            return Said::Done(-1);
        };
        let given = descriptor.is_some();
        self.given.extend(descriptor);
        if self.given.len() > 8 {
            self.given.pop_front();
        }
        match reply.result {
            Ok(Opened::Secret(secret)) => Said::Opened { descriptor: given, secret: Some(secret) },
            Ok(_) => Said::Opened { descriptor: given, secret: None },
            Err(error) => Said::NotOpened(error),
        }
    }

    fn flood(&mut self, requests: &[OpenRequest], reads: bool) -> Said {
        let mut bytes = Vec::new();
        for request in requests {
            let message = wire::encode(request);
            bytes.extend((message.len() as u32).to_le_bytes());
            bytes.extend(message);
        }
        if !reads {
            return self.bytes(&bytes, 1);
        }
        let reader = std::thread::scope(|scope| {
            let broker = &mut self.broker.0;
            let reading = scope.spawn(move || {
                let answers = (0..requests.len()).map_while(|_| broker.next_blocking::<OpenReply>().ok().flatten());
                answers.count()
            });
            let _ = write(&bytes);
            reading.join().unwrap()
        });
        Said::Done(reader as i64)
    }

    /// Done when nothing of it is taken any more, or all has been.
    fn bytes(&mut self, bytes: &[u8], times: u32) -> Said {
        for _ in 0..times {
            if let Err(error) = write(bytes) {
                return Said::Refused(error.raw_os_error().unwrap_or(0));
            }
        }
        Said::Done(0)
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let broker = ManuallyDrop::new(UnixStream::from(descriptor(1)));
    (&*broker).write_all(bytes)
}

fn threads(wanted: u32) -> Said {
    let start = |_| std::thread::Builder::new().stack_size(64 << 10).spawn(std::thread::park).ok();
    Said::Done((0..wanted).map_while(start).count() as i64)
}

fn spin(threads: u32, lasts: Duration) -> Said {
    let until = Instant::now() + lasts;
    let spin = move || while Instant::now() < until {};
    let threads: Vec<_> = (0..threads).map(|_| std::thread::spawn(spin)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    Said::Done(0)
}
