//! The sensor against the real nginx.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sonde_sensor::testing::{Instance, collect};
use sonde_sensor_nginx::Nginx;

const START_DEADLINE: Duration = Duration::from_secs(20);

/// An nginx of this test's own in a folder of its own, both ended with it.
struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Server {
    /// `None` where nginx is not installed; the machine that must have it says so by `SONDE_REAL_SERVERS`.
    fn start() -> Option<Self> {
        for attempt in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder =
                PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{}-{attempt}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let at = folder.display();
            let configuration = format!(
                "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};\n\
                 uwsgi_temp_path {at}; scgi_temp_path {at};\n\
                 server {{ listen 127.0.0.1:{port}; location = /stub_status {{ stub_status; }} }} }}\n"
            );
            std::fs::write(folder.join("nginx.conf"), configuration).unwrap();
            let spawn = |program: &str| {
                Command::new(program)
                    .arg("-c")
                    .arg(folder.join("nginx.conf"))
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
            };
            // Debian puts it where only root's PATH looks.
            let child = match spawn("nginx").or_else(|_| spawn("/usr/sbin/nginx")) {
                Ok(child) => child,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    assert!(std::env::var_os("SONDE_REAL_SERVERS").is_none(), "nginx is not installed");
                    return None;
                }
                Err(error) => panic!("nginx does not start: {error}"),
            };
            let mut server = Self { child, port, folder };
            if server.answers() {
                return Some(server);
            }
        }
        panic!("nginx never listened");
    }

    /// Waits until it has its port, after which it writes its pid; `false` where it exits instead. That
    /// somebody accepts on the port would not tell: it may be another server.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            let pid = std::fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
            if pid.trim() == self.child.id().to_string() {
                return TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::yield_now();
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_real_server() {
    let Some(server) = Server::start() else { return };
    let instance = || Instance::new().config("url", "http://localhost:8080/stub_status").http_real(8080, server.port);
    let first = collect::<Nginx>(instance()).unwrap();
    assert_eq!(first.value("nginx_up", &[]), Some(1.0), "{:?}", first.log);
    let second = collect::<Nginx>(instance()).unwrap();
    let requests =
        |collected: &sonde_sensor::testing::Collected| collected.value("nginx_http_requests_total", &[]).unwrap();
    assert_eq!(requests(&second), requests(&first) + 1.0, "our own request is counted");
    assert!(second.value("nginx_connections_accepted_total", &[]).unwrap() >= 2.0);
}
