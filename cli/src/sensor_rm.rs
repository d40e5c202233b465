//! `sonde sensor rm NAME`: takes a pushed sensor away.

use clap::Args;
use hyper::Method;
use hyper::body::Bytes;

use crate::client::escape;
use crate::failure::Failure;
use crate::tenant::{HELP, Tenant};

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Rm {
    /// As `sonde sensor ls` has it
    name: String,
    #[command(flatten)]
    tenant: Tenant,
}

impl Rm {
    pub fn run(self) -> Result<(), Failure> {
        let path = format!("/v1/sensors/{}", escape(&self.name));
        let answer = self.tenant.ask(&Method::DELETE, &path, &[], Bytes::new())?;
        if answer.status == 404 {
            return Err(Failure::failed(format!(
                "there is no sensor {:?}; `sonde sensor ls` lists those there are",
                self.name
            )));
        }
        let done = answer.value()?;
        self.tenant.show(&done, |_| {
            format!("{} is removed; its series end within some seconds, and its secrets are gone\n", self.name)
        })
    }
}
