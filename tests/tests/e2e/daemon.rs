//! The process itself: TLS between tiers, `--check`, and starts that go wrong or are cut short.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use sonde_tests::{Process, Sonde, binary, eventually, run_to_end, sensor_path};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);

/// A folder of certificates as an operator's own authority would make them.
struct Certificates {
    dir: TempDir,
}

impl Certificates {
    fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder can be made") }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A key and a certificate of it, `NAME.key` and `NAME.pem`.
    fn make(&self, name: &str, more: &[&str]) {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "2", "-subj", &format!("/CN={name}"), "-keyout"]).arg(self.file(&format!("{name}.key")));
        run_to_end(openssl.arg("-out").arg(self.file(&format!("{name}.pem"))).args(more));
    }

    fn authority(&self, name: &str) {
        self.make(name, &[]);
    }

    fn leaf(&self, name: &str, authority: &str, names: &str) {
        let (certificate, key) = (self.file(&format!("{authority}.pem")), self.file(&format!("{authority}.key")));
        let names = format!("subjectAltName={names}");
        let signed_by = ["-CA", text(&certificate), "-CAkey", text(&key)];
        let extensions = ["-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"];
        self.make(name, &[signed_by, extensions].concat());
    }

    /// Puts a key and a certificate in the place of another pair, as a renewal does: one file after the other, each whole.
    fn replace(&self, old: &str, new: &str) {
        for kind in ["pem", "key"] {
            let copy = self.file("half-done");
            fs::copy(self.file(&format!("{new}.{kind}")), &copy).expect("the temporary folder is writable");
            // A file that was made before the one that it replaces, and is still another.
            let yesterday = std::time::SystemTime::now() - Duration::from_secs(86_400);
            fs::File::options()
                .write(true)
                .open(&copy)
                .and_then(|file| file.set_modified(yesterday))
                .expect("it is ours");
            fs::rename(&copy, self.file(&format!("{old}.{kind}"))).expect("one file system");
        }
    }

    /// GET with the client certificate of that name; what curl made of it.
    fn get(&self, url: &str, client: Option<&str>) -> Output {
        self.get_from("nodes", url, client)
    }

    /// The same, of a node whose certificate is that authority's.
    fn get_from(&self, authority: &str, url: &str, client: Option<&str>) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--write-out", "%{http_code}"]);
        curl.args(["--output", "/dev/null", "--cacert"]).arg(self.file(&format!("{authority}.pem"))).arg(url);
        if let Some(client) = client {
            curl.arg("--cert").arg(self.file(&format!("{client}.pem")));
            curl.arg("--key").arg(self.file(&format!("{client}.key")));
        }
        curl.output().expect("curl is installed")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// `sonde ARGS` in the background.
fn sonde(args: &[&str], log: &Path) -> Process {
    Process::start("sonde", Command::new(binary()).args(args), log)
}

/// A signal that ends an interactive command, as Ctrl-C sends it.
const CTRL_C: Signal = Signal::INT;

/// The code that it exits with by itself, within time.
#[track_caller]
fn exit_code(process: &mut Process) -> Option<i32> {
    eventually("its end", SOON, || process.ended().ok_or_else(|| "it runs on".to_owned())).code()
}

/// An agent that has the certificate `node` and believes the authority `tier`, and its base URL.
fn with_tls(certificates: &Certificates) -> (Process, String) {
    let config = certificates.file("agent.toml");
    let toml = "[listen]\naddress = \"127.0.0.1:0\"\n[listen.tls]\ncertificate = \"node.pem\"\nkey = \"node.key\"\nclient_ca = \"tier.pem\"\n";
    fs::write(&config, toml).expect("the temporary folder is writable");
    let mut agent = sonde(&["agent", "--config", text(&config)], &certificates.file("log"));
    let base = eventually("the agent listening", SOON, || {
        assert!(agent.ended().is_none(), "it ended at once: {}", agent.log());
        let log = agent.log();
        let found = log.split_once("https://").and_then(|(_, rest)| rest.split_whitespace().next());
        found.map(|authority| format!("https://{}", authority.trim_matches('"'))).ok_or(log)
    });
    (agent, base)
}

/// A connection over TLS that stays open: what is written to it goes through openssl.
struct Kept {
    client: Child,
    answers: BufReader<ChildStdout>,
}

impl Kept {
    fn open(certificates: &Certificates, base: &str) -> Self {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-verify_quiet", "-connect", base.trim_start_matches("https://")]);
        openssl.arg("-CAfile").arg(certificates.file("nodes.pem")).arg("-cert").arg(certificates.file("proxy.pem"));
        openssl.arg("-key").arg(certificates.file("proxy.key"));
        openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = openssl.spawn().expect("openssl is installed");
        let answers = BufReader::new(client.stdout.take().expect("it is piped"));
        Self { client, answers }
    }

    /// Asks for `/healthz` on it; the answer's status line, once its body has come.
    fn ask(&mut self) -> String {
        let requests = self.client.stdin.as_mut().expect("it is piped");
        requests.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").expect("the connection is open");
        let mut status = String::new();
        self.answers.read_line(&mut status).expect("an answer is text");
        for line in self.answers.by_ref().lines() {
            if line.expect("an answer is text") == "ok" {
                break;
            }
        }
        status.trim_end().to_owned()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[test]
fn certificates_are_renewed_without_a_gap_and_broken_ones_are_not_taken() {
    let certificates = Certificates::new();
    for authority in ["nodes", "others", "tier"] {
        certificates.authority(authority);
    }
    certificates.leaf("node", "nodes", "IP:127.0.0.1");
    certificates.leaf("renewed", "others", "IP:127.0.0.1");
    certificates.leaf("proxy", "tier", "URI:sonde:role:proxy");
    let (mut agent, base) = with_tls(&certificates);
    let url = format!("{base}/healthz");
    let serves_as = |authority: &str| {
        let answer = certificates.get_from(authority, &url, Some("proxy"));
        String::from_utf8_lossy(&answer.stdout) == "200"
    };
    assert!(serves_as("nodes") && !serves_as("others"));
    let mut kept = Kept::open(&certificates, &base);
    assert_eq!(kept.ask(), "HTTP/1.1 200 OK");

    // Renewed: found at the next handshake, without a signal.
    certificates.replace("node", "renewed");
    assert!(serves_as("others") && !serves_as("nodes"), "{}", agent.log());
    assert_eq!(kept.ask(), "HTTP/1.1 200 OK", "a connection outlives the certificate that it began with");

    // A certificate whose key has not come yet, and then one that is none: what there was goes on.
    let renewed = fs::read(certificates.file("node.pem")).expect("it is there");
    let of_another_key = fs::read(certificates.file("proxy.pem")).expect("it is there");
    for (count, broken) in [of_another_key, b"none at all".to_vec()].into_iter().enumerate() {
        fs::write(certificates.file("node.pem"), broken).expect("the temporary folder is writable");
        agent.signal(Signal::HUP);
        eventually("the refusal being said", SOON, || {
            let said = agent.log().matches("new certificates were refused; the old ones stay").count();
            if said > count { Ok(()) } else { Err(agent.log()) }
        });
        assert!(serves_as("others"), "{}", agent.log());
    }
    fs::write(certificates.file("node.pem"), renewed).expect("the temporary folder is writable");
    let read_before = agent.log().matches("certificates were read again").count();
    agent.signal(Signal::HUP);
    eventually("the mended one being read", SOON, || {
        let read = agent.log().matches("certificates were read again").count();
        if read > read_before { Ok(()) } else { Err(agent.log()) }
    });
    assert!(serves_as("others"));
    assert_eq!(kept.ask(), "HTTP/1.1 200 OK", "after three reloads the connection is still open");
    drop(kept);
    assert!(agent.stop(), "SIGTERM ends it");
}

#[test]
fn only_a_proxy_of_the_right_authority_is_served() {
    let certificates = Certificates::new();
    certificates.authority("nodes");
    certificates.authority("tier");
    certificates.authority("stranger");
    certificates.leaf("node", "nodes", "IP:127.0.0.1");
    certificates.leaf("proxy", "tier", "URI:sonde:role:proxy");
    certificates.leaf("tenant", "tier", "URI:sonde:role:tenant,DNS:sonde:role:proxy");
    certificates.leaf("nameless", "tier", "DNS:proxy.example");
    certificates.leaf("impostor", "stranger", "URI:sonde:role:proxy");
    let (mut agent, base) = with_tls(&certificates);
    let url = format!("{base}/v1/node/metrics");

    let served = certificates.get(&url, Some("proxy"));
    assert_eq!(String::from_utf8_lossy(&served.stdout), "200", "{served:?}");
    for refused in [None, Some("tenant"), Some("nameless"), Some("impostor"), Some("node")] {
        let answer = certificates.get(&url, refused);
        assert!(!answer.status.success(), "{refused:?} was served: {answer:?}");
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "000", "{refused:?} got an answer: {answer:?}");
    }
    // And whoever speaks without TLS hears nothing.
    let plain = certificates.get(&url.replace("https://", "http://"), None);
    assert!(!plain.status.success(), "{plain:?}");
    let again = certificates.get(&url, Some("proxy"));
    assert_eq!(String::from_utf8_lossy(&again.stdout), "200", "after all that a proxy is served: {again:?}");
    assert!(agent.stop(), "SIGTERM ends it");
}

#[test]
fn who_says_nothing_does_not_hold_up_the_end() {
    let certificates = Certificates::new();
    certificates.authority("nodes");
    certificates.authority("tier");
    certificates.leaf("node", "nodes", "IP:127.0.0.1");
    certificates.leaf("proxy", "tier", "URI:sonde:role:proxy");
    let (mut agent, base) = with_tls(&certificates);
    let silent = TcpStream::connect(base.trim_start_matches("https://")).expect("it listens");
    // Connections are taken in their order: when a later one is answered, the silent one is in.
    let served = certificates.get(&format!("{base}/healthz"), Some("proxy"));
    assert_eq!(String::from_utf8_lossy(&served.stdout), "200", "{served:?}");
    agent.signal(Signal::TERM);
    assert_eq!(exit_code(&mut agent), Some(0), "{}", agent.log());
    assert!(!agent.log().contains("cut off"), "it was waited for: {}", agent.log());
    drop(silent);
}

#[test]
fn check_prints_what_is_in_force() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let written = "[reading]\nfloor = \"250ms\"\n[[process_group]]\nname = \"cache\"\nport = 6379\n[[owner]]\naccount = \"acme\"\nmatch = { runtime = \"runc\" }\n";
    fs::write(dir.path().join("agent.toml"), written).expect("the temporary folder is writable");
    let check = |file: &str| Sonde::cli_in(dir.path(), &["agent", "--config", text(&dir.path().join(file)), "--check"]);
    let first = check("agent.toml");
    assert_eq!(first.code, Some(0), "{first:?}");
    for said in
        ["floor = \"250ms\"", "name = \"cache\"", "account = \"acme\"", "[policy]", "address = \"127.0.0.1:9164\""]
    {
        assert!(first.stdout.contains(said), "{said} is not in {}", first.stdout);
    }
    // What it prints is itself a configuration, and means the same.
    fs::write(dir.path().join("effective.toml"), &first.stdout).expect("the temporary folder is writable");
    let second = check("effective.toml");
    assert_eq!((second.code, &second.stdout), (Some(0), &first.stdout), "{second:?}");
}

#[test]
fn check_names_every_fault() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let faulty = "[listen]\naddress = \"0.0.0.0:9164\"\n[reading]\nfloor = \"soon\"\n[policy]\nclass = \"huge\"\ntcp = [\"9-1\"]\n\
        [[process_group]]\nname = \"node\"\nport = 1\n[[sensor]]\nfile = \"../x.wasm\"\n";
    fs::write(dir.path().join("agent.toml"), faulty).expect("the temporary folder is writable");
    for args in [&["agent", "--config", "agent.toml", "--check"][..], &["agent", "--config", "agent.toml"]] {
        let refused = Sonde::cli_in(dir.path(), args);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert_eq!(refused.stdout, "", "nothing is in force");
        for fault in [
            "agent.toml",
            "listen.address",
            "client_ca",
            "reading.floor",
            "policy.class",
            "policy.tcp",
            "\"node\"",
            "../x.wasm",
        ] {
            assert!(refused.stderr.contains(fault), "{fault} is not named in {}", refused.stderr);
        }
    }
    let absent = Sonde::cli_in(dir.path(), &["agent", "--config", "absent.toml", "--check"]);
    assert_eq!(absent.code, Some(2), "{absent:?}");
    assert!(absent.stderr.contains("absent.toml"), "{absent:?}");
}

/// Whether a process handles SIGINT by itself: bit 2 of its caught signals (proc(5)).
fn catches_ctrl_c(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
}

#[test]
fn ctrl_c_during_the_start_ends_it_cleanly() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("sensors")).expect("the temporary folder is writable");
    // Compiling these is what the start takes its time for.
    for sensor in ["redis.wasm", "nginx.wasm", "http.wasm", "relay.wasm"] {
        fs::copy(sensor_path(sensor), data.join("sensors").join(sensor)).expect("the temporary folder is writable");
    }
    fs::write(data.join("sonde.toml"), "[listen]\naddress = \"127.0.0.1:0\"\n").expect("the folder is writable");
    let mut up = sonde(&["up", "--data-dir", text(&data)], &dir.path().join("log"));
    eventually("it catching Ctrl-C", SOON, || if catches_ctrl_c(up.pid()) { Ok(()) } else { Err("not yet") });
    up.signal(CTRL_C);
    assert_eq!(exit_code(&mut up), Some(0), "{}", up.log());
    assert!(!up.log().contains("panicked"), "{}", up.log());
}

#[test]
fn data_folder_that_cannot_be_written_to_is_said() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("endpoints.json")).expect("the temporary folder is writable");
    fs::write(data.join("sonde.toml"), "[listen]\naddress = \"127.0.0.1:0\"\n").expect("the folder is writable");
    let mut up = sonde(&["up", "--data-dir", text(&data)], &dir.path().join("log"));
    assert_eq!(exit_code(&mut up), Some(1), "{}", up.log());
    let log = up.log();
    assert!(log.contains("sonde: endpoints.json") && log.contains("cannot be written to"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn one_up_a_folder_and_the_second_says_so() {
    let sonde = Sonde::configure().up();
    let folder = sonde.dir().to_str().expect("the temporary folder is text");
    let second = Sonde::cli_in(sonde.dir(), &["up", "--data-dir", folder]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another `sonde up` runs on"), "{second:?}");
    assert_eq!(sonde.get("/healthz").status, 200, "the first goes on");
}
