//! The parsers over tables, and the threads over questions that are and are not answered.

use std::path::Path;

use super::*;

const TABLE: &[u8] = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
    23 27 8:1 /a /mnt/with\\040blank ro shared:1 master:2 - ext4 /dev/sda1 rw\n\
    24 27 0:44 / /fuse rw - fuse.sshfs evil rw\nx 1 8:1 / / rw - ext4 a rw\n25 27 8:1 / /cut rw -\n\
    26 27 0:50 / /nfs rw - nfs4 host:/ rw\n18446744073709551615 1 0:51 / / rw - overlay /dev/forged rw\n9 1 8:1 / / rw - ext4";

#[test]
fn mount_table() {
    let lines: Vec<_> = mounts_of(TABLE).map(|line| (line.number, line.device, line.kind)).collect();
    let expected = [
        (22, "0:21", None),
        (23, "8:1", Some("ext4")),
        (24, "0:44", None),
        (26, "0:50", None),
        (u64::MAX, "0:51", Some("overlay")),
    ];
    assert_eq!(lines, expected);
    for nonsense in [&b""[..], b"\n", b"garbage\n", b"- - - -\n", b"1 2 \xff / / rw - ext4 a rw\n"] {
        assert_eq!(mounts_of(nonsense).count(), 0);
    }
    assert_eq!(mount_number(b"pos:\t0\nflags:\t012100000\nmnt_id:\t28\nino:\t2\n"), Some(28));
    assert_eq!(mount_number(b"pos:\t0\nmnt_id:\t2"), None);
    assert_eq!(mount_number(b""), None);
}

#[test]
fn what_is_left_out() {
    for (point, out) in [
        ("/", false),
        ("/dev/shm", true),
        ("/developer", false),
        ("/var/lib/docker", false),
        ("/var/lib/docker/overlay2/x/merged", true),
        ("/sys/fs/cgroup", true),
    ] {
        assert_eq!(is_left_out(Path::new(point)), out, "{point}");
    }
}

/// Waits for the answer, as no reading does.
fn until_told(mut look: impl FnMut() -> Option<Space>) -> Space {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(space) = look() {
            return space;
        }
        assert!(Instant::now() < deadline, "no answer");
        thread::yield_now();
    }
}

fn leader(pid: u32, start_ticks: u64) -> Leader {
    Leader { pid, start_ticks, pidfd: None, net_namespace: None, mount_namespace: None }
}

#[test]
fn the_root_of_this_process() {
    let roots = Arc::new(Roots::of_this_machine().unwrap());
    let pool = SpacePool::default();
    let mut watch = Watch::new(pool.clone(), roots);
    let now = Instant::now();
    let this = leader(std::process::id(), 1);
    assert_eq!(watch.last(now), None, "nothing was asked");
    watch.ask(&this, now);
    let space = until_told(|| watch.last(Instant::now()));
    let said = rustix::fs::statvfs("/").unwrap();
    assert_eq!(space.file_system.size_bytes, said.f_blocks * said.f_frsize);
    assert!(space.file_system.free_bytes >= space.file_system.available_bytes);
    assert!(KINDS.contains(&space.file_system.kind));
    // Not asked again before its time, and the answer grows old.
    watch.ask(&this, now);
    assert!(!watch.slot.lock().in_flight);
    assert!(watch.last(now + Duration::from_secs(60)).unwrap().age > Duration::from_secs(50));
    // Another leader's root is another question.
    watch.ask(&leader(std::process::id(), 2), now);
    until_told(|| watch.last(Instant::now()));
    assert!(pool.threads() <= THREADS);
}

#[test]
fn one_that_is_gone_has_no_answer() {
    let roots = Arc::new(Roots::of_this_machine().unwrap());
    let pool = SpacePool::default();
    let mut watch = Watch::new(pool, roots);
    let now = Instant::now();
    // No process has this number: it is above what the kernel can be told to use.
    watch.ask(&leader(1 << 30, 1), now);
    let deadline = now + Duration::from_secs(20);
    while watch.slot.lock().in_flight {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
    assert_eq!(watch.last(Instant::now()), None);
}

/// Questions that do not come back.
#[test]
fn stuck_ones_cost_nobody_a_reading() {
    let directory = tempfile::tempdir().unwrap();
    let pool = SpacePool::default();
    let now = Instant::now();
    let stuck: Vec<Arc<Slot>> = (0..THREADS * 2).map(|_| Arc::default()).collect();
    let gate = Arc::new(Roots::of_this_machine().unwrap());
    let held: Vec<_> = stuck.iter().map(|slot| slot.lock()).collect();
    // Whoever answers is held at the slot, as by a file system that does not.
    for slot in &stuck {
        let process = directory.path().to_owned();
        pool.put(Question { whose: Whose::Root { process, pidfd: None }, roots: gate.clone(), slot: slot.clone() });
    }
    let deadline = now + Duration::from_secs(20);
    while pool.threads() < THREADS || pool.0.lock().queue.len() > THREADS {
        assert!(Instant::now() < deadline, "{pool:?}");
        thread::yield_now();
    }
    // All threads are stuck, and no more are made; a question is left and nobody waits.
    let mut watch = Watch::new(pool.clone(), gate);
    watch.ask(&leader(std::process::id(), 1), now);
    assert!(watch.slot.lock().in_flight && watch.last(Instant::now()).is_none());
    assert_eq!(pool.threads(), THREADS);
    // When they come back, it is answered.
    drop(held);
    until_told(|| watch.last(Instant::now()));
}
