//! `sonde account`: who has an account, and how much it may use.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::operator::{Operator, of_account};
use crate::table::table;

#[derive(Subcommand)]
pub enum Account {
    /// Make an account
    #[command(after_help = "Example: sonde account add acme && sonde key add acme ~/.ssh/id_ed25519.pub")]
    Add(Add),
    /// List the accounts
    Ls(Ls),
    /// Remove an account, with its keys, tokens and certificates
    Rm(Rm),
    /// Show an account's limits, or change those that are given
    #[command(after_help = "Example: sonde account limits acme --requests-per-second 50 --concurrent-scrapes default")]
    Limits(Box<Limits>),
}

impl Account {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(),
            Self::Ls(ls) => ls.run(),
            Self::Rm(rm) => rm.run(),
            Self::Limits(limits) => limits.run(),
        }
    }
}

#[derive(Args)]
pub struct Add {
    /// 1 to 63 letters, digits, '.', '_' and '-'
    name: String,
    /// It sees nodes too, as the account called `operator` does
    #[arg(long)]
    operator: bool,
    #[command(flatten)]
    proxy: Operator,
}

impl Add {
    fn run(self) -> Result<(), Failure> {
        let wanted = json!({ "is_operator": self.operator }).to_string();
        let made = self.proxy.ask(Method::PUT, &of_account(&self.name, ""), wanted)?;
        self.proxy.show(&made, |_| {
            format!("account {} is there; give it a key (`sonde key add`) or a token (`sonde token new`)\n", self.name)
        })
    }
}

#[derive(Args)]
pub struct Ls {
    #[command(flatten)]
    proxy: Operator,
}

impl Ls {
    fn run(self) -> Result<(), Failure> {
        let all = self.proxy.ask(Method::GET, "/v1/accounts", "")?;
        self.proxy.show(&all, |all| {
            let mut rows =
                vec![["NAME", "OPERATOR", "KEYS", "TOKENS", "CERTIFICATES", "ID"].map(str::to_owned).to_vec()];
            rows.extend(all.as_array().into_iter().flatten().map(|account| {
                let count = |key: &str| account[key].as_array().map_or(0, Vec::len).to_string();
                let operator = if account["is_operator"] == true { "yes" } else { "no" };
                let text = |key: &str| account[key].as_str().unwrap_or_default().to_owned();
                vec![text("name"), operator.into(), count("keys"), count("tokens"), count("certificates"), text("id")]
            }));
            table(&rows)
        })
    }
}

#[derive(Args)]
pub struct Rm {
    name: String,
    #[command(flatten)]
    proxy: Operator,
}

impl Rm {
    fn run(self) -> Result<(), Failure> {
        let done = self.proxy.ask(Method::DELETE, &of_account(&self.name, ""), "")?;
        self.proxy.show(&done, |_| format!("account {} is removed; what it owns is nobody's to see now\n", self.name))
    }
}

#[derive(Args)]
pub struct Limits {
    name: String,
    /// Requests a second; `default` for the proxy's own
    #[arg(long, value_name = "N|default", value_parser = limit)]
    requests_per_second: Option<Value>,
    /// Requests at once after a pause
    #[arg(long, value_name = "N|default", value_parser = limit)]
    request_burst: Option<Value>,
    /// Bytes of answers a second
    #[arg(long, value_name = "N|default", value_parser = limit)]
    bytes_per_second: Option<Value>,
    /// Scrapes in flight
    #[arg(long, value_name = "N|default", value_parser = limit)]
    concurrent_scrapes: Option<Value>,
    /// Sensors that it may have pushed
    #[arg(long, value_name = "N|default", value_parser = limit)]
    sensors: Option<Value>,
    /// Bytes of one of them
    #[arg(long, value_name = "N|default", value_parser = limit)]
    sensor_bytes: Option<Value>,
    /// Bytes of all of them
    #[arg(long, value_name = "N|default", value_parser = limit)]
    all_sensors_bytes: Option<Value>,
    #[command(flatten)]
    proxy: Operator,
}

impl Limits {
    /// Those that are to be changed, by name.
    fn change(&self) -> Map<String, Value> {
        let given = [
            &self.requests_per_second,
            &self.request_burst,
            &self.bytes_per_second,
            &self.concurrent_scrapes,
            &self.sensors,
            &self.sensor_bytes,
            &self.all_sensors_bytes,
        ];
        let given = sonde_inventory::Limits::NAMES.iter().zip(given);
        given.filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?))).collect()
    }

    fn run(self) -> Result<(), Failure> {
        let change = self.change();
        let account = if change.is_empty() {
            self.proxy.ask(Method::GET, &of_account(&self.name, ""), "")?
        } else {
            let change = Value::Object(change).to_string();
            self.proxy.ask(Method::PATCH, &of_account(&self.name, "/limits"), change)?
        };
        self.proxy.show(&account["limits"], |limits| {
            let row =
                |key: &str| vec![key.to_owned(), limits[key].as_u64().map_or("default".into(), |n| n.to_string())];
            table(&sonde_inventory::Limits::NAMES.map(row))
        })
    }
}

fn limit(text: &str) -> Result<Value, String> {
    if text == "default" {
        return Ok(Value::Null);
    }
    let number = text.parse::<u32>().map_err(|_| "a whole number, or `default`".to_owned())?;
    Ok(number.into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        limits: Limits,
    }

    #[test]
    fn each_option_changes_the_limit_of_its_name() {
        for name in sonde_inventory::Limits::NAMES {
            let option = format!("--{}", name.replace('_', "-"));
            let parsed = Command::try_parse_from(["limits", "acme", &option, "7"]).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(parsed.limits.change(), Map::from_iter([(name.to_owned(), json!(7))]));
        }
    }
}
