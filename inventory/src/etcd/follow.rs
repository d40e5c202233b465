//! Following etcd: a snapshot, then every change after it, for as long as the store is open.
//!
//! A watch goes on after the last event that was taken, also at another member; only where etcd has compacted that away, or would tell more at once than is
//! taken, is there a new snapshot, which replaces all and so drops what ended meanwhile. Progress that we ask for says that the member is there and no more: etcd before 3.4.25 may
//! answer it ahead of events (its issue 15220), so nothing is taken from the revision in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{
    Error, EventType, GetOptions, GetResponse, KeyValue, KvClient, WatchOptions, WatchResponse, WatchStream,
};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::connection::{MESSAGE_BYTES, is_too_large, words};
use super::{Shared, keys};
use crate::catalogue::Catalogue;
use crate::change::{Change, Key, Snapshot};
use crate::write::{Record, describe};

/// Records of one page of a snapshot: most are small, and etcd counts what is left for each page, so that small pages of many records take long.
const PAGE: i64 = 2000;
/// Sensors have pages of their own: one may be 230 KB, and etcd has all of a page in memory.
const PAGE_OF_SENSORS: i64 = 100;
/// How often a member is asked whether it still is there, and how long it may say nothing.
const ASK_EVERY: Duration = Duration::from_secs(1);
const SILENT_AFTER: Duration = Duration::from_secs(4);
/// How long the first wait after a failure is, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Why a watch ended.
enum Ended {
    /// What it would go on from cannot be had any more: it is compacted, or more at once than is taken.
    Lost(String),
    Failed(String),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        let why = words(&error);
        if why.contains("compacted") || is_too_large(&error) { Self::Lost(why) } else { Self::Failed(why) }
    }
}

/// Keeps the catalogue current until the store is closed.
pub(super) async fn follow(shared: Arc<Shared>, catalogue: Arc<Catalogue>) {
    let mut stop = shared.stop.subscribe();
    let mut follower = Follower { shared: &shared, catalogue: &catalogue, next: None, wait: FIRST_WAIT };
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = follower.run() => {}
    }
}

struct Follower<'a> {
    shared: &'a Shared,
    catalogue: &'a Catalogue,
    /// The revision to go on from; none before a snapshot.
    next: Option<i64>,
    wait: Duration,
}

impl Follower<'_> {
    async fn run(&mut self) {
        loop {
            match self.watch().await {
                Ended::Lost(why) => {
                    tracing::info!(why, "what was not heard of yet cannot be had from etcd; everything is read again");
                    self.next = None;
                }
                Ended::Failed(why) => {
                    self.shared.is_behind(&why);
                    tracing::debug!(why, "the watch at etcd ended");
                }
            }
            tokio::time::sleep(self.wait).await;
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Reads everything if need be, and takes what changes until that fails.
    async fn watch(&mut self) -> Ended {
        let (which, client) = match self.shared.connection.client().await {
            Ok(client) => client,
            Err(error) => return error.into(),
        };
        let ended = self.watch_at(client).await;
        if matches!(ended, Ended::Failed(_)) {
            self.shared.connection.failed(which);
        }
        ended
    }

    async fn watch_at(&mut self, mut client: etcd_client::Client) -> Ended {
        let next = match self.next {
            // A member that has lost the others takes a watch and answers it, until it notices. A read it cannot answer alone.
            Some(next) => match client.get(self.shared.prefix.as_str(), Some(GetOptions::new().with_keys_only())).await
            {
                Ok(_) => next,
                Err(error) => return error.into(),
            },
            None => match self.snapshot(&mut client).await {
                Ok(revision) => revision + 1,
                Err(ended) => return ended,
            },
        };
        self.next = Some(next);
        let options = WatchOptions::new().with_prefix().with_start_revision(next).with_progress_notify();
        let watching = client
            .watch_client()
            .max_decoding_message_size(MESSAGE_BYTES)
            .watch(self.shared.prefix.as_str(), Some(options))
            .await;
        match watching {
            Ok(stream) => self.take(stream).await,
            Err(error) => error.into(),
        }
    }

    async fn take(&mut self, mut stream: WatchStream) -> Ended {
        let mut ask = tokio::time::interval(ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = stream.message() => match message {
                    Ok(Some(message)) => {
                        heard = Instant::now();
                        if let Some(ended) = self.took(&message) {
                            return ended;
                        }
                    }
                    Ok(None) => return Ended::Failed("etcd ended the watch".to_owned()),
                    Err(error) => return error.into(),
                },
                _ = ask.tick() => {
                    if heard.elapsed() > SILENT_AFTER {
                        return Ended::Failed(format!("etcd has said nothing for {SILENT_AFTER:?}"));
                    }
                    if let Err(error) = stream.request_progress().await {
                        return error.into();
                    }
                }
            }
        }
    }

    fn took(&mut self, message: &WatchResponse) -> Option<Ended> {
        if message.canceled() {
            let compacted = message.compact_revision() > 0;
            let why = message.cancel_reason().to_owned();
            return Some(if compacted { Ended::Lost(why) } else { Ended::Failed(why) });
        }
        let mut last = 0;
        let mut changes = Vec::with_capacity(message.events().len());
        for event in message.events() {
            let Some(kv) = event.kv() else { continue };
            last = last.max(kv.mod_revision());
            let Some(key) = keys::parse(&self.shared.prefix, kv.key()) else { continue };
            changes.extend(match event.event_type() {
                EventType::Put => change(key, kv, self.shared),
                EventType::Delete => {
                    if let Key::Lease(node) = key {
                        self.shared.leases.freed(node);
                    }
                    Some(Change::Gone(key))
                }
            });
        }
        if last > 0 {
            self.catalogue.apply(changes);
            self.next = Some(last + 1);
            self.shared.seen.send_replace(last);
        } else if !message.created() {
            // It answers, and there is nothing that it has not told.
            self.shared.is_current();
            self.wait = FIRST_WAIT;
        }
        None
    }

    /// All records as of one revision, in pages; returns the revision.
    async fn snapshot(&self, client: &mut etcd_client::Client) -> Result<i64, Ended> {
        let prefix = &self.shared.prefix;
        let sensors = format!("{prefix}{}", keys::SENSORS).into_bytes();
        let mut pages = Pages { kv: client.kv_client().max_decoding_message_size(MESSAGE_BYTES), revision: 0 };
        let mut read = Read::default();
        pages.read(prefix.clone().into_bytes(), &sensors, PAGE, |kv| read.take(kv, self.shared)).await?;
        pages.read(sensors.clone(), &prefix_end(prefix), PAGE_OF_SENSORS, |kv| read.take(kv, self.shared)).await?;
        self.shared.leases.replace_holders(read.holders);
        self.catalogue.replace(read.snapshot);
        self.shared.seen.send_replace(pages.revision);
        Ok(pages.revision)
    }
}

/// What is read in pages, as of one revision.
struct Pages {
    kv: KvClient,
    /// None is said before the first page: it is then what that is of.
    revision: i64,
}

impl Pages {
    /// All from a key on and before another. A page that is too large is asked for anew with half as many, and so are those after it.
    async fn read(
        &mut self,
        mut from: Vec<u8>,
        end: &[u8],
        mut most: i64,
        mut take: impl FnMut(&KeyValue),
    ) -> Result<(), Error> {
        loop {
            let mut page = match self.page(&from, end, most).await {
                Err(error) if is_too_large(&error) && most > 1 => {
                    most /= 2;
                    continue;
                }
                page => page?,
            };
            if self.revision == 0 {
                self.revision = page.header().map_or(0, |header| header.revision());
            }
            let more = page.more();
            let records = page.take_kvs();
            records.iter().for_each(&mut take);
            let Some(last) = records.last().filter(|_| more) else { return Ok(()) };
            from = last.key().to_vec();
            from.push(0);
        }
    }

    async fn page(&mut self, from: &[u8], end: &[u8], most: i64) -> Result<GetResponse, Error> {
        let options = GetOptions::new().with_range(end).with_limit(most).with_revision(self.revision);
        self.kv.get(from, Some(options)).await
    }
}

/// What a snapshot has so far, and whose lease holds each node's key.
#[derive(Default)]
struct Read {
    snapshot: Snapshot,
    holders: Vec<(Uuid, i64)>,
}

impl Read {
    fn take(&mut self, kv: &KeyValue, shared: &Shared) {
        let Some(key) = keys::parse(&shared.prefix, kv.key()) else { return };
        if let Key::Lease(node) = key {
            self.holders.push((node, kv.lease()));
        }
        match change(key, kv, shared) {
            Some(Change::Account(account)) => self.snapshot.accounts.push(account),
            Some(Change::Node(node)) => self.snapshot.nodes.push(node),
            Some(Change::Instance(instance)) => self.snapshot.instances.push(instance),
            Some(Change::Sensor(sensor)) => self.snapshot.sensors.push(sensor),
            Some(Change::Lease(node)) => self.snapshot.leases.push(node),
            Some(Change::Gone(_)) | None => {}
        }
    }
}

/// A record that cannot be read is as if it were not there, and is said: one of them must not hold up all others.
fn change(key: Key, kv: &KeyValue, shared: &Shared) -> Option<Change> {
    if let Key::Lease(node) = key {
        shared.leases.held(node, kv.lease());
        return Some(Change::Lease(node));
    }
    match Record::from_json(&key, kv.value()) {
        Ok(record) => record.map(Record::into_change),
        Err(error) => {
            tracing::error!(record = describe(&key), %error, "a record in etcd cannot be read and is left out");
            Some(Change::Gone(key))
        }
    }
}

/// What comes after all that begins with it.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // A prefix ends in a slash.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
