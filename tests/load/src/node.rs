//! A node made for measuring: the product's parts put together as the agent does, with made-up instances.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sonde_broker::{Client, OpenDoors, launch};
use sonde_collect::identity::{Birth, InstanceName};
use sonde_collect::{CgroupDirs, Found, GroupSource, Kind, Runtime};
use sonde_host::{
    Accounts, CodeCache, Compiling, Grant, Kernel, KstatsFuture, Loader, Placement, Policy, Reserved, Schedule, Sensor,
    Settings, Slot, TargetId,
};
use uuid::Uuid;

use crate::measure::{Figures, Looks, Totals};
use crate::plan::{Behaviour, Group, Plan};
use crate::processes::{Usage, children};
use crate::server::{PORT, Server};

/// Looks at each interval, so that no run is missed.
const LOOKS_PER_INTERVAL: u32 = 4;
/// Longest wait for what was started.
const SOON: Duration = Duration::from_secs(60);

/// What went wrong, in a sentence.
#[derive(Debug)]
pub struct LoadError(pub String);

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

fn fault<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> LoadError {
    move |error| LoadError(format!("{what}: {error}"))
}

/// No kernel to ask.
struct NoKernel;

impl Kernel for NoKernel {
    fn kstats(&self, _: String) -> KstatsFuture<'_> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// A placed group.
pub struct Part {
    pub group: Group,
    pub slots: Vec<(Arc<Slot>, Duration)>,
    _doors: Vec<OpenDoors>,
}

/// How long it took to have sensors that run.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Started {
    pub digests: usize,
    pub seconds: f64,
}

/// The parts of a node.
pub struct Node {
    client: Arc<Client>,
    broker: u32,
    schedule: Schedule,
    loader: Loader,
    accounts: Accounts,
    servers: Vec<(Server, Uuid)>,
    next_target: u64,
    plan: Plan,
}

impl Node {
    /// Starts the processes of a plan; code is kept in `folder`.
    ///
    /// # Errors
    /// A sentence that names what could not be started.
    pub async fn start(plan: Plan, folder: &Path) -> Result<Self, LoadError> {
        sonde_broker::raise_descriptors();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let settings = Settings { threads, standing: plan.standing, ..Settings::default() };
        let arguments = ["--log", "error"].map(Into::into);
        let launched = launch(&plan.sonde, &arguments).map_err(fault("the broker cannot be started"))?;
        let (broker, key) = (launched.pid(), launched.key());
        let client = launched.connect(settings.runner_memory_bytes).map_err(fault("the broker cannot be reached"))?;
        let schedule = Schedule::start(settings, client.clone(), Some(key)).map_err(fault("no threads"))?;
        let cache = CodeCache::open(folder).map_err(fault("code cannot be kept"))?;
        let loader = Loader::new(Reserved::default(), cache, Compiling::new(client.clone()), schedule.clone());
        let accounts = Accounts::default();
        let mut node = Self { client, broker, schedule, loader, accounts, servers: Vec::new(), next_target: 0, plan };
        for _ in 0..node.plan.servers {
            node.add_server().await?;
        }
        Ok(node)
    }

    async fn add_server(&mut self) -> Result<(), LoadError> {
        let server = Server::start(&self.plan.server).map_err(fault("an instance cannot be started"))?;
        let pid = server.0.id();
        let own = std::fs::read_link("/proc/self/ns/net").ok();
        let deadline = Instant::now() + SOON;
        // The namespace is the process's own from the moment that `unshare` has made it.
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).ok() == own {
            if Instant::now() > deadline {
                return Err(LoadError("an instance has no network namespace of its own".into()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stat = sonde_collect::process::stat(Path::new("/proc"), pid).map_err(fault("an instance has ended"))?;
        let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, &pid.to_le_bytes());
        let found = Found {
            name: InstanceName {
                uuid,
                runtime: Runtime::ProcessGroup,
                runtime_id: format!("load-{pid}"),
                name: None,
                image: None,
            },
            birth: Birth { boot_id: String::new(), mark: stat.start_ticks },
            cgroup_path: format!("/process-group/load-{pid}"),
            cgroups: CgroupDirs::default(),
            kind: Kind::Processes { source: GroupSource::Port(PORT), pid, start_ticks: stat.start_ticks },
            init: None,
            created: None,
            annotations: Vec::new(),
            bundle: None,
            metadata: Default::default(),
            root_owned: true,
            nested_claims: 0,
        };
        let owner = format!("owner-{}", self.servers.len());
        self.client.note(&found, &owner);
        self.servers.push((server, uuid));
        Ok(())
    }

    /// Loads the digests of a group; returns them and how long it took.
    ///
    /// # Errors
    /// A file cannot be read or is refused.
    pub async fn load(&self, group: &Group) -> Result<(Vec<Arc<Sensor>>, Started), LoadError> {
        let bytes = std::fs::read(&group.file).map_err(|error| {
            LoadError(format!("{}: {error}; `cargo xtask sensors` builds it", group.file.display()))
        })?;
        let account = self.accounts.account("operator", &sonde_host::Share::OPERATOR);
        let began = Instant::now();
        let mut sensors = Vec::with_capacity(group.digests);
        for number in 0..group.digests {
            let bytes = another(&bytes, number);
            sensors.push(self.loader.load(bytes, &account).await.map_err(fault("a sensor is refused"))?);
        }
        Ok((sensors, Started { digests: group.digests, seconds: began.elapsed().as_secs_f64() }))
    }

    /// Places all sensors of a group.
    ///
    /// # Errors
    /// As [`Node::load`].
    pub async fn place(&mut self, group: &Group) -> Result<Part, LoadError> {
        let (sensors, _) = self.load(group).await?;
        let config: BTreeMap<String, String> = group.config.iter().cloned().collect();
        let (mut slots, mut all_doors) = (Vec::with_capacity(group.sensors), Vec::new());
        for number in 0..group.sensors {
            let sensor = sensors[number % sensors.len()].clone();
            let asked = sensor.manifest.resolve(&config).map_err(fault("the settings do not fit"))?;
            let grant = Grant::decide(&sensor.manifest, asked, &Policy::default()).map_err(fault("it is refused"))?;
            let grant = Arc::new(Grant { interval: group.interval, min_interval: group.interval, ..grant });
            let name = format!("{}-{}", group.name, number % group.accounts);
            let instance = self.servers.get(number % self.servers.len().max(1)).map_or(Uuid::nil(), |(_, uuid)| *uuid);
            let doors = self.client.doors(instance, &grant, &BTreeMap::new()).await;
            self.next_target += 1;
            let placement = Placement {
                target: TargetId(self.next_target),
                name: group.name.into(),
                sensor,
                grant,
                account: self.accounts.account(&name, &self.plan.share),
                doors: doors.as_ref().map(OpenDoors::number),
                kernel: Arc::new(NoKernel),
                state: Vec::new(),
            };
            slots.push((self.schedule.place(placement).await, group.interval));
            all_doors.extend(doors);
        }
        Ok(Part { group: group.clone(), slots, _doors: all_doors })
    }

    /// Places everything, waits and measures.
    ///
    /// # Errors
    /// As [`Node::load`].
    pub async fn carry_out(&mut self) -> Result<Figures, LoadError> {
        let mut parts = Vec::new();
        for group in self.plan.groups.clone() {
            parts.push(self.place(&group).await?);
        }
        tokio::time::sleep(self.plan.warm_up).await;
        let figures = self.measure(&parts).await;
        for part in parts {
            for (slot, _) in part.slots {
                self.schedule.remove(slot).await;
            }
        }
        Ok(figures)
    }

    /// Measures what is placed, for as long as the plan says.
    pub async fn measure(&self, parts: &[Part]) -> Figures {
        let of = |behaviour| parts.iter().filter(move |part| part.group.behaviour == behaviour);
        let honest: Vec<_> = of(Behaviour::Honest).flat_map(|part| part.slots.iter().cloned()).collect();
        let hostile: Vec<_> = of(Behaviour::Hostile).flat_map(|part| part.slots.iter().cloned()).collect();
        let sums = || {
            let of = |slots: &[(Arc<Slot>, Duration)]| Totals::of(slots.iter().map(|(slot, _)| slot));
            (of(&honest), of(&hostile), Usage::now(self.broker))
        };
        let shortest = honest.iter().map(|(_, interval)| *interval).min().unwrap_or(SOON);
        let beat = (shortest / LOOKS_PER_INTERVAL).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let before = sums();
        let began = Instant::now();
        let mut looks = Looks::default();
        while began.elapsed() < self.plan.measured {
            looks.look(&honest);
            tokio::time::sleep(beat).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let after = sums();
        let (lateness, duration) = looks.spreads();
        let hostile_failures = sonde_host::RunFailure::REASONS
            .iter()
            .zip(after.1.failures.iter().zip(before.1.failures))
            .map(|(reason, (after, before))| ((*reason).to_owned(), after - before))
            .filter(|(_, count)| *count > 0)
            .collect();
        Figures {
            seconds,
            honest: honest.len(),
            hostile: hostile.len(),
            honest_runs: after.0.runs - before.0.runs,
            honest_failures: after.0.failed() - before.0.failed(),
            honest_fault: honest.iter().find_map(|(slot, _)| Some(slot.last_failure()?.failure.to_string())),
            hostile_runs: after.1.runs - before.1.runs,
            hostile_failures,
            hostile_cpu_seconds: (after.1.cpu - before.1.cpu).as_secs_f64(),
            quarantined: hostile.iter().filter(|(slot, _)| slot.standing().quarantine.is_some()).count(),
            lateness,
            duration,
            used: since(&before.2, after.2),
            runners_ended: self.schedule.facts().runners_ended.load(Ordering::Relaxed),
        }
    }

    /// Kills all runners; returns how long it took until every slot of a part had run again.
    ///
    /// # Errors
    /// They do not.
    pub async fn kill_runners(&self, part: &Part) -> Result<Duration, LoadError> {
        let before: Vec<_> = part.slots.iter().map(|(slot, _)| slot.latest().map(|latest| latest.at)).collect();
        let began = Instant::now();
        for pid in children(self.broker) {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).ok_or_else(|| LoadError("pid 0".into()))?;
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                .map_err(fault("a runner cannot be killed"))?;
        }
        let again = |(slot, before): (&(Arc<Slot>, Duration), &Option<Instant>)| {
            slot.0.latest().is_some_and(|latest| latest.at > began && Some(latest.at) != *before)
        };
        while !part.slots.iter().zip(&before).all(again) {
            if began.elapsed() > SOON {
                return Err(LoadError("sensors are not back".into()));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(began.elapsed())
    }

    /// What the processes have and took.
    pub fn usage(&self) -> Usage {
        Usage::now(self.broker)
    }

    /// Ends the processes.
    pub async fn stop(self) {
        self.client.stop().await;
    }
}

/// CPU since then, and everything else as it is now.
fn since(before: &Usage, mut after: Usage) -> Usage {
    after.agent.cpu_seconds -= before.agent.cpu_seconds;
    after.broker.cpu_seconds -= before.broker.cpu_seconds;
    after.runners.cpu_seconds -= before.runners.cpu_seconds;
    after
}

/// The same component with another digest: a custom section with a number at its end.
fn another(component: &[u8], number: usize) -> Vec<u8> {
    const NAME: &str = "sonde:load";
    let content = number.to_string();
    let mut bytes = component.to_vec();
    let length = 1 + NAME.len() + content.len();
    bytes.extend([0, u8::try_from(length).expect("a number has few digits"), NAME.len() as u8]);
    bytes.extend_from_slice(NAME.as_bytes());
    bytes.extend_from_slice(content.as_bytes());
    bytes
}
