//! Who owns what and where it runs: nodes, instances, accounts, with their keys, tokens and limits.
//!
//! A proxy answers from the [`Catalogue`], which holds all of it in memory, so that no request waits for a store. What fills it is a
//! store, which keeps records beyond a restart and tells of each change once. Records are facts as their authority said them: a node says what
//! runs on it, the operator says who has an account. Whether one may ask for another is the proxy's to decide, not ours.

pub mod artifacts;
pub mod assignment;
pub mod catalogue;
pub mod change;
pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod labels;
pub mod merge;
pub mod model;
pub mod names;
pub mod report;
pub mod sensor;
pub mod store;
pub mod sweep;
pub mod write;

pub use catalogue::Catalogue;
pub use change::{Change, Key, Snapshot};
pub use embedded::Embedded;
pub use labels::Labels;
pub use merge::{Merged, merge};
pub use model::{Account, BoundCertificate, Instance, Limits, Node, Rival, Scope, SshKey, State, Token};
pub use names::{AccountName, NameError};
pub use report::Claim;
pub use sensor::{ArtifactDigest, PushedSensor, Sealed, SensorName};
pub use store::{Changes, Health, LEASE, Store, StoreError};
pub use sweep::{Silence, sweep};
pub use write::{Record, Write, WriteError};
