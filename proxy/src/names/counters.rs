//! What the zone's server has done since its start, for the admin listener's `/metrics`.
//!
//! By kind alone, and never by name or source: both are whatever a stranger writes in a packet.

use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::op::ResponseCode;
use sonde_expo::{Kind, Labels, Number, Writer};

/// See the module.
#[derive(Debug, Default)]
pub struct Counters {
    pub udp_questions: AtomicU64,
    pub tcp_questions: AtomicU64,
    pub no_error: AtomicU64,
    pub no_such_name: AtomicU64,
    pub refused: AtomicU64,
    pub failed: AtomicU64,
    pub malformed: AtomicU64,
    pub transfers: AtomicU64,
    /// Replies that were left out, or cut, because their prefix had had enough.
    pub rate_dropped: AtomicU64,
    pub rate_cut: AtomicU64,
    /// Connections that were closed at once because there were too many.
    pub tcp_refused: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn replied(&self, code: ResponseCode) {
        Self::add(match code {
            ResponseCode::NoError => &self.no_error,
            ResponseCode::NXDomain => &self.no_such_name,
            ResponseCode::Refused | ResponseCode::NotAuth => &self.refused,
            ResponseCode::ServFail => &self.failed,
            _ => &self.malformed,
        });
    }

    /// Writes the families of names.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        let questions = [("udp", &self.udp_questions), ("tcp", &self.tcp_questions)];
        family(writer, "sonde_proxy_names_questions_total", "Questions asked in DNS.", "transport", &questions);
        let replies = [
            ("no_error", &self.no_error),
            ("no_such_name", &self.no_such_name),
            ("refused", &self.refused),
            ("failed", &self.failed),
            ("malformed", &self.malformed),
        ];
        family(writer, "sonde_proxy_names_replies_total", "Replies in DNS, by what they said.", "code", &replies);
        let limited = [("dropped", &self.rate_dropped), ("cut", &self.rate_cut)];
        let help = "Replies in DNS that were left out or cut, because their prefix had had enough.";
        family(writer, "sonde_proxy_names_limited_total", help, "how", &limited);
        let help = "Transfers of the zone that were asked for, whether or not they were refused.";
        plain(writer, "sonde_proxy_names_transfers_total", help, &self.transfers);
        let help = "Connections of DNS closed at once, because there were too many.";
        plain(writer, "sonde_proxy_names_connections_refused_total", help, &self.tcp_refused);
    }
}

fn count(counter: &AtomicU64) -> Number {
    Number::Unsigned(counter.load(Ordering::Relaxed))
}

fn family(writer: &mut Writer<'_>, name: &str, help: &str, label: &str, rows: &[(&str, &AtomicU64)]) {
    let none = Labels::new(&[]);
    let mut family = writer.family(name, Kind::Counter, help, "");
    for (value, counter) in rows {
        family.sample(&none, &[(label, value)], count(counter));
    }
}

fn plain(writer: &mut Writer<'_>, name: &str, help: &str, counter: &AtomicU64) {
    writer.family(name, Kind::Counter, help, "").sample(&Labels::new(&[]), &[], count(counter));
}
