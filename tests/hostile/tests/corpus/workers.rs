//! Compiling in a real worker: `sonde compile-worker` in its jail, started by a [`Workers`] of this test's; what it makes is given to a real runner.
//!
//! What is asserted is what the sandbox promises: whatever the file, it costs the worker what its limits allow, and this process next to nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use sonde_host::wire::{self, FromRunner, ToRunner, WireError};
use sonde_host::{CompileError, Compiling, Digest, NotStarted, Room, Sharing, Started, Starting, Workers, precheck};
use sonde_hostile::{Defence, Expected, Guest};
use sonde_jail::{Jail, Profile};
use sonde_manifest::Class;

use crate::cases::neighbour;
use crate::judge;
use crate::outcome::Refused;

/// What a worker here may take. Less than an agent's, which wait for ten times as long: where a bomb is ended says nothing about whether it is.
const WORKER_CPU_SECONDS: u64 = 2;
const WORKER_ADDRESS_BYTES: u64 = 2 << 30;
/// The kernel looks at a process's CPU time once a tick, and this is how it is ended and reaped.
const WORKER_SLACK: Duration = Duration::from_millis(500);
/// What this process may take for a file, the check before compiling included, not optimised.
const OWN_CPU: Duration = Duration::from_millis(1_500);
const OWN_KIB: u64 = 64 << 10;
/// A range of users that nobody has, nor any broker's children.
const FIRST_USER: u32 = (1 << 30) + (1 << 29);

/// As many descriptors and threads as an agent gives a runner of a few places.
const RUNNER_DESCRIPTORS: u64 = 256;
const RUNNER_THREADS: u64 = 96;
const RUNNER_PLACES: &str = "4";
/// A runner answers at once; a busy machine may take a moment.
const LOADING: Duration = Duration::from_secs(20);

/// The sandbox's processes as plain children of this one.
#[derive(Default)]
pub(crate) struct RealWorkers {
    children: Mutex<HashMap<u64, (Child, Option<UnixStream>)>>,
    next: AtomicU64,
}

impl RealWorkers {
    fn jail() -> Jail {
        Jail {
            profile: Profile::Compiler,
            uid: FIRST_USER + std::process::id() % (1 << 22),
            parent: std::process::id(),
            cgroup: Vec::new(),
            address_space_bytes: Some(WORKER_ADDRESS_BYTES),
            cpu_seconds: Some(WORKER_CPU_SECONDS),
            file_bytes: 0,
            open_files: 16,
            processes: 1,
            skip: Vec::new(),
        }
    }

    /// Starts `sonde ARGUMENTS --jail JAIL`; `broker` is kept for as long as it lives.
    fn start(
        &self,
        arguments: &[&str],
        jail: &Jail,
        broker: Option<(UnixStream, UnixStream)>,
    ) -> std::io::Result<Started> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (socket, of_child) = UnixStream::pair()?;
        let jail = serde_json::to_string(jail).map_err(std::io::Error::other)?;
        let mut command = Command::new(sonde_tests::binary());
        command.args(arguments).args(["--jail", &jail]).env_clear().process_group(0);
        let (kept, of_broker) = broker.unzip();
        let stdout = of_broker.map_or_else(Stdio::null, |socket| OwnedFd::from(socket).into());
        command.stdin(OwnedFd::from(of_child)).stdout(stdout).stderr(Stdio::null());
        self.children().insert(number, (command.spawn()?, kept));
        Ok(Started { number, socket: socket.into() })
    }

    fn start_jailed_runner(&self, class: Class) -> std::io::Result<Started> {
        let jail = Jail {
            profile: Profile::Runner,
            address_space_bytes: None,
            cpu_seconds: None,
            file_bytes: class.memory_bytes(),
            open_files: RUNNER_DESCRIPTORS,
            processes: RUNNER_THREADS,
            ..Self::jail()
        };
        let arguments = ["runner", "--class", class.name(), "--places", RUNNER_PLACES];
        self.start(&arguments, &jail, Some(UnixStream::pair()?))
    }

    fn children(&self) -> MutexGuard<'_, HashMap<u64, (Child, Option<UnixStream>)>> {
        self.children.lock().expect("no panic while held")
    }
}

fn starting<'a>(started: std::io::Result<Started>) -> Starting<'a> {
    let started = started.map_err(|error| NotStarted(error.to_string()));
    Box::pin(async { started })
}

impl Workers for RealWorkers {
    fn start_runner(&self, room: Room) -> Starting<'_> {
        starting(self.start_jailed_runner(room.class))
    }

    fn start_compiler(&self) -> Starting<'_> {
        starting(self.start(&["compile-worker"], &Self::jail(), None))
    }

    fn kill(&self, number: u64) {
        let child = self.children().remove(&number);
        if let Some((mut child, _)) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What has been used: by this process, and by its children that have ended.
#[derive(Clone, Copy)]
struct Used {
    own_cpu: Duration,
    own_kib: u64,
    workers_cpu: Duration,
}

impl Used {
    fn now() -> Self {
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has the line");
        let own_kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("it has the number");
        // proc_pid_stat(5): cutime and cstime are the 16th and 17th, and the command's name is the 2nd.
        let stat = std::fs::read_to_string("/proc/self/stat").expect("the kernel tells");
        let (_, fields) = stat.rsplit_once(')').expect("the command's name ends");
        let ticks: u64 =
            fields.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
        let workers_cpu = Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second());
        Self { own_cpu: Duration::new(clock.tv_sec as u64, clock.tv_nsec as u32), own_kib, workers_cpu }
    }
}

/// A guest that is only loaded, as far as code for it: judged by what came of that, and by what it cost whom.
pub(crate) async fn case(guest: &Guest, off: &[Defence], expected: Expected) -> Result<(), String> {
    let bytes = guest.bytes(off).map_err(|error| format!("the guest cannot be made: {error:?}"))?;
    let workers = Arc::new(RealWorkers::default());
    let compiling = Compiling::new(workers.clone());
    let (before, began) = (Used::now(), Instant::now());
    let compiled = compiled(&compiling, guest, &bytes, off).await;
    let (after, took) = (Used::now(), began.elapsed());
    let compiled = match compiled {
        Ok(code) => taken_in(&workers, guest.class_of(), &code).await.map(|()| code),
        refused => refused,
    };
    let left = workers.children().len();
    if left > 0 {
        return Err(format!("{left} workers were not ended"));
    }
    let (own, worker) = (after.own_cpu - before.own_cpu, after.workers_cpu - before.workers_cpu);
    let grown = after.own_kib.saturating_sub(before.own_kib);
    let came = compiled
        .as_ref()
        .map_or_else(|refused| format!("{refused:?}"), |code| format!("{} KiB of code", code.len() >> 10));
    let cost = format!(
        "{took:.1?}: {own:.1?} and {grown} KiB here, {worker:.1?} in a worker, for {} KiB: {came}",
        bytes.len() >> 10
    );
    if std::env::var_os("SONDE_HOSTILE_COSTS").is_some() {
        println!("{} without {off:?}: {cost}", guest.name);
    }
    if own > OWN_CPU || grown > OWN_KIB || worker > Duration::from_secs(WORKER_CPU_SECONDS) + WORKER_SLACK {
        return Err(format!("it costs too much ({cost})"));
    }
    neighbour().await?;
    match compiled {
        Ok(_) => judge::loaded(expected),
        Err(refused) => judge::refused(&refused, expected),
    }
}

async fn compiled(compiling: &Compiling, guest: &Guest, bytes: &[u8], off: &[Defence]) -> Result<Vec<u8>, Refused> {
    if !off.contains(&Defence::Precheck) {
        precheck(bytes).map_err(|fault| Refused { stage: "precheck", says: fault.to_string() })?;
    }
    compiling.compile(guest.class_of(), bytes).await.map_err(|error| {
        let stage = match &error {
            CompileError::Component(_) => "compile",
            CompileError::TooDear | CompileError::Late => "too dear",
            CompileError::Start(_) | CompileError::Worker(_) => "engine",
        };
        Refused { stage, says: sonde_host::chain(&error) }
    })
}

/// Whether a real runner takes the code in: its pool has places for so much and no more.
async fn taken_in(workers: &RealWorkers, class: Class, code: &[u8]) -> Result<(), Refused> {
    let fault = |says: String| Refused { stage: "engine", says };
    let room = Room { class, sharing: Sharing::Solitary };
    let started = workers.start_runner(room).await.map_err(|error| fault(error.to_string()))?;
    let number = started.number;
    let answer = tokio::time::timeout(LOADING, load(started, code)).await;
    workers.kill(number);
    match answer {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(says))) => Err(Refused { stage: "load", says }),
        Ok(Err(error)) => Err(fault(sonde_host::chain(&error))),
        Err(_) => Err(fault("the runner does not answer".into())),
    }
}

/// What a runner says of code: nothing where it is well.
async fn load(started: Started, code: &[u8]) -> Result<Option<String>, WireError> {
    let ended = || WireError::Read(std::io::ErrorKind::UnexpectedEof.into());
    let (mut inbox, mut outbox) = wire::polled(started.socket, false).map_err(WireError::Read)?;
    let mut file =
        File::from(memfd_create("code", MemfdFlags::CLOEXEC).map_err(|error| WireError::Read(error.into()))?);
    file.write_all(code).map_err(WireError::Read)?;
    outbox.push(&ToRunner::Load { digest: Digest::of(code) }, Some(file.into()));
    outbox.flush().await?;
    loop {
        match inbox.next::<FromRunner>().await?.ok_or_else(ended)?.0 {
            FromRunner::Loaded { fault, .. } => return Ok(fault),
            FromRunner::Log { message, .. } => return Err(WireError::Read(std::io::Error::other(message))),
            _ => {}
        }
    }
}
