//! `sonde sensor new NAME`: a project to begin with.

use std::path::Path;

use clap::{Args, ValueEnum};
use sonde_guest_build::create;

use crate::failure::{Failure, print};

#[derive(Args)]
pub struct New {
    /// What it is called: a-z, 0-9 and -, beginning with a letter
    name: String,
    /// The language to write it in
    #[arg(long, value_name = "L", default_value = "rust")]
    lang: Language,
}

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Rust,
}

impl New {
    pub fn run(self) -> Result<(), Failure> {
        let Language::Rust = self.lang;
        create(Path::new("."), &self.name).map_err(|error| Failure::failed(sonde_agent::chain(&error)))?;
        let name = &self.name;
        print(
            format!(
                "\
Made {name}/: a sensor that builds and passes its test as it is.

  cd {name}
  cargo test                               its unit test, without a node
  sonde sensor build                       makes {name}.wasm
  sonde sensor test {name}.wasm --target HOST:PORT

The probe is src/lib.rs; what it asks for is sensor.toml.
"
            )
            .as_bytes(),
        )
    }
}
