//! Rows 32 to 36: logs and what is exposed.

use super::files::*;
use super::{fails, not_described};
use crate::guest::{Defence, Expected, Fact, Guest};

const OUTPUT: Expected = fails(&["output"]);
const OK: Expected = Expected::Succeeds;
/// Series of the default limits.
const SERIES: u64 = 500;
/// Log bytes of the default limits.
const LOG_BYTES: u64 = 8 << 10;

pub(super) fn guests() -> Vec<Guest> {
    let mut guests = logs();
    guests.extend(cardinality());
    guests.extend(forging());
    guests.extend(values());
    guests
}

fn logs() -> Vec<Guest> {
    const CALLS: Expected = fails(&["host_calls"]);
    vec![
        Guest::file(G32A_LOG_FLOOD, "log bytes and calls are counted", CALLS)
            .facts(&[Fact::LogsCut, Fact::LogBytesAtMost(LOG_BYTES)])
            .without(&[Defence::LogBytes], CALLS)
            .without(&[Defence::LogBytes, Defence::LogLines], CALLS),
        Guest::file(G32B_LOG_INJECTION, "control characters are escaped", OK).facts(&[Fact::Plain]),
        Guest::file(G32C_LOG_REORDERING, "so is what reorders a line", OK).facts(&[Fact::Plain, Fact::NotReordered]),
        Guest::file(G32D_FAILURE_WITH_INJECTION, "a failure's message is a guest's words too", fails(&["other"]))
            .facts(&[Fact::Plain, Fact::NotReordered]),
    ]
}

fn cardinality() -> Vec<Guest> {
    vec![
        Guest::file(G33A_MORE_SERIES_THAN_ALLOWED, "the rest is left out and counted", OK)
            .facts(&[Fact::Series(SERIES), Fact::Dropped(100)]),
        Guest::file(G33B_NEW_LABELS_EVERY_RUN, "a run's series replace those of the run before", OK).runs(3).facts(&[
            Fact::Series(SERIES),
            Fact::Dropped(0),
            Fact::Found { least: 3, most: 3 },
        ]),
        Guest::file(G36A_RESULT_BOMB, "what is lifted is counted", fails(&["boundary"]))
            .without(&[Defence::Boundary], OK),
        Guest::file(G36B_FAMILY_BOMB, "families are counted", OUTPUT).without(&[Defence::Families], OK),
    ]
}

fn forging() -> Vec<Guest> {
    let one = [Fact::Series(1), Fact::Lines(1)];
    vec![
        Guest::file(G34A_RESERVED_NAMES, "a family that is not its own is left out", OK).facts(&[
            Fact::Series(1),
            Fact::Dropped(6),
            Fact::Lines(1),
        ]),
        Guest::file(G34B_RESERVED_LABELS, "a family with a label that is not its own is left out", OK).facts(&[
            Fact::Series(1),
            Fact::Dropped(7),
            Fact::Lines(1),
        ]),
        Guest::file(G34C_NAMES_MADE_BY_SUFFIXES, "every name that a family makes is held against the others", OK)
            .facts(&[Fact::Series(1), Fact::Dropped(2)]),
        Guest::file(G34D_INJECTION_BY_VALUE, "values are escaped", OK).facts(&one),
        Guest::file(G34E_INJECTION_BY_HELP, "help is escaped", OK).facts(&one),
        Guest::file(G34F_INJECTION_BY_NAME, "names have a grammar", OUTPUT).facts(&[Fact::Plain]),
        Guest::file(G34G_INJECTION_BY_LABEL_NAME, "names have a grammar", OUTPUT).facts(&[Fact::Plain]),
        Guest::file(G34H_INJECTION_BY_UNIT, "a unit that ends no name is not written", OK).facts(&one),
        Guest::file(G34I_RESERVED_NAME_DESCRIBED, "who describes it is refused", not_described("reserved")),
        Guest::file(G34J_SAME_LABEL_TWICE, "a label is there once", OUTPUT),
        // A choice of the exposition's: every Go program has such a pair, and Prometheus takes both.
        Guest::file(G34K_METADATA_OF_ANOTHER, "samples are told apart by name, metadata is not", OK)
            .facts(&[Fact::Series(2), Fact::Lines(2)]),
    ]
}

fn values() -> Vec<Guest> {
    vec![
        Guest::file(G35A_COUNTERS_THAT_ARE_NONE, "a family that is a lie is left out", OK).facts(&[
            Fact::Series(1),
            Fact::Dropped(3),
            Fact::Lines(1),
        ]),
        Guest::file(G35B_SAME_SERIES_TWICE, "a series is there once", OK).facts(&[
            Fact::Series(2),
            Fact::Dropped(3),
            Fact::Lines(2),
        ]),
        Guest::file(G35C_BUCKETS_OUT_OF_ORDER, "a histogram that is none is left out", OK)
            .facts(&[Fact::Series(4), Fact::Lines(4)]),
        Guest::file(G35D_KIND_THAT_FLAPS, "each run stands for itself", OK).runs(4).facts(&[
            Fact::Series(1),
            Fact::Lines(1),
            Fact::Found { least: 4, most: 4 },
        ]),
        Guest::file(G35E_ONE_NAME_TWO_KINDS, "the second is left out", OK).facts(&[Fact::Series(2), Fact::Lines(2)]),
        Guest::file(G35F_SAMPLE_OF_NO_FAMILY, "what is malformed fails", OUTPUT),
        Guest::file(G35G_TOO_FEW_LABEL_VALUES, "what is malformed fails", OUTPUT),
        Guest::file(G35H_PAYLOADS, "a NaN is written as NaN, a start that no date has is left out", OK)
            .facts(&[Fact::Series(3)]),
        Guest::file(G35I_SPANS_WITHOUT_END, "spans are added up without wrapping", OK)
            .facts(&[Fact::Series(0), Fact::Lines(0)]),
    ]
}
