//! Members of etcd on this machine, in folders and on ports of their own; and a relay that can be cut.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etcd_client::Client;
use sonde_inventory::etcd::EtcdSettings;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What waits longer than this has gone wrong.
pub const DEADLINE: Duration = Duration::from_secs(60);

struct Member {
    name: String,
    client: String,
    peer: String,
    child: Option<Child>,
}

/// Some members, which end with it.
pub struct Cluster {
    folder: tempfile::TempDir,
    members: Vec<Member>,
}

impl Cluster {
    pub async fn start(size: usize) -> Self {
        let url = || format!("http://{}", free_address());
        let members =
            (0..size).map(|n| Member { name: format!("m{n}"), client: url(), peer: url(), child: None }).collect();
        let mut cluster = Self { folder: tempfile::tempdir().unwrap(), members };
        for at in 0..size {
            cluster.start_member(at);
        }
        cluster.wait().await;
        cluster
    }

    pub fn start_member(&mut self, at: usize) {
        let all: Vec<String> = self.members.iter().map(|m| format!("{}={}", m.name, m.peer)).collect();
        let member = &mut self.members[at];
        let child = Command::new("etcd")
            .args(["--name", &member.name, "--initial-cluster-state", "new", "--initial-cluster", &all.join(",")])
            .args(["--listen-client-urls", &member.client, "--advertise-client-urls", &member.client])
            .args(["--listen-peer-urls", &member.peer, "--initial-advertise-peer-urls", &member.peer])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000", "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.folder.path().join(&member.name))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd-server is installed");
        member.child = Some(child);
    }

    pub fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.members[at].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until a write is taken.
    pub async fn wait(&self) {
        let began = Instant::now();
        loop {
            let put = async { Client::connect(self.endpoints(), None).await?.put("ready", "1", None).await };
            match tokio::time::timeout(Duration::from_secs(5), put).await {
                Ok(Ok(_)) => return,
                failed => assert!(began.elapsed() < DEADLINE, "etcd does not start: {failed:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.clone()).collect()
    }

    pub fn settings(&self) -> EtcdSettings {
        EtcdSettings { endpoints: self.endpoints(), prefix: "/sonde".into(), ..EtcdSettings::default() }
    }

    /// Where a member is asked.
    pub fn address(&self, at: usize) -> SocketAddr {
        self.members[at].client.strip_prefix("http://").unwrap().parse().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Carries connections to an address until it is cut; then it lets nobody through until it is healed.
pub struct Relay {
    pub url: String,
    is_cut: Arc<AtomicBool>,
    cut: watch::Sender<u64>,
}

impl Relay {
    pub async fn to(address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = watch::Sender::new(0);
        let relay = Self { url, is_cut: is_cut.clone(), cut: cut.clone() };
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let mut cut = cut.subscribe();
                tokio::spawn(async move {
                    let Ok(mut to) = TcpStream::connect(address).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        relay
    }

    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.cut.send_modify(|times| *times += 1);
    }

    pub fn heal(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}
