//! Rows 13 to 22: memories, tables, stacks, handles, and what crosses the boundary.

use super::files::*;
use super::{FUEL, TRAP, fails, not_described, refused};
use crate::generated;
use crate::guest::{Defence, Expected, Fact, Guest, Peer};

/// It compiles, and the runner takes no code in that its pool has no place for.
const NO_PLACE: Expected = Expected::Refused { stage: "load", says: "" };
const MEMORY: Expected = fails(&["memory"]);
const BOUNDARY: Expected = fails(&["boundary"]);
/// Pages of the small class.
const CLASS_PAGES: i64 = 256;
/// What a table of the pool holds.
const POOL_ELEMENTS: i64 = 20_000;

pub(super) fn guests() -> Vec<Guest> {
    let mut guests = memories();
    guests.extend(tables());
    guests.extend(stacks());
    guests.extend(handles());
    guests.extend(boundary_in());
    guests.extend(boundary_out());
    guests.push(
        Guest::file(G22A_SCRIBBLE, "may do to its own what it likes", Expected::Succeeds).limits("fuel = 200_000_000"),
    );
    guests.push(
        Guest::file(G22B_SCAN, "nothing of a run is left for another", Expected::Succeeds)
            .limits("fuel = 200_000_000")
            .after(G22A_SCRIBBLE.name)
            .facts(&[Fact::Found { least: 1, most: 1 }]),
    );
    guests
}

fn memories() -> Vec<Guest> {
    // The tables that hold its imports are its own too: they may cost it a page.
    let all = [Fact::Found { least: CLASS_PAGES - 1, most: CLASS_PAGES }];
    vec![
        Guest::file(G13A_GROW_UNTIL_REFUSED, "it has its class's pages and no more", Expected::Succeeds)
            .facts(&all)
            // What is behind the limiter is the pool: the same number of pages.
            .without(&[Defence::Limiter], Expected::Succeeds),
        Guest::file(G13B_GROW_FOR_EVER, "who keeps asking is ended", MEMORY).without(&[Defence::Limiter], FUEL),
        Guest::file(G13C_GROW_AT_ONCE, "the whole is refused, and nothing is had", Expected::Succeeds)
            .facts(&[Fact::Found { least: -1, most: -1 }])
            .without(&[Defence::Limiter], Expected::Succeeds),
        Guest::file(G13D_LARGE_FROM_THE_START, "it begins with more than it may have", refused("bytes of memory"))
            .without(&[Defence::Precheck], NO_PLACE),
        Guest::file(
            G13E_ALL_THERE_IS_FROM_THE_START,
            "it begins with more than it may have",
            refused("bytes of memory"),
        )
        .without(&[Defence::Precheck], NO_PLACE),
        Guest::file(G13F_ABORT_WHEN_REFUSED, "the abort is reported as what it is", MEMORY)
            .without(&[Defence::Limiter], TRAP),
        Guest::attached(G14A_TWO_MEMORIES, "memories are summed", refused("bytes of memory"))
            .without(&[Defence::Precheck], Expected::Either),
        Guest::attached(G14B_MANY_MEMORIES, "a component has few", refused("core instances"))
            .without(&[Defence::Precheck], NO_PLACE),
        Guest::attached(G14C_MANY_INSTANCES, "a component has few", refused("core instances"))
            .without(&[Defence::Precheck], NO_PLACE),
        Guest::attached(
            G14D_NESTED_COMPONENTS,
            "depth alone does no harm, and has no use",
            refused("components within it"),
        )
        .without(&[Defence::Precheck], Expected::Succeeds),
        Guest::file(G14E_TWO_MEMORIES_IN_A_MODULE, "a module has one", refused("memory in one module"))
            .without(&[Defence::Precheck], NO_PLACE),
        Guest::file(G14F_MANY_TABLES, "a module has two", refused("tables in one module"))
            .without(&[Defence::Precheck], NO_PLACE),
        Guest::attached(
            G14G_EXPONENTIAL_COMPONENTS,
            "instances are counted as they would be made",
            refused("core instances"),
        )
        .without(&[Defence::Precheck], NO_PLACE),
    ]
}

fn tables() -> Vec<Guest> {
    vec![
        Guest::file(G15A_TABLE_GROW, "the pool's tables are small", Expected::Succeeds)
            .facts(&[Fact::Found { least: POOL_ELEMENTS - 200, most: POOL_ELEMENTS }]),
        Guest::file(G15B_TABLE_FROM_THE_START, "the pool has no such place", refused("a table of"))
            .without(&[Defence::Precheck], NO_PLACE),
        Guest::file(G15C_TABLE_GROW_FOR_EVER, "asking has a price by the element", fails(&["fuel", "memory"]))
            .without(&[Defence::Limiter], FUEL),
    ]
}

fn stacks() -> Vec<Guest> {
    const STACK: Expected = fails(&["stack"]);
    vec![
        Guest::file(G16A_RECURSE, "the guest's stack has its own end", STACK).without(&[Defence::Fuel], STACK),
        Guest::file(G16B_HOST_CALL_AT_EVERY_DEPTH, "the node's calls have a stack of their own below it", STACK)
            .asks("tcp = [1]")
            .limits("sockets = 32\nhost_calls = 100_000\nfuel = 2_000_000_000\ncpu_ms = 10_000")
            .config("k", "\"v\"")
            .peer(Peer::Silent),
        Guest::file(G16C_FETCH_AT_DEPTH, "the longest call has room at the edge", Expected::Succeeds)
            .asks("http = [1]")
            .peer(Peer::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))
            .facts(&[Fact::Found { least: 0, most: 0 }]),
        Guest::generated(
            "16d-frame-larger-than-the-stack",
            generated::frame_larger_than_the_stack,
            "a frame is checked before it is entered",
            STACK,
        )
        .class("medium"),
    ]
}

fn handles() -> Vec<Guest> {
    vec![
        Guest::attached(G17A_OWN_RESOURCES, "handles are counted", not_described("")),
        Guest::file(G17B_CONNECTIONS, "sockets are counted", Expected::Succeeds)
            .asks("tcp = [1]")
            .limits("sockets = 32\nfuel = 200_000_000")
            .peer(Peer::Silent)
            .facts(&[Fact::Found { least: 32, most: 32 }, Fact::Sockets(32)])
            // Behind it are the places of the run's own table, and behind those what calls cost.
            .without(&[Defence::Sockets], fails(&["handles"]))
            .without(&[Defence::Sockets, Defence::Handles], fails(&["host_calls", "fuel"])),
        Guest::file(G17C_FORGED_HANDLE, "a handle that was never given is none", TRAP).asks("tcp = [1]"),
        Guest::file(G17D_HANDLE_DROPPED_TWICE, "a handle is dropped once", TRAP).asks("tcp = [1]").peer(Peer::Silent),
        Guest::file(G17E_HANDLE_AFTER_DROP, "a handle that was dropped is none", TRAP)
            .asks("tcp = [1]")
            .peer(Peer::Silent),
    ]
}

/// From the guest.
fn boundary_in() -> Vec<Guest> {
    vec![
        Guest::file(G18A_A_MILLION_EMPTY_STRINGS, "what is lifted is counted as the node has it", BOUNDARY)
            .without(&[Defence::Boundary], fails(&["result"]))
            .without(&[Defence::Boundary, Defence::ResultBytes], fails(&["output"])),
        Guest::file(G18B_STRING_PAST_THE_END, "a pointer is held against the memory", fails(&["trap", "boundary"]))
            .without(&[Defence::Boundary], TRAP),
        Guest::file(G18C_RESULT_PAST_THE_END, "a pointer is held against the memory", TRAP),
        Guest::file(G18D_RESULT_NOT_ALIGNED, "a pointer is held against its type", TRAP),
        Guest::file(G18E_LIST_LENGTH_THAT_OVERFLOWS, "lengths do not wrap", fails(&["trap", "boundary"]))
            .without(&[Defence::Boundary], TRAP),
        Guest::file(G18F_LARGE_LOG_LINE, "what is lifted is counted", BOUNDARY)
            .without(&[Defence::Boundary], Expected::Succeeds),
        Guest::file(G18I_INVALID_UTF8, "what is not Unicode traps", TRAP),
        Guest::file(G18J_ENUM_PAST_ITS_CASES, "a case that is not there traps", TRAP),
        Guest::file(G18K_RESULT_PAST_ITS_CASES, "a case that is not there traps", TRAP),
        Guest::file(G18L_ALIASED_STRINGS, "each use of the same bytes is counted", BOUNDARY),
        Guest::file(G18M_LARGE_STATE, "what is lifted is counted", BOUNDARY)
            .without(&[Defence::Boundary], Expected::Succeeds),
    ]
}

/// To the guest.
fn boundary_out() -> Vec<Guest> {
    vec![
        Guest::file(G18G_REALLOC_PAST_THE_END, "the guest's answer is held against its memory", TRAP)
            .config("k", "\"v\""),
        Guest::file(G18H_REALLOC_NOT_ALIGNED, "the guest's answer is held against the type", TRAP)
            .asks("kstats = true"),
        Guest::file(G18N_LARGE_READ, "the node gives 64 KiB at once", Expected::Succeeds)
            .asks("tcp = [1]")
            .peer(Peer::Endless(b"", b"xxxxxxxxxxxxxxxx"))
            .facts(&[Fact::Found { least: 1, most: 64 << 10 }]),
        Guest::file(G18O_REALLOC_OVER_THE_RETURN_AREA, "it harms itself alone", Expected::Succeeds)
            .config("k", "\"0123456789abcdef\""),
        Guest::file(G18P_CALLS_BACK_FROM_REALLOC, "who is asked for memory may not leave", TRAP).config("k", "\"v\""),
    ]
}
