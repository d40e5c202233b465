//! The local addresses of a network namespace, from `/proc/<pid>/net`.
//!
//! `fib_trie` lists an address of the namespace's own as a leaf followed by `/32 host LOCAL`; `if_inet6` has IPv6 ones. Only
//! used where loopback refused: a server may listen on the container's address alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Addresses tried at most: a namespace with thousands must not make one connect into a scan.
const MOST: usize = 16;
/// Read at most of each file: who may change routes in a namespace can make them as long as they like.
const MOST_BYTES: u64 = 256 << 10;

/// What is local in the namespace of the process whose `/proc` directory this is, loopback left out.
pub(super) fn local_addresses(process: &Path) -> Vec<IpAddr> {
    let read = |file: &str| read(&process.join("net").join(file)).unwrap_or_default();
    let mut found: Vec<IpAddr> = v4(&read("fib_trie")).into_iter().map(IpAddr::V4).collect();
    found.extend(v6(&read("if_inet6")).into_iter().map(IpAddr::V6));
    found.truncate(MOST);
    found
}

fn read(file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(file)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn v4(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut leaf = None;
    for line in fib_trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf
            && !address.is_loopback()
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

fn v6(if_inet6: &str) -> Vec<Ipv6Addr> {
    if_inet6
        .lines()
        .filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok().map(Ipv6Addr::from_bits))
        .filter(|address| !address.is_loopback() && !address.is_unicast_link_local())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.9.0.0/24 2 0 2
        |-- 10.9.0.0
           /24 link UNICAST
        |-- 10.9.0.7
           /32 host LOCAL
        |-- 10.9.0.255
           /32 link BROADCAST
Local:
  +-- 127.0.0.0/8 2 0 2
     |-- 127.0.0.1
        /32 host LOCAL
        |-- 10.9.0.7
           /32 host LOCAL
";

    #[test]
    fn own_addresses_once_each() {
        assert_eq!(v4(FIB_TRIE), [Ipv4Addr::new(10, 9, 0, 7)]);
        assert!(v4("|-- 300.1.1.1\n/32 host LOCAL\n/32 host LOCAL").is_empty());
    }

    #[test]
    fn global_v6_only() {
        let text = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fe800000000000000000000000000001 02 40 20 80     eth0\n\
                    20010db8000000000000000000000007 02 40 00 80     eth0\nnonsense\n";
        assert_eq!(v6(text), ["2001:db8::7".parse::<Ipv6Addr>().unwrap()]);
    }
}
