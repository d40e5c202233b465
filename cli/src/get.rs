//! `sonde get INSTANCE`: one exposition, as a scraper sees it.

use clap::Args;

use crate::Running;
use crate::client::{escape, get};
use crate::failure::{Failure, print};

#[derive(Args)]
pub struct Get {
    /// UUID, the runtime's id or a beginning of it, or a name; `node` for the machine
    instance: String,
    /// Only a part: native, or sensor/NAME
    #[arg(long, value_name = "PART")]
    collect: Vec<String>,
    #[command(flatten)]
    running: Running,
}

impl Get {
    pub fn run(self) -> Result<(), Failure> {
        let parts: Vec<String> = self.collect.iter().map(|part| format!("collect[]={}", escape(part))).collect();
        let query = if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) };
        let answer = get(&self.running, &format!("/v1/{}/metrics{query}", escape(&self.instance)))?;
        match (answer.status, answer.reason) {
            (200, _) => print(&answer.body),
            (404, _) => Err(Failure::failed(format!(
                "there is no instance {:?}; `sonde instance ls` lists those there are",
                self.instance
            ))),
            (_, Some(reason)) => {
                print(&answer.body)?;
                Err(Failure::failed(format!("{:?} is not running ({reason})", self.instance)))
            }
            (status, None) => {
                let said = String::from_utf8_lossy(&answer.body);
                Err(Failure::failed(format!("the agent answered {status}: {}", said.trim())))
            }
        }
    }
}
