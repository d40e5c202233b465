//! The file systems of the node: which are mounted, as the first process sees them, and what each last said.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::mount_table::{is_left_out, mounts_of};
use super::{Slot, Space, SpacePool, Whose};
use crate::mounts::{self, Roots};
use crate::source::Buffer;

/// File systems of the node that are asked at most.
const MOUNTS: usize = 256;

/// Keeps asking for the file systems of the node.
#[derive(Debug)]
pub struct NodeSpace {
    pool: SpacePool,
    mounts: Mutex<Vec<(u64, PathBuf, Arc<Slot>)>>,
}

impl NodeSpace {
    /// That asks on `pool`.
    pub fn new(pool: SpacePool) -> Self {
        Self { pool, mounts: Mutex::default() }
    }

    /// Asks for all that are mounted, and gives the last answers: mount points as the first process sees them.
    pub(crate) fn look(&self, roots: &Arc<Roots>, now: Instant, buffer: &mut Buffer) -> Vec<(String, Space)> {
        // Of its own the agent may see less, if its unit says so; where it may not look at the first process, it must do.
        let first = [roots.proc.join("1"), roots.proc.join("self")];
        let Some(first) = first.into_iter().find(|process| std::fs::read_link(process.join("root")).is_ok()) else {
            return Vec::new();
        };
        let Ok(table) = buffer.read_path(&first.join("mountinfo")) else {
            return Vec::new();
        };
        let mut known = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::take(&mut *known);
        for mount in mounts_of(table).filter(|mount| mount.kind.is_some()) {
            let point = mounts::unescaped(mount.point);
            if known.len() >= MOUNTS || is_left_out(&point) {
                continue;
            }
            let same = |(number, at, _): &&(u64, PathBuf, _)| *number == mount.number && *at == point;
            let slot = old.iter().find(same).map(|(.., slot)| slot.clone()).unwrap_or_default();
            known.push((mount.number, point, slot));
        }
        let mut all = Vec::new();
        for (number, point, slot) in known.iter() {
            let whose = Whose::Mount { first: first.clone(), number: *number, point: point.clone() };
            self.pool.ask(slot, roots, now, whose);
            if let (Some(space), Some(point)) = (slot.last(now).space, point.to_str()) {
                all.push((point.to_owned(), space));
            }
        }
        all
    }
}
