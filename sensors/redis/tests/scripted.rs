//! The sensor against scripted servers: what it understands, and how it takes what it does not.

use sonde_sensor::Reason;
use sonde_sensor::testing::{Collected, Instance, collect};
use sonde_sensor_redis::Redis;

const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nos:Linux 6.1 x86_64\r\n\
uptime_in_seconds:42\r\n\r\n# Clients\r\nconnected_clients:3\r\n# Memory\r\nused_memory:1048576\r\n\
used_memory_human:1.00M\r\nmem_fragmentation_ratio:1.5\r\n# Stats\r\ntotal_commands_processed:77\r\n\
keyspace_hits:5\r\nnew_in_version_99:what?\r\nkeyspace_misses:not a number\r\n# Replication\r\nrole:master\r\n\
# Keyspace\r\ndb0:keys=12,expires=2,avg_ttl=1500\r\ndb15:keys=1,expires=0,avg_ttl=0\r\n";

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn instance() -> Instance {
    Instance::new().config("port", "6379")
}

fn down(collected: &Collected, why: &str) {
    assert_eq!(collected.value("redis_up", &[]), Some(0.0));
    assert_eq!(collected.batch().numbers.len(), 1, "nothing but redis_up");
    assert!(collected.log.iter().any(|(_, line)| line.contains(why)), "{:?}", collected.log);
}

#[test]
fn info_becomes_series() {
    let server = |sent: &[u8]| if sent == b"*1\r\n$4\r\nINFO\r\n" { bulk(INFO) } else { Vec::new() };
    let collected = collect::<Redis>(instance().tcp(6379, server)).unwrap();
    assert_eq!(collected.value("redis_up", &[]), Some(1.0));
    assert_eq!(collected.value("redis_uptime_in_seconds", &[]), Some(42.0));
    assert_eq!(collected.value("redis_memory_used_bytes", &[]), Some(1_048_576.0));
    assert_eq!(collected.value("redis_mem_fragmentation_ratio", &[]), Some(1.5));
    assert_eq!(collected.value("redis_commands_processed_total", &[]), Some(77.0));
    assert_eq!(collected.value("redis_keyspace_hits_total", &[]), Some(5.0));
    assert_eq!(collected.value("redis_keyspace_misses_total", &[]), None, "not made up");
    assert_eq!(collected.value("redis_db_keys", &[("db", "db0")]), Some(12.0));
    assert_eq!(collected.value("redis_db_avg_ttl_seconds", &[("db", "db0")]), Some(1.5));
    assert_eq!(collected.value("redis_db_avg_ttl_seconds", &[("db", "db15")]), None);
    let about =
        [("redis_version", "7.0.15"), ("redis_mode", "standalone"), ("role", "master"), ("os", "Linux 6.1 x86_64")];
    assert_eq!(collected.value("redis_instance_info", &about), Some(1.0));
}

#[test]
fn a_password_and_a_user_are_sent_first() {
    let mut let_in = false;
    let server = move |sent: &[u8]| match sent {
        b"" => Vec::new(),
        b"*3\r\n$4\r\nAUTH\r\n$5\r\nprobe\r\n$6\r\ns3cret\r\n" => {
            let_in = true;
            b"+OK\r\n".to_vec()
        }
        _ if let_in => bulk(INFO),
        _ => b"-NOAUTH Authentication required.\r\n".to_vec(),
    };
    let instance = instance().config("username", "probe").secret("password", "s3cret").tcp(6379, server);
    let collected = collect::<Redis>(instance).unwrap();
    assert_eq!(collected.value("redis_up", &[]), Some(1.0));
}

#[test]
fn what_redis_refuses_is_down_with_its_own_words() {
    let server =
        |sent: &[u8]| if sent.is_empty() { Vec::new() } else { b"-NOAUTH Authentication required.\r\n".to_vec() };
    down(&collect::<Redis>(instance().tcp(6379, server)).unwrap(), "NOAUTH");
}

#[test]
fn silence_refusal_and_other_protocols_are_down() {
    down(&collect::<Redis>(instance()).unwrap(), "nobody listens");
    down(&collect::<Redis>(instance().tcp_silent(6379)).unwrap(), "no answer");
    let other = |sent: &[u8]| if sent.is_empty() { Vec::new() } else { b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec() };
    down(&collect::<Redis>(instance().tcp(6379, other)).unwrap(), "does not speak");
    let boastful = |sent: &[u8]| if sent.is_empty() { Vec::new() } else { b"$99999999999\r\n".to_vec() };
    down(&collect::<Redis>(instance().tcp(6379, boastful)).unwrap(), "does not speak");
    let cut = |sent: &[u8]| if sent.is_empty() { Vec::new() } else { b"$100\r\nredis_version".to_vec() };
    down(&collect::<Redis>(instance().tcp(6379, cut)).unwrap(), "closed");
}

#[test]
fn a_missing_port_is_the_configuration_s_fault() {
    let failure = collect::<Redis>(Instance::new()).unwrap_err();
    assert_eq!(failure.reason, Reason::Misconfigured);
}
