//! ZFS on Linux: `/proc/spl/kstat/zfs`, as it is.
//!
//! A kstat file begins with `kid type flags ndata size crtime snaptime`, then a line of titles, then rows: of a named kstat
//! (type 1) `name type data`, of an I/O kstat (type 3, gone since OpenZFS 2.1) one line of values under the titles.
//! A data set's name may have blanks, so data is the rest of the line. Which files and rows there are differs by
//! version; none is asked for by name except to leave it out. A number that wrapped below zero is handed on as the kernel has it.

use std::path::Path;

use crate::bytes;
use crate::mounts::Roots;
use crate::source::Buffer;
pub use crate::zfs::{Pool, Rows, Value, Zfs};

/// Pools and data sets that are read at most; a node of more is told in part.
pub(crate) const POOLS: usize = 64;
pub(crate) const DATASETS: usize = 4096;

/// Types of a named kstat's data (`sys/kstat.h`).
const STRING: &[u8] = b"7";
const SIGNED: [&[u8]; 2] = [b"1", b"3"];
const UNSIGNED: [&[u8]; 2] = [b"2", b"4"];

/// Reads all of it; none where there is no ZFS.
pub fn read(roots: &Roots, buffer: &mut Buffer) -> Option<Zfs> {
    let directory = roots.proc.join("spl/kstat/zfs");
    let mut zfs = Zfs::default();
    for (name, is_directory) in entries(&directory)? {
        let path = directory.join(&name);
        if is_directory {
            if zfs.pools.len() < POOLS {
                zfs.pools.push(read_pool(&path, name, buffer));
            }
        } else if let Some(kstat) = buffer.read_path(&path).ok().and_then(parse_named)
            && !kstat.rows.is_empty()
        {
            zfs.modules.push((name, kstat.rows));
        }
    }
    Some(zfs)
}

/// In the order of their names, so that an exposition stays the same from one reading to the next.
fn entries(directory: &Path) -> Option<Vec<(String, bool)>> {
    let mut entries: Vec<(String, bool)> = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?.is_dir())))
        .collect();
    entries.sort_unstable();
    Some(entries)
}

fn read_pool(directory: &Path, name: String, buffer: &mut Buffer) -> Pool {
    let mut pool = Pool { name, ..Pool::default() };
    for (file, _) in entries(directory).unwrap_or_default() {
        let Ok(text) = buffer.read_path(&directory.join(&file)) else {
            continue;
        };
        match file.as_str() {
            "state" => pool.state = parse_state(text),
            "io" => pool.io = parse_io(text).unwrap_or_default(),
            file if file.starts_with("objset-") && pool.datasets.len() < DATASETS => {
                if let Some(Named { rows, dataset: Some(dataset) }) = parse_named(text) {
                    pool.datasets.push((dataset, rows));
                }
            }
            _ => {}
        }
    }
    pool
}

/// A named kstat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its numbers.
    pub rows: Rows,
    /// Its `dataset_name`, where it has one.
    pub dataset: Option<String>,
}

/// Parses a named kstat. A row that makes no sense is left out.
pub fn parse_named(text: &[u8]) -> Option<Named> {
    let mut lines = bytes::lines(text);
    (kind(lines.next()?)? == b"1").then_some(())?;
    lines.next()?;
    let mut named = Named::default();
    for line in lines {
        let Some((name, kind, data)) = row(line) else {
            continue;
        };
        if kind == STRING {
            if name == "dataset_name" {
                named.dataset = std::str::from_utf8(data).ok().map(str::to_owned);
            }
            continue;
        }
        let value = match kind {
            kind if SIGNED.contains(&kind) => bytes::signed(data).map(Value::Signed),
            kind if UNSIGNED.contains(&kind) => bytes::number(data).map(Value::Unsigned),
            _ => None,
        };
        named.rows.extend(value.map(|value| (name.to_owned(), value)));
    }
    Some(named)
}

/// `name type data`, the data being the rest of the line.
fn row(line: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (name, rest) = word(line)?;
    let (kind, data) = word(rest)?;
    Some((std::str::from_utf8(name).ok()?, kind, data.trim_ascii()))
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The second number of a kstat's first line.
fn kind(header: &[u8]) -> Option<&[u8]> {
    let mut fields = bytes::fields(header);
    let kind = fields.nth(1)?;
    // crtime is the sixth: without it this is no such line.
    bytes::number(fields.nth(3)?)?;
    Some(kind)
}

/// Parses an I/O kstat.
pub fn parse_io(text: &[u8]) -> Option<Rows> {
    let mut lines = bytes::lines(text);
    (kind(lines.next()?)? == b"3").then_some(())?;
    let titles = bytes::fields(lines.next()?);
    let values = bytes::fields(lines.next()?);
    let rows = titles.zip(values).filter_map(|(title, value)| {
        let title = std::str::from_utf8(title).ok()?.to_owned();
        Some((title, Value::Unsigned(bytes::number(value)?)))
    });
    Some(rows.collect())
}

/// Parses a pool's `state`: one word in capitals.
pub fn parse_state(text: &[u8]) -> Option<String> {
    let word = bytes::lines(text).next()?;
    let plain = !word.is_empty() && word.iter().all(u8::is_ascii_uppercase);
    plain.then(|| String::from_utf8_lossy(word).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "6 1 0x01 91 4368 5266997922 97951858082072\nname                            type data\n";

    #[test]
    fn named() {
        let text = format!(
            "{HEAD}hits                            4    8772612\nsigned                          3    -5\n\
             wrapped                         4    18446744073709537686\nsmall                           2    7\n\
             dataset_name                    7    pool 1/with blanks\nother                           9    1\n\
             huge                            4    18446744073709551616\nodd\nodd 4\ncut                             4    12"
        );
        let named = parse_named(text.as_bytes()).unwrap();
        let row = |name: &str, value| (name.to_owned(), value);
        let expected = [
            row("hits", Value::Unsigned(8_772_612)),
            row("signed", Value::Signed(-5)),
            row("wrapped", Value::Unsigned(18_446_744_073_709_537_686)),
            row("small", Value::Unsigned(7)),
        ];
        assert_eq!(named.rows, expected);
        assert_eq!(named.dataset.as_deref(), Some("pool 1/with blanks"));
        for nonsense in [
            "",
            "\n",
            "garbage\n",
            "6 3 0x01 91 4368 1 2\nx\ny 4 1\n",
            "6 1 0x01\nx\ny 4 1\n",
            "6 1 0x01 91 4368 1 2\n",
        ] {
            assert_eq!(parse_named(nonsense.as_bytes()), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_cut_kstat_tells_nothing_wrong() {
        let text = format!("{HEAD}hits 4 8772612\nsigned 3 -512\ndataset_name 7 tank/a b\n");
        let whole = parse_named(text.as_bytes()).unwrap();
        assert_eq!(whole.rows.len(), 2);
        for cut in 0..text.len() {
            let Some(part) = parse_named(&text.as_bytes()[..cut]) else { continue };
            assert!(part.rows.iter().all(|row| whole.rows.contains(row)), "{part:?} after {cut} bytes");
            assert!(part.dataset.is_none() || part.dataset == whole.dataset);
        }
    }

    #[test]
    fn io_and_state() {
        let text = b"16 3 0x00 1 80 795 395\nnread    nwritten reads\n2826240  x 33 9\n";
        let rows = parse_io(text).unwrap();
        assert_eq!(rows, [("nread".to_owned(), Value::Unsigned(2_826_240)), ("reads".to_owned(), Value::Unsigned(33))]);
        assert_eq!(parse_io(HEAD.as_bytes()), None);
        assert_eq!(parse_io(b"16 3 0x00 1 80 795 395\nnread\n12"), None);
        for (text, state) in [("ONLINE\n", Some("ONLINE")), ("ONLI", None), ("", None), ("a b\n", None), ("\n", None)] {
            assert_eq!(parse_state(text.as_bytes()).as_deref(), state);
        }
    }

    #[test]
    fn a_tree() {
        let directory = tempfile::tempdir().unwrap();
        let zfs = directory.path().join("proc/spl/kstat/zfs");
        std::fs::create_dir_all(zfs.join("tank")).unwrap();
        std::fs::create_dir_all(directory.path().join("proc/self")).unwrap();
        std::fs::write(directory.path().join("proc/self/mountinfo"), "").unwrap();
        let write = |name: &str, text: &str| std::fs::write(zfs.join(name), text).unwrap();
        write("arcstats", &format!("{HEAD}hits 4 5\n"));
        write("garbage", "garbage");
        write("tank/state", "DEGRADED\n");
        write("tank/objset-0x36", &format!("{HEAD}dataset_name 7 tank/a b\nnread 4 6\n"));
        write("tank/objset-0x37", &format!("{HEAD}nread 4 6\n"));
        write("tank/txgs", "0 0 0x01 1 2 3 4\n");
        let root = |name: &str| directory.path().join(name);
        let roots = Roots::of(root("proc"), root("sys"), root("run")).unwrap();
        let read = read(&roots, &mut Buffer::default()).unwrap();
        assert_eq!(read.modules, [("arcstats".to_owned(), vec![("hits".to_owned(), Value::Unsigned(5))])]);
        let [pool] = read.pools.as_slice() else { panic!("{read:?}") };
        assert_eq!((pool.name.as_str(), pool.state.as_deref()), ("tank", Some("DEGRADED")));
        assert_eq!(pool.datasets, [("tank/a b".to_owned(), vec![("nread".to_owned(), Value::Unsigned(6))])]);
        std::fs::remove_dir_all(&zfs).unwrap();
        assert_eq!(super::read(&roots, &mut Buffer::default()), None);
    }

    /// Each shape that OpenZFS has had from 0.8 to 2.3, in one tree: an `io` of before 2.1, objsets by decimal and by hexadecimal number, one
    /// written without its last newline, a signed row below zero, an unsigned one that wrapped, more rows than the head says.
    #[test]
    fn shapes_of_all_versions() {
        const MODULES: [(&str, &str); 3] = [
            ("arcstats", "6 1 0x01 2 96 5 9\nname type data\nhits 4 12\nmemory_available_bytes 3 -4096\nc_max 4 8\n"),
            ("zil", "7 1 0x01 1 48 5 9\nname type data\nzil_itx_needcopy_bytes 4 18446744073709537686\n"),
            ("vdev_mirror_stats", "4 1 0x01 1 48 5 9\nname type data\nrotating_linear 4 0\n"),
        ];
        const POOLS: [(&str, &str); 6] = [
            (
                "old/io",
                "16 3 0x00 1 80 7 9\nnread    nwritten reads    writes   wtime\n2826240  2680501248 33       25294    967\n",
            ),
            (
                "old/objset-1",
                "30 1 0x01 7 2160 2 9\nname type data\ndataset_name 7    old\nwrites 4    0\nnunlinked 4    0",
            ),
            (
                "old/objset-2",
                "31 1 0x01 7 2160 2 9\nname type data\ndataset_name 7    old/home dir\nwrites 4    10\nnread 4    28\n",
            ),
            ("new/state", "DEGRADED\n"),
            (
                "new/objset-0x36",
                "23 1 0x01 7 2160 2 9\nname type data\ndataset_name 7    new\nwrites 4    3\nzil_commit_count 4    5\n",
            ),
            ("new/iostats", "24 1 0x01 2 96 2 9\nname type data\ntrim_extents_written 4 0\narc_read_count 4 6\n"),
        ];
        let directory = tempfile::tempdir().unwrap();
        let root = |name: &str| directory.path().join(name);
        for (path, text) in MODULES.into_iter().chain(POOLS) {
            let path = root("proc/spl/kstat/zfs").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(root("proc/self")).unwrap();
        std::fs::write(root("proc/self/mountinfo"), "").unwrap();
        let roots = Roots::of(root("proc"), root("sys"), root("run")).unwrap();
        let read = read(&roots, &mut Buffer::default()).unwrap();
        let rows = |name: &str| &read.modules.iter().find(|(module, _)| module == name).unwrap().1;
        let unsigned = |name: &str, value| (name.to_owned(), Value::Unsigned(value));
        let available = ("memory_available_bytes".to_owned(), Value::Signed(-4096));
        assert_eq!(*rows("arcstats"), [unsigned("hits", 12), available, unsigned("c_max", 8)]);
        assert_eq!(*rows("zil"), [unsigned("zil_itx_needcopy_bytes", 18_446_744_073_709_537_686)]);
        let [new, old] = read.pools.as_slice() else { panic!("{:?}", read.pools) };
        assert_eq!((new.state.as_deref(), new.io.len(), new.datasets.len()), (Some("DEGRADED"), 0, 1));
        assert_eq!((old.state.as_deref(), old.io.len()), (None, 5));
        assert_eq!(old.io[1], unsigned("nwritten", 2_680_501_248));
        // The line that was cut short tells nothing, and costs nothing else.
        assert_eq!(old.datasets[0], ("old".to_owned(), vec![unsigned("writes", 0)]));
        assert_eq!(old.datasets[1], ("old/home dir".to_owned(), vec![unsigned("writes", 10), unsigned("nread", 28)]));
    }
}
