//! What the drill takes place on: an agent's end, a broker, an instance of two accounts each, and a runner that nothing is wrong with.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use sonde_broker::{Client, OpenDoors, launch};
use sonde_collect::{Discovery, DiscoveryConfig, Found, GroupSource, NodeId, ProcessGroup, Roots};
use sonde_host::wire::{self, Inbox, OpenRequest, Opening, Outbox};
use sonde_host::{DoorsNumber, Grant, Room, RunnerNumber, Sharing, Ticket, TicketKey, Workers};
use sonde_manifest::{Class, FilePattern, Manifest};

use crate::orders::{Order, Ready, Said};

/// Longest wait for anything; nothing honest takes it.
pub const LONG: Duration = Duration::from_secs(30);
/// What the runs of a runner may have: as little as there can be, so that a bomb is small.
const RUNNER_MEMORY_BYTES: u64 = 16 << 20;
pub const SECRET: &str = "hunter2";

/// A test, on a stage of its own.
pub type Test = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The life of a process that is an account's instance: it serves a port until its input ends.
pub fn instance() {
    let listener = listen(0);
    println!("{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
    let _ = std::io::stdin().lines().count();
}

/// Listens where others may listen too.
pub fn listen(port: u16) -> TcpListener {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt::set_socket_reuseport};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_reuseport(&listener, true).unwrap();
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
    listen(&listener, 16).unwrap();
    listener.into()
}

pub struct Instance {
    child: Child,
    pub found: Arc<Found>,
    pub port: u16,
    pub doors: OpenDoors,
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Stage {
    pub client: Arc<Client>,
    key: TicketKey,
    pub broker: u32,
    /// Of account "a", whose runs the runner under attack has; and of "b", whose it has not.
    pub own: Instance,
    pub others: Instance,
    bystander: Option<Puppet>,
    runs: AtomicU64,
    _directory: tempfile::TempDir,
}

/// Sets the stage, performs, and sees that nothing is left of it.
pub fn perform(test: Test) {
    let launched = launch(&std::env::current_exe().unwrap(), &[]).unwrap();
    let (key, broker) = (launched.key(), launched.pid());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = launched.connect(RUNNER_MEMORY_BYTES).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let own = start_instance(&client, directory.path(), "a").await;
        let others = start_instance(&client, directory.path(), "b").await;
        let mut stage =
            Stage { client, key, broker, own, others, bystander: None, runs: AtomicU64::new(0), _directory: directory };
        test(&mut stage).await;
        stage.client.stop().await;
    });
    drop(runtime);
    assert!(!alive(broker), "the broker is there");
    assert_eq!(rooms_of(broker), Vec::<PathBuf>::new(), "cgroups are there");
}

async fn start_instance(client: &Arc<Client>, directory: &Path, owner: &str) -> Instance {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.arg("instance").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().parse().unwrap();
    let pid_file = directory.join(owner);
    std::fs::write(&pid_file, format!("{}\n", child.id())).unwrap();
    let secret = directory.join(format!("secret-{owner}"));
    std::fs::File::create(&secret).unwrap().write_all(SECRET.as_bytes()).unwrap();
    let process_groups = vec![ProcessGroup { name: owner.into(), source: GroupSource::PidFile(pid_file) }];
    let config = DiscoveryConfig { process_groups, ..DiscoveryConfig::new(NodeId::new("drill").unwrap()) };
    let mut discovery = Discovery::new(Arc::new(Roots::of_this_machine().unwrap()), config);
    discovery.scan();
    let found = discovery.instances().find(|found| found.name.runtime_id == owner).unwrap().clone();
    client.note(&found, owner);
    let grant = grant(port, &format!("secret-{owner}"));
    let secrets = BTreeMap::from([(format!("secret-{owner}"), secret)]);
    let doors = client.doors(found.name.uuid, &grant, &secrets).await.unwrap();
    Instance { child, found, port, doors }
}

pub fn grant(port: u16, secret: &str) -> Grant {
    let text = "name = \"drill\"\nversion = \"0.1.0\"\ninterval = \"1s\"\n";
    let mut grant = Grant::nothing(&Manifest::parse(text).unwrap());
    grant.tcp = vec![port];
    grant.unix = vec!["/run/socket".into()];
    grant.files = vec![FilePattern::ChildrenOf("/etc/app".into())];
    grant.secrets = vec![secret.into()];
    grant
}

impl Stage {
    pub async fn puppet(&self) -> Puppet {
        let room = Room { class: Class::Small, sharing: Sharing::Solitary };
        let started = self.client.start_runner(room).await.unwrap();
        let (mut inbox, outbox) = wire::polled(started.socket, true).unwrap();
        let ready: Ready = next(&mut inbox).await.expect("it says that it is there");
        Puppet { number: started.number, ready, inbox, outbox }
    }

    /// A run's right to what is behind the own instance's doors.
    pub fn ticket(&self, runner: &Puppet) -> Ticket {
        self.ticket_for(runner, &self.own, LONG)
    }

    pub fn ticket_for(&self, runner: &Puppet, instance: &Instance, lasts: Duration) -> Ticket {
        self.write(runner, instance.doors.number(), lasts)
    }

    pub fn ticket_with(&self, runner: &Puppet, doors: DoorsNumber) -> Ticket {
        self.write(runner, doors, LONG)
    }

    fn write(&self, runner: &Puppet, doors: DoorsNumber, lasts: Duration) -> Ticket {
        self.key.ticket(self.runs.fetch_add(1, Ordering::Relaxed), runner.number, doors, lasts)
    }

    /// That the broker, and a runner that has nothing to do with it, go on working. How long an opening takes there.
    pub async fn goes_on(&mut self) -> Duration {
        let mut bystander = match self.bystander.take() {
            Some(bystander) => bystander,
            None => self.puppet().await,
        };
        let ticket = self.ticket_for(&bystander, &self.others, LONG);
        let began = Instant::now();
        let secret = request(&ticket, 0, Opening::Secret("secret-b".into()));
        let said = bystander.obey(Order::Ask(secret)).await;
        let took = began.elapsed();
        assert_eq!(said, Some(Said::Opened { descriptor: false, secret: Some(SECRET.into()) }));
        let port = self.others.port;
        let said = bystander.obey(Order::Ask(request(&ticket, 1, Opening::Tcp(port)))).await;
        assert_eq!(said, Some(Said::Opened { descriptor: true, secret: None }));
        self.bystander = Some(bystander);
        took
    }
}

pub fn request(ticket: &Ticket, number: u32, what: Opening) -> OpenRequest {
    OpenRequest { id: 0, ticket: ticket.clone(), number, what, patience_ms: 20_000 }
}

/// A runner with our code in its place.
pub struct Puppet {
    pub number: RunnerNumber,
    pub ready: Ready,
    inbox: Inbox,
    outbox: Outbox,
}

impl Puppet {
    /// What comes of an attempt; `None` where the process ends of it.
    pub async fn obey(&mut self, order: Order) -> Option<Said> {
        self.order(order).await;
        self.said().await
    }

    pub async fn order(&mut self, order: Order) {
        self.outbox.push(&order, None);
        self.outbox.flush().await.unwrap();
    }

    pub async fn said(&mut self) -> Option<Said> {
        next(&mut self.inbox).await
    }

    /// That it ends, whole, and that its parent has waited for it.
    pub async fn ends(mut self, why: &str) {
        assert_eq!(self.said().await, None, "{why}");
        self.is_gone(why).await;
    }

    pub async fn is_gone(&self, why: &str) {
        until(|| !alive(self.ready.pid), why).await;
    }
}

async fn next<T: DeserializeOwned>(inbox: &mut Inbox) -> Option<T> {
    let next = tokio::time::timeout(LONG, inbox.next::<T>()).await.expect("it speaks in time");
    // It may have been ended in the middle of a sentence.
    next.ok().flatten().map(|(said, _)| said)
}

pub async fn until(mut holds: impl FnMut() -> bool, why: &str) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "{why}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether there is such a process, or what is left of one that nobody has waited for.
pub fn alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The cgroups that a broker has made for its children.
pub fn rooms_of(broker: u32) -> Vec<PathBuf> {
    let prefix = format!("sonde-{broker}-");
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(entry.path());
            } else if depth < 4 {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// Resident memory of a process, in bytes (proc_pid_status(5)).
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
