//! The judgement, level by level and change by change.

use std::time::Duration;

use super::*;
use crate::reading::{
    Cpu, CpuLately, Descriptors, FileSystem, Freezer, Interface, LeaderState, Reading, Space, Stall, Throttling,
};

fn reading() -> Reading {
    let mut reading = Reading::empty();
    reading.live_processes = Some(1);
    reading.leader = Some(LeaderState { pid: 1, state: b'S' });
    reading
}

/// Judges what `change` makes of a reading ten seconds after one that `start` has set up.
fn after(start: impl Fn(&mut Reading), change: impl Fn(&mut Reading)) -> Judgement {
    let mut before = reading();
    start(&mut before);
    let mut now = before.clone();
    now.taken_at = before.taken_at + Duration::from_secs(10);
    change(&mut now);
    judge(Some(&before), &now)
}

fn level(change: impl Fn(&mut Reading)) -> Judgement {
    let mut now = reading();
    change(&mut now);
    judge(None, &now)
}

fn saturated(resource: Resource, reason: Reason) -> Judgement {
    Judgement { state: InstanceState::Saturated, saturated: vec![resource], reasons: vec![reason] }
}

fn halted(state: InstanceState, reason: Reason) -> Judgement {
    Judgement { state, saturated: Vec::new(), reasons: vec![reason] }
}

fn running() -> Judgement {
    Judgement { state: InstanceState::Running, saturated: Vec::new(), reasons: Vec::new() }
}

#[test]
fn one_reading() {
    assert_eq!(level(|_| {}), running());
    let memory = |used| {
        move |r: &mut Reading| {
            r.memory.working_set_bytes = Some(used);
            r.limits.memory_bytes = Some(1000);
        }
    };
    assert_eq!(level(memory(949)), running());
    assert_eq!(level(memory(950)), saturated(Resource::Memory, Reason::MemoryLimit));
    assert_eq!(level(|r| r.memory.working_set_bytes = Some(u64::MAX)), running());
    let pids = |tasks| {
        move |r: &mut Reading| {
            r.pids.tasks = Some(tasks);
            r.limits.tasks = Some(16);
        }
    };
    assert_eq!(level(pids(15)), running());
    assert_eq!(level(pids(16)), saturated(Resource::Pids, Reason::PidsLimit));
    let fds = |open| move |r: &mut Reading| r.descriptors = Some(Descriptors { open, fullest: Some((open, 100)) });
    assert_eq!(level(fds(94)), running());
    assert_eq!(level(fds(95)), saturated(Resource::Fds, Reason::FdsLimit));
    assert_eq!(level(|r| r.freezer = Some(Freezer::Freezing)), running());
    assert_eq!(level(|r| r.freezer = Some(Freezer::Frozen)), halted(InstanceState::Frozen, Reason::Freezer));
    let leader = |state| move |r: &mut Reading| r.leader = Some(LeaderState { pid: 1, state });
    assert_eq!(level(leader(b'T')), halted(InstanceState::Stopped, Reason::Sigstop));
    assert_eq!(level(leader(b't')), halted(InstanceState::Stopped, Reason::Traced));
    assert_eq!(level(leader(b'D')), running());
    assert_eq!(level(|r| r.live_processes = Some(0)), halted(InstanceState::Stopped, Reason::Exited));
    assert_eq!(level(|r| r.live_processes = None), running());
}

#[test]
fn a_full_disk() {
    let space = |available_bytes, age: u64| {
        let file_system = FileSystem {
            kind: "tmpfs",
            device: "tmpfs".into(),
            size_bytes: 1 << 20,
            block_bytes: 4096,
            free_bytes: available_bytes,
            available_bytes,
            inodes: None,
            inodes_free: None,
            read_only: false,
            dataset: None,
        };
        Some(Space { file_system, age: Duration::from_secs(age) })
    };
    let full = saturated(Resource::Disk, Reason::DiskFull);
    assert_eq!(level(|r| r.fullest_space = space(0, 5)), full);
    assert_eq!(level(|r| r.fullest_space = space(1 << 19, 5)), running());
    assert_eq!(level(|r| r.fullest_space = space(0, 121)), running(), "nobody knows any more");
    assert_eq!(level(|r| r.space = space(0, 5)), running(), "a root that it may not write to");
}

#[test]
fn an_interface_down() {
    let one = |up, receive_packets, transmit_packets| Interface {
        name: "eth0".into(),
        up,
        receive_packets,
        transmit_packets,
        ..Interface::default()
    };
    let down = saturated(Resource::Network, Reason::NetworkDown);
    for (interface, expected) in [
        (one(Some(false), 0, 1), &down),
        (one(Some(false), 1, 0), &down),
        (one(Some(false), 0, 0), &running()),
        (one(Some(true), 1, 1), &running()),
        (one(None, 1, 1), &running()),
    ] {
        assert_eq!(level(|r| r.network = Some(vec![one(Some(true), 1, 1), interface.clone()])), *expected);
        assert_eq!(level(|r| r.loopback = Some(interface.clone())), *expected);
    }
}

#[test]
fn the_main_process_gone_and_others_there() {
    let without = |lives| move |r: &mut Reading| r.main_lives = lives;
    assert_eq!(level(without(Some(false))), halted(InstanceState::Stopped, Reason::MainExited));
    assert_eq!(level(without(Some(true))), running());
    assert_eq!(level(without(None)), running());
    let nobody = level(|r| (r.main_lives, r.live_processes) = (Some(false), Some(0)));
    assert_eq!(nobody, halted(InstanceState::Stopped, Reason::Exited));
    // What killed it, and what the others lack, is said as well.
    let killed = after(
        |r| r.memory.oom_kills = Some(0),
        |r| (r.memory.oom_kills, r.main_lives, r.freezer) = (Some(1), Some(false), Some(Freezer::Frozen)),
    );
    assert_eq!(killed.state, InstanceState::Stopped);
    assert_eq!(killed.reasons, [Reason::MainExited, Reason::OomKilled, Reason::Freezer]);
}

#[test]
fn two_readings() {
    let throttling = |periods, throttled_periods| {
        move |r: &mut Reading| {
            r.throttling = Some(Throttling { periods, throttled_periods, ..Throttling::default() });
        }
    };
    let cpu = saturated(Resource::Cpu, Reason::CpuThrottled);
    assert_eq!(after(throttling(100, 100), throttling(200, 124)), running());
    assert_eq!(after(throttling(100, 100), throttling(200, 125)), cpu);
    // Nothing enforced since, or counted anew.
    assert_eq!(after(throttling(100, 100), throttling(100, 100)), running());
    assert_eq!(after(throttling(100, 100), throttling(3, 0)), running());

    let kills = |count| move |r: &mut Reading| r.memory.oom_kills = Some(count);
    assert_eq!(after(kills(1), kills(1)), running());
    assert_eq!(after(kills(1), kills(2)), saturated(Resource::Memory, Reason::OomKilled));
    let hits = |count, some_us: Option<u64>| {
        move |r: &mut Reading| {
            r.memory.limit_hits = Some(count);
            r.pressure.memory = some_us.map(|some_us| Stall { some_us, full_us: Some(0) });
        }
    };
    let limit = saturated(Resource::Memory, Reason::MemoryLimit);
    assert_eq!(after(hits(1, None), hits(2, None)), limit);
    assert_eq!(after(hits(1, Some(5)), hits(2, Some(6))), limit);
    assert_eq!(after(hits(1, Some(5)), hits(2, Some(5))), running());
    let forks = |count| move |r: &mut Reading| r.pids.limit_hits = Some(count);
    assert_eq!(after(forks(0), forks(1)), saturated(Resource::Pids, Reason::PidsLimit));
    let io = |full_us| move |r: &mut Reading| r.pressure.io = Some(Stall { some_us: u64::MAX, full_us });
    assert_eq!(after(io(Some(0)), io(Some(2_499_999))), running());
    assert_eq!(after(io(Some(0)), io(Some(2_500_000))), saturated(Resource::Disk, Reason::IoPressure));
    assert_eq!(after(io(None), io(Some(u64::MAX))), running());
    let dropped = |name: &'static str, transmit_dropped| {
        move |r: &mut Reading| {
            r.network = Some(vec![Interface { name: name.into(), transmit_dropped, ..Interface::default() }]);
        }
    };
    let network = saturated(Resource::Network, Reason::NetworkDrops);
    assert_eq!(after(dropped("a", 1), dropped("a", 2)), network);
    assert_eq!(after(dropped("a", 1), dropped("b", 2)), running());
    let loopback = |dropped: Option<u64>| {
        move |r: &mut Reading| {
            r.loopback = dropped.map(|transmit_dropped| Interface { transmit_dropped, ..Interface::default() });
        }
    };
    assert_eq!(after(loopback(Some(1)), loopback(Some(2))), network);
    assert_eq!(after(loopback(None), loopback(Some(2))), running());
}

/// A reading so many ms after `start`, with so many kills.
fn killed(start: &Reading, ms: u64, kills: u64) -> Reading {
    let mut reading = start.clone();
    reading.taken_at = start.taken_at + Duration::from_millis(ms);
    reading.memory.oom_kills = Some(kills);
    reading
}

#[test]
fn two_scrapers_are_both_told() {
    let (start, mut judge) = (reading(), Judge::default());
    let reasons = [(0, 0), (10_000, 1), (10_010, 1), (14_000, 1), (20_000, 1), (20_010, 1), (30_000, 1)]
        .map(|(ms, kills)| judge.judge(&killed(&start, ms, kills)).reasons);
    let told = |is_told: bool| if is_told { vec![Reason::OomKilled] } else { Vec::new() };
    assert_eq!(reasons, [false, true, true, true, false, false, false].map(told));
}

#[test]
fn a_fast_scraper_is_told_for_some_seconds() {
    let (start, mut judge) = (reading(), Judge::default());
    let kill_ms = 7_000;
    let told: Vec<u64> = (0..60_000)
        .step_by(250)
        .filter(|ms| !judge.judge(&killed(&start, *ms, u64::from(*ms >= kill_ms))).reasons.is_empty())
        .collect();
    let (first, last) = (told[0], told[told.len() - 1]);
    assert_eq!(told.len() as u64, (last - first) / 250 + 1, "without a gap");
    assert_eq!(first, kill_ms);
    assert!((5_000..=10_000).contains(&(last - first)), "for {} ms", last - first);
}

#[test]
fn what_killed_it_is_said_for_as_long_as_it_lies_there() {
    let (start, mut judge) = (reading(), Judge::default());
    judge.judge(&killed(&start, 0, 3));
    let dead = |ms| {
        let mut reading = killed(&start, ms, 4);
        reading.live_processes = Some(0);
        reading
    };
    for ms in [100, 7_000, 14_000, 900_000] {
        assert_eq!(judge.judge(&dead(ms)).reasons, [Reason::Exited, Reason::OomKilled], "{ms} ms");
    }
    // Another process in the same cgroup: what was before is over.
    for (ms, told) in [(910_000, true), (920_000, false)] {
        let reasons = judge.judge(&killed(&start, ms, 4)).reasons;
        assert_eq!(reasons.contains(&Reason::OomKilled), told, "{ms} ms");
    }
}

#[test]
fn the_dead_lack_nothing() {
    let judgement = after(
        |r| r.memory.oom_kills = Some(0),
        |r| {
            r.live_processes = Some(0);
            r.memory.oom_kills = Some(1);
            r.pids.tasks = Some(1);
            r.limits.tasks = Some(1);
        },
    );
    let reasons = vec![Reason::Exited, Reason::OomKilled];
    assert_eq!(judgement, Judgement { state: InstanceState::Stopped, saturated: Vec::new(), reasons });
}

#[test]
fn all_that_holds_is_said() {
    let judgement = after(
        |r| r.memory.oom_kills = Some(0),
        |r| {
            r.memory.oom_kills = Some(1);
            r.memory.working_set_bytes = Some(1000);
            r.limits.memory_bytes = Some(1000);
            r.pids.tasks = Some(1);
            r.limits.tasks = Some(1);
            r.freezer = Some(Freezer::Frozen);
        },
    );
    let expected = Judgement {
        state: InstanceState::Frozen,
        saturated: vec![Resource::Memory, Resource::Pids],
        reasons: vec![Reason::Freezer, Reason::MemoryLimit, Reason::PidsLimit, Reason::OomKilled],
    };
    assert_eq!(judgement, expected);
}

#[test]
fn cpu_of_late_is_over_the_time_that_is_judged() {
    let mut judge = Judge::default();
    let start = reading();
    let mut at = |ms: u64, usage_ns: Option<u64>| {
        let mut reading = start.clone();
        reading.taken_at = start.taken_at + Duration::from_millis(ms);
        reading.cpu = usage_ns.map(|usage_ns| Cpu { usage_ns, ..Cpu::default() });
        judge.judge(&reading);
        judge.cpu_lately(&reading)
    };
    let lately = |used_ns, over_ms: u64| Some(CpuLately { used_ns, over_ns: over_ms * 1_000_000 });
    assert_eq!(at(0, Some(100)), None, "there is nothing to compare with");
    assert_eq!(at(1_000, Some(150)), lately(50, 1_000));
    assert_eq!(at(6_000, Some(400)), lately(300, 6_000));
    assert_eq!(at(11_000, Some(500)), lately(100, 5_000), "since the one that is at least five seconds old");
    assert_eq!(at(12_000, Some(300)), None, "a counter that fell tells nothing");
    assert_eq!(at(13_000, None), None);
}
