//! How a command fails: one sentence, and an exit code.

use std::io::ErrorKind;
use std::process::ExitCode;

/// What went wrong, in a sentence.
#[derive(Debug)]
pub struct Failure {
    sentence: String,
    code: u8,
}

impl Failure {
    /// It failed: exit code 1.
    pub fn failed(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), code: 1 }
    }

    /// Wrong usage or configuration: exit code 2.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), code: 2 }
    }

    /// Says it on standard error.
    pub fn exit(self) -> ExitCode {
        if !self.sentence.is_empty() {
            eprintln!("sonde: {}", self.sentence);
        }
        ExitCode::from(self.code)
    }
}

/// Writes to standard output. Whoever closed it (`sonde get X | head`) has seen enough, and that is no failure.
pub fn print(bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
