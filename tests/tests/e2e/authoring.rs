//! A sensor author's first minute: new, build, test, and it passes with no edit.

use std::fs;
use std::process::Command;

use sonde_tests::{Server, Sonde, StaticServer, run_to_end};
use tempfile::TempDir;

#[test]
fn new_sensor_builds_and_passes_with_no_edit() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let new = Sonde::cli_in(folder.path(), &["sensor", "new", "demo"]);
    assert_eq!(new.code, Some(0), "{new:?}");
    let project = folder.path().join("demo");
    assert!(project.join("sensor.toml").is_file(), "{new:?}");

    let build = Sonde::cli_in(&project, &["sensor", "build"]);
    assert_eq!(build.code, Some(0), "{build:?}");
    let wasm = project.join("demo.wasm");
    assert!(
        wasm.is_file(),
        "{build:?}; there are {:?}",
        fs::read_dir(&project).map(|d| d.flatten().collect::<Vec<_>>())
    );

    let inspect = Sonde::cli_in(&project, &["sensor", "inspect", "demo.wasm"]);
    assert_eq!(inspect.code, Some(0), "{inspect:?}");
    assert!(inspect.stdout.contains("demo"), "{inspect:?}");

    // Anything that accepts connections will do for a target.
    let target = StaticServer::start([("/".to_owned(), ("text/plain".to_owned(), b"ok\n".to_vec()))].into());
    let test = Sonde::cli_in(&project, &["sensor", "test", "demo.wasm", "--target", &target.authority()]);
    assert_eq!(test.code, Some(0), "{test:?}");
    assert!(test.stdout.contains("# TYPE "), "it prints the exposition: {test:?}");
    assert!(test.stdout.contains("fuel"), "it prints the headroom under each limit: {test:?}");

    // Its own unit tests pass too. Building has brought all that they need, so that nothing is asked of a network; its
    // target folder goes with the project.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let tested = run_to_end(cargo.args(["test", "--offline"]).current_dir(&project).env("CARGO_TARGET_DIR", "target"));
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(said.contains("a_port_that_accepts_is_up ... ok"), "{said}");
}

#[test]
fn sensor_test_reaches_a_real_redis_by_host_and_port() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let redis = Server::redis();
    let wasm = sonde_tests::sensor_path("redis.wasm");
    let wasm = wasm.to_str().expect("the target folder is text");
    let test = Sonde::cli_in(dir.path(), &["sensor", "test", wasm, "--target", &redis.authority()]);
    assert_eq!(test.code, Some(0), "{test:?}");
    assert!(test.stdout.contains("redis_up 1"), "{test:?}");
}

#[test]
fn errors_are_sentences_and_exit_codes_are_kept() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let missing = Sonde::cli_in(dir.path(), &["sensor", "inspect", "absent.wasm"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("absent.wasm"), "{missing:?}");
    let usage = Sonde::cli_in(dir.path(), &["sensor", "frobnicate"]);
    assert_eq!(usage.code, Some(2), "{usage:?}");
    let broken = dir.path().join("broken.wasm");
    fs::write(&broken, b"\0asm\x01\0\0\0").expect("the temporary folder is writable");
    let refused = Sonde::cli_in(dir.path(), &["sensor", "test", "broken.wasm"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("core module"), "{refused:?}");
}
