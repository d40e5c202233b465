//! A real libvirtd in a [`Room`], and containers of its LXC driver.
//!
//! It has no other driver than that one, so it looks for no hypervisor, no disks and no networks; and there is no machined to ask, so it makes
//! cgroups by itself. Its state is where it is by default, which is where Sonde looks; what else it writes goes to folders that are not the machine's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::process::Process;
use crate::room::Room;
use crate::wait::eventually;

/// Starting takes it less than a second; a busy CI machine gets far longer.
const START: Duration = Duration::from_secs(60);
const SOCKET: &str = "/run/libvirt/libvirt-sock";
/// Where the one driver is linked to, and folders in place of the machine's. Beside older hierarchies libvirt 9 cannot give a container the
/// unified one ("Unable to create directory /sys/fs/cgroup/unified"), so it does not get to see it.
const BEFORE: &str = "mkdir $DRIVERS
ln -s /usr/lib/*/libvirt/connection-driver/libvirt_driver_lxc.so $DRIVERS/
for folder in /etc/libvirt /var/log /var/cache; do mount -t tmpfs -o mode=755 tmpfs $folder; done
if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi
export LIBVIRT_DRIVER_DIR=$DRIVERS";
const CONFIG: &str = "auth_unix_rw = \"none\"\nlog_outputs = \"3:stderr\"\n";

/// A running libvirtd. Dropping it destroys its domains first.
pub struct Libvirtd {
    daemon: Process,
    room: Arc<Room>,
}

impl Libvirtd {
    pub fn start(room: &Arc<Room>) -> Self {
        let config = room.dir().join("libvirtd.conf");
        fs::write(&config, CONFIG).expect("a room's folder is writable");
        let mut command = room.daemon(BEFORE, "libvirtd");
        command.arg("--config").arg(&config).env("DRIVERS", room.dir().join("drivers"));
        let daemon = Process::start("libvirtd", &mut command, &room.dir().join("libvirtd.log"));
        let mut libvirtd = Self { daemon, room: Arc::clone(room) };
        eventually("libvirtd answering", START, || {
            assert!(libvirtd.daemon.ended().is_none(), "libvirtd has ended: {}", libvirtd.daemon.log());
            let answered = libvirtd.virsh().arg("list").output().expect("virsh is there");
            if answered.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&answered.stderr).into_owned()) }
        });
        libvirtd
    }

    /// Starts a container whose root is that folder, in the room's cgroup.
    #[track_caller]
    pub fn create(&self, name: &str, memory_bytes: u64, root: &Path, program: &[&str]) {
        let arguments: String = program[1..].iter().map(|argument| format!("<initarg>{argument}</initarg>")).collect();
        let xml = format!(
            "<domain type='lxc'><name>{name}</name><memory unit='bytes'>{memory_bytes}</memory><vcpu>1</vcpu>\
             <os><type>exe</type><init>{}</init>{arguments}</os><resource><partition>{}</partition></resource>\
             <devices><filesystem type='mount'><source dir='{}'/><target dir='/'/></filesystem><console type='pty'/>\
             </devices></domain>",
            program[0],
            self.room.cgroup(),
            root.display(),
        );
        let file = self.room.dir().join(format!("{name}.xml"));
        fs::write(&file, xml).expect("a room's folder is writable");
        self.command(&["create", &file.to_string_lossy()]);
    }

    /// `virsh ARGUMENTS`: what it printed; panics unless it exits with 0.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = self.virsh();
        let output = command.args(arguments).output().expect("virsh is there");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (told, complaint) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success(), "{command:?}: {told} {complaint}; {}", self.daemon.log());
        told
    }

    fn virsh(&self) -> Command {
        let mut command = self.room.command("virsh");
        command.args(["--connect", &format!("lxc+unix:///system?socket={SOCKET}")]).stdin(Stdio::null());
        command
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        let listed = self.virsh().args(["list", "--name"]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for domain in listed.split_whitespace() {
            let _ = self.virsh().args(["destroy", domain]).output();
        }
        self.daemon.stop();
    }
}
