//! Where the keeper reads the configuration: the file, and what holds where it is silent. It is read anew each second, so nothing is kept here.

use std::net::SocketAddr;
use std::path::PathBuf;

use sonde_fault::{ConfigError, folder_of, read_config};

use crate::config::Config;

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
        read_config(&self.path)
    }

    /// What the text means.
    pub(crate) fn parse(&self, text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, folder_of(&self.path), &self.path.display().to_string(), self.default_listen)
    }
}
