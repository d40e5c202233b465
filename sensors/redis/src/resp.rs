//! RESP2, as far as `AUTH` and `INFO` need it: commands as arrays of bulk strings, and replies that are a simple
//! string, an error or a bulk string. Reference: the Redis protocol specification, "RESP protocol description".

use sonde_sensor::stream::{Connection, Error};

/// `INFO` answers some 6 KiB; a peer that announces more than this is not Redis.
const MAX_REPLY_BYTES: usize = 128 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// A connection and what was read ahead on it.
pub struct Replies {
    connection: Connection,
    pending: Vec<u8>,
}

impl Replies {
    pub fn new(connection: Connection) -> Self {
        Self { connection, pending: Vec::new() }
    }

    /// Sends a command and returns its reply's text. An error reply is an error: it names the cause
    /// (`NOAUTH Authentication required.`).
    pub fn call(&mut self, command: &[&str]) -> Result<String, Error> {
        let mut bytes = ["*", &command.len().to_string(), "\r\n"].concat();
        for part in command {
            bytes.push_str(&["$", &part.len().to_string(), "\r\n", part, "\r\n"].concat());
        }
        self.connection.send(bytes.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> Result<String, Error> {
        let line = self.line()?;
        match line.split_at_checked(1) {
            Some(("+", text)) => Ok(text.to_owned()),
            Some(("-", text)) => Err(Error::Other(["the server answers: ", text].concat())),
            Some(("$", length)) => {
                let length = length.parse().ok().filter(|length| *length <= MAX_REPLY_BYTES).ok_or_else(odd)?;
                let body = self.take(length)?;
                self.take(2)?;
                String::from_utf8(body).map_err(|_| odd())
            }
            _ => Err(odd()),
        }
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut from = 0;
        loop {
            if let Some(end) = self.pending[from..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.take(from + end + 1)?;
                line.truncate(line.trim_ascii_end().len());
                return String::from_utf8(line).map_err(|_| odd());
            }
            from = self.pending.len();
            if from > MAX_REPLY_BYTES {
                return Err(odd());
            }
            self.more()?;
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        while self.pending.len() < length {
            self.more()?;
        }
        let rest = self.pending.split_off(length);
        Ok(std::mem::replace(&mut self.pending, rest))
    }

    fn more(&mut self) -> Result<(), Error> {
        let bytes = self.connection.receive(READ_BYTES)?;
        if bytes.is_empty() {
            return Err(Error::Closed);
        }
        self.pending.extend_from_slice(&bytes);
        Ok(())
    }
}

fn odd() -> Error {
    Error::Other("what answers there does not speak the Redis protocol".to_owned())
}
