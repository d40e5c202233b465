//! The effective configuration as the file would say it: what `sonde agent --check` prints.
//!
//! Defaults are filled in and paths resolved; read again, it means the same. Secrets are named by path, as everywhere.

use std::time::Duration;

use sonde_collect::{GroupSource, ProcessGroup};

use super::{Config, SensorRule, policy, report, rules, sandbox};

impl Config {
    /// What is in force, defaults filled in, as the file would say it.
    pub fn to_toml(&self) -> String {
        let mut root = toml::Table::new();
        root.insert("listen".into(), self.listen_table().into());
        if let Some(id) = &self.node_id {
            root.insert("node".into(), table([("id", text(id))]).into());
        }
        let names = self.names.list().into_iter().map(text).collect();
        let reading = table([("floor", milliseconds(self.floor)), ("names", toml::Value::Array(names))]);
        root.insert("reading".into(), reading.into());
        if let Some(report) = &self.report {
            root.insert("report".into(), report::table_of(report).into());
        }
        root.insert("sensors_dir".into(), text(self.sensors_dir.display()));
        root.insert("state_dir".into(), text(self.state_dir.display()));
        root.insert("policy".into(), policy::table_of(&self.policy).into());
        root.insert("sandbox".into(), sandbox::table_of(&self.sandbox).into());
        root.insert("share".into(), sandbox::share_table(&self.share).into());
        let accounts = self.accounts.iter().map(|(name, share)| {
            let mut account = sandbox::share_table(share);
            account.insert("name".into(), text(name));
            account.into()
        });
        root.insert("account".into(), toml::Value::Array(accounts.collect()));
        root.insert("process_group".into(), toml::Value::Array(self.process_groups.iter().map(group_table).collect()));
        root.insert("sensor".into(), toml::Value::Array(self.sensors.iter().map(sensor_table).collect()));
        root.insert("instance".into(), rules::instances_array(&self.instances));
        root.insert("owner".into(), rules::owners_array(&self.owners));
        root.to_string()
    }

    fn listen_table(&self) -> toml::Table {
        let mut listen = table([("address", text(self.listen))]);
        if let Some(admin) = self.admin {
            listen.insert("admin".into(), text(admin));
        }
        if let Some(tls) = &self.tls {
            let files = [("certificate", &tls.certificate), ("key", &tls.key), ("client_ca", &tls.client_ca)];
            let files = files.into_iter().chain(tls.crl.iter().map(|crl| ("crl", crl)));
            listen.insert("tls".into(), table(files.map(|(key, path)| (key, text(path.display())))).into());
        }
        listen
    }
}

fn group_table(group: &ProcessGroup) -> toml::Value {
    let source = match &group.source {
        GroupSource::PidFile(path) => ("pid_file", text(path.display())),
        GroupSource::Cgroup(path) => ("cgroup", text(path)),
        GroupSource::Port(port) => ("port", i64::from(*port).into()),
    };
    table([("name", text(&group.name)), source]).into()
}

fn sensor_table(rule: &SensorRule) -> toml::Value {
    let config = rule.config.iter().map(|(key, value)| (key.as_str(), text(value)));
    let secrets = rule.secrets.iter().map(|(key, path)| (key.as_str(), text(path.display())));
    table([
        ("file", text(&rule.file)),
        ("name", text(&rule.name)),
        ("match", rules::match_table(&rule.matching)),
        ("config", table(config).into()),
        ("secrets", table(secrets).into()),
    ])
    .into()
}

pub(super) fn table<'a>(entries: impl IntoIterator<Item = (&'a str, toml::Value)>) -> toml::Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

pub(super) fn text(value: impl std::fmt::Display) -> toml::Value {
    toml::Value::String(value.to_string())
}

pub(super) fn milliseconds(duration: Duration) -> toml::Value {
    text(format!("{}ms", duration.as_millis()))
}
