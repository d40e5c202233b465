//! The recording rules and alerts of kubernetes-mixin (Apache-2.0), which kube-prometheus ships, that use `container_*`.
//!
//! Names of rules, metrics and labels and the shape of the expressions are theirs; only the waiting time before an alert
//! fires is shorter here.

use crate::shop::{KEPT_BYTES, MEMORY_LIMIT_BYTES, Shop, THROTTLED_CPUS};

const SELECTOR: &str = r#"job="cadvisor", image!="""#;
/// Joins a series with the node that its pod runs on.
const ON_ITS_NODE: &str = r#"* on (cluster, namespace, pod) group_left(node)
  topk by (cluster, namespace, pod) (1, max by (cluster, namespace, pod, node) (kube_pod_info{node!=""}))"#;
const MEMORY: [&str; 4] =
    ["container_memory_working_set_bytes", "container_memory_rss", "container_memory_cache", "container_memory_swap"];
/// The disks that the dashboards look at.
const DISKS: &str = r#"device=~"(/dev/)?(mmcblk.p.+|nvme.+|rbd.+|sd.+|vd.+|xvd.+|dm-.+|md.+|dasd.+)""#;

fn rules() -> String {
    let mut text = "groups:\n- name: k8s.rules\n  rules:\n".to_owned();
    let mut record = |name: &str, expression: &str| {
        text += &format!("  - record: node_namespace_pod_container:{name}\n    expr: |\n");
        text.extend(format!("{expression} {ON_ITS_NODE}").lines().map(|line| format!("      {line}\n")));
    };
    for (function, name) in [("rate", "sum_rate5m"), ("irate", "sum_irate")] {
        let expression = format!(
            "sum by (cluster, namespace, pod, container) ({function}(container_cpu_usage_seconds_total{{{SELECTOR}}}[5m]))"
        );
        record(&format!("container_cpu_usage_seconds_total:{name}"), &expression);
    }
    for name in MEMORY {
        record(name, &format!("{name}{{{SELECTOR}}}"));
    }
    let periods = |which: &str, matcher: &str| {
        format!("sum(increase(container_cpu_cfs_{which}_total{matcher}[5m])) by (container, pod, namespace)")
    };
    text += "- name: kubernetes-resources\n  rules:\n  - alert: CPUThrottlingHigh\n    for: 2s\n    expr: |\n";
    text += &format!(
        "      {} / {} > ( 25 / 100 )\n",
        periods("throttled_periods", r#"{container!=""}"#),
        periods("periods", "")
    );
    text
}

#[test]
fn rules_of_kubernetes_answer_and_the_alert_fires() {
    let shop = Shop::open(&rules());
    let firing = shop.answers(r#"ALERTS{alertname="CPUThrottlingHigh",alertstate="firing"}"#, 1, |value| value == 1.0);
    let labels = ["namespace", "pod", "container"].map(|label| firing[0].label(label).unwrap_or_default());
    assert_eq!(labels, ["shop", "web-1", "app"]);

    let recorded = |name: &str| format!("node_namespace_pod_container:{name}");
    for name in ["container_cpu_usage_seconds_total:sum_rate5m", MEMORY[0], MEMORY[1], MEMORY[2]] {
        let found = shop.answers(&recorded(name), 2, |value| value >= 0.0);
        assert!(found.iter().all(|series| series.label("node") == Some("worker-1")), "{found:?}");
    }
    let of = |name: &str, container: &str| format!("{}{{container=\"{container}\"}}", recorded(name));
    let cpus = of("container_cpu_usage_seconds_total:sum_irate", "app");
    shop.answers(&cpus, 1, |cpus| (0.8..1.2).contains(&(cpus / THROTTLED_CPUS)));
    // Of its limit it keeps most in files that only memory holds: working set and cache, and not resident.
    for name in [MEMORY[0], MEMORY[2]] {
        shop.answers(&of(name, "store"), 1, |bytes| {
            (f64::from(KEPT_BYTES)..=f64::from(MEMORY_LIMIT_BYTES)).contains(&bytes)
        });
    }
    let rest = f64::from(MEMORY_LIMIT_BYTES - KEPT_BYTES);
    shop.answers(&of(MEMORY[1], "store"), 1, |rss| rss > 0.0 && rss < rest);
    // A kernel that accounts no swap tells none, as it tells cAdvisor none.
    if shop.store_has("memory", "memory.memsw.usage_in_bytes") || shop.store_has("memory", "memory.swap.current") {
        shop.answers(&recorded(MEMORY[3]), 2, |bytes| bytes == 0.0);
    }
}

#[test]
fn dashboards_of_kubernetes_answer() {
    let shop = Shop::open("groups: []");
    let pods = |of: &str| format!(r#"job="cadvisor", namespace=~"shop"{of}"#);
    // Compute resources, by container and against the limit.
    let memory =
        format!("sum(container_memory_working_set_bytes{{{}}}) by (container)", pods(r#", container!="", image!="""#));
    shop.answers(&memory, 2, |bytes| bytes > 0.0);
    let quota = "container_spec_cpu_quota / container_spec_cpu_period";
    shop.answers(&format!(r#"sum by (container) ({quota})"#), 1, |cpus| cpus == THROTTLED_CPUS);
    // Networking: the pod with an interface, and none else.
    for direction in ["receive", "transmit"] {
        for (what, accept) in [
            ("bytes", (|rate| rate > 0.0) as fn(f64) -> bool),
            ("packets", |rate| rate > 0.0),
            ("packets_dropped", |rate| rate >= 0.0),
            ("errors", |rate| rate == 0.0),
        ] {
            let name = format!("container_network_{direction}_{what}_total");
            let found = shop.answers(&format!("sum by (pod) (rate({name}{{{}}}[10s]))", pods("")), 1, accept);
            assert_eq!(found[0].label("pod"), Some("db-1"));
        }
    }
    // Storage: operations and bytes, of the disks that count.
    let io = |what: &str| {
        let rate = |kind: &str| {
            format!("rate(container_fs_{kind}{what}_total{{{}, {DISKS}}}[10s])", pods(r#", container!="""#))
        };
        format!("sum by (namespace, pod) ({} + {})", rate("reads"), rate("writes"))
    };
    shop.answers(&format!("ceil({} > 0)", io("")), 1, |operations| operations > 0.0);
    shop.answers(&format!("{} > 0", io("_bytes")), 1, |bytes| bytes > 65_536.0);
}
