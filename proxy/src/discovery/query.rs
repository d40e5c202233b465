//! What a request asks for: its parameters, checked, in bounds.
//!
//! Groups are cmon's to the letter, because a Prometheus that has `groups` in its configuration must not be told another list by us: names between commas, any of
//! them, 1 to 100 of 1 to 100 letters, digits, `_` and `-`, none twice, the parameter itself once. What is wrong is a sentence and never JSON (`refusal` in the
//! module above).

use std::collections::BTreeSet;

use sonde_inventory::Instance;

use super::shard::{MOST as SHARDS, Shard};

/// The longest query that is looked at: a hundred groups of a hundred characters, percent-encoded commas between them, fit.
const LONGEST_BYTES: usize = 16 << 10;
const MOST_PARAMETERS: usize = 64;
/// node-triton-tags' bounds for `triton.cmon.groups`.
const MOST_GROUPS: usize = 100;
const LONGEST_GROUP: usize = 100;
const MOST_SELECTORS: usize = 16;

/// Why a query was not taken: shown to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("invalid query: {LONGEST_BYTES} bytes and {MOST_PARAMETERS} parameters are the most")]
    Size,
    #[error(
        "invalid \"groups\": 1 to {MOST_GROUPS} different names with commas between them, each of 1 to {LONGEST_GROUP} letters, digits, '_' and '-', \
         in one parameter"
    )]
    Groups,
    #[error("invalid \"match\": KEY=VALUE is one, with a key that is not empty, and {MOST_SELECTORS} are the most")]
    Selector,
    #[error("invalid \"shard\": I/N is one, from 0/N to N-1/N, with N up to {SHARDS}, and only one may be given")]
    Shard,
    #[error("invalid \"role\": instance, node and account are those there are")]
    Role,
    #[error("there is no parameter {name:?} here: groups, match, role and shard are those there are")]
    Unknown { name: String },
    #[error("a filter is not supported: use tags, or node_meta for labels and the shard")]
    Filter,
    #[error("there is no datacenter {asked:?} here: it is {ours:?}")]
    Datacenter { asked: String, ours: String },
    #[error("invalid \"{name}\"")]
    Number { name: &'static str },
}

/// A request's parameters, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let text = text.unwrap_or_default();
        if text.len() > LONGEST_BYTES || text.split('&').count() > MOST_PARAMETERS {
            return Err(Refusal::Size);
        }
        Ok(Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect()))
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Refuses what nothing here reads: a typing error would otherwise list everything.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            // Not more of it than helps.
            Some((name, _)) => Err(Refusal::Unknown { name: name.chars().take(40).collect() }),
            None => Ok(()),
        }
    }
}

/// Which of a caller's instances are asked for. The default is all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// In any of them; none means that it does not matter.
    groups: Option<Vec<String>>,
    /// In all of them: Consul's tags.
    pub(super) tags: Vec<String>,
    /// All of them.
    labels: Vec<(String, String)>,
    shard: Option<Shard>,
}

impl Selection {
    /// What `groups`, `match` and `shard` say.
    pub(super) fn of(query: &Query) -> Result<Self, Refusal> {
        let mut selection = Self::default().with_groups(query)?;
        for selector in query.all("match") {
            selection.add_label(selector.split_once('='))?;
        }
        for shard in query.all("shard") {
            selection.add_shard(shard)?;
        }
        Ok(selection)
    }

    fn with_groups(mut self, query: &Query) -> Result<Self, Refusal> {
        let mut given = query.all("groups");
        if let Some(list) = given.next() {
            self.groups = Some(groups(list)?);
        }
        if given.next().is_some() { Err(Refusal::Groups) } else { Ok(self) }
    }

    pub(super) fn add_label(&mut self, pair: Option<(&str, &str)>) -> Result<(), Refusal> {
        match pair {
            Some((key, value)) if !key.is_empty() && self.labels.len() < MOST_SELECTORS => {
                self.labels.push((key.to_owned(), value.to_owned()));
                Ok(())
            }
            _ => Err(Refusal::Selector),
        }
    }

    pub(super) fn add_shard(&mut self, text: &str) -> Result<(), Refusal> {
        let shard = Shard::parse(text)?;
        match self.shard.replace(shard) {
            // Two different ones would be a list of nothing at all.
            Some(other) if other != shard => Err(Refusal::Shard),
            _ => Ok(()),
        }
    }

    pub(super) fn has(&self, instance: &Instance) -> bool {
        self.groups.as_ref().is_none_or(|any| instance.groups.iter().any(|group| any.contains(group)))
            && self.tags.iter().all(|tag| instance.groups.contains(tag))
            && self.labels.iter().all(|(key, value)| instance.labels.get(key) == Some(value))
            && self.shard.is_none_or(|shard| shard.has(instance.id))
    }
}

fn groups(list: &str) -> Result<Vec<String>, Refusal> {
    let names: Vec<&str> = list.split(',').take(MOST_GROUPS + 1).collect();
    let is_name = |name: &&str| {
        (1..=LONGEST_GROUP).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    let differ = names.iter().collect::<BTreeSet<_>>().len() == names.len();
    if names.len() <= MOST_GROUPS && names.iter().all(is_name) && differ {
        Ok(names.into_iter().map(str::to_owned).collect())
    } else {
        Err(Refusal::Groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(text: &str) -> Result<Selection, Refusal> {
        Selection::of(&Query::parse(Some(text))?)
    }

    fn instance(groups: &[&str], labels: &[(&str, &str)]) -> Instance {
        let labels: serde_json::Map<_, _> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        let json = serde_json::json!({
            "id": uuid::Uuid::from_u128(7), "node": uuid::Uuid::from_u128(1), "owner": "a", "groups": groups, "labels": labels,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn groups_are_any_of_them_and_selectors_all() {
        let web = instance(&["web", "eu"], &[("tier", "front"), ("a=b", "c")]);
        for (text, has) in [
            ("", true),
            ("groups=web", true),
            ("groups=db%2Cweb", true),
            ("groups=db,us", false),
            // As cmon: letters as they are.
            ("groups=Web", false),
            ("match=tier=front", true),
            ("match=tier=front&match=zone=1", false),
            ("match=tier%3Dfront&groups=eu", true),
            ("match=tier=", false),
            ("match=tier=front&groups=db", false),
            ("shard=0/1", true),
        ] {
            assert_eq!(selection(text).unwrap().has(&web), has, "{text}");
        }
        assert!(!selection("groups=web").unwrap().has(&instance(&[], &[])));
    }

    #[test]
    fn groups_are_refused_as_cmon_refuses_them() {
        let hundred = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(selection(&format!("groups={hundred}")).is_ok());
        assert!(selection(&format!("groups={}", "x".repeat(100))).is_ok());
        for text in [
            "groups=".to_owned(),
            "groups".to_owned(),
            "groups=a,".to_owned(),
            "groups=a,,b".to_owned(),
            "groups=a,a".to_owned(),
            "groups=a&groups=b".to_owned(),
            "groups=a%20b".to_owned(),
            "groups=a.b".to_owned(),
            "groups=%C3%A9".to_owned(),
            "groups=%ff".to_owned(),
            format!("groups={hundred},x"),
            format!("groups={}", "x".repeat(101)),
        ] {
            let refusal = selection(&text).unwrap_err();
            assert!(refusal.to_string().starts_with("invalid \"groups\":"), "{text}: {refusal}");
        }
    }

    #[test]
    fn what_is_too_much_or_means_nothing_is_refused() {
        let many = vec!["match=a=b"; MOST_SELECTORS + 1].join("&");
        let long = format!("match=a={}", "x".repeat(LONGEST_BYTES));
        let parameters = vec!["x=y"; MOST_PARAMETERS + 1].join("&");
        for text in ["match=", "match=x", "match==x", "shard=1", "shard=0/2&shard=1/2", &many, &long, &parameters] {
            assert!(selection(text).is_err(), "{text:.60}");
        }
        let query = Query::parse(Some("group=web")).unwrap();
        assert_eq!(query.only(&["groups"]), Err(Refusal::Unknown { name: "group".into() }));
    }

    fn assert_bounded(text: &str, selection: &Selection) {
        let is_name = |name: &String| {
            (1..=LONGEST_GROUP).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        let groups = selection.groups.as_deref().unwrap_or_default();
        assert!(groups.len() <= MOST_GROUPS && groups.iter().all(is_name), "{text:?}: {groups:?}");
        assert!(selection.labels.len() <= MOST_SELECTORS, "{text:?}");
        assert!(selection.labels.iter().all(|(key, _)| !key.is_empty()), "{text:?}");
    }

    /// Queries at random, the same at each run: read or refused in a sentence that is no JSON, and what is read is within its bounds.
    #[test]
    fn any_query_is_read_within_its_bounds_or_refused() {
        const PARTS: [&str; 22] = [
            "groups=",
            "match=",
            "shard=",
            "role=",
            "web",
            "a,b",
            ",",
            "=",
            "&",
            "%",
            "%00",
            "%2C",
            "%3D",
            "0/3",
            "3/3",
            "18446744073709551616/2",
            "+",
            "\u{e9}",
            "tier=front",
            "{}",
            "[]",
            "null",
        ];
        let mut state = 0x5eed_u64;
        let mut roll = |sides: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % sides
        };
        let (mut read, mut refused) = (0, 0);
        for _ in 0..30_000 {
            let text: String = (0..roll(12)).map(|_| PARTS[roll(PARTS.len())]).collect();
            match selection(&text) {
                Ok(selection) => {
                    read += 1;
                    assert_bounded(&text, &selection);
                }
                Err(refusal) => {
                    refused += 1;
                    let sentence = refusal.to_string();
                    assert!(serde_json::from_str::<serde_json::Value>(&sentence).is_err(), "{text:?}: {sentence}");
                }
            }
        }
        assert!(read > 3_000 && refused > 3_000, "{read} were read and {refused} refused");
        // Past the bounds of size, whatever it says.
        for text in ["a&".repeat(MOST_PARAMETERS), "a".repeat(LONGEST_BYTES + 1)] {
            assert_eq!(selection(&text), Err(Refusal::Size));
        }
    }
}
