//! Builds everything and runs Sonde on this machine, in the foreground.
//!
//! It is the release build that runs: what a newcomer sees must be what Sonde is. At the end xtask *becomes* `sonde`
//! (exec), so Ctrl-C, signals and the exit code need no forwarding.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::sensors::{self, Which};
use crate::setup::{For, setup};
use crate::workspace::{Workspace, run, say, shown};

/// What `sonde up` itself would write to a new folder.
const STARTER: &str = include_str!("../../cli/src/starter.toml");
/// The sensors we ship, each on the instances whose name says that it fits.
const SHIPPED: [(&str, &str); 4] =
    [("redis.wasm", "*redis*"), ("nginx.wasm", "*nginx*"), ("http.wasm", "*web*"), ("relay.wasm", "*app*")];

pub(crate) fn up(workspace: &Workspace, data_dir: Option<&str>) -> Result<(), Error> {
    setup(For::Sensors)?;
    let built = sensors::build(workspace, Which::Shipped)?;
    run(
        "building Sonde (the first time takes some minutes)",
        &mut workspace.cargo(["build", "--release", "--bin", "sonde"]),
    )?;
    let data_dir = data_dir.map_or_else(|| workspace.target.join("up"), PathBuf::from);
    furnish(&data_dir, &built)?;
    say(&format!("running Sonde on {}", data_dir.display()));
    let mut command = Command::new(workspace.sonde("release"));
    command.arg("up").arg("--data-dir").arg(&data_dir);
    // Returns only when it could not start.
    let source = command.exec();
    Err(Error::Start { command: shown(&command), source })
}

/// A new folder's `sonde.toml`: without entries of their own, shipped sensors would run on every instance.
fn starter() -> String {
    let mut toml = format!("{STARTER}\n# The sensors that come with Sonde, each on the instances of a fitting name.\n");
    for (file, name) in SHIPPED {
        toml.push_str(&format!("\n[[sensor]]\nfile = \"{file}\"\nmatch = {{ name = \"{name}\" }}\n"));
    }
    toml
}

/// Places the sensors and, in a new folder, the starter configuration. What a user has written is left alone.
fn furnish(data_dir: &Path, sensors: &[PathBuf]) -> Result<(), Error> {
    let folder = data_dir.join("sensors");
    let fault = |verb, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { verb, path, source }
    };
    fs::create_dir_all(&folder).map_err(fault("made", &folder))?;
    for sensor in sensors {
        let to = folder.join(sensor.file_name().expect("a built sensor is a file"));
        // By way of another name: a running Sonde must never see half a file.
        let half = to.with_extension("new");
        fs::copy(sensor, &half).map_err(fault("written", &half))?;
        fs::rename(&half, &to).map_err(fault("written", &to))?;
    }
    let config = data_dir.join("sonde.toml");
    if !config.exists() {
        fs::write(&config, starter()).map_err(fault("written", &config))?;
    }
    Ok(())
}
