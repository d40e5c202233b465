//! Whose names the native series carry, asked of the real agent: cAdvisor's, cmon-agent's or both, changed while it runs.

use std::time::Duration;

use sonde_tests::{Container, Exposition, Sonde, eventually};

const SOON: Duration = Duration::from_secs(20);
const LIMIT_BYTES: u64 = 64 << 20;

/// Families that are told of an instance or the node.
fn families(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

fn has(text: &str, prefix: &str) -> bool {
    families(text).iter().any(|name| name.starts_with(prefix))
}

/// Waits until an instance and the node are told of by these names.
#[track_caller]
fn wait_for_names(sonde: &Sonde, instance: &str, cadvisor: bool, triton: bool) -> (String, String) {
    eventually("names as configured", SOON, || {
        let (text, node) = (sonde.scrape_text(instance), sonde.get("/v1/node/metrics").text());
        let cadvisors = has(&text, "container_") && has(&node, "node_");
        let none_of_cadvisors = !has(&text, "container_") && !has(&node, "node_") && !has(&node, "machine_");
        let tritons = has(&text, "mem_agg_usage") && has(&node, "cpu_idle_seconds_total");
        let none_of_tritons = !has(&text, "mem_agg_usage") && !has(&node, "cpu_idle_seconds_total");
        let right =
            (if cadvisor { cadvisors } else { none_of_cadvisors }) && (if triton { tritons } else { none_of_tritons });
        if right { Ok((text, node)) } else { Err(families(&text).join(" ")) }
    })
}

#[test]
fn cmon_agents_names_instead_or_as_well_and_back() {
    let container = Container::named("named").memory_limit_bytes(LIMIT_BYTES).cpu_percent(50).run();
    let sonde = Sonde::configure().config("").up();
    sonde.wait_for_instance(container.id());
    let plain = sonde.config();
    wait_for_names(&sonde, container.id(), true, false);

    sonde.reconfigure(&format!("{plain}\n[reading]\nnames = [\"cadvisor\", \"triton\"]\n"));
    let (text, node) = wait_for_names(&sonde, container.id(), true, true);
    let told = Exposition::read(&text);
    let value = |name: &str| told.value(name, &[]).unwrap_or_else(|| panic!("{name} is told\n{text}"));
    assert_eq!(value("mem_limit") as u64, LIMIT_BYTES);
    assert_eq!(value("cpucap_limit_percentage"), 50.0);
    assert_eq!(value("memcap_metrics_available_boolean"), 1.0);
    // Both are of one reading, so they agree to the byte and to the nanosecond.
    assert_eq!(value("mem_agg_usage"), value("container_memory_working_set_bytes"));
    let user = value("cpu_user_usage") - value("container_cpu_user_seconds_total") * 1e9;
    assert!(user.abs() < 1e3, "off by {user} ns, and a float has no more");
    assert!(
        !text.lines().any(|line| line.starts_with("mem_") && line.contains('{')),
        "no label that cmon-agent had not"
    );
    assert_eq!(families(&text).len(), families(&text).iter().collect::<std::collections::HashSet<_>>().len());
    let of_node = Exposition::read(&node);
    assert!(of_node.value("time_of_day", &[]).is_some_and(|seconds| seconds < 1e11), "seconds, not milliseconds");
    assert!(of_node.value("node_timex_maxerror_seconds", &[]).is_some_and(|error| error >= 0.0), "{node}");

    sonde.reconfigure(&format!("{plain}\n[reading]\nnames = [\"triton\"]\n"));
    let (text, _) = wait_for_names(&sonde, container.id(), false, true);
    for ours in ["sonde_instance_state", "sonde_instance_saturated", "sonde_reading_age_seconds"] {
        assert!(has(&text, ours), "{ours} has nobody else's name\n{text}");
    }

    // What is not a name changes nothing, and is said.
    sonde.reconfigure(&format!("{plain}\n[reading]\nnames = [\"cmon\"]\n"));
    let sentence = r#"reading.names has "cmon": "cadvisor", "triton" or both are allowed"#;
    eventually("the fault said", SOON, || {
        let log = sonde.log();
        if log.contains(sentence) || log.contains(&sentence.replace('"', "\\\"")) { Ok(()) } else { Err(log) }
    });
    wait_for_names(&sonde, container.id(), false, true);
    sonde.reconfigure(&plain);
    wait_for_names(&sonde, container.id(), true, false);
}
