//! The zone: what a name and a type are answered with. No packets here, and no waiting.
//!
//! Names of targets lead to the proxies that are alive, all of them, whatever the id; so the zone is small, and a wildcard says all of it to a secondary. Lists
//! are the exception, and are only for whoever knows their label or asks from where the operator allows it; to others they are names like any
//! that are not there. Before the first sync nothing is known, and SERVFAIL says so: a client then keeps what it had.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hickory_proto::rr::rdata::{A, AAAA, HINFO, NS, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use sonde_inventory::{AccountName, Catalogue, Instance};
use tokio::sync::watch;
use uuid::Uuid;

use super::labels::{Part, Shape};
use super::lists::Lists;
use super::serial::Serial;
use super::{Prefix, Settings};
use crate::access;
use crate::discovery::shard::Shard;

/// What changes the zone seldom may be kept longer.
const NS_TTL: u32 = 3600;
/// A secondary asks for the serial as often as the data may change, again sooner if it gets no answer, and answers for a month without us.
const REFRESH: i32 = 30;
const RETRY: i32 = 10;
const EXPIRE: i32 = 30 * 24 * 3600;
/// More targets than one message holds (64 KiB, some 80 bytes each): no list is made only to be thrown away.
const MOST_LISTED: usize = 2000;
/// The longest string of a TXT record (RFC 1035 §3.3).
const LONGEST_TEXT: usize = 255;

/// What becomes of a question.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Answer {
        answers: Vec<Record>,
        additionals: Vec<Record>,
    },
    /// The name is there, the type is not.
    NoData,
    NoSuchName,
    Refused,
    Failed,
}

#[derive(Debug)]
pub(super) struct Zone {
    pub(super) apex: Name,
    name_servers: Vec<Name>,
    hostmaster: Name,
    ttl: u32,
    port: u16,
    proxies: watch::Receiver<Arc<[IpAddr]>>,
    lists_to: Vec<Prefix>,
    lists: Lists,
    serial: Mutex<Serial>,
    catalogue: Arc<Catalogue>,
}

impl Zone {
    pub(super) fn new(settings: &Settings, catalogue: Arc<Catalogue>) -> Self {
        Self {
            apex: settings.apex.clone(),
            name_servers: settings.name_servers.clone(),
            hostmaster: settings.hostmaster.clone(),
            ttl: settings.ttl_seconds,
            port: settings.port,
            proxies: settings.proxies.clone(),
            lists_to: settings.lists_to.clone(),
            lists: Lists::new(settings.list_key.clone()),
            serial: Mutex::default(),
            catalogue,
        }
    }

    /// Whether a name is the zone's: by whole labels, in any case.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.apex.zone_of(name)
    }

    /// Whether there is something to tell: before the first sync, and without any proxy, there is not.
    pub(super) fn is_known(&self) -> bool {
        self.catalogue.is_synced() && !self.proxies.borrow().is_empty()
    }

    /// Name servers that the zone itself has addresses of.
    pub(super) fn own_name_servers(&self) -> impl Iterator<Item = Name> {
        self.name_servers.iter().filter(|server| self.has(server) && **server != self.apex).cloned()
    }

    /// What a name and a type of this zone are answered with.
    pub(super) fn look_up(&self, name: &Name, wanted: RecordType, source: IpAddr) -> Outcome {
        if !self.is_known() {
            return Outcome::Failed;
        }
        // Not `num_labels`, which does not count an asterisk.
        let below = name.iter().count().saturating_sub(self.apex.iter().count());
        let labels: Vec<Vec<u8>> = name.iter().take(below).map(<[u8]>::to_ascii_lowercase).collect();
        match Shape::of(&labels) {
            Shape::Apex => self.apex_records(name, wanted),
            _ if self.name_servers.contains(name) => self.target(name, wanted),
            Shape::Target => self.target(name, wanted),
            Shape::Secret { label, part } => match self.lists.account_of_secret(&self.catalogue, &label) {
                Some(account) => self.list(name, wanted, &account, &part),
                None => Outcome::NoSuchName,
            },
            Shape::ByAccount { .. } | Shape::ByAccountRoot if !self.may_list(source) => Outcome::Refused,
            Shape::ByAccountRoot => Outcome::NoData,
            Shape::ByAccount { account, part } => match self.lists.account_of_label(&self.catalogue, &account) {
                Some(account) => self.list(name, wanted, &account, &part),
                None => Outcome::NoSuchName,
            },
            Shape::Nothing => Outcome::NoSuchName,
        }
    }

    fn may_list(&self, source: IpAddr) -> bool {
        self.lists_to.iter().any(|prefix| prefix.has(source))
    }

    fn apex_records(&self, name: &Name, wanted: RecordType) -> Outcome {
        match wanted {
            RecordType::SOA => answer(vec![self.soa(name)]),
            RecordType::NS => {
                let own = self.name_servers.iter().filter(|server| self.has(server));
                let glue = own.flat_map(|server| self.addresses(server, None)).collect();
                Outcome::Answer { answers: self.ns(name), additionals: glue }
            }
            other => self.target(name, other),
        }
    }

    /// Addresses of the proxies, for a name that leads to them.
    fn target(&self, name: &Name, wanted: RecordType) -> Outcome {
        let records = match wanted {
            RecordType::A | RecordType::AAAA => self.addresses(name, Some(wanted)),
            RecordType::ANY => vec![self.minimal(name)],
            _ => Vec::new(),
        };
        if records.is_empty() { Outcome::NoData } else { answer(records) }
    }

    /// RFC 8482: a question for everything is answered with next to nothing.
    fn minimal(&self, name: &Name) -> Record {
        Record::from_rdata(name.clone(), NS_TTL, RData::HINFO(HINFO::new("RFC8482".into(), String::new())))
    }

    pub(super) fn addresses(&self, name: &Name, wanted: Option<RecordType>) -> Vec<Record> {
        let of = |address: &IpAddr| match address {
            IpAddr::V4(four) => RData::A(A(*four)),
            IpAddr::V6(six) => RData::AAAA(AAAA(*six)),
        };
        let all = self.proxies.borrow();
        let data = all.iter().map(of).filter(|data| wanted.is_none_or(|wanted| data.record_type() == wanted));
        data.map(|data| Record::from_rdata(name.clone(), self.ttl, data)).collect()
    }

    pub(super) fn ns(&self, name: &Name) -> Vec<Record> {
        let of = |server: &Name| Record::from_rdata(name.clone(), NS_TTL, RData::NS(NS(server.clone())));
        self.name_servers.iter().map(of).collect()
    }

    pub(super) fn soa(&self, name: &Name) -> Record {
        let serial = self.serial();
        let first = self.name_servers.first().unwrap_or(&self.apex).clone();
        let soa = SOA::new(first, self.hostmaster.clone(), serial, REFRESH, RETRY, EXPIRE, self.ttl);
        Record::from_rdata(name.clone(), self.ttl, RData::SOA(soa))
    }

    /// Moves with the catalogue, and with the proxies that are alive.
    fn serial(&self) -> u32 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut content = DefaultHasher::new();
        (*self.catalogue.revisions().borrow()).hash(&mut content);
        self.proxies.borrow().hash(&mut content);
        let mut serial = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        serial.of(content.finish(), SystemTime::now())
    }

    /// An account's targets. What does not fit is a failure, because a client takes a list that is cut for all there is.
    fn list(&self, name: &Name, wanted: RecordType, account: &AccountName, part: &Part) -> Outcome {
        let Some(shard) = part.shard.map_or(Some(None), |(index, of)| Shard::new(index, of).map(Some)) else {
            return Outcome::NoSuchName;
        };
        // It may be an account that is no more, in a list of labels that is a second old.
        if self.catalogue.account(account).is_none() {
            return Outcome::NoSuchName;
        }
        match wanted {
            RecordType::ANY => return answer(vec![self.minimal(name)]),
            RecordType::SRV | RecordType::TXT => {}
            _ => return Outcome::NoData,
        }
        let now = SystemTime::now();
        let in_group = |instance: &Instance| {
            part.group.as_ref().is_none_or(|wanted| instance.groups.iter().any(|own| own.eq_ignore_ascii_case(wanted)))
        };
        let all = self.catalogue.instances_of(account);
        let listed = all.iter().filter(|instance| {
            access::is_remembered(instance, now)
                && in_group(instance)
                && shard.is_none_or(|shard| shard.has(instance.id))
        });
        let records: Vec<Record> =
            listed.take(MOST_LISTED + 1).filter_map(|one| self.entry(name, wanted, one)).collect();
        match records.len() {
            0 => Outcome::NoData,
            1..=MOST_LISTED => answer(records),
            _ => {
                tracing::warn!(account = account.as_str(), "a list in DNS is too long; a shard of it would fit");
                Outcome::Failed
            }
        }
    }

    fn entry(&self, name: &Name, wanted: RecordType, instance: &Instance) -> Option<Record> {
        let data = if wanted == RecordType::SRV {
            RData::SRV(SRV::new(0, 0, self.port, self.name_of(instance.id)?))
        } else {
            let strings = [
                format!("id={}", instance.id),
                format!("alias={}", access::called(instance)),
                format!("state={}", instance.state.name()),
            ];
            RData::TXT(TXT::new(strings.map(|text| shortened(&text)).into()))
        };
        Some(Record::from_rdata(name.clone(), self.ttl, data))
    }

    fn name_of(&self, id: Uuid) -> Option<Name> {
        self.apex.prepend_label(id.to_string()).ok()
    }
}

fn answer(answers: Vec<Record>) -> Outcome {
    Outcome::Answer { answers, additionals: Vec::new() }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned()
}

/// How long a negative answer is kept, and any address: so soon a proxy that died is forgotten.
pub(super) const LONGEST_TTL: u32 = 30;
