//! What the two dashboards of cAdvisor's that are installed most ask (Grafana's 193, "Docker monitoring", and 14282, "Cadvisor
//! exporter"), and the alerts on containers that most people begin with (awesome-prometheus-alerts, CC BY 4.0).
//!
//! The queries are written anew from what theirs ask: which metric, chosen and added up by which labels.

use crate::shop::{KEPT_BYTES, MEMORY_LIMIT_BYTES, Shop, THROTTLED_CPUS};

type Accept = fn(f64) -> bool;
/// Query, how many series answer, and what their values must be.
type Panel = (&'static str, usize, Accept);

/// 193: by image, which tells containers from mere cgroups.
const DOCKER_MONITORING: [Panel; 8] = [
    (r#"count(container_last_seen{image!=""})"#, 1, |containers| containers == 2.0),
    (r#"sum(container_memory_usage_bytes{image!=""})/1024/1024"#, 1, |mib| mib > 28.0),
    (r#"sum(rate(container_cpu_user_seconds_total{image!=""}[1m]) * 100)"#, 1, |percent| percent > 0.0),
    (
        r#"sum by (name) (rate(container_cpu_usage_seconds_total{image!=""}[1m])) / scalar(count(node_cpu_seconds_total{mode="user"})) * 100"#,
        2,
        |percent| percent > 0.0,
    ),
    (r#"container_memory_usage_bytes{image!=""}"#, 2, |bytes| bytes > 0.0),
    (
        r#"sum(container_memory_rss{image!=""}) by (name) / sum(container_spec_memory_limit_bytes{image!=""}) by (name)"#,
        1,
        |share| share > 0.0 && share < 1.0,
    ),
    (r#"sum(rate(container_network_receive_bytes_total{image!="",interface="eth0"}[1m])) by (name)"#, 1, |rate| {
        rate > 0.0
    }),
    (r#"sum(rate(container_network_transmit_bytes_total{image!="",interface="eth0"}[1m])) by (name)"#, 1, |rate| {
        rate > 0.0
    }),
];

/// 14282: by name, which every container has.
const CADVISOR_EXPORTER: [Panel; 6] = [
    (r#"sum(rate(container_cpu_usage_seconds_total{name=~".+"}[1m])) by (name) * 100"#, 2, |percent| percent > 0.0),
    (r#"sum(container_memory_rss{name=~".+"}) by (name)"#, 2, |bytes| bytes > 0.0),
    (r#"sum(container_memory_cache{name=~".+"}) by (name)"#, 2, |bytes| bytes >= 0.0),
    (r#"sum(rate(container_network_receive_bytes_total{name=~".+"}[1m])) by (name)"#, 1, |rate| rate > 0.0),
    (r#"sum(rate(container_network_transmit_bytes_total{name=~".+"}[1m])) by (name)"#, 1, |rate| rate > 0.0),
    (r#"(time() - container_start_time_seconds{name=~".+"}) / 86400"#, 2, |days| days > 0.0 && days < 0.1),
];

/// Name, expression, and the container that it is about, where there is one.
const ALERTS: [(&str, &str, Option<&str>); 5] = [
    ("ContainerKilled", "time() - container_last_seen > 60", None),
    (
        "ContainerHighCpuUtilization",
        r#"(sum(rate(container_cpu_usage_seconds_total{container!=""}[10s])) by (pod, container) / sum(container_spec_cpu_quota{container!=""} / container_spec_cpu_period{container!=""}) by (pod, container) * 100) > 80"#,
        Some("app"),
    ),
    (
        "ContainerHighMemoryUsage",
        r#"(sum(container_memory_working_set_bytes{name!=""}) by (instance, name, container) / sum(container_spec_memory_limit_bytes > 0) by (instance, name, container) * 100) > 80"#,
        Some("store"),
    ),
    (
        "ContainerHighThrottleRate",
        r#"sum(increase(container_cpu_cfs_throttled_periods_total{container!=""}[5m])) by (container, pod, namespace) / sum(increase(container_cpu_cfs_periods_total[5m])) by (container, pod, namespace) > (25 / 100)"#,
        Some("app"),
    ),
    ("ContainerOom", "increase(container_oom_events_total[5m]) > 0", None),
];

fn rules() -> String {
    let alert = |(name, expression, _): &(&str, &str, Option<&str>)| {
        format!("  - alert: {name}\n    expr: |\n      {expression}\n")
    };
    format!("groups:\n- name: containers\n  rules:\n{}", ALERTS.iter().map(alert).collect::<String>())
}

#[test]
fn dashboards_and_alerts_of_cadvisor_answer() {
    let shop = Shop::open(&rules());
    for (query, series, accept) in DOCKER_MONITORING.into_iter().chain(CADVISOR_EXPORTER) {
        shop.answers(query, series, accept);
    }
    shop.answers("machine_cpu_cores * 0 + machine_memory_bytes", 1, |bytes| bytes > f64::from(MEMORY_LIMIT_BYTES));
    let used = r#"container_memory_usage_bytes{container="store"}"#;
    shop.answers(used, 1, |bytes| bytes >= f64::from(KEPT_BYTES));
    let irate = r#"irate(container_cpu_usage_seconds_total{container="app",cpu="total"}[5m])"#;
    shop.answers(irate, 1, |cpus| (0.8..1.2).contains(&(cpus / THROTTLED_CPUS)));
    for (name, _, container) in ALERTS {
        let query = format!(r#"ALERTS{{alertname="{name}",alertstate="firing"}}"#);
        let firing = shop.answers(&query, usize::from(container.is_some()), |_| true);
        assert_eq!(firing.first().and_then(|series| series.label("container")), container, "{name}: {firing:?}");
    }
}
