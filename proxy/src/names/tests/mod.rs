//! The server as its askers meet it: packets made by hand, packets broken at random, and `dig`.

use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, RecordType};
use serde_json::json;
use sonde_inventory::{Account, AccountName, Change, Instance, Snapshot};
use uuid::Uuid;

use super::message::{Reply, Transport, reply};
use super::*;

mod broken;
mod dig;

const KEY: [u8; 32] = [7; 32];
const ID: &str = "00000000-0000-0000-0000-000000000011";

fn name(name: &str) -> AccountName {
    AccountName::new(name).unwrap()
}

fn label(account: &str) -> String {
    ListKey::new(&KEY).unwrap().label(&name(account))
}

fn record(id: u128, owner: &str, groups: &[&str]) -> Instance {
    let json = json!({ "id": Uuid::from_u128(id), "node": Uuid::from_u128(1), "owner": owner, "name": format!("n{id}"), "groups": groups, "state": "running" });
    serde_json::from_value(json).unwrap()
}

fn catalogue() -> Arc<Catalogue> {
    let catalogue = Catalogue::default();
    catalogue.replace(Snapshot {
        accounts: ["a", "b"].map(|account| Account::new(name(account))).into(),
        nodes: vec![],
        instances: vec![record(0x11, "a", &["Web"]), record(0x12, "a", &["db"]), record(0x13, "b", &["web"])],
        ..Snapshot::default()
    });
    Arc::new(catalogue)
}

fn settings(addresses: &[&str]) -> Settings {
    let addresses: Arc<[IpAddr]> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let of = |text: &str| Name::from_ascii(text).unwrap();
    Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        apex: of("Sonde.test.").to_lowercase(),
        name_servers: vec![of("ns.sonde.test."), of("ns.elsewhere.test.")],
        hostmaster: of("hostmaster.sonde.test."),
        ttl_seconds: 30,
        port: 9163,
        proxies: watch::channel(addresses).1,
        secondaries: vec![],
        lists_to: vec!["192.0.2.0/24".parse().unwrap()],
        list_key: ListKey::new(&KEY),
        replies_per_second: 100_000,
    }
}

fn zone_of(catalogue: Arc<Catalogue>) -> Zone {
    Zone::new(&settings(&["203.0.113.1", "2001:db8::1", "203.0.113.2"]), catalogue)
}

/// A question, as a packet.
fn packet(name: &str, wanted: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), wanted));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

const STRANGER: &str = "198.51.100.1";

fn bytes(zone: &Zone, packet: &[u8], source: &str, transport: Transport) -> Option<Vec<u8>> {
    match reply(zone, packet, source.parse().unwrap(), transport, false) {
        Reply::Message(bytes, _) => Some(bytes),
        Reply::Silence => None,
        Reply::Transfer(_) => panic!("nobody asked for a transfer"),
    }
}

fn ask_from(zone: &Zone, name: &str, wanted: RecordType, source: &str) -> Message {
    let bytes = bytes(zone, &packet(name, wanted, None), source, Transport::Tcp).expect("a question is answered");
    Message::from_vec(&bytes).unwrap()
}

fn ask(zone: &Zone, name: &str, wanted: RecordType) -> Message {
    ask_from(zone, name, wanted, STRANGER)
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn every_well_formed_id_answers_alike() {
    let zone = zone_of(catalogue());
    let mut all = Vec::new();
    for one in [ID, "FFFFFFFF-0000-0000-0000-00000000FFFF", "web--a", "nothing--nobody"] {
        let answer = ask(&zone, &format!("{one}.sonde.TEST."), RecordType::A);
        assert_eq!(code(&answer), ResponseCode::NoError);
        assert!(answer.metadata.authoritative && !answer.metadata.recursion_available);
        assert!(answer.answers.iter().all(|record| record.ttl == 30));
        // 0x20: the name comes back as it was asked for.
        assert!(answer.answers[0].name.eq_case(&Name::from_ascii(format!("{one}.sonde.TEST.")).unwrap()));
        all.push(data(&answer));
        assert_eq!(data(&ask(&zone, &format!("{one}.sonde.test."), RecordType::AAAA)), ["2001:db8::1"]);
        let none = ask(&zone, &format!("{one}.sonde.test."), RecordType::SRV);
        assert_eq!((code(&none), none.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(none.authorities[0].record_type(), RecordType::SOA);
    }
    assert!(all.iter().all(|one| *one == ["203.0.113.1", "203.0.113.2"]), "{all:?}");
}

#[test]
fn what_has_no_such_shape_is_not_there_and_other_zones_are_refused() {
    let zone = zone_of(catalogue());
    for one in ["x", "xx.web--a", "a.b", "_list.x", "*", "_tcp", &format!("x.{ID}")] {
        let answer = ask(&zone, &format!("{one}.sonde.test."), RecordType::A);
        assert_eq!(code(&answer), ResponseCode::NXDomain, "{one}");
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
        assert!(answer.answers.is_empty());
    }
    // The first ends in the zone's letters, and is another zone.
    for other in ["notsonde.test.", "test.", ".", "example.com."] {
        let answer = ask(&zone, other, RecordType::A);
        assert_eq!(code(&answer), ResponseCode::Refused, "{other}");
        assert!(!answer.metadata.authoritative && answer.answers.is_empty() && answer.authorities.is_empty());
    }
    let mut chaos = Message::from_vec(&packet("sonde.test.", RecordType::TXT, None)).unwrap();
    chaos.queries[0].set_query_class(DNSClass::CH);
    let answer = bytes(&zone, &chaos.to_vec().unwrap(), STRANGER, Transport::Udp).unwrap();
    assert_eq!(code(&Message::from_vec(&answer).unwrap()), ResponseCode::Refused);
}

#[test]
fn the_apex_says_whose_the_zone_is_and_everything_is_next_to_nothing() {
    let zone = zone_of(catalogue());
    let servers = ask(&zone, "sonde.test.", RecordType::NS);
    assert_eq!(data(&servers), ["ns.sonde.test.", "ns.elsewhere.test."]);
    assert_eq!(servers.additionals.len(), 3, "glue for the one that is the zone's own");
    assert_eq!(data(&ask(&zone, "ns.sonde.test.", RecordType::AAAA)), ["2001:db8::1"]);
    assert_eq!(data(&ask(&zone, "sonde.test.", RecordType::A)).len(), 2);
    let soa = ask(&zone, "sonde.test.", RecordType::SOA);
    assert!(data(&soa)[0].starts_with("ns.sonde.test. hostmaster.sonde.test. "));
    for one in ["sonde.test.".to_owned(), format!("{ID}.sonde.test."), format!("{}.sonde.test.", label("a"))] {
        let all = ask(&zone, &one, RecordType::ANY);
        assert_eq!((all.answers.len(), all.answers[0].record_type()), (1, RecordType::HINFO), "{one}");
    }
}

#[test]
fn a_list_is_for_whoever_knows_its_label() {
    let zone = zone_of(catalogue());
    let own = label("a");
    let srv = |name: &str| data(&ask(&zone, &format!("{name}.sonde.test."), RecordType::SRV));
    let entry = |id: u128| format!("0 0 9163 {}.sonde.test.", Uuid::from_u128(id));
    assert_eq!(srv(&own), [entry(0x11), entry(0x12)]);
    assert_eq!(srv(&own.to_uppercase()), [entry(0x11), entry(0x12)]);
    assert_eq!(srv(&format!("WEB.{own}")), [entry(0x11)]);
    assert_eq!(srv(&format!("none.{own}")), [""; 0]);
    let mut parts: Vec<String> = (0..3).flat_map(|shard| srv(&format!("_{shard}-3.{own}"))).collect();
    parts.sort();
    assert_eq!(parts, [entry(0x11), entry(0x12)]);
    let text = ask(&zone, &format!("db.{own}.sonde.test."), RecordType::TXT);
    assert_eq!(data(&text), [format!("id={}alias=n18state=running", Uuid::from_u128(0x12))]);
    // One letter off, another account's under this one's, a shard that is none.
    let last = own.pop_char();
    for wrong in [
        format!("{last}a"),
        format!("{last}2"),
        format!("_3-3.{own}"),
        format!("_0-0.{own}"),
        format!("{own}.{}", label("b")),
    ] {
        let answer = ask(&zone, &format!("{wrong}.sonde.test."), RecordType::SRV);
        assert!(answer.answers.is_empty(), "{wrong}: {:?}", data(&answer));
    }
}

trait PopChar {
    fn pop_char(&self) -> String;
}

impl PopChar for String {
    fn pop_char(&self) -> String {
        self[..self.len() - 1].to_owned()
    }
}

#[test]
fn a_list_by_name_is_for_allowed_sources_and_others_learn_nothing() {
    let zone = zone_of(catalogue());
    let listed = ask_from(&zone, "a._list.sonde.test.", RecordType::SRV, "192.0.2.9");
    assert_eq!(listed.answers.len(), 2);
    assert_eq!(ask_from(&zone, "web.b._list.sonde.test.", RecordType::SRV, "192.0.2.9").answers.len(), 1);
    assert_eq!(code(&ask_from(&zone, "c._list.sonde.test.", RecordType::SRV, "192.0.2.9")), ResponseCode::NXDomain);
    for one in ["a", "c", "x.a", "_0-2.a"] {
        let answer = ask(&zone, &format!("{one}._list.sonde.test."), RecordType::SRV);
        assert_eq!(
            (code(&answer), answer.answers.len(), answer.authorities.len()),
            (ResponseCode::Refused, 0, 0),
            "{one}"
        );
    }
}

#[test]
fn a_list_that_does_not_fit_fails_and_its_shards_do_not() {
    let catalogue = catalogue();
    catalogue.apply((0x1000..0x1000 + 1500).map(|id| Change::Instance(record(id, "a", &[]))));
    let zone = zone_of(Arc::clone(&catalogue));
    let own = label("a");
    let whole = ask(&zone, &format!("{own}.sonde.test."), RecordType::SRV);
    assert_eq!((code(&whole), whole.answers.len()), (ResponseCode::ServFail, 0));
    let shards: usize =
        (0..4).map(|shard| ask(&zone, &format!("_{shard}-4.{own}.sonde.test."), RecordType::SRV).answers.len()).sum();
    assert_eq!(shards, 1502);
    catalogue.apply((0x3000..0x3000 + 1500).map(|id| Change::Instance(record(id, "a", &[]))));
    assert_eq!(code(&ask(&zone, &format!("{own}.sonde.test."), RecordType::TXT)), ResponseCode::ServFail);
}

#[test]
fn over_udp_what_is_too_long_is_empty_and_cut() {
    let catalogue = catalogue();
    catalogue.apply((0x1000..0x1010).map(|id| Change::Instance(record(id, "a", &[]))));
    let zone = zone_of(catalogue);
    let name = format!("{}.sonde.test.", label("a"));
    // Sixteen of eighty bytes and more: not in 512, not in 1232, whatever is offered.
    for (edns, limit) in [(None, 512), (Some(0), 512), (Some(600), 600), (Some(4096), 1232), (Some(65535), 1232)] {
        let bytes = bytes(&zone, &packet(&name, RecordType::SRV, edns), STRANGER, Transport::Udp).unwrap();
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= limit && answer.metadata.truncation && answer.answers.is_empty(), "{edns:?}");
        assert_eq!(answer.edns.is_some(), edns.is_some());
    }
    let whole = ask(&zone, &name, RecordType::SRV);
    assert!(!whole.metadata.truncation && whole.answers.len() == 18);
}

#[test]
fn before_the_first_sync_nothing_is_said() {
    let zone = zone_of(Arc::default());
    for (one, wanted) in
        [("sonde.test.", RecordType::SOA), ("web--a.sonde.test.", RecordType::A), ("x.sonde.test.", RecordType::A)]
    {
        let answer = ask(&zone, one, wanted);
        assert_eq!(code(&answer), ResponseCode::ServFail, "{one}");
        assert!(!answer.metadata.authoritative && answer.answers.is_empty() && answer.authorities.is_empty());
    }
    let nobody = Zone::new(&settings(&[]), catalogue());
    assert_eq!(code(&ask(&nobody, "web--a.sonde.test.", RecordType::A)), ResponseCode::ServFail);
}

#[test]
fn what_is_no_question_gets_a_bare_header_or_nothing() {
    let zone = zone_of(catalogue());
    let good = packet("web--a.sonde.test.", RecordType::A, Some(1232));
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        bytes(&zone, &packet, STRANGER, Transport::Udp)
    };
    let code_of = |bytes: Option<Vec<u8>>| Message::from_vec(&bytes.unwrap()).unwrap().metadata.response_code;
    assert_eq!(with(2, 0x80), None, "a response was replied to");
    assert_eq!(bytes(&zone, &good[..11], STRANGER, Transport::Udp), None);
    // Notify, update; two questions, none, an answer, more additionals than a question has.
    assert_eq!(code_of(with(2, 4 << 3)), ResponseCode::NotImp);
    assert_eq!(code_of(with(2, 5 << 3)), ResponseCode::NotImp);
    for (at, byte) in [(5, 2), (5, 0), (4, 0xff), (7, 1), (9, 2), (11, 3), (10, 0xff)] {
        let reply = with(at, byte);
        assert_eq!(reply.as_ref().map(Vec::len), Some(12), "{at}");
        assert_eq!(code_of(reply), ResponseCode::FormErr, "{at}");
    }
    assert_eq!(code_of(bytes(&zone, &good[..20], STRANGER, Transport::Udp)), ResponseCode::FormErr);
    let mut newer = Message::from_vec(&good).unwrap();
    newer.edns.as_mut().unwrap().set_version(1);
    let answer = Message::from_vec(&bytes(&zone, &newer.to_vec().unwrap(), STRANGER, Transport::Udp).unwrap()).unwrap();
    // 16 is BADVERS here and BADSIG elsewhere; dig, below, says which.
    assert_eq!((u16::from(code(&answer)), answer.edns.is_some(), answer.answers.len()), (16, true, 0));
}

#[test]
fn a_srv_record_names_a_target_that_has_an_address() {
    let zone = zone_of(catalogue());
    let list = ask(&zone, &format!("{}.sonde.test.", label("b")), RecordType::SRV);
    let RData::SRV(srv) = &list.answers[0].data else { panic!("{list:?}") };
    assert_eq!(data(&ask(&zone, &srv.target.to_ascii(), RecordType::A)).len(), 2);
}
