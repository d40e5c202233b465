//! An instance that works against the broker: what it puts where a file or a socket is looked for, and what it does meanwhile.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use sonde_collect::{Found, GroupSource, ProcessGroup};
use sonde_host::BrokerError;

use super::container::{BUSYBOX, Container, LONG, broker, find, possible, room, soon};
use super::{FOREVER, PORT, Running, content, write};

/// Opens while somebody changes what is opened.
const RACES: usize = 2000;
/// Of `start_ticks`, of which there are a hundred a second.
const A_FEW_TICKS: Duration = Duration::from_millis(50);

#[tokio::test]
async fn no_device_and_nothing_of_the_kernels_is_a_file() {
    if !possible() {
        return;
    }
    let container = Container::new("devices");
    let etc = container.root().join("etc");
    let devices = [
        ("memory", FileType::CharacterDevice, makedev(1, 1)),
        ("kernel", FileType::CharacterDevice, makedev(1, 2)),
        ("port", FileType::CharacterDevice, makedev(1, 4)),
        ("tty", FileType::CharacterDevice, makedev(5, 0)),
        ("console", FileType::CharacterDevice, makedev(5, 1)),
        ("fuse", FileType::CharacterDevice, makedev(10, 229)),
        ("disk", FileType::BlockDevice, makedev(254, 0)),
        ("loop", FileType::BlockDevice, makedev(7, 0)),
    ];
    for (name, kind, device) in devices {
        mknodat(CWD, etc.join(name), kind, Mode::from_raw_mode(0o666), device).unwrap();
    }
    symlink("/dev/stdin", etc.join("stdin")).unwrap();
    let container = container.run(FOREVER, |_| {});
    let broker = broker(&room(), &container.found(), "a");
    for (name, ..) in devices {
        assert_eq!(content(&broker, &format!("/etc/{name}")).await, Err(BrokerError::NotReadable), "{name}");
        let socket = broker.unix_socket(&format!("/etc/{name}"), soon()).await;
        assert_eq!(socket.unwrap_err(), BrokerError::Refused, "{name}");
    }
    let kernels = [
        "/proc/self/environ",
        "/proc/thread-self/mem",
        "/proc/self/fd/0",
        "/proc/self/root/etc/passwd",
        "/proc/1/environ",
        "/proc/1/mem",
        "/proc/1/cwd/etc/passwd",
        "/proc/1/ns/net",
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/sys/kernel/hostname",
        "/dev/stdin",
        "/dev/fd/0",
        "/dev/null",
        "/dev/pts/ptmx",
        "/etc/stdin",
        "/sys/kernel/notes",
    ];
    for path in kernels {
        let opened = content(&broker, path).await;
        assert!(opened.is_err(), "{path}: {opened:?}");
    }
}

#[tokio::test]
async fn what_is_no_path_of_a_file_is_refused() {
    if !possible() {
        return;
    }
    let container = Container::new("paths");
    write(&container.root().join("etc/plain"), 0o644, 0, 0);
    write(&container.root().join("etc/two\nlines"), 0o644, 0, 0);
    let container = container.run(FOREVER, |_| {});
    let broker = broker(&room(), &container.found(), "a");
    assert_eq!(content(&broker, "/etc/two\nlines").await.as_deref(), Ok("content"));
    assert_eq!(content(&broker, "////etc//./plain").await.as_deref(), Ok("content"));
    let long = ["/".to_owned() + &"a".repeat(300), "/etc/..".repeat(2000) + "/etc/plain", "/".repeat(8000)];
    let odd = ["", "/", ".", "..", "/..", "/etc/plain/", "/etc/plain/..", "/etc/plain\0", "\0", "/etc/plain\0/../x"];
    for path in odd.into_iter().map(String::from).chain(long) {
        let opened = content(&broker, &path).await;
        assert!(opened.is_err(), "{path:.40}: {opened:?}");
        let connected = broker.unix_socket(&path, soon()).await;
        assert!(connected.is_err(), "{path:.40}: {connected:?}");
    }
    // However deep it climbs, it is never above the root.
    for climbing in ["/../etc/plain", "/etc/../../etc/plain"] {
        assert!(matches!(content(&broker, climbing).await, Err(BrokerError::Denied(_))), "{climbing}");
    }
}

#[tokio::test]
async fn a_name_of_no_file_is_no_socket() {
    if !possible() {
        return;
    }
    let name = format!("sonde-broker-test-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let container = Container::new("abstract").run(FOREVER, |_| {});
    let broker = broker(&room(), &container.found(), "a");
    for path in [format!("\0{name}"), format!("@{name}"), format!("/\0{name}"), format!("/@{name}")] {
        let connected = broker.unix_socket(&path, soon()).await;
        assert!(connected.is_err(), "{path:?}: {connected:?}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_socket_whose_backlog_is_full_answers_at_once() {
    if !possible() {
        return;
    }
    let container = Container::new("backlog");
    let path = container.root().join("etc/socket");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let container = container.run(FOREVER, |_| {});
    let broker = broker(&room(), &container.found(), "a");
    let began = Instant::now();
    assert_eq!(broker.unix_socket("/etc/socket", soon()).await.unwrap_err(), BrokerError::Timeout);
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
}

/// Puts one thing after the other in a path's place, as fast as it can, until it is dropped.
struct Flipping {
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Flipping {
    fn new(path: &Path, make: impl Fn(u64, &Path) + Send + 'static) -> Self {
        let (ends, path) = (Arc::new(AtomicBool::new(false)), path.to_owned());
        let ended = ends.clone();
        let thread = thread::spawn(move || {
            let next = path.with_extension("next");
            let mut count = 0;
            while !ended.load(Ordering::Relaxed) {
                make(count, &next);
                fs::rename(&next, &path).unwrap();
                count += 1;
            }
            count
        });
        Self { ends, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Flipping {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[tokio::test]
async fn whatever_is_put_in_a_files_place_meanwhile_nothing_from_outside_is_opened() {
    if !possible() {
        return;
    }
    let container = Container::new("flipping").run(FOREVER, |_| {});
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "of the host").unwrap();
    let absolute = outside.path().to_owned();
    let climbing = Path::new("../../../../../../../../..").join(absolute.strip_prefix("/").unwrap());
    let etc = container.root().join("etc");
    write(&etc.join("kept"), 0o644, 0, 0);
    let kept = etc.join("kept");
    let flipping = Flipping::new(&etc.join("file"), move |count, next| match count % 6 {
        0 => fs::hard_link(&kept, next).unwrap(),
        1 => symlink("/proc/1/environ", next).unwrap(),
        2 => symlink(&climbing, next).unwrap(),
        3 => mknodat(CWD, next, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap(),
        4 => symlink(&absolute, next).unwrap(),
        _ => symlink("../proc/1/root/etc/kept", next).unwrap(),
    });
    let broker = broker(&room(), &container.found(), "a");
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..RACES {
        match content(&broker, "/etc/file").await {
            Ok(text) => {
                assert_eq!(text, "content");
                opened += 1;
            }
            Err(BrokerError::Timeout) => panic!("it blocked"),
            Err(_) => refused += 1,
        }
    }
    let flips = flipping.end();
    println!("{opened} opened, {refused} refused, {flips} changes");
    assert!(flips > 100 && refused > 0);
}

#[tokio::test]
async fn whatever_is_put_in_a_sockets_place_meanwhile_no_socket_of_the_hosts_is_connected_to() {
    if !possible() {
        return;
    }
    let container = Container::new("replaced");
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("socket");
    let host = UnixListener::bind(&hosts).unwrap();
    fs::set_permissions(&hosts, fs::Permissions::from_mode(0o777)).unwrap();
    host.set_nonblocking(true).unwrap();
    let etc = container.root().join("etc");
    let own = UnixListener::bind(etc.join("kept")).unwrap();
    fs::set_permissions(etc.join("kept"), fs::Permissions::from_mode(0o777)).unwrap();
    let accepting = own.try_clone().unwrap();
    thread::spawn(move || accepting.incoming().flatten().for_each(drop));
    let container = container.run(FOREVER, |_| {});
    let (kept, climbing) =
        (etc.join("kept"), Path::new("../../../../../../../../..").join(hosts.strip_prefix("/").unwrap()));
    let flipping = Flipping::new(&etc.join("socket"), move |count, next| match count % 3 {
        0 => fs::hard_link(&kept, next).unwrap(),
        1 => symlink(&hosts, next).unwrap(),
        _ => symlink(&climbing, next).unwrap(),
    });
    let broker = broker(&room(), &container.found(), "a");
    let mut connected = 0;
    for _ in 0..RACES {
        connected += usize::from(broker.unix_socket("/etc/socket", soon()).await.is_ok());
    }
    flipping.end();
    assert!((1..RACES).contains(&connected), "{connected}: nothing was put in its place");
    assert_eq!(host.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the host's was connected to");
    // Ends the thread that accepts.
    rustix::net::shutdown(&own, rustix::net::Shutdown::Both).unwrap();
}

#[tokio::test]
async fn a_container_that_ends_meanwhile_leaves_nothing_else_in_its_place() {
    if !possible() {
        return;
    }
    let room = room();
    for round in 0..4 {
        let container = Container::new(&format!("ending-{round}"));
        write(&container.root().join("etc/plain"), 0o644, 0, 0);
        let container = container.run(FOREVER, |_| {});
        let found = container.found();
        let broker = broker(&room, &found, "a");
        assert_eq!(content(&broker, "/etc/plain").await.as_deref(), Ok("content"));
        let ending = thread::spawn(move || drop(container));
        let deadline = soon();
        loop {
            assert!(Instant::now() < deadline, "it does not end");
            // The host has one, the container has none.
            assert!(broker.file("/etc/passwd", soon()).await.is_err());
            assert!(broker.tcp(PORT, soon()).await.is_err());
            match content(&broker, "/etc/plain").await {
                Ok(text) => assert_eq!(text, "content"),
                Err(BrokerError::Gone) => break,
                // Its mounts go before its last process does.
                Err(_) => {}
            }
        }
        ending.join().unwrap();
        room.owners.forget(found.name.uuid);
    }
}

/// A process of a root of its own, found by its pid.
fn grouped(directory: &Path, name: &str) -> (Running, Arc<Found>) {
    let running = Running(Command::new(BUSYBOX).args(["sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap());
    let pid_file = directory.join(name);
    fs::write(&pid_file, format!("{}\n", running.0.id())).unwrap();
    let found = find(name, vec![ProcessGroup { name: name.into(), source: GroupSource::PidFile(pid_file) }]);
    (running, found)
}

#[tokio::test]
async fn a_pid_that_has_come_to_another_is_not_the_instance() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (running, found) = grouped(directory.path(), "reused");
    let broker = broker(&room(), &found, "a");
    let pid = running.0.id();
    // With its start a pid names one process, as long as two do not start within a tick of the clock.
    let began = Instant::now();
    while began.elapsed() < A_FEW_TICKS {
        tokio::task::yield_now().await;
    }
    assert!(broker.processes(soon()).await.unwrap().iter().any(|process| process.pid == pid));
    drop(running);
    // Others start processes too, so it takes luck as well.
    for _ in 0..200 {
        let _ = fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string());
        let next = Running(Command::new(BUSYBOX).args(["sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap());
        if next.0.id() == pid {
            assert_eq!(broker.processes(soon()).await.unwrap(), []);
            assert_eq!(broker.file("/etc/passwd", soon()).await.map(drop).unwrap_err(), BrokerError::Gone);
            assert!(broker.tcp(PORT, soon()).await.is_err());
            return;
        }
    }
    println!("skipped: the pid did not come again");
}
