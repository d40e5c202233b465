//! `sonde key`: the SSH keys that an account signs certificates with.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use crate::client::escape;
use crate::failure::Failure;
use crate::operator::{Operator, of_account, text};
use crate::table::table;

/// The longest file of keys: the proxy takes no more.
const FILE_BYTES: u64 = 1 << 20;

#[derive(Subcommand)]
pub enum Key {
    /// Add the keys of a file such as ~/.ssh/id_ed25519.pub or authorized_keys
    #[command(
        after_help = "Example: sonde key add acme ~/.ssh/id_ed25519.pub\n         curl -s https://example.org/keys | sonde key add acme -"
    )]
    Add(Add),
    /// Remove a key, by its name or fingerprint
    Rm(Rm),
    /// List an account's keys
    Ls(Ls),
}

impl Key {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(),
            Self::Rm(rm) => rm.run(),
            Self::Ls(ls) => ls.run(),
        }
    }
}

#[derive(Args)]
pub struct Add {
    account: String,
    /// Public keys, a line each; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    proxy: Operator,
}

impl Add {
    fn run(self) -> Result<(), Failure> {
        let shown = self.file.display();
        let unreadable = |error: std::io::Error| Failure::usage(format!("{shown} cannot be read: {error}"));
        let mut bytes = Vec::new();
        if self.file.as_os_str() == "-" {
            std::io::stdin().take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        } else {
            let file = std::fs::File::open(&self.file).map_err(unreadable)?;
            file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        }
        if bytes.len() as u64 > FILE_BYTES {
            return Err(Failure::usage(format!(
                "{shown} is longer than {FILE_BYTES} bytes: is that a file of public keys?"
            )));
        }
        let added = self.proxy.ask(Method::POST, &of_account(&self.account, "/keys"), bytes)?;
        self.proxy.show(&added, |added| {
            let count = added.as_array().map_or(0, Vec::len);
            if count == 0 { format!("account {} had all of them already\n", self.account) } else { rows(added) }
        })
    }
}

#[derive(Args)]
pub struct Rm {
    account: String,
    /// Its name (the comment in the file) or fingerprint (SHA256:…)
    key: String,
    #[command(flatten)]
    proxy: Operator,
}

impl Rm {
    fn run(self) -> Result<(), Failure> {
        let path = of_account(&self.account, &format!("/keys?which={}", escape(&self.key)));
        let done = self.proxy.ask(Method::DELETE, &path, "")?;
        self.proxy.show(&done, |_| {
            format!("key {:?} is removed; certificates signed by it count for nothing now\n", self.key)
        })
    }
}

#[derive(Args)]
pub struct Ls {
    account: String,
    #[command(flatten)]
    proxy: Operator,
}

impl Ls {
    fn run(self) -> Result<(), Failure> {
        let account = self.proxy.ask(Method::GET, &of_account(&self.account, ""), "")?;
        self.proxy.show(&account["keys"], rows)
    }
}

fn rows(keys: &Value) -> String {
    let mut rows = vec![["NAME", "TYPE", "FINGERPRINT"].map(str::to_owned).to_vec()];
    rows.extend(keys.as_array().into_iter().flatten().map(|key| {
        let kind = key["line"].as_str().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        vec![text(&key["name"]), kind, text(&key["fingerprint"])]
    }));
    table(&rows)
}
