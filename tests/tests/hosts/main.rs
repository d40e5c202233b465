//! Several of everything: three nodes, two proxies, etcd of three, each on a host of its own that the test makes of namespaces; killed, cut off, slowed
//! down, filled up, and healed, while a checker judges every answer that a tenant gets.

mod checker;
mod cloud;
mod cut;
mod etcd;
mod full;
mod killed;
mod moved;
mod network;
mod pushed;
mod revoked;
mod scraper;
mod steps;
