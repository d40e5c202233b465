//! The store in etcd, with Debian's etcd: one member and three, lost, cut off, compacted, without a quorum.
#![cfg(feature = "etcd")]

#[path = "../stores/artifacts.rs"]
mod artifacts;
mod cluster;
mod faults;
mod large;
#[path = "../stores/records.rs"]
mod records;
mod secured;
mod sharing;
