//! Where the keeper reads the configuration: the file, and what holds where it is silent. It is read anew each second, so nothing is kept here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};

/// Where the configuration comes from, and where to listen when it does not say.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    pub path: PathBuf,
    pub default_listen: SocketAddr,
    /// Whether another port will do where the default one is taken: only for who reads from a file which it is.
    pub any_port: bool,
}

impl ConfigSource {
    /// The file's text.
    pub(crate) fn read(&self) -> Result<String, ConfigError> {
        let path = self.path.display().to_string();
        std::fs::read_to_string(&self.path).map_err(|source| ConfigError::Read { path, source })
    }

    /// What the text means.
    pub(crate) fn parse(&self, text: &str) -> Result<Config, ConfigError> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Config::parse(text, folder, &self.path.display().to_string(), self.default_listen)
    }
}
