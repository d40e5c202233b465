//! Real servers of this machine on loopback: redis and nginx; and one that accepts and never answers.
//!
//! Neither redis nor nginx can choose a port itself, so a port is looked for, given to it, and given up for
//! another if somebody took it in between. That somebody accepts on the port tells nothing, it may be
//! another test's server; each server itself says that the port is its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;
use crate::rootfs::find_program;

/// Starting takes tens of milliseconds; a busy machine gets far longer.
const START: Duration = Duration::from_secs(20);
/// Ports that may be lost to somebody else before the machine is to blame.
const ATTEMPTS: usize = 5;
/// Between two looks at a server that starts.
const PAUSE: Duration = Duration::from_millis(10);

/// A running server with a folder of its own, both ended when dropped.
pub struct Server {
    process: Process,
    port: u16,
    pid_file: PathBuf,
    // Last: it goes when the server has ended.
    _dir: TempDir,
}

impl Server {
    /// redis-server, without persistence.
    pub fn redis() -> Self {
        Self::start("redis-server", |dir, port| {
            let mut command = Command::new(find_program("redis-server"));
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]).arg(dir);
            // redis writes a pid file only as a daemon; its log tells that it has the port.
            (command, Ready::Said("Ready to accept connections"))
        })
    }

    /// nginx with one worker. `http` is further text of its `http` block, `server` of its one `server`.
    pub fn nginx(http: &str, server: &str) -> Self {
        Self::start("nginx", |dir, port| {
            let at = dir.display();
            let config = format!(
                "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{ access_log off; default_type text/plain; {http}\n\
                 client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;\n\
                 uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
                 server {{ listen 127.0.0.1:{port}; {server} }} }}\n"
            );
            let file = dir.join("nginx.conf");
            fs::write(&file, config).expect("the temporary folder is writable");
            let mut command = Command::new(find_program("nginx"));
            command.arg("-c").arg(&file).arg("-e").arg(dir.join("error.log"));
            // It writes its pid once it has its port.
            (command, Ready::WrotePid)
        })
    }

    fn start(name: &str, command: impl Fn(&Path, u16) -> (Command, Ready)) -> Self {
        for _ in 0..ATTEMPTS {
            let dir = TempDir::new().expect("a temporary folder can be made");
            let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port is free").port();
            let (mut command, ready) = command(dir.path(), port);
            let process = Process::start(name, &mut command, &dir.path().join("log"));
            let pid_file = dir.path().join("pid");
            let mut server = Self { process, port, pid_file, _dir: dir };
            if server.is_ready(ready) {
                fs::write(&server.pid_file, format!("{}\n", server.process.pid())).expect("the folder is writable");
                return server;
            }
            eprintln!("{name} did not get port {port}: {}", server.process.log());
        }
        panic!("{name} did not start on any of {ATTEMPTS} ports");
    }

    /// Waits until it says that it has its port; false where it ends or stays silent.
    fn is_ready(&mut self, ready: Ready) -> bool {
        let started = Instant::now();
        while started.elapsed() < START && self.process.ended().is_none() {
            let is_ready = match ready {
                Ready::Said(words) => self.process.log().contains(words),
                Ready::WrotePid => {
                    let written = fs::read_to_string(&self.pid_file).unwrap_or_default();
                    written.trim() == self.process.pid().to_string()
                }
            };
            if is_ready {
                return true;
            }
            thread::sleep(PAUSE);
        }
        false
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A file that holds its process id.
    pub fn pid_file(&self) -> &Path {
        &self.pid_file
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks it to end; true when it did so by itself. Its folder stays until it is dropped.
    pub fn stop(&mut self) -> bool {
        self.process.stop()
    }
}

/// How a server tells that it has its port.
#[derive(Clone, Copy)]
enum Ready {
    Said(&'static str),
    WrotePid,
}

/// Accepts every connection on a port of its own on loopback and never says a word, until dropped.
pub struct SilentServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<TcpStream>>>,
}

impl SilentServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // Kept open: a closed connection would be an answer.
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                held.push(stream);
            }
            held
        });
        Self { address, stop, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for SilentServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept; if it fails the thread has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
