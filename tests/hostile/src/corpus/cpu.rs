//! Rows 1 to 9: time on the CPU and on the wall.

use wit_component::StringEncoding;

use super::files::*;
use super::{CPU, DEADLINE, FUEL, TRAP, fails, not_compiled, not_described, refused};
use crate::guest::{Defence, Defences, Expected, Fact, Guest, Peer};

const PROPOSAL: &str = "the proposal is off: it is named, and the module does not validate";
const PRECHECK: Defences = &[Defence::Precheck];

pub(super) fn guests() -> Vec<Guest> {
    let mut guests = vec![
        Guest::file(
            G01_INFINITE_LOOP,
            "fuel ends it; without fuel, the epoch makes it yield and its CPU or the deadline ends it",
            FUEL,
        )
        .without(&[Defence::Fuel], CPU)
        .without(&[Defence::Fuel, Defence::Cpu], DEADLINE)
        .without(&[Defence::Wall], FUEL),
        Guest::file(G02A_LOOP_IN_START, "limits are set before the instance is made", not_described("fuel"))
            .without(&[Defence::Fuel], not_described("cpu"))
            .without(&[Defence::Fuel, Defence::Cpu], not_described("200ms")),
        Guest::file(G02B_LOOP_IN_REALLOC, "limits hold while the node lowers", FUEL)
            .config("k", "\"v\"")
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
        Guest::file(G02C_LOOP_IN_POST_RETURN, "limits hold until the result is freed", FUEL)
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
        Guest::file(G02D_LOOP_IN_DESCRIBE, "describing has the limits of a run", not_described("fuel"))
            .without(&[Defence::Fuel], not_described("cpu"))
            .without(&[Defence::Fuel, Defence::Cpu], not_described("200ms")),
    ];
    guests.extend(proposals());
    guests.extend(expensive_instructions());
    guests.extend(host_calls());
    guests.extend(strings());
    guests.extend(waiting());
    guests
}

fn proposals() -> Vec<Guest> {
    vec![
        Guest::file(G03A_RETURN_CALL, PROPOSAL, refused("tail_call")).without(PRECHECK, not_compiled("tail calls")),
        Guest::file(G03B_CALL_REF, PROPOSAL, refused("function_references"))
            .without(PRECHECK, not_compiled("function references")),
        Guest::file(G03C_EXCEPTIONS, PROPOSAL, refused("exceptions")).without(PRECHECK, not_compiled("exceptions")),
        Guest::file(G03D_GC, PROPOSAL, refused("gc")).without(PRECHECK, not_compiled("gc")),
        Guest::attached(G03E_MEMORY64, PROPOSAL, refused("memory64")).without(PRECHECK, not_compiled("memory64")),
        Guest::file(G03F_SHARED_MEMORY, PROPOSAL, refused("threads")).without(PRECHECK, not_compiled("threads")),
        Guest::file(G03G_RELAXED_SIMD, PROPOSAL, refused("relaxed_simd")).without(PRECHECK, not_compiled("relaxed")),
        Guest::file(G03H_WIDE_ARITHMETIC, PROPOSAL, refused("wide_arithmetic"))
            .without(PRECHECK, not_compiled("wide arithmetic")),
        Guest::file(G03I_CUSTOM_PAGE_SIZE, PROPOSAL, refused("custom_page_sizes"))
            .without(PRECHECK, not_compiled("custom page sizes")),
        Guest::file(G03J_LOOP_THROUGH_A_TABLE, "indirect calls have a price", FUEL)
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
    ]
}

fn expensive_instructions() -> Vec<Guest> {
    vec![
        Guest::file(G04_BURN_THEN_TRAP, "a trap is billed the whole budget and the measured time", TRAP)
            .facts(&[Fact::BilledWhole]),
        Guest::file(G05A_FILL_FOR_EVER, "a fill costs a unit of fuel a byte", FUEL)
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
        Guest::file(G05B_COPY_FOR_EVER, "a copy costs a unit of fuel a byte", FUEL)
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
        Guest::file(G05C_INIT_FOR_EVER, "so does a copy from a segment", FUEL)
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
        Guest::file(G05D_TABLE_FILL_FOR_EVER, "elements have a price too", FUEL)
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
        Guest::file(G05E_TABLE_COPY_FOR_EVER, "elements have a price too", FUEL)
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
        Guest::file(G05F_FILL_THE_LARGEST, "a fill is cut into pieces, between which it is preempted", FUEL)
            .class("large")
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
        Guest::file(G05G_COPY_THE_LARGEST, "so is a copy, from whichever end spares the source", FUEL)
            .class("large")
            .without(&[Defence::Fuel], CPU)
            .without(&[Defence::Fuel, Defence::Cpu], DEADLINE),
    ]
}

fn host_calls() -> Vec<Guest> {
    const CALLS: Expected = fails(&["host_calls"]);
    vec![
        Guest::file(G06A_HOST_CALL_FLOOD, "calls are counted", CALLS).behind_host_calls(),
        Guest::file(G06B_DEAR_HOST_CALLS, "a dear call has its price in fuel, and counts as many", FUEL)
            .asks("processes = true")
            .without(&[Defence::Fuel], CALLS),
        Guest::file(G06C_EMPTY_LOG_LINES, "an empty line is a call, and costs a byte", CALLS).behind_host_calls(),
        Guest::file(G06D_KSTATS_FLOOD, "a dear call has its price in fuel, and counts as many", FUEL)
            .asks("kstats = true")
            .without(&[Defence::Fuel], CALLS),
    ]
}

/// What the node transcodes has no price, and between two components nothing at all is counted but the CPU's time: no toolchain for sensors
/// has strings of another kind. The compiler would take them.
fn strings() -> Vec<Guest> {
    const WHY: &str = "strings are UTF-8";
    let other = |file, says, strings| {
        Guest::file(file, WHY, refused(says)).strings(strings).without(PRECHECK, Expected::Succeeds)
    };
    let (utf16, latin1) = (StringEncoding::UTF16, StringEncoding::CompactUTF16);
    vec![
        other(G07A_OTHER_STRING_ENCODING, "UTF-16", utf16).variant("utf16"),
        other(G07A_OTHER_STRING_ENCODING, "Latin-1", latin1).variant("latin1"),
        other(G07B_LONE_SURROGATES, "UTF-16", utf16),
        other(G07D_TAGGED_LENGTH, "Latin-1", latin1),
        other(G07C_TRANSCODING_BETWEEN_COMPONENTS, "", StringEncoding::UTF8).class("medium"),
    ]
}

fn waiting() -> Vec<Guest> {
    vec![
        Guest::file(G08A_WAIT_ON_A_SILENT_PEER, "the run's deadline is each wait's", DEADLINE)
            .asks("tcp = [1]")
            .limits("wall = \"200ms\"")
            .peer(Peer::Silent),
        Guest::file(
            G08B_ZERO_TIMEOUTS,
            "a wait of nothing is a host call and takes its time",
            fails(&["host_calls", "deadline"]),
        )
        .asks("tcp = [1]")
        .peer(Peer::Silent)
        .without(&[Defence::HostCalls], fails(&["fuel", "cpu", "deadline"])),
        Guest::file(G08C_CONNECT_THAT_NEVER_ENDS, "the run's deadline is each wait's", fails(&["deadline", "trap"]))
            .asks("tcp = [1]")
            .limits("wall = \"200ms\"")
            .peer(Peer::Tarpit),
        Guest::file(G09_TRAP_AT_ONCE, "a trap costs the node little", TRAP),
    ]
}
