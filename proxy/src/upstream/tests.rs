use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn node(address: SocketAddr) -> Arc<Node> {
    let json = serde_json::json!({ "id": Uuid::from_u128(1), "url": format!("http://{address}") });
    Arc::new(serde_json::from_value(json).unwrap())
}

fn question(within: Duration) -> Question {
    Question {
        path: "/v1/x/metrics?collect[]=native".into(),
        headers: HeaderMap::new(),
        account: AccountName::new("a").unwrap(),
        deadline: Instant::now() + within,
    }
}

/// An agent that answers each request with `answer`, or holds its peace where that is empty.
struct Agent {
    address: SocketAddr,
    connections: Arc<AtomicU32>,
    serving: tokio::task::JoinHandle<()>,
}

async fn agent(listener: TcpListener, answer: &'static str) -> Agent {
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU32::new(0));
    let count = connections.clone();
    let serving = tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            all.spawn(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.is_ok_and(|bytes| bytes > 0) {
                    if head.ends_with(b"\r\n\r\n") && !answer.is_empty() {
                        head.clear();
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    Agent { address, connections, serving }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

async fn text(reply: Reply) -> Result<String, Cut> {
    Ok(String::from_utf8(reply.body.collect().await?.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn connections_are_used_again() {
    let agent = agent(TcpListener::bind("127.0.0.1:0").await.unwrap(), OK).await;
    let (upstream, node) = (Upstream::new(None, 4), node(agent.address));
    for _ in 0..3 {
        let reply = upstream.ask(&node, &question(Duration::from_secs(5))).await.unwrap();
        assert_eq!(text(reply).await.unwrap(), "hi");
        let deadline = Instant::now() + Duration::from_secs(5);
        while upstream.facts().connections == 0 {
            assert!(Instant::now() < deadline, "it is not given back");
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(agent.connections.load(Ordering::Relaxed), 1);
    assert_eq!(upstream.facts().in_flight, 0);
}

#[tokio::test]
async fn a_node_that_is_away_is_so_at_once_and_back_when_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (upstream, node) = (Upstream::new(None, 4), node(address));
    for _ in 0..2 {
        let fault = upstream.ask(&node, &question(Duration::from_secs(60))).await.unwrap_err();
        assert_eq!(fault, Fault::Unreachable);
        assert!(upstream.is_unreachable(node.id));
    }
    let agent = agent(TcpListener::bind(address).await.unwrap(), OK).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match upstream.ask(&node, &question(Duration::from_secs(5))).await {
            Ok(reply) => break assert_eq!(text(reply).await.unwrap(), "hi"),
            Err(fault) => assert_eq!(fault, Fault::Unreachable),
        }
        assert!(Instant::now() < deadline, "it is not found again");
        tokio::task::yield_now().await;
    }
    assert!(!upstream.is_unreachable(node.id));
    agent.serving.abort();
}

#[tokio::test]
async fn an_agent_that_is_slow_is_no_node_that_is_away() {
    let agent = agent(TcpListener::bind("127.0.0.1:0").await.unwrap(), "").await;
    let (upstream, node) = (Upstream::new(None, 2), node(agent.address));
    let began = Instant::now();
    let held = question(Duration::from_millis(300));
    let (one, other) = tokio::join!(upstream.ask(&node, &held), upstream.ask(&node, &held));
    assert_eq!(one.unwrap_err(), Fault::Slow);
    assert_eq!(other.unwrap_err(), Fault::Busy, "an account has half of a node's places");
    assert!(began.elapsed() < Duration::from_secs(5));
    // The connection more that tells is made by then, or nothing was suspected.
    let deadline = Instant::now() + Duration::from_secs(10);
    while agent.connections.load(Ordering::Relaxed) < 2 {
        assert!(Instant::now() < deadline, "nobody looked");
        tokio::task::yield_now().await;
    }
    assert!(!upstream.is_unreachable(node.id));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_broken_off_at_the_deadline() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhi";
    let agent = agent(TcpListener::bind("127.0.0.1:0").await.unwrap(), half).await;
    let (upstream, node) = (Upstream::new(None, 2), node(agent.address));
    let reply = upstream.ask(&node, &question(Duration::from_millis(300))).await.unwrap();
    assert!(matches!(text(reply).await, Err(Cut::Late)));
    assert_eq!(upstream.facts().in_flight, 0);
}

#[tokio::test]
async fn an_address_that_changed_is_a_new_link() {
    let first = agent(TcpListener::bind("127.0.0.1:0").await.unwrap(), "").await;
    let second = agent(TcpListener::bind("127.0.0.1:0").await.unwrap(), OK).await;
    let upstream = Upstream::new(None, 2);
    assert_eq!(upstream.ask(&node(first.address), &question(Duration::ZERO)).await.unwrap_err(), Fault::Slow);
    let moved = node(second.address);
    assert_eq!(text(upstream.ask(&moved, &question(Duration::from_secs(5))).await.unwrap()).await.unwrap(), "hi");
    assert_eq!(upstream.facts().nodes, 1);
    upstream.sweep(&Catalogue::default());
    assert_eq!(upstream.facts().nodes, 0);
}
