//! From a packet to its reply: bytes in, bytes out, whoever sends them.
//!
//! What cannot be a question for us is told from its first twelve bytes, before anything is allocated for what it claims to hold. A
//! response is never replied to, or two servers would talk for ever. No reply is larger than its asker can take; one that does not fit is empty and
//! marked as cut, never a part of a list. Recursion is neither offered nor done.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use super::zone::{Outcome, Zone};

/// RFC 1035 §4.1.1.
const HEADER: usize = 12;
/// What fits without EDNS (RFC 1035 §4.2.1).
const PLAIN_UDP: u16 = 512;
/// What is not fragmented on any ordinary path (DNS flag day 2020).
const LARGEST_UDP: u16 = 1232;
/// A question has an OPT and a signature at most.
const MOST_ADDITIONALS: u16 = 2;
/// IXFR's, the serial that the asker has.
const MOST_AUTHORITIES: u16 = 1;

/// Over which transport a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What is sent back.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    Silence,
    Message(Vec<u8>, ResponseCode),
    /// The whole zone is asked for: the question, to be answered by `transfer.rs`.
    Transfer(Box<Message>),
}

/// Answers a packet. `cut` leaves the answer out, for whoever has had too many.
pub(super) fn reply(zone: &Zone, packet: &[u8], source: IpAddr, transport: Transport, cut: bool) -> Reply {
    let Some(header) = Head::of(packet) else { return Reply::Silence };
    if header.is_response {
        return Reply::Silence;
    }
    if header.op_code != OpCode::Query {
        return header.error(ResponseCode::NotImp);
    }
    if !header.is_plausible() {
        return header.error(ResponseCode::FormErr);
    }
    let Ok(question) = Message::from_vec(packet) else { return header.error(ResponseCode::FormErr) };
    let mut response = response_to(&question);
    let limit = match (transport, &question.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, LARGEST_UDP),
    };
    if question.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        response.metadata.response_code = ResponseCode::BADVERS;
    } else if cut {
        response.metadata.truncation = true;
    } else if is_transfer(&question) && zone.has(question.queries[0].name()) && transport == Transport::Tcp {
        return Reply::Transfer(Box::new(question));
    } else {
        fill(zone, &question, source, &mut response);
    }
    written(response, limit).unwrap_or_else(|| header.error(ResponseCode::ServFail))
}

fn is_transfer(question: &Message) -> bool {
    question.queries.iter().any(|query| matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR))
}

/// An empty response with what is taken over from the question.
pub(super) fn response_to(question: &Message) -> Message {
    let mut response = Message::response(question.metadata.id, OpCode::Query);
    response.metadata.recursion_desired = question.metadata.recursion_desired;
    response.queries.clone_from(&question.queries);
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_UDP);
        response.set_edns(edns);
    }
    response
}

fn fill(zone: &Zone, question: &Message, source: IpAddr, response: &mut Message) {
    let Some(query) = question.queries.first() else { return };
    let name = query.name();
    if query.query_class() != DNSClass::IN || !zone.has(name) || is_transfer(question) {
        response.metadata.response_code = ResponseCode::Refused;
        return;
    }
    response.metadata.authoritative = true;
    match zone.look_up(name, query.query_type(), source) {
        Outcome::Answer { answers, additionals } => {
            response.answers = answers;
            response.additionals = additionals;
        }
        Outcome::NoData => response.authorities = vec![zone.soa(&zone.apex)],
        Outcome::NoSuchName => {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.authorities = vec![zone.soa(&zone.apex)];
        }
        Outcome::Refused => refuse(response, ResponseCode::Refused),
        Outcome::Failed => refuse(response, ResponseCode::ServFail),
    }
}

fn refuse(response: &mut Message, code: ResponseCode) {
    response.metadata.authoritative = false;
    response.metadata.response_code = code;
}

/// As bytes; what is too long becomes empty and cut, over TCP a failure. None: it cannot be written.
fn written(response: Message, limit: u16) -> Option<Reply> {
    let code = response.metadata.response_code;
    // The writer stops at 64 KiB and marks what it left out.
    let bytes = response.to_vec().ok()?;
    let is_whole = bytes.len() <= usize::from(limit) && (bytes[2] & TRUNCATED == 0 || response.metadata.truncation);
    if is_whole {
        return Some(Reply::Message(bytes, code));
    }
    if limit == u16::MAX {
        return None;
    }
    let bytes = response.truncate().to_vec().ok()?;
    (bytes.len() <= usize::from(limit)).then_some(Reply::Message(bytes, code))
}

/// TC, in the third byte of a message.
const TRUNCATED: u8 = 0b10;

/// The first twelve bytes.
struct Head {
    id: u16,
    is_response: bool,
    op_code: OpCode,
    wants_recursion: bool,
    counts: [u16; 4],
}

impl Head {
    fn of(packet: &[u8]) -> Option<Self> {
        let head = packet.get(..HEADER)?;
        let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        Some(Self {
            id: number(0),
            is_response: head[2] & 0x80 != 0,
            op_code: OpCode::from_u8(head[2] >> 3 & 0x0f),
            wants_recursion: head[2] & 1 != 0,
            counts: [4, 6, 8, 10].map(number),
        })
    }

    /// One question, and no more beside it than a question has.
    fn is_plausible(&self) -> bool {
        let [questions, answers, authorities, additionals] = self.counts;
        questions == 1 && answers == 0 && authorities <= MOST_AUTHORITIES && additionals <= MOST_ADDITIONALS
    }

    /// A header alone: nothing of what could not be read is said again.
    fn error(&self, code: ResponseCode) -> Reply {
        let mut response = Message::new(self.id, MessageType::Response, self.op_code);
        response.metadata.recursion_desired = self.wants_recursion;
        response.metadata.response_code = code;
        response.to_vec().map_or(Reply::Silence, |bytes| Reply::Message(bytes, code))
    }
}
