//! `sonde instance ls`: what an agent knows.

use clap::Args;
use serde_json::Value;

use crate::Running;
use crate::client::get;
use crate::failure::{Failure, print};
use crate::table::table;

#[derive(Args)]
pub struct Ls {
    /// As JSON, as the agent gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

impl Ls {
    pub fn run(self) -> Result<(), Failure> {
        let answer = get(&self.running, "/v1/instances")?;
        if answer.status != 200 {
            return Err(Failure::failed(format!("the agent answered {}", answer.status)));
        }
        if self.json {
            return print(&answer.body);
        }
        let instances: Vec<Value> = serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::failed(format!("the agent's answer is not a list of instances: {error}")))?;
        let mut rows = vec![["NAME", "STATE", "REASONS", "RUNTIME", "OWNER", "ID"].map(str::to_owned).to_vec()];
        rows.extend(instances.iter().map(|instance| {
            let text = |key: &str| instance[key].as_str().unwrap_or_default().to_owned();
            let list = |key: &str| {
                let all = instance[key].as_array().map(Vec::as_slice).unwrap_or_default();
                all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
            };
            vec![text("name"), text("state"), list("reasons"), text("runtime"), text("owner"), text("id")]
        }));
        print(table(&rows).as_bytes())
    }
}
