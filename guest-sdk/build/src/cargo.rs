//! Runs cargo for wasm, and makes sensor files of what it built.
//!
//! One invocation serves any number of crates of one workspace, so std and the SDK are built once. The target folder is apart
//! from the native one: both have their own lock and neither throws the other's work away. Flags go through
//! the environment, so that a sensor's own configuration need hold none: a 32 KiB stack (design §7: a fresh run
//! took 12.3 µs with it instead of 21), and no paths of this machine in the file, since a sensor is known
//! by its digest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use toml::{Table, Value};

use crate::assemble::{AssembleError, assemble};
use crate::toolchain::{TARGET, Toolchain, Way};

/// Enough for what the SDK and the four shipped sensors do, several times over; a whole instance image of small pages.
const STACK_BYTES: u32 = 32 * 1024;
/// The profile of Sonde's own workspace; where there is none of this name, `release`.
const PROFILE: &str = "sensor";

/// Where things go.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cargo's target folder, kept from build to build and shared by all.
    pub target_dir: PathBuf,
    /// Where `NAME.wasm` is written.
    pub out_dir: PathBuf,
    /// Whether cargo's progress goes to standard error; if not, it is shown only with an error.
    pub progress: bool,
}

/// A sensor file, written.
#[derive(Debug, Clone)]
pub struct Built {
    /// The manifest's name.
    pub name: String,
    /// The component with its manifest.
    pub component: Vec<u8>,
    /// Where it was written.
    pub path: PathBuf,
    /// What a node will refuse or ignore, each a sentence.
    pub remarks: Vec<String>,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file of the crate cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The crate's Cargo.toml is not one of a sensor.
    #[error("{path} is not that of a sensor: {fault}")]
    Crate {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to write.
        fault: String,
    },
    /// Cargo does not start.
    #[error("{} does not start", program.display())]
    Start {
        /// Which cargo.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Cargo says no; it said why, on standard error or in `output`.
    #[error("cargo could not build it{}{output}", if output.is_empty() { "" } else { ":\n" })]
    Cargo {
        /// What cargo said, where it was not shown already.
        output: String,
    },
    /// The module and the manifest make no sensor.
    #[error("{} does not make a sensor", folder.display())]
    Assemble {
        /// Of which crate.
        folder: PathBuf,
        /// Why.
        #[source]
        source: AssembleError,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A crate, as far as its Cargo.toml says.
struct Crate {
    folder: PathBuf,
    package: String,
    /// What rustc calls the file.
    library: String,
    manifest: String,
}

/// Builds one crate: the folder with its Cargo.toml and sensor.toml.
///
/// # Errors
/// See [`BuildError`].
pub fn build(toolchain: &Toolchain, folder: &Path, options: &Options) -> Result<Built, BuildError> {
    let mut built = build_many(toolchain, &[folder.to_owned()], options)?;
    Ok(built.pop().expect("one crate in, one sensor out"))
}

/// Builds several crates of one workspace with one run of cargo; results in the same order.
///
/// # Errors
/// The first fault: see [`BuildError`].
pub fn build_many(toolchain: &Toolchain, folders: &[PathBuf], options: &Options) -> Result<Vec<Built>, BuildError> {
    let crates = folders.iter().map(|folder| Crate::read(folder)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = crates.first() else { return Ok(Vec::new()) };
    let workspace = workspace(toolchain, &first.folder)?;
    let profile = profile(&workspace)?;
    run_cargo(toolchain, &workspace, &crates, profile, options)?;
    // std built from source is another std: the ways must not mix in one folder.
    let modules = target_dir(toolchain, options).join(TARGET).join(profile);
    std::fs::create_dir_all(&options.out_dir)
        .map_err(|source| BuildError::Write { path: options.out_dir.clone(), source })?;
    crates.iter().map(|sensor| sensor.finish(&modules, &options.out_dir)).collect()
}

impl Crate {
    fn read(folder: &Path) -> Result<Self, BuildError> {
        let path = folder.join("Cargo.toml");
        let table = read_table(&path)?;
        let fault = |fault: &str| BuildError::Crate { path: path.clone(), fault: fault.to_owned() };
        let text = |table: Option<&Value>, key: &str| table?.get(key)?.as_str().map(str::to_owned);
        let package = text(table.get("package"), "name").ok_or_else(|| fault("it has no package.name"))?;
        let library = table.get("lib");
        let is_cdylib = library
            .and_then(|library| library.get("crate-type")?.as_array())
            .is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("cdylib")));
        if !is_cdylib {
            return Err(fault("write `[lib]` and `crate-type = [\"cdylib\", \"rlib\"]`"));
        }
        let library = text(library, "name").unwrap_or_else(|| package.clone()).replace('-', "_");
        let manifest = read_text(&folder.join("sensor.toml"))?;
        Ok(Self { folder: folder.to_owned(), package, library, manifest })
    }

    fn finish(&self, modules: &Path, out_dir: &Path) -> Result<Built, BuildError> {
        let module = modules.join(format!("{}.wasm", self.library));
        let bytes = std::fs::read(&module).map_err(|source| BuildError::Read { path: module, source })?;
        let sensor = assemble(&bytes, &self.manifest)
            .map_err(|source| BuildError::Assemble { folder: self.folder.clone(), source })?;
        let name = sensor.manifest.name;
        let path = out_dir.join(format!("{name}.wasm"));
        // Renamed into place: an agent that watches the folder never sees half a file.
        let partial = out_dir.join(format!(".{name}.wasm.{}", std::process::id()));
        std::fs::write(&partial, &sensor.component)
            .and_then(|()| std::fs::rename(&partial, &path))
            .map_err(|source| BuildError::Write { path: path.clone(), source })?;
        Ok(Built { name, component: sensor.component, path, remarks: sensor.remarks })
    }
}

/// The workspace's root manifest, as cargo sees it.
fn workspace(toolchain: &Toolchain, folder: &Path) -> Result<PathBuf, BuildError> {
    let mut command = Command::new(&toolchain.cargo);
    command.args(["locate-project", "--workspace", "--message-format", "plain"]).current_dir(folder);
    clean(&mut command);
    let output = command.output().map_err(|source| BuildError::Start { program: toolchain.cargo.clone(), source })?;
    if !output.status.success() {
        return Err(BuildError::Cargo { output: String::from_utf8_lossy(&output.stderr).into_owned() });
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn profile(workspace: &Path) -> Result<&'static str, BuildError> {
    let table = read_table(workspace)?;
    let own = table.get("profile").and_then(|profiles| profiles.get(PROFILE)).is_some();
    Ok(if own { PROFILE } else { "release" })
}

fn target_dir(toolchain: &Toolchain, options: &Options) -> PathBuf {
    match toolchain.way() {
        Way::Installed | Way::Fetched => options.target_dir.join("rustup"),
        Way::System => options.target_dir.join("system"),
    }
}

fn run_cargo(
    toolchain: &Toolchain,
    workspace: &Path,
    crates: &[Crate],
    profile: &str,
    options: &Options,
) -> Result<(), BuildError> {
    let mut command = toolchain.command();
    command
        .arg("build")
        .args(["--lib", "--target", TARGET, "--profile", profile])
        .arg("--manifest-path")
        .arg(workspace);
    for sensor in crates {
        command.args(["--package", &sensor.package]);
    }
    command.env("CARGO_TARGET_DIR", target_dir(toolchain, options));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(workspace).join("\u{1f}"));
    if toolchain.way() == Way::System {
        command.arg("-Zbuild-std=std,panic_abort");
    }
    if let Some(linker) = &toolchain.linker {
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    let start = |source| BuildError::Start { program: toolchain.cargo.clone(), source };
    if options.progress {
        let status = command.stdin(Stdio::null()).status().map_err(start)?;
        return if status.success() { Ok(()) } else { Err(BuildError::Cargo { output: String::new() }) };
    }
    let output = command.stdin(Stdio::null()).output().map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    Err(BuildError::Cargo { output: String::from_utf8_lossy(&output.stderr).trim_end().to_owned() })
}

/// Takes out of the environment what an outer cargo put in for its own build: under `cargo test` or
/// `cargo run` its compiler, flags and libraries would reach into ours.
pub(crate) fn clean(command: &mut Command) {
    for name in [
        "CARGO",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_MAKEFLAGS",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
}

/// Flags for rustc on wasm. With `--target`, cargo keeps them from build scripts and macros.
fn flags(workspace: &Path) -> Vec<String> {
    let mut flags = vec!["-C".to_owned(), format!("link-arg=-zstack-size={STACK_BYTES}")];
    let mut remap = |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    if let Some(home) = home {
        remap(&home, "/cargo");
    }
    if let Some(root) = workspace.parent() {
        remap(root, "/sensor");
    }
    flags
}

fn read_text(path: &Path) -> Result<String, BuildError> {
    std::fs::read_to_string(path).map_err(|source| BuildError::Read { path: path.to_owned(), source })
}

fn read_table(path: &Path) -> Result<Table, BuildError> {
    read_text(path)?.parse().map_err(|error: toml::de::Error| BuildError::Crate {
        path: path.to_owned(),
        fault: error.message().to_owned(),
    })
}
