//! `match`, `[[instance]]` and `[[owner]]`: which instances a rule is for, what is one, and whose it is.
//!
//! The two lists are apart because they may ask different things. What an instance *is* may be told by all that is known of it, labels
//! and images too. Whose it is may not hang on what a tenant writes (design §5.7), so an `[[owner]]` that asks for such a thing is refused
//! here, unless it says whose labels the operator trusts.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sonde_collect::template::Field;
use sonde_collect::{InstanceRule, Match, Rules, Runtime, Template};

use super::print::{table, text};
use super::{Config, is_plain_name};

/// Which account owns what matches. Only of what tenants cannot set.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnerRule {
    /// The account's name, which places in it may make.
    pub account: Template,
    pub matching: Match,
    /// The runtime whose labels the operator trusts for this rule; it is then for no other runtime.
    pub trust_labels_of: Option<Runtime>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOwner {
    account: String,
    #[serde(rename = "match")]
    matching: RawMatching,
    trust_labels_of: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInstance {
    #[serde(rename = "match")]
    matching: RawMatching,
    instance: Option<bool>,
    name: Option<String>,
}

/// A table of globs, or one glob in place of it, which is the name's.
#[derive(Debug, Default)]
pub(super) struct RawMatching(RawMatch);

impl<'de> Deserialize<'de> for RawMatching {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawMatching;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name such as \"cache*\", or a table of name, runtime, id and image")?;
                f.write_str(", cgroup, namespace, containerd_namespace, user, slice and labels")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(RawMatching(RawMatch { name: Some(name.to_owned()), ..RawMatch::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                RawMatch::deserialize(MapAccessDeserializer::new(map)).map(RawMatching)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawMatch {
    name: Option<String>,
    runtime: Option<String>,
    id: Option<String>,
    image: Option<String>,
    cgroup: Option<String>,
    namespace: Option<String>,
    containerd_namespace: Option<String>,
    user: Option<String>,
    slice: Option<String>,
    labels: BTreeMap<String, String>,
}

/// What a table of globs means. `whose` names the rule in faults.
pub(super) fn matching(whose: &str, RawMatching(raw): RawMatching, faults: &mut Vec<String>) -> Match {
    let known = Runtime::ALL.map(Runtime::as_str);
    if let Some(runtime) = raw.runtime.as_deref().filter(|runtime| !runtime.contains('*') && !known.contains(runtime)) {
        faults.push(format!("{whose}: match.runtime is {runtime:?}: one of {} is allowed", known.join(", ")));
    }
    let starts_right = |cgroup: &&str| cgroup.starts_with('/') || cgroup.starts_with('*');
    if let Some(cgroup) = raw.cgroup.as_deref().filter(|cgroup| !starts_right(cgroup)) {
        faults.push(format!("{whose}: match.cgroup is {cgroup:?}, and a cgroup path begins with a slash"));
    }
    if let Some(user) = raw.user.as_deref().filter(|user| !user.bytes().all(|b| b.is_ascii_digit() || b == b'*')) {
        faults.push(format!("{whose}: match.user is {user:?}: a number such as \"1000\" is allowed"));
    }
    Match {
        name: raw.name,
        runtime: raw.runtime,
        id: raw.id,
        image: raw.image,
        cgroup: raw.cgroup,
        namespace: raw.namespace,
        containerd_namespace: raw.containerd_namespace,
        user: raw.user,
        slice: raw.slice,
        labels: raw.labels,
    }
}

/// `[[instance]]`, in its order.
pub(super) fn instances(raw: Vec<RawInstance>, faults: &mut Vec<String>) -> Rules {
    let rules = raw.into_iter().enumerate().filter_map(|(at, raw)| instance(at + 1, raw, faults));
    Rules::new(rules.collect())
}

fn instance(number: usize, raw: RawInstance, faults: &mut Vec<String>) -> Option<InstanceRule> {
    let whose = format!("instance {number}");
    let before = faults.len();
    let matching = matching(&whose, raw.matching, faults);
    let instance = raw.instance.unwrap_or(true);
    let name = raw.name.map(|name| Template::parse(&name).map_err(|error| (name, error))).transpose();
    let name = name.unwrap_or_else(|(name, error)| {
        faults.push(format!("{whose}: name is {name:?}: {error}"));
        None
    });
    if !instance && name.is_some() {
        faults.push(format!("{whose}: what is left out needs no name"));
    }
    if name.as_ref().is_some_and(|name| name.fixed() == Some("")) {
        faults.push(format!("{whose}: name is empty"));
    }
    if name.iter().flat_map(Template::fields).any(|field| matches!(field, Field::Label(_))) {
        faults.push(format!("{whose}: a label cannot name an instance, since names decide owners"));
    }
    if name.is_some() && matching.asks_a_tenant() {
        faults.push(format!("{whose}: a rule that asks for labels or an image cannot name, since names decide owners"));
    }
    let runtime = matching.runtime.as_deref().and_then(Runtime::named);
    if runtime == Some(Runtime::ProcessGroup) {
        faults.push(format!("{whose}: process groups are what [[process_group]] says, and no rule is for them"));
    }
    if let Some(runtime @ (Runtime::SystemdSlice | Runtime::Cgroup)) = runtime.filter(|_| instance)
        && matching.cgroup.is_none()
    {
        let runtime = runtime.as_str();
        faults.push(format!(
            "{whose}: runtime {runtime:?} needs match.cgroup, else it takes the whole machine as one instance"
        ));
    }
    if let Some(runtime) = runtime.filter(|runtime| Runtime::UNCLAIMED.contains(runtime))
        && (matching.asks_a_tenant() || matching.namespace.is_some() || matching.containerd_namespace.is_some())
    {
        let runtime = runtime.as_str();
        faults.push(format!("{whose}: what is {runtime:?} has no image, labels or namespace to match"));
    }
    (faults.len() == before).then_some(InstanceRule { matching, instance, name })
}

/// An owner is never decided by what a tenant may set: an image's name can be such a thing (an annotation of the bundle), and labels are.
pub(super) fn owner(raw: RawOwner, faults: &mut Vec<String>) -> Option<OwnerRule> {
    let whose = format!("owner {:?}", raw.account);
    let before = faults.len();
    let account = match Template::parse(&raw.account) {
        Ok(account) => account,
        Err(error) => {
            faults.push(format!("{whose}: {error}"));
            return None;
        }
    };
    if !is_account_like(&account) {
        faults.push(format!("owner.account is {:?}: 1 to 63 of a-z A-Z 0-9 . _ - are allowed", raw.account));
    }
    if raw.matching.0.image.is_some() {
        faults.push(format!("{whose}: match.image cannot decide an owner; name, runtime, id, cgroup, namespace, containerd_namespace, user and slice can"));
    }
    let trust_labels_of = raw.trust_labels_of.as_deref().and_then(|name| {
        let runtime = Runtime::named(name);
        if runtime.is_none() {
            let known = Runtime::ALL.map(Runtime::as_str).join(", ");
            faults.push(format!("{whose}: trust_labels_of is {name:?}: one of {known} is allowed"));
        }
        runtime
    });
    let matching = matching(&whose, raw.matching, faults);
    let fields: Vec<&Field> = account.fields().collect();
    for field in fields.iter().filter(|field| matches!(field, Field::Name | Field::Id | Field::Pod | Field::Container))
    {
        faults.push(format!("{whose}: {{{field}}} cannot decide an owner; {{namespace}}, {{containerd_namespace}}, {{user}} and {{slice}} can"));
    }
    let asks_labels = !matching.labels.is_empty() || fields.iter().any(|field| matches!(field, Field::Label(_)));
    match (asks_labels, &raw.trust_labels_of) {
        (true, None) => faults.push(format!(
            "{whose}: a label cannot decide an owner, since an image or a tenant may have set it; trust_labels_of = \"RUNTIME\" trusts that runtime's, at your risk"
        )),
        (false, Some(_)) => faults.push(format!("{whose}: trust_labels_of is for a rule that asks for labels")),
        _ => {}
    }
    (faults.len() == before).then_some(OwnerRule { account, matching, trust_labels_of })
}

impl Config {
    /// The keys of labels that any rule asks for.
    pub(crate) fn asked_labels(&self) -> BTreeSet<String> {
        let sensors = self.sensors.iter().map(|rule| &rule.matching);
        let instances = self.instances.iter().map(|rule| &rule.matching);
        let owners = self.owners.iter().map(|rule| &rule.matching);
        let matched = sensors.chain(instances).chain(owners).flat_map(|matching| matching.labels.keys().cloned());
        let filled = self.owners.iter().flat_map(|rule| rule.account.fields()).filter_map(|field| match field {
            Field::Label(key) => Some(key.clone()),
            _ => None,
        });
        matched.chain(filled).collect()
    }
}

/// Whether a template makes an account's name where its places are filled with one character.
fn is_account_like(account: &Template) -> bool {
    let places =
        account.fields().fold(account.to_string(), |text, field| text.replacen(&format!("{{{field}}}"), "x", 1));
    is_plain_name(&places)
}

/// A match as the table that it is read from.
pub(super) fn match_table(matching: &Match) -> toml::Value {
    let keys = [
        ("name", &matching.name),
        ("runtime", &matching.runtime),
        ("id", &matching.id),
        ("image", &matching.image),
        ("cgroup", &matching.cgroup),
        ("namespace", &matching.namespace),
        ("containerd_namespace", &matching.containerd_namespace),
        ("user", &matching.user),
        ("slice", &matching.slice),
    ];
    let mut written = table(keys.into_iter().filter_map(|(key, glob)| Some((key, text(glob.as_ref()?)))));
    if !matching.labels.is_empty() {
        let labels = matching.labels.iter().map(|(key, glob)| (key.as_str(), text(glob)));
        written.insert("labels".into(), table(labels).into());
    }
    written.into()
}

/// The rules as the arrays that they are read from.
pub(super) fn instances_array(rules: &Rules) -> toml::Value {
    let rules = rules.iter().map(|rule| {
        let mut written = table([("match", match_table(&rule.matching)), ("instance", rule.instance.into())]);
        written.extend(rule.name.iter().map(|name| ("name".to_owned(), text(name))));
        written.into()
    });
    toml::Value::Array(rules.collect())
}

pub(super) fn owners_array(owners: &[OwnerRule]) -> toml::Value {
    let owners = owners.iter().map(|rule| {
        let mut written = table([("account", text(&rule.account)), ("match", match_table(&rule.matching))]);
        written.extend(rule.trust_labels_of.map(|runtime| ("trust_labels_of".to_owned(), text(runtime.as_str()))));
        written.into()
    });
    toml::Value::Array(owners.collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    fn faults(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn an_image_decides_no_owner_and_a_runtime_is_a_known_one() {
        let error = faults("[[owner]]\naccount = \"acme\"\nmatch = { image = \"acme/*\" }");
        assert!(error.contains("cannot decide an owner"), "{error}");
        let error = faults("[[sensor]]\nfile = \"x.wasm\"\nmatch = { runtime = \"dokcer\" }");
        assert!(error.contains("dokcer") && error.contains("docker, containerd"), "{error}");
    }

    #[test]
    fn a_match_is_a_name_or_a_table() {
        let of = |matching: &str| parse(&format!("[[sensor]]\nfile = \"sensors/x.wasm\"\nmatch = {matching}"));
        let by_name = of("\"cache*\"").unwrap().sensors.remove(0);
        assert_eq!(by_name, of("{ name = \"cache*\" }").unwrap().sensors.remove(0));
        assert_eq!(by_name.file, "x.wasm");
        assert!(of("{ nmae = \"x\" }").unwrap_err().contains("nmae"));
        assert!(of("7").unwrap_err().contains("a table of name, runtime, id and image"));
        let error = of("{ cgroup = \"system.slice\", user = \"me\" }").unwrap_err();
        assert!(error.contains("begins with a slash") && error.contains("match.user is \"me\""), "{error}");
    }

    #[test]
    fn an_owner_hangs_on_nothing_that_a_tenant_writes() {
        for (rule, said) in [
            ("account = \"acme\"\nmatch = { labels = { owner = \"acme\" } }", "a label cannot decide an owner"),
            ("account = \"{label:owner}\"\nmatch = {}", "a label cannot decide an owner"),
            ("account = \"{name}\"\nmatch = {}", "{name} cannot decide an owner"),
            ("account = \"{pod}\"\nmatch = {}", "{pod} cannot decide an owner"),
            ("account = \"{colour}\"\nmatch = {}", "{colour} is nothing that is known"),
            ("account = \"a{\"\nmatch = {}", "a brace without its other half"),
            ("account = \"a b\"\nmatch = {}", "owner.account is \"a b\""),
            ("account = \"{namespace}/x\"\nmatch = {}", "owner.account"),
            ("account = \"x\"\nmatch = {}\ntrust_labels_of = \"docker\"", "is for a rule that asks for labels"),
            ("account = \"{label:o}\"\nmatch = {}\ntrust_labels_of = \"dokcer\"", "trust_labels_of is \"dokcer\""),
        ] {
            let error = faults(&format!("[[owner]]\n{rule}"));
            assert!(error.contains(said), "{said} is not in: {error}");
        }
        parse("[[owner]]\naccount = \"{label:o}\"\nmatch = {}\ntrust_labels_of = \"docker\"").unwrap();
        parse("[[owner]]\naccount = \"k8s-{namespace}\"\nmatch = { namespace = \"team-*\" }").unwrap();
    }

    #[test]
    fn instances_are_said_in_full() {
        for (rule, said) in [
            ("match = { runtime = \"cgroup\" }", "instance 1: runtime \"cgroup\" needs match.cgroup"),
            ("match = { runtime = \"systemd-slice\" }", "needs match.cgroup"),
            ("match = { runtime = \"systemd\", image = \"x\" }", "has no image"),
            ("match = { runtime = \"process-group\" }", "no rule is for them"),
            ("match = {}\nname = \"{label:x}\"", "a label cannot name an instance"),
            ("match = { labels = { a = \"b\" } }\nname = \"x\"", "cannot name"),
            ("match = { image = \"bank\" }\nname = \"bank\"", "cannot name"),
            ("match = {}\nname = \"{x}\"", "{x} is nothing"),
            ("match = {}\nname = \"\"", "name is empty"),
            ("match = {}\nname = \"x\"\ninstance = false", "needs no name"),
            ("instance = false", "match"),
            ("match = {}\nis = false", "is"),
        ] {
            let error = faults(&format!("[[instance]]\n{rule}"));
            assert!(error.contains(said), "{said} is not in: {error}");
        }
        let config =
            parse("[[instance]]\nmatch = { runtime = \"systemd\" }\n[[instance]]\nmatch = \"x*\"\ninstance = false")
                .unwrap();
        assert_eq!(config.instances.iter().map(|rule| rule.instance).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn every_label_that_a_rule_asks_for_is_known() {
        let sensor = "[[sensor]]\nfile = \"x.wasm\"\nmatch = { labels = { a = \"x\" } }\n";
        let instance = "[[instance]]\nmatch = { labels = { b = \"x\" } }\ninstance = false\n";
        let owner =
            "[[owner]]\naccount = \"{label:c}\"\nmatch = { labels = { d = \"x\" } }\ntrust_labels_of = \"docker\"\n";
        let config = parse(&[sensor, instance, owner].concat()).unwrap();
        assert!(config.asked_labels().iter().eq(["a", "b", "c", "d"]), "{:?}", config.asked_labels());
    }

    #[test]
    fn rules_are_printed_as_they_were_meant() {
        let written = "[[instance]]\nmatch = { cgroup = \"/a/*\", user = \"1*\", slice = \"a.slice\", namespace = \"n\", containerd_namespace = \"c\", labels = { \"a.b/c\" = \"x*\" } }\ninstance = false\n[[instance]]\nmatch = {}\nname = \"{name}-{user}\"\n[[owner]]\naccount = \"{label:o}\"\nmatch = { labels = { o = \"*\" } }\ntrust_labels_of = \"podman\"\n";
        let config = parse(written).unwrap();
        assert_eq!(parse(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn secrets_go_nowhere_by_a_label_or_an_image() {
        for matching in ["{ labels = { a = \"b\" } }", "{ image = \"bank*\" }", "{ name = \"bank\", image = \"*\" }"] {
            let rule = format!("[[sensor]]\nfile = \"x.wasm\"\nmatch = {matching}\n");
            parse(&rule).unwrap();
            let error = faults(&format!("{rule}secrets = {{ key = \"k\" }}"));
            assert!(error.contains("can decide who gets secrets"), "{error}");
        }
    }
}
