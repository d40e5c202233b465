//! Orders from the host, one a line, and their answers.
//!
//! An order that cannot be carried out is answered with `error`, in the kernel's words: whether that fails the test is the test's
//! business. An observation holds a scrape between two readings of the kernel's own files, as near as can be, so that the host can tell
//! a value that moved from one that is wrong.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};
use sonde_tests::{KeptConnection, Request, Response};

/// The program itself, for loads.
const SELF: &str = "/proc/self/exe";

/// What lasts from one order to the next.
#[derive(Default)]
struct Hands {
    /// Scrapers that keep their connection, by name.
    kept: BTreeMap<String, KeptConnection>,
    /// How each process of ours that ended has ended.
    ended: BTreeMap<String, String>,
}

/// Carries out orders for as long as the machine runs.
pub fn serve(port: &Path) {
    let open =
        || OpenOptions::new().read(true).write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed()).open(port);
    let mut answers = open().expect("the machine has a second serial port");
    let orders = BufReader::new(open().expect("it can be opened twice"));
    let mut hands = Hands::default();
    say(&mut answers, &json!({ "ready": true }));
    for line in orders.lines() {
        let line = line.expect("a serial port does not fail");
        let answer = serde_json::from_str(&line).map_err(io::Error::from).and_then(|order| hands.carry_out(&order));
        say(&mut answers, &answer.unwrap_or_else(|error| json!({ "error": error.to_string() })));
    }
}

fn say(port: &mut File, answer: &Value) {
    let line = format!("{answer}\n");
    port.write_all(line.as_bytes()).expect("a serial port does not fail");
}

impl Hands {
    fn carry_out(&mut self, order: &Value) -> io::Result<Value> {
        match text(order, "do")? {
            "mkdir" => fs::create_dir_all(text(order, "path")?).map(|()| json!({})),
            "rmdir" => fs::remove_dir(text(order, "path")?).map(|()| json!({})),
            "write" => fs::write(text(order, "path")?, text(order, "text")?).map(|()| json!({})),
            "read" => Ok(json!({ "files": files(order) })),
            "start" => start(order),
            "signal" => signal(order),
            "ended" => Ok(json!({ "ended": self.reap() })),
            "observe" => self.observe(order),
            other => Err(wrong(&format!("no such order: {other}"))),
        }
    }

    /// Files, a scrape, the same files again.
    fn observe(&mut self, order: &Value) -> io::Result<Value> {
        let before = files(order);
        let started = Instant::now();
        let response = self.scrape(order)?;
        let took = started.elapsed();
        let after = files(order);
        Ok(json!({
            "before": before, "after": after, "took_seconds": took.as_secs_f64(),
            "status": response.status, "body": String::from_utf8_lossy(&response.body),
        }))
    }

    /// Over the kept connection of the name `over`, where the order has one, else over a new one.
    fn scrape(&mut self, order: &Value) -> io::Result<Response> {
        let url = text(order, "url")?;
        let Ok(name) = text(order, "over") else { return Request::get(url).send() };
        let kept = match self.kept.remove(name) {
            Some(kept) => kept,
            None => KeptConnection::open(url)?,
        };
        // One that failed is not kept: the next scrape opens another, as a Prometheus does.
        let (kept, response) = kept.get(url)?;
        self.kept.insert(name.to_owned(), kept);
        Ok(response)
    }

    /// Takes note of all that have ended, orphans among them: it is this process that has to.
    fn reap(&mut self) -> &BTreeMap<String, String> {
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
            let how = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exited with {code}"),
                (None, Some(signal)) => format!("killed by signal {signal}"),
                (None, None) => continue,
            };
            self.ended.insert(pid.as_raw_nonzero().to_string(), how);
        }
        &self.ended
    }
}

fn files(order: &Value) -> BTreeMap<&str, Option<String>> {
    let paths = order["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    paths.iter().filter_map(Value::as_str).map(|path| (path, fs::read_to_string(path).ok())).collect()
}

/// Starts a program, or with `load` this one as a load, its output in the file `log`. Its environment is empty.
fn start(order: &Value) -> io::Result<Value> {
    let list =
        |key: &str| order[key].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str);
    let mut command = match order["program"].as_str() {
        Some(program) => Command::new(program),
        None => Command::new(SELF),
    };
    if order["program"].is_null() {
        command.arg(super::LOAD);
    }
    let log = File::options().create(true).append(true).open(order["log"].as_str().unwrap_or("/dev/console"))?;
    command.args(list("arguments")).env_clear().env("PATH", "/bin").stdin(Stdio::null());
    let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
    Ok(json!({ "pid": child.id() }))
}

fn signal(order: &Value) -> io::Result<Value> {
    let pid = order["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let signal = match text(order, "signal")? {
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "TERM" => Signal::TERM,
        other => return Err(wrong(&format!("no such signal: {other}"))),
    };
    kill_process(pid.ok_or_else(|| wrong("a signal needs a pid"))?, signal)?;
    Ok(json!({}))
}

fn text<'o>(order: &'o Value, key: &str) -> io::Result<&'o str> {
    order[key].as_str().ok_or_else(|| wrong(&format!("an order without {key}")))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}
