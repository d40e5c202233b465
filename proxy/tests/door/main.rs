//! The door as tenants and attackers meet it: a real proxy with its inventory on loopback, real TLS, and agents that do as they are told.

mod agent;
mod away;
mod brief;
mod chance;
mod client;
mod cut;
mod described;
mod floods;
mod frames;
mod hostile;
mod house;
mod meeting;
mod names;
mod neighbour;
mod outcomes;
mod paid;
mod sensors;
mod smuggling;
mod sni;
mod tenancy;
mod tier;
mod timing;
