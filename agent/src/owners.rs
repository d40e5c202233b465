//! Whose an instance is: the first `[[owner]]` that matches on what no tenant can have chosen; else the operator's.
//!
//! The configuration refuses rules that ask for labels or images. Here is what depends on the instance: in a tree that another than root
//! can shape, nothing counts but where root has put that tree, its user and its slices; and of what the kubelet made, its name does not
//! count, because pods are named by tenants.
//!
//! Nothing bounds the operator's own account, so nobody gets there by taking evidence away. What the kubelet made and whose pod is not
//! known, and what has state that could not be used, is nobody's where the operator's it would be; and so is what a rule is for
//! and gives no valid account, such as a namespace that is called `operator`.

use sonde_collect::metadata::Place;
use sonde_collect::template::Field;
use sonde_collect::{Found, Match, Template};

use crate::config::{Config, OPERATOR, OwnerRule, UNOWNED, is_plain_name};

/// An owner, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    pub account: String,
    /// Which `[[owner]]` says so, counted from 0; none is the default.
    pub rule: Option<usize>,
}

/// Whose an instance is.
pub fn owner(found: &Found, config: &Config) -> Owner {
    let decided = config.owners.iter().enumerate().find_map(|(at, rule)| Some((account(rule, found)?, at)));
    let (account, rule) = decided.map_or_else(|| (OPERATOR.to_owned(), None), |(account, at)| (account, Some(at)));
    // Where no rule says so, everything is the operator's, and nothing is to be found out.
    if account == OPERATOR && !config.owners.is_empty() && lacks_evidence(found) {
        return Owner { account: UNOWNED.to_owned(), rule: None };
    }
    Owner { account, rule }
}

/// Whose a life was of which nothing but its name and its place could be read: as [`owner`] says, unless the rule that decides, or one before it,
/// asks for what is not known. Then nobody knows, and it is nobody's.
pub fn owner_of_unread(found: &Found, config: &Config) -> String {
    for rule in &config.owners {
        let known = OwnerRule { matching: known(&rule.matching, found), ..rule.clone() };
        let asks_more = known.matching != rule.matching || !makes(rule, found);
        if asks_more && can_be_asked(rule, found) && account_of(&known, found, || Some(String::new())).is_some() {
            return UNOWNED.to_owned();
        }
        if account(rule, found).is_some() {
            return owner(found, config).account;
        }
    }
    // What went with its whole tree may have been somebody's.
    let is_lost = !config.owners.is_empty() && !found.cgroup_path.is_empty() && !is_placed(found);
    if is_lost { UNOWNED.to_owned() } else { owner(found, config).account }
}

/// Whether it is known of an unread life whose user's and in which slices it was. Its path alone says nothing: directories of these names may have been
/// another's; where root's directory stands, or a user's is in it, it is known.
fn is_placed(found: &Found) -> bool {
    !found.cgroup_path.is_empty() && (found.root_owned || found.metadata.place != Place::default())
}

/// Whether all is known of an unread life that an account is made of.
fn makes(rule: &OwnerRule, found: &Found) -> bool {
    rule.account.fields().all(|field| match field {
        Field::Id => true,
        Field::Name => found.name.name.is_some(),
        Field::User | Field::Slice => is_placed(found),
        Field::ContainerdNamespace => found.metadata.containerd_namespace.is_some(),
        Field::Namespace | Field::Pod | Field::Container | Field::Label(_) => !found.metadata.unread,
    })
}

/// What of a match can be asked of an unread life.
fn known(matching: &Match, found: &Found) -> Match {
    let metadata = &found.metadata;
    let if_known = |key: &Option<String>, is_known: bool| key.clone().filter(|_| is_known);
    let placed = !found.cgroup_path.is_empty();
    Match {
        name: if_known(&matching.name, found.name.name.is_some()),
        image: if_known(&matching.image, !metadata.unread),
        cgroup: if_known(&matching.cgroup, placed),
        namespace: if_known(&matching.namespace, !metadata.unread),
        containerd_namespace: if_known(
            &matching.containerd_namespace,
            metadata.containerd_namespace.is_some() || !metadata.unread,
        ),
        user: if_known(&matching.user, is_placed(found)),
        slice: if_known(&matching.slice, is_placed(found)),
        labels: matching.labels.clone().into_iter().filter(|_| !metadata.unread).collect(),
        ..matching.clone()
    }
}

/// Whether it is not known of an instance whose it is, though there is something to know.
fn lacks_evidence(found: &Found) -> bool {
    let metadata = &found.metadata;
    metadata.unread || (metadata.place.kubelets && metadata.pod.is_none())
}

/// The account that a rule gives an instance to, if it is for it.
fn account(rule: &OwnerRule, found: &Found) -> Option<String> {
    account_of(rule, found, || rule.account.fill(&found.subject()))
}

/// The same, with an account that is made by `make`.
fn account_of(rule: &OwnerRule, found: &Found, make: impl Fn() -> Option<String>) -> Option<String> {
    let trusted = rule.trust_labels_of.is_none_or(|runtime| runtime == found.name.runtime);
    if !trusted || !can_be_asked(rule, found) || !rule.matching.matches(&found.subject()) {
        return None;
    }
    let account = make()?;
    let is_made = rule.account.fixed().is_none();
    let is_valid = is_plain_name(&account) && !(is_made && [OPERATOR, UNOWNED].contains(&account.as_str()));
    Some(if is_valid { account } else { UNOWNED.to_owned() })
}

/// Whether all that a rule asks is beyond a tenant of this instance.
fn can_be_asked(rule: &OwnerRule, found: &Found) -> bool {
    if found.root_owned {
        return !(found.metadata.place.kubelets && rule.matching.name.is_some());
    }
    let of_place = |field: &Field| matches!(field, Field::User | Field::Slice);
    let asks = |account: &Template| account.fields().any(of_place);
    rule.matching.asks_place_alone()
        && rule.account.fields().all(of_place)
        && (rule.matching.user.is_some() || rule.matching.slice.is_some() || asks(&rule.account))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use sonde_collect::found::{CgroupDirs, Kind};
    use sonde_collect::identity::Birth;
    use sonde_collect::metadata::Place;
    use sonde_collect::{InstanceName, Metadata, Pod, Runtime};
    use uuid::Uuid;

    use super::*;
    use crate::config::tests::parse;

    pub(crate) fn found(runtime: Runtime, root_owned: bool, metadata: Metadata) -> Found {
        let name = InstanceName {
            uuid: Uuid::nil(),
            runtime,
            runtime_id: "id".into(),
            name: Some("bank".into()),
            image: Some("bank".into()),
        };
        Found {
            name,
            birth: Birth { boot_id: String::new(), mark: 0 },
            cgroup_path: "/x".into(),
            cgroups: CgroupDirs::default(),
            kind: Kind::Cgroup,
            init: None,
            created: None,
            annotations: Vec::new(),
            bundle: None,
            metadata: Arc::new(metadata),
            root_owned,
            nested_claims: 0,
        }
    }

    fn of(rules: &str, found: &Found) -> String {
        owner(found, &parse(rules).unwrap()).account
    }

    fn rule(account: &str, matching: &str) -> String {
        format!("[[owner]]\naccount = \"{account}\"\nmatch = {matching}\n")
    }

    fn pod(namespace: &str) -> Metadata {
        let pod = Pod { namespace: namespace.into(), name: Some("bank".into()), container: None };
        let place = Place { kubelets: true, ..Place::default() };
        Metadata { pod: Some(pod), place, ..Metadata::default() }
    }

    #[test]
    fn the_first_that_matches_decides() {
        let docker = found(Runtime::Docker, true, Metadata::default());
        let rules = [rule("a", "{ runtime = \"podman\" }"), rule("b", "\"ba*\""), rule("c", "{}")].concat();
        let config = parse(&rules).unwrap();
        assert_eq!(owner(&docker, &config), Owner { account: "b".into(), rule: Some(1) });
        assert_eq!(owner(&docker, &parse("").unwrap()), Owner { account: OPERATOR.into(), rule: None });
    }

    #[test]
    fn a_namespace_that_the_kubelet_vouches_for() {
        let shop = found(Runtime::Containerd, true, pod("shop"));
        let by_namespace = rule("k8s-{namespace}", "{}");
        assert_eq!(of(&by_namespace, &shop), "k8s-shop");
        assert_eq!(of(&by_namespace, &found(Runtime::Docker, true, Metadata::default())), OPERATOR);
        // A pod's own name is its author's choice, and so would be whatever matched it.
        assert_eq!(of(&rule("bank", "{ name = \"bank\" }"), &shop), OPERATOR);
        assert_eq!(
            of(&rule("bank", "{ name = \"bank\" }"), &found(Runtime::Docker, true, Metadata::default())),
            "bank"
        );
        // No namespace makes its pods the operator's, or an account that is none; nor those of a rule further down.
        let plain = rule("{namespace}", "{}");
        let next = [plain.clone(), rule(OPERATOR, "{}")].concat();
        for namespace in [OPERATOR, UNOWNED, "a/b"] {
            let theirs = found(Runtime::Containerd, true, pod(namespace));
            for rules in [&plain, &next] {
                let decided = owner(&theirs, &parse(rules).unwrap());
                assert_eq!(decided, Owner { account: UNOWNED.into(), rule: Some(0) }, "{namespace}");
            }
        }
        assert_eq!(of(&plain, &shop), "shop");
        // What has no namespace the rule is not for.
        assert_eq!(of(&next, &found(Runtime::Docker, true, Metadata::default())), OPERATOR);
    }

    #[test]
    fn nobody_becomes_the_operator_by_what_is_not_known_of_him() {
        let kubelets = Metadata { pod: None, ..pod("") };
        let unread = Metadata { unread: true, ..Metadata::default() };
        let by_namespace = rule("k8s-{namespace}", "{ namespace = \"*\" }");
        for metadata in [kubelets, unread] {
            let theirs = found(Runtime::Containerd, true, metadata);
            assert_eq!(of(&by_namespace, &theirs), UNOWNED);
            assert_eq!(of(&[by_namespace.clone(), rule(OPERATOR, "{}")].concat(), &theirs), UNOWNED);
            assert_eq!(of(&[by_namespace.clone(), rule("rest", "{}")].concat(), &theirs), "rest");
            assert_eq!(of("", &theirs), OPERATOR, "where nobody else owns anything");
        }
        assert_eq!(of(&by_namespace, &found(Runtime::Containerd, true, pod("shop"))), "k8s-shop");
        assert_eq!(of(&by_namespace, &found(Runtime::Docker, true, Metadata::default())), OPERATOR);
    }

    #[test]
    fn in_a_users_tree_only_where_it_is_counts() {
        let place =
            Place { user: Some(1000), slices: vec!["user.slice".into(), "user-1000.slice".into()], kubelets: false };
        let theirs = found(Runtime::Podman, false, Metadata { place, ..pod("shop") });
        for (account, matching) in [("acme", "{ user = \"1000\" }"), ("acme", "{ slice = \"user-1000.slice\" }")] {
            assert_eq!(of(&rule(account, matching), &theirs), "acme", "{matching}");
        }
        assert_eq!(of(&rule("user-{user}", "{}"), &theirs), "user-1000");
        for (account, matching) in [
            ("acme", "{}"),
            ("acme", "\"bank\""),
            ("acme", "{ runtime = \"podman\" }"),
            ("acme", "{ user = \"1000\", name = \"bank\" }"),
            ("acme", "{ user = \"1001\" }"),
            ("acme", "{ cgroup = \"/x\" }"),
            ("acme", "{ id = \"id\" }"),
            ("{namespace}", "{ user = \"1000\" }"),
            ("acme", "{ namespace = \"shop\" }"),
        ] {
            assert_eq!(of(&rule(account, matching), &theirs), OPERATOR, "{account} {matching}");
        }
    }

    #[test]
    fn a_life_that_nobody_read_is_his_whom_no_unknown_thing_could_deny_it() {
        let of = |rules: &[String], found: &Found| owner_of_unread(found, &parse(&rules.concat()).unwrap());
        let slices = Place { slices: vec!["acme.slice".into()], ..Place::default() };
        let unread = |place: &Place| Metadata { place: place.clone(), unread: true, ..Metadata::default() };
        let nameless = |runtime, place: &Place| {
            let mut found = found(runtime, true, unread(place));
            found.name.name = None;
            found
        };
        let docker = nameless(Runtime::Docker, &slices);
        let by_slice = rule("acme", "{ slice = \"acme.slice\" }");
        assert_eq!(of(&[], &docker), OPERATOR, "there is nobody else");
        assert_eq!(of(std::slice::from_ref(&by_slice), &docker), "acme");
        assert_eq!(of(&[rule("x", "{ runtime = \"podman\" }"), by_slice.clone()], &docker), "acme");
        for asks in [
            rule("bank", "\"ba*\""),
            rule("k8s-{namespace}", "{}"),
            rule("bank", "{ namespace = \"bank\" }"),
            format!("{}trust_labels_of = \"docker\"\n", rule("bank", "{ labels = { owner = \"bank\" } }")),
        ] {
            assert_eq!(of(&[asks.clone(), by_slice.clone()], &docker), UNOWNED, "{asks}");
            assert_eq!(
                of(&[by_slice.clone(), asks.clone()], &docker),
                "acme",
                "what comes later does not matter: {asks}"
            );
        }
        assert_eq!(of(&[rule("acme", "{ slice = \"other.slice\" }")], &docker), UNOWNED);
        // Of runc's the name is known, and where its cgroup was is not.
        let mut runc = found(Runtime::Runc, true, unread(&Place::default()));
        runc.cgroup_path = String::new();
        assert_eq!(of(&[rule("bank", "\"ba*\"")], &runc), "bank");
        assert_eq!(of(&[by_slice, rule("bank", "\"ba*\"")], &runc), UNOWNED);
        // Of a plain cgroup there is nothing that could not be read; of one in a user's tree his place counts alone.
        let plain = found(Runtime::Cgroup, true, Metadata::default());
        assert_eq!(of(&[rule("bank", "{ namespace = \"bank\" }"), rule("job", "{ cgroup = \"/x\" }")], &plain), "job");
        let place = Place { user: Some(1000), ..Place::default() };
        let theirs = found(Runtime::Podman, false, unread(&place));
        assert_eq!(of(&[rule("bank", "\"ba*\""), rule("user-{user}", "{}")], &theirs), "user-1000");
    }

    #[test]
    fn labels_where_the_operator_trusts_them() {
        let labelled = Metadata { labels: vec![("owner".into(), "acme".into())], ..Metadata::default() };
        let trusted = format!("{}trust_labels_of = \"docker\"\n", rule("{label:owner}", "{}"));
        assert_eq!(of(&trusted, &found(Runtime::Docker, true, labelled.clone())), "acme");
        assert_eq!(of(&trusted, &found(Runtime::Podman, true, labelled.clone())), OPERATOR);
        assert_eq!(of(&trusted, &found(Runtime::Docker, false, labelled)), OPERATOR, "a user's own docker");
        let matched = format!("{}trust_labels_of = \"docker\"\n", rule("x", "{ labels = { owner = \"a*\" } }"));
        let forged = Metadata { labels: vec![("owner".into(), OPERATOR.into())], ..Metadata::default() };
        assert_eq!(of(&matched, &found(Runtime::Docker, true, forged.clone())), OPERATOR);
        assert_eq!(of(&trusted, &found(Runtime::Docker, true, forged)), UNOWNED);
    }
}
