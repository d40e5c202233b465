//! What each command needs of the machine, and getting it.
//!
//! A thing that is there is never touched. What is missing comes from Debian with one `apt-get`, as root or
//! by a sudo that asks nothing; the services that packages bring are not started. Where that is not
//! possible, one sentence names what is missing and the command that installs it.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use sonde_guest_build::Toolchain;

use crate::error::Error;
use crate::workspace::{Workspace, run, say, shown, succeeds};

/// Debian's compiler for WebAssembly with the source of its standard library (design §7).
const DEBIAN_WASM: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The kernel that the tests boot: the metapackage, which depends on the newest.
const KERNEL: &str = "linux-image-cloud-amd64";
/// Where it is unpacked, below the target folder; `tests/tests/qemu` looks there.
const KERNEL_FOLDER: &str = "vm-kernel";

/// What the machine is set up for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum For {
    Lint,
    Sensors,
    Bench,
    Test,
}

/// A program (or a file, by its whole path), and the Debian package that has it.
struct Need {
    program: &'static str,
    package: &'static str,
    wanted: &'static [For],
}

const NEEDS: [Need; 32] = [
    Need { program: "cc", package: "build-essential", wanted: &[For::Lint, For::Sensors, For::Bench, For::Test] },
    Need { program: "runc", package: "runc", wanted: &[For::Test, For::Bench] },
    Need { program: "redis-server", package: "redis-server", wanted: &[For::Test] },
    Need { program: "redis-cli", package: "redis-tools", wanted: &[For::Test] },
    Need { program: "nginx", package: "nginx", wanted: &[For::Test, For::Bench] },
    Need { program: "promtool", package: "prometheus", wanted: &[For::Test] },
    Need { program: "prometheus-node-exporter", package: "prometheus-node-exporter", wanted: &[For::Test] },
    Need { program: "podman", package: "podman", wanted: &[For::Test] },
    Need { program: "lxc-start", package: "lxc", wanted: &[For::Test] },
    Need { program: "containerd", package: "containerd", wanted: &[For::Test] },
    Need { program: "dockerd", package: "docker.io", wanted: &[For::Test] },
    Need { program: "libvirtd", package: "libvirt-daemon", wanted: &[For::Test] },
    Need { program: "/usr/lib/libvirt/libvirt_lxc", package: "libvirt-daemon-driver-lxc", wanted: &[For::Test] },
    Need { program: "virsh", package: "libvirt-clients", wanted: &[For::Test] },
    Need { program: "systemd-nspawn", package: "systemd-container", wanted: &[For::Test] },
    Need { program: "/lib/systemd/system/dbus.service", package: "dbus", wanted: &[For::Test] },
    Need { program: "busybox", package: "busybox-static", wanted: &[For::Test, For::Bench] },
    Need { program: "qemu-system-x86_64", package: "qemu-system-x86", wanted: &[For::Test] },
    Need { program: "ip", package: "iproute2", wanted: &[For::Test] },
    Need { program: "openssl", package: "openssl", wanted: &[For::Test] },
    Need { program: "curl", package: "curl", wanted: &[For::Test] },
    Need { program: "systemd-analyze", package: "systemd", wanted: &[For::Test] },
    Need { program: "prlimit", package: "util-linux", wanted: &[For::Test] },
    Need { program: "etcd", package: "etcd-server", wanted: &[For::Test] },
    Need { program: "etcdctl", package: "etcd-client", wanted: &[For::Test] },
    Need { program: "ssh-keygen", package: "openssh-client", wanted: &[For::Test] },
    Need { program: "protoc", package: "protobuf-compiler", wanted: &[For::Lint, For::Test] },
    Need {
        program: "/usr/include/google/protobuf/descriptor.proto",
        package: "libprotobuf-dev",
        wanted: &[For::Lint, For::Test],
    },
    Need { program: "haproxy", package: "haproxy", wanted: &[For::Bench] },
    Need { program: "dig", package: "bind9-dnsutils", wanted: &[For::Test] },
    Need { program: "vmagent", package: "victoria-metrics", wanted: &[For::Test] },
    Need { program: "wrk", package: "wrk", wanted: &[For::Bench] },
];

/// Makes sure of the programs that the command needs; what builds WebAssembly is [`toolchain`]'s matter.
pub(crate) fn setup(what_for: For) -> Result<(), Error> {
    let wanted = NEEDS.iter().filter(|need| need.wanted.contains(&what_for));
    let missing: Vec<&str> = wanted.filter(|n| find_program(n.program).is_none()).map(|n| n.package).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    Ok(())
}

/// The way to build WebAssembly: what there is, else what rustup can fetch, else Debian's compiler, installed now.
/// rustup is asked once, so a caller keeps what it gets.
pub(crate) fn toolchain() -> Result<Toolchain, Error> {
    say("finding what builds WebAssembly (rustup gets a minute where nothing here does)");
    if let Ok(found) = Toolchain::find() {
        return Ok(found);
    }
    say("rustup cannot fetch the target; Debian's compiler for WebAssembly will do");
    system_toolchain()
}

/// Debian's compiler, which builds the standard library for targets that nobody has a built one of here.
pub(crate) fn system_toolchain() -> Result<Toolchain, Error> {
    if let Ok(found) = Toolchain::system() {
        return Ok(found);
    }
    install(&DEBIAN_WASM)?;
    Toolchain::system().map_err(Error::Toolchain)
}

/// Makes sure of a kernel for the tests' virtual machines: fetched and unpacked, never installed, so that this machine keeps its own.
pub(crate) fn kernel(workspace: &Workspace) -> Result<(), Error> {
    let folder = workspace.target.join(KERNEL_FOLDER);
    let is_kernel = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("vmlinuz-");
    let there = std::fs::read_dir(folder.join("boot")).into_iter().flatten().flatten();
    if there.map(|entry| entry.file_name()).any(|name| is_kernel(&name)) {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        return Err(Error::Missing {
            what: format!("a kernel in {} is", folder.display()),
            why: "there is no apt-get to get it by",
            next: format!("unpack what Debian's {KERNEL} depends on there, and try again"),
        });
    }
    let mut command = Command::new("sh");
    command.args(["-c", include_str!("kernel.sh"), "kernel", KERNEL]).arg(&folder);
    run(&format!("fetching the kernel of {KERNEL} (apt-get)"), &mut command)
}

/// Where a program is: PATH, and the two folders that an ordinary user's PATH lacks.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

fn install(packages: &[&str]) -> Result<(), Error> {
    let list = packages.join(" ");
    let missing = |why, next| {
        let what = format!("{list} {}", if packages.len() == 1 { "is" } else { "are" });
        Err(Error::Missing { what, why, next })
    };
    if find_program("apt-get").is_none() {
        let next = "install what your system calls these Debian packages, and try again".to_owned();
        return missing("there is no apt-get to get them by", next);
    }
    let mut command = if is_root() {
        Command::new("sh")
    } else if succeeds(Command::new("sudo").args(["-n", "true"])) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "sh"]);
        sudo
    } else {
        return missing(
            "only root may install packages",
            format!("run `sudo apt-get install -y {list}`, and try again"),
        );
    };
    command.args(["-c", include_str!("install.sh"), "install"]).args(packages);
    match run(&format!("installing {list} (apt-get)"), &mut command) {
        Err(Error::Failed { status, .. }) => Err(Error::Failed {
            what: format!("installing {list}"),
            command: shown(Command::new("apt-get").args(["install", "-y"]).args(packages)),
            status,
        }),
        other => other,
    }
}

fn is_root() -> bool {
    // A process's own folder in /proc belongs to its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
