//! Beside others, and under what was made for others: rules and dashboards of cAdvisor's users, node_exporter, and the
//! runtimes whose containers are to be found.
//!
//! Whoever comes from them must find the names, the labels and the meaning that they know.

mod dashboards;
mod docker;
mod kubernetes;
mod libvirt;
mod node_exporter;
mod runtimes;
mod shop;
