//! What is said of an instance when its agent says nothing: from the catalogue, in the scraper's format.
//!
//! A scraper drops the body of what is not 200; it is for the person who asks by hand, one query away, and for whoever tests us.

use http::StatusCode;
use sonde_expo::{Kind, Labels, Number, Writer};
use sonde_inventory::{Instance, State};

use super::answer::{Answer, typed, with_reason};
use crate::limits::Outcome;

/// The states of the contract, in its order.
pub(crate) const STATES: [State; 5] = [State::Running, State::Saturated, State::Frozen, State::Stopped, State::Gone];

/// The labels that native series have too, as far as the catalogue knows them.
fn base(instance: &Instance) -> Labels {
    let id = instance.id.to_string();
    let all = [("instance_id", id.as_str()), ("name", &instance.name), ("image", &instance.image)];
    let present: Vec<(&str, &str)> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    Labels::new(&present)
}

/// 503 with the state series of an instance that does not live, and why.
pub(crate) fn ended(instance: &Instance, accept: Option<&str>) -> Answer {
    let base = base(instance);
    let (content_type, body) = exposition(accept, |writer| {
        let help = "Whether the instance is in this state; exactly one is 1.";
        let mut states = writer.family("sonde_instance_state", Kind::Gauge, help, "");
        for state in STATES {
            let value = u64::from(state == instance.state);
            states.sample(&base, &[("state", state.name())], Number::Unsigned(value));
        }
        if !instance.reasons.is_empty() {
            let help = "Why the instance is in its state, or lacks something.";
            let mut reasons = writer.family("sonde_instance_state_reason", Kind::Gauge, help, "");
            for reason in &instance.reasons {
                reasons.sample(&base, &[("reason", reason)], Number::Unsigned(1));
            }
        }
        write_outcome(writer, &base, Outcome::Ended);
    });
    let answer = typed(StatusCode::SERVICE_UNAVAILABLE, content_type, body);
    with_reason(answer, &format!("{}; {}", instance.state.name(), instance.reasons.join(",")))
}

/// An outcome that is no exposition, as a status, a reason and a series.
pub(crate) fn outcome(
    status: StatusCode,
    outcome: Outcome,
    instance: Option<&Instance>,
    accept: Option<&str>,
) -> Answer {
    let base = instance.map_or_else(|| Labels::new(&[]), base);
    let (content_type, body) = exposition(accept, |writer| write_outcome(writer, &base, outcome));
    with_reason(typed(status, content_type, body), outcome.name())
}

fn write_outcome(writer: &mut Writer<'_>, base: &Labels, outcome: Outcome) {
    let help = "What became of this scrape; exactly one is 1.";
    let mut family = writer.family("sonde_scrape_outcome", Kind::Gauge, help, "");
    for one in Outcome::ALL {
        family.sample(base, &[("outcome", one.name())], Number::Unsigned(u64::from(one == outcome)));
    }
}

/// Written in the format that the scraper asked for.
pub(crate) fn exposition(accept: Option<&str>, write: impl FnOnce(&mut Writer<'_>)) -> (&'static str, Vec<u8>) {
    let negotiated = sonde_expo::negotiate(accept);
    let mut body = Vec::new();
    let mut writer = Writer::new(negotiated, &mut body);
    write(&mut writer);
    writer.finish();
    (negotiated.content_type, body)
}
