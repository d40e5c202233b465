//! The agent's end against a proxy's real route, over TCP, with instances that are processes of this test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sonde_collect::{
    Discovery, DiscoveryConfig, FdBudget, Found, GroupSource, InstanceReader, NodeId, ProcessGroup, Reason, Roots,
};
use sonde_host::TargetId;
use sonde_inventory::{Catalogue as Records, Embedded, State, Store};
use sonde_proxy::reports::{Reports, Settings, answer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::instance::Instance;

mod carrier;
mod tls;

const NODE: Uuid = Uuid::from_u128(0xa);
/// What waits longer than this has gone wrong.
const DEADLINE: Duration = Duration::from_secs(30);

/// Of an agent whose state lies where nothing is.
fn config() -> watch::Receiver<Arc<Config>> {
    let config = crate::config::tests::parse("state_dir = \"/nonexistent/sonde\"").unwrap();
    watch::channel(Arc::new(config)).1
}

/// A process, and the instance that it is.
struct Sleeper {
    child: Child,
    instance: Arc<Instance>,
    roots: Arc<Roots>,
}

impl Sleeper {
    fn start(folder: &Path, name: &str) -> Self {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid_file = folder.join(name);
        std::fs::write(&pid_file, child.id().to_string()).unwrap();
        let roots = Arc::new(Roots::of_this_machine().unwrap());
        let config = DiscoveryConfig {
            process_groups: vec![ProcessGroup { name: name.into(), source: GroupSource::PidFile(pid_file) }],
            ..DiscoveryConfig::new(NodeId::new("test").unwrap())
        };
        let mut discovery = Discovery::new(roots.clone(), config);
        discovery.scan();
        let found = discovery.instances().find(|found| found.name.runtime_id == name).unwrap().clone();
        let instance = made(found, &roots, "acme");
        Self { child, instance, roots }
    }

    /// The same instance as another's.
    fn owned_by(&self, owner: &str) -> Arc<Instance> {
        made(self.instance.found.clone(), &self.roots, owner)
    }
}

fn made(found: Arc<Found>, roots: &Arc<Roots>, owner: &str) -> Arc<Instance> {
    let reader = InstanceReader::new(found.clone(), roots.clone(), &FdBudget::new(100));
    Arc::new(Instance::new(found, owner.into(), TargetId(1), reader))
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A proxy as far as reports go: its route on a port, its inventory in a folder.
struct Proxy {
    store: Store,
    records: Arc<Records>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Proxy {
    async fn start(folder: &Path) -> Self {
        let store = Store::Embedded(Embedded::open(&folder.join("inventory")).unwrap());
        let records = Arc::new(Records::default());
        store.follow(records.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = serve(listener, &store, &records);
        Self { store, records, address, serving }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As if it were started again: it has heard nobody, and connections are gone.
    async fn restart(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = serve(listener, &self.store, &self.records);
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Records) -> bool) {
        let mut moves = self.records.revisions();
        let wait = async {
            while !is_so(&self.records) {
                moves.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "not within {DEADLINE:?}: {what}");
    }
}

fn serve(listener: TcpListener, store: &Store, records: &Arc<Records>) -> JoinHandle<()> {
    let settings = Settings { takes_plain_urls: true };
    let reports = Arc::new(Reports::new(store.clone(), records.clone(), settings));
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let reports = reports.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let reports = reports.clone();
                async move {
                    assert_eq!(request.uri().path(), "/v1/tier/report");
                    Ok::<_, Infallible>(answer(&reports, NODE, request).await.map(Full::new))
                }
            });
            connections.spawn(async move {
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

struct Node {
    catalogue: Arc<Catalogue>,
    about: Arc<About>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

fn node(proxies: Vec<String>, catalogue: Arc<Catalogue>) -> Node {
    node_with(Report { proxies, url: None, tls: None }, catalogue)
}

fn node_with(settings: Report, catalogue: Arc<Catalogue>) -> Node {
    let about = Arc::new(About::default());
    let reporter = Reporter {
        node: NODE,
        itself: itself::About { hostname: "node-1".into(), url: "http://127.0.0.1:1".into() },
        credentials: settings.tls.clone().map(|files| Arc::new(Credentials::new(files))),
        settings,
        catalogue: catalogue.clone(),
        threads: Arc::new(ReadingThreads::start().unwrap()),
        about: about.clone(),
        sensors: watch::channel(Arc::default()).1,
        config: config(),
    };
    let (stop, stopping) = watch::channel(false);
    let (_, ready) = watch::channel(true);
    Node { catalogue, about, stop, running: tokio::spawn(reporter.run(ready, stopping)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn births_and_deaths_are_told_at_once_and_all_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut proxy = Proxy::start(folder.path()).await;
    let (first, second) = (Sleeper::start(folder.path(), "first"), Sleeper::start(folder.path(), "second"));
    let catalogue = Arc::new(Catalogue::default());
    catalogue.insert(first.instance.clone());
    let node = node(vec![proxy.url()], catalogue);
    let id = first.instance.id();
    proxy.until("the first list", |records| records.instance(id).is_some()).await;
    let known = proxy.records.instance(id).unwrap();
    assert_eq!((known.node, known.owner.as_str(), known.state), (NODE, "acme", State::Running));
    assert_eq!((known.name.as_str(), known.runtime.as_str()), ("first", "process-group"));
    assert!(proxy.records.is_reachable(NODE));

    let began = std::time::Instant::now();
    node.catalogue.insert(second.instance.clone());
    proxy.until("a birth", |records| records.instance(second.instance.id()).is_some()).await;
    node.catalogue.remove(id, Reason::Removed);
    proxy.until("a death", |records| records.instance(id).is_some_and(|i| i.state == State::Gone)).await;
    assert!(began.elapsed() < LEASE / BEATS, "they do not wait for a beat: {:?}", began.elapsed());
    assert_eq!(proxy.records.instance(id).unwrap().reasons, ["removed"]);

    proxy.restart().await;
    let third = Sleeper::start(folder.path(), "third");
    node.catalogue.insert(third.instance.clone());
    proxy.until("what was born while it was away", |records| records.instance(third.instance.id()).is_some()).await;
    // The proxy knows a moment before the node hears that it does.
    let heard = async {
        while node.about.reports.get() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, heard).await.expect("three reports were taken");
    node.stop.send(true).unwrap();
    node.running.await.unwrap();
}

/// Nobody scrapes it, so the report alone can know how it is.
#[tokio::test(flavor = "multi_thread")]
async fn whose_owner_is_another_is_looked_at_anew() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let sleeper = Sleeper::start(folder.path(), "sleeper");
    let catalogue = Arc::new(Catalogue::default());
    catalogue.insert(sleeper.instance.clone());
    let node = node(vec![proxy.url()], catalogue);
    let id = sleeper.instance.id();
    let is = |owner: &'static str| {
        move |records: &Records| {
            records.instance(id).is_some_and(|it| it.owner.as_str() == owner && it.state == State::Running)
        }
    };
    proxy.until("it runs", is("acme")).await;
    let began = std::time::Instant::now();
    node.catalogue.insert(sleeper.owned_by("bank"));
    proxy.until("it runs, and is another's", is("bank")).await;
    assert!(began.elapsed() < LEASE / BEATS, "it does not wait for the next look: {:?}", began.elapsed());
    node.stop.send(true).unwrap();
    node.running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_proxy_does_not_answer_another_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", nobody.local_addr().unwrap());
    // One that refuses connections, and one that takes them and says nothing.
    let closed = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let sleeper = Sleeper::start(folder.path(), "sleeper");
    let catalogue = Arc::new(Catalogue::default());
    catalogue.insert(sleeper.instance.clone());
    let node = node(vec![closed, silent, proxy.url()], catalogue);
    proxy.until("it is told", |records| records.instance(sleeper.instance.id()).is_some()).await;
    node.stop.send(true).unwrap();
    node.running.await.unwrap();
    drop(nobody);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_before_the_first_look() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let catalogue = Arc::new(Catalogue::default());
    let reporter = Reporter {
        node: NODE,
        itself: itself::About { hostname: "node-1".into(), url: "http://127.0.0.1:1".into() },
        settings: Report { proxies: vec![proxy.url()], url: None, tls: None },
        credentials: None,
        catalogue: catalogue.clone(),
        threads: Arc::new(ReadingThreads::start().unwrap()),
        about: Arc::new(About::default()),
        sensors: watch::channel(Arc::default()).1,
        config: config(),
    };
    let (looked, ready) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(reporter.run(ready, stopping));
    // Finding it takes longer than a report does.
    let sleeper = Sleeper::start(folder.path(), "sleeper");
    assert!(!proxy.records.is_reachable(NODE) && proxy.records.node(NODE).is_none());
    catalogue.insert(sleeper.instance.clone());
    looked.send(true).unwrap();
    proxy.until("the first list", |records| records.node(NODE).is_some()).await;
    assert!(proxy.records.instance(sleeper.instance.id()).is_some(), "it has everything");
    stop.send(true).unwrap();
    running.await.unwrap();
}
