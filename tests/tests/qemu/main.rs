//! What cannot be shown on the test's own machine: a kernel with cgroup2 alone, and a node in trouble.
//!
//! Each test boots a virtual machine of its own. What is to be done in it is said here, order by order, and what must become of it
//! is judged here.

mod archive;
mod clock;
mod events;
mod layout;
mod machine;
mod nspawn;
mod runc;
mod service;
mod states;
mod systemd;
mod trouble;
mod values;
