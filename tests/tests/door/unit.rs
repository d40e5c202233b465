//! The proxy's shipped unit.

use std::fs;
use std::process::Command;

use sonde_tests::{binary, repository};
use tempfile::TempDir;

/// systemd's own measure, in tenths; 10.0 is a service without any bound.
const EXPOSURE: &str = "25";

#[test]
fn shipped_unit_is_valid_and_hardly_exposed() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let shipped = fs::read_to_string(repository("dist/systemd/sonde-proxy.service")).expect("it is shipped");
    assert!(shipped.contains("ExecStart=/usr/bin/sonde proxy --config /etc/sonde/proxy.toml\n"), "{shipped}");
    let program = binary().canonicalize().expect("it is there");
    let unit = folder.path().join("sonde-proxy.service");
    let installed = shipped.replace("/usr/bin/sonde", program.to_str().expect("its path is text"));
    fs::write(&unit, installed).expect("the temporary folder is writable");
    let threshold = format!("--threshold={EXPOSURE}");
    for arguments in [&["verify", "--man=no"][..], &["security", "--offline=true", "--no-pager", &threshold]] {
        let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output().expect("systemd is there");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "systemd-analyze {arguments:?}:\n{said}");
    }
}
