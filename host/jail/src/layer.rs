//! The names of the layers, and the report of which are in force.
//!
//! A report is made for each layer, also for one that was left out or could not be tried, so that a
//! reader who counts them notices when one is gone.

use serde::{Deserialize, Serialize};

use crate::Fault;

/// One defence. The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Nothing is open but what was given: 0, 1 and 2.
    Descriptors,
    /// Memory, processes and CPU are those of a cgroup of its own.
    Cgroup,
    /// No core, no files, few descriptors and threads (`setrlimit`).
    Rlimits,
    /// A network namespace with nothing in it.
    Network,
    /// IPC and UTS namespaces of its own.
    Ipc,
    /// `/` is an empty directory that cannot be written.
    Mounts,
    /// A user and group that nobody else has, and no way back.
    User,
    /// All five sets are empty.
    Capabilities,
    /// `execve` gives nothing (`PR_SET_NO_NEW_PRIVS`).
    NoNewPrivileges,
    /// No other process of the user can look inside (`PR_SET_DUMPABLE`).
    Undumpable,
    /// It is killed when its parent ends.
    ParentDeath,
    /// No path, no TCP, no signal or abstract socket outside (Landlock).
    Landlock,
    /// Only the system calls of its profile.
    Seccomp,
}

impl Layer {
    pub const ALL: [Self; 13] = [
        Self::Descriptors,
        Self::Cgroup,
        Self::Rlimits,
        Self::Network,
        Self::Ipc,
        Self::Mounts,
        Self::User,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Undumpable,
        Self::ParentDeath,
        Self::Landlock,
        Self::Seccomp,
    ];

    /// The value of the label `layer` in our own series; the same word as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Cgroup => "cgroup",
            Self::Rlimits => "rlimits",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Mounts => "mounts",
            Self::User => "user",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivileges => "no_new_privileges",
            Self::Undumpable => "undumpable",
            Self::ParentDeath => "parent_death",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }

    /// Whether the kernel keeps it for each thread, so that threads which exist already escape it.
    fn is_of_thread(self) -> bool {
        !matches!(self, Self::Descriptors | Self::Cgroup | Self::Rlimits | Self::Undumpable)
    }
}

/// Whether one layer is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    pub layer: Layer,
    /// Why it is not in force, one line; `None` if it is.
    pub fault: Option<String>,
    /// What is weaker than it could be although it is in force, or how new it is; one line.
    #[serde(default)]
    pub detail: Option<String>,
}

/// `Ok`: in force, with a detail if there is one.
pub(crate) type Outcome = Result<Option<String>, Fault>;

/// Collects what [`crate::Jail::enter`] reports.
pub(crate) struct Reports<'a> {
    skip: &'a [Layer],
    done: Vec<LayerReport>,
}

impl<'a> Reports<'a> {
    pub(crate) fn new(skip: &'a [Layer]) -> Self {
        Self { skip, done: Vec::with_capacity(Layer::ALL.len()) }
    }

    /// Tries one layer, unless it is to be left out.
    pub(crate) fn run(&mut self, layer: Layer, act: impl FnOnce() -> Outcome) {
        let (fault, detail) = if self.skip.contains(&layer) {
            (Some("left out on request".to_owned()), None)
        } else {
            match act() {
                Ok(detail) => (None, detail),
                Err(fault) => (Some(fault.text()), None),
            }
        };
        self.done.push(LayerReport { layer, fault, detail });
    }

    /// Does what `layers` need beforehand, unless all of them are left out. Its fault is not a
    /// report: the layers will fail for want of it, and say so.
    pub(crate) fn prepare(&self, layers: &[Layer], act: impl FnOnce() -> Outcome) {
        if !layers.iter().all(|layer| self.skip.contains(layer)) {
            let _ = act();
        }
    }

    /// In the order of [`Layer::ALL`]. With more than one thread, no layer of threads is in force.
    pub(crate) fn finish(mut self, threads: Option<usize>) -> Vec<LayerReport> {
        if let Some(threads) = threads.filter(|threads| *threads > 1) {
            for report in self.done.iter_mut().filter(|report| report.layer.is_of_thread()) {
                report.fault.get_or_insert_with(|| format!("holds one of {threads} threads only"));
            }
        }
        self.done.sort_by_key(|report| report.layer as usize);
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for layer in Layer::ALL {
            assert_eq!(serde_json::to_string(&layer).unwrap(), format!("\"{}\"", layer.as_str()));
        }
    }

    #[test]
    fn a_second_thread_is_a_fault_of_every_layer_it_escapes() {
        let mut reports = Reports::new(&[]);
        reports.run(Layer::Seccomp, || Ok(None));
        reports.run(Layer::Rlimits, || Ok(None));
        let done = reports.finish(Some(2));
        assert_eq!(done[0], LayerReport { layer: Layer::Rlimits, fault: None, detail: None });
        assert_eq!(done[1].fault.as_deref(), Some("holds one of 2 threads only"));
    }
}
