//! The rainy days, a row each: what is done to a container, and what Sonde must then say of it.
//!
//! The test runs this table and `docs/rainy-day.md` shows it: neither has a word that the other has not.

/// What serves inside.
#[derive(Clone, Copy)]
pub enum Service {
    /// nginx, one process, as the first one: it answers from memory.
    Nginx,
    /// The same, with another process beside it that outlives it, and the host's pids.
    NginxAndHelper,
    /// busybox httpd, as the first one: it forks for each request, and the request writes to a disk.
    Httpd,
}

/// What the test does to a container that was well.
#[derive(Clone, Copy)]
pub enum Weather {
    /// Nothing.
    Fair,
    /// Clients connect and say nothing, until the server has no descriptor left.
    IdleClients,
    /// This script runs inside, within the container's own limits.
    Script(&'static str),
    /// The script runs, and the CPU limit is set to 1 %.
    Throttled(&'static str),
    /// Every interface goes down: `eth0` and loopback.
    NetworkDown,
    /// `eth0` alone goes down.
    InterfaceDown,
    /// The freezer.
    Frozen,
    /// SIGSTOP to the first process.
    Stopped,
    /// SIGKILL to the first process, and with it to all others; the container is not deleted.
    Killed,
    /// SIGKILL to the first process alone.
    MainKilled,
    /// The script has it killed for want of memory; the container is not deleted.
    OomKilled(&'static str),
    /// The script has it killed for want of memory, and it is deleted as soon as it is dead.
    OomDeleted(&'static str),
    /// Killed and deleted, as `docker rm -f` does.
    Deleted,
    /// Deleted, and another started under its name, again and again.
    Restarts,
}

/// What comes of the sensor that asks the service for a page.
#[derive(Clone, Copy)]
pub enum Sensor {
    /// `http_up 1`.
    Answered,
    /// `http_up 0`, and a status.
    Status(f64),
    /// `http_up 0`, and its log says this.
    Says(&'static str),
    /// No series, since a scrape is answered with the state alone; its log says this.
    Logs(&'static str),
    /// No sensor any more.
    Removed,
}

/// A row.
pub struct Day {
    /// In a word or two; also the end of the container's name.
    pub name: &'static str,
    /// What is done, in words.
    pub cause: &'static str,
    pub service: Service,
    pub weather: Weather,
    /// Status of the answer to a scrape.
    pub status: u16,
    /// The one state.
    pub state: &'static str,
    /// Reasons that hold, each with the resource that it is about.
    pub reasons: &'static [(&'static str, &'static str)],
    /// Reasons that may hold as well.
    pub besides: &'static [(&'static str, &'static str)],
    pub sensor: Sensor,
}

/// Of a reason that is about no resource.
pub const NONE: &str = "";

const THROTTLED: (&str, &str) = ("cpu_throttled", "cpu");
const MEMORY_LIMIT: (&str, &str) = ("memory_limit", "memory");
const MEMORY_PRESSURE: (&str, &str) = ("memory_pressure", "memory");
const OOM_KILLED: (&str, &str) = ("oom_killed", "memory");
const NETWORK_DOWN: (&str, &str) = ("network_down", "network");
const IO_PRESSURE: (&str, &str) = ("io_pressure", "disk");

/// Memory that cannot be given back, and beside it a file that does not fit, read again and again.
const THRASH: &str = "dd if=/dev/zero of=/data/ballast bs=1M count=28 && dd if=/dev/zero of=/disk/file bs=1M count=32; \
                      while :; do cat /disk/file >/dev/null; done";
/// A process that wants twice the limit, again as soon as it is killed.
const OOM_LOOP: &str = "while :; do dd if=/dev/zero of=/dev/null bs=128M count=1; sleep 0.1; done";
/// The first process is preferred, though it is small.
const OOM_ONCE: &str = "echo 1000 >/proc/1/oom_score_adj; echo -1000 >/proc/self/oom_score_adj; \
                        dd if=/dev/zero of=/data/ballast bs=1M count=64";
const BOMB: &str = "while :; do sh -c 'while :; do sleep 100000 & done'; sleep 0.1; done";
const FILL: &str = "cat /dev/zero >/data/fill";
const BURN: &str = "while :; do :; done & while :; do :; done & while :; do :; done";

/// Every day.
pub const DAYS: &[Day] = &[
    Day {
        name: "fair",
        cause: "nothing: what the others are compared with",
        service: Service::Nginx,
        weather: Weather::Fair,
        status: 200,
        state: "running",
        reasons: &[],
        besides: &[],
        sensor: Sensor::Answered,
    },
    Day {
        name: "descriptors",
        cause: "idle clients hold every descriptor that the server may open",
        service: Service::Nginx,
        weather: Weather::IdleClients,
        status: 200,
        state: "saturated",
        reasons: &[("fds_limit", "fds")],
        besides: &[THROTTLED],
        sensor: Sensor::Says("no whole response within the time given"),
    },
    Day {
        name: "thrashing",
        cause: "memory at its limit, and a file in use that does not fit beside it",
        service: Service::Nginx,
        weather: Weather::Script(THRASH),
        status: 200,
        state: "saturated",
        reasons: &[MEMORY_LIMIT],
        besides: &[MEMORY_PRESSURE, IO_PRESSURE, THROTTLED],
        sensor: Sensor::Answered,
    },
    Day {
        name: "oom-loop",
        cause: "a process of it wants more memory than there is, is killed, and begins again",
        service: Service::Nginx,
        weather: Weather::Script(OOM_LOOP),
        status: 200,
        state: "saturated",
        reasons: &[OOM_KILLED],
        besides: &[MEMORY_LIMIT, MEMORY_PRESSURE, IO_PRESSURE, THROTTLED],
        sensor: Sensor::Answered,
    },
    Day {
        name: "throttled",
        cause: "three busy loops, and 1 % of a CPU",
        service: Service::Nginx,
        weather: Weather::Throttled(BURN),
        status: 200,
        state: "saturated",
        reasons: &[THROTTLED],
        besides: &[],
        sensor: Sensor::Answered,
    },
    Day {
        name: "fork-bomb",
        cause: "a fork bomb, within the limit of tasks, beside a server that forks for each request",
        service: Service::Httpd,
        weather: Weather::Script(BOMB),
        status: 200,
        state: "saturated",
        reasons: &[("pids_limit", "pids")],
        besides: &[THROTTLED],
        sensor: Sensor::Says("the server closed the connection before the response was whole"),
    },
    Day {
        name: "disk-full",
        cause: "its file system is full, and the server wants to write",
        service: Service::Httpd,
        weather: Weather::Script(FILL),
        status: 200,
        state: "saturated",
        reasons: &[("disk_full", "disk")],
        besides: &[THROTTLED],
        sensor: Sensor::Status(507.0),
    },
    Day {
        name: "network-down",
        cause: "every interface is down",
        service: Service::Nginx,
        weather: Weather::NetworkDown,
        status: 200,
        state: "saturated",
        reasons: &[NETWORK_DOWN],
        besides: &[("network_drops", "network"), THROTTLED],
        sensor: Sensor::Says("no whole response within the time given"),
    },
    Day {
        name: "interface-down",
        cause: "the one interface that others reach it by is down",
        service: Service::Nginx,
        weather: Weather::InterfaceDown,
        status: 200,
        state: "saturated",
        reasons: &[NETWORK_DOWN],
        besides: &[],
        sensor: Sensor::Answered,
    },
    Day {
        name: "frozen",
        cause: "the freezer, as `docker pause` does",
        service: Service::Nginx,
        weather: Weather::Frozen,
        status: 200,
        state: "frozen",
        reasons: &[("freezer", NONE)],
        besides: &[],
        sensor: Sensor::Says("no whole response within the time given"),
    },
    Day {
        name: "stopped",
        cause: "SIGSTOP to its first process",
        service: Service::Nginx,
        weather: Weather::Stopped,
        status: 503,
        state: "stopped",
        reasons: &[("sigstop", NONE)],
        besides: &[],
        sensor: Sensor::Logs("no whole response within the time given"),
    },
    Day {
        name: "dead",
        cause: "its first process was killed; the cgroup is there still",
        service: Service::Nginx,
        weather: Weather::Killed,
        status: 503,
        state: "stopped",
        reasons: &[("exited", NONE)],
        besides: &[],
        sensor: Sensor::Logs("nobody listens there"),
    },
    Day {
        name: "main-dead",
        cause: "its first process was killed, and another lives on",
        service: Service::NginxAndHelper,
        weather: Weather::MainKilled,
        status: 503,
        state: "stopped",
        reasons: &[("main_exited", NONE)],
        besides: &[],
        sensor: Sensor::Logs("nobody listens there"),
    },
    Day {
        name: "dead-of-memory",
        cause: "the kernel killed its first process for want of memory; the cgroup is there still",
        service: Service::Nginx,
        weather: Weather::OomKilled(OOM_ONCE),
        status: 503,
        state: "stopped",
        reasons: &[("exited", NONE), ("oom_killed", NONE)],
        besides: &[],
        sensor: Sensor::Logs("nobody listens there"),
    },
    Day {
        name: "gone-of-memory",
        cause: "the kernel killed its first process for want of memory, and its runtime removed it at once, as `docker run --rm` does",
        service: Service::Nginx,
        weather: Weather::OomDeleted(OOM_ONCE),
        status: 503,
        state: "gone",
        reasons: &[("removed", NONE), ("oom_killed", NONE)],
        besides: &[],
        sensor: Sensor::Removed,
    },
    Day {
        name: "killed",
        cause: "killed and deleted, as `docker rm -f` does",
        service: Service::Nginx,
        weather: Weather::Deleted,
        status: 503,
        state: "gone",
        reasons: &[("removed", NONE)],
        besides: &[],
        sensor: Sensor::Removed,
    },
    Day {
        name: "restarting",
        cause: "deleted, and another started under its name, again and again and faster than each second; between two lives it is gone",
        service: Service::Nginx,
        weather: Weather::Restarts,
        status: 200,
        state: "running",
        reasons: &[],
        besides: &[],
        sensor: Sensor::Answered,
    },
];
