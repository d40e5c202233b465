//! `sonde sensor logs NAME`: what a pushed sensor logged, and how it last failed, by instance.

use clap::Args;
use serde_json::Value;

use crate::client::escape;
use crate::failure::Failure;
use crate::tenant::{HELP, Tenant};

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Logs {
    /// As `sonde sensor ls` has it
    name: String,
    /// Of this instance alone, by id or name
    #[arg(long)]
    instance: Option<String>,
    #[command(flatten)]
    tenant: Tenant,
}

impl Logs {
    pub fn run(self) -> Result<(), Failure> {
        let query = self.instance.as_ref().map_or_else(String::new, |name| format!("?instance={}", escape(name)));
        let answer = self.tenant.get(&format!("/v1/sensors/{}/logs{query}", escape(&self.name)))?;
        if answer.status == 404 {
            return Err(Failure::failed(format!(
                "there is no sensor {:?}, or no such instance of yours; `sonde sensor ls` lists sensors",
                self.name
            )));
        }
        let rows = answer.value()?;
        if let Some(left_out) = answer.left_out {
            eprintln!("{left_out} more instances match and were not asked; --instance asks one of them");
        }
        self.tenant.show(&rows, |rows| {
            let text: String = rows.as_array().into_iter().flatten().map(of_instance).collect();
            if text.is_empty() { "no instance of yours matches\n".to_owned() } else { text }
        })
    }
}

fn of_instance(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let mut shown = format!("{} {}\n", text("name"), text("instance"));
    for line in [text("explanation"), text("error")].into_iter().filter(|line| !line.is_empty()) {
        shown.push_str(&format!("  {line}\n"));
    }
    for line in row["log"].as_array().into_iter().flatten() {
        let (level, message) = (&line["level"], &line["message"]);
        let word = |value: &Value| value.as_str().unwrap_or_default().replace(char::is_control, " ");
        shown.push_str(&format!("  {:<5} {}\n", word(level), word(message)));
    }
    shown
}
