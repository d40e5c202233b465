//! The schedule and the loader from outside, with runners and compile workers that do what each test says: honest, slow, stuck, dying,
//! and lying ones.

mod hostile;
mod loading;
mod places;
mod runners;
mod runs;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_host::wire::{Outcome, batch, encode};
use sonde_host::{
    Account, Accounts, BrokerError, CodeCache, Compiling, Grant, Kernel, Kstat, KstatsFuture, Loader, Patience,
    Placement, Reserved, RunFailure, Schedule, Sensor, Settings, Share, Slot, StandingRules, TargetId, Usage,
};

use workers::Scripted;

/// Longer than any of these tests needs on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const FAR: Duration = Duration::from_secs(3600);
/// A run at this interval is due again at once.
const AT_ONCE: Duration = Duration::from_millis(1);

pub const FREE: Share = Share { places: 1.0, ..Share::OPERATOR };

/// What a node has around the schedule.
pub struct Node {
    pub workers: Arc<Scripted>,
    pub schedule: Schedule,
    pub loader: Arc<Loader>,
    pub accounts: Accounts,
    pub folder: tempfile::TempDir,
}

pub fn settings() -> Settings {
    Settings {
        standing: StandingRules { quarantine_after: 10, longest_back_off: Duration::from_millis(5) },
        patience: Patience { overdue: FAR, ..Patience::default() },
        ..Settings::default()
    }
}

/// As many places for the small class.
pub fn with_places(places: u64) -> Settings {
    Settings { runner_memory_bytes: places * (16 << 20), ..settings() }
}

impl Node {
    pub fn new(settings: Settings) -> Self {
        let workers = Scripted::new();
        let schedule = Schedule::start(settings, workers.clone(), None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let loader = loader(&folder, &workers, &schedule);
        Self { workers, schedule, loader, accounts: Accounts::default(), folder }
    }

    pub fn account(&self, name: &str, share: Share) -> Arc<Account> {
        self.accounts.account(name, &share)
    }

    pub async fn sensor(&self, name: &str) -> Arc<Sensor> {
        self.sensor_with(name, "").await
    }

    pub async fn sensor_with(&self, name: &str, extra: &str) -> Arc<Sensor> {
        self.loader.load(component(name, extra), &self.account("loads", FREE)).await.unwrap()
    }

    /// Places a sensor of an account at an interval.
    pub async fn place(&self, target: u64, sensor: &Arc<Sensor>, account: &Arc<Account>, every: Duration) -> Arc<Slot> {
        self.place_as(target, sensor, account, grant(sensor, every)).await
    }

    pub async fn place_as(&self, target: u64, sensor: &Arc<Sensor>, account: &Arc<Account>, grant: Grant) -> Arc<Slot> {
        let placement = Placement {
            target: TargetId(target),
            name: sensor.manifest.name.as_str().into(),
            sensor: sensor.clone(),
            grant: Arc::new(grant),
            account: account.clone(),
            doors: None,
            kernel: Arc::new(Zfs),
            state: b"before".to_vec(),
        };
        self.schedule.place(placement).await
    }

    /// Waits until another sensor, on a target of its own, has run so often: whatever else was due has had its chance.
    pub async fn meanwhile(&self, runs: u64) {
        let sensor = self.sensor("meanwhile").await;
        let slot = self.place(900, &sensor, &self.account("meanwhile", FREE), AT_ONCE).await;
        until("the neighbour's runs", || slot.totals().runs >= runs).await;
        self.schedule.remove(slot.clone()).await;
        until("the neighbour to be gone", || Arc::strong_count(&slot) == 1).await;
    }
}

pub fn loader(folder: &tempfile::TempDir, workers: &Arc<Scripted>, schedule: &Schedule) -> Arc<Loader> {
    let cache = CodeCache::open(&folder.path().join("code")).unwrap();
    Arc::new(Loader::new(Reserved::default(), cache, Compiling::new(workers.clone()), schedule.clone()))
}

pub fn component(name: &str, extra: &str) -> Vec<u8> {
    let text = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "describe" (func $f))
        (export "collect" (func $f)))"#;
    let manifest =
        format!("name = \"{name}\"\nversion = \"0.1.0\"\ndescription = \"A double.\"\ninterval = \"5s\"\n{extra}");
    sonde_manifest::embed(&wat::parse_str(text).unwrap(), &manifest).unwrap()
}

pub fn grant(sensor: &Sensor, every: Duration) -> Grant {
    let nothing = Grant::nothing(&sensor.manifest);
    Grant { interval: every, min_interval: every.min(AT_ONCE), state: true, kstats: true, ..nothing }
}

/// The kernel of every instance here.
struct Zfs;

impl Kernel for Zfs {
    fn kstats(&self, module: String) -> KstatsFuture<'_> {
        Box::pin(async move {
            match module.as_str() {
                "huge" => Ok(vec![Kstat { module, name: "x".repeat(17 << 20), statistics: Vec::new() }]),
                "none" => Err(BrokerError::NotFound),
                "never" => std::future::pending().await,
                _ => Ok(vec![Kstat { module, name: "arcstats".into(), statistics: Vec::new() }]),
            }
        })
    }
}

pub fn outcome(result: Result<Vec<u8>, RunFailure>) -> Outcome {
    let result = result.map(Into::into);
    Outcome { result, usage: Usage::default(), logs: Vec::new(), logs_cut: false, state: None }
}

/// A batch with so many series in each of its families.
pub fn series(families: &[u32]) -> batch::Batch {
    let mut batch = batch::Batch::default();
    for (index, count) in families.iter().enumerate() {
        batch.families.push(batch::Family {
            name: format!("family_{index}"),
            kind: batch::Kind::Gauge,
            help: String::new(),
            unit: String::new(),
            label_names: vec!["n".into()],
        });
        for number in 0..*count {
            let label_values = vec![number.to_string()];
            batch.numbers.push(batch::Number { family: index as u32, label_values, value: 1.0, start_time: None });
        }
    }
    batch
}

pub fn good() -> Outcome {
    outcome(Ok(encode(&series(&[1]))))
}

pub fn described() -> Outcome {
    outcome(Ok(encode(&batch::Description::Dynamic)))
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn reason(slot: &Slot) -> Option<&'static str> {
    slot.last_failure().map(|last| last.failure.reason())
}
