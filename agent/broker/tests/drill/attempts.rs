//! One attempt after the other to get out, or to have what others have.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use libc::{ENOSYS, EPERM};
use sonde_host::wire::Opening;
use sonde_host::{BrokerError, Ticket, TicketKey, Workers};
use sonde_jail::Layer;

use crate::orders::{GIVEN, Order, Said};
use crate::stage::{LONG, Puppet, Stage, Test, request};

pub const TESTS: &[(&str, Test)] = &[
    ("what_it_is_given_and_what_it_is", |stage| Box::pin(what_it_is(stage))),
    ("no_system_call_leads_out", |stage| Box::pin(no_call_leads_out(stage))),
    ("no_ticket_but_its_own_opens", |stage| Box::pin(no_ticket_but_its_own(stage))),
    ("no_door_but_the_grants_opens", |stage| Box::pin(no_door_but_the_grants(stage))),
];

/// How an attempt ends.
#[derive(Clone, Copy)]
enum End {
    Refused(i32),
    /// The process, by the kernel or by the broker.
    Ended,
    Done,
}
use End::{Done, Ended, Refused};

/// Every layer holds, the user is nobody else's, and memory that runs out takes it before what the node is for.
async fn what_it_is(stage: &mut Stage) {
    let (one, other) = (stage.puppet().await, stage.puppet().await);
    for puppet in [&one, &other] {
        assert_eq!(puppet.ready.layers.len(), Layer::ALL.len());
        let faults: Vec<_> = puppet.ready.layers.iter().filter(|report| report.fault.is_some()).collect();
        assert!(faults.is_empty(), "{faults:?}");
        let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", puppet.ready.pid)).unwrap();
        assert_eq!(score.trim(), "500");
        assert_eq!(std::fs::read(format!("/proc/{}/environ", puppet.ready.pid)).unwrap_or_default(), b"");
    }
    assert_ne!(one.ready.uid, other.ready.uid);
    for puppet in [one, other] {
        stage.client.kill(puppet.number);
        puppet.ends("the agent ends it").await;
    }
}

async fn no_call_leads_out(stage: &mut Stage) {
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = SocketAddr::from_abstract_name(format!("sonde-drill-{}", std::process::id())).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();
    let mut puppet = None;
    for (what, order, end) in
        acts(stage).into_iter().chain(calls(stage)).chain(calls_for_more()).chain(calls_on_given())
    {
        let mut attacker = match puppet.take() {
            Some(puppet) => puppet,
            None => with_socket(stage).await,
        };
        let said = attacker.obey(order).await;
        match end {
            Refused(errno) => assert_eq!(said, Some(Said::Refused(errno)), "{what}"),
            Done => assert!(matches!(said, Some(Said::Done(_))), "{what}: {said:?}"),
            Ended => assert_eq!(said, None, "{what}"),
        }
        match end {
            Ended => attacker.is_gone(what).await,
            _ => puppet = Some(attacker),
        }
        stage.goes_on().await;
    }
    drop(host);
}

/// A runner that has had a socket of its instance's from the broker.
async fn with_socket(stage: &Stage) -> Puppet {
    let mut puppet = stage.puppet().await;
    let ticket = stage.ticket(&puppet);
    let said = puppet.obey(Order::Ask(request(&ticket, 0, Opening::Tcp(stage.own.port)))).await;
    assert_eq!(said, Some(Said::Opened { descriptor: true, secret: None }));
    puppet
}

type Attempt = (&'static str, Order, End);

fn acts(stage: &Stage) -> Vec<Attempt> {
    let act = |name: &'static str, end| (name, Order::Act(name.into()), end);
    let read_memory = |pid: u32| ("read memory", Order::Act(format!("read_memory_of:{pid}")), Ended);
    let mut acts = vec![
        act("execve:/proc/self/exe", Ended),
        act("execve:/bin/sh", Ended),
        act("execveat_memfd", Ended),
        act("open:/", Refused(EPERM)),
        act("open:.", Refused(EPERM)),
        act("open:/etc/passwd", Refused(EPERM)),
        act("open:/proc/1/environ", Refused(EPERM)),
        act("open:/proc/self/mem", Refused(EPERM)),
        act("open:/proc/self/fd/0", Refused(EPERM)),
        act("open:/dev/mem", Refused(EPERM)),
        act("open_path:/", Refused(EPERM)),
        act("openat2:/etc/passwd", Refused(EPERM)),
        // Allowed for descriptors; of a path it finds what the empty root has.
        act("stat:/etc/passwd", Refused(libc::ENOENT)),
        act("stat:/proc/1", Refused(libc::ENOENT)),
        act("write:/sys/fs/cgroup/memory/cgroup.procs", Refused(EPERM)),
        act("write:/proc/self/oom_score_adj", Refused(EPERM)),
        act("symlink", Refused(EPERM)),
        act("mount", Ended),
        act("send_descriptor", Refused(EPERM)),
        act("own_shared_memory", Done),
        read_memory(std::process::id()),
        read_memory(stage.broker),
    ];
    if cfg!(target_arch = "x86_64") {
        acts.push(act("old_call", Ended));
    }
    acts
}

fn call(what: &'static str, number: i64, arguments: &[i64], end: End) -> Attempt {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    (what, Order::Call { number, arguments: all }, end)
}

/// Calls on the agent and the broker, and what no honest runner calls.
fn calls(stage: &Stage) -> Vec<Attempt> {
    let (agent, broker) = (i64::from(std::process::id()), i64::from(stage.broker));
    let (term, kill) = (libc::SIGTERM.into(), libc::SIGKILL.into());
    vec![
        call("ptrace the broker", libc::SYS_ptrace, &[16, broker], Ended),
        call("ptrace the agent", libc::SYS_ptrace, &[16, agent], Ended),
        call("unshare a user namespace", libc::SYS_unshare, &[libc::CLONE_NEWUSER.into()], Ended),
        call("fork", libc::SYS_clone, &[libc::SIGCHLD.into()], Ended),
        call("clone3", libc::SYS_clone3, &[0, 0], Refused(ENOSYS)),
        call("keyctl", libc::SYS_keyctl, &[0, -3, 0], Ended),
        call("io_uring", libc::SYS_io_uring_setup, &[8, 0], Ended),
        call("bpf", libc::SYS_bpf, &[11, 0, 0], Ended),
        call("userfaultfd", libc::SYS_userfaultfd, &[0], Ended),
        call("perf", libc::SYS_perf_event_open, &[0, 0, -1, -1, 0], Ended),
        call("chroot", libc::SYS_chroot, &[0], Ended),
        call("open by handle", libc::SYS_open_by_handle_at, &[0, 0, 0], Ended),
        call("take a descriptor", libc::SYS_pidfd_getfd, &[0, 0, 0], Ended),
        call("a handle on the broker", libc::SYS_pidfd_open, &[broker, 0], Refused(EPERM)),
        call("kill the broker", libc::SYS_kill, &[broker, kill], Refused(EPERM)),
        call("kill the agent", libc::SYS_kill, &[agent, kill], Refused(EPERM)),
        call("kill everybody", libc::SYS_kill, &[-1, kill], Refused(EPERM)),
        call("signal a thread of the broker", libc::SYS_tgkill, &[broker, broker, term], Refused(EPERM)),
        call("queue a signal", libc::SYS_rt_sigqueueinfo, &[broker, term, 0], Refused(EPERM)),
        call("the broker's limits", libc::SYS_prlimit64, &[broker, 7, 0, 0], Refused(EPERM)),
        call("the broker's priority", libc::SYS_setpriority, &[0, broker, 19], Refused(EPERM)),
        call("the broker's processors", libc::SYS_sched_setaffinity, &[broker, 8, 0], Refused(EPERM)),
        call("move the broker's memory", libc::SYS_migrate_pages, &[broker, 0, 0, 0], Refused(EPERM)),
    ]
}

/// Calls on the kernel at large.
fn calls_for_more() -> Vec<Attempt> {
    let mut calls = vec![
        call("raise a limit", libc::SYS_setrlimit, &[7, 0], Refused(EPERM)),
        call("be root", libc::SYS_setresuid, &[0, 0, 0], Refused(EPERM)),
        call("have capabilities", libc::SYS_capset, &[0, 0], Refused(EPERM)),
        call("outlive the broker", libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG.into(), 0], Refused(EPERM)),
        call("be looked into", libc::SYS_prctl, &[libc::PR_SET_DUMPABLE.into(), 1], Refused(EPERM)),
        call("another filter", libc::SYS_seccomp, &[1, 0, 0], Refused(EPERM)),
        call("a TCP socket", libc::SYS_socket, &[libc::AF_INET.into(), 1, 0], Refused(EPERM)),
        call("a Unix socket", libc::SYS_socket, &[libc::AF_UNIX.into(), 1, 0], Refused(EPERM)),
        call("netlink", libc::SYS_socket, &[libc::AF_NETLINK.into(), 3, 0], Refused(EPERM)),
        call("vsock", libc::SYS_socket, &[libc::AF_VSOCK.into(), 1, 0], Refused(EPERM)),
        call("a raw socket", libc::SYS_socket, &[libc::AF_PACKET.into(), 3, 0], Refused(EPERM)),
        call("the kernel's cryptography", libc::SYS_socket, &[libc::AF_ALG.into(), 5, 0], Refused(EPERM)),
        call("a datagram pair", libc::SYS_socketpair, &[1, 2, 0, 0], Refused(EPERM)),
        call("shared memory", libc::SYS_shmget, &[0, 4096, 0o1600], Refused(EPERM)),
        call("a message queue", libc::SYS_mq_open, &[0, 0], Refused(EPERM)),
        call("secret memory", libc::SYS_memfd_secret, &[0], Refused(EPERM)),
        call("locked memory", libc::SYS_mlockall, &[3], Refused(EPERM)),
        call("inotify", libc::SYS_inotify_init1, &[0], Refused(EPERM)),
        call("fanotify", libc::SYS_fanotify_init, &[0, 0], Refused(EPERM)),
        call("the kernel's log", libc::SYS_syslog, &[3, 0, 0], Refused(EPERM)),
        call("a timer that signals", libc::SYS_timer_create, &[0, 0, 0], Refused(EPERM)),
    ];
    if cfg!(target_arch = "x86_64") {
        // Of the ABI with 32-bit pointers, whose numbers have a bit more.
        calls.push(call("x32", (1 << 30) | libc::SYS_open, &[0, 0], Refused(EPERM)));
    }
    calls
}

/// What could be made of a socket that the broker gave.
fn calls_on_given() -> Vec<Attempt> {
    const SIOCGSKNS: i64 = 0x894C;
    const SIOCGIFCONF: i64 = 0x8912;
    vec![
        call("its namespace", libc::SYS_ioctl, &[GIVEN, SIOCGSKNS], Refused(EPERM)),
        call("its interfaces", libc::SYS_ioctl, &[GIVEN, SIOCGIFCONF, 0], Refused(EPERM)),
        call("connect elsewhere", libc::SYS_connect, &[GIVEN, 0, 16], Refused(EPERM)),
        call("bind", libc::SYS_bind, &[GIVEN, 0, 16], Refused(EPERM)),
        call("listen", libc::SYS_listen, &[GIVEN, 1], Refused(EPERM)),
        call("accept", libc::SYS_accept4, &[GIVEN, 0, 0, 0], Refused(EPERM)),
        call("send to an address", libc::SYS_sendto, &[GIVEN, 0, 0, 0, 1, 16], Refused(EPERM)),
        call("signals by it", libc::SYS_fcntl, &[GIVEN, libc::F_SETOWN.into(), 1], Refused(EPERM)),
        call("a filter on it", libc::SYS_setsockopt, &[GIVEN, 1, libc::SO_ATTACH_FILTER.into(), 0, 0], Refused(EPERM)),
        call("a device for it", libc::SYS_setsockopt, &[GIVEN, 1, libc::SO_BINDTODEVICE.into(), 0, 0], Refused(EPERM)),
        call("its peer's process", libc::SYS_getsockopt, &[GIVEN, 1, libc::SO_PEERPIDFD.into(), 0, 0], Refused(EPERM)),
        call("enter by it", libc::SYS_setns, &[GIVEN, libc::CLONE_NEWNET.into()], Ended),
    ]
}

async fn no_ticket_but_its_own(stage: &mut Stage) {
    let victim = stage.puppet().await;
    let theirs = stage.ticket(&victim);
    let foreign = TicketKey::random().unwrap();
    let others = stage.others.doors.number();
    type Forge<'a> = Box<dyn Fn(&mut Ticket) + 'a>;
    let forged: Vec<(&str, Forge<'_>)> = vec![
        ("a mark of another key", Box::new(|own| *own = foreign.ticket(own.run, own.runner, own.doors, LONG))),
        ("another run", Box::new(|own| own.run += 1)),
        ("other doors", Box::new(|own| own.doors = others)),
        ("a later deadline", Box::new(|own| own.deadline_ns = u64::MAX)),
        ("another runner", Box::new(|own| own.runner += 1)),
        ("another runner's, as it is", Box::new(|own| *own = theirs.clone())),
        (
            "another runner's, made ours",
            Box::new(|own| {
                let runner = own.runner;
                *own = theirs.clone();
                own.runner = runner;
            }),
        ),
    ];
    for (what, forge) in &forged {
        let mut puppet = stage.puppet().await;
        let mut ticket = stage.ticket(&puppet);
        forge(&mut ticket);
        puppet.order(Order::Ask(request(&ticket, 0, Opening::Tcp(stage.own.port)))).await;
        puppet.ends(what).await;
    }
    drop(forged);
    // Honest ones can be late; nothing is opened all the same.
    let mut puppet = stage.puppet().await;
    let expired = stage.ticket_for(&puppet, &stage.own, Duration::ZERO);
    let said = puppet.obey(Order::Ask(request(&expired, 0, Opening::Tcp(stage.own.port)))).await;
    assert!(matches!(said, Some(Said::NotOpened(BrokerError::Denied(_)))), "{said:?}");
    // The same opening twice, then one ahead of its turn.
    for second in [0, 2] {
        let mut puppet = stage.puppet().await;
        let ticket = stage.ticket(&puppet);
        let open = |number| Order::Ask(request(&ticket, number, Opening::Tcp(stage.own.port)));
        assert_eq!(puppet.obey(open(0)).await, Some(Said::Opened { descriptor: true, secret: None }));
        puppet.order(open(second)).await;
        puppet.ends("a number out of its turn").await;
    }
    stage.goes_on().await;
}

async fn no_door_but_the_grants(stage: &mut Stage) {
    let (own, others) = (stage.own.port, stage.others.port);
    let dishonest = [
        Opening::Tcp(others),
        Opening::Tcp(22),
        Opening::Http(own),
        Opening::Unix("/run/other".into()),
        Opening::Unix("\0/run/socket".into()),
        Opening::Unix("@/run/socket".into()),
        Opening::File("/etc/shadow".into()),
        Opening::File("/etc/app/../shadow".into()),
        Opening::File("/etc/app/..".into()),
        Opening::File("/etc/app/sub/file".into()),
        Opening::File("/etc/app/x\0".into()),
        Opening::Processes,
    ];
    for what in dishonest {
        let mut puppet = stage.puppet().await;
        let (ticket, asked) = (stage.ticket(&puppet), format!("{what:?}"));
        puppet.order(Order::Ask(request(&ticket, 0, what))).await;
        puppet.ends(&asked).await;
        stage.goes_on().await;
    }
    // What an honest runner may come to ask, and does not get.
    let mut puppet = stage.puppet().await;
    let ticket = stage.ticket(&puppet);
    let mut number = 0;
    let mut ask = |what| {
        number += 1;
        Order::Ask(request(&ticket, number - 1, what))
    };
    for secret in ["secret-b", "../secret-b", ""] {
        let said = puppet.obey(ask(Opening::Secret(secret.into()))).await;
        assert_eq!(said, Some(Said::NotOpened(BrokerError::NotFound)), "{secret}");
    }
    // The instance lives in the node's own file system.
    for what in [Opening::File("/etc/app/x".into()), Opening::Unix("/run/socket".into())] {
        let said = puppet.obey(ask(what)).await;
        assert!(matches!(said, Some(Said::NotOpened(BrokerError::Denied(_)))), "{said:?}");
    }
    stage.goes_on().await;
}
