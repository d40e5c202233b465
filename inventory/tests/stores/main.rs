//! The stores as whoever uses them sees them.

mod embedded;
mod records;
