//! The agent as a service: the notify protocol, a watchdog that hears of what hangs, reloads, and the unit that is shipped.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sonde_tests::{Daemon, Request, Sonde, binary, eventually, repository, unique_name};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);
/// A message follows what it is about by less.
const MESSAGE: Duration = Duration::from_secs(30);
/// As the watchdog of a unit; a part may be silent for half of it, and each quarter the agent looks.
const WATCHDOG: Duration = Duration::from_secs(4);
/// In units of systemd-analyze, tenths: what the unit scores must not grow.
const EXPOSURE: &str = "57";

/// The next message to the service manager; `None` where there is none in time.
fn hear(manager: &UnixDatagram, within: Duration) -> Option<String> {
    manager.set_read_timeout(Some(within)).expect("a socket's timeout can be set");
    let mut message = [0; 4096];
    let bytes = manager.recv(&mut message).ok()?;
    Some(String::from_utf8_lossy(&message[..bytes]).into_owned())
}

#[track_caller]
fn next(manager: &UnixDatagram) -> String {
    hear(manager, MESSAGE).expect("the service manager is told something")
}

/// Microseconds of the monotonic clock.
fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000 + now.tv_nsec as u64 / 1_000
}

#[test]
fn service_manager_hears_ready_reloading_and_stopping() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket can be made");
    let mut agent = Daemon::start(dir, "", |mut command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_PID", "1").env("WATCHDOG_USEC", "100000");
        command
    });
    // A watchdog that is meant for another process is none of ours: nothing comes before this.
    let ready = next(&manager);
    assert!(ready.starts_with("READY=1\nSTATUS=serving at http://127.0.0.1:"), "{ready}");
    let environment = fs::read(format!("/proc/{}/environ", agent.broker())).expect("it runs");
    assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"), "the agent alone speaks");

    let before = monotonic_usec();
    agent.write_config("[reading]\nfloor = \"7s\"\n");
    agent.process.signal(Signal::HUP);
    let reloading = next(&manager);
    let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.lines().next());
    let usec: u64 = usec.and_then(|usec| usec.parse().ok()).unwrap_or_else(|| panic!("{reloading}"));
    assert!((before..=monotonic_usec()).contains(&usec), "{usec} is not between {before} and now");
    assert_eq!(next(&manager), "READY=1\nSTATUS=reloaded");
    let own = Request::get(&agent.admin("/metrics")).send().expect("it answers").text();
    assert!(own.contains("sonde_agent_reading_floor_seconds 7\n"), "the operator's floor is in force:\n{own}");

    agent.write_config("[reading]\nfloor = \"soon\"\n");
    agent.process.signal(Signal::HUP);
    assert!(next(&manager).starts_with("RELOADING=1\n"));
    let refused = next(&manager);
    assert!(
        refused.starts_with("READY=1\nSTATUS=a reload was refused: ") && refused.contains("reading.floor"),
        "{refused}"
    );

    agent.process.signal(Signal::TERM);
    assert_eq!(next(&manager), "STOPPING=1\nSTATUS=stopping");
    let status = eventually("its end", SOON, || agent.process.ended().ok_or("it runs on"));
    assert_eq!(status.code(), Some(0), "{}", agent.process.log());
    assert!(!agent.process.log().contains("ERROR the broker"), "{}", agent.process.log());
}

#[test]
fn watchdog_hears_nothing_while_a_part_hangs() {
    let name = unique_name("watchdog");
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket can be made");
    let dir = TempDir::new().expect("a temporary folder can be made");
    let agent = Daemon::start(dir, "", |mut command| {
        command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        command
    });
    let alive = || {
        eventually("the watchdog's message", SOON, || match next(&manager).as_str() {
            "WATCHDOG=1" => Ok(()),
            other => Err(other.to_owned()),
        });
    };
    alive();
    alive();

    let broker = agent.broker();
    agent.signal(broker, Signal::STOP);
    let health = || Request::get(&agent.admin("/healthz")).send().expect("the admin routes answer");
    eventually("the silence being seen", SOON, || match health() {
        answer if answer.status == 503 && answer.text().starts_with("broker has not answered for ") => Ok(()),
        answer => Err(answer.text()),
    });
    // What was said before, and then nothing for as long as a watchdog waits.
    while hear(&manager, Duration::from_millis(1)).is_some() {}
    assert_eq!(hear(&manager, WATCHDOG), None, "a hung agent says that it is alive");
    let served = Request::get(&agent.url("/v1/node/metrics")).send().expect("it answers");
    assert_eq!(served.status, 200, "native series do not need the broker");

    agent.signal(broker, Signal::CONT);
    alive();
    eventually("health", SOON, || if health().status == 200 { Ok(()) } else { Err(health().text()) });
}

#[test]
fn reload_by_the_admin_route_says_what_was_refused() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let agent = Daemon::start(dir, "", |command| command);
    let reload = || Request::post(&agent.admin("/v1/reload")).send().expect("it answers");
    assert_eq!((reload().status, reload().text().as_str()), (200, "reloaded\n"));
    agent.write_config("[policy]\nclass = \"huge\"\n");
    // Also when asked again: the answer is of now.
    for _ in 0..2 {
        let refused = reload();
        assert_eq!(refused.status, 422);
        assert!(refused.text().contains("policy.class"), "{}", refused.text());
    }
    fs::remove_file(agent.dir().join("agent.toml")).expect("it is there");
    assert!(reload().text().contains("cannot be read"));
    agent.write_config("");
    assert_eq!(reload().status, 200);
    assert_eq!(Request::get(&agent.admin("/v1/reload")).send().expect("it answers").status, 405);
    // The door of tenants' scrapers has no such route, and this one no instances.
    assert_eq!(Request::post(&agent.url("/v1/reload")).send().expect("it answers").status, 405);
    assert_eq!(Request::get(&agent.admin("/v1/node/metrics")).send().expect("it answers").status, 404);
}

#[test]
fn a_hangup_ends_what_runs_in_a_terminal() {
    let mut sonde = Sonde::configure().up();
    sonde.hang_up();
    assert_eq!(sonde.ended(), Some(0));
}

/// The shipped unit as it would be installed here: its program and its files are this build's.
fn unit(folder: &TempDir) -> std::path::PathBuf {
    let shipped = fs::read_to_string(repository("dist/systemd/sonde-agent.service")).expect("it is shipped");
    assert!(shipped.contains("ExecStart=/usr/bin/sonde agent --config /etc/sonde/sonde.toml\n"), "{shipped}");
    let program = binary().canonicalize().expect("it is there");
    let installed = shipped.replace("/usr/bin/sonde", program.to_str().expect("its path is text"));
    let path = folder.path().join("sonde-agent.service");
    fs::write(&path, installed).expect("the temporary folder is writable");
    path
}

#[track_caller]
fn systemd_analyze(arguments: &[&str], unit: &std::path::Path) -> String {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    let output = output.unwrap_or_else(|error| {
        panic!("systemd-analyze cannot be run ({error}); it is in Debian's package systemd, which `cargo xtask test` installs")
    });
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "systemd-analyze {arguments:?} does not like the unit:\n{said}");
    said
}

#[test]
fn shipped_unit_is_valid_and_no_more_exposed_than_it_must() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let unit = unit(&folder);
    let said = systemd_analyze(&["verify", "--man=no"], &unit);
    assert!(!said.contains("sonde-agent.service"), "no remark either:\n{said}");
    systemd_analyze(&["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE}")], &unit);
}

#[test]
fn shipped_unit_has_the_capabilities_that_the_documents_say() {
    let shipped = fs::read_to_string(repository("dist/systemd/sonde-agent.service")).expect("it is shipped");
    let lines = shipped.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let mut bounding: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let operators = fs::read_to_string(repository("docs/operators.md")).expect("it is there");
    let section = operators.split("### Privileges").nth(1).and_then(|rest| rest.split("\n## ").next());
    let table = section.expect("it has such a section").lines().filter(|line| line.starts_with('|'));
    let mut said: Vec<&str> =
        table.flat_map(|line| line.split(['|', ' ', ','])).filter(|w| w.starts_with("CAP_")).collect();
    for list in [&mut bounding, &mut said] {
        list.sort_unstable();
        list.dedup();
    }
    assert_eq!(bounding, said);
}

#[test]
fn shipped_configuration_is_one() {
    let check = |path: &str| Sonde::cli_in(&repository(""), &["agent", "--config", path, "--check"]);
    let checked = check("dist/systemd/sonde.toml");
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("admin = \"127.0.0.1:9165\""), "{checked:?}");
    let folder = TempDir::new().expect("a temporary folder can be made");
    let open = folder.path().join("open.toml");
    fs::write(&open, "[listen]\nadmin = \"0.0.0.0:9165\"\n").expect("the temporary folder is writable");
    let refused = check(open.to_str().expect("temporary folders have plain names"));
    assert!(refused.code == Some(2) && refused.stderr.contains("listen.admin"), "{refused:?}");
}

#[test]
fn an_answer_in_flight_survives_the_stop() {
    use std::io::{Read, Write};
    let dir = TempDir::new().expect("a temporary folder can be made");
    let mut agent = Daemon::start(dir, "", |command| command);
    let authority = agent.url("").trim_start_matches("http://").to_owned();
    let mut connection = std::net::TcpStream::connect(&authority).expect("it listens");
    // The head is not whole, so the request is in flight when the signal comes.
    connection.write_all(b"GET /v1/node/metrics HTTP/1.1\r\nHost: x\r\n").expect("it reads");
    let seen = Instant::now();
    eventually("the connection being taken", SOON, || {
        let taken = Request::get(&agent.admin("/metrics")).send().expect("it answers").text();
        let count = taken.lines().find_map(|line| line.strip_prefix("sonde_agent_connections_total "));
        if count.is_some_and(|count| count != "0") { Ok(()) } else { Err(format!("after {:?}", seen.elapsed())) }
    });
    agent.process.signal(Signal::TERM);
    eventually("its stopping", SOON, || {
        if agent.process.log().contains("stopping;") { Ok(()) } else { Err(agent.process.log()) }
    });
    connection.write_all(b"\r\n").expect("it still reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("node_cpu_seconds_total"), "{answer}");
    let status = eventually("its end", SOON, || agent.process.ended().ok_or("it runs on"));
    assert_eq!(status.code(), Some(0), "{}", agent.process.log());
}
