//! The tenants' door against nginx and haproxy: each terminates mTLS and passes to one and the same agent over mTLS; ours also says whose is what.
//!
//! The proxy, and each of the two, has one core; the client and the agent share the other. The roles are one example of the proxy's crate, so that no
//! sandbox is compiled for it.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sonde_tests::{Process, eventually};
use tempfile::TempDir;

use crate::error::Error;
use crate::workspace::{Workspace, run, say};

/// The served and the serving each have one of the first two cores.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";
const SOON: Duration = Duration::from_secs(20);
/// Those that are asked; the last is what the others stand before.
const DOORS: [&str; 4] = ["sonde", "nginx", "haproxy", "agent"];

pub(crate) fn bench_door(workspace: &Workspace) -> Result<(), Error> {
    let build = ["build", "--release", "--package", "sonde-proxy", "--example", "bench_door"];
    run("building the proxy for release", &mut workspace.cargo(build))?;
    let example = workspace.sonde("release").with_file_name("examples").join("bench_door");
    let dir = TempDir::new().map_err(|source| Error::File { verb: "made", path: std::env::temp_dir(), source })?;
    let folder = dir.path();
    run("making certificates and an inventory", Command::new(&example).arg("prepare").arg(folder))?;
    let at = |core: &str, program: &Path| {
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    };
    let start =
        |name: &str, mut command: Command| Process::start(name, &mut command, &folder.join(format!("{name}.out")));
    let role = |role: &str, core: &str| {
        let mut command = at(core, &example);
        command.arg(role).arg(folder);
        command
    };
    let agent = start("agent", role("agent", CLIENT_CORE));
    let sonde = start("sonde", role("serve", SERVER_CORE));
    let mut nginx = at(SERVER_CORE, Path::new("nginx"));
    nginx.arg("-c").arg(folder.join("nginx.conf"));
    let nginx = start("nginx", nginx);
    let mut haproxy = at(SERVER_CORE, Path::new("haproxy"));
    haproxy.arg("-db").arg("-f").arg(folder.join("haproxy.cfg"));
    let haproxy = start("haproxy", haproxy);
    listening(folder)?;
    say("asking each in turn: three minutes");
    let pids = [sonde.pid(), nginx.pid(), haproxy.pid(), agent.pid()];
    let said = measured(role("measure", CLIENT_CORE), &pids)?;
    print(&said);
    Ok(())
}

/// Waits until all of them take connections.
fn listening(folder: &Path) -> Result<(), Error> {
    let path: PathBuf = folder.join("ports");
    let ports = fs::read_to_string(&path).map_err(|source| Error::File { verb: "read", path, source })?;
    for port in ports.split_whitespace() {
        let address = format!("127.0.0.1:{port}");
        eventually(&address, SOON, || std::net::TcpStream::connect(&address));
    }
    Ok(())
}

/// Runs the client; a line for each figure.
fn measured(mut client: Command, pids: &[u32; 4]) -> Result<Vec<Vec<String>>, Error> {
    let started = |source| Error::Start { command: "bench_door measure".to_owned(), source };
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(started)?;
    let mut to = child.stdin.take().expect("stdin is piped");
    for (name, pid) in DOORS.iter().zip(pids) {
        writeln!(to, "{name} {pid}").map_err(started)?;
    }
    drop(to);
    let output = child.wait_with_output().map_err(started)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(Error::Figure { tool: "bench_door", figure: "run without errors", said });
    }
    Ok(said.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
}

/// A row for each thing measured, a column for each door, and the ratio of ours to the better of the others.
fn print(said: &[Vec<String>]) {
    let mut rows: Vec<(String, HashMap<&str, &[String]>)> = Vec::new();
    for line in said {
        let [name, what, count, figures @ ..] = line.as_slice() else { continue };
        let key = format!("{what}, {count} at once");
        let place = rows.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            rows.push((key, HashMap::new()));
            rows.len() - 1
        });
        rows[place].1.insert(name, figures);
    }
    println!("{:<24} {:>26} {:>26} {:>26}  ratio", "", DOORS[0], DOORS[1], DOORS[2]);
    println!(
        "scrapes and handshakes are for a second of the door's CPU; times are what it adds to the agent's own, p50 and p99"
    );
    for (what, doors) in rows {
        let figure = |door: &str, n: usize| doors.get(door).and_then(|figures| figures.get(n)?.parse::<f64>().ok());
        let added = |door: &str, n: usize| figure(door, n).unwrap_or(0.0) - figure(DOORS[3], n).unwrap_or(0.0);
        let shown = |door: &str| match doors.get(door) {
            Some([rate, _, _]) => format!("{rate}/s +{:.0} +{:.0} us", added(door, 1), added(door, 2)),
            Some([figure]) if what.starts_with("idle") => format!("{figure} KiB each"),
            Some([figure]) => format!("{figure}/s"),
            _ => "none".to_owned(),
        };
        let others = DOORS[1..3].iter().filter_map(|door| figure(door, 0));
        let best = if what.starts_with("idle") { others.fold(f64::MAX, f64::min) } else { others.fold(0.0, f64::max) };
        let ratio = figure(DOORS[0], 0).map_or(0.0, |ours| ours / best);
        println!("{what:<24} {:>26} {:>26} {:>26}  {ratio:.2}", shown(DOORS[0]), shown(DOORS[1]), shown(DOORS[2]));
    }
}
