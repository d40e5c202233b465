//! The end-to-end tests: issue by issue, what Sonde must show on a real node.
//!
//! One binary, so that it links once. Each module is one promise of the contract
//! (docs/ARCHITECTURE.md); the words of `sonde_tests` set the scene.

mod authoring;
mod daemon;
mod expositions;
mod harness;
mod hostile;
mod hosts_network;
mod kinds;
mod lives;
mod names;
mod process_groups;
mod rainy;
mod redis_path;
mod refusals;
mod reloads;
mod routes;
mod sandbox;
mod service;
mod shipped;
