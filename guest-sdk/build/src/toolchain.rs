//! Finds what can compile Rust to `wasm32-unknown-unknown` on this machine.
//!
//! Three ways, in this order: the target that rustup has; Debian's `rustc-web` family, which builds std from its source
//! package; the target fetched by rustup now. What is on the machine comes before what is not, because rustup cannot
//! reach its server everywhere (design §7) and takes a minute to say so. `rustc-web` brings no linker, so rustup's own
//! `rust-lld`, or any `wasm-ld`, is lent to it. Nothing is installed but the target by rustup, and paths come from the
//! tools themselves.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cargo::clean;

/// The target of every sensor written in Rust.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// The oldest compiler that the SDK builds with: the workspace's `rust-version`, like `1.95`.
const OLDEST: &str = env!("SDK_RUST_VERSION");
/// Fetching the target is some 20 MiB; a server that cannot be reached must not hold up a build that
/// has another way.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Where Debian puts its tools; rustup's come first in the PATH of whoever has both.
const SYSTEM_BIN: &str = "/usr/bin";

/// How wasm is built here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The compiler on PATH has the target.
    Installed,
    /// Debian's packages `rustc-web`, `cargo-web` and `rust-web-src`; std is built with the sensor.
    System,
    /// rustup fetched the target just now.
    Fetched,
}

/// What compiles Rust to wasm.
#[derive(Debug, Clone)]
pub struct Toolchain {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    pub(crate) linker: Option<PathBuf>,
    way: Way,
}

/// No way was found.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Nothing on this machine compiles to wasm; the text says what each way lacks.
    #[error(
        "Rust cannot be compiled to WebAssembly on this machine ({lacks}): run `rustup target add {TARGET}`, or on \
         Debian install the packages rustc-web, cargo-web, rust-web-src and lld"
    )]
    None {
        /// What each way lacks.
        lacks: String,
    },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::Installed => write!(f, "{} with the target {TARGET}", self.rustc.display()),
            Way::Fetched => write!(f, "{} with the target {TARGET}, fetched by rustup just now", self.rustc.display()),
            Way::System => write!(f, "{} with std built from its source package", self.rustc.display()),
        }
    }
}

impl Toolchain {
    /// Finds the first way that works. May ask rustup, which may take a minute: find once, and pass it along.
    ///
    /// # Errors
    /// None does; the sentence names what to install.
    pub fn find() -> Result<Self, ToolchainError> {
        let installed = match Self::installed() {
            Ok(toolchain) => return Ok(toolchain),
            Err(lack) => lack,
        };
        let system = match Self::system() {
            Ok(toolchain) => return Ok(toolchain),
            Err(lack) => lack,
        };
        Self::fetched().map_err(|fetched| ToolchainError::None { lacks: format!("{installed}; {system}; {fetched}") })
    }

    /// A cargo that compiles with it, whatever an outer cargo has put into the environment. Debian's knows no target but its own: std is built with
    /// what needs another (`-Zbuild-std`).
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        clean(&mut command);
        command.env("RUSTC", &self.rustc);
        if self.way == Way::System {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// Which way it is.
    pub fn way(&self) -> Way {
        self.way
    }

    /// The compiler on PATH, if it has the target.
    ///
    /// # Errors
    /// What is lacking, as a clause.
    pub fn installed() -> Result<Self, String> {
        let rustc = PathBuf::from("rustc");
        check_version(&rustc)?;
        let folder = output(Command::new(&rustc).args(["--print", "target-libdir", "--target", TARGET]))
            .ok_or_else(|| format!("{} does not know the target", rustc.display()))?;
        let has_core = std::fs::read_dir(&folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
        });
        if !has_core {
            return Err("the compiler on PATH has no std for the target".to_owned());
        }
        Ok(Self { cargo: PathBuf::from("cargo"), rustc, linker: None, way: Way::Installed })
    }

    /// The same, after asking rustup for the target.
    fn fetched() -> Result<Self, String> {
        let mut child = Command::new("rustup")
            .args(["target", "add", TARGET])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| "there is no rustup".to_owned())?;
        let deadline = Instant::now() + FETCH_DEADLINE;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => break,
                Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
                Ok(Some(_)) => return Err("rustup cannot fetch it".to_owned()),
                Ok(None) | Err(_) => {
                    // It may have ended meanwhile; either way it is gone after this.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("rustup did not fetch it in {} s", FETCH_DEADLINE.as_secs()));
                }
            }
        }
        Self::installed().map(|toolchain| Self { way: Way::Fetched, ..toolchain })
    }

    /// Debian's compiler with its source package.
    ///
    /// # Errors
    /// What is lacking, as a clause.
    pub fn system() -> Result<Self, String> {
        let (rustc, cargo) = (Path::new(SYSTEM_BIN).join("rustc"), Path::new(SYSTEM_BIN).join("cargo"));
        check_version(&rustc)?;
        if !cargo.is_file() {
            return Err(format!("there is no {}", cargo.display()));
        }
        let sysroot = sysroot(&rustc).ok_or_else(|| format!("{} does not run", rustc.display()))?;
        if !sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file() {
            return Err(format!("{} has no source of std (package rust-web-src)", rustc.display()));
        }
        let linker = linker(&sysroot).ok_or("there is no linker for wasm (package lld)")?;
        Ok(Self { cargo, rustc, linker: Some(linker), way: Way::System })
    }
}

/// `rustc 1.96.0 (…)`: there at all, and new enough.
fn check_version(rustc: &Path) -> Result<(), String> {
    let text =
        output(Command::new(rustc).arg("--version")).ok_or_else(|| format!("there is no {}", rustc.display()))?;
    let minor = |version: &str| version.strip_prefix("1.")?.split('.').next()?.parse::<u32>().ok();
    let found = text.split(' ').nth(1).and_then(minor);
    match (found, minor(OLDEST)) {
        (Some(found), Some(oldest)) if found >= oldest => Ok(()),
        _ => Err(format!("{} is {text}, older than {OLDEST}", rustc.display())),
    }
}

/// A linker that rustc can lend itself: rust-lld of any toolchain here, or a `wasm-ld` on PATH.
fn linker(system: &Path) -> Option<PathBuf> {
    let roots = [sysroot(Path::new("rustc")), Some(system.to_owned())];
    for root in roots.into_iter().flatten() {
        let Ok(hosts) = std::fs::read_dir(root.join("lib/rustlib")) else { continue };
        let found = hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|path| path.is_file());
        if found.is_some() {
            return found;
        }
    }
    // Debian's package lld-19 alone brings `wasm-ld-19` and no `wasm-ld`.
    let paths = std::env::var_os("PATH")?;
    let mut found: Vec<PathBuf> = std::env::split_paths(&paths)
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(Iterator::flatten)
        .filter(|entry| entry.file_name().to_str().is_some_and(is_wasm_ld))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.into_iter().next()
}

fn is_wasm_ld(name: &str) -> bool {
    name.strip_prefix("wasm-ld").is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('-').is_some_and(|version| version.parse::<u32>().is_ok())
    })
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    output(Command::new(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// What a command prints, or `None` where it fails.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
