//! Sensors that are pushed through the door of a `sonde up`: a secret that reaches its run and nobody else, what an agent refuses, and an operator's that goes first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sonde_tests::{CliOutput, Container, Sonde, eventually, sensor_path};

/// From a push to a value: reports, the folder, the compiler and a run, on a busy machine.
const PUSHED: Duration = Duration::from_secs(90);
const PASSWORD: &str = "correct-horse-battery";

/// A redis that wants a password.
fn redis() -> Container {
    let script = format!("redis-server --bind 127.0.0.1 --save '' --dir /tmp --requirepass {PASSWORD}");
    Container::named("secretive").programs(&["redis-server", "redis-cli"]).script(&script).run()
}

#[track_caller]
fn done(sonde: &Sonde, arguments: &[&str]) -> String {
    let CliOutput { code, stdout, stderr } = sonde.cli(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout
}

fn listed(sonde: &Sonde) -> Value {
    serde_json::from_str(&done(sonde, &["sensor", "ls", "--json"])).expect("it is JSON")
}

/// The one version that there is.
fn version(sonde: &Sonde) -> Value {
    listed(sonde)[0]["versions"][0].clone()
}

/// The same sensor with another manifest, so other bytes.
fn another(sonde: &Sonde, file: &str, change: (&str, &str)) -> PathBuf {
    let bytes = fs::read(sensor_path(file)).expect("it is built");
    let manifest = sonde_manifest::extract(&bytes).expect("it is a component").expect("it has a manifest");
    assert!(manifest.contains(change.0), "{manifest}");
    let changed = sonde_manifest::embed(&bytes, &manifest.replace(change.0, change.1)).expect("it is a component");
    let path = sonde.dir().join("another.wasm");
    fs::write(&path, changed).expect("the data folder is writable");
    path
}

/// The files below a folder that have the password in them.
fn files_with_the_password(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = |path: PathBuf| if path.is_dir() { files_with_the_password(&path) } else { vec![path] };
    let has = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes())
    };
    entries.flat_map(|entry| below(entry.path())).filter(has).collect()
}

#[test]
fn a_secret_reaches_its_run_and_stays_with_its_bytes() {
    use std::os::unix::fs::PermissionsExt;
    let redis = redis();
    let sonde = Sonde::configure().up();
    sonde.wait_for_instance(redis.id());
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let password = folder.path().join("password");
    fs::write(&password, format!("{PASSWORD}\n")).expect("it is writable");
    let secret = format!("password={}", password.display());
    let matching = format!("instance={}", redis.id());
    let shipped = sensor_path("redis.wasm");
    let shipped = shipped.to_str().expect("its path is text");
    let said = done(&sonde, &["sensor", "push", shipped, "--match", &matching, "--secret", &secret]);
    assert!(said.contains("redis") && !said.contains(PASSWORD), "{said}");
    sonde.wait_for_value(redis.id(), "redis_up", &[], PUSHED, |up| up == 1.0);
    // On this machine it is in one file, which root alone can read; nowhere else, sealed at rest, and in no log.
    let files = files_with_the_password(sonde.dir());
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].ends_with("password") && files[0].starts_with(sonde.dir().join("state/pushed")), "{files:?}");
    assert_eq!(fs::metadata(&files[0]).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(version(&sonde)["secrets"], serde_json::json!(["password"]));
    for arguments in [&["sensor", "ls", "--json"][..], &["sensor", "logs", "redis", "--json"]] {
        assert!(!done(&sonde, arguments).contains(PASSWORD));
    }
    // Other bytes under the name: they run, and without it.
    let another = another(&sonde, "redis.wasm", ("version = \"0.1.0\"", "version = \"0.1.1\""));
    let another = another.to_str().expect("its path is text");
    done(&sonde, &["sensor", "push", another, "--name", "redis"]);
    sonde.wait_for_value(redis.id(), "redis_up", &[], PUSHED, |up| up == 0.0);
    eventually("the file of the former version goes", PUSHED, || {
        let files = files_with_the_password(&sonde.dir().join("state"));
        if files.is_empty() { Ok(()) } else { Err(format!("{files:?}")) }
    });
    done(&sonde, &["sensor", "push", another, "--name", "redis", "--secret", &secret]);
    sonde.wait_for_value(redis.id(), "redis_up", &[], PUSHED, |up| up == 1.0);
    // What was pushed runs on over a restart of all of it, and goes when it is taken away.
    done(&sonde, &["sensor", "rm", "redis"]);
    eventually("it goes", PUSHED, || match sonde.sensor_entry(redis.id(), "redis") {
        None => Ok(()),
        Some(entry) => Err(entry.to_string()),
    });
    let left = sonde.cli(&["sensor", "rm", "redis"]);
    assert!(left.code == Some(1) && left.stderr.contains("`sonde sensor ls`"), "{left:?}");
}

#[test]
fn what_a_node_refuses_is_told_in_words_and_what_ran_goes_on() {
    let container = Container::named("refused").script("mkdir /tmp/www; exec httpd -f -p 80 -h /tmp/www").run();
    let sonde = Sonde::configure().up();
    sonde.wait_for_instance(container.id());
    let shipped = sensor_path("http.wasm");
    let shipped = shipped.to_str().expect("its path is text");
    let matching = format!("instance={}", container.id());
    let config = ["--config", "url=http://localhost/"];
    let push = |file: &str| {
        let arguments = ["sensor", "push", file, "--name", "http", "--match", matching.as_str()];
        sonde.cli(&[&arguments[..], &config].concat())
    };
    assert_eq!(push(shipped).code, Some(0));
    sonde.wait_for_value(container.id(), "sonde_sensor_up", &[("sensor", "http")], PUSHED, |up| up == 1.0);
    eventually("the tenant hears of it", PUSHED, || match version(&sonde) {
        seen if seen["state"] == "accepted" && seen["instances"] == 1 => Ok(()),
        seen => Err(seen.to_string()),
    });
    // A manifest that does not ask for what the code imports: no proxy sees that, the node's check does.
    let another = another(&sonde, "http.wasm", ("http = [\"$url\"]", ""));
    let pushed = push(another.to_str().expect("its path is text"));
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let refused = eventually("the refusal", PUSHED, || match version(&sonde) {
        seen if seen["state"] == "refused" => Ok(seen),
        seen => Err(seen.to_string()),
    });
    assert!(
        refused["refused"][0]["why"].as_str().is_some_and(|why| why.contains("manifest does not ask")),
        "{refused}"
    );
    assert!(done(&sonde, &["sensor", "ls"]).contains("is refused on 1 node(s)"));
    // The one before it runs on.
    let entry = sonde.sensor_entry(container.id(), "http").expect("it is there");
    assert_eq!((&entry["state"], &entry["up"]), (&Value::from("running"), &Value::from(true)), "{entry}");
    // What is no component does not get that far.
    let text = sonde.dir().join("text.wasm");
    fs::write(&text, "not a component").expect("the data folder is writable");
    let pushed = push(text.to_str().expect("its path is text"));
    assert!(pushed.code == Some(2) && pushed.stderr.contains("not WebAssembly"), "{pushed:?}");
    let wrong = sonde.cli(&["sensor", "push", shipped, "--config", "prot=1"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("prot"), "{wrong:?}");
    // An operator's sensor of the name goes first, and the tenant is told.
    assert_eq!(push(shipped).code, Some(0));
    fs::copy(shipped, sonde.sensors_dir().join("http.wasm")).expect("the data folder is writable");
    eventually("the operator's goes first", PUSHED, || match version(&sonde) {
        seen if seen["refused"][0]["why"].as_str().is_some_and(|why| why.contains("the operator runs")) => Ok(()),
        seen => Err(seen.to_string()),
    });
}
