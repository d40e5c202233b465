//! `sonde sensor ls`: what the account pushed, and what became of it on the nodes.

use clap::Args;
use serde_json::Value;

use crate::failure::Failure;
use crate::table::table;
use crate::tenant::{HELP, Tenant};

#[derive(Args)]
#[command(after_help = format!("\
STATE is waiting until a node has said something, accepted, or refused with the reason below the table, where it is also said which instances run without
the secrets, and why. UP of INSTANCES have a fresh result; of those that
have none, `sonde sensor logs NAME` tells why.

{HELP}"))]
pub struct Ls {
    #[command(flatten)]
    tenant: Tenant,
}

impl Ls {
    pub fn run(self) -> Result<(), Failure> {
        let sensors = self.tenant.get("/v1/sensors")?.value()?;
        self.tenant.show(&sensors, listed)
    }
}

fn listed(sensors: &Value) -> String {
    let heads = ["NAME", "VERSION", "SHARE", "STATE", "UP", "INSTANCES", "SHA256", "SECRETS", "PUSHED BY"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let mut refusals = String::new();
    for sensor in sensors.as_array().into_iter().flatten() {
        let name = sensor["name"].as_str().unwrap_or_default();
        for version in sensor["versions"].as_array().into_iter().flatten() {
            rows.push(row(name, version));
            for refusal in version["refused"].as_array().into_iter().flatten() {
                let (why, nodes) = (refusal["why"].as_str().unwrap_or_default(), &refusal["nodes"]);
                refusals.push_str(&format!("\n{name} is refused on {nodes} node(s): {why}\n"));
            }
            for withheld in version["secrets_withheld"].as_array().into_iter().flatten() {
                let (why, count) = (withheld["why"].as_str().unwrap_or_default(), &withheld["count"]);
                let first = withheld["instances"][0].as_str().unwrap_or_default();
                refusals.push_str(&format!(
                    "\n{name} runs without its secrets on {count} instance(s), {first} among them: {why}\n"
                ));
            }
        }
    }
    if rows.len() == 1 {
        return "no sensors have been pushed; `sonde sensor push F.wasm` pushes one\n".to_owned();
    }
    table(&rows) + &refusals
}

fn row(name: &str, version: &Value) -> Vec<String> {
    let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| version[key].as_u64().unwrap_or_default();
    let digest = text("sha256");
    let secrets = version["secrets"].as_array().map_or(0, Vec::len);
    vec![
        name.to_owned(),
        text("version"),
        format!("{}%", number("percent")),
        text("state"),
        number("instances").saturating_sub(number("failing")).to_string(),
        number("instances").to_string(),
        digest.get(..12).unwrap_or(&digest).to_owned(),
        secrets.to_string(),
        text("pushed_by"),
    ]
}
