//! File systems that do not answer, as an instance can have them (FUSE): what waits for them is bounded, and nobody else waits.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::{GroupSource, ProcessGroup};
use sonde_host::BrokerError;

use super::container::{BUSYBOX, Container, broker, find, possible, room, roots, soon};
use super::{FOREVER, PORT, content, fuse, write};

/// What a place that is stuck may cost who does not want it.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Mounts a file system in a container whose server never answers. It is let go when this is closed (fuse(4)).
fn mount_fuse(container: &Container, leader: u32) -> Option<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
    fs::create_dir_all(container.root().join("mnt")).unwrap();
    let mut command = Command::new(BUSYBOX);
    let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
    command.args([
        "nsenter",
        "-t",
        &leader.to_string(),
        "-m",
        BUSYBOX,
        "mount",
        "-t",
        "fuse",
        "-o",
        options,
        "stuck",
        "/mnt",
    ]);
    let mounted = command.stdin(Stdio::from(device.try_clone().unwrap())).status().unwrap();
    assert!(mounted.success());
    Some(device.into())
}

#[tokio::test]
async fn a_file_system_that_never_answers_holds_a_few_places_and_gives_them_back() {
    if !possible() {
        return;
    }
    let container = Container::new("fuse");
    write(&container.root().join("etc/plain"), 0o644, 0, 0);
    let container = container.run(FOREVER, |_| {});
    let beside = Container::new("beside");
    write(&beside.root().join("etc/plain"), 0o644, 0, 0);
    let beside = beside.run(FOREVER, |_| {});
    let (room, found) = (room(), container.found());
    let Some(device) = mount_fuse(&container, found.leader(&roots()).unwrap().pid) else {
        println!("skipped: no FUSE here");
        return;
    };
    let (stuck, beside) = (broker(&room, &found, "a"), broker(&room, &beside.found(), "a"));
    let patience = Duration::from_millis(300);
    let attempts: Vec<_> = (0..12)
        .map(|number| {
            let stuck = stuck.clone();
            tokio::spawn(async move {
                let (began, deadline) = (Instant::now(), Instant::now() + patience);
                let refused = match number % 2 {
                    0 => stuck.file("/mnt/file", deadline).await.map(drop).unwrap_err(),
                    _ => stuck.unix_socket("/mnt/socket", deadline).await.map(drop).unwrap_err(),
                };
                (refused, began.elapsed())
            })
        })
        .collect();
    let mut timed_out = 0;
    for attempt in attempts {
        let (refused, took) = attempt.await.unwrap();
        timed_out += usize::from(refused == BrokerError::Timeout);
        assert!(took < patience + AT_ONCE, "{refused}: {took:?}");
    }
    assert_eq!(timed_out, 4, "the places of one instance");
    let refused = content(&stuck, "/etc/plain").await.unwrap_err();
    assert!(refused.to_string().contains("for the instance"), "{refused}");
    let began = Instant::now();
    assert_eq!(content(&beside, "/etc/plain").await.as_deref(), Ok("content"));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    // What does not open files has places of its own.
    assert_eq!(stuck.tcp(PORT, soon()).await.unwrap_err(), BrokerError::Refused);
    assert!(!stuck.processes(soon()).await.unwrap().is_empty());

    drop(device);
    let deadline = soon();
    while let Err(error) = content(&stuck, "/etc/plain").await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

#[tokio::test]
async fn a_file_is_closed_where_that_may_take_long() {
    if !possible() {
        return;
    }
    let container = Container::new("closing");
    write(&container.root().join("etc/plain"), 0o644, 0, 0);
    let container = container.run(FOREVER, |_| {});
    let (room, found) = (room(), container.found());
    let broker = broker(&room, &found, "a");
    let mut lent = Vec::new();
    for _ in 0..4 {
        lent.push(broker.file("/etc/plain", soon()).await.unwrap());
    }
    // The threads that opened them are still there, to close them, and so are their places.
    let refused = broker.file("/etc/plain", soon()).await.unwrap_err();
    assert!(refused.to_string().contains("for the instance"), "{refused}");
    let mut text = String::new();
    (&*lent[0]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "content");
    drop(lent);
    assert_eq!(content(&broker, "/etc/plain").await.as_deref(), Ok("content"));
}

#[tokio::test]
async fn a_file_whose_closing_is_never_answered_holds_nobody_but_its_own_thread() {
    if !possible() {
        return;
    }
    /// All places of one instance.
    const ALL: usize = 4;
    let directory = tempfile::tempdir().unwrap();
    let mounted = directory.path().join("root");
    fs::create_dir(&mounted).unwrap();
    let Some((running, release)) = fuse::instance(&mounted, ALL) else {
        println!("skipped: no FUSE here");
        return;
    };
    let pid_file = directory.path().join("pid");
    fs::write(&pid_file, format!("{}\n", running.0.id())).unwrap();
    let found = find("served", vec![ProcessGroup { name: "served".into(), source: GroupSource::PidFile(pid_file) }]);
    let room = room();
    let broker = broker(&room, &found, "a");
    let deadline = soon();
    // It has a root of its own in a moment.
    let mut lent = Vec::new();
    while lent.len() < ALL {
        match broker.file("/file", deadline).await {
            Ok(file) => lent.push(file),
            Err(error) => assert!(lent.is_empty() && Instant::now() < deadline, "{error}"),
        }
    }
    let mut text = String::new();
    (&*lent[0]).read_to_string(&mut text).unwrap();
    assert_eq!(text.as_bytes(), fuse::CONTENT);
    let began = Instant::now();
    drop(lent);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let refused = broker.file("/file", soon()).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("for the instance"), "{refused}");
    // Both have the file system's own end open.
    drop((release, running));
    let owner: Arc<str> = "a".into();
    let mut places = Vec::new();
    while places.len() < ALL {
        places.extend(room.opening.take(found.name.uuid, &owner, soon()).await.ok());
        assert!(Instant::now() < deadline, "places are held for ever");
    }
}
