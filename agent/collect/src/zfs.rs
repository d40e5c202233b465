//! What ZFS tells of itself, on whatever system: kstats by name, each with its rows.

/// A number of a kstat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of an unsigned type.
    Unsigned(u64),
    /// Of a signed type.
    Signed(i64),
}

/// Rows of a kstat: name and number.
pub type Rows = Vec<(String, Value)>;

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `ONLINE`, `DEGRADED`, …; none before OpenZFS 0.8.
    pub state: Option<String>,
    /// Its I/O kstat; empty since OpenZFS 2.1.
    pub io: Rows,
    /// Each data set that is open, by its name.
    pub datasets: Vec<(String, Rows)>,
}

/// What ZFS tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zfs {
    /// The kstats of ZFS as a whole: the file's name and its rows.
    pub modules: Vec<(String, Rows)>,
    /// The pools.
    pub pools: Vec<Pool>,
}

/// What ZFS counts of one data set since it was mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objset {
    /// Its name.
    pub dataset: String,
    /// Reads, out of the cache or not.
    pub reads: Option<u64>,
    /// Bytes of these.
    pub read_bytes: Option<u64>,
    /// Writes.
    pub writes: Option<u64>,
    /// Bytes of these.
    pub written_bytes: Option<u64>,
    /// Files whose last name was removed.
    pub unlinks: Option<u64>,
    /// Of these, those whose space was given back.
    pub unlinked: Option<u64>,
}
