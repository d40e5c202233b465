//! Writes a new sensor project: a probe that works, its test, its manifest, and the SDK.
//!
//! The project stands alone: it builds with no edit on a machine that has never seen Sonde's source, so it
//! carries the SDK and the world in `vendor/`, as this `sonde` was built with. It is a workspace of its own,
//! and may lie inside another one. The texts are the files of `src/template/`, with what stands between two `@` replaced.

use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));

/// Path in the project, and text.
const TEMPLATE: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("sensor.toml", include_str!("template/sensor.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("tests/probe.rs", include_str!("template/probe.rs.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", "/target\n*.wasm\n"),
];
const SDK_MANIFEST: &str = include_str!("template/sdk.toml.in");
/// A sensor's series begin with its name, and these beginnings are taken (design §5.5).
const TAKEN: [&str; 4] = ["sonde", "container", "scrape", "machine"];

/// Why no project was written.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The name is not one of a sensor.
    #[error(
        "{0:?} is not a name for a sensor: it begins with a-z, goes on with a-z, digits and -, and has at most 63 bytes"
    )]
    Name(String),
    /// The sensor's series would have taken names.
    #[error(
        "{0:?} is not a name for a sensor: series that begin with {1}_ are not a sensor's to claim; choose another name"
    )]
    Taken(String, &'static str),
    /// There is something of that name.
    #[error("{} is there already: choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Writes the project `NAME` into a folder of that name below `dir`, and returns its path.
///
/// # Errors
/// See [`NewError`]. What exists is never written to.
pub fn create(dir: &Path, name: &str) -> Result<PathBuf, NewError> {
    if !is_sensor_name(name) {
        return Err(NewError::Name(name.to_owned()));
    }
    if let Some(taken) = TAKEN.into_iter().find(|taken| name.split('-').next() == Some(*taken)) {
        return Err(NewError::Taken(name.to_owned(), taken));
    }
    let project = dir.join(name);
    let write_error = |path: &Path, source| NewError::Write { path: path.to_owned(), source };
    match std::fs::create_dir_all(dir).and_then(|()| std::fs::create_dir(&project)) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(NewError::Exists(project)),
        result => result.map_err(|source| write_error(&project, source))?,
    }
    let vendor = FILES.iter().map(|(path, text)| (format!("vendor/sonde-sensor/{path}"), (*text).to_owned()));
    let sdk = ("vendor/sonde-sensor/Cargo.toml".to_owned(), fill(SDK_MANIFEST, name));
    let own = TEMPLATE.iter().map(|(path, text)| ((*path).to_owned(), fill(text, name)));
    for (path, text) in own.chain([sdk]).chain(vendor) {
        let path = project.join(path);
        let folder = path.parent().expect("every path lies in the project");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| write_error(&path, source))?;
    }
    Ok(project)
}

/// As the manifest has it: `[a-z][a-z0-9-]{0,62}`.
fn is_sensor_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn fill(text: &str, name: &str) -> String {
    text.replace("@NAME@", name)
        .replace("@PREFIX@", &name.replace('-', "_"))
        .replace("@EDITION@", env!("SDK_EDITION"))
        .replace("@RUST_VERSION@", env!("SDK_RUST_VERSION"))
        .replace("@SDK_VERSION@", env!("SDK_VERSION"))
        .replace("@WIT_BINDGEN@", env!("SDK_WIT_BINDGEN"))
}
