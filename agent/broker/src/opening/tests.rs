//! The broker against the kernel: real containers, each rule of design §5.7 tried from both sides.

mod container;
mod fuse;
mod hostile;
mod stuck;

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;
use sonde_collect::{GroupSource, ProcessGroup};
use sonde_host::BrokerError;

use super::{InstanceBroker, SECRET_BYTES, read_secret};
use container::{BUSYBOX, Container, LONG, broker, connects, find, namespace, possible, room, roots, soon};

/// A port inside a network namespace of its own, where nobody else is.
const PORT: u16 = 8080;
const FOREVER: &str = "sleep 100000";

/// A port of the host's that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn denied<T: std::fmt::Debug>(result: Result<T, BrokerError>) -> String {
    match result {
        Err(BrokerError::Denied(why)) => why,
        other => panic!("not denied: {other:?}"),
    }
}

// === TCP ===

#[tokio::test]
async fn tcp_reaches_the_containers_loopback_and_own_address_and_nothing_of_the_host() {
    if !possible() {
        return;
    }
    let container = Container::new("tcp").run(&format!("httpd -f -p 127.0.0.1:{PORT} -h /tmp"), |_| {});
    let found = container.found();
    let broker = broker(&room(), &found, "a");
    connects(&broker, PORT).await;

    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts_port = host.local_addr().unwrap().port();
    assert_eq!(broker.tcp(hosts_port, soon()).await.unwrap_err(), BrokerError::Refused);
    assert_eq!(broker.tcp(PORT + 1, soon()).await.unwrap_err(), BrokerError::Refused);

    let leader = found.leader(&roots()).unwrap().pid.to_string();
    let inside = ["nsenter", "-t", &leader, "-n", BUSYBOX, "ip", "addr", "add", "10.99.0.7/32", "dev", "lo"];
    assert!(Command::new(BUSYBOX).args(inside).status().unwrap().success());
    container.exec(&["httpd", "-p", &format!("10.99.0.7:{}", PORT + 1), "-h", "/tmp"]);
    let stream = connects(&broker, PORT + 1).await;
    assert_eq!(stream.peer_addr().unwrap().to_string(), format!("10.99.0.7:{}", PORT + 1));

    let listed = broker.processes(soon()).await.unwrap();
    assert!(listed.iter().any(|process| process.pid.to_string() == leader && process.name == "httpd"), "{listed:?}");
}

#[tokio::test]
async fn a_connect_that_nobody_answers_ends_at_its_deadline() {
    if !possible() {
        return;
    }
    let container = Container::new("silent").run(FOREVER, |_| {});
    let found = container.found();
    let broker = broker(&room(), &found, "a");
    let namespace = File::open(format!("/proc/{}/ns/net", found.leader(&roots()).unwrap().pid)).unwrap();
    let listener = broker
        .room
        .namespace_thread
        .run(move |visitor| visitor.visit(&namespace, || TcpListener::bind(("127.0.0.1", PORT)).unwrap()).unwrap());
    let listener = listener.await.unwrap();
    // A backlog of none takes one connection; the kernel drops the SYN of the next.
    rustix::net::listen(&listener, 0).unwrap();
    let _kept = broker.tcp(PORT, soon()).await.unwrap();
    let began = Instant::now();
    let wait = Duration::from_millis(300);
    assert_eq!(broker.tcp(PORT, began + wait).await.unwrap_err(), BrokerError::Timeout);
    assert!(began.elapsed() >= wait && began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[tokio::test]
async fn on_the_hosts_network_only_its_own_ports() {
    if !possible() {
        return;
    }
    let (own, any) = (free_port(), free_port());
    let script = format!("httpd -p {any} -h /tmp; exec httpd -f -p 127.0.0.1:{own} -h /tmp");
    let container = Container::new("hostnet").run(&script, |config| namespace(config, "network", None));
    let broker = broker(&room(), &container.found(), "a");
    connects(&broker, own).await;
    connects(&broker, any).await;

    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = foreign.local_addr().unwrap().port();
    let why = denied(broker.tcp(port, soon()).await);
    let expected =
        format!("port {port} is held by a process that is not the instance's, in a network namespace that it shares");
    assert_eq!(why, expected);
    assert_eq!(broker.tcp(free_port(), soon()).await.unwrap_err(), BrokerError::Refused);
}

#[tokio::test]
async fn a_namespace_that_another_owner_joins_is_shared_from_then_on() {
    if !possible() {
        return;
    }
    let serve = |port: u16| format!("httpd -f -p {port} -h /tmp");
    let first = Container::new("first").run(&serve(PORT), |_| {});
    let room = room();
    let found = first.found();
    let of_first = broker(&room, &found, "a");
    connects(&of_first, PORT).await;

    let path = format!("/proc/{}/ns/net", found.leader(&roots()).unwrap().pid);
    let join = |config: &mut serde_json::Value| namespace(config, "network", Some(&path));
    let second = Container::new("second").run(&serve(PORT + 1), join);
    let found = second.found();
    // The same owner's: each may reach the other.
    let of_second = broker(&room, &found, "a");
    connects(&of_first, PORT + 1).await;
    connects(&of_second, PORT).await;

    let of_second = broker(&room, &found, "b");
    connects(&of_first, PORT).await;
    connects(&of_second, PORT + 1).await;
    assert!(denied(of_first.tcp(PORT + 1, soon()).await).contains("that it shares"));
    assert!(denied(of_second.tcp(PORT, soon()).await).contains("that it shares"));

    room.owners.forget(found.name.uuid);
    connects(&of_first, PORT + 1).await;
}

#[tokio::test]
async fn whose_namespace_is_seen_anew_when_the_process_in_it_is_another() {
    if !possible() {
        return;
    }
    // Found by its cgroup alone: who leads it changes, and with it the namespace.
    let container = Container::new("moving").run("while :; do sleep 100000; done", |_| {});
    let (room, found) = (room(), container.found());
    let own = found.leader(&roots()).unwrap().net_namespace.unwrap();
    room.owners.note(&found, &"b".into());
    assert!(room.owners.shared(own, "a") && !room.owners.shared(own, "b"));
    assert!(!room.owners.shared(own + 1, "a"));
    drop(container);
    let deadline = soon();
    while room.owners.shared(own, "a") {
        assert!(Instant::now() < deadline, "a leader that has ended is in no namespace");
        tokio::task::yield_now().await;
    }
}

// === files ===

fn write(path: &Path, mode: u32, owner: u32, group: u32) {
    fs::write(path, "content").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), Some(group)).unwrap();
}

/// A root with one of everything below `/etc`.
fn furnished(what: &str) -> Container {
    let container = Container::new(what);
    let etc = container.root().join("etc");
    write(&etc.join("plain"), 0o644, 0, 0);
    write(&etc.join("roots"), 0o600, 0, 0);
    write(&etc.join("groups"), 0o640, 0, 4242);
    write(&etc.join("others"), 0o600, 1234, 1234);
    symlink("plain", etc.join("within")).unwrap();
    symlink("/etc/passwd", etc.join("absolute")).unwrap();
    symlink("../../../../../../../../etc/passwd", etc.join("climbing")).unwrap();
    symlink("../proc/1/environ", etc.join("environ")).unwrap();
    symlink("../proc/1/root/etc/plain", etc.join("magic")).unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, etc.join("fifo"), FileType::Fifo, mode, 0).unwrap();
    mknodat(CWD, etc.join("null"), FileType::CharacterDevice, mode, makedev(1, 3)).unwrap();
    container
}

async fn content(broker: &InstanceBroker, path: &str) -> Result<String, BrokerError> {
    let mut text = String::new();
    let file = broker.file(path, soon()).await?;
    (&*file).read_to_string(&mut text).unwrap();
    Ok(text)
}

#[tokio::test]
async fn files_are_regular_and_below_the_root() {
    if !possible() {
        return;
    }
    let container = furnished("files").run(&format!("echo content > /tmp/file; {FOREVER}"), |_| {});
    let broker = broker(&room(), &container.found(), "a");
    for path in ["/etc/plain", "etc/plain", "/etc/../etc/plain", "/etc/within", "/etc/roots"] {
        assert_eq!(content(&broker, path).await.as_deref(), Ok("content"), "{path}");
    }
    for path in ["/etc/absolute", "/etc/climbing", "/../../etc/passwd"] {
        let why = denied(content(&broker, path).await);
        assert!(why.contains("outside") || why.contains("leads out"), "{path}: {why}");
    }
    // Its own root by a magic link: the kernel asks for more than the instance's rights before the link is even refused.
    for path in ["/etc/magic", "/proc/1/root/etc/plain"] {
        let refused = content(&broker, path).await;
        assert!(matches!(refused, Err(BrokerError::Denied(_) | BrokerError::NotReadable)), "{path}: {refused:?}");
    }
    for path in ["/etc/environ", "/proc/1/environ", "/tmp/file"] {
        let why = denied(content(&broker, path).await);
        assert!(why.contains("another mount"), "{path}: {why}");
    }
    for path in ["/etc/fifo", "/etc/null", "/etc"] {
        assert_eq!(content(&broker, path).await, Err(BrokerError::NotReadable), "{path}");
    }
    assert_eq!(content(&broker, "/etc/missing").await, Err(BrokerError::NotFound));
    assert_eq!(content(&broker, "/etc/plain/below").await, Err(BrokerError::NotFound));
    // Its root has no capability that opens files, so the agent's own must not show.
    assert_eq!(content(&broker, "/etc/others").await, Err(BrokerError::NotReadable));
    assert_eq!(content(&broker, "/etc/groups").await.as_deref(), Ok("content"));
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(status.contains("Uid:\t0\t0\t0\t0"), "this thread is what it was");
}

#[tokio::test]
async fn files_are_opened_with_the_instances_credentials() {
    if !possible() {
        return;
    }
    let user = |config: &mut serde_json::Value| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [4242] });
    };
    let container = furnished("user").run(FOREVER, user);
    let of_user = broker(&room(), &container.found(), "a");
    assert_eq!(content(&of_user, "/etc/plain").await.as_deref(), Ok("content"));
    assert_eq!(content(&of_user, "/etc/groups").await.as_deref(), Ok("content"));
    for path in ["/etc/roots", "/etc/others"] {
        assert_eq!(content(&of_user, path).await, Err(BrokerError::NotReadable), "{path}");
    }

    let powerful = |config: &mut serde_json::Value| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_DAC_OVERRIDE"]);
        }
    };
    let container = furnished("powerful").run(FOREVER, powerful);
    let of_powerful = broker(&room(), &container.found(), "a");
    assert_eq!(content(&of_powerful, "/etc/others").await.as_deref(), Ok("content"));
}

#[tokio::test]
async fn unix_sockets_by_path_and_with_the_instances_credentials() {
    if !possible() {
        return;
    }
    let container = furnished("unix");
    let sockets = ["open", "closed"].map(|name| UnixListener::bind(container.root().join("etc").join(name)).unwrap());
    let mode = |name: &str, mode| {
        let path = container.root().join("etc").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("open", 0o777);
    mode("closed", 0o700);
    let user = |config: &mut serde_json::Value| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    let container = container.run(FOREVER, user);
    let found = container.found();
    let broker = broker(&room(), &found, "a");
    broker.unix_socket("/etc/open", soon()).await.unwrap();
    sockets[0].accept().unwrap();
    assert!(denied(broker.unix_socket("/etc/closed", soon()).await).contains("may not connect"));
    assert_eq!(broker.unix_socket("/etc/plain", soon()).await.unwrap_err(), BrokerError::Refused);
    assert_eq!(broker.unix_socket("/etc/missing", soon()).await.unwrap_err(), BrokerError::NotFound);

    // Where servers put them: on a tmpfs.
    let there = format!("/proc/{}/root/tmp/socket", found.leader(&roots()).unwrap().pid);
    let listener = UnixListener::bind(&there).unwrap();
    fs::set_permissions(&there, fs::Permissions::from_mode(0o777)).unwrap();
    broker.unix_socket("/tmp/socket", soon()).await.unwrap();
    drop(listener);
    assert_eq!(broker.unix_socket("/tmp/socket", soon()).await.unwrap_err(), BrokerError::Refused);
}

// === process groups ===

/// A process that is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_process_in_the_nodes_own_file_system_has_no_files() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "content").unwrap();
    for (name, command) in
        [("plain", &["sleep", "1000"][..]), ("unshared", &["unshare", "-m", BUSYBOX, "sleep", "1000"])]
    {
        let running = Running(Command::new(BUSYBOX).args(command).stdin(Stdio::null()).spawn().unwrap());
        let pid_file = directory.path().join(name);
        fs::write(&pid_file, format!("{}\n", running.0.id())).unwrap();
        let group = ProcessGroup { name: name.into(), source: GroupSource::PidFile(pid_file) };
        let broker = broker(&room(), &find(name, vec![group]), "a");
        let why = denied(broker.file(file.to_str().unwrap(), soon()).await);
        assert!(why.contains("the node's own file system"), "{name}: {why}");
        assert!(denied(broker.unix_socket("/run/socket", soon()).await).contains("the node's own file system"));
    }
}

// === secrets ===

#[test]
fn a_secret_is_its_files_content_and_no_error_shows_it() {
    let directory = tempfile::tempdir().unwrap();
    let secret = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        read_secret(&path)
    };
    assert_eq!(secret("plain", b"hunter2").as_deref(), Ok("hunter2"));
    assert_eq!(secret("line", b" hunter2 \r\n\n").as_deref(), Ok(" hunter2 "));
    assert_eq!(secret("empty", b"\n").as_deref(), Ok(""));
    let longest = vec![b'x'; SECRET_BYTES as usize];
    assert_eq!(secret("longest", &longest).unwrap().len(), longest.len());
    let large = secret("large", &[b"hunter2".as_slice(), &longest].concat()).unwrap_err().to_string();
    assert_eq!(large, "its file has more than 4096 bytes");
    let binary = secret("binary", b"hunter2\xff").unwrap_err().to_string();
    assert!(binary.starts_with("its file cannot be read") && !binary.contains("hunter2"), "{binary}");
    let fifo = directory.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert_eq!(read_secret(&fifo).unwrap_err().to_string(), "it is not in a regular file");
    assert!(read_secret(&directory.path().join("missing")).is_err());
}
