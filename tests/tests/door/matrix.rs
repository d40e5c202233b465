//! Who sees what, against the real proxy, the real agent and real containers: every identity at every route, of every kind of target, by every name, in both
//! versions of HTTP. The tables below say what each must get; what is 404 is the same to the byte, and so is what is 401.

use rustix::process::Signal;
use sonde_tests::{Container, Daemon};
use tokio::runtime::Runtime;

use crate::client::{Ask, Client, Heard, VERSIONS, Version};
use crate::estate::{NODE, Proxy, SUFFIX};
use crate::identities::{self, Identity, Theirs, Who};

/// No instance's.
const NO_ID: &str = "00000000-0000-4000-8000-000000000001";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Own,
    OfGroup,
    Foreign,
    /// Acme's, until its container was deleted.
    Deleted,
    /// Acme's, until its owner became rival.
    Moved,
    Operators,
    Node,
    Unknown,
}

use Target::{Deleted, Foreign, Moved, Node, OfGroup, Operators, Own, Unknown};

const TARGETS: [Target; 8] = [Own, OfGroup, Foreign, Deleted, Moved, Operators, Node, Unknown];

/// What each kind of caller gets of a target's metrics.
fn of_target(who: Who, target: Target) -> u16 {
    match (who, target) {
        (Who::Nobody | Who::Outside, _) => 401,
        (Who::Pusher, _) => 403,
        (Who::Acme, Own | OfGroup) | (Who::AcmeOfGroup, OfGroup) => 200,
        (Who::Acme, Deleted) => 503,
        (Who::Rival, Foreign | Moved) => 200,
        (Who::Operator, Operators | Node) => 200,
        _ => 404,
    }
}

/// Routes that need no target: who gets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Everybody,
    /// Whoever may read, 403 for others of an account.
    Readers,
    OperatorsAlone,
    /// Not there, which only somebody is told.
    Nobody,
}

const LISTS: [(&str, For); 20] = [
    ("/_ping", For::Everybody),
    ("/v1/account/metrics", For::Readers),
    ("/v1/instances", For::Readers),
    ("/v1/usage", For::Readers),
    ("/v1/discover", For::Readers),
    ("/v1/discover?groups=web,other", For::Readers),
    ("/v1/gz/discover", For::Readers),
    ("/v1/sd/http", For::Readers),
    ("/v1/sd/http?role=node", For::Readers),
    ("/v1/sd/http?role=account", For::Readers),
    ("/v1/agent/self", For::Readers),
    ("/v1/catalog/services", For::Readers),
    ("/v1/health/service/sonde", For::Readers),
    ("/v1/health/service/sonde-node", For::Readers),
    ("/v1/health/service/another", For::Readers),
    ("/v1/nodes", For::OperatorsAlone),
    ("/metrics", For::Nobody),
    ("/v1/node/metrics", For::Nobody),
    ("/v1/tier/report", For::Nobody),
    ("/healthz", For::Nobody),
];

fn of_list(who: Who, whom: For) -> u16 {
    match (who, whom) {
        (_, For::Everybody) => 200,
        (Who::Nobody | Who::Outside, _) => 401,
        (Who::Pusher, For::Readers) => 403,
        (_, For::Readers) | (Who::Operator, For::OperatorsAlone) => 200,
        _ => 404,
    }
}

/// The containers, by target.
struct Town {
    proxy: Proxy,
    _agent: Daemon,
    containers: Vec<(Target, Container)>,
    ids: Vec<(Target, String)>,
    names: Vec<(Target, String)>,
}

impl Town {
    fn build(proxy: Proxy) -> Self {
        let plain = |what: &str| Container::named(what).run();
        let web = Container::named("web").annotation("sonde.groups", "web,front").run();
        let mut containers = vec![
            (Own, plain("own")),
            (OfGroup, web),
            (Foreign, plain("foreign")),
            (Deleted, plain("deleted")),
            (Moved, plain("moved")),
            (Operators, plain("operators")),
        ];
        let names: Vec<(Target, String)> = containers.iter().map(|(of, one)| (*of, one.id().to_owned())).collect();
        let owned = |acme: &[Target], rival: &[Target]| {
            let rule = |account: &str, of: &Target| {
                let name = &names.iter().find(|(target, _)| target == of).expect("it is one of them").1;
                format!("[[owner]]\naccount = \"{account}\"\nmatch = {{ runtime = \"runc\", name = \"{name}\" }}\n")
            };
            let acme = acme.iter().map(|of| rule("acme", of));
            acme.chain(rival.iter().map(|of| rule("rival", of))).collect::<String>()
        };
        let agent = proxy.agent(&owned(&[Own, OfGroup, Deleted, Moved], &[Foreign]));
        let token = |account: &str| proxy.token(account, &[]);
        identities::make_accounts(&proxy);
        let (acme, rival, operator) = (token("acme"), token("rival"), token("operator"));
        let id = |token: &str, of: Target, states: &[&str]| {
            let name = &names.iter().find(|(target, _)| *target == of).expect("it is one of them").1;
            let id = proxy.wait_for(token, name, states)["id"].as_str().expect("it has an id").to_owned();
            (of, id)
        };
        // What has just become another's has not been judged for it yet.
        let living = ["running", "saturated", "unknown"];
        let mut ids: Vec<_> = [Own, OfGroup, Deleted, Moved].map(|of| id(&acme, of, &living)).into();
        ids.extend([id(&rival, Foreign, &living), id(&operator, Operators, &living)]);
        ids.extend([(Node, NODE.to_owned()), (Unknown, NO_ID.to_owned())]);
        // One is deleted, and one becomes another's.
        let place = containers.iter().position(|(of, _)| *of == Deleted).expect("it is there");
        containers.remove(place).1.delete();
        id(&acme, Deleted, &["gone"]);
        agent.write_config(&proxy.agent_config(&owned(&[Own, OfGroup, Deleted], &[Foreign, Moved])));
        agent.process.signal(Signal::HUP);
        assert_eq!(id(&rival, Moved, &living), ids[3], "it is the same, and another's");
        Self { proxy, _agent: agent, containers, ids, names }
    }

    fn id(&self, of: Target) -> &str {
        &self.ids.iter().find(|(target, _)| *target == of).expect("all are there").1
    }

    /// What tells of acme: nothing of it may come to anybody else. The account's name is the last.
    fn of_acme(&self) -> Vec<String> {
        let is_acmes = |of: &Target| matches!(of, Own | OfGroup | Deleted);
        let ids = self.ids.iter().filter(|(of, _)| is_acmes(of)).map(|(_, id)| id.clone());
        let names = self.names.iter().filter(|(of, _)| is_acmes(of)).map(|(_, name)| name.clone());
        ids.chain(names).chain(["acme".to_owned()]).collect()
    }
}

/// What one identity heard, by what it asked.
struct Told {
    all: Vec<(String, Heard)>,
}

impl Told {
    async fn of(town: &Town, identity: &Identity, version: Version) -> Self {
        let mut told = Self { all: Vec::new() };
        let shown = identity.shown.as_ref();
        let mut client = Client::new(&town.proxy, shown, &identity.headers, None, version);
        let here = town.proxy.public.clone();
        for target in TARGETS {
            let id = town.id(target);
            let path = format!("/v1/instances/{id}/metrics");
            let expected = of_target(identity.who, target);
            told.ask(&mut client, identity, version, &Ask { host: &here, other: None, path: &path }, expected).await;
            let upper = format!("/v1/instances/{}/metrics", id.to_uppercase());
            told.ask(&mut client, identity, version, &Ask { host: &here, other: None, path: &upper }, expected).await;
            let host = format!("{id}.{SUFFIX}");
            told.ask(&mut client, identity, version, &Ask { host: &host, other: None, path: "/metrics" }, expected)
                .await;
            if target != Node {
                let path = format!("/v1/instances/{id}/sensors");
                // It has none any more, and that is no error.
                let expected = if expected == 503 { 200 } else { expected };
                told.ask(&mut client, identity, version, &Ask { host: &here, other: None, path: &path }, expected)
                    .await;
            }
        }
        for (path, whom) in LISTS {
            let expected = of_list(identity.who, whom);
            told.ask(&mut client, identity, version, &Ask { host: &here, other: None, path }, expected).await;
        }
        told.by_alias(town, &mut client, identity, version).await;
        told.forged(town, &mut client, identity, version).await;
        told
    }

    async fn ask(
        &mut self,
        client: &mut Client<'_>,
        identity: &Identity,
        version: Version,
        ask: &Ask<'_>,
        expected: u16,
    ) {
        let heard = client.ask(ask).await;
        let what = format!("{} over {version:?}: {ask:?}", identity.name);
        match (identity.who, heard) {
            (Who::Outside, Err(_)) => {}
            (_, Ok(heard)) => {
                assert_eq!(heard.status, expected, "{what}: {}", heard.text());
                self.all.push((what, heard));
            }
            (_, Err(error)) => panic!("{what}: {error}"),
        }
    }

    /// `<what it is called>--<account>`: of one's own.
    async fn by_alias(&mut self, town: &Town, client: &mut Client<'_>, identity: &Identity, version: Version) {
        for (target, account) in [(Own, "acme"), (Own, "rival"), (Foreign, "rival"), (Foreign, "acme")] {
            let name = &town.names.iter().find(|(of, _)| *of == target).expect("it has a name").1;
            let host = format!("{name}--{account}.{SUFFIX}");
            let is_right = (target, account) == (Own, "acme") || (target, account) == (Foreign, "rival");
            let is_callers = matches!((identity.who, account), (Who::Acme, "acme") | (Who::Rival, "rival"));
            let somebody = !matches!(identity.who, Who::Nobody | Who::Outside | Who::Pusher);
            let expected = match () {
                () if !somebody => of_target(identity.who, target),
                () if is_right && is_callers => 200,
                () => 404,
            };
            self.ask(client, identity, version, &Ask { host: &host, other: None, path: "/metrics" }, expected).await;
        }
    }

    /// Names that do not agree, or are not ours: 421 whoever asks, before anything is looked at.
    async fn forged(&mut self, town: &Town, client: &mut Client<'_>, identity: &Identity, version: Version) {
        let [own, foreign] = [Own, Foreign].map(|target| format!("{}.{SUFFIX}", town.id(target)));
        let at = |host, other| Ask { host, other, path: "/metrics" };
        for (host, other) in
            [(&*own, Some(&*foreign)), (&foreign, Some(&own)), ("evil.test", None), ("a.b.sonde.test", None)]
        {
            self.ask(client, identity, version, &at(host, other), 421).await;
        }
        // What the handshake asked for holds for all that follows.
        let shown = identity.shown.as_ref();
        let mut client = Client::new(&town.proxy, shown, &identity.headers, Some(&own), version);
        for (host, other) in [(&*foreign, None), (&town.proxy.public, None), (SUFFIX, None), (&own, Some(&*foreign))] {
            self.ask(&mut client, identity, version, &at(host, other), 421).await;
        }
        let expected = of_target(identity.who, Own);
        self.ask(&mut client, identity, version, &at(&own, Some(&own)), expected).await;
    }

    /// Each answer of that status is the same, to the byte.
    fn assert_same(&self, status: u16) {
        let mut all = self.all.iter().filter(|(_, heard)| heard.status == status);
        let Some((first, like)) = all.next() else { return };
        for (what, heard) in all {
            assert_eq!(heard, like, "{what} is told from {first}");
        }
    }
}

#[test]
fn each_identity_gets_at_each_route_what_is_its_own_and_no_more() {
    let mut founded = None;
    let proxy = Proxy::start_with(|folder| {
        let (theirs, config) = Theirs::found(folder);
        founded = Some(theirs);
        format!("{config}limits = {{ requests_per_second = 10000, request_burst = 10000 }}\n")
    });
    let theirs = founded.expect("it was founded");
    let town = Town::build(proxy);
    let identities = identities::all(&town.proxy, &theirs);
    let of_acme = town.of_acme();
    let mut refused = None;
    Runtime::new().expect("a runtime can be made").block_on(async {
        for identity in &identities {
            for version in VERSIONS {
                let told = Told::of(&town, identity, version).await;
                told.assert_same(404);
                told.assert_same(401);
                if let Some((what, heard)) = told.all.iter().find(|(_, heard)| heard.status == 401) {
                    let (first, like) = &*refused.get_or_insert_with(|| (what.clone(), heard.clone()));
                    assert_eq!((heard.status, &heard.body), (like.status, &like.body), "{what} is told from {first}");
                }
                match identity.who {
                    Who::Nobody | Who::Rival => assert_nothing_of(&of_acme, &told),
                    // Who has all else that runs on this machine, whatever that is called.
                    Who::Operator | Who::OperatorOfGroup => assert_nothing_of(&of_acme[..of_acme.len() - 1], &told),
                    _ => {}
                }
            }
            assert_tier_is_closed(&town, identity).await;
        }
        assert_tier_is_for_nodes(&town).await;
    });
    let about = town.proxy.about();
    let named = of_acme.iter().find(|secret| about.contains(*secret));
    assert!(named.is_none(), "the proxy's own figures name {named:?}:\n{about}");
    assert_nobody_is_told_tokens(&town, &identities);
    drop(town.containers);
}

fn assert_nothing_of(secrets: &[String], told: &Told) {
    for (what, heard) in &told.all {
        let text = format!("{:?}\n{}", heard.headers, heard.text());
        let told = secrets.iter().find(|secret| text.contains(*secret));
        assert!(told.is_none(), "{what} is told of {told:?}: {text}");
    }
}

/// Who is a tenant is nothing at the tier's door.
async fn assert_tier_is_closed(town: &Town, identity: &Identity) {
    if ["the proxy's own", "the node's"].contains(&identity.name.as_str()) {
        return;
    }
    let mut client = Client::of_tier(&town.proxy, identity.shown.as_ref(), Version::Two);
    let heard = client.ask(&Ask { host: &town.proxy.tier, other: None, path: "/v1/tier/report" }).await;
    assert!(heard.is_err(), "{} is answered at the tier's door: {heard:?}", identity.name);
}

async fn assert_tier_is_for_nodes(town: &Town) {
    for (name, expected) in [("proxy", 403), ("node", 404)] {
        let file = |kind: &str| town.proxy.path(&format!("{name}/{name}.{kind}"));
        let shown = crate::papers::Shown::read(&file("pem"), &file("key"));
        for version in VERSIONS {
            let mut client = Client::of_tier(&town.proxy, Some(&shown), version);
            let ask = Ask { host: &town.proxy.tier, other: None, path: "/v1/instances" };
            let heard = client.ask(&ask).await.expect("it is of the tier");
            assert_eq!(heard.status, expected, "{name} over {version:?}: {}", heard.text());
        }
    }
}

/// The log and the list of accounts are the operator's, who sees accounts in them; tokens nobody does.
fn assert_nobody_is_told_tokens(town: &Town, identities: &[Identity]) {
    let said = town.proxy.process.log() + &town.proxy.cli(&["account", "ls", "--json"]);
    assert!(said.contains("acme"), "{said}");
    for (_, value) in identities.iter().flat_map(|identity| &identity.headers) {
        let token = value.split(' ').nth(1).unwrap_or_default();
        assert!(!said.contains(token), "a token is in the log or among the accounts");
    }
}
