//! The tenants' door on this machine: real proxies and agents before real containers, and real Prometheus servers that come through the proxy.
//!
//! Who sees what is tried here, and a proxy's life with its operator. What the door does with those who mean harm on the wire is tried in `proxy/tests/door`, where an agent
//! does as it is told.

mod client;
mod estate;
mod identities;
mod lifecycle;
mod matrix;
mod papers;
mod pushed;
mod rollout;
mod through;
mod unit;
