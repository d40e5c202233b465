//! What nodes report and what operators change, through the routes, over a real embedded store.

mod accounts;
mod reports;
mod world;
