//! Containers of real runtimes, each told to the agent by nothing but the runtime's own state: podman, LXC, and containerd
//! by `ctr`, beside the pods of the other tests.
//!
//! They run in a room, where the places that the agent looks at are theirs alone. docker's are in `docker.rs`, libvirt's in `libvirt.rs`;
//! nspawn, which systemd's machined makes known, is in the virtual machine of `qemu`. Not here is CRI-O, which Debian has not.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sonde_tests::{Containerd, Room, Rootfs, Sonde, eventually, unique_name};

pub(crate) const SOON: Duration = Duration::from_secs(30);
const IMAGE: &str = "registry.test/web:3";
pub(crate) const MEMORY_LIMIT_BYTES: f64 = 67_108_864.0;

/// What the agent lists under a name.
#[track_caller]
pub(crate) fn listed(sonde: &Sonde, name: &str) -> Value {
    sonde.wait_for_instance(name)
}

/// An instance is listed as its runtime's, and its series carry its name and image.
#[track_caller]
pub(crate) fn assert_known(sonde: &Sonde, name: &str, runtime: &str, image: &str) {
    let entry = listed(sonde, name);
    assert_eq!((entry["runtime"].as_str(), entry["state"].as_str()), (Some(runtime), Some("running")), "{entry}");
    let id = entry["id"].as_str().expect("an instance has an id");
    let exposition = sonde.scrape(id);
    let labels = [("name", name), ("image", image)];
    assert!(exposition.value("container_processes", &labels) >= Some(1.0), "{:?}", exposition.samples.first());
}

/// Waits until nothing of that name is listed as living.
#[track_caller]
pub(crate) fn assert_gone(sonde: &Sonde, name: &str) {
    eventually(&format!("the end of {name}"), SOON, || {
        let living = sonde.instances().into_iter().find(|entry| entry["name"] == name && entry["state"] == "running");
        living.map_or(Ok(()), |entry| Err(entry.to_string()))
    });
}

/// podman with its state where root's is, and without systemd.
struct Podman {
    room: Arc<Room>,
    name: String,
}

impl Podman {
    fn run(room: &Arc<Room>) -> Self {
        let podman = Self { room: Arc::clone(room), name: unique_name("podman") };
        let rootfs = Rootfs::with(&[]);
        let image = room.dir().join("image.tar");
        let (root, image) = (rootfs.path().to_string_lossy().into_owned(), image.to_string_lossy().into_owned());
        room.run("tar", &["-C", &root, "-cf", &image, "."]);
        podman.command(&["import", &image, IMAGE]);
        let parent = format!("{}/podman", room.cgroup());
        // Its own default of descriptors is more than a machine may allow.
        let limits = [
            "--memory",
            "64m",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
            "--network",
            "none",
            "--cgroup-parent",
            &parent,
        ];
        podman.command(
            &[&["run", "--detach", "--name", &podman.name], &limits[..], &[IMAGE, "sleep", "100000"]].concat(),
        );
        podman
    }

    #[track_caller]
    fn command(&self, arguments: &[&str]) -> String {
        let always = [
            "--storage-driver",
            "vfs",
            "--runtime",
            "runc",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
        ];
        self.room.run("podman", &[&always, arguments].concat())
    }
}

/// A container of LXC's whose root is a folder.
struct Lxc {
    room: Arc<Room>,
    name: String,
    rootfs: Arc<Rootfs>,
}

impl Lxc {
    fn start(room: &Arc<Room>) -> Self {
        let lxc = Self { room: Arc::clone(room), name: unique_name("lxc"), rootfs: Rootfs::with(&[]) };
        let config = format!(
            "lxc.rootfs.path = dir:{}\nlxc.uts.name = box\nlxc.net.0.type = empty\nlxc.init.cmd = /bin/sleep 100000\n\
             lxc.cgroup.dir = {}\nlxc.apparmor.profile = unconfined\n",
            lxc.rootfs.path().display(),
            room.cgroup().trim_start_matches('/'),
        );
        let file = room.dir().join("lxc.conf");
        fs::write(&file, config).expect("a room's folder is writable");
        let home = format!("/var/lib/lxc/{}", lxc.name);
        room.run("mkdir", &["-p", &home]);
        room.run("cp", &[&file.to_string_lossy(), &format!("{home}/config")]);
        room.run("lxc-start", &["--name", &lxc.name, "--daemon"]);
        lxc
    }

    fn stop(&self) {
        self.room.run("lxc-stop", &["--name", &self.name, "--kill"]);
    }
}

#[test]
fn a_container_of_podmans_is_known_by_name_and_image() {
    let room = Arc::new(Room::make());
    let podman = Podman::run(&room);
    let sonde = Sonde::configure().inside(&room).up();
    assert_known(&sonde, &podman.name, "podman", IMAGE);
    let id = listed(&sonde, &podman.name)["id"].as_str().map(str::to_owned).expect("an instance has an id");
    assert_eq!(sonde.scrape(&id).value("container_spec_memory_limit_bytes", &[]), Some(MEMORY_LIMIT_BYTES));
    podman.command(&["pause", &podman.name]);
    sonde.wait_for_value(&id, "sonde_instance_state", &[("state", "frozen")], SOON, |frozen| frozen == 1.0);
    podman.command(&["unpause", &podman.name]);
    sonde.wait_for_value(&id, "sonde_instance_state", &[("state", "running")], SOON, |running| running == 1.0);
    podman.command(&["rm", "--force", "--time", "0", &podman.name]);
    assert_gone(&sonde, &podman.name);
}

#[test]
fn a_container_of_lxcs_is_known_by_name_and_root() {
    let room = Arc::new(Room::make());
    let lxc = Lxc::start(&room);
    let sonde = Sonde::configure().inside(&room).up();
    assert_known(&sonde, &lxc.name, "lxc", &lxc.rootfs.path().to_string_lossy());
    lxc.stop();
    assert_gone(&sonde, &lxc.name);
}

/// In a namespace of containerd's own, by the path that `ctr` chooses where nobody says one; a rule goes by the labels that its files tell.
#[test]
fn containers_of_ctrs_are_known_and_rules_see_their_labels() {
    let room = Arc::new(Room::make());
    let mut containerd = Containerd::start(&room);
    let (plain, left_out) = (unique_name("ctr"), unique_name("left-out"));
    let options = |name: &str, tier: &str| {
        let cgroup = format!("{}/{name}", room.cgroup());
        [
            "--cgroup",
            &cgroup,
            "--annotation",
            &format!("org.opencontainers.image.ref.name={IMAGE}"),
            "--annotation",
            &format!("tier={tier}"),
        ]
        .map(String::from)
        .to_vec()
    };
    for (name, tier) in [(&plain, "front"), (&left_out, "back")] {
        containerd.run("batch", name, &options(name, tier), "sleep 100000");
    }
    let rules = "[[instance]]\nmatch = { labels = { tier = \"back\" } }\ninstance = false\n\
                 [[owner]]\naccount = \"team-{containerd_namespace}\"\nmatch = { containerd_namespace = \"*\" }\n";
    let sonde = Sonde::configure().inside(&room).config(rules).up();
    assert_known(&sonde, &plain, "containerd", IMAGE);
    assert_eq!(listed(&sonde, &plain)["owner"], "team-batch");
    assert!(sonde.instances().iter().all(|entry| entry["name"] != *left_out), "{:?}", sonde.instances());
    containerd.delete("batch", &plain);
    assert_gone(&sonde, &plain);
}
