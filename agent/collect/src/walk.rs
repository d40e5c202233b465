//! Walking a cgroup hierarchy, cheaply: a directory without children is told by its link count and not
//! even opened.
//!
//! The walk goes down from the root, asks [`crate::runtime::component`] about each directory and does not
//! look for instances below one. What is claimed there is the instance's own; it is counted, so that an
//! operator can see that somebody names his cgroups like containers.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::mounts::Mount;
use crate::process;
use crate::runtime::{self, Match, Runtime};
use crate::starvation;

/// No deeper than this: a delegated tree may be as deep as its owner likes.
const DEPTH_MAX: usize = 24;
/// No more directories than this in one walk below one instance: a tenant with a delegated cgroup could otherwise
/// make each reading as dear as he likes. A whole systemd in a container has some 60.
const BELOW_MAX: usize = 128;
/// A directory of kernfs has this many links, and one more for each directory in it.
const LINKS_WITHOUT_CHILDREN: u64 = 2;

/// A cgroup directory that a rule claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who runs it.
    pub runtime: Runtime,
    /// The runtime's own id.
    pub runtime_id: String,
    /// The directory.
    pub directory: PathBuf,
    /// Its path in the hierarchy.
    pub cgroup_path: String,
    /// Its inode.
    pub inode: u64,
    /// Whether all that is above it belongs to root, so that no tenant can have made it.
    pub root_owned: bool,
    /// Claims below it.
    pub nested: u32,
}

/// What a walk saw.
#[derive(Debug, Default)]
pub struct Walk {
    /// The claims, outermost only.
    pub claims: Vec<Claim>,
    /// The directories in which an instance could appear: to be watched.
    pub directories: Vec<PathBuf>,
}

/// Walks a hierarchy. A directory that vanishes meanwhile is passed over. `known` says whether the directory
/// of an inode is an instance's already (plain runc's can have any name).
pub fn walk(mount: &Mount, known: &dyn Fn(&Path) -> bool) -> Walk {
    let mut walk = Walk::default();
    let root_path = mount.root.to_string_lossy().into_owned();
    let mut above: Vec<String> = split(&root_path);
    descend(&mut walk, &mount.point, &mut above, true, known);
    walk
}

fn split(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn descend(
    walk: &mut Walk,
    directory: &Path,
    above: &mut Vec<String>,
    root_owned: bool,
    known: &dyn Fn(&Path) -> bool,
) {
    walk.directories.push(directory.to_owned());
    if above.len() >= DEPTH_MAX {
        return;
    }
    for (name, path) in children(directory) {
        let names: Vec<&str> = above.iter().map(String::as_str).collect();
        let verdict = runtime::component(&names, &name);
        if verdict == Match::Skip || known(&path) {
            continue;
        }
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        // The instance's own directory may be delegated; what counts is who could make it.
        let root_owned_here = root_owned && metadata.uid() == 0;
        if let Match::Instance(runtime, id) = verdict {
            walk.claims.push(Claim {
                runtime,
                runtime_id: id.into_owned(),
                cgroup_path: format!("/{}/{name}", above.join("/")).replace("//", "/"),
                inode: metadata.ino(),
                root_owned,
                nested: nested_claims(&path, metadata.nlink()),
                directory: path,
            });
        } else if may_have_children(metadata.nlink()) {
            above.push(name);
            descend(walk, &path, above, root_owned_here, known);
            above.pop();
        } else {
            walk.directories.push(path);
        }
    }
}

/// Link counts below 2 come from file systems that do not count directories (fixtures on btrfs, overlay).
fn may_have_children(links: u64) -> bool {
    links != LINKS_WITHOUT_CHILDREN
}

fn children(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = starvation::noted(std::fs::read_dir(directory)) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

/// How many directories below an instance are named like instances themselves.
pub(crate) fn nested_claims(directory: &Path, links: u64) -> u32 {
    if !may_have_children(links) {
        return 0;
    }
    let mut nested = 0;
    for below in directories_below(directory) {
        let relative = below.strip_prefix(directory).unwrap_or(&below);
        let parts: Vec<&str> = relative.iter().filter_map(|part| part.to_str()).collect();
        if let Some((name, above)) = parts.split_last()
            && matches!(runtime::component(above, name), Match::Instance(..))
        {
            nested += 1;
        }
    }
    nested
}

/// The directories below one, nearest first, bounded.
pub fn directories_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = 0;
    let mut current = directory.to_owned();
    loop {
        let room = BELOW_MAX - found.len();
        found.extend(children(&current).into_iter().map(|(_, path)| path).take(room));
        let Some(path) = found.get(next) else {
            return found;
        };
        current = path.clone();
        next += 1;
    }
}

/// The pids in a cgroup directory; where it has children, in those as well. At most about `most`; the
/// flag says whether these are all, and nothing but processes.
pub fn pids_below(directory: &Path, most: usize) -> (Vec<u32>, bool) {
    let mut pids = Vec::new();
    // A threaded cgroup2 does not name its processes (EOPNOTSUPP): its threads' ids serve as well to find one, not to count.
    let named = take_pids(directory, "cgroup.procs", &mut pids);
    let file = if named { "cgroup.procs" } else { "cgroup.threads" };
    if !named {
        take_pids(directory, file, &mut pids);
    }
    let links = std::fs::metadata(directory).map_or(LINKS_WITHOUT_CHILDREN, |metadata| metadata.nlink());
    if !may_have_children(links) {
        return (pids, named);
    }
    let below = directories_below(directory);
    let mut all = named && below.len() < BELOW_MAX;
    for directory in below {
        if pids.len() >= most {
            all = false;
            break;
        }
        // One below that names none is threaded, and the nearest above that names its own has named its processes too.
        take_pids(&directory, file, &mut pids);
    }
    (pids, all)
}

/// Whether the file could be read.
fn take_pids(directory: &Path, file: &str, pids: &mut Vec<u32>) -> bool {
    let text = std::fs::read(directory.join(file));
    if let Ok(text) = &text {
        process::parse_pids(text, pids);
    }
    text.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threaded_cgroups_are_not_counted_twice() {
        let top = tempfile::tempdir().unwrap();
        let threaded = top.path().join("threads");
        std::fs::create_dir(&threaded).unwrap();
        std::fs::write(top.path().join("cgroup.procs"), "7\n8\n").unwrap();
        std::fs::write(threaded.join("cgroup.threads"), "7\n9\n").unwrap();
        assert_eq!(pids_below(top.path(), 100), (vec![7, 8], true));
        assert_eq!(pids_below(&threaded, 100), (vec![7, 9], false));
    }
}
