//! What is done to a container: it starts well, and then comes the rain.
//!
//! Each has limits of its own, so that what goes on inside reaches nothing else on the machine.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sonde_tests::{Container, ContainerBuilder, Process, Rootfs, eventually, run_to_end};
use tempfile::TempDir;

use crate::table::{Day, Service, Weather};

const MEMORY_BYTES: u64 = 48 << 20;
const TASKS: u64 = 32;
const CPU_PERCENT: u64 = 25;
/// Enough for nginx to start, few enough to be used up by one shell.
const DESCRIPTORS: u64 = 32;
/// The disk that is filled. Its pages are the container's memory.
const DISK_BYTES: u64 = 1 << 20;
/// Room for what fills the memory.
const BALLAST_BYTES: u64 = 64 << 20;
/// Until the kernel has killed what wants more memory than there is, at a quarter of a CPU.
const KILLED: Duration = Duration::from_secs(30);
/// 1 % of a CPU; the kernel takes no quota below 1 ms.
const THROTTLED_QUOTA_US: u64 = 1_000;
const THROTTLED_PERIOD_US: u64 = 100_000;

const NGINX: &str = "cat >/tmp/nginx.conf <<'E'
user root; daemon off; master_process off; worker_processes 1; pid /tmp/pid; error_log /tmp/error.log;
events { worker_connections 64; }
http { access_log off; client_header_timeout 1h; server { listen 80; return 200 here; } }
E
exec nginx -c /tmp/nginx.conf -e /tmp/error.log";
/// An interface that others would reach it by, its other end in the same namespace; what is sent to the neighbour that is not there shows
/// that it carries packets.
const ETH0: &str = "ip link add eth0 type veth peer name peer0 && ip link set peer0 up && ip link set eth0 up && \
                    ip addr add 192.0.2.1/24 dev eth0 && echo anybody >/dev/udp/192.0.2.2/9";
const HTTPD: &str = r#"mkdir -p /tmp/www/cgi-bin; cat >/tmp/www/cgi-bin/write <<'E'
#!/bin/sh
if echo data >/data/$$; then status='200 OK'; else status='507 Insufficient Storage'; fi; rm -f /data/$$
printf 'Status: %s\r\nContent-Type: text/plain\r\n\r\n' "$status"
E
chmod +x /tmp/www/cgi-bin/write; exec httpd -f -p 80 -h /tmp/www"#;

/// What all containers stand on.
pub struct Ground {
    rootfs: Arc<Rootfs>,
    disk: TempDir,
}

impl Ground {
    pub fn make() -> Self {
        // Not where temporary files may be memory: what is on it shall be given back to the disk and read again.
        let disk = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder can be made");
        Self { rootfs: Rootfs::with(&["nginx"]), disk }
    }
}

impl Service {
    /// What the sensor asks for.
    pub fn url(self) -> &'static str {
        match self {
            Self::Nginx | Self::NginxAndHelper => "http://localhost/",
            Self::Httpd => "http://localhost/cgi-bin/write",
        }
    }
}

impl Day {
    /// The container, well.
    pub fn start(&self, ground: &Ground) -> Container {
        let container = self.describe(ground).run();
        if matches!(self.weather, Weather::NetworkDown | Weather::InterfaceDown) {
            run_to_end(container.in_network("bash").args(["-c", ETH0]));
        }
        container
    }

    pub fn describe(&self, ground: &Ground) -> ContainerBuilder {
        let (script, disk_bytes) = match self.service {
            Service::Nginx => (NGINX.to_owned(), BALLAST_BYTES),
            Service::NginxAndHelper => (format!("sleep 100000 &\n{NGINX}"), BALLAST_BYTES),
            Service::Httpd => (HTTPD.to_owned(), DISK_BYTES),
        };
        let container = Container::named(self.name);
        let container = match self.service {
            Service::NginxAndHelper => container.with_the_hosts_pids(),
            Service::Nginx | Service::Httpd => container,
        };
        container
            .rootfs(&ground.rootfs)
            .memory_limit_bytes(MEMORY_BYTES)
            .pids_limit(TASKS)
            .cpu_percent(CPU_PERCENT)
            .open_files_limit(DESCRIPTORS)
            .tmpfs("/data", disk_bytes)
            .folder(ground.disk.path(), "/disk")
            .script(&script)
    }
}

/// What must live on for the rain to last.
#[derive(Default)]
pub struct Falling {
    _clients: Option<(Process, TempDir)>,
}

impl Weather {
    /// Lets it rain on the container. The one that is deleted is no more.
    pub fn begin(self, container: Container) -> (Option<Container>, Falling) {
        let mut falling = Falling::default();
        match self {
            // The restarts are made while it is looked at.
            Self::Fair | Self::Restarts => {}
            Self::IdleClients => falling._clients = Some(idle_clients(&container)),
            Self::Script(script) | Self::OomKilled(script) => container.start(script),
            Self::Throttled(script) => {
                container.start(script);
                container.limit_cpu(THROTTLED_QUOTA_US, THROTTLED_PERIOD_US);
            }
            Self::NetworkDown => {
                for interface in ["eth0", "lo"] {
                    set_down(&container, interface);
                }
            }
            Self::InterfaceDown => set_down(&container, "eth0"),
            Self::Frozen => container.freeze(true),
            Self::Stopped => {
                let pid = Pid::from_raw(i32::try_from(container.pid()).expect("pids fit i32")).expect("it is not 0");
                kill_process(pid, Signal::STOP).expect("root may stop it");
            }
            Self::Killed => container.kill_first_process(),
            Self::MainKilled => container.kill_first_process_alone(),
            Self::OomDeleted(script) => {
                container.start(script);
                let first = format!("/proc/{}/exe", container.pid());
                eventually("the end of its first process", KILLED, || {
                    // Of one that has ended, buried or not, nothing can be read.
                    if std::fs::read_link(&first).is_err() { Ok(()) } else { Err("it lives".to_owned()) }
                });
                container.delete();
                return (None, falling);
            }
            Self::Deleted => {
                container.delete();
                return (None, falling);
            }
        }
        (Some(container), falling)
    }
}

fn set_down(container: &Container, interface: &str) {
    run_to_end(container.in_network("ip").args(["link", "set", interface, "down"]));
}

/// A shell of this machine's that connects as often as the server has descriptors, and waits.
fn idle_clients(container: &Container) -> (Process, TempDir) {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let connect = format!("for i in $(seq {DESCRIPTORS}); do exec {{client}}<>/dev/tcp/127.0.0.1/80; done");
    let mut command: Command = container.in_network("bash");
    command.args(["-c", &format!("{connect}; exec sleep 100000")]);
    let process = Process::start("idle clients", &mut command, &dir.path().join("log"));
    (process, dir)
}
