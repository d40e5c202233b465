//! The stores as whoever uses them sees them.

mod artifacts;
mod embedded;
mod records;
