//! DNS over UDP: one loop a socket, an answer made in place, nothing kept.
//!
//! A question that cannot be answered at once, because the socket's buffer is full, is dropped as the network would have: its asker comes again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::message::{Reply, Transport, reply};
use super::rate::{ReplyRate, Verdict};
use super::{Counters, Shared};

/// No question is as long.
const LONGEST_QUESTION: usize = 4096;
/// After an error of the socket's, which is somebody else's (an ICMP), or lasts.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let mut rate = ReplyRate::new(shared.replies_per_second, Instant::now());
    let mut packet = vec![0; LONGEST_QUESTION];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((length, source)) => answer(&socket, &shared, &mut rate, &packet[..length], source),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn answer(socket: &UdpSocket, shared: &Shared, rate: &mut ReplyRate, packet: &[u8], source: SocketAddr) {
    let counters = &shared.counters;
    Counters::add(&counters.udp_questions);
    // Nobody listens there: it was made up.
    if source.port() == 0 {
        return;
    }
    let cut = match rate.judge(source.ip(), Instant::now()) {
        Verdict::Answer => false,
        Verdict::Cut => true,
        Verdict::Drop => return Counters::add(&counters.rate_dropped),
    };
    if cut {
        Counters::add(&counters.rate_cut);
    }
    // A transfer does not come out over UDP.
    if let Reply::Message(bytes, code) = reply(&shared.zone, packet, source.ip(), Transport::Udp, cut) {
        counters.replied(code);
        let _ = socket.try_send_to(&bytes, source);
    }
}
