//! `docs/series.md`: every family of ours, written from the rows that the expositions are written from.
//!
//! The page is a file, so that it can be read without building anything, and a test holds it to the code. `cargo xtask docs` (which sets
//! `SONDE_WRITE_DOCS`) writes it anew. Families that sensors bring are not ours: their manifests and READMEs list them.

use std::fmt::Write;
use std::path::Path;

use sonde_collect::described::{Described, Section};
use sonde_collect::{families, node_families, triton};
use sonde_expo::Kind;

use crate::{about, readiness, serve};

/// With this in the environment the page is written and not compared.
const WRITE: &str = "SONDE_WRITE_DOCS";

const INTRODUCTION: &str = "\
# Series

Every family that Sonde itself exposes: kind, unit, labels, where its value comes from, and when it is not there. Generated from the
tables that the expositions are written from; `cargo xtask docs` writes this page anew, and a test fails where it is old.

* **What the kernel does not tell is absent, never 0.** Beside what the column *absent* says, a series is absent where its source is:
  a file that this kernel does not have, or could not be read just now (`sonde_agent_read_problems_total`).
* Sources are files of the instance's cgroup unless they begin with `/`. Where v1 and v2 tell the same under other names, both are given,
  v2's first; on a hybrid node CPU time, pressure and what has no controller there come from the cgroup2 tree. `PID` is a process of
  the instance, `NAME` a word of the kernel's.
* Of an instance every series but cmon-agent's has the labels `id`, `name`, `image`, and `pod`, `namespace`, `container` where known.
* `[reading] names` in the configuration decides whose names there are: `\"cadvisor\"` (the default; of the node node_exporter's),
  `\"triton\"`, or both. What begins with `sonde_` is always there.
* A counter that does not end in `_total` is inherited, and `unknown` in OpenMetrics. A label without a value is left out.
";

fn sections() -> Vec<Section> {
    let mut all = families::sections();
    all.push(Section::new(
        "Of an instance: about its sensors",
        "One of each for each sensor that is placed on it. What sensors bring themselves is in `docs/sensors.md` and their READMEs.",
        serve::about_sensors().collect(),
    ));
    all.extend(node_families::sections());
    let agent = about::families().chain([&readiness::READINESS]).collect();
    all.push(Section::new("Of the agent", "At `/metrics`, and at `listen.admin`.", agent));
    all.push(Section::new("Of the sandbox", "In the same place.", serve::sandbox_families().collect()));
    all.extend(triton::sections());
    all
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Info => "info",
        _ => "unknown",
    }
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in sections() {
        write!(page, "\n## {}\n\n", section.title).unwrap();
        if !section.text.is_empty() {
            write!(page, "{}\n\n", section.text).unwrap();
        }
        let differs = section.families.iter().any(|about| !about.differs.is_empty());
        let (title, rule) = if differs { (" not as cmon-agent's |", "---|") } else { ("", "") };
        writeln!(page, "| name | kind | unit | labels | meaning | source | absent |{title}").unwrap();
        writeln!(page, "|---|---|---|---|---|---|---|{rule}").unwrap();
        for about in section.families {
            let labels: Vec<String> = about.labels.iter().map(|label| format!("`{label}`")).collect();
            let source = if about.source.is_empty() { "none" } else { about.source };
            let (kind, labels) = (kind(about.kind), labels.join(", "));
            let Described { name, unit, help, absent, .. } = about;
            write!(page, "| `{name}` | {kind} | {unit} | {labels} | {help} | {source} | {absent} |").unwrap();
            writeln!(page, "{}", if differs { format!(" {} |", about.differs) } else { String::new() }).unwrap();
        }
    }
    page
}

#[test]
fn series_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/series.md");
    let page = page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &page).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let first = page.lines().zip(kept.lines()).find(|(ours, kept)| ours != kept);
    assert!(kept == page, "docs/series.md is not what the code says; `cargo xtask docs` writes it: {first:?}");
}

#[test]
fn each_family_is_described_once_and_whole() {
    let mut names: Vec<&str> = Vec::new();
    for section in sections() {
        for about in &section.families {
            let name = about.name;
            assert!(!about.help.is_empty() && about.help.ends_with(|c: char| c != ' '), "{name}");
            assert!(!about.source.is_empty() || !about.absent.is_empty(), "{name} has neither a source nor a reason");
            let cells = [name, about.unit, about.help, about.source, about.absent, about.differs];
            assert!(cells.iter().all(|cell| !cell.contains(['|', '\n'])), "{name} would break its table");
            let is_inherited = !name.starts_with("sonde_");
            assert!(about.kind != Kind::Counter || is_inherited || name.ends_with("_total"), "{name}");
            assert!(about.differs.is_empty() || section.title.starts_with("cmon-agent"), "{name}");
            names.push(name);
        }
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    // cmon-agent has `time_of_day` and the three about it of both.
    assert_eq!(all - names.len(), 4, "a family stands in two places");
    assert!(all > 300, "{all}");
}
