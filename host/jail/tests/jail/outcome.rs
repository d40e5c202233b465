//! Starts a child for one act and tells how it ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sonde_jail::{Jail, Layer, LayerReport, Profile};

/// Nobody's, on any machine these tests run on.
pub const UID: u32 = 61_234;
/// Far more than any child needs: a child that hangs is a failed test, not a hung one.
const PATIENCE: Duration = Duration::from_secs(60);
static CHILDREN: AtomicUsize = AtomicUsize::new(0);

/// How an act ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Refused(i32),
    Killed(i32),
    /// It ended by itself without a word, as in a failed assertion.
    Broken,
}

pub fn children() -> usize {
    CHILDREN.load(Ordering::Relaxed)
}

pub fn jail(skip: &[Layer]) -> Jail {
    Jail {
        profile: Profile::Runner,
        uid: UID,
        parent: std::process::id(),
        cgroup: Vec::new(),
        address_space_bytes: None,
        cpu_seconds: Some(PATIENCE.as_secs()),
        file_bytes: 1 << 20,
        open_files: 64,
        processes: 16,
        skip: skip.to_vec(),
    }
}

/// Runs `act` in `jail` with `input` as its standard input.
pub fn attempt(act: &str, jail: &Jail, input: Stdio) -> (Vec<LayerReport>, Outcome) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    finish(command.arg("--act").arg(act).arg(serde_json::to_string(jail).unwrap()).stdin(input))
}

/// Starts the command with a socket for its output, and waits for its end.
pub fn finish(command: &mut Command) -> (Vec<LayerReport>, Outcome) {
    let (mut child, mut lines) = start(command);
    let reports = next(&mut lines);
    let last = next(&mut lines);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("the child ends in time");
    let status = child.wait().unwrap();
    let outcome = match (status.signal(), last.as_deref()) {
        (Some(signal), _) => Outcome::Killed(signal),
        (None, Some("ok")) => Outcome::Done,
        (None, Some(number)) => Outcome::Refused(number.parse().unwrap()),
        (None, None) => Outcome::Broken,
    };
    (reports.map(|line| serde_json::from_str(&line).unwrap()).unwrap_or_default(), outcome)
}

pub fn start(command: &mut Command) -> (Child, BufReader<UnixStream>) {
    CHILDREN.fetch_add(1, Ordering::Relaxed);
    let (near, far) = UnixStream::pair().unwrap();
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    // Panics of the child would be lost behind /dev/null, and are seen only where 2 stays open.
    let child = command.stdout(Stdio::from(OwnedFd::from(far))).stderr(Stdio::inherit()).spawn().unwrap();
    command.stdout(Stdio::null()).stdin(Stdio::null());
    (child, BufReader::new(near))
}

pub fn next(lines: &mut BufReader<UnixStream>) -> Option<String> {
    let mut line = String::new();
    lines.read_line(&mut line).expect("the child speaks in time");
    let line = line.trim_end();
    (!line.is_empty()).then(|| line.to_owned())
}

/// Starts a jailed child that waits, and ends when its own input does, leaving the child behind.
pub fn middle(jail: &str) {
    let mut jail: Jail = serde_json::from_str(jail).unwrap();
    jail.parent = std::process::id();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--act").arg("wait").arg(serde_json::to_string(&jail).unwrap());
    // Nobody sends to it, and it has no end as a stream has: only the kernel ends the child.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    #[allow(clippy::zombie_processes, reason = "that the child outlives this process is what is asked")]
    let _child = command.stdin(Stdio::from(OwnedFd::from(silent))).spawn().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// What the host offers an attacker: things the child could reach if it were not jailed.
pub struct Host {
    pub tcp: TcpListener,
    pub abstract_name: String,
    _abstract: std::os::unix::net::UnixListener,
}

impl Host {
    pub fn new() -> Self {
        use std::os::linux::net::SocketAddrExt;
        let abstract_name = format!("sonde-jail-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            abstract_name,
            _abstract: std::os::unix::net::UnixListener::bind_addr(&address).unwrap(),
        }
    }

    pub fn port(&self) -> u16 {
        self.tcp.local_addr().unwrap().port()
    }
}

/// The descriptor that the act is given as its input.
pub fn input_for(act: &str) -> Stdio {
    let descriptor: OwnedFd = match act.split(':').next() {
        Some("connect_given") => {
            use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
        }
        Some("siocgskns_given" | "send_elsewhere") => UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        Some("setns_given") => File::open("/proc/self/ns/net").unwrap().into(),
        _ => return Stdio::null(),
    };
    Stdio::from(descriptor)
}

/// This binary at a path that any user may execute.
pub fn copy_for_all() -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("jail");
    std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}
