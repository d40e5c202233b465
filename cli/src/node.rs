//! `sonde node`: the machines, and which accounts may run there.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use crate::client::escape;
use crate::failure::Failure;
use crate::operator::{Operator, list, text};
use crate::table::table;

#[derive(Subcommand)]
pub enum Node {
    /// List the nodes, and whether each speaks
    Ls(Ls),
    /// Say which accounts may run on a node; what it reports of others is refused
    #[command(
        after_help = "Example: sonde node allow 4d2f…-… acme bank    (nobody else)\n         sonde node allow 4d2f…-… --all        (all accounts, as before)"
    )]
    Allow(Allow),
    /// Say what runs on a node whose agent is cmon's, which reports nothing itself
    #[command(
        after_help = "Example: sonde node cmon 4d2f…-… node.json\n         where node.json is { \"hostname\": \"cn-1\", \"url\": \"http://10.0.0.1:9163\", \"instances\": [{ \"id\": UUID, \"owner\": \"acme\", \"alias\": \"web\", \"state\": \"running\", \"groups\": [] }] }"
    )]
    Cmon(Cmon),
    /// Forget a node that does not speak, with its instances
    Rm(Rm),
}

impl Node {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Ls(ls) => ls.run(),
            Self::Allow(allow) => allow.run(),
            Self::Cmon(cmon) => cmon.run(),
            Self::Rm(rm) => rm.run(),
        }
    }
}

#[derive(Args)]
pub struct Ls {
    #[command(flatten)]
    proxy: Operator,
}

impl Ls {
    fn run(self) -> Result<(), Failure> {
        let all = self.proxy.ask(Method::GET, "/v1/nodes", "")?;
        self.proxy.show(&all, |all| {
            let mut rows = vec![["HOSTNAME", "SPEAKS", "URL", "ACCOUNTS", "ID"].map(str::to_owned).to_vec()];
            rows.extend(all.as_array().into_iter().flatten().map(|node| {
                let speaks = if node["is_reachable"] == true { "yes" } else { "no" };
                let accounts = if node["accounts"].is_null() { "all".into() } else { list(&node["accounts"], "none") };
                vec![text(&node["hostname"]), speaks.into(), text(&node["url"]), accounts, text(&node["id"])]
            }));
            table(&rows)
        })
    }
}

#[derive(Args)]
pub struct Allow {
    /// The node's id
    id: String,
    /// The accounts that may run there
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    accounts: Vec<String>,
    /// All accounts may
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    proxy: Operator,
}

impl Allow {
    fn run(self) -> Result<(), Failure> {
        let accounts = if self.all { Value::Null } else { self.accounts.clone().into() };
        let path = format!("/v1/nodes/{}/accounts", escape(&self.id));
        let node = self.proxy.ask(Method::PUT, &path, accounts.to_string())?;
        let who = if self.all { "all accounts".to_owned() } else { self.accounts.join(", ") };
        self.proxy.show(&node, |_| format!("on node {} may run: {who}\n", self.id))
    }
}

#[derive(Args)]
pub struct Cmon {
    /// The node's id
    id: String,
    /// All that is to be known of it, in JSON; what was known before and is not in it has ended
    file: PathBuf,
    #[command(flatten)]
    proxy: Operator,
}

impl Cmon {
    fn run(self) -> Result<(), Failure> {
        let list = std::fs::read(&self.file)
            .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", self.file.display())))?;
        let answer = self.proxy.ask(Method::PUT, &format!("/v1/nodes/{}/cmon", escape(&self.id)), list)?;
        self.proxy.show(&answer, |answer| {
            let refused = answer["refused"].as_array().into_iter().flatten();
            let lines: Vec<String> =
                refused.map(|one| format!("{} was not taken: {}\n", text(&one["id"]), text(&one["why"]))).collect();
            format!("node {} is as the file says\n{}", self.id, lines.concat())
        })
    }
}

#[derive(Args)]
pub struct Rm {
    /// The node's id
    id: String,
    #[command(flatten)]
    proxy: Operator,
}

impl Rm {
    fn run(self) -> Result<(), Failure> {
        let done = self.proxy.ask(Method::DELETE, &format!("/v1/nodes/{}", escape(&self.id)), "")?;
        self.proxy.show(&done, |_| format!("node {} is forgotten\n", self.id))
    }
}
