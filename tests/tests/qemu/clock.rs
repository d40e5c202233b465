//! The node's clock jumps, by hours, forward and back: what has a date goes by it at once, and nothing else does.
//!
//! A proxy and an agent run in the machine (`sonde up`), which speak with certificates to each other. A tenant has tokens and certificates, of which some
//! end within the hour. Deadlines, leases and limits are by a clock that nobody sets.

use std::time::Duration;

use serde_json::{Value, json};
use sonde_tests::{Exposition, eventually};

use crate::archive::Archive;
use crate::machine::{Machine, SHOWS, find};

/// A tenant's container.
const ID: &str = "c19d922720bc7b39353e086da75d85d0fa1bf0bb0266484e9f5552e3943217b7";
/// Where `sonde up` keeps everything.
const DATA: &str = "/data";
/// For a command, on a machine that computes some twenty times slower than its host.
const STEP: Duration = Duration::from_secs(60);
/// What a scraper is patient for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far the clock jumps: past the end of what lasts an hour, and short of that of all else.
const JUMP_SECONDS: i64 = 2 * 3600;
/// To when nothing was valid yet.
const DAY_SECONDS: i64 = 24 * 3600;
/// More beats than a lease has (operators.md, Reports): a node that spoke so often has had its lease renewed.
const BEATS: f64 = 4.0;
/// Scrapes in a row, far below what an account may ask for in a second.
const SCRAPES: usize = 5;

/// The machine, and where its proxy is.
struct Clockwork {
    machine: Machine,
    up: u64,
    url: String,
    ca: String,
    admin: String,
    instance: String,
}

#[test]
fn jumps_forward_and_back() {
    let mut clockwork = Clockwork::start();
    let short = clockwork.token(&["--ttl", "1h"]);
    let long = clockwork.token(&[]);
    clockwork.certificate("short", "1h");
    clockwork.certificate("long", "30d");
    let all = [
        ("short token", bearer(&short), true),
        ("long token", bearer(&long), false),
        ("short certificate", certificate("short"), true),
        ("long certificate", certificate("long"), false),
    ];
    clockwork.wait_for_instance(&bearer(&long));
    for (jump, ends) in [(0, false), (JUMP_SECONDS, true), (-JUMP_SECONDS, false)] {
        clockwork.jump(jump);
        for (name, shown, is_short) in &all {
            let wanted = if ends && *is_short { "401" } else { "200" };
            let (status, body) = clockwork.scrape(shown);
            assert_eq!(status, wanted, "{name} after a jump by {jump} s: {body}\n{}", clockwork.log());
        }
        // The limit of requests in a second counts seconds, whatever the date.
        for _ in 0..SCRAPES {
            assert_eq!(clockwork.scrape(&bearer(&long)).0, "200", "after a jump by {jump} s");
        }
        if jump != 0 {
            clockwork.node_goes_on_speaking();
        }
    }
    // Before all of it began nothing of it counts, not the node's either, whose connection is open; and when the clock is right again all does.
    clockwork.jump(-DAY_SECONDS);
    let early = [certificate("long"), vec!["--insecure".to_owned()]].concat();
    let (status, body) = clockwork.scrape(&early);
    assert_eq!(status, "401", "a certificate that is not valid yet: {body}");
    clockwork.wait_until_node_speaks(false);
    clockwork.jump(DAY_SECONDS);
    clockwork.wait_until_node_speaks(true);
    for (name, shown, _) in &all {
        let (status, body) = clockwork.scrape(shown);
        assert_eq!(status, "200", "{name} when the clock is right again: {body}\n{}", clockwork.log());
    }
    assert_eq!(clockwork.machine.ended(clockwork.up), None, "{}", clockwork.log());
    assert!(!clockwork.log().contains("panicked"), "{}", clockwork.log());
}

fn bearer(token: &str) -> Vec<String> {
    vec!["-H".to_owned(), format!("Authorization: Bearer {token}")]
}

fn certificate(name: &str) -> Vec<String> {
    let (certificate, key) = (format!("/{name}/acme.pem"), format!("/{name}/acme.key"));
    ["--cert", &certificate, "--key", &key].map(str::to_owned).to_vec()
}

impl Clockwork {
    fn start() -> Self {
        let mut archive = Archive::default();
        archive.program(&find("curl"), "/bin/curl");
        let mut machine = Machine::boot_with(2, 1280, archive);
        let cgroup = machine.cgroup(&format!("/docker/{ID}"));
        machine.load("park", &cgroup, 0);
        let config =
            format!("[reading]\nfloor = \"50ms\"\n[[owner]]\naccount = \"acme\"\nmatch = {{ id = \"{ID}\" }}\n");
        machine.order(&json!({ "do": "mkdir", "path": DATA }));
        machine.write(&format!("{DATA}/sonde.toml"), &config);
        let arguments = ["up", "--data-dir", DATA, "--log", "info"];
        let start = json!({ "do": "start", "program": "/bin/sonde", "arguments": arguments, "log": "/sonde.log" });
        let up = machine.order(&start)["pid"].as_u64().expect("what was started has a pid");
        let endpoints: Value = machine.eventually("sonde is up", |machine| {
            let text = machine.read(&format!("{DATA}/endpoints.json")).ok_or_else(|| machine.log())?;
            serde_json::from_str(&text).map_err(|error| error.to_string())
        });
        let of = |key: &str| endpoints[key].as_str().unwrap_or_else(|| panic!("no {key}: {endpoints}")).to_owned();
        let (url, ca, admin) = (of("proxy_url"), of("proxy_ca"), of("proxy_admin"));
        let mut clockwork = Self { machine, up, url, ca, admin, instance: String::new() };
        clockwork.sonde(&["account", "add", "acme"]);
        clockwork
    }

    /// A command of the operator's.
    fn sonde(&mut self, arguments: &[&str]) -> String {
        let all = [arguments, &["--data-dir", DATA]].concat();
        let (how, said) = self.machine.run("/bin/sonde", &all, STEP);
        assert_eq!(how, "exited with 0", "sonde {arguments:?}: {said}\n{}", self.log());
        said
    }

    fn token(&mut self, more: &[&str]) -> String {
        let said = self.sonde(&[&["token", "new", "acme", "--json"], more].concat());
        let said: Value = serde_json::from_str(&said).expect("it is JSON");
        said["token"].as_str().expect("it has the token").to_owned()
    }

    fn certificate(&mut self, name: &str, ttl: &str) {
        self.sonde(&["cert", "issue", "acme", "--ttl", ttl, "--out", &format!("/{name}")]);
    }

    fn log(&mut self) -> String {
        self.machine.log()
    }

    /// Sets the clock.
    fn jump(&mut self, seconds: i64) {
        let now: i64 = self.busybox(&["date", "+%s"]).trim().parse().expect("it is a number");
        self.busybox(&["date", "-s", &format!("@{}", now + seconds)]);
    }

    fn busybox(&mut self, arguments: &[&str]) -> String {
        let (how, said) = self.machine.run("/bin/busybox", arguments, STEP);
        assert_eq!(how, "exited with 0", "{arguments:?}: {said}");
        said
    }

    /// Waits until the tenant has its instance.
    fn wait_for_instance(&mut self, shown: &[String]) {
        let path = "/v1/instances";
        let (url, ca) = (self.url.clone(), self.ca.clone());
        self.instance = self.machine.eventually("the instance is known", |machine| {
            let (_, body) = get(machine, &url, &ca, path, shown);
            let list: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
            list[0]["id"].as_str().map(str::to_owned).ok_or(body)
        });
    }

    /// Status and body, within the scraper's patience.
    fn scrape(&mut self, shown: &[String]) -> (String, String) {
        let path = format!("/v1/instances/{}/metrics", self.instance);
        let (url, ca) = (self.url.clone(), self.ca.clone());
        let (status, body) = get(&mut self.machine, &url, &ca, &path, shown);
        assert!(status != "200" || body.contains(ID), "it is of another: {body}");
        (status, body)
    }

    /// Waits for as many reports as would not come within a lease that had ended, and sees that the node has not been called silent.
    fn node_goes_on_speaking(&mut self) {
        let admin = self.admin.clone();
        let reports = |machine: &mut Machine, result: &str| {
            let answer = machine.try_order(&json!({ "do": "observe", "url": format!("{admin}/metrics") }))?;
            let about = Exposition::read(answer["body"].as_str().unwrap_or_default());
            about.value("sonde_proxy_reports_total", &[("result", result)]).ok_or_else(|| answer.to_string())
        };
        let before = reports(&mut self.machine, "taken").expect("the proxy says it");
        let again = reports(&mut self.machine, "asked_again").expect("the proxy says it");
        self.machine.eventually("the node's reports", |machine| match reports(machine, "taken")? {
            taken if taken >= before + BEATS => Ok(()),
            taken => Err(format!("{taken} after {before}")),
        });
        assert_eq!(reports(&mut self.machine, "refused"), Ok(0.0), "{}", self.log());
        // A node that had been silent for its lease would have been asked to say all again.
        assert_eq!(reports(&mut self.machine, "asked_again"), Ok(again), "{}", self.log());
        assert!(self.node_speaks(), "{}", self.log());
    }

    fn node_speaks(&mut self) -> bool {
        let nodes: Value = serde_json::from_str(&self.sonde(&["node", "ls", "--json"])).expect("it is JSON");
        nodes[0]["is_reachable"].as_bool().expect("there is a node, and it is said")
    }

    fn wait_until_node_speaks(&mut self, speaks: bool) {
        eventually("the node speaking or being silent", SHOWS, || {
            if self.node_speaks() == speaks { Ok(()) } else { Err(format!("it is not {speaks}")) }
        });
    }
}

/// Status and body of one GET, on a connection of its own.
fn get(machine: &mut Machine, url: &str, ca: &str, path: &str, shown: &[String]) -> (String, String) {
    let (url, patience) = (format!("{url}{path}"), PATIENCE.as_secs().to_string());
    let mut arguments = vec!["-s", "-S", "-w", "\n%{http_code}", "--max-time", &patience, "--cacert", ca];
    arguments.extend(shown.iter().map(String::as_str));
    arguments.push(&url);
    let (how, said) = machine.run("/bin/curl", &arguments, STEP);
    let (body, status) = said.rsplit_once('\n').unwrap_or((&said, ""));
    (status.to_owned(), if how == "exited with 0" { body.to_owned() } else { format!("{how}: {body}") })
}
