//! Errors as people read them: the whole chain on one line, and why a configuration was not taken.
//!
//! Each module has errors of its own; what is here is only what every program of ours says alike, so that an operator reads the same sentence whichever one it
//! comes from. It knows no error of anybody's, and reads nothing but a configuration's text.

use std::error::Error;
use std::fmt::{Display, Write};
use std::io;
use std::path::Path;

/// An error and all that is behind it, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        // Writing to a string cannot fail.
        let _ = write!(line, ": {behind}");
        source = behind.source();
    }
    line
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path} cannot be read")]
    Read { path: String, source: io::Error },
    #[error("{path} is not valid: {message}")]
    Syntax { path: String, message: String },
    /// All that is wrong, each in a sentence.
    #[error("{path} is not valid: {}", .faults.join("; "))]
    Faults { path: String, faults: Vec<String> },
}

impl ConfigError {
    /// A parser's error, which may go over several lines, of the file that is shown so.
    pub fn syntax(shown: &str, error: &impl Display) -> Self {
        Self::Syntax { path: shown.into(), message: error.to_string().trim().replace('\n', " ") }
    }
}

/// A configuration's text.
///
/// # Errors
/// The file cannot be read, or is no text.
pub fn read_config(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.display().to_string(), source })
}

/// The folder from which a configuration's relative paths are meant: the file's own.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_behind_an_error_is_on_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("the agent cannot start")]
        struct Start {
            source: ConfigError,
        }
        let source = io::Error::from(io::ErrorKind::NotFound);
        let error = Start { source: ConfigError::Read { path: "agent.toml".into(), source } };
        assert_eq!(chain(&error), "the agent cannot start: agent.toml cannot be read: entity not found");
        let alone = ConfigError::syntax("agent.toml", &"line 1\n  | x\n");
        assert_eq!(chain(&alone), "agent.toml is not valid: line 1   | x");
        let faults = vec!["a is too large".to_owned(), "b is missing".to_owned()];
        let both = ConfigError::Faults { path: "proxy.toml".into(), faults };
        assert_eq!(chain(&both), "proxy.toml is not valid: a is too large; b is missing");
    }

    #[test]
    fn relative_paths_are_meant_from_the_files_own_folder() {
        let of = |path| folder_of(Path::new(path));
        assert_eq!((of("/etc/sonde/agent.toml"), of("agent.toml")), (Path::new("/etc/sonde"), Path::new(".")));
    }
}
