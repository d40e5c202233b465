//! `INFO`'s text as families: lines `key:value`, sections by `# Name`, databases as `db0:keys=1,expires=0,avg_ttl=0`.
//!
//! What a version of the server does not say is not there: no zeros are made up. What no family here
//! names is passed over, so newer servers work. Reference: Redis command documentation, `INFO`.

use sonde_sensor::{Batch, Counter, Family, Gauge};

use crate::{DB_EXPIRING, DB_KEYS, DB_TTL, INSTANCE, UP};

/// Declares the families that are one number of `INFO` each, the list of all families, and the function
/// that fills one from a line.
macro_rules! numbers {
    ($($kind:ident $method:ident $item:ident $key:literal => $name:literal, $help:literal;)*) => {
        $(static $item: $kind = $kind::new($name, $help);)*

        /// All families of the sensor.
        pub static FAMILIES: &[&dyn Family] = &[&UP, &INSTANCE, $(&$item,)* &DB_KEYS, &DB_EXPIRING, &DB_TTL];

        /// Fills the family of a key, if there is one and the value is a number.
        fn number(out: &mut Batch, key: &str, value: &str) {
            match key {
                $($key => if let Ok(value) = value.parse() {
                    out.$method(&$item, [], value);
                },)*
                _ => {}
            }
        }
    };
}

numbers! {
    Gauge gauge UPTIME "uptime_in_seconds" => "redis_uptime_in_seconds", "Seconds since the server started.";
    Gauge gauge CLIENTS "connected_clients" => "redis_connected_clients", "Client connections, without replicas.";
    Gauge gauge MAX_CLIENTS "maxclients" => "redis_config_maxclients", "Most client connections allowed.";
    Gauge gauge BLOCKED "blocked_clients" => "redis_blocked_clients", "Clients waiting in a blocking command.";
    Gauge gauge MEMORY "used_memory" => "redis_memory_used_bytes", "Bytes that the allocator gave out.";
    Gauge gauge MEMORY_RSS "used_memory_rss" => "redis_memory_used_rss_bytes", "Bytes resident, as the server sees it.";
    Gauge gauge MEMORY_PEAK "used_memory_peak" => "redis_memory_used_peak_bytes", "Most bytes that the allocator gave out.";
    Gauge gauge MEMORY_LUA "used_memory_lua" => "redis_memory_used_lua_bytes", "Bytes used by Lua.";
    Gauge gauge MEMORY_MAX "maxmemory" => "redis_memory_max_bytes", "The configured bound; 0 is none.";
    Gauge gauge FRAGMENTATION "mem_fragmentation_ratio" => "redis_mem_fragmentation_ratio", "Resident bytes over used bytes.";
    Gauge gauge LOADING "loading" => "redis_loading_dump_file", "Whether a dump is being loaded.";
    Gauge gauge UNSAVED "rdb_changes_since_last_save" => "redis_rdb_changes_since_last_save", "Changes since the last dump.";
    Gauge gauge SAVING "rdb_bgsave_in_progress" => "redis_rdb_bgsave_in_progress", "Whether a dump is being written.";
    Gauge gauge SAVED "rdb_last_save_time" => "redis_rdb_last_save_timestamp_seconds", "When the last dump succeeded, in seconds since 1970.";
    Gauge gauge AOF "aof_enabled" => "redis_aof_enabled", "Whether the append-only file is on.";
    Counter counter CONNECTIONS "total_connections_received" => "redis_connections_received_total", "Connections accepted.";
    Counter counter COMMANDS "total_commands_processed" => "redis_commands_processed_total", "Commands processed.";
    Counter counter INPUT "total_net_input_bytes" => "redis_net_input_bytes_total", "Bytes read from the network.";
    Counter counter OUTPUT "total_net_output_bytes" => "redis_net_output_bytes_total", "Bytes written to the network.";
    Counter counter REJECTED "rejected_connections" => "redis_rejected_connections_total", "Connections refused because of maxclients.";
    Counter counter EXPIRED "expired_keys" => "redis_expired_keys_total", "Keys whose time to live ran out.";
    Counter counter EVICTED "evicted_keys" => "redis_evicted_keys_total", "Keys evicted because of maxmemory.";
    Counter counter HITS "keyspace_hits" => "redis_keyspace_hits_total", "Look-ups that found their key.";
    Counter counter MISSES "keyspace_misses" => "redis_keyspace_misses_total", "Look-ups that did not find their key.";
    Gauge gauge CHANNELS "pubsub_channels" => "redis_pubsub_channels", "Channels with subscribers.";
    Gauge gauge PATTERNS "pubsub_patterns" => "redis_pubsub_patterns", "Patterns with subscribers.";
    Gauge gauge REPLICAS "connected_slaves" => "redis_connected_slaves", "Connected replicas.";
    Gauge gauge OFFSET "master_repl_offset" => "redis_master_repl_offset", "The replication offset.";
    Counter counter CPU_SYS "used_cpu_sys" => "redis_cpu_sys_seconds_total", "CPU time in the kernel.";
    Counter counter CPU_USER "used_cpu_user" => "redis_cpu_user_seconds_total", "CPU time in user mode.";
}

/// Fills all that the text says.
pub fn fill(out: &mut Batch, text: &str) {
    let mut about = [""; 4];
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        match key {
            "redis_version" => about[0] = value,
            "redis_mode" => about[1] = value,
            "role" => about[2] = value,
            "os" => about[3] = value,
            _ if is_database(key) => database(out, key, value),
            _ => number(out, key, value),
        }
    }
    if !about[0].is_empty() {
        out.info(&INSTANCE, about);
    }
}

fn is_database(key: &str) -> bool {
    key.strip_prefix("db").is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `keys=1,expires=0,avg_ttl=0`, the last in milliseconds and 0 where it is not known.
fn database(out: &mut Batch, name: &str, value: &str) {
    for (key, value) in value.split(',').filter_map(|part| part.split_once('=')) {
        let Ok(value) = value.parse::<f64>() else { continue };
        match key {
            "keys" => out.gauge(&DB_KEYS, [name], value),
            "expires" => out.gauge(&DB_EXPIRING, [name], value),
            "avg_ttl" if value > 0.0 => out.gauge(&DB_TTL, [name], value / 1000.0),
            _ => {}
        }
    }
}
