//! cmon-agent's names for what an instance's and the node's readings have: `names = ["triton"]`.
//!
//! Names, labels and units are those of its tables, so that queries written for it go on; each of its metrics has a row here,
//! also those for which Linux has no source, whose row says why and whose series is absent, never 0. What was wrong in it is
//! right here, and each difference is in the row too (`docs/series.md` lists them). As there, an instance's
//! series have no labels that name the instance: an exposition is of one, and the scraper's own labels say which.
//!
//! About each collector of its it told whether it had anything, whether from its cache, and how long that took. Our
//! collectors are the parts of one reading: *cached* is a reading that began before it was asked for, and then it took no time.

mod arcstats;
mod caps;
mod instance;
mod node;
mod ntp;

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use sonde_expo::{Labels, Number, Writer};

pub(crate) use crate::described::Row;
use crate::described::{Described, Out, Section, families_of, gauge};
use crate::names::Names;
use crate::node::NodeReading;
use crate::reading::Reading;
pub use node::AgentCounts;

/// The series about one collector.
struct Meta {
    available: Described,
    cached: Described,
    timer: Described,
}

macro_rules! meta {
    ($prefix:literal) => {
        $crate::triton::Meta {
            available: $crate::described::gauge(
                concat!($prefix, "_metrics_available_boolean"),
                "",
                concat!("Whether there is any metric of ", $prefix, "."),
            )
            .of("the reading"),
            cached: $crate::described::gauge(
                concat!($prefix, "_metrics_cached_boolean"),
                "",
                concat!("Whether those of ", $prefix, " are of a reading before this scrape."),
            )
            .of("the agent's clock")
            .but("of the whole reading: there is one cache, the last reading, and its age is `sonde_reading_age_seconds`"),
            timer: $crate::described::gauge(
                concat!($prefix, "_metrics_timer_seconds"),
                "seconds",
                concat!("Time that this scrape spent on those of ", $prefix, "."),
            )
            .of("the agent's clock"),
        }
    };
}
pub(crate) use meta;

/// A family that has no source on Linux.
const fn nowhere<T>(about: Described, why: &'static str) -> Row<T> {
    Row { about: about.unless(why), value: |_| None }
}

/// All that is wanted here.
const NAMES: Names = Names { cadvisor: true, triton: true };

/// Nanoseconds in a second.
const NS: f64 = 1e9;

impl Meta {
    fn all(&'static self) -> [&'static Described; 3] {
        [&self.available, &self.cached, &self.timer]
    }

    #[allow(clippy::cast_precision_loss, reason = "a reading takes no 104 days")]
    fn write(&'static self, out: &mut Out<'_, '_>, available: bool, cached: bool, took_ns: u64) {
        let truth = |holds: bool| Some(Number::Unsigned(u64::from(holds)));
        out.one(&self.available, truth(available));
        out.one(&self.cached, truth(cached));
        let seconds = if cached { 0.0 } else { took_ns as f64 / NS };
        out.one(&self.timer, Some(Number::Float(seconds)));
    }
}

static TIME: Meta = meta!("time");

static TIME_OF_DAY: Described = gauge("time_of_day", "", "The node's clock at the reading, in seconds since 1970.")
    .of("the clock")
    .but("seconds, as cmon-agent's own help said; it gave milliseconds. A gauge");

fn write_time(out: &mut Out<'_, '_>, at: SystemTime, cached: bool) {
    TIME.write(out, true, cached, 0);
    let since = at.duration_since(UNIX_EPOCH).ok();
    out.one(&TIME_OF_DAY, since.map(|since| Number::Float(since.as_secs_f64())));
}

/// Writes an instance's. `cached` is whether the reading began before it was asked for.
pub fn write_instance(writer: &mut Writer<'_>, reading: &Reading, cached: bool) {
    let none = Labels::new(&[]);
    let out = &mut Out::new(writer, &none, NAMES);
    write_time(out, reading.taken_at_unix, cached);
    instance::write(out, reading, cached);
}

/// Writes the node's, and what the agent counts of itself.
pub fn write_node(writer: &mut Writer<'_>, reading: &NodeReading, cached: bool, agent: &AgentCounts) {
    let none = Labels::new(&[]);
    let out = &mut Out::new(writer, &none, NAMES);
    write_time(out, reading.taken_at_unix, cached);
    node::write(out, reading, cached);
    node::write_agent(out, agent);
}

/// Whether an instance's exposition has, or may come to have, a family of this name while these names are wanted.
pub fn is_instance_family(name: &str) -> bool {
    static ALL: LazyLock<HashSet<&str>> = LazyLock::new(|| of_instance().into_iter().map(|about| about.name).collect());
    ALL.contains(name)
}

fn of_instance() -> Vec<&'static Described> {
    TIME.all().into_iter().chain([&TIME_OF_DAY]).chain(instance::families()).collect()
}

const INSTANCE_TEXT: &str = "\
cmon-agent's metrics of a zone, with `names = [\"triton\"]`. Those whose source is *none* are never there. What was \
    wrong with all of its metrics, and is not here:

* A collector of ours that has nothing costs the others nothing: cmon-agent answered 404 for the whole zone, and after \
    five failures in a row, of whichever zones, left the collector out for all until it was restarted.
* Values are of one reading at the scrape, at most `reading.floor` old, and whole: its were up to 300 s old by \
    collector, failures were remembered as long, and of 64 bits it gave 53.
* HELP and label values are escaped; a name has one HELP and one TYPE.
* Of the kernel alone: it ran `zfs`, `zpool` and `ntpq`, and aborted at a line it did not know. What only these \
    programs tell is absent.
* `plugin_*` and what a core zone's own exporters told (`triton_core_*`) are sensors' matter.";

const NODE_TEXT: &str = "cmon-agent's metrics of a compute node, likewise.";

/// The families, as `docs/series.md` lists them.
pub fn sections() -> Vec<Section> {
    let of_node = TIME.all().into_iter().chain([&TIME_OF_DAY]).chain(node::families()).collect();
    vec![
        Section::new("cmon-agent's names: of an instance", INSTANCE_TEXT, of_instance()),
        Section::new("cmon-agent's names: of the node", NODE_TEXT, of_node),
        Section::new(
            "cmon-agent's names: the discipline of the node's clock",
            "Of `ntp` what the kernel knows by itself.",
            ntp::META.all().into_iter().chain(families_of(ntp::CLOCK)).chain(ntp::NOWHERE).collect(),
        ),
        Section::new(
            "cmon-agent's names: ZFS's cache",
            "",
            node::ARC.all().into_iter().chain(families_of(arcstats::ARCSTATS)).collect(),
        ),
    ]
}
