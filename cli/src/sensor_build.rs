//! `sonde sensor build [DIR]`: from a crate to NAME.wasm.

use std::path::PathBuf;

use clap::Args;
use sonde_guest_build::{Options, Toolchain, build};

use crate::failure::{Failure, print};

#[derive(Args)]
pub struct Build {
    /// The folder with Cargo.toml and sensor.toml
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Where NAME.wasm goes; the sensor's own folder unless given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Build {
    pub fn run(self) -> Result<(), Failure> {
        let toolchain = Toolchain::find().map_err(|error| Failure::failed(sonde_agent::chain(&error)))?;
        eprintln!("Building with {toolchain}.");
        let options = Options {
            target_dir: self.folder.join("target").join("sensor"),
            out_dir: self.out.unwrap_or_else(|| self.folder.clone()),
            progress: true,
        };
        let built =
            build(&toolchain, &self.folder, &options).map_err(|error| Failure::failed(sonde_agent::chain(&error)))?;
        for remark in &built.remarks {
            eprintln!("Note: {remark}");
        }
        let (path, bytes) = (built.path.display(), built.component.len());
        print(format!("Made {path} ({bytes} bytes). Try it: sonde sensor test {path} --target HOST:PORT\n").as_bytes())
    }
}
