//! The agent's own rainy day: its threads stuck, its descriptors out, its rights few. What it set aside for that, it has.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sonde_tests::{Daemon, Exposition, Request, Sonde, eventually, unique_name};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);
/// A scrape is answered within Prometheus's default timeout.
const SCRAPE: Duration = Duration::from_secs(10);

/// Threads of a process held in the kernel by the freezer of cgroups v1, which takes threads one by one; let go when dropped.
struct Frozen {
    cgroup: PathBuf,
}

impl Frozen {
    /// Freezes the threads whose name begins so.
    fn threads(pid: u32, name: &str) -> Self {
        let freezer = Path::new("/sys/fs/cgroup/freezer");
        assert!(freezer.join("tasks").exists(), "there is no freezer of cgroups v1 at {}", freezer.display());
        let cgroup = freezer.join(unique_name("frozen"));
        fs::create_dir(&cgroup).expect("cgroups can be made");
        let frozen = Self { cgroup };
        let mut moved = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten() {
            let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if comm.starts_with(name) {
                let thread = task.file_name().to_string_lossy().into_owned();
                fs::write(frozen.cgroup.join("tasks"), &thread).expect("a thread can be moved");
                moved += 1;
            }
        }
        assert!(moved > 0, "it has no threads called {name}");
        let state = frozen.cgroup.join("freezer.state");
        fs::write(&state, "FROZEN").expect("it can be frozen");
        eventually("the freezing", SOON, || {
            let now = fs::read_to_string(&state).unwrap_or_default();
            if now.trim() == "FROZEN" { Ok(()) } else { Err(now) }
        });
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(self.cgroup.join("freezer.state"), "THAWED");
        // Threads that these have started since are there too, and one that is just ending holds the cgroup a moment longer.
        let asked = Instant::now();
        while fs::remove_dir(&self.cgroup).is_err() && asked.elapsed() < SOON {
            for thread in fs::read_to_string(self.cgroup.join("tasks")).unwrap_or_default().lines() {
                let _ = fs::write(self.cgroup.with_file_name("tasks"), thread);
            }
            std::thread::yield_now();
        }
    }
}

/// Whether the agent's own port answers, within little.
fn serves(agent: &Daemon) -> bool {
    use std::io::{Read, Write};
    let authority = agent.url("").trim_start_matches("http://").to_owned();
    let Ok(mut connection) = TcpStream::connect(authority) else { return false };
    connection.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket's timeout can be set");
    let asked = connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    asked.is_ok() && connection.read(&mut [0; 16]).is_ok_and(|bytes| bytes > 0)
}

#[test]
fn admin_routes_answer_while_all_else_is_stuck() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    // As a unit's watchdog, so that silence is seen in two seconds; nobody listens to it.
    let agent = Daemon::start(dir, "", |mut command| {
        command.env("NOTIFY_SOCKET", "@nobody-listens-there").env("WATCHDOG_USEC", "4000000");
        command
    });
    let pid = agent.process.pid();
    let health = || Request::get(&agent.admin("/healthz")).send().expect("the admin routes answer");
    eventually("all being well", SOON, || if health().status == 200 { Ok(()) } else { Err(health().text()) });
    for (threads, part) in [("serve", "serving"), ("sensors-", "sensors")] {
        let frozen = Frozen::threads(pid, threads);
        eventually("the silence being seen", SOON, || match health() {
            answer if answer.status == 503 && answer.text().starts_with(&format!("{part} has not answered")) => Ok(()),
            answer => Err(answer.text()),
        });
        if part == "serving" {
            assert!(!serves(&agent), "with the threads {threads}… stuck");
        } else {
            eventually("it serves", SOON, || serves(&agent).then_some(()).ok_or_else(|| "no answer".to_owned()));
        }
        let own = Request::get(&agent.admin("/metrics")).send().expect("the admin routes answer");
        let own = Exposition::read(&own.text());
        let silence = own.value("sonde_agent_part_silence_seconds", &[("part", part)]).expect("it is there");
        assert!(silence > 1.0, "{part} was heard {silence} s ago");
        drop(frozen);
        eventually("all being well again", SOON, || if health().status == 200 { Ok(()) } else { Err(health().text()) });
        eventually("it serves again", SOON, || serves(&agent).then_some(()).ok_or_else(|| "no answer".to_owned()));
    }
}

/// The lowest descriptor that a process does not have: with that as its limit it can open nothing.
fn first_free(pid: u32) -> u64 {
    let open: Vec<u64> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    (0..).find(|number| !open.contains(number)).expect("there are more numbers than descriptors")
}

fn limit_descriptors(pid: u32, most: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("pids fit")).expect("pids are not 0");
    let now = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(most), maximum: Some(20_000) });
    now.expect("its limit can be changed");
}

#[test]
fn scrapes_are_answered_when_descriptors_are_out() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let agent = Daemon::start(dir, "", |command| {
        let mut limited = std::process::Command::new("prlimit");
        limited.arg("--nofile=4096:20000").arg(command.get_program());
        limited
    });
    let pid = agent.process.pid();
    let own = || Exposition::read(&Request::get(&agent.admin("/metrics")).send().expect("it answers").text());
    let spare = || own().value("sonde_agent_readiness", &[("step", "spare_descriptors")]);
    eventually("being ready", SOON, || match Request::get(&agent.url("/readyz")).send() {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(spare(), Some(1.0));
    let scrape = || {
        let answer = Request::get(&agent.url("/v1/node/metrics")).send().expect("a scrape is answered");
        assert_eq!(answer.status, 200);
        assert!(answer.elapsed < SCRAPE, "it took {:?}", answer.elapsed);
        assert!(answer.text().contains("node_memory_MemTotal_bytes"), "with values:\n{}", answer.text());
    };
    scrape();

    limit_descriptors(pid, first_free(pid));
    // More connections than there are spare descriptors: the quietest make room for those that ask.
    let mut idle = Vec::new();
    for _ in 0..40 {
        for _ in 0..5 {
            let address = agent.url("").trim_start_matches("http://").to_owned();
            idle.push(TcpStream::connect(address).expect("the kernel takes connections"));
        }
        scrape();
    }
    let out = own().value("sonde_agent_descriptors_out_total", &[]).expect("it is there");
    assert!(out >= 1.0, "descriptors were never out");
    assert!(agent.process.log().contains("descriptors are out"), "{}", agent.process.log());

    drop(idle);
    limit_descriptors(pid, 4096);
    eventually("the spare descriptors being there again", SOON, || match spare() {
        Some(1.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// What `/proc/PID/status` says under a key, in KiB or as a number.
fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says it");
    line.trim_matches([':', '\t', ' ']).to_owned()
}

/// Whether the test may do what it asks the agent to do.
fn has_capability(number: u32) -> bool {
    let effective = status(std::process::id(), "CapEff");
    u64::from_str_radix(&effective, 16).is_ok_and(|mask| mask & (1 << number) != 0)
}

const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_RESOURCE: u32 = 24;

#[test]
fn reserves_are_what_the_kernel_says() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let agent = Daemon::start(dir, "", |command| command);
    let pid = agent.process.pid();
    eventually("being ready", SOON, || match Request::get(&agent.url("/readyz")).send() {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let own = Exposition::read(&Request::get(&agent.admin("/metrics")).send().expect("it answers").text());
    let said = |process, step| own.value("sonde_agent_readiness", &[("process", process), ("step", step)]);
    for (process, pid) in [("agent", pid), ("broker", agent.broker())] {
        let locked = status(pid, "VmLck") != "0 kB";
        assert_eq!(said(process, "memory_locked"), Some(f64::from(u8::from(locked))), "{process}");
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
        let spared = score.trim().parse::<i32>().is_ok_and(|score| score <= -900);
        assert_eq!(said(process, "oom_score"), Some(f64::from(u8::from(spared))), "{process}");
        if has_capability(CAP_SYS_RESOURCE) {
            assert!(locked && spared, "{process}");
        }
    }
    if has_capability(CAP_IPC_LOCK) || has_capability(CAP_SYS_RESOURCE) {
        assert_eq!(said("agent", "memory_locked"), Some(1.0), "{}", agent.process.log());
        // Locked as it is used, not the 30 MB of the program and the stacks of all threads.
        let [locked, resident] = ["VmLck", "VmRSS"]
            .map(|key| status(pid, key).trim_end_matches(" kB").parse::<u64>().expect("a number of KiB"));
        assert!(locked > resident, "{locked} KiB of mappings are to be locked, {resident} are in memory");
        assert!(resident < 64 << 10, "{resident} KiB are in memory");
    }
}

#[test]
fn without_rights_reserves_are_refused_once_and_nothing_else_is() {
    let sonde = Sonde::configure().user(65_534).up();
    let own = Exposition::read(&sonde.get("/metrics").text());
    let there: Vec<f64> = own.all("sonde_agent_readiness", &[]).map(|sample| sample.value).collect();
    assert_eq!(there.len(), 7, "each is said");
    for (step, value) in [("memory_locked", 0.0), ("oom_score", 0.0), ("cpu_weight", 0.0), ("spare_descriptors", 1.0)] {
        assert!(own.all("sonde_agent_readiness", &[("step", step)]).all(|sample| sample.value == value), "{step}");
    }
    let log = sonde.log();
    for said in ["memory is not locked", "does not spare this process"] {
        assert_eq!(log.matches(said).count(), 2, "once by the agent and once by the broker:\n{log}");
    }
    assert_eq!(log.matches("no weight of its own").count(), 1, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

/// A cgroup of the test's own in the hierarchy of the controller cpu; removed when dropped.
struct CpuCgroup(PathBuf);

impl Drop for CpuCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_cgroup_of_its_own_gets_a_weight() {
    let cpu = Path::new("/sys/fs/cgroup/cpu");
    assert!(cpu.join("cpu.shares").exists(), "the controller cpu of cgroups v1 is not at {}", cpu.display());
    let cgroup = CpuCgroup(cpu.join(unique_name("weighed")));
    fs::create_dir(&cgroup.0).expect("cgroups can be made");
    let dir = TempDir::new().expect("a temporary folder can be made");
    let procs = cgroup.0.join("cgroup.procs");
    // It moves there and becomes the agent.
    let mut agent = Daemon::start(dir, "", |command| {
        let mut moved = std::process::Command::new("sh");
        moved.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(&procs).arg(command.get_program());
        moved
    });
    let own = Exposition::read(&Request::get(&agent.admin("/metrics")).send().expect("it answers").text());
    assert_eq!(own.value("sonde_agent_readiness", &[("step", "cpu_weight")]), Some(1.0), "{}", agent.process.log());
    let shares = fs::read_to_string(cgroup.0.join("cpu.shares")).expect("it is there");
    assert_eq!(shares.trim(), "5120", "five times an ordinary one's");
    assert!(agent.process.stop(), "SIGTERM ends it");
    eventually("its cgroup being left", SOON, || {
        let left = fs::read_to_string(&procs).unwrap_or_default();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}
