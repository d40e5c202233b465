//! What costs a scraper its targets, and what must not: refusals of each kind, a proxy that goes and comes back, an answer that is cut off.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sonde_proxy::discovery::refusal;
use sonde_tests::{Prometheus, eventually};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use crate::house::{id, instance};
use crate::town::{Town, WITHIN, in_own_network, up, wait_for_targets};

/// What the double answers to discovery.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
enum Mood {
    Lists,
    Refuses401,
    Refuses429,
    Refuses500,
    Refuses503,
    CutsOff,
    /// As cmon refuses: JSON.
    RefusesAsCmon,
}

const SURVIVED: [Mood; 5] = [Mood::Refuses401, Mood::Refuses429, Mood::Refuses500, Mood::Refuses503, Mood::CutsOff];

/// A door that answers discovery as it is told, with refusals as ours makes them, and any scrape with one sample.
struct Double {
    mood: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
}

impl Double {
    async fn start(town: &Town) -> (Self, SocketAddr) {
        let tls = town.house().folder.path().join("tls");
        let chain = CertificateDer::pem_file_iter(tls.join("server.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(tls.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let double = Self { mood: Arc::default(), asked: Arc::default() };
        let (mood, asked) = (Arc::clone(&double.mood), Arc::clone(&double.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, mood, asked) = (acceptor.clone(), Arc::clone(&mood), Arc::clone(&asked));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    if mood.load(Ordering::SeqCst) == Mood::CutsOff as u32 {
                        // As a proxy that is killed in the middle of an answer.
                        asked.fetch_add(1, Ordering::SeqCst);
                        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n{\"containers\":[]";
                        let _ = stream.write_all(head.as_bytes()).await;
                        return;
                    }
                    let service = service_fn(move |request: Request<Incoming>| {
                        let answer = answer(&mood, &asked, &request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let mut server = hyper::server::conn::http1::Builder::new();
                    let _ = server.keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (double, address)
    }

    /// Until discovery has been asked so often in this mood.
    fn be(&self, mood: Mood, times: u32) {
        self.mood.store(mood as u32, Ordering::SeqCst);
        self.asked.store(0, Ordering::SeqCst);
        eventually("refreshes", WITHIN, || match self.asked.load(Ordering::SeqCst) {
            asked if asked >= times => Ok(()),
            asked => Err(format!("{asked} in the mood {mood:?}")),
        });
    }
}

fn answer(mood: &AtomicU32, asked: &AtomicU32, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/v1/discover" {
        return Response::new(Full::from("# TYPE of gauge\nof 1\n"));
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let refused = |status| refusal(status, "the door says no").map(Full::new);
    match mood.load(Ordering::SeqCst) {
        mood if mood == Mood::Refuses401 as u32 => refused(StatusCode::UNAUTHORIZED),
        mood if mood == Mood::Refuses429 as u32 => refused(StatusCode::TOO_MANY_REQUESTS),
        mood if mood == Mood::Refuses500 as u32 => refused(StatusCode::INTERNAL_SERVER_ERROR),
        mood if mood == Mood::Refuses503 as u32 => refused(StatusCode::SERVICE_UNAVAILABLE),
        mood if mood == Mood::RefusesAsCmon as u32 => {
            let mut answer = Response::new(Full::from("{\"code\":\"TooManyRequestsError\",\"message\":\"…\"}"));
            *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            answer
        }
        _ => Response::new(Full::from(
            json!({ "containers": [{ "vm_uuid": id(1), "vm_alias": "web", "groups": [] }] }).to_string(),
        )),
    }
}

#[test]
fn refusals_cost_no_target_and_json_would() {
    in_own_network("survival::refusals_cost_no_target_and_json_would", || {
        let town = Town::build(&[]);
        let (double, address) = town.runtime.block_on(Double::start(&town));
        let acme = town.certificate("acme");
        let config = crate::triton::config(&town, &acme, "container", "");
        let config = config.replace(&format!("port: {}", town.port()), &format!("port: {}", address.port()));
        let prometheus = Prometheus::with_config(&config);
        wait_for_targets(&prometheus, &[("web", 1.0)]);
        for mood in SURVIVED {
            // Twice refused, and what the first made of the targets has had its time.
            double.be(mood, 3);
            assert!(!up(&prometheus).is_empty(), "{mood:?} cost the targets");
            assert!(
                prometheus.targets().contains("web") || prometheus.targets().contains(&id(1).to_string()),
                "{mood:?}: {}",
                prometheus.targets()
            );
        }
        double.be(Mood::Lists, 2);
        wait_for_targets(&prometheus, &[("web", 1.0)]);
        // This test could not fail if that did not.
        double.be(Mood::RefusesAsCmon, 1);
        eventually("the loss of all targets", WITHIN, || match prometheus.targets() {
            none if none.is_empty() => Ok(()),
            some => Err(some),
        });
    });
}

#[test]
fn a_proxys_own_refusals_and_its_restart_cost_no_target() {
    in_own_network("survival::a_proxys_own_refusals_and_its_restart_cost_no_target", || {
        let mut town = Town::build(&[instance(1, "acme", json!({ "alias": "web" }))]);
        let (port, folder) = (town.port(), town.house().folder.path().to_owned());
        let acme = town.certificate("acme");
        let prometheus = Prometheus::with_config(&crate::triton::config(&town, &acme, "container", ""));
        wait_for_targets(&prometheus, &[("web", 1.0)]);

        // 429: next to nothing is allowed. Its targets stay, whatever becomes of their scrapes.
        let accounts = town.house().proxy.accounts();
        let limits = |rate: Option<u32>| {
            let all = json!({ "requests_per_second": rate, "request_burst": rate });
            all.as_object().unwrap().clone()
        };
        town.runtime.block_on(accounts.set_limits(&crate::house::name("acme"), &limits(Some(1)))).unwrap();
        keeps_its_target(&prometheus, "prometheus_sd_refresh_failures_total");
        town.runtime.block_on(accounts.set_limits(&crate::house::name("acme"), &limits(None))).unwrap();
        wait_for_targets(&prometheus, &[("web", 1.0)]);

        // It goes, and comes back where it was.
        let mut house = town.house.take().unwrap();
        house.proxy = town.runtime.block_on(async {
            let path = folder.join("proxy.toml");
            house.proxy.stop().await;
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("public = \"127.0.0.1:0\"", &format!("public = \"127.0.0.1:{port}\"")))
                .unwrap();
            sonde_proxy::Proxy::start(path).await.unwrap()
        });
        town.house = Some(house);
        keeps_its_target(&prometheus, "prometheus_sd_refresh_duration_seconds_count");
        wait_for_targets(&prometheus, &[("web", 1.0)]);

        // 401: the certificate is taken away.
        town.revoke("acme");
        wait_for_targets(&prometheus, &[("web", 0.0)]);
        keeps_its_target(&prometheus, "prometheus_sd_refresh_failures_total");
        assert!(prometheus.log().contains("triton"), "it says nothing of its failures: {}", prometheus.log());
    });
}

/// Over three more of what a counter of the server counts, the target is there.
#[track_caller]
fn keeps_its_target(prometheus: &Prometheus, counter: &str) {
    let count = || -> f64 {
        let metrics = sonde_tests::get(&format!("http://{}/metrics", prometheus.authority())).text();
        let lines = metrics.lines().filter(|line| line.starts_with(counter) && line.contains("triton"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let before = count();
    eventually(counter, WITHIN, || {
        assert!(prometheus.targets().contains(&id(1).to_string()), "the target is gone: {}", prometheus.targets());
        let now = count();
        if now >= before + 3.0 { Ok(()) } else { Err(format!("{now}, after {before}")) }
    });
}
