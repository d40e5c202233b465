//! TCP, UDP and sockets of one network namespace: `/proc/<pid>/net/{snmp,netstat,sockstat,sockstat6}`.
//!
//! `snmp` and `netstat` are pairs of lines with the same prefix, names first and values second; which columns there are
//! differs by kernel, so each value is found by its name and is absent where this kernel has none. The kernel takes some
//! 14 µs to print `snmp` and 40 µs for `netstat`, more than all cgroup files together: they are read for what nothing
//! cheaper tells (retransmissions, full accept queues, what a lack of memory dropped). `net/tcp` and `net/udp`
//! are never read: they walk tables that all namespaces share, 1.7 ms each even in an empty one. Of `sockstat` the
//! columns that count the whole node (`orphan`, `alloc`, `mem`) are left out. IPv6's UDP errors (`snmp6`) are not read.

mod headers;

pub use headers::Headers;

use crate::bytes;

/// Defines a struct of optional numbers with one table of its fields by name.
macro_rules! statistics {
    ($(#[$about:meta])* $name:ident in $whole:ident as $table:ident { $($(#[$help:meta])* $field:ident $kernel:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$help])* pub $field: Option<u64>,)+ }

        impl $name {
            /// All fields by name, in a fixed order.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {
                [$((stringify!($field), self.$field)),+].into_iter()
            }
        }

        /// By the kernel's names.
        const $table: &[(&[u8], Field)] = &[$(($kernel, |it| &mut it.$whole.$field)),+];
    };
}

statistics! {
    /// TCP, IPv4 and IPv6 together. Field names are the kernel's in lower case, as cAdvisor has them. All are
    /// counters since the namespace was made, but `currestab`.
    Tcp in tcp as TCP {
        /// Connections that were opened from here.
        activeopens b"ActiveOpens",
        /// Connections that were accepted.
        passiveopens b"PassiveOpens",
        /// Connections that failed before they stood.
        attemptfails b"AttemptFails",
        /// Connections that stood and were reset.
        estabresets b"EstabResets",
        /// Connections that stand now.
        currestab b"CurrEstab",
        /// Segments in.
        insegs b"InSegs",
        /// Segments out.
        outsegs b"OutSegs",
        /// Segments sent again.
        retranssegs b"RetransSegs",
        /// Bad segments in.
        inerrs b"InErrs",
        /// Resets sent.
        outrsts b"OutRsts",
        /// Segments with a bad checksum.
        incsumerrors b"InCsumErrors",
        /// Half-open connections that were reset.
        embryonicrsts b"EmbryonicRsts",
        /// Connections that an accept queue had no room for.
        listenoverflows b"ListenOverflows",
        /// Connections that were dropped before they were accepted, overflows among them.
        listendrops b"ListenDrops",
        /// SYNs dropped because the queue of half-open connections was full.
        tcpreqqfulldrop b"TCPReqQFullDrop",
        /// SYNs answered with a cookie for the same reason.
        tcpreqqfulldocookies b"TCPReqQFullDoCookies",
        /// SYN cookies sent.
        syncookiessent b"SyncookiesSent",
        /// Good SYN cookies that came back.
        syncookiesrecv b"SyncookiesRecv",
        /// Bad ones.
        syncookiesfailed b"SyncookiesFailed",
        /// Retransmission timers that ran out.
        tcptimeouts b"TCPTimeouts",
        /// SYNs sent again.
        tcpsynretrans b"TCPSynRetrans",
        /// Segments sent again early, by duplicate acknowledgements.
        tcpfastretrans b"TCPFastRetrans",
        /// Retransmissions that were lost themselves.
        tcplostretransmit b"TCPLostRetransmit",
        /// Retransmissions that could not be sent.
        tcpretransfail b"TCPRetransFail",
        /// Timeouts that turned out to be needless.
        tcpspuriousrtos b"TCPSpuriousRTOs",
        /// How often received data was thrown away for want of buffer.
        prunecalled b"PruneCalled",
        /// Packets thrown away from receive queues for the same reason.
        rcvpruned b"RcvPruned",
        /// The same, from queues of what came out of order.
        ofopruned b"OfoPruned",
        /// Packets dropped because a socket's backlog was full.
        tcpbacklogdrop b"TCPBacklogDrop",
        /// Packets dropped because a receive queue was full.
        tcprcvqdrop b"TCPRcvQDrop",
        /// Connections ended because data came after they were closed.
        tcpabortondata b"TCPAbortOnData",
        /// Connections closed with data unread.
        tcpabortonclose b"TCPAbortOnClose",
        /// Connections ended for want of memory.
        tcpabortonmemory b"TCPAbortOnMemory",
        /// Connections that timed out.
        tcpabortontimeout b"TCPAbortOnTimeout",
        /// How often TCP came under memory pressure.
        tcpmemorypressures b"TCPMemoryPressures",
        /// Connections ended at once because too many were in `TIME_WAIT`.
        tcptimewaitoverflow b"TCPTimeWaitOverflow",
        /// Times that a receive window went to zero.
        tcptozerowindowadv b"TCPToZeroWindowAdv",
    }
}

statistics! {
    /// UDP over IPv4, counted since the namespace was made.
    Udp in udp as UDP {
        /// Datagrams received.
        indatagrams b"InDatagrams",
        /// Datagrams sent.
        outdatagrams b"OutDatagrams",
        /// Datagrams to a port where nobody listened.
        noports b"NoPorts",
        /// Datagrams that could not be delivered, those of the next fields among them.
        inerrors b"InErrors",
        /// Datagrams dropped because a receive buffer was full.
        rcvbuferrors b"RcvbufErrors",
        /// Datagrams that found no room in a send buffer.
        sndbuferrors b"SndbufErrors",
        /// Datagrams with a bad checksum.
        incsumerrors b"InCsumErrors",
        /// Datagrams dropped for want of the protocol's memory.
        memerrors b"MemErrors",
    }
}

/// Sockets there are now, by the kernel's own count for the namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Of every kind.
    pub all: Option<u64>,
    /// TCP over IPv4, without `TIME_WAIT`.
    pub tcp: Option<u64>,
    /// TCP over IPv6.
    pub tcp6: Option<u64>,
    /// UDP over IPv4.
    pub udp: Option<u64>,
    /// UDP over IPv6.
    pub udp6: Option<u64>,
    /// TCP connections in `TIME_WAIT`.
    pub time_wait: Option<u64>,
}

/// What a network namespace says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// TCP.
    pub tcp: Tcp,
    /// UDP.
    pub udp: Udp,
    /// Sockets.
    pub sockets: Sockets,
}

/// Where one value of a [`Transport`] is.
type Field = fn(&mut Transport) -> &mut Option<u64>;

impl Transport {
    /// Where the value goes that has this name behind this prefix; none where it is not kept.
    fn field(prefix: &[u8], name: &[u8]) -> Option<Field> {
        match prefix {
            b"Tcp" | b"TcpExt" => TCP.iter().find(|(kernel, _)| *kernel == name).map(|(_, field)| *field),
            b"Udp" => UDP.iter().find(|(kernel, _)| *kernel == name).map(|(_, field)| *field),
            _ => None,
        }
    }
}

/// One value of `snmp` or `netstat`: the prefix without its colon, the name, the digits.
pub type Column<'t> = (&'t [u8], &'t [u8], &'t [u8]);

/// All columns of `snmp` or `netstat`. A pair of lines that do not have the same prefix and as many fields each is
/// no pair: its columns cannot be told apart, and none is given.
pub fn columns(text: &[u8]) -> impl Iterator<Item = Column<'_>> {
    let mut lines = bytes::lines(text).peekable();
    let pairs = std::iter::from_fn(move || {
        loop {
            let names = lines.next()?;
            let prefix = prefix(names)?;
            // A header whose values were cut off must not take the next header for them.
            if let Some(values) = lines.next_if(|line| self::prefix(line) == Some(prefix)) {
                return Some((prefix, names, values));
            }
        }
    });
    pairs.filter(|(_, names, values)| bytes::fields(names).count() == bytes::fields(values).count()).flat_map(
        |(prefix, names, values)| {
            bytes::fields(names).zip(bytes::fields(values)).skip(1).map(move |(name, value)| (prefix, name, value))
        },
    )
}

fn prefix(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some(&line[..colon])
}

/// One value of `sockstat`: the prefix without its colon, the name, the value.
pub fn socket_columns(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], u64)> {
    bytes::lines(text).flat_map(|line| {
        let prefix = prefix(line).unwrap_or_default();
        let mut fields = bytes::fields(line).skip(1);
        std::iter::from_fn(move || {
            loop {
                let (name, value) = (fields.next()?, fields.next()?);
                if let Some(value) = bytes::number(value) {
                    return Some((prefix, name, value));
                }
            }
        })
    })
}

/// `sockstat` or `sockstat6` into `sockets`.
pub fn parse_sockets(text: &[u8], sockets: &mut Sockets) {
    for (prefix, name, value) in socket_columns(text) {
        let slot = match (prefix, name) {
            (b"sockets", b"used") => &mut sockets.all,
            (b"TCP", b"inuse") => &mut sockets.tcp,
            (b"TCP", b"tw") => &mut sockets.time_wait,
            (b"TCP6", b"inuse") => &mut sockets.tcp6,
            (b"UDP", b"inuse") => &mut sockets.udp,
            (b"UDP6", b"inuse") => &mut sockets.udp6,
            _ => continue,
        };
        *slot = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Transport {
        let mut transport = Transport::default();
        Headers::default().parse(text, &mut transport);
        transport
    }

    #[test]
    fn pairs_of_lines() {
        let transport = parsed(
            b"Ip: Forwarding DefaultTTL\nIp: 1 64\n\
              Tcp: RtoAlgorithm MaxConn ActiveOpens CurrEstab RetransSegs New\nTcp: 1 -1 5 2 18446744073709551615 9\n\
              Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 1 2 3 4 5\nUdpLite: InDatagrams\nUdpLite: 77\n",
        );
        assert_eq!((transport.tcp.activeopens, transport.tcp.currestab), (Some(5), Some(2)));
        assert_eq!((transport.tcp.retranssegs, transport.tcp.listendrops), (Some(u64::MAX), None));
        assert_eq!((transport.udp.indatagrams, transport.udp.rcvbuferrors), (Some(1), Some(5)));
        assert_eq!(transport.udp.memerrors, None);
        let transport = parsed(b"TcpExt: ListenOverflows ListenDrops\nTcpExt: 3 4\nIpExt: ListenDrops\nIpExt: 9\n");
        assert_eq!((transport.tcp.listenoverflows, transport.tcp.listendrops), (Some(3), Some(4)));
    }

    #[test]
    fn what_is_no_pair_gives_nothing() {
        for text in [
            &b""[..],
            b"\n",
            b"garbage\n",
            b"Tcp: ActiveOpens\n",
            b"Tcp: ActiveOpens\nTcp: 5",
            b"Tcp: ActiveOpens\nTcp: -1\n",
            b"Tcp: ActiveOpens\nTcp: 18446744073709551616\n",
            b"Tcp: ActiveOpens\nTcp:\n",
            b"Tcp: ActiveOpens CurrEstab\nTcp: 5\n",
            b"Tcp: ActiveOpens\nTcp: 5 6\n",
            b"Tcp: ActiveOpens\nUdp: 5\n",
            b"Tcp ActiveOpens\nTcp 5\n",
            b"\xff\xfe: ActiveOpens\n\xff\xfe: 5\n",
        ] {
            assert_eq!(parsed(text), Transport::default(), "{:?}", String::from_utf8_lossy(text));
        }
        // A pair that is cut in two costs no other pair its values.
        let transport = parsed(b"Tcp: ActiveOpens\nUdp: NoPorts\nUdp: 7\n");
        assert_eq!((transport.tcp.activeopens, transport.udp.noports), (None, Some(7)));
    }

    /// Wherever a file is cut, a value is what the whole file says, or absent; never a part of it.
    #[test]
    fn a_cut_file_tells_nothing_wrong() {
        let text = b"Tcp: MaxConn ActiveOpens RetransSegs\nTcp: -1 12345 67890\n\
            Udp: InDatagrams NoPorts\nUdp: 111 222\nTcpExt: ListenDrops TCPTimeouts\nTcpExt: 333 444\n";
        let (whole, sockets) = (parsed(text), b"sockets: used 28\nTCP: inuse 11 orphan 0 tw 33 alloc 21 mem 180\n");
        let mut all_sockets = Sockets::default();
        parse_sockets(sockets, &mut all_sockets);
        for cut in 0..text.len() {
            let part = parsed(&text[..cut]);
            let tcp = part.tcp.all().zip(whole.tcp.all());
            for (part, whole) in tcp.chain(part.udp.all().zip(whole.udp.all())) {
                assert!(part.1.is_none() || part == whole, "{part:?} after {cut} bytes");
            }
        }
        for cut in 0..sockets.len() {
            let mut part = Sockets::default();
            parse_sockets(&sockets[..cut], &mut part);
            for (part, whole) in
                [(part.all, all_sockets.all), (part.tcp, all_sockets.tcp), (part.time_wait, all_sockets.time_wait)]
            {
                assert!(part.is_none() || part == whole, "{part:?} after {cut} bytes");
            }
        }
        assert_eq!((whole.tcp.tcptimeouts, all_sockets.time_wait), (Some(444), Some(33)));
    }

    #[test]
    fn sockets_table() {
        let mut sockets = Sockets::default();
        parse_sockets(
            b"sockets: used 28\nTCP: inuse 1 orphan 0 tw 3 alloc 21 mem 180\nUDP: inuse x mem 0\nRAW: inuse 0\nFRAG: inuse\n",
            &mut sockets,
        );
        parse_sockets(b"TCP6: inuse 4\nUDP6: inuse 18446744073709551615\nUDPLITE6: inuse 9", &mut sockets);
        let expected =
            Sockets { all: Some(28), tcp: Some(1), tcp6: Some(4), udp: None, udp6: Some(u64::MAX), time_wait: Some(3) };
        assert_eq!(sockets, expected);
        let mut none = Sockets::default();
        for text in [&b""[..], b"TCP\n", b"TCP: inuse", b"\0\0: inuse 1\n", b"TCP: inuse -1\n"] {
            parse_sockets(text, &mut none);
        }
        assert_eq!(none, Sockets::default());
    }

    #[test]
    fn names_are_the_kernels_in_lower_case() {
        let tcp = Tcp::default();
        assert!(tcp.all().all(|(name, value)| name.bytes().all(|byte| !byte.is_ascii_uppercase()) && value.is_none()));
        let tcp = parsed(b"TcpExt: ListenOverflows\nTcpExt: 1\n").tcp;
        assert_eq!(tcp.all().find(|(_, value)| value.is_some()), Some(("listenoverflows", Some(1))));
    }
}
