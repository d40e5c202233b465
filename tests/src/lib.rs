//! What the end-to-end tests are written with: a running Sonde, real containers, a real Prometheus.
//!
//! Every piece is a value that owns what it started and ends it when dropped, also when a test
//! panics, and then shows its log. All names carry the test's process id, so tests run side by side;
//! what a killed test left behind is swept by the next one. Nothing here knows Sonde's insides: the
//! tests hold it to its outward contract (docs/ARCHITECTURE.md) through HTTP, files and its command.

mod cgroup;
mod container;
mod containerd;
mod daemon;
mod dockerd;
mod exposition;
mod fleet;
mod footprint;
mod http;
mod libvirtd;
mod names;
mod own_network;
mod process;
mod prometheus;
mod room;
mod rootfs;
mod servers;
mod sonde;
mod wait;

pub use cgroup::OwnCgroup;
pub use container::{Container, ContainerBuilder, read_cpu_usage_ns};
pub use containerd::{Containerd, Pod, Task};
pub use daemon::{Daemon, repository};
pub use dockerd::Dockerd;
pub use exposition::{Exposition, Sample};
pub use fleet::Fleet;
pub use footprint::Footprint;
pub use http::{KeptConnection, Request, Response, StaticServer, get, read_response};
pub use libvirtd::Libvirtd;
pub use names::unique_name;
pub use own_network::in_own_network;
pub use process::{Process, run_to_end};
pub use prometheus::{Prometheus, RawSeries, Remark, promtool_check};
pub use room::Room;
pub use rootfs::Rootfs;
pub use servers::{Server, SilentServer};
pub use sonde::{CliOutput, Sonde, SondeBuilder, binary, sensor_path};
pub use wait::eventually;
