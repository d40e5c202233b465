//! Instances of two kinds made and destroyed at random, several at a time, for as long as it is told.
//!
//! runc's containers and plain cgroups, whose names come back. Every other one dies as it may be, some at once after its birth; the rest are
//! waited for until they are told, each as a life of its own. At the end every life must have been told, as one birth and one death, those that nobody
//! could look at in time too; and nobody be told to live.
//! Meanwhile others are scraped all the time. Then nothing may be left: no descriptor, task or network namespace, and of memory no more
//! than what is remembered of the gone.
//!
//! `SONDE_CHURN=1000 cargo nextest run -p sonde-tests --test churn storm` makes a thousand, for minutes. A failure prints its seed, and
//! `SONDE_CHURN_SEED` takes it again.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use sonde_tests::{Container, Exposition, Footprint, OwnCgroup, Process, Rootfs, Sonde, eventually, unique_name};
use tempfile::TempDir;

use crate::random::Random;
use crate::{SETTLED, steady_footprint};

/// Lives in a run that is not told how many: about a minute's.
const LIVES: usize = 400;
/// Of these so many come first, after which pools and caches are what they will be.
const WARM_UP: usize = 40;
/// Who make and destroy side by side, and how many instances of each live at a time.
const HANDS: u64 = 3;
const LIVING: usize = 8;
/// Names of each: few, so that most come back.
const NAMES: usize = LIVING * 2;
/// Until a birth or the deaths are told: design §3 says about a second, and this machine is kept busy.
const TOLD: Duration = Duration::from_secs(30);
/// A scrape in all this.
const AT_ONCE: Duration = Duration::from_secs(2);
/// What may be remembered of one that is gone, and what of memory comes and goes.
const GONE_KIB: u64 = 24;
const NOISE_KIB: u64 = 4 * 1024;

/// What makes an instance.
enum Body {
    Container(Container),
    /// With its processes, which go first.
    Cgroup(Vec<Process>, OwnCgroup),
}

struct Life {
    name: String,
    body: Body,
}

/// What all hands share.
struct Stage {
    rootfs: Arc<Rootfs>,
    dir: TempDir,
    /// The folder of the plain cgroups, which is no instance.
    parent: String,
    left: AtomicUsize,
    /// How often each name has lived.
    lived: Mutex<BTreeMap<String, usize>>,
    /// Ids that were told of each name, of lives that were waited for.
    seen: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Names of those that live.
    living: Mutex<BTreeSet<String>>,
}

impl Stage {
    fn name(&self, hand: u64, number: usize) -> String {
        format!("{}-{hand}-{number}", self.parent)
    }

    /// What makes the plain cgroups instances, and calls them as the containers are called. Of others, whoever has them here, nobody is to be counted.
    fn rules(&self) -> String {
        let all = (0..HANDS).flat_map(|hand| (0..NAMES).map(move |number| (hand, number)));
        let rule = |(hand, number)| {
            let (parent, name) = (&self.parent, self.name(hand, number));
            let matching = format!("{{ runtime = \"cgroup\", cgroup = \"/{parent}/{name}\" }}");
            format!("[[instance]]\nmatch = {matching}\nname = \"{name}\"\n")
        };
        let containers = format!("[[instance]]\nmatch = {{ runtime = \"runc\", name = \"{}-*\" }}\n", self.parent);
        let others = "[[instance]]\nmatch = {}\ninstance = false\n".to_owned();
        all.map(rule).chain([containers, others]).collect()
    }

    fn born(&self, random: &mut Random, hand: u64, number: usize) -> Life {
        let name = self.name(hand, number);
        // A name of before may come back, in another life; a cgroup that is gone as well.
        let body = if random.below(3) == 0 {
            Body::Container(Container::named("storm").rootfs(&self.rootfs).instead_of(&name).run())
        } else {
            let cgroup = OwnCgroup::make(&format!("{}/{name}", self.parent));
            let processes = (0..=random.below(3)).map(|_| {
                let process = Process::start("sleep", Command::new("sleep").arg("1000"), &self.dir.path().join("log"));
                cgroup.take(process.pid());
                process
            });
            Body::Cgroup(processes.collect(), cgroup)
        };
        self.living.lock().expect("no hand panicked").insert(name.clone());
        *self.lived.lock().expect("no hand panicked").entry(name.clone()).or_default() += 1;
        Life { name, body }
    }

    /// Waits until it is told to live, by an id that no life of that name had before.
    fn is_seen(&self, sonde: &Sonde, life: &Life) {
        eventually(&format!("{} told", life.name), TOLD, || {
            let listed = sonde.instances();
            let is_it = |entry: &&Value| entry["name"] == life.name.as_str() && entry["state"] != "gone";
            let mut seen = self.seen.lock().expect("no hand panicked");
            let before = seen.entry(life.name.clone()).or_default();
            let new = listed.iter().filter(is_it).any(|entry| before.insert(entry["id"].to_string()));
            if new { Ok(()) } else { Err(format!("{} others are", listed.len())) }
        });
    }

    fn dies(&self, life: Life) {
        self.living.lock().expect("no hand panicked").remove(&life.name);
        match life.body {
            Body::Container(container) => container.delete(),
            Body::Cgroup(processes, cgroup) => {
                drop(processes);
                drop(cgroup);
            }
        }
    }

    /// One pair of hands, until all lives have been lived.
    fn work(&self, sonde: &Sonde, hand: u64, seed: u64) {
        let mut random = Random::seeded(seed.wrapping_add(hand));
        let mut living: Vec<Life> = Vec::new();
        let mut free: Vec<usize> = (0..NAMES).collect();
        let mut names = BTreeMap::new();
        let takes = || self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        while takes() {
            let number = free.swap_remove(usize::try_from(random.below(free.len() as u64)).expect("it is small"));
            let life = self.born(&mut random, hand, number);
            names.insert(life.name.clone(), number);
            living.push(life);
            // None, one or several die; now and then the one that was just born.
            while living.len() >= LIVING || (!living.is_empty() && random.below(3) == 0) {
                let at =
                    if random.below(4) == 0 { living.len() - 1 } else { random.below(living.len() as u64) as usize };
                let life = living.swap_remove(at);
                free.push(names[&life.name]);
                if random.below(2) == 0 {
                    self.is_seen(sonde, &life);
                }
                self.dies(life);
            }
        }
        for life in living {
            self.is_seen(sonde, &life);
            self.dies(life);
        }
    }

    /// Scrapes one after the other of those that live, until told to stop.
    fn scrape(&self, sonde: &Sonde, seed: u64, stop: &AtomicBool) -> usize {
        let mut random = Random::seeded(seed);
        let mut read = 0;
        while !stop.load(Ordering::SeqCst) {
            let name = {
                let living = self.living.lock().expect("no hand panicked");
                let at = random.below(living.len().max(1) as u64);
                living.iter().nth(usize::try_from(at).expect("it is small")).cloned()
            };
            let Some(name) = name else { continue };
            let response = sonde.get(&format!("/v1/{name}/metrics"));
            assert!(response.elapsed < AT_ONCE, "a scrape of {name} took {:?}", response.elapsed);
            assert!([200, 404, 503].contains(&response.status), "{}: {}", response.status, response.text());
            if response.status == 200 {
                let exposition = Exposition::read(&response.text());
                let its = exposition.all("sonde_instance_state", &[("name", name.as_str())]).count();
                assert_eq!(its, 5, "{name} got another's series");
                read += 1;
            }
        }
        read
    }

    /// A storm of so many lives; how many scrapes had values.
    fn storm(&self, sonde: &Sonde, lives: usize, seed: u64) -> usize {
        self.left.store(lives, Ordering::SeqCst);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let scraper = scope.spawn(|| self.scrape(sonde, seed, &stop));
            let hands: Vec<_> = (0..HANDS).map(|hand| scope.spawn(move || self.work(sonde, hand, seed))).collect();
            let ended: Vec<_> = hands.into_iter().map(thread::ScopedJoinHandle::join).collect();
            stop.store(true, Ordering::SeqCst);
            let read = scraper.join().expect("scrapes are answered");
            assert!(ended.iter().all(Result::is_ok), "a hand failed");
            read
        })
    }
}

/// Births and deaths that the agent has counted, and of these the lives that were over before they could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted([u64; 3]);

impl Counted {
    fn by(sonde: &Sonde) -> Self {
        let exposition = Exposition::read(&sonde.get("/metrics").text());
        let count = |name: &str| {
            let name = format!("sonde_agent_instance_{name}_total");
            exposition.value(&name, &[]).unwrap_or_else(|| panic!("there is no {name}")) as u64
        };
        Self(["births", "deaths", "lives_unread"].map(count))
    }

    fn since(self, before: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] - before.0[at]))
    }
}

/// Every life is told, as one birth and one death, and is listed as one of its own; of `lives` more than when `before` was counted.
fn assert_all_told(sonde: &Sonde, stage: &Stage, before: Counted, lives: usize) {
    let counted = eventually("every birth and death told", TOLD, || {
        let counted = Counted::by(sonde).since(before);
        if counted.0[1] >= lives as u64 { Ok(counted) } else { Err(format!("{counted:?} of {lives}")) }
    });
    let [births, deaths, unread] = counted.0;
    println!("{lives} lives, {births} births and {deaths} deaths told, {unread} of them unread");
    assert_eq!((births, deaths), (lives as u64, lives as u64), "each once");
    let ours = || -> Vec<Value> {
        let is_ours = |entry: &Value| entry["name"].as_str().is_some_and(|name| name.starts_with(&stage.parent));
        sonde.instances().into_iter().filter(is_ours).collect()
    };
    let told = eventually("all told gone", TOLD, || {
        let told = ours();
        let alive = told.iter().filter(|entry| entry["state"] != "gone").count();
        if alive == 0 { Ok(told) } else { Err(format!("{alive} of {} are alive", told.len())) }
    });
    let id = |entry: &Value| entry["id"].to_string();
    let ids: BTreeSet<_> = told.iter().map(id).collect();
    assert_eq!(ids.len(), told.len(), "each life has an id of its own");
    let is_unread = |entry: &Value| entry["reasons"] == Value::from(vec!["removed", "unread"]);
    assert!(told.iter().all(|it| is_unread(it) || it["reasons"] == Value::from(vec!["removed"])), "all were removed");
    let (lived, seen) = (stage.lived.lock().expect("no hand panicked"), stage.seen.lock().expect("no hand panicked"));
    for (name, lives) in lived.iter() {
        let its: BTreeSet<_> = told.iter().filter(|entry| entry["name"] == name.as_str()).map(id).collect();
        let seen = seen.get(name).cloned().unwrap_or_default();
        assert!(seen.is_subset(&its), "{name}: {seen:?} were told to live, and are not told gone: {its:?}");
        assert_eq!(its.len(), *lives, "{name} lived {lives} times, and is told {} times", its.len());
    }
    let (lives, waited_for) = (lived.values().sum::<usize>(), seen.values().map(BTreeSet::len).sum::<usize>());
    println!("{lives} lives in all, {waited_for} waited for, {} listed", told.len());
    assert!(waited_for * 8 >= lives, "too few to say anything");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// What agent and broker have in memory; runners are the sensors' matter, of which there are none here.
fn resident_kib(sonde: &Sonde) -> u64 {
    sonde.workers("broker").into_iter().chain([sonde.pid()]).map(Footprint::resident_kib_of).sum()
}

#[test]
fn storm_of_births_and_deaths_leaves_no_trace() {
    let lives = number("SONDE_CHURN").map_or(LIVES, |lives| usize::try_from(lives).expect("it fits"));
    let seed = number("SONDE_CHURN_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let parent = unique_name("storm");
    let _parent = OwnCgroup::make(&parent);
    let stage = Stage {
        rootfs: Rootfs::with(&[]),
        dir: TempDir::new().expect("a temporary folder can be made"),
        parent,
        left: AtomicUsize::new(0),
        lived: Mutex::default(),
        seen: Mutex::default(),
        living: Mutex::default(),
    };
    let sonde = Sonde::configure().config(&stage.rules()).up();
    let counted = Counted::by(&sonde);
    stage.storm(&sonde, WARM_UP, seed);
    assert_all_told(&sonde, &stage, counted, WARM_UP);
    let counted = Counted::by(&sonde);
    let (before, memory) = (steady_footprint(&sonde), resident_kib(&sonde));

    let began = Instant::now();
    let read = stage.storm(&sonde, lives, seed.wrapping_mul(31));
    println!("{lives} lives in {:?}, {read} scrapes with values", began.elapsed());
    assert!(read >= lives, "hardly anything was read meanwhile");
    assert_all_told(&sonde, &stage, counted, lives);

    eventually("the footprint from before", SETTLED, || sonde.footprint().exceeds(&before).map_or(Ok(()), Err));
    let (now, most) = (resident_kib(&sonde), memory + NOISE_KIB + GONE_KIB * lives as u64);
    println!("{memory} KiB before, {now} KiB after");
    assert!(now <= most, "agent and broker have {now} KiB, {memory} before {lives} lives");
    assert!(sonde.stop(), "it ends by itself");
}
