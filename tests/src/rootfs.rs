//! A root file system for containers: busybox with all its applets, and the programs a test names.
//!
//! It holds programs of this machine with the shared libraries that `ldd` names, so no image is downloaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::process::run_to_end;

/// A root file system, shared read-only by any number of containers.
pub struct Rootfs {
    dir: TempDir,
}

impl Rootfs {
    /// busybox with all its applets, and `programs` (found by PATH) with their libraries.
    pub fn with(programs: &[&str]) -> Arc<Self> {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let root = dir.path();
        for folder in ["bin", "etc", "proc", "dev", "sys", "tmp", "var/log/nginx", "var/lib/nginx", "run"] {
            fs::create_dir_all(root.join(folder)).expect("the temporary folder is writable");
        }
        let busybox = find_program("busybox");
        install(&busybox, root);
        let applets = run_to_end(Command::new(&busybox).arg("--list")).stdout;
        for applet in String::from_utf8_lossy(&applets).lines().filter(|a| *a != "busybox") {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("applet names are unique");
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").expect("etc is writable");
        fs::write(root.join("etc/group"), "root:x:0:\n").expect("etc is writable");
        for program in programs {
            install(&find_program(program), root);
        }
        Arc::new(Self { dir })
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Copies a program to `bin`, and its libraries to where it looks for them.
fn install(program: &Path, root: &Path) {
    let name = program.file_name().expect("a program is a file");
    fs::copy(program, root.join("bin").join(name)).expect("a program can be copied");
    for library in libraries(program) {
        let to = root.join(library.strip_prefix("/").expect("ldd prints absolute paths"));
        fs::create_dir_all(to.parent().expect("a file has a folder")).expect("the rootfs is writable");
        fs::copy(&library, to).expect("a library can be copied");
    }
}

/// Where a program is: PATH, and the two folders that an ordinary user's PATH lacks.
pub(crate) fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is not on PATH: `cargo xtask test` installs what the tests need"))
}

/// The shared libraries and the loader of a program; none when it is static.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd is part of libc");
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
