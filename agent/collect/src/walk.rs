//! Walking a cgroup hierarchy, cheaply: a directory without children is told by its link count and not
//! even opened.
//!
//! The walk goes down from the root, asks [`crate::runtime::component`] about each directory, and the operator's rules about
//! those that no runtime claims, and does not look for instances below one. What is claimed there is the instance's own; it is
//! counted, so that an operator can see that somebody names his cgroups like containers.
//!
//! Who owns a directory names what is in it. So it is kept how much of a path root has named, and in a tree that is
//! another's only so many directories are looked at and so many claims taken: he could make thousands. What is read of a directory
//! is read as far as it is asked for, and no further.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::matching::Subject;
use crate::metadata::{Metadata, Place};
use crate::mounts::Mount;
use crate::process;
use crate::rules::Rules;
use crate::runtime::{self, Match, Runtime};
use crate::starvation;

/// No deeper than this: a delegated tree may be as deep as its owner likes.
const DEPTH_MAX: usize = 24;
/// No more directories than this in one walk below one instance: a tenant with a delegated cgroup could otherwise
/// make each reading as dear as he likes. A whole systemd in a container has some 60.
const BELOW_MAX: usize = 128;
/// No more claims than this in one tree that belongs to another than root, a user's for example. Rootless containers of one user are
/// tens.
const FOREIGN_CLAIMS_MAX: usize = 256;
/// Nor more directories than this, whatever they are called. A user's systemd with all his containers has some hundreds.
const FOREIGN_DIRECTORIES_MAX: usize = 1024;
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
    /// How many components of its path have a root-owned directory above them.
    pub named_by_root: usize,
    /// Claims below it.
    pub nested: u32,
}

/// What a walk saw.
#[derive(Debug, Default)]
pub struct Walk {
    /// The claims, outermost only.
    pub claims: Vec<Claim>,
    /// Root's directories in which an instance could appear: to be watched.
    pub directories: Vec<PathBuf>,
    /// The same in the trees that are another's: to be watched where there is room.
    pub foreign: Vec<PathBuf>,
    /// The trees that are another's and have too many claims or directories.
    pub crowded: Vec<PathBuf>,
}

/// What a walk goes by.
#[derive(Clone, Copy)]
pub struct Guide<'a> {
    /// Whether a directory is an instance's already (plain runc's can have any name).
    pub known: &'a dyn Fn(&Path) -> bool,
    /// What the operator says of cgroups that no runtime claims.
    pub rules: &'a Rules,
}

/// Walks a hierarchy. A directory that vanishes meanwhile is passed over.
pub fn walk(mount: &Mount, guide: Guide<'_>) -> Walk {
    let root_path = mount.root.to_string_lossy().into_owned();
    let above: Vec<String> = split(&root_path);
    let asks_rules = guide.rules.take_unclaimed();
    let room = Room { claims: usize::MAX, directories: usize::MAX };
    let mut walker = Walker { guide, asks_rules, walk: Walk::default(), roots_own: above.len(), above, room };
    walker.descend(&mount.point);
    walker.walk
}

fn split(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

struct Walker<'a> {
    guide: Guide<'a>,
    asks_rules: bool,
    walk: Walk,
    /// The path so far.
    above: Vec<String>,
    /// How many of its directories, from the root on, are root's.
    roots_own: usize,
    room: Room,
}

/// How much may still be looked at in the tree of whoever owns this.
#[derive(Clone, Copy)]
struct Room {
    claims: usize,
    directories: usize,
}

/// What there is in a tree that is another's.
const FOREIGN_ROOM: Room = Room { claims: FOREIGN_CLAIMS_MAX, directories: FOREIGN_DIRECTORIES_MAX };

impl Walker<'_> {
    fn descend(&mut self, directory: &Path) {
        self.watch(directory.to_owned(), self.is_roots());
        if self.above.len() >= DEPTH_MAX {
            return;
        }
        // One more than there is room for tells that it is crowded. They are kept, so as not to hold a descriptor for each level.
        let some: Vec<_> = children(directory).take(self.room.directories.saturating_add(1)).collect();
        for (name, path) in some {
            let Some(directories) = self.room.directories.checked_sub(1) else {
                return self.crowded(directory);
            };
            self.room.directories = directories;
            let names: Vec<&str> = self.above.iter().map(String::as_str).collect();
            let verdict = runtime::component(&names, &name);
            if verdict == Match::Skip || (self.guide.known)(&path) {
                continue;
            }
            let Ok(metadata) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            let claimed = match verdict {
                Match::Instance(runtime, id) => Some((runtime, id.into_owned())),
                _ => self.taken_by_rule(&names, &name),
            };
            if let Some((runtime, runtime_id)) = claimed {
                self.claim(runtime, runtime_id, &name, path, &metadata);
            } else if may_have_children(metadata.nlink()) {
                self.descend_into(name, &path, metadata.uid());
            } else {
                self.watch(path, self.is_roots() && metadata.uid() == 0);
            }
        }
    }

    fn watch(&mut self, directory: PathBuf, is_roots: bool) {
        let into = if is_roots { &mut self.walk.directories } else { &mut self.walk.foreign };
        into.push(directory);
    }

    /// Notes the tree that a directory, the one looked into now, is in.
    fn crowded(&mut self, directory: &Path) {
        let tree = directory.ancestors().nth(self.above.len() - self.roots_own - 1).map(Path::to_owned);
        if self.walk.crowded.last() != tree.as_ref() {
            self.walk.crowded.extend(tree);
        }
    }

    fn is_roots(&self) -> bool {
        self.roots_own == self.above.len()
    }

    fn descend_into(&mut self, name: String, path: &Path, owner: u32) {
        let (roots_own, room) = (self.roots_own, self.room);
        let was_roots = self.is_roots();
        if was_roots && owner == 0 {
            self.roots_own += 1;
        } else if was_roots {
            self.room = FOREIGN_ROOM;
        }
        self.above.push(name);
        self.descend(path);
        self.above.pop();
        self.roots_own = roots_own;
        if was_roots {
            self.room = room;
        }
    }

    /// What a cgroup that no runtime claims is, where a rule takes it.
    fn taken_by_rule(&self, above: &[&str], name: &str) -> Option<(Runtime, String)> {
        if !self.asks_rules {
            return None;
        }
        taken_by_rule(self.guide.rules, above, name, self.roots_own)
    }

    fn claim(
        &mut self,
        runtime: Runtime,
        runtime_id: String,
        name: &str,
        directory: PathBuf,
        metadata: &std::fs::Metadata,
    ) {
        let Some(claims) = self.room.claims.checked_sub(1) else {
            return self.crowded(directory.parent().unwrap_or(&directory));
        };
        self.room.claims = claims;
        self.walk.claims.push(Claim {
            runtime,
            runtime_id,
            cgroup_path: path_of(&self.above.join("/"), name),
            inode: metadata.ino(),
            root_owned: self.is_roots(),
            named_by_root: self.roots_own + 1,
            nested: nested_claims(&directory, metadata.nlink()),
            directory,
        });
    }
}

fn path_of(above: &str, name: &str) -> String {
    format!("/{above}/{name}").replace("//", "/")
}

/// What a cgroup that no runtime claims is, where a rule takes it. `roots_own` are how many of those above it are root's, from the root on.
fn taken_by_rule(rules: &Rules, above: &[&str], name: &str, roots_own: usize) -> Option<(Runtime, String)> {
    if !runtime::acceptable(name) {
        return None;
    }
    let (runtime, id) = runtime::unclaimed(above, name, roots_own == above.len());
    let cgroup = path_of(&above.join("/"), name);
    let metadata = Metadata { place: Place::of(&cgroup, roots_own + 1), ..Metadata::default() };
    let (uuid, name, image) = (None, Some(id.as_str()), None);
    let subject = Subject { runtime, runtime_id: &id, uuid, name, image, cgroup: &cgroup, metadata: &metadata };
    rules.decide(&subject).instance.then_some((runtime, id))
}

/// What a walk would have claimed a cgroup as, by its path alone; none where nobody's, or where it lies in what another is claimed as.
pub(crate) fn whose(cgroup_path: &str, named_by_root: usize, rules: &Rules) -> Option<(Runtime, String)> {
    let parts: Vec<&str> = cgroup_path.split('/').filter(|part| !part.is_empty()).collect();
    let asks_rules = rules.take_unclaimed();
    for (depth, name) in parts.iter().enumerate().take(DEPTH_MAX) {
        let above = &parts[..depth];
        let claimed = match runtime::component(above, name) {
            Match::Skip => return None,
            Match::Instance(runtime, id) => Some((runtime, id.into_owned())),
            Match::Neither if asks_rules => {
                taken_by_rule(rules, above, name, depth.min(named_by_root.saturating_sub(1)))
            }
            Match::Neither => None,
        };
        if claimed.is_some() {
            return claimed.filter(|_| depth + 1 == parts.len());
        }
    }
    None
}

/// How many components of the path of a directory below `mount` have a root-owned directory above them.
pub(crate) fn named_by_root(mount: &Mount, directory: &Path) -> usize {
    let Ok(below) = directory.strip_prefix(&mount.point) else {
        return 0;
    };
    let mut path = mount.point.clone();
    let roots = below.iter().take_while(|part| {
        path.push(part);
        std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.uid() == 0)
    });
    split(&mount.root.to_string_lossy()).len() + roots.count() + 1
}

/// Link counts below 2 come from file systems that do not count directories (fixtures on btrfs, overlay).
fn may_have_children(links: u64) -> bool {
    links != LINKS_WITHOUT_CHILDREN
}

/// The directories in one, read as they are asked for.
fn children(directory: &Path) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    starvation::noted(std::fs::read_dir(directory))
        .into_iter()
        .flat_map(Iterator::flatten)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
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
    nearest(directory, |directory| children(directory).map(|(_, path)| path))
}

/// The first [`BELOW_MAX`], nearest first, of what `children` says is below. Neither asks about a directory nor for another child
/// when it has them.
fn nearest<C: Iterator<Item = PathBuf>>(top: &Path, mut children: impl FnMut(&Path) -> C) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut next = 0;
    let mut current = top.to_owned();
    loop {
        let room = BELOW_MAX - found.len();
        found.extend(children(&current).take(room));
        match found.get(next) {
            Some(path) if found.len() < BELOW_MAX => current.clone_from(path),
            _ => return found,
        }
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
    let text = starvation::noted(std::fs::read(directory.join(file)));
    if let Ok(text) = &text {
        process::parse_pids(text, pids);
    }
    text.is_ok()
}

#[cfg(test)]
mod tests;
