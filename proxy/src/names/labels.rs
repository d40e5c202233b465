//! What a name below the zone's apex may mean, by its shape alone.
//!
//! Every well-formed id answers alike, whether there is such an instance or not, so nobody learns from DNS what exists; the door says it, to whom
//! it concerns. So nothing here looks into the catalogue. Shapes are told apart by characters: a list's label has no `-`, an id has four, an alias and its account two in a row.

/// The separator of `<alias>--<account>`.
const ALIAS_SEPARATOR: &[u8] = b"--";
/// Below it are lists by the account's name, for sources that may have them.
const BY_ACCOUNT: &[u8] = b"_list";
/// Before a shard's `I-N`.
const SHARD: u8 = b'_';

/// A name relative to the apex, lower case, the nearest to the root last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Apex,
    /// An instance or a node by its id or alias: whether there is one, nobody asks.
    Target,
    /// What may be a list, with its label, under which it has a group and a shard.
    Secret {
        label: String,
        part: Part,
    },
    /// A list by the account's label.
    ByAccount {
        account: String,
        part: Part,
    },
    /// Where lists by account are, itself.
    ByAccountRoot,
    Nothing,
}

/// Which part of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) group: Option<String>,
    /// Index, and of how many.
    pub(super) shard: Option<(u32, u32)>,
}

impl Shape {
    pub(super) fn of(labels: &[Vec<u8>]) -> Self {
        match labels {
            [] => Self::Apex,
            [one] if is_id(one) || is_alias(one) => Self::Target,
            [one] if one == BY_ACCOUNT => Self::ByAccountRoot,
            [below @ .., account, root] if root == BY_ACCOUNT => match (text(account), Part::of(below)) {
                (Some(account), Some(part)) => Self::ByAccount { account, part },
                _ => Self::Nothing,
            },
            [below @ .., label] if is_secret(label) => match (text(label), Part::of(below)) {
                (Some(label), Some(part)) => Self::Secret { label, part },
                _ => Self::Nothing,
            },
            _ => Self::Nothing,
        }
    }
}

impl Part {
    /// `[_I-N.][GROUP.]`.
    fn of(labels: &[Vec<u8>]) -> Option<Self> {
        match labels {
            [] => Some(Self::default()),
            [one] if one.first() == Some(&SHARD) => Some(Self { group: None, shard: Some(shard(one)?) }),
            [group] => Some(Self { group: Some(text(group)?), shard: None }),
            [first, group] if first.first() == Some(&SHARD) => {
                Some(Self { group: Some(text(group)?), shard: Some(shard(first)?) })
            }
            _ => None,
        }
    }
}

fn text(label: &[u8]) -> Option<String> {
    let is_plain = label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    is_plain.then(|| String::from_utf8_lossy(label).into_owned())
}

fn shard(label: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(label.get(1..)?).ok()?;
    let (index, of) = text.split_once('-')?;
    let is_number = |digits: &str| (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(index) && is_number(of)).then(|| Some((index.parse().ok()?, of.parse().ok()?)))?
}

/// 8-4-4-4-12 digits of hexadecimal, as the door takes it and no otherwise.
fn is_id(label: &[u8]) -> bool {
    label.len() == 36
        && label.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_alias(label: &[u8]) -> bool {
    let is_plain = label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let inner = label.len().checked_sub(1).and_then(|last| label.get(1..last)).unwrap_or_default();
    is_plain && inner.windows(ALIAS_SEPARATOR.len()).any(|two| two == ALIAS_SEPARATOR)
}

/// Whether it looks like a list's label: [`super::lists`] knows which are.
fn is_secret(label: &[u8]) -> bool {
    label.len() == super::lists::LABEL && label.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str) -> Shape {
        Shape::of(
            &name.split('.').filter(|label| !label.is_empty()).map(|label| label.into()).collect::<Vec<Vec<u8>>>(),
        )
    }

    #[test]
    fn a_name_means_what_its_shape_says() {
        let secret = "abcdefghijklmnopqrstuvwxyz234567";
        let part = |group: Option<&str>, shard| Part { group: group.map(str::to_owned), shard };
        for (name, expected) in [
            ("", Shape::Apex),
            ("ns", Shape::Nothing),
            ("00000000-0000-0000-0000-00000000000f", Shape::Target),
            ("web--acme", Shape::Target),
            ("a--b--c", Shape::Target),
            ("--a", Shape::Nothing),
            ("a--", Shape::Nothing),
            ("--", Shape::Nothing),
            ("a-b", Shape::Nothing),
            ("a_b--c", Shape::Nothing),
            ("0000000000000000000000000000000f", Shape::Nothing),
            ("x.web--acme", Shape::Nothing),
            ("_list", Shape::ByAccountRoot),
            ("acme._list", Shape::ByAccount { account: "acme".into(), part: Part::default() }),
            ("web.acme._list", Shape::ByAccount { account: "acme".into(), part: part(Some("web"), None) }),
            (secret, Shape::Secret { label: secret.into(), part: Part::default() }),
        ] {
            assert_eq!(shape(name), expected, "{name}");
        }
        for (below, expected) in [
            ("_0-3", part(None, Some((0, 3)))),
            ("_0-3.web", part(Some("web"), Some((0, 3)))),
            ("web", part(Some("web"), None)),
        ] {
            assert_eq!(shape(&format!("{below}.{secret}")), Shape::Secret { label: secret.into(), part: expected });
        }
        for below in ["_", "_a-b", "_0", "_0-999999", "_1-2-3", "web._0-3", "x.y", "_0-3.x.y", "a b"] {
            assert_eq!(shape(&format!("{below}.{secret}")), Shape::Nothing, "{below}");
        }
    }
}
