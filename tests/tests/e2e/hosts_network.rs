//! A container in the host's network namespace: what is counted there is everybody's, and who listens there is not always its own.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use sonde_tests::{Container, Exposition, Server, Sonde, eventually};

const SOON: Duration = Duration::from_secs(20);
/// Another may take a port between our asking for a free one and redis's.
const ATTEMPTS: usize = 5;
/// Families of a network namespace (operators.md).
const OF_NETWORK: [&str; 5] = [
    "container_network_",
    "sonde_instance_tcp_",
    "sonde_instance_udp_",
    "sonde_instance_sockets",
    "sonde_instance_interfaces_",
];

fn of_network(exposition: &Exposition) -> BTreeSet<String> {
    let all = exposition.samples.iter().map(|sample| sample.name.clone());
    all.filter(|name| OF_NETWORK.iter().any(|prefix| name.starts_with(prefix))).collect()
}

/// redis in a container, on a port of the host's loopback.
fn redis_on_the_host() -> (Container, u16) {
    for _ in 0..ATTEMPTS {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port is free").port();
        let server = format!("redis-server --bind 127.0.0.1 --port {port} --save '' --dir /tmp; sleep 100000");
        let container = Container::named("hosts-net")
            .programs(&["redis-server", "redis-cli"])
            .in_the_hosts_network()
            .script(&server)
            .run();
        eventually("redis up or refused", SOON, || {
            let log = container.log();
            let is_said = log.contains("Ready to accept connections") || log.contains("bind");
            if is_said { Ok(()) } else { Err(log) }
        });
        if container.log().contains("Ready to accept connections") {
            return (container, port);
        }
    }
    panic!("redis got none of {ATTEMPTS} ports");
}

#[test]
fn what_everybody_sends_is_not_told_as_its_own() {
    let own = Container::named("own-net").run();
    let hosts = Container::named("hosts-net").in_the_hosts_network().run();
    let sonde = Sonde::configure().config("# nothing more").up();
    for container in [&own, &hosts] {
        sonde.wait_for_instance(container.id());
    }
    let there = of_network(&sonde.scrape(own.id()));
    for family in ["sonde_instance_sockets", "sonde_instance_tcp_sockets", "sonde_instance_tcp_time_wait_sockets"] {
        assert!(there.contains(family), "{family} is missing where the namespace is its own: {there:?}");
    }
    // Not once, and not later: the host's values are there all the time.
    for _ in 0..3 {
        let exposition = sonde.scrape(hosts.id());
        assert_eq!(exposition.value("sonde_instance_state", &[("state", "running")]), Some(1.0));
        assert_eq!(of_network(&exposition), BTreeSet::new());
        assert_eq!(exposition.value("sonde_instance_saturated", &[("resource", "network")]), Some(0.0));
    }
}

#[test]
fn sensor_reaches_its_own_server_and_no_neighbours() {
    let (mine, port) = redis_on_the_host();
    let neighbour = Server::redis();
    let nosy = Container::named("nosy").in_the_hosts_network().run();
    let at = |port: u16| format!("[sensor.config]\nport = \"{port}\"");
    let sonde = Sonde::configure()
        .sensor("redis.wasm", mine.id(), &at(port))
        .sensor("redis.wasm", nosy.id(), &at(neighbour.port()))
        .up();
    for container in [&mine, &nosy] {
        sonde.wait_for_instance(container.id());
    }
    sonde.wait_for_value(mine.id(), "redis_up", &[], SOON, |up| up == 1.0);
    // Whoever connects from outside gets an answer there, and the sensor none.
    sonde.wait_for_value(nosy.id(), "sonde_sensor_runs_total", &[("sensor", "redis")], SOON, |runs| runs >= 2.0);
    assert_ne!(sonde.scrape(nosy.id()).value("redis_up", &[]), Some(1.0), "a neighbour's server was reached");
    let said = sonde.sensor_entry(nosy.id(), "redis").expect("the sensor is listed").to_string();
    assert!(said.contains("denied"), "{said}");
}
