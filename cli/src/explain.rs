//! `sonde explain INSTANCE [SENSOR]`: why its sensors are as they are, in sentences.

use clap::Args;
use serde_json::Value;

use crate::Running;
use crate::client::{escape, get};
use crate::failure::{Failure, print};

#[derive(Args)]
pub struct Explain {
    /// UUID, the runtime's id or a beginning of it, or a name
    instance: String,
    /// Only this sensor
    sensor: Option<String>,
    /// As JSON, as the agent gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

impl Explain {
    pub fn run(self) -> Result<(), Failure> {
        let answer = get(&self.running, &format!("/v1/{}/sensors", escape(&self.instance)))?;
        match answer.status {
            200 => {}
            404 => {
                let instance = &self.instance;
                return Err(Failure::failed(format!(
                    "there is no instance {instance:?}; `sonde instance ls` lists those there are"
                )));
            }
            status => return Err(Failure::failed(format!("the agent answered {status}"))),
        }
        let mut sensors: Vec<Value> = serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::failed(format!("the agent's answer is not a list of sensors: {error}")))?;
        if let Some(wanted) = &self.sensor {
            sensors.retain(|sensor| sensor["name"].as_str() == Some(wanted));
            if sensors.is_empty() {
                return Err(Failure::failed(format!(
                    "no sensor {wanted:?} is meant for {:?}: no [[sensor]] entry that matches it names its file",
                    self.instance
                )));
            }
        }
        if self.json {
            return print(format!("{:#}\n", Value::Array(sensors)).as_bytes());
        }
        if sensors.is_empty() {
            return print(b"No sensor is meant for it.\n");
        }
        let text = |sensor: &Value, key: &str| sensor[key].as_str().unwrap_or_default().to_owned();
        let line = |sensor: &Value| {
            format!("{} ({}): {}\n", text(sensor, "name"), text(sensor, "state"), text(sensor, "explanation"))
        };
        print(sensors.iter().map(line).collect::<String>().as_bytes())
    }
}
