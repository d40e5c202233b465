//! What cmon-agent's way costs: a fork and an exec of a shell for one number.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::Error;

/// Long enough that the kernel's clock tick (10 ms) is well under 1 % of what is counted.
const FOR: Duration = Duration::from_secs(5);
/// `USER_HZ`, which the kernel's interface fixes at 100 on every architecture that Rust knows.
const TICK_US: f64 = 10_000.0;

/// CPU time for one `SHELL -c 'echo 1'`, ours for the fork and the shell's own, µs.
pub(crate) fn cpu_us_per_shell(program: &str) -> Result<f64, Error> {
    let before = cpu_ticks()?;
    let started = Instant::now();
    let mut shells = 0_u32;
    while started.elapsed() < FOR {
        let mut shell = Command::new(program);
        shell.args(["-c", "echo 1"]).stdin(Stdio::null());
        shell.output().map_err(|source| Error::Start { command: format!("{program} -c 'echo 1'"), source })?;
        shells += 1;
    }
    Ok((cpu_ticks()? - before) * TICK_US / f64::from(shells))
}

/// This process's CPU time and that of all children it has waited for (proc(5), fields 14 to 17).
fn cpu_ticks() -> Result<f64, Error> {
    let path = Path::new("/proc/self/stat");
    let stat =
        std::fs::read_to_string(path).map_err(|source| Error::File { verb: "read", path: path.to_owned(), source })?;
    // The second field is the program's name in parentheses and may hold spaces; the third is the first after it.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(after.split_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum())
}
