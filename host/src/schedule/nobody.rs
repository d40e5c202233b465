//! Workers that never come: for tests of what is done without them.

use crate::ticket::RunnerNumber;
use crate::workers::{Room, Starting, Workers};

pub(super) struct Nobody;

impl Workers for Nobody {
    fn start_runner(&self, _: Room) -> Starting<'_> {
        Box::pin(std::future::pending())
    }

    fn start_compiler(&self) -> Starting<'_> {
        Box::pin(std::future::pending())
    }

    fn kill(&self, _: RunnerNumber) {}
}
