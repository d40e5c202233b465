//! Redis, and what else answers `INFO`: Valkey, KeyDB, Dragonfly.
//!
//! One connection, at most two commands (`AUTH` where the secret `password` is set, then `INFO`). Series
//! carry the names that Redis dashboards know. A server that does not answer, or does not let us in, is
//! `redis_up 0` and nothing else, and a log line says why: that is a finding about Redis, not a failure of the
//! sensor. A sensor that may not connect at all is a failure.

mod info;
mod resp;

use sonde_sensor::{Batch, Description, Failure, Gauge, Info, Sensor, config, log, secrets, stream, tcp};

static UP: Gauge = Gauge::new("redis_up", "Whether the server answers INFO.");
static INSTANCE: Info<4> =
    Info::new("redis_instance_info", "What the server is.").labels(["redis_version", "redis_mode", "role", "os"]);
static DB_KEYS: Gauge<1> = Gauge::new("redis_db_keys", "Keys in a database.").labels(["db"]);
static DB_EXPIRING: Gauge<1> =
    Gauge::new("redis_db_keys_expiring", "Keys in a database that have a time to live.").labels(["db"]);
static DB_TTL: Gauge<1> =
    Gauge::new("redis_db_avg_ttl_seconds", "Mean time to live of a database's keys that have one.").labels(["db"]);

/// The sensor.
pub struct Redis;

impl Sensor for Redis {
    const DESCRIPTION: Description = Description::Families(info::FAMILIES);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        match ask(config::port("port")?) {
            Ok(text) => {
                out.gauge(&UP, [], 1.0);
                info::fill(out, &text);
            }
            Err(stream::Error::Denied(why)) => return Err(stream::Error::Denied(why).into()),
            Err(why) => {
                out.gauge(&UP, [], 0.0);
                log::warn(&why.to_string());
            }
        }
        Ok(())
    }
}

sonde_sensor::export!(Redis);

/// What `INFO` answers.
fn ask(port: u16) -> Result<String, stream::Error> {
    let mut replies = resp::Replies::new(tcp::connect(port)?);
    if let Some(password) = secrets::get("password") {
        let username = config::get("username");
        let mut command = vec!["AUTH"];
        command.extend(username.as_deref());
        command.push(&password);
        replies.call(&command)?;
    }
    replies.call(&["INFO"])
}
