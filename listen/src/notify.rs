//! What the agent says to its service manager: that it is ready, reloading, stopping, alive. The protocol of sd_notify(3).
//!
//! One datagram a message, to the socket that `NOTIFY_SOCKET` names: a path, or with `@` an abstract name. Each is addressed anew, because the
//! manager may have made its socket again since. Without the variable nothing is said, and what cannot be sent is no reason to stop
//! serving. Other kinds of socket (`vsock:`) are refused in the log.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// From `NOTIFY_SOCKET`, and `WATCHDOG_USEC` where `WATCHDOG_PID` is this process or absent (sd_watchdog_enabled(3)).
    pub fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let manager = match open(&name) {
            Ok(manager) => manager,
            Err(error) => {
                tracing::warn!(socket = ?name, %error, "the service manager cannot be told anything");
                return Self::default();
            }
        };
        let text = |variable| std::env::var(variable).ok();
        Self { manager: Some(manager), watchdog: watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID")) }
    }

    /// How long the service manager lets pass between two [`Notify::alive`]; `None` where it does not watch.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// It serves, or does again behind [`Notify::reloading`]; a sentence for `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins. The manager wants to know when, by the monotonic clock, to tell it from an earlier one.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000
            + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=reloading"));
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=stopping");
    }

    /// All parts are at work.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, message: &str) {
        let Some((socket, manager)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), manager) {
            tracing::warn!(%error, "the service manager could not be told something");
        }
    }
}

fn open(name: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read is not waited for: this is said by threads that have more to do.
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

fn watchdog(usec: Option<String>, pid: Option<String>) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let usec: u64 = usec?.parse().ok()?;
    (is_ours && usec > 0).then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager's socket of that name; what it hears of one message of each kind.
    fn heard(name: OsString, manager: &UnixDatagram) -> Vec<String> {
        let notify = Notify { manager: Some(open(&name).unwrap()), watchdog: None };
        notify.ready("well");
        notify.reloading();
        notify.alive();
        notify.stopping();
        manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut message = [0; 256];
        (0..4)
            .map(|_| {
                let bytes = manager.recv(&mut message).unwrap();
                String::from_utf8(message[..bytes].to_vec()).unwrap()
            })
            .collect()
    }

    fn assert_protocol(messages: &[String]) {
        assert_eq!(messages[0], "READY=1\nSTATUS=well");
        let usec = messages[1].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.split_once('\n'));
        let usec: u64 = usec.unwrap().0.parse().unwrap();
        let now = clock_gettime(ClockId::Monotonic).tv_sec as u64 * 1_000_000;
        assert!(usec <= now + 1_000_000 && usec + 60_000_000 > now, "{usec} is not now, {now}");
        assert_eq!(&messages[2..], ["WATCHDOG=1", "STOPPING=1\nSTATUS=stopping"]);
    }

    #[test]
    fn a_socket_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        assert_protocol(&heard(path.into_os_string(), &manager));
    }

    #[test]
    fn a_socket_by_abstract_name() {
        let name = format!("sonde-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        assert_protocol(&heard(format!("@{name}").into(), &manager));
    }

    #[test]
    fn other_names_are_refused_and_a_manager_that_is_gone_stops_nothing() {
        assert!(open(&"vsock:2:1234".into()).is_err());
        assert!(open(&"".into()).is_err());
        let gone = open(&"/nonexistent/notify".into()).unwrap();
        Notify { manager: Some(gone), watchdog: None }.alive();
        Notify::default().alive();
    }

    #[test]
    fn the_watchdog_is_this_process_own() {
        let own = std::process::id().to_string();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(watchdog(text("30000000"), None), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(text("30000000"), Some(own)), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(text("30000000"), text("1")), None);
        for broken in ["0", "", "soon", "-1"] {
            assert_eq!(watchdog(text(broken), None), None, "{broken}");
        }
        assert_eq!(watchdog(None, None), None);
    }
}
