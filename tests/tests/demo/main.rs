//! The talk's demo: a tenant's web server before a backend, a sensor for each pushed through the door, and a Prometheus that finds both with nothing but the account's
//! certificate, and shows what the kernel knows of each container beside what its application says.
//!
//! Everything is what an operator and a tenant have: two daemons with certificates of `sonde cert`, DNS by the proxy, real runc containers, the sensors that ship.

mod stage;

use std::time::Duration;

use sonde_tests::{Prometheus, eventually, in_own_network};

use stage::{Shop, Stage};

/// From a push to values: reports, the folder, the compiler, a run and a scrape, on a busy machine.
const PUSHED: Duration = Duration::from_secs(90);
const SCRAPED: Duration = Duration::from_secs(60);

/// A value of the container that is called so.
fn of(alias: &str, promql: &str) -> String {
    format!("{promql}{{alias=\"{alias}\"}}")
}

#[test]
fn a_tenant_sees_containers_and_applications_side_by_side() {
    in_own_network("a_tenant_sees_containers_and_applications_side_by_side", || {
        let stage = Stage::set();
        let shop = Shop::open(&stage);
        let prometheus = Prometheus::with_config(&stage.prometheus());

        // The kernel's view comes by itself.
        for alias in ["front", "back"] {
            prometheus.wait_for(&of(alias, "container_memory_usage_bytes"), SCRAPED, |bytes| bytes > 0.0);
        }
        // The applications' view is pushed by the tenant.
        let sensors = [
            ("nginx.wasm", "front", "url=http://localhost/stub_status"),
            ("http.wasm", "back", "url=http://localhost:8080/"),
        ];
        for (file, group, config) in sensors {
            let path = sonde_tests::sensor_path(file);
            let path = path.to_str().expect("its path is text");
            let said =
                stage.tenant(&["sensor", "push", path, "--match", &format!("group={group}"), "--config", config]);
            assert!(said.contains("goes to all instances that match"), "{said}");
        }
        prometheus.wait_for(&of("front", "nginx_up"), PUSHED, |up| up == 1.0);
        prometheus.wait_for(&of("back", "http_up"), PUSHED, |up| up == 1.0);

        // What goes in at the front comes out at the back, and both say so.
        let before = prometheus.value(&of("front", "nginx_http_requests_total")).expect("it is up");
        for _ in 0..20 {
            assert_eq!(shop.ask_front(), "from back");
        }
        prometheus.wait_for(&of("front", "nginx_http_requests_total"), SCRAPED, |n| n >= before + 20.0);
        prometheus.wait_for(&of("back", "http_status_code"), SCRAPED, |code| code == 200.0);
        for alias in ["front", "back"] {
            prometheus.wait_for(&of(alias, "container_cpu_usage_seconds_total"), SCRAPED, |seconds| seconds > 0.0);
            prometheus.wait_for(
                &format!("count(container_network_receive_bytes_total{{alias=\"{alias}\"}})"),
                SCRAPED,
                |n| n >= 1.0,
            );
        }
        assert!(prometheus.query(&of("front", "http_up")).is_empty(), "a sensor is where it was meant to be");
        assert!(prometheus.query(&of("back", "nginx_up")).is_empty());

        // One container more, and it appears with both.
        let more = shop.another_back("back-2");
        prometheus.wait_for(&of("back-2", "container_memory_usage_bytes"), SCRAPED, |bytes| bytes > 0.0);
        prometheus.wait_for(&of("back-2", "http_up"), PUSHED, |up| up == 1.0);

        // The tenant looks.
        let listed = eventually("all of it accepted", SCRAPED, || {
            let listed = stage.tenant(&["sensor", "ls"]);
            let all = listed.contains("http   current  100%   accepted  2   2")
                && listed.contains("nginx  current  100%   accepted  1   1");
            if all { Ok(listed) } else { Err(listed) }
        });
        assert!(!listed.contains("refused"), "{listed}");
        let logs = stage.tenant(&["sensor", "logs", "http"]);
        assert!(logs.contains("back ") && logs.contains("back-2 ") && !logs.contains("front"), "{logs}");

        // A sensor that is taken away takes its series with it, and nothing else.
        stage.tenant(&["sensor", "rm", "http"]);
        eventually("its series' end", PUSHED, || {
            let left = prometheus.query("http_up");
            if left.is_empty() { Ok(()) } else { Err(format!("{} are left", left.len())) }
        });
        prometheus.wait_for(&of("back", "container_memory_usage_bytes"), SCRAPED, |bytes| bytes > 0.0);
        prometheus.wait_for(&of("front", "nginx_up"), SCRAPED, |up| up == 1.0);
        drop(more);
    });
}
