//! Lines of the log about what tenants can make happen without end: so many for each beat of the keeper's, and the rest as a number.
//!
//! A flood of claims, or of lives, must not become one of lines, in which the service manager would then lose the others. Nothing is
//! forgotten: what was not said is counted, and said together.

/// For each beat, a second.
const LINES: u64 = 20;

/// How many were said since the last beat, and how much was not.
#[derive(Debug, Default)]
pub(super) struct Lines {
    said: u64,
    unsaid: u64,
}

impl Lines {
    /// Whether a line may be written that stands for so many; else they are counted.
    pub(super) fn may_say(&mut self, of: u32) -> bool {
        let may = self.said < LINES;
        if may {
            self.said += 1;
        } else {
            self.unsaid += u64::from(of);
        }
        may
    }

    /// Lines may be written again; how many were not, if any.
    pub(super) fn beat(&mut self) -> Option<u64> {
        let Self { unsaid, .. } = std::mem::take(self);
        (unsaid > 0).then_some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_nothing_is_forgotten() {
        let mut lines = Lines::default();
        assert_eq!((0..LINES + 5).filter(|_| lines.may_say(2)).count() as u64, LINES);
        assert_eq!(lines.beat(), Some(10));
        assert_eq!((lines.may_say(1), lines.beat()), (true, None));
    }
}
