//! The effective configuration as the file would say it: what `sonde proxy --check` prints.
//!
//! Defaults are filled in and paths resolved; read again, it means the same.

use std::fmt::Display;

use toml::{Table, Value};

use super::{Config, StoreConfig};
use crate::tls::{CertificateFiles, TierSettings};

impl Config {
    /// What is in force, defaults filled in, as the file would say it.
    pub fn to_toml(&self) -> String {
        let mut listen = table([("public", text(self.public)), ("admin", text(self.admin))]);
        if let Some(tier) = self.tier_listen {
            listen.insert("tier".into(), text(tier));
        }
        let mut root = table([
            ("suffix", text(&self.suffix)),
            ("hosts", Value::Array(self.hosts.iter().map(text).collect())),
            ("listen", listen.into()),
            ("tls", self.tls_table().into()),
            ("store", self.store_table().into()),
            ("data_dir", text(self.data_dir.display())),
            ("limits", self.limits_table().into()),
            ("bounds", self.bounds_table().into()),
            ("access_log", table([("lines_per_second", number(self.log_lines_per_second))]).into()),
        ]);
        // Its own, which it makes, needs no name.
        let own = self.data_dir.join(super::OWN_SECRETS_KEY);
        let mut sensors = table([("secrets_on_any_node", Value::Boolean(self.secrets_on_any_node))]);
        if let Some(key) = self.secrets_key.as_ref().filter(|key| **key != own) {
            sensors.insert("secrets_key".into(), text(key.display()));
        }
        root.insert("sensors".into(), sensors.into());
        if let Some(tier) = &self.tier {
            root.insert("tier".into(), tier_table(tier).into());
        }
        if let Some(names) = &self.names {
            root.insert("names".into(), names.to_table().into());
        }
        root.to_string()
    }

    fn tls_table(&self) -> Table {
        let mut all = self.tls.certificates.iter().map(files_table);
        let mut tls = all.next().unwrap_or_default();
        tls.insert("more".into(), Value::Array(all.map(Value::Table).collect()));
        let handshakes = &self.tls.handshakes;
        let limits = [
            ("per_second", number(handshakes.per_second)),
            ("burst", number(handshakes.burst)),
            ("in_flight", number(i64::try_from(handshakes.in_flight).unwrap_or(i64::MAX))),
        ];
        tls.insert("handshakes".into(), table(limits).into());
        // It is read by the same derivation that writes it, and has nothing that TOML has not.
        if let Some(Ok(ca)) = self.tls.client_ca.as_ref().map(Value::try_from) {
            tls.insert("client_ca".into(), ca);
        }
        tls
    }

    fn limits_table(&self) -> Table {
        table([
            ("requests_per_second", number(self.limits.requests_per_second)),
            ("request_burst", number(self.limits.request_burst)),
            ("bytes_per_second", number(i64::try_from(self.limits.bytes_per_second).unwrap_or(i64::MAX))),
            ("concurrent_scrapes", number(self.limits.concurrent_scrapes)),
            ("sensors", number(self.limits.sensors)),
            ("sensor_bytes", number(i64::try_from(self.limits.sensor_bytes).unwrap_or(i64::MAX))),
            ("all_sensors_bytes", number(i64::try_from(self.limits.all_sensors_bytes).unwrap_or(i64::MAX))),
        ])
    }

    fn bounds_table(&self) -> Table {
        table([
            ("connections", number(self.bounds.connections)),
            ("connections_per_address", number(self.bounds.connections_per_address)),
            ("scrapes_in_flight", number(self.bounds.scrapes_in_flight)),
            ("scrapes_per_node", number(self.bounds.scrapes_per_node)),
        ])
    }

    fn store_table(&self) -> Table {
        match &self.store {
            StoreConfig::Embedded(path) => table([("path", text(path.display()))]),
            StoreConfig::Etcd(etcd) => {
                let mut inner = etcd.tls.as_ref().map(tier_table).unwrap_or_default();
                inner.insert("endpoints".into(), Value::Array(etcd.endpoints.iter().map(text).collect()));
                inner.insert("prefix".into(), text(&etcd.prefix));
                if let Some((user, password)) = &etcd.user {
                    inner.insert("user".into(), text(user));
                    inner.insert("password".into(), text(password.display()));
                }
                table([("etcd", inner.into())])
            }
        }
    }
}

fn tier_table(tier: &TierSettings) -> Table {
    let mut table = files_table(&tier.own);
    table.insert("ca".into(), text(tier.ca.display()));
    if let Some(crl) = &tier.crl {
        table.insert("crl".into(), text(crl.display()));
    }
    table
}

fn files_table(files: &CertificateFiles) -> Table {
    table([("certificate", text(files.certificate.display())), ("key", text(files.key.display()))])
}

fn table<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn text(value: impl Display) -> Value {
    Value::String(value.to_string())
}

fn number(value: impl Into<i64>) -> Value {
    Value::Integer(value.into())
}
