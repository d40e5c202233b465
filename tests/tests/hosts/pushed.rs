//! What a tenant pushed, on a node that starts again while there is no proxy to tell it anything.

use std::fs;

use serde_json::Value;
use sonde_tests::{Exposition, binary, eventually, run_to_end, sensor_path};

use crate::cloud::{Cloud, START, SUFFIX, Target};

/// What the pushed sensor counts: its runs, in its state on the node, so that it goes on over a restart.
const RUNS: &str = "honest_runs_total";
/// Runs by which it is seen that it runs and is not remembered.
const MORE_RUNS: f64 = 3.0;

#[test]
fn an_agent_that_starts_while_all_proxies_are_away_runs_what_was_pushed_and_says_so_when_one_is_back() {
    let mut cloud = Cloud::start();
    push(&cloud);
    let subject = cloud.targets().into_iter().find(|target| target.node == 0 && target.owner == "acme");
    let subject = subject.expect("it has one of each tenant");
    for proxy in 0..cloud.proxies.len() {
        eventually("its series through a proxy", START, || runs_through(&cloud, proxy, &subject));
    }

    cloud.kill_proxy(0);
    cloud.kill_proxy(1);
    let before = eventually("its series at the agent", START, || runs_at(&cloud, &subject));
    cloud.kill_agent(0);
    assert!(runs_at(&cloud, &subject).is_err(), "nobody is there to answer");
    cloud.start_agent(0);
    let again = eventually("its series at the agent that started alone", START, || {
        runs_at(&cloud, &subject).and_then(|runs| if runs > before { Ok(runs) } else { Err(format!("{runs}")) })
    });
    eventually("runs of its own", START, || {
        let runs = runs_at(&cloud, &subject)?;
        if runs >= again + MORE_RUNS { Ok(()) } else { Err(format!("{runs}")) }
    });

    // The other proxy than the one it was pushed through.
    cloud.start_proxy(1);
    cloud.wait_for_speaking(1, &[0, 1, 2]);
    eventually("what all nodes say of it", START, || {
        let listed = cloud.get(1, "acme", "/v1/sensors").map_err(|error| error.to_string())?.json();
        let version = &listed[0]["versions"][0];
        let told = ["state", "nodes", "instances", "failing"].map(|key| version[key].clone());
        let wanted = [Value::from("accepted"), 3.into(), 3.into(), 0.into()];
        if told == wanted { Ok(()) } else { Err(listed.to_string()) }
    });
    eventually("its series through the proxy that is back", START, || runs_through(&cloud, 1, &subject));
}

/// As a tenant does it, from its own machine.
fn push(cloud: &Cloud) {
    let scopes = ["--scope", "read-metrics", "--scope", "push-sensors", "--json"];
    let token = cloud.operator(0, &[&["token", "new", "acme"], &scopes[..]].concat()).expect("etcd takes changes");
    let token: Value = serde_json::from_str(&token).expect("it is JSON");
    let file = cloud.scraper.dir().join("token");
    fs::write(&file, token["token"].as_str().expect("it has the token")).expect("it is writable");
    let mut push = cloud.scraper.command(binary());
    push.args(["sensor", "push"]).arg(sensor_path("honest.wasm"));
    push.arg("--proxy").arg(format!("https://{SUFFIX}:9163")).arg("--token-file").arg(file);
    run_to_end(push.arg("--ca").arg(cloud.authorities().join("server-ca.pem")));
}

fn runs_in(text: &str) -> Result<f64, String> {
    Exposition::read(text).value(RUNS, &[]).ok_or_else(|| "it has no such series".to_owned())
}

fn runs_through(cloud: &Cloud, proxy: usize, target: &Target) -> Result<f64, String> {
    let answer = cloud.get(proxy, &target.owner, &format!("/v1/instances/{}/metrics", target.id));
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status == 200 { runs_in(&answer.text()) } else { Err(answer.text()) }
}

/// What the agent itself says, to somebody with a proxy's certificate.
fn runs_at(cloud: &Cloud, target: &Target) -> Result<f64, String> {
    let (node, proxy) = (&cloud.nodes[target.node].host, &cloud.proxies[0].host);
    let mut curl = proxy.command("curl");
    curl.args(["-s", "-S", "-f", "--max-time", "5"]);
    for (flag, file) in [("--cert", "proxy.pem"), ("--key", "proxy.key"), ("--cacert", "tier-ca.pem")] {
        curl.arg(flag).arg(proxy.dir().join(file));
    }
    curl.args(["-H", &format!("X-Sonde-Owner: {}", target.owner)]);
    let output = curl.arg(format!("https://{}:9164/v1/{}/metrics", node.address(), target.id)).output();
    let output = output.expect("curl is installed");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { runs_in(&said(&output.stdout)) } else { Err(said(&output.stderr)) }
}
