//! The sensor against the real redis-server, with and without a password.

use std::io::{BufRead, BufReader, ErrorKind, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};

use sonde_sensor::testing::{Instance, collect};
use sonde_sensor_redis::Redis;

/// A redis-server of this test's own, ended with it.
struct Server {
    child: Child,
    port: u16,
    /// Kept open: what it says later goes into the pipe.
    said: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// `None` where redis-server is not installed; the machine that must have it says so by `SONDE_REAL_SERVERS`.
    fn start(arguments: &[&str]) -> Option<Self> {
        // Whoever takes the port between our look and the server's bind makes the server exit: then
        // another port.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            let mut child = match child {
                Ok(child) => child,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    assert!(std::env::var_os("SONDE_REAL_SERVERS").is_none(), "redis-server is not installed");
                    return None;
                }
                Err(error) => panic!("redis-server does not start: {error}"),
            };
            let said = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut server = Self { child, port, said };
            if server.answers() {
                return Some(server);
            }
        }
        panic!("redis-server never listened");
    }

    /// Waits until it says that it listens; `false` where it exits instead. That somebody accepts on the
    /// port would not tell: it may be another test's server.
    fn answers(&mut self) -> bool {
        self.said.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to accept connections"))
    }

    fn instance(&self) -> Instance {
        Instance::new().config("port", "6379").tcp_real(6379, self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_server() {
    let Some(server) = Server::start(&[]) else { return };
    let before = collect::<Redis>(server.instance()).unwrap();
    assert_eq!(before.value("redis_up", &[]), Some(1.0));
    assert!(before.value("redis_memory_used_bytes", &[]).unwrap() > 100_000.0);
    assert_eq!(before.value("redis_db_keys", &[("db", "db0")]), None);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    std::io::Write::write_all(&mut stream, b"SET a 1\r\nGET a\r\nGET b\r\n").unwrap();
    let mut answers = [0; 17]; // +OK, $1 1, $-1
    std::io::Read::read_exact(&mut stream, &mut answers).unwrap();
    let after = collect::<Redis>(server.instance()).unwrap();
    assert_eq!(after.value("redis_db_keys", &[("db", "db0")]), Some(1.0));
    assert_eq!(after.value("redis_keyspace_hits_total", &[]), Some(1.0));
    assert_eq!(after.value("redis_keyspace_misses_total", &[]), Some(1.0));
    // Which numbers a server gives varies with its version; most of ours every version has.
    assert!(after.batch().numbers.len() >= 25, "{} series", after.batch().numbers.len());
    drop(server);
}

#[test]
fn a_real_server_with_a_password() {
    let Some(server) = Server::start(&["--requirepass", "s3cret"]) else { return };
    let right = collect::<Redis>(server.instance().secret("password", "s3cret")).unwrap();
    assert_eq!(right.value("redis_up", &[]), Some(1.0));
    let without = collect::<Redis>(server.instance()).unwrap();
    assert_eq!(without.value("redis_up", &[]), Some(0.0));
    assert!(without.log[0].1.contains("NOAUTH"), "{:?}", without.log);
    let wrong = collect::<Redis>(server.instance().secret("password", "guess")).unwrap();
    assert_eq!(wrong.value("redis_up", &[]), Some(0.0));
    assert!(wrong.log[0].1.contains("WRONGPASS"), "{:?}", wrong.log);
}
