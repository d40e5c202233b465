//! The whole zone, for the secondaries that the operator names (AXFR; IXFR is answered in full, as RFC 1995 §4 allows).
//!
//! It is small, since a wildcard stands for all targets. Lists are not in it: a secondary would have to hold every account's, and give them to whoever
//! asks it; so lists are had from us alone.

use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::Name;

use super::message::response_to;
use super::zone::Zone;

/// The messages of a transfer; one that refuses, where the asker is no secondary or there is nothing to tell yet.
pub(super) fn messages(zone: &Zone, question: &Message, source: IpAddr, secondaries: &[IpAddr]) -> Vec<Message> {
    let mut response = response_to(question);
    let name = question.queries.first().map(|query| query.name().clone());
    let is_apex = name.as_ref() == Some(&zone.apex);
    response.metadata.response_code = match () {
        () if !secondaries.contains(&source.to_canonical()) => ResponseCode::Refused,
        () if !is_apex => ResponseCode::NotAuth,
        () if !zone.is_known() => ResponseCode::ServFail,
        () => ResponseCode::NoError,
    };
    if response.metadata.response_code != ResponseCode::NoError {
        return vec![response];
    }
    response.metadata.authoritative = true;
    let soa = zone.soa(&zone.apex);
    response.answers.push(soa.clone());
    response.answers.extend(zone.ns(&zone.apex));
    let wildcard = Name::from_ascii("*").and_then(|star| star.append_domain(&zone.apex)).ok();
    for name in [Some(zone.apex.clone()), wildcard].into_iter().flatten().chain(zone.own_name_servers()) {
        response.answers.extend(zone.addresses(&name, None));
    }
    response.answers.push(soa);
    vec![response]
}
