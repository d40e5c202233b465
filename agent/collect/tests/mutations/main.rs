//! Kernel files that are not what they should be, by the thousand: cut, shrunk, empty, garbage, numbers that do not fit, vanished
//! between one read and the next. Nothing panics, and no number is told that the file does not say.
//!
//! Seeded, so that what fails once fails again. `SONDE_MUTATIONS=100000` makes so many of each file instead of a few thousand.

mod mutate;
mod parsers;
mod readers;
#[path = "../tree/mod.rs"]
mod tree;

use mutate::{Random, mutated};
use parsers::{PARSERS, hold};

/// Of each parser's file in a run that is not told how many: together a second or two.
const OF_EACH: usize = 3_000;

fn of_each(usual: usize) -> usize {
    let asked = std::env::var("SONDE_MUTATIONS").ok();
    asked.map_or(usual, |text| text.parse().expect("SONDE_MUTATIONS is a number"))
}

#[test]
fn no_parser_tells_what_a_file_does_not_say() {
    let samples: Vec<&str> = PARSERS.iter().map(|parser| parser.sample).collect();
    for (seed, parser) in (1..).zip(PARSERS) {
        let mut random = Random::seeded(seed);
        for _ in 0..of_each(OF_EACH) {
            hold(parser, &mutated(&mut random, parser.sample.as_bytes(), &samples));
        }
    }
}

/// Wherever a file is cut, and of every other parser's file.
#[test]
fn no_parser_minds_a_cut_or_anothers_file() {
    for parser in PARSERS {
        let sample = parser.sample.as_bytes();
        (0..=sample.len()).for_each(|cut| hold(parser, &sample[..cut]));
        PARSERS.iter().for_each(|other| hold(parser, other.sample.as_bytes()));
        assert_eq!((parser.numbers)(b""), [], "{} has numbers out of nothing", parser.name);
    }
}

/// The check itself is worth something: each parser finds numbers in its own file, but for those that tell none, and one that made
/// them up would be caught.
#[test]
fn the_samples_are_understood() {
    let none = PARSERS.iter().filter(|parser| (parser.numbers)(parser.sample.as_bytes()).is_empty());
    let none: Vec<&str> = none.map(|parser| parser.name).collect();
    let expected = [
        "cgroup_v1::freezer",
        "cgroup_v2::freezer",
        "netdev::parse_up",
        "process::cgroup_entries",
        "limits::cpus_allowed",
        "mounts",
        "node::parse_loadavg",
        "node::zfs::parse_state",
    ];
    assert_eq!(none, expected);
    let liar = parsers::Parser { name: "liar", sample: "", units: &[1], numbers: |_| vec![0] };
    assert!(std::panic::catch_unwind(|| hold(&liar, b"1\n0")).is_err());
}
