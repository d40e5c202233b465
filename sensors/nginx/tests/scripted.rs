//! The sensor against scripted pages.

use sonde_sensor::testing::{Answer, Instance, collect};
use sonde_sensor_nginx::Nginx;

const PAGE: &str = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630940 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n";

fn instance() -> Instance {
    Instance::new().config("url", "http://localhost:8080/stub_status")
}

#[test]
fn the_page_becomes_series() {
    let collected = collect::<Nginx>(instance().http(8080, "/stub_status", Answer::ok(PAGE))).unwrap();
    for (name, value) in [
        ("nginx_up", 1.0),
        ("nginx_connections_active", 291.0),
        ("nginx_connections_accepted_total", 16_630_948.0),
        ("nginx_connections_handled_total", 16_630_940.0),
        ("nginx_http_requests_total", 31_070_465.0),
        ("nginx_connections_reading", 6.0),
        ("nginx_connections_writing", 179.0),
        ("nginx_connections_waiting", 106.0),
    ] {
        assert_eq!(collected.value(name, &[]), Some(value), "{name}");
    }
}

#[test]
fn what_is_not_the_page_is_down() {
    let cut = &PAGE[..60];
    for (instance, why) in [
        (instance(), "nobody listens"),
        (instance().http(8080, "/other", Answer::ok(PAGE)), "status 404"),
        (
            instance().http(8080, "/stub_status", Answer::ok("<html>Welcome to nginx!</html>")),
            "not that of stub_status",
        ),
        (instance().http(8080, "/stub_status", Answer::ok(cut)), "not that of stub_status"),
    ] {
        let collected = collect::<Nginx>(instance).unwrap();
        assert_eq!(collected.value("nginx_up", &[]), Some(0.0));
        assert_eq!(collected.batch().numbers.len(), 1);
        assert!(collected.log[0].1.contains(why), "{:?}", collected.log);
    }
}
