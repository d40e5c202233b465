//! `sonde node`: the machines, and which accounts may run there.

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
    /// Forget a node that does not speak, with its instances
    Rm(Rm),
}

impl Node {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Ls(ls) => ls.run(),
            Self::Allow(allow) => allow.run(),
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
