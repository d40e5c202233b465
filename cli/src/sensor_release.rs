//! `sonde sensor release INSTANCE SENSOR`: forgets what is held against a sensor.

use clap::Args;

use crate::Running;
use crate::client::{escape, post};
use crate::failure::{Failure, print};

#[derive(Args)]
pub struct Release {
    /// UUID, the runtime's id or a beginning of it, or a name
    instance: String,
    /// The sensor's name there
    sensor: String,
    #[command(flatten)]
    running: Running,
}

impl Release {
    pub fn run(self) -> Result<(), Failure> {
        let Self { instance, sensor, running } = self;
        let path = format!("/v1/{}/sensors/{}/release", escape(&instance), escape(&sensor));
        match post(&running, &path)?.status {
            200 => print(b"It runs again.\n"),
            404 => Err(Failure::failed(format!(
                "no sensor {sensor:?} runs on an instance {instance:?}; `sonde explain {instance}` lists those that do"
            ))),
            status => Err(Failure::failed(format!("the agent answered {status}"))),
        }
    }
}
