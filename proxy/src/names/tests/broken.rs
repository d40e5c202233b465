//! Packets broken at random, the same at each run.

use super::*;

/// Numbers that look random and are the same at each run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

#[test]
fn broken_packets_get_a_small_reply_or_none() {
    let zone = zone_of(catalogue());
    let secret = format!("_0-2.web.{}.sonde.test.", label("a"));
    let seeds: Vec<Vec<u8>> = ["web--a.sonde.test.", "sonde.test.", &secret, "x.", "a._list.sonde.test."]
        .iter()
        .flat_map(|name| {
            let types =
                [RecordType::A, RecordType::SRV, RecordType::ANY, RecordType::AXFR, RecordType::IXFR, RecordType::SOA];
            types.into_iter().flat_map(move |wanted| [packet(name, wanted, None), packet(name, wanted, Some(1232))])
        })
        .collect();
    let mut dice = Dice(0x5eed_da7a);
    let mut replies = 0;
    for round in 0..60_000 {
        let mut packet = seeds[dice.roll(seeds.len())].clone();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(packet.len());
            match dice.roll(6) {
                0 => packet[at] ^= 1 << dice.roll(8),
                1 => packet[at] = dice.roll(256) as u8,
                // A pointer, to anywhere.
                2 => packet[at] = 0xc0,
                3 => packet.truncate(at.max(1)),
                4 => packet.insert(at, dice.roll(256) as u8),
                _ => packet.extend_from_within(at..),
            }
        }
        let has_edns = packet.get(10..12).is_some_and(|count| count != [0, 0]);
        let limit = if has_edns { 1232 } else { 512 };
        for (transport, cut) in [(Transport::Udp, false), (Transport::Udp, true), (Transport::Tcp, false)] {
            match reply(&zone, &packet, STRANGER.parse().unwrap(), transport, cut) {
                Reply::Silence => {}
                Reply::Message(bytes, _) => {
                    replies += 1;
                    let answer =
                        Message::from_vec(&bytes).unwrap_or_else(|error| panic!("{round}: {packet:?}: {error}"));
                    assert_eq!(answer.metadata.message_type, MessageType::Response);
                    assert_eq!(bytes[..2], packet[..2], "{round}: another id");
                    assert!(transport == Transport::Tcp || bytes.len() <= limit, "{round}: {} bytes", bytes.len());
                    assert!(!cut || bytes.len() <= packet.len() + 11, "{round}: a cut reply of {} bytes", bytes.len());
                }
                Reply::Transfer(question) => {
                    assert_eq!(transport, Transport::Tcp);
                    let messages = transfer::messages(&zone, &question, STRANGER.parse().unwrap(), &[]);
                    assert_eq!(code(&messages[0]), ResponseCode::Refused);
                }
            }
        }
    }
    assert!(replies > 10_000, "nearly everything fell at the first look: {replies}");
}
