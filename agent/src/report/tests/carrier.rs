//! Bringing assignments to the folder, from a proxy that lies, cuts off, and goes away.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use sonde_inventory::ArtifactDigest;

use super::*;
use crate::pushed::{FOLDER, assigned};

/// Status and body by path.
type Answers = Arc<Mutex<HashMap<String, (u16, Vec<u8>)>>>;

/// A tier listener that says what it is told, by path.
struct Liar {
    says: Answers,
    heard: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Liar {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let says = Answers::default();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let (told, noted) = (says.clone(), heard.clone());
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (told, noted) = (told.clone(), noted.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let path = request.uri().path().to_owned();
                    noted.lock().unwrap().push(path.clone());
                    let (status, body) = told.lock().unwrap().get(&path).cloned().unwrap_or((404, vec![]));
                    let mut response = Response::new(Full::new(bytes::Bytes::from(body)));
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    async move { Ok::<_, Infallible>(response) }
                });
                connections.spawn(async move {
                    let http1 = hyper::server::conn::http1::Builder::new();
                    // An agent that has heard enough hangs up: what it made of it is judged, not this.
                    let _ = http1.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { says, heard, address, serving }
    }

    fn says(&self, path: &str, status: u16, body: &[u8]) {
        self.says.lock().unwrap().insert(path.to_owned(), (status, body.to_vec()));
    }

    fn has(&self, wasm: &[u8], body: &[u8]) {
        self.says(&format!("/v1/tier/artifacts/{}", ArtifactDigest::of(wasm)), 200, body);
    }

    fn assigns(&self, mark: &str, accounts: Value) {
        self.says("/v1/tier/sensors", 200, json!({ "mark": mark, "accounts": accounts }).to_string().as_bytes());
    }

    fn asked_for_artifacts(&self) -> usize {
        self.heard.lock().unwrap().iter().filter(|path| path.contains("/artifacts/")).count()
    }
}

/// A carrier at work in a folder of state.
struct Cart {
    state: tempfile::TempDir,
    tell: watch::Sender<Option<Told>>,
    proxy: String,
    running: JoinHandle<()>,
}

impl Drop for Cart {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Cart {
    fn begin(liar: &Liar) -> Self {
        let state = tempfile::tempdir().unwrap();
        let config = crate::config::tests::parse(&format!("state_dir = {:?}", state.path())).unwrap();
        let proxy = format!("http://{}", liar.address);
        let (tell, told) = watch::channel(None);
        let (_, config) = watch::channel(Arc::new(config));
        let running = tokio::spawn(Carrier::new(None, config, told).run());
        Self { state, tell, proxy, running }
    }

    fn told(&self, mark: &str) {
        self.tell.send_replace(Some(Told { proxy: self.proxy.clone(), mark: mark.to_owned() }));
    }

    fn folder(&self, account: &str) -> PathBuf {
        self.state.path().join(FOLDER).join(account)
    }

    fn is_listed(&self, account: &str) -> bool {
        let folder = self.folder(account);
        assigned::is_filled(&folder) && assigned::read(&folder).is_some_and(|listed| !listed.is_empty())
    }

    fn web(&self) -> Vec<u8> {
        std::fs::read(self.folder("acme").join("web.wasm")).unwrap_or_default()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
            tokio::task::yield_now().await;
        }
    }
}

fn sensor(name: &str, wasm: &[u8], secrets: Value) -> Value {
    let version = json!({ "sha256": ArtifactDigest::of(wasm), "bytes": wasm.len(), "secrets": secrets });
    json!({ "name": name, "current": version })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_assigned_comes_whole_and_by_its_digest_or_not_at_all() {
    let liar = Liar::start().await;
    let cart = Cart::begin(&liar);
    // One that a person filled: nobody else's affair.
    std::fs::create_dir_all(cart.folder("by-hand")).unwrap();
    std::fs::write(cart.folder("by-hand").join("x.wasm"), b"x").unwrap();
    liar.has(b"one", b"one");
    let acme = |sensors: Value| json!([{ "account": "acme", "sensors": sensors }]);
    liar.assigns("1", acme(json!([sensor("web", b"one", json!({ "key": "s3cret" }))])));
    cart.told("1");
    cart.until("the first", |cart| cart.is_listed("acme")).await;
    assert_eq!(cart.web(), b"one");
    // Other bytes than the digest says, of the same length, then too many: what was there stays.
    liar.assigns("2", acme(json!([sensor("web", b"two", json!({}))])));
    for (lie, asked) in [(&b"owt"[..], 2), (b"two and more", 3)] {
        liar.has(b"two", lie);
        cart.told("2");
        cart.until("it is asked for", |_| liar.asked_for_artifacts() >= asked).await;
        assert_eq!(cart.web(), b"one");
    }
    // The truth, in the end, and without being told anew.
    liar.has(b"two", b"two");
    cart.until("the second", |cart| cart.web() == b"two").await;
    cart.until("the first one's secret is gone", |cart| {
        let secrets = cart.folder("acme").join("secrets").join("web");
        !secrets.join(ArtifactDigest::of(b"one").to_string()).exists()
    })
    .await;
    // A list that is none, or that is not given: the same.
    for (status, body) in [(200, &b"{"[..]), (503, b"later"), (404, b"")] {
        liar.says("/v1/tier/sensors", status, body);
        let asked = liar.heard.lock().unwrap().len();
        cart.told("3");
        cart.until("it is asked", |_| liar.heard.lock().unwrap().len() > asked).await;
        assert_eq!(cart.web(), b"two");
    }
    // An account that has nothing there any more leaves, and another's that is the same bytes fetches its own.
    liar.assigns("4", json!([{ "account": "rival", "sensors": [sensor("db", b"two", json!({}))] }]));
    cart.until("acme leaves", |cart| !cart.folder("acme").exists()).await;
    assert!(cart.folder("rival").join("db.wasm").exists());
    cart.told("");
    cart.until("all leave", |cart| !cart.folder("rival").exists()).await;
    assert_eq!(std::fs::read(cart.folder("by-hand").join("x.wasm")).unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_would_lead_elsewhere_are_not_understood() {
    let liar = Liar::start().await;
    let cart = Cart::begin(&liar);
    liar.has(b"one", b"one");
    let of = |account: &str, name: &str| json!([{ "account": account, "sensors": [sensor(name, b"one", json!({}))] }]);
    for (mark, accounts) in
        [("1", of("../etc", "web")), ("2", of("acme", "../web")), ("3", of("..", "web")), ("4", of("acme", "we.b"))]
    {
        liar.assigns(mark, accounts);
        let asked = liar.heard.lock().unwrap().len();
        cart.told(mark);
        cart.until("it is asked", |_| liar.heard.lock().unwrap().len() > asked).await;
    }
    assert_eq!(liar.asked_for_artifacts(), 0);
    // A secret's name too.
    let secrets = json!({ "../../../key": "x", "fine": "y" });
    liar.assigns("5", json!([{ "account": "acme", "sensors": [sensor("web", b"one", secrets)] }]));
    cart.told("5");
    cart.until("it is there", |cart| cart.is_listed("acme")).await;
    assert!(!cart.state.path().join("key").exists() && !cart.folder("key").exists());
    let fine = cart.folder("acme").join("secrets/web").join(ArtifactDigest::of(b"one").to_string()).join("fine");
    assert_eq!(std::fs::read(fine).unwrap(), b"y");
}
