//! illumos's kernel statistics as plain values: what a kstat is, and on illumos the chain of them.
//!
//! The model is here on every system, so that whatever makes sense of a chain is tested anywhere, with recorded ones. The chain itself
//! ([`Chain`]) is libkstat's and on illumos only. Only named kstats are handed out: zones, caps, links, TCP, VFS and ZFS are all of
//! that type. Values are copied out of libkstat's buffers before anything else happens to them, and nothing of libkstat leaves this crate.
//!
//! Why not `kstat-rs`: in 0.2.5 a kstat's class is its name, a timer's data is a wild pointer, and data borrow from a handle that can be read
//! again meanwhile.

#[cfg(target_os = "illumos")]
#[allow(unsafe_code, reason = "libkstat is C, and is called from this module alone; each block says why it is sound")]
mod libkstat;
#[cfg(any(target_os = "illumos", test))]
#[allow(
    unsafe_code,
    reason = "libkstat hands out memory, and it is read in this module alone; each block says why it is sound"
)]
mod raw;

#[cfg(target_os = "illumos")]
pub use libkstat::Chain;

/// What a kstat is called. The three of module, instance and name are its own while it is there; `created_ns` tells one life of
/// them from the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What keeps it: `zones`, `caps`, `link`, …
    pub module: String,
    /// Which one of the module's: a zone's number, a CPU's, …
    pub instance: i32,
    /// At most 30 bytes; longer names are cut by the kernel.
    pub name: String,
    /// What kind it is: `zone_misc`, `net`, …
    pub class: String,
    /// When it was made, in nanoseconds since boot.
    pub created_ns: i64,
}

/// A kstat that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kstat {
    /// What it is called.
    pub header: Header,
    /// When it was read, in nanoseconds since boot.
    pub taken_ns: i64,
    /// Its statistics, in the kernel's order.
    pub statistics: Vec<(String, Value)>,
}

/// The value of a statistic.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of 32 or 64 bits.
    Unsigned(u64),
    /// Of 32 or 64 bits.
    Signed(i64),
    /// Of single or double precision.
    Float(f64),
    /// A text; bytes that are no UTF-8 replaced.
    Text(String),
}

impl Kstat {
    /// A statistic by its name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.statistics.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A statistic that is a number and not below 0.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Unsigned(value) => Some(*value),
            Value::Signed(value) => u64::try_from(*value).ok(),
            Value::Float(_) | Value::Text(_) => None,
        }
    }

    /// A statistic that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_below_zero_and_no_texts() {
        let statistics = [
            ("unsigned", Value::Unsigned(u64::MAX)),
            ("signed", Value::Signed(7)),
            ("below", Value::Signed(-1)),
            ("text", Value::Text("7".into())),
        ];
        let statistics = statistics.map(|(name, value)| (name.to_owned(), value)).into();
        let kstat = Kstat { statistics, ..Kstat::default() };
        let numbers = ["unsigned", "signed", "below", "text", "none"].map(|name| kstat.number(name));
        assert_eq!(numbers, [Some(u64::MAX), Some(7), None, None, None]);
        assert_eq!((kstat.text("text"), kstat.text("signed")), (Some("7"), None));
    }
}
