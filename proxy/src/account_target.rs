//! `GET /v1/account/metrics`: one target about all of an account's instances, for dashboards that must not miss what is gone.
//!
//! It is made of the catalogue, of what this proxy counted, and of what agents say of sensors so far as they say it in time; it answers when none does. What
//! is gone stays for 15 minutes, with its state. The figures of use are this proxy's alone: of several proxies a scraper adds them up.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use sonde_expo::{Kind, Labels, Number, Writer};
use sonde_inventory::Instance;

use crate::access::{self, called};
use crate::caller::Caller;
use crate::limits::{Outcome, Use};
use crate::sensor_health::{self, SensorHealth};
use crate::serve::{self, Answer, Door, STATES, exposition, sentence, typed};

/// Of the scraper's time, this part is for asking agents how sensors stand.
const ASKING_PART: u32 = 3;

/// Answers it.
pub(crate) async fn answer(
    door: &Arc<Door>,
    caller: &Caller,
    used: &Use,
    headers: &HeaderMap,
    now: SystemTime,
) -> Answer {
    if !door.catalogue.is_synced() {
        // An empty list would say that all is gone.
        return sentence(StatusCode::SERVICE_UNAVAILABLE, "the inventory is not here yet");
    }
    let instances = access::visible_instances(&door.catalogue, caller, now);
    let part = serve::wait(headers) / ASKING_PART;
    sensor_health::refresh(door, &caller.account.name, &instances, Instant::now() + part).await;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let (content_type, body) = exposition(accept, |writer| {
        write_instances(writer, &instances, used);
        write_sensors(writer, &instances, &door.sensor_health);
        write_use(writer, used);
    });
    if caller.groups.is_none() {
        used.totals.keep(|id| instances.binary_search_by_key(&id, |instance| instance.id).is_ok());
    }
    typed(StatusCode::OK, content_type, body)
}

fn write_instances(writer: &mut Writer<'_>, instances: &[Arc<Instance>], used: &Use) {
    let ids: Vec<String> = instances.iter().map(|instance| instance.id.to_string()).collect();
    let bases: Vec<Labels> = instances
        .iter()
        .zip(&ids)
        .map(|(instance, id)| Labels::new(&[("instance_id", id), ("name", called(instance))]))
        .collect();
    let each = || instances.iter().zip(&bases);

    let help = "What an instance is.";
    let mut info = writer.family("sonde_instance_info", Kind::Info, help, "");
    for (instance, base) in each() {
        let node = instance.node.to_string();
        let groups = instance.groups.join(",");
        let all = [
            ("runtime", instance.runtime.as_str()),
            ("runtime_id", &instance.runtime_id),
            ("image", &instance.image),
            ("node", &node),
            ("groups", &groups),
        ];
        let present: Vec<(&str, &str)> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        info.sample(base, &present, Number::Unsigned(1));
    }
    let help = "Whether the instance is in this state; exactly one is 1, and none where its agent does not know.";
    let mut states = writer.family("sonde_instance_state", Kind::Gauge, help, "");
    for (instance, base) in each() {
        for state in STATES {
            let value = u64::from(state == instance.state);
            states.sample(base, &[("state", state.name())], Number::Unsigned(value));
        }
    }
    let help = "Why the instance is in its state, or lacks something.";
    let mut reasons = writer.family("sonde_instance_state_reason", Kind::Gauge, help, "");
    for (instance, base) in each() {
        for reason in &instance.reasons {
            reasons.sample(base, &[("reason", reason)], Number::Unsigned(1));
        }
    }
    let help = "What became of the last scrape of the instance through this proxy.";
    let mut last = writer.family("sonde_instance_last_outcome", Kind::Gauge, help, "");
    for (instance, base) in each() {
        if let Some(outcome) = used.totals.last_of(instance.id) {
            last.sample(base, &[("outcome", outcome.name())], Number::Unsigned(1));
        }
    }
}

fn write_sensors(writer: &mut Writer<'_>, instances: &[Arc<Instance>], health: &SensorHealth) {
    let (mut rows, mut cut) = (Vec::new(), Vec::new());
    for instance in instances {
        let id = instance.id.to_string();
        let Some(standings) = health.of(instance) else { continue };
        if standings.left_out > 0 {
            cut.push((Labels::new(&[("instance_id", &id), ("name", called(instance))]), standings.left_out));
        }
        for standing in &standings.told {
            let labels = [("instance_id", id.as_str()), ("name", called(instance)), ("sensor", &standing.name)];
            rows.push((Labels::new(&labels), standing.clone()));
        }
    }
    let help = "Whether the last run of the sensor on the instance succeeded.";
    let mut up = writer.family("sonde_instance_sensor_up", Kind::Gauge, help, "");
    for (base, standing) in &rows {
        up.sample(base, &[], Number::Unsigned(u64::from(standing.up)));
    }
    let help = "How the sensor on the instance stands: running, backed-off, quarantined, refused.";
    let mut states = writer.family("sonde_instance_sensor_state", Kind::Gauge, help, "");
    for (base, standing) in &rows {
        states.sample(base, &[("state", &standing.state)], Number::Unsigned(1));
    }
    write_cut(writer, &cut);
}

fn write_cut(writer: &mut Writer<'_>, cut: &[(Labels, usize)]) {
    let help = "Sensors of the instance beyond those that are told of here.";
    let mut left_out = writer.family("sonde_instance_sensors_left_out", Kind::Gauge, help, "");
    for (base, count) in cut {
        left_out.sample(base, &[], Number::Unsigned(*count as u64));
    }
}

fn write_use(writer: &mut Writer<'_>, used: &Use) {
    let none = Labels::new(&[]);
    let (quota, in_flight) = used.quota();
    let totals = &used.totals;
    let counters = [
        ("sonde_account_requests_total", "Requests of the account.", "", totals.requests.get()),
        ("sonde_account_sent_bytes_total", "Bytes of bodies sent to the account.", "bytes", totals.bytes.get()),
        (
            "sonde_account_shared_total",
            "Scrapes answered with what another of the account's scrapers had just got.",
            "",
            totals.shared.get(),
        ),
    ];
    for (name, help, unit, count) in counters {
        writer.family(name, Kind::Counter, help, unit).sample(&none, &[], Number::Unsigned(count));
    }
    let help = "What became of the account's scrapes.";
    let mut outcomes = writer.family("sonde_account_scrapes_total", Kind::Counter, help, "");
    for outcome in Outcome::ALL {
        outcomes.sample(&none, &[("outcome", outcome.name())], Number::Unsigned(totals.count(outcome)));
    }
    let help = "Scrapes of the account in flight.";
    writer.family("sonde_account_scrapes_in_flight", Kind::Gauge, help, "").sample(
        &none,
        &[],
        Number::Unsigned(u64::from(in_flight)),
    );
    let limits = [
        ("requests_per_second", u64::from(quota.requests_per_second)),
        ("request_burst", u64::from(quota.request_burst)),
        ("bytes_per_second", quota.bytes_per_second),
        ("concurrent_scrapes", u64::from(quota.concurrent_scrapes)),
    ];
    let mut family = writer.family("sonde_account_limit", Kind::Gauge, "What the account may use at most.", "");
    for (limit, value) in limits {
        family.sample(&none, &[("limit", limit)], Number::Unsigned(value));
    }
}
