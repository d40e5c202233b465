//! Which instances a rule is for: globs over what the runtime, not the tenant, says of them.
//!
//! A missing key matches everything. `*` stands for any run of characters; nothing else is special, because
//! a name is data and not a pattern language.

use sonde_collect::InstanceName;

/// Globs, all of which must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// The instance's name; its runtime's id where it has no name.
    pub name: Option<String>,
    /// `docker`, `runc`, `process-group`, …
    pub runtime: Option<String>,
    /// The runtime's own id, or the instance's UUID.
    pub id: Option<String>,
    pub image: Option<String>,
}

impl Match {
    /// Whether an instance is meant.
    pub fn matches(&self, instance: &InstanceName) -> bool {
        let name = instance.name.as_deref().unwrap_or(&instance.runtime_id);
        let uuid = instance.uuid.to_string();
        holds(self.name.as_deref(), name)
            && holds(self.runtime.as_deref(), instance.runtime.as_str())
            && holds(self.image.as_deref(), instance.image.as_deref().unwrap_or_default())
            && (holds(self.id.as_deref(), &instance.runtime_id) || holds(self.id.as_deref(), &uuid))
    }
}

fn holds(pattern: Option<&str>, text: &str) -> bool {
    pattern.is_none_or(|pattern| glob(pattern, text))
}

/// `*` matches any run of characters, none included. Linear in the text for each star: the last star only is tried again.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("redis", "redis", true),
            ("redis", "redis-1", false),
            ("redis*", "redis-1", true),
            ("*", "", true),
            ("*-cache-*", "eu-cache-1", true),
            ("*-cache-*", "cache", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*bc", "abcbc", true),
            ("ab*ba", "aba", false),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }
}
