//! The tenants' door on this machine: `sonde up` with real containers, and real Prometheus servers that come through the proxy.
//!
//! What the door does with those who mean harm, and the whole matrix of who sees what, is tried in `proxy/tests/door`, where an agent does as it is told.

mod pushed;
mod through;
mod unit;
