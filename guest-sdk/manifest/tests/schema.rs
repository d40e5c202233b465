//! The schema as its authors meet it: one whole manifest, the defaults, and every kind of fault.

use std::time::Duration;

use sonde_manifest::{Capabilities, Class, ConfigType, FileFrom, FilePattern, Limits, Manifest, PathFrom, PortFrom};

const WHOLE: &str = r#"
name = "redis"
version = "0.1.0"
description = "Redis, by INFO"
interval = "15s"
min_interval = "1s"
stale_after = "45s"
class = "medium"
[limits]
fuel = 30_000_000
wall = "1500ms"
boundary_bytes = "1 MiB"
series = 800
[capabilities]
tcp = ["$port"]
unix = ["/run/redis/redis.sock", "$socket"]
http = ["$url", 8080]
files = ["/etc/redis/redis.conf", "/proc-like dir/*"]
kstats = true
processes = true
secrets = ["password"]
state = true
[config.port]
type = "port"
default = 6379
help = "where it listens"
[config.socket]
type = "path"
optional = true
[config.url]
type = "url"
default = "http://localhost:9121/metrics"
"#;

#[test]
fn a_whole_manifest() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    assert_eq!(manifest.name, "redis");
    assert_eq!(manifest.interval, Duration::from_secs(15));
    assert_eq!(manifest.stale_after, Duration::from_secs(45));
    assert_eq!(manifest.class, Class::Medium);
    assert_eq!(manifest.class.memory_bytes(), 64 << 20);
    let expected = Limits {
        fuel: 30_000_000,
        wall: Duration::from_millis(1500),
        boundary_bytes: 1 << 20,
        series: 800,
        ..Limits::default()
    };
    assert_eq!(manifest.limits, expected);
    assert_eq!(
        manifest.capabilities,
        Capabilities {
            tcp: vec![PortFrom::Config("port".into())],
            http: vec![PortFrom::Config("url".into()), PortFrom::Port(8080)],
            unix: vec![PathFrom::Path("/run/redis/redis.sock".into()), PathFrom::Config("socket".into())],
            files: vec![
                FileFrom::Pattern(FilePattern::Exact("/etc/redis/redis.conf".into())),
                FileFrom::Pattern(FilePattern::ChildrenOf("/proc-like dir".into())),
            ],
            kstats: true,
            processes: true,
            secrets: vec!["password".into()],
            state: true,
        }
    );
    assert_eq!(manifest.config["port"].kind, ConfigType::Port);
    assert_eq!(manifest.config["port"].default.as_deref(), Some("6379"));
    assert!(manifest.config["socket"].optional);
    assert_eq!(manifest.interfaces_needed().len(), 8);
}

#[test]
fn a_small_one_asks_for_nothing() {
    let manifest = Manifest::parse("name = \"a\"\nversion = \"1.2.0-rc.1\"\ninterval = \"1h\"").unwrap();
    assert_eq!(manifest.stale_after, Duration::from_secs(7200));
    assert_eq!(manifest.limits, Limits::default());
    assert!(manifest.interfaces_needed().is_empty());
    assert!(manifest.allows_import("sonde:sensor/log@0.1.0"));
    assert!(!manifest.allows_import("sonde:sensor/tcp@0.1.0"));
    assert!(!manifest.allows_import("wasi:io/streams@0.2.0"));
    assert_eq!(sonde_manifest::capability_of("sonde:sensor/tcp@0.1.0"), Some("tcp"));
}

/// Each line breaks one thing; the sentence must name the key and say what is allowed.
const FAULTS: &[(&str, &str)] = &[
    ("name = \"Redis\"", "name is \"Redis\": a name begins with a-z"),
    ("version = \"1\"", "version is \"1\": a version is like"),
    ("interval = \"2h\"", "interval is \"2h\": 1s to 1h is allowed"),
    ("interval = 15", "interval is 15: text in quotes"),
    ("interval = \"15\"", "interval is \"15\": a duration is a whole number with"),
    ("min_interval = \"30s\"", "min_interval is 30s: it may be at most the interval, 15s"),
    ("stale_after = \"5s\"", "stale_after is 5s: less than the interval"),
    ("class = \"huge\"", "class is \"huge\": small (16 MiB)"),
    ("intervall = \"1s\"", "intervall is not a key of a manifest"),
    ("[limits]\nfuel = 9_000_000_000", "limits.fuel is 9000000000: 0 to 2000000000 is allowed"),
    ("[limits]\nwall = \"1h\"", "limits.wall is \"1h\": 10ms to 10s is allowed"),
    ("[limits]\nseries = -1", "limits.series is -1"),
    ("[limits]\nserie = 1", "limits.serie is not a key"),
    ("[capabilities]\ntcp = [0]", "capabilities.tcp has 0: ports from 1 to 65535"),
    ("[capabilities]\ntcp = 6379", "capabilities.tcp is 6379: a list"),
    ("[capabilities]\ntcp = [\"$port\"]", "has \"$port\", but there is no [config.port]: declare it, of type port"),
    ("[capabilities]\ntcp = [\"$u\"]\n[config.u]\ntype = \"url\"\noptional = true", "has \"$u\", a url"),
    ("[capabilities]\nunix = [\"run/x\"]", "capabilities.unix has \"run/x\": a path is absolute"),
    ("[capabilities]\nfiles = [\"/a/../etc/shadow\"]", "capabilities.files has"),
    ("[capabilities]\nfiles = [\"/etc/*/x\"]", "* is allowed only as the whole last part"),
    ("[capabilities]\nfiles = [\"/*\"]", "capabilities.files has \"\": a path is absolute"),
    ("[capabilities]\nsecrets = [\"A B\"]", "capabilities.secrets has \"A B\""),
    ("[capabilities]\nkstats = 1", "capabilities.kstats is 1: true or false"),
    ("[capabilities]\nnet = true", "capabilities.net is not a key"),
    ("[config.p]\ndefault = \"x\"", "config.p.type is missing"),
    ("[config.p]\ntype = \"number\"", "config.p.type is \"number\": string, integer"),
    ("[config.p]\ntype = \"port\"\ndefault = 0", "config.p.default is 0: a port is a number from 1 to 65535"),
    ("[config.p]\ntype = \"port\"\ndefault = true", "config.p.default is true: a port is allowed"),
    ("[config.p]\ntype = \"url\"\ndefault = \"https://x\"", "config.p.default is \"https://x\": a URL is http://"),
    ("[config.p]\ntype = \"port\"\ndefault = 1\noptional = true", "config.p.optional is true beside a default"),
    ("[config.\"P p\"]\ntype = \"port\"", "config.P p is not a key that can be given"),
    ("name = ", "line 4 is not TOML"),
];

#[test]
fn each_fault_is_named() {
    for (body, sentence) in FAULTS {
        let mut head: Vec<&str> = vec!["name = \"t\"", "version = \"0.1.0\"", "interval = \"15s\""];
        let key = body.split(" =").next().unwrap_or_default();
        if sentence.contains("TOML") {
            // The broken line comes after a sound head.
        } else {
            head.retain(|line| !line.starts_with(&format!("{key} =")));
        }
        let text = format!("{}\n{body}\n", head.join("\n"));
        let error = Manifest::parse(&text).unwrap_err();
        assert_eq!(error.faults().len(), 1, "{body}: {error}");
        assert!(error.faults()[0].contains(sentence), "{body}: {error}");
    }
}

#[test]
fn all_faults_come_together() {
    let error = Manifest::parse("name = \"R\"\nclass = \"x\"\n[limits]\nserie = 1\n[capabilities]\ntcp = [0, \"$p\"]")
        .unwrap_err();
    assert_eq!(error.faults().len(), 7, "{error}");
}
