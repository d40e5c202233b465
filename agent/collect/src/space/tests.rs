//! The parsers over tables, and the threads over questions that are and are not answered.

use std::path::Path;

use super::mount_table::{is_left_out, mount_number};
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
fn a_data_set_is_named_by_its_mount() {
    let table = b"28 27 0:60 / / rw,noatime - zfs tank/with\\040blank rw,xattr\n29 27 0:61 / /b rw - zfs \\377 rw\n";
    let names: Vec<_> = mounts_of(table).map(|line| (line.kind, line.dataset())).collect();
    assert_eq!(names, [(Some("zfs"), Some("tank/with blank".to_owned())), (Some("zfs"), None)]);
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
fn until_told(mut look: impl FnMut() -> Lately) -> Space {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(space) = look().space {
            return space;
        }
        assert!(Instant::now() < deadline, "no answer");
        thread::yield_now();
    }
}

fn leader(pid: u32, start_ticks: u64) -> Leader {
    Leader { pid, start_ticks, pidfd: None, net_namespace: None, mount_namespace: None }
}

/// A live process as a leader.
fn live(pid: u32) -> Leader {
    leader(pid, crate::process::stat(Path::new("/proc"), pid).unwrap().start_ticks)
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it never came to that");
        thread::yield_now();
    }
}

#[test]
fn the_root_of_this_process() {
    let roots = Arc::new(Roots::of_this_machine().unwrap());
    let pool = SpacePool::default();
    let mut watch = Watch::new(pool.clone(), roots);
    let now = Instant::now();
    let this = live(std::process::id());
    assert_eq!(watch.last(now), Lately::default(), "nothing was asked");
    watch.ask(&this, now);
    let space = until_told(|| watch.last(Instant::now()));
    let said = rustix::fs::statvfs("/").unwrap();
    assert_eq!(space.file_system.size_bytes, said.f_blocks * said.f_frsize);
    assert!(space.file_system.free_bytes >= space.file_system.available_bytes);
    assert!(KINDS.contains(&space.file_system.kind));
    // This test has the node's root: no other mount of the node's is a matter of its.
    if let Some(fullest) = watch.last(Instant::now()).fullest {
        assert_eq!(fullest.file_system.size_bytes, space.file_system.size_bytes);
    }
    // Not asked again before its time, and the answer grows old.
    watch.ask(&this, now);
    assert!(!watch.slot.lock().in_flight);
    assert!(watch.last(now + Duration::from_secs(60)).space.unwrap().age > Duration::from_secs(50));
    // Another leader's root is another question, and has no time of its own.
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let other = live(child.id());
    watch.ask(&other, now);
    assert_eq!((watch.last(Instant::now()), watch.slot.lock().in_flight), (Lately::default(), false));
    watch.ask(&other, now + EVERY * 1000);
    until_told(|| watch.last(Instant::now()));
    child.kill().unwrap();
    child.wait().unwrap();
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
    until(|| !watch.slot.lock().in_flight);
    assert_eq!(watch.last(Instant::now()), Lately::default());
    // Nor has another process of the same number.
    watch.slot.lock().next = None;
    watch.ask(&leader(std::process::id(), 1), now);
    assert!(watch.slot.lock().next.is_some(), "it was asked");
    until(|| !watch.slot.lock().in_flight);
    assert_eq!(watch.last(Instant::now()), Lately::default());
}

/// A tenant whose file system does not answer, and whose leader is another one at each reading.
#[test]
fn a_new_leader_waits_for_what_is_in_flight() {
    let roots = Arc::new(Roots::of_this_machine().unwrap());
    let pool = SpacePool::default();
    let mut watch = Watch::new(pool.clone(), roots);
    let now = Instant::now();
    let slot = watch.slot.clone();
    let mut answer = slot.lock();
    answer.in_flight = true;
    answer.last = Some((now, Told { file_system: Some(file_system(1)), fullest: None }));
    drop(answer);
    for n in 0..100 {
        watch.ask(&leader(std::process::id(), n), now + EVERY * 1000);
        assert_eq!(watch.last(now), Lately::default(), "that was another's");
    }
    assert!(pool.crew.lock().queue.is_empty() && pool.threads() == 0);
    assert!(Arc::ptr_eq(&slot, &watch.slot) && slot.lock().outdated);
    // When the old one comes back, it is thrown away, and this leader's turn comes.
    let old = Whose::Root { pid: std::process::id(), start_ticks: live(std::process::id()).start_ticks };
    pool.put(Question { whose: old, owner: None, roots: watch.roots.clone(), slot: slot.clone() });
    until(|| !slot.lock().in_flight);
    assert_eq!(watch.last(now), Lately::default());
    let this = live(std::process::id());
    watch.ask(&this, now + EVERY * 1000);
    until_told(|| watch.last(Instant::now()));
}

fn file_system(size_bytes: u64) -> FileSystem {
    let (inodes, inodes_free) = (None, None);
    let (free_bytes, available_bytes) = (0, 0);
    let device = "overlay".to_owned();
    FileSystem {
        kind: "overlay",
        device,
        size_bytes,
        block_bytes: 4096,
        free_bytes,
        available_bytes,
        inodes,
        inodes_free,
        read_only: false,
        dataset: None,
    }
}

/// One owner's file systems do not answer; another's do.
#[test]
fn one_owner_holds_a_few_threads() {
    let roots = Arc::new(Roots::of_this_machine().unwrap());
    let pool = SpacePool::default();
    let theirs = pool.of_owner("mallory".into());
    let stuck: Vec<Arc<Slot>> = (0..THREADS * 2).map(|_| Arc::default()).collect();
    let held: Vec<_> = stuck.iter().map(|slot| slot.lock()).collect();
    let whose = || Whose::Root { pid: 1 << 30, start_ticks: 1 };
    for slot in &stuck {
        let owner = theirs.owner.clone();
        assert!(pool.put(Question { whose: whose(), owner, roots: roots.clone(), slot: slot.clone() }));
    }
    until(|| pool.crew.lock().owned.get("mallory") == Some(&OWNED_THREADS));
    for owner in [None, Some("alice".into())] {
        let pool = owner.map_or_else(|| pool.clone(), |owner| pool.of_owner(owner));
        let mut watch = Watch::new(pool, roots.clone());
        watch.ask(&live(std::process::id()), Instant::now());
        until_told(|| watch.last(Instant::now()));
    }
    let left = pool.crew.lock().queue.len();
    assert_eq!(left, stuck.len() - OWNED_THREADS, "the others wait for these two");
    // When they come back, all are asked, and nobody is said to hold what he does not.
    drop(held);
    until(|| pool.crew.lock().queue.is_empty() && pool.crew.lock().owned.is_empty());
}

/// Questions that do not come back.
#[test]
fn stuck_ones_cost_nobody_a_reading() {
    let pool = SpacePool::default();
    let now = Instant::now();
    let stuck: Vec<Arc<Slot>> = (0..THREADS * 2).map(|_| Arc::default()).collect();
    let gate = Arc::new(Roots::of_this_machine().unwrap());
    let held: Vec<_> = stuck.iter().map(|slot| slot.lock()).collect();
    // Whoever answers is held at the slot, as by a file system that does not.
    for slot in &stuck {
        let whose = Whose::Root { pid: 1 << 30, start_ticks: 1 };
        pool.put(Question { whose, owner: None, roots: gate.clone(), slot: slot.clone() });
    }
    until(|| pool.threads() == THREADS && pool.crew.lock().queue.len() <= THREADS);
    // All threads are stuck, and no more are made; a question is left and nobody waits.
    let mut watch = Watch::new(pool.clone(), gate);
    watch.ask(&live(std::process::id()), now);
    assert!(watch.slot.lock().in_flight && watch.last(Instant::now()) == Lately::default());
    assert_eq!(pool.threads(), THREADS);
    // When they come back, it is answered.
    drop(held);
    until_told(|| watch.last(Instant::now()));
}
