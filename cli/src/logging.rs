//! Logs of the daemons: text for a terminal, JSON for a collector, to standard error.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Args)]
pub struct Logging {
    /// Least severe lines to log: error, warn, info, debug (RUST_LOG overrides)
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: Level,
    /// Shape of a log line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl Logging {
    /// The same, as arguments for another process of ours.
    pub fn arguments(&self) -> [&'static str; 4] {
        let format = match self.log_format {
            Format::Text => "text",
            Format::Json => "json",
        };
        ["--log", self.log.as_str(), "--log-format", format]
    }

    /// Begins to log. A filter that means nothing falls back to `info`.
    pub fn start(&self) {
        let given = std::env::var("RUST_LOG").unwrap_or_else(|_| self.log.as_str().to_owned());
        let filter = EnvFilter::try_new(given).unwrap_or_else(|_| EnvFilter::new("info"));
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
        match self.log_format {
            Format::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
            Format::Json => lines.json().init(),
        }
    }
}
