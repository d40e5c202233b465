//! `sonde token`: bearer tokens of an account.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use crate::client::escape;
use crate::failure::Failure;
use crate::operator::{Operator, list, of_account, text};
use crate::table::table;

#[derive(Subcommand)]
pub enum Token {
    /// Draw a token and print it: it is never shown again
    #[command(
        after_help = "Example: sonde token new acme --group web --ttl 90d > token\n         and in Prometheus: authorization: { credentials_file: token }"
    )]
    New(New),
    /// Remove a token, by its id
    Rm(Rm),
    /// List an account's tokens, without their text
    Ls(Ls),
}

impl Token {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(),
            Self::Rm(rm) => rm.run(),
            Self::Ls(ls) => ls.run(),
        }
    }
}

#[derive(Args)]
pub struct New {
    account: String,
    /// What it may be used for: read-metrics (also if none is given) or push-sensors; may be given twice
    #[arg(long, value_parser = ["read-metrics", "push-sensors"])]
    scope: Vec<String>,
    /// Only for instances of this group; may be given several times
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// How long it lasts, such as 12h or 90d; for ever if not given
    #[arg(long, value_parser = seconds)]
    ttl: Option<u64>,
    #[command(flatten)]
    proxy: Operator,
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let groups = (!self.group.is_empty()).then_some(self.group);
        let wanted = json!({ "scopes": self.scope, "groups": groups, "ttl_seconds": self.ttl }).to_string();
        let token = self.proxy.ask(Method::POST, &of_account(&self.account, "/tokens"), wanted)?;
        if !self.proxy.json {
            // Standard output is the token alone, so that it can go to a file.
            eprintln!("token {} of account {}; it is not shown again:", text(&token["id"]), self.account);
        }
        self.proxy.show(&token, |token| format!("{}\n", text(&token["token"])))
    }
}

#[derive(Args)]
pub struct Rm {
    account: String,
    /// As `sonde token ls` has it
    id: String,
    #[command(flatten)]
    proxy: Operator,
}

impl Rm {
    fn run(self) -> Result<(), Failure> {
        let path = of_account(&self.account, &format!("/tokens?which={}", escape(&self.id)));
        let done = self.proxy.ask(Method::DELETE, &path, "")?;
        self.proxy.show(&done, |_| format!("token {} is removed and counts for nothing now\n", self.id))
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
        self.proxy.show(&account["tokens"], |tokens| {
            let mut rows = vec![["ID", "SCOPES", "GROUPS", "ENDS (SECONDS SINCE 1970)"].map(str::to_owned).to_vec()];
            rows.extend(tokens.as_array().into_iter().flatten().map(|token| {
                let ends = token["not_after"].as_u64().map_or("never".to_owned(), |at| at.to_string());
                vec![text(&token["id"]), list(&token["scopes"], "read-metrics"), list(&token["groups"], "all"), ends]
            }));
            table(&rows)
        })
    }
}

/// `90s`, `15m`, `12h`, `30d`.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
    let parsed =
        units.iter().find_map(|(unit, seconds)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*seconds));
    parsed.filter(|seconds| *seconds > 0).ok_or_else(|| "a number and s, m, h or d, such as 12h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_units() {
        assert_eq!((seconds("90s"), seconds("2d")), (Ok(90), Ok(172_800)));
        for wrong in ["", "5", "h", "-1h", "0s", "99999999999999999d", "1w"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
