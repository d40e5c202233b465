//! A machine made of files, in a temporary directory: `/proc`, `/sys`, `/run` and cgroup hierarchies,
//! in the shapes that kernels and runtimes give them, with our own data.

#![allow(dead_code, reason = "each test file that includes this uses a part of it")]

pub(crate) mod filled;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_collect::{Discovery, DiscoveryConfig, InstanceRule, NodeId, Roots, Rules};

/// Which layout to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    V1,
    Hybrid,
    Unified,
}

/// The v1 hierarchies that are made, each mounted on its own.
pub(crate) const V1: [&str; 6] = ["cpu", "cpuacct", "memory", "blkio", "pids", "freezer"];

/// A machine in a directory that is removed on drop.
pub(crate) struct Tree {
    directory: tempfile::TempDir,
    layout: Layout,
}

impl Tree {
    pub(crate) fn new(layout: Layout) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = Self { directory, layout };
        let mut mountinfo = String::new();
        for (at, mount) in tree.mounts().iter().enumerate() {
            fs::create_dir_all(mount).unwrap();
            let name = mount.file_name().unwrap().to_str().unwrap();
            let kind =
                if name == "unified" { "cgroup2 cgroup2 rw".to_owned() } else { format!("cgroup cgroup rw,{name}") };
            mountinfo += &format!("{at} 1 0:{at} / {} rw,relatime - {kind}\n", mount.display());
        }
        tree.write("proc/self/mountinfo", &mountinfo);
        tree.write("proc/sys/kernel/random/boot_id", "00000000-0000-4000-8000-000000000001\n");
        for directory in ["sys", "run"] {
            fs::create_dir_all(tree.path(directory)).unwrap();
        }
        tree
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn mounts(&self) -> Vec<PathBuf> {
        let v1 = V1.iter().map(|name| self.path("cgroup").join(name));
        let v2 = self.path("cgroup/unified");
        match self.layout {
            Layout::V1 => v1.collect(),
            Layout::Hybrid => v1.chain([v2]).collect(),
            Layout::Unified => vec![v2],
        }
    }

    /// Makes a cgroup in every hierarchy.
    pub(crate) fn cgroup(&self, path: &str) {
        for mount in self.mounts() {
            fs::create_dir_all(mount.join(path.trim_start_matches('/'))).unwrap();
        }
    }

    /// Removes it from every hierarchy.
    pub(crate) fn remove_cgroup(&self, path: &str) {
        for mount in self.mounts() {
            fs::remove_dir_all(mount.join(path.trim_start_matches('/'))).unwrap();
        }
    }

    /// Takes a cgroup away without freeing its inode, as kernfs never uses one twice.
    pub(crate) fn retire_cgroup(&self, path: &str) {
        for (at, mount) in self.mounts().iter().enumerate() {
            let old = mount.join(path.trim_start_matches('/'));
            fs::rename(old, self.path(&format!("retired-{at}"))).unwrap();
        }
    }

    /// Writes the state file that runc keeps of a container.
    pub(crate) fn runc_state(&self, id: &str, cgroup: &str) {
        self.runc_state_of(id, cgroup, 0, 0);
    }

    pub(crate) fn runc_state_of(&self, id: &str, cgroup: &str, pid: u32, start: u64) {
        let paths: Vec<String> = self
            .mounts()
            .iter()
            .map(|mount| {
                let name = mount.file_name().unwrap().to_str().unwrap();
                let key = if name == "unified" { "" } else { name };
                format!("{key:?}: {:?}", mount.join(cgroup.trim_start_matches('/')))
            })
            .collect();
        let text = format!(
            r#"{{"id": "{id}", "init_process_pid": {pid}, "init_process_start": {start}, "created": "2026-01-02T03:04:05.5Z",
                "cgroup_paths": {{{}}}, "config": {{"labels": ["a.b=c=d", "bundle=/b"]}}, "unknown": [1]}}"#,
            paths.join(", ")
        );
        self.write(&format!("run/runc/{id}/state.json"), &text);
    }

    pub(crate) fn roots(&self) -> Arc<Roots> {
        Arc::new(Roots::of(self.path("proc"), self.path("sys"), self.path("run")).unwrap())
    }

    pub(crate) fn discovery(&self) -> Discovery {
        self.discovery_by(Vec::new())
    }

    /// A discovery that goes by rules.
    pub(crate) fn discovery_by(&self, rules: Vec<InstanceRule>) -> Discovery {
        self.discovery_of(DiscoveryConfig { rules: Rules::new(rules), ..self.config() })
    }

    /// A discovery whose rules ask for labels.
    pub(crate) fn discovery_asking<const N: usize>(&self, labels: [&str; N]) -> Discovery {
        self.discovery_of(DiscoveryConfig { asked_labels: labels.map(str::to_owned).into(), ..self.config() })
    }

    pub(crate) fn discovery_of(&self, config: DiscoveryConfig) -> Discovery {
        Discovery::new(self.roots(), config)
    }

    /// Without rules, believing whoever runs the test.
    pub(crate) fn config(&self) -> DiscoveryConfig {
        let state_owner = rustix::process::getuid().as_raw();
        DiscoveryConfig { state_owner, ..DiscoveryConfig::new(NodeId::new("node").unwrap()) }
    }

    /// Gives a cgroup to a user, as systemd does with `user@.service`. False where this process may not.
    pub(crate) fn delegate(&self, path: &str, uid: u32) -> bool {
        let give = |mount: &PathBuf| {
            std::os::unix::fs::chown(mount.join(path.trim_start_matches('/')), Some(uid), None).is_ok()
        };
        let given = self.mounts().iter().all(give);
        if !given {
            skipped("only root can give a directory away");
        }
        given
    }
}

/// Says what a test, or a part of it, does not look at and why. The machine that must have all there is says so by `SONDE_REAL_SERVERS`: there it fails.
#[track_caller]
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("SONDE_REAL_SERVERS").is_none(), "{why}");
    println!("skipped: {why}");
}

/// 64 hex digits that begin with `head`.
pub(crate) fn hex(head: &str) -> String {
    format!("{head:0<64}")
}

/// The file of a v1 hierarchy, or of the cgroup2 tree (`unified`).
pub(crate) fn file(mount: &str, cgroup: &str, name: &str) -> String {
    Path::new("cgroup").join(mount).join(cgroup.trim_start_matches('/')).join(name).to_str().unwrap().to_owned()
}

/// Where docker keeps what it knows of a container.
pub(crate) fn docker_file(id: &str) -> String {
    format!("var/lib/docker/containers/{id}/config.v2.json")
}

/// What stands there.
pub(crate) fn docker_state(id: &str, name: &str, labels: &str) -> String {
    format!(r#"{{"ID":"{id}","Name":"/{name}","Config":{{"Image":"nginx:1","Labels":{labels}}}}}"#)
}
