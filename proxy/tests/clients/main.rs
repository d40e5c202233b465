//! What a tenant has, as it is: Prometheus and vmagent, each with its own discovery, against a real proxy with its names.
//!
//! Each test runs in network and mount namespaces of its own, where the machine's resolver is ours: so names are looked up as a tenant's
//! Prometheus would, over port 53, and nothing of the machine is touched.

#[path = "../door/agent.rs"]
#[allow(dead_code, reason = "shared with the tests of the door, which need more of it")]
mod agent;
#[path = "../door/house.rs"]
#[allow(dead_code, reason = "shared with the tests of the door, which need more of it")]
mod house;

mod consul;
mod dns;
mod http_sd;
mod old;
mod survival;
mod town;
mod triton;
