//! The zone's serial: when its content last changed, in seconds since 1970.
//!
//! Time and not a count, so that it goes on after a restart, and two proxies say about the same. It is never ahead of the clock: a change within the
//! second of the one before it is told in the next. A clock that is set back holds it where it is.

use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Default)]
pub(super) struct Serial {
    last: u32,
    /// What it was made of.
    content: Option<u64>,
}

impl Serial {
    /// The serial of this content.
    pub(super) fn of(&mut self, content: u64, now: SystemTime) -> u32 {
        let seconds = now.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
        // RFC 1982's circle: the numbers go on past 2106.
        let seconds = (seconds & u64::from(u32::MAX)) as u32;
        if self.content != Some(content) && (self.content.is_none() || seconds > self.last) {
            self.last = seconds;
            self.content = Some(content);
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_moves_with_the_content_once_a_second_and_never_back() {
        let mut serial = Serial::default();
        let mut at = |content, seconds| serial.of(content, UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1, 1000), 1000);
        assert_eq!(at(1, 2000), 1000);
        assert_eq!(at(2, 2000), 2000);
        assert_eq!((at(3, 2000), at(3, 2001)), (2000, 2001));
        assert_eq!((at(4, 500), at(4, 2002)), (2001, 2002));
    }
}
