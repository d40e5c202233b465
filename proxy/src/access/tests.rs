use http::header::HeaderValue;
use sonde_inventory::{Account, AccountName, Change, State};

use super::*;
use crate::caller::Scopes;

const SUFFIX: &str = "sonde.example";
const ID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

fn request(target: &str, hosts: &[&str]) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = target.parse().unwrap();
    for host in hosts {
        request.headers_mut().append(HOST, HeaderValue::from_str(host).unwrap());
    }
    request
}

fn of(target: &str, hosts: &[&str], server_name: Option<&str>) -> Result<Via, HostFault> {
    via(&request(target, hosts), server_name, SUFFIX, &["cmon.example".into()])
}

#[test]
fn names_of_ours_in_any_case_with_any_port() {
    for host in ["sonde.example", "SONDE.example.", "sonde.example:9163", "cmon.example"] {
        assert_eq!(of("/", &[host], None), Ok(Via::Ours), "{host}");
    }
    for host in ["127.0.0.1", "127.0.0.1:1", "[::1]:9163", "[2001:db8::1]"] {
        assert_eq!(of("/", &[host], None), Ok(Via::Address), "{host}");
    }
    let label = Via::Label(ID.into());
    assert_eq!(of("/", &[&format!("{}.Sonde.example", ID.to_uppercase())], None), Ok(label.clone()));
    let name = format!("{ID}.{SUFFIX}");
    assert_eq!(of(&format!("https://{name}/metrics"), &[], Some(&name)), Ok(label.clone()), "HTTP/2");
    assert_eq!(of(&format!("https://{name}/metrics"), &[&name], Some(&name.to_uppercase())), Ok(label));
}

#[test]
fn names_that_do_not_agree_are_misdirected() {
    let name = format!("{ID}.{SUFFIX}");
    let differing: [(&str, &[&str], Option<&str>); 6] = [
        ("https://a.sonde.example/", &["b.sonde.example"], None),
        ("https://sonde.example:1/", &["sonde.example:2"], None),
        ("/", &[SUFFIX], Some(&name)),
        ("/", &[&name], Some(SUFFIX)),
        ("/", &["127.0.0.1"], Some(SUFFIX)),
        ("https://sonde.example/", &[], Some("cmon.example")),
    ];
    for (target, hosts, server_name) in differing {
        assert_eq!(of(target, hosts, server_name), Err(HostFault::Disagree), "{target} {hosts:?} {server_name:?}");
    }
    for host in [
        ".sonde.example",
        ".sonde.example.",
        "example",
        "xsonde.example",
        "a.b.sonde.example",
        "localhost",
        "sonde.example.evil.example",
    ] {
        assert_eq!(of("/", &[host], None), Err(HostFault::NotOurs), "{host}");
    }
}

#[test]
fn a_host_that_is_not_one_name_is_a_bad_request() {
    assert_eq!(of("/", &[], None), Err(HostFault::NotOne));
    assert_eq!(of("/", &[SUFFIX, SUFFIX], None), Err(HostFault::NotOne));
    for host in
        ["", "a b", "sonde.example/x", "sonde.example@127.0.0.1", "x@sonde.example", "sonde.example:99999x", "."]
    {
        assert_eq!(of("/", &[host], None), Err(HostFault::Malformed), "{host:?}");
    }
}

fn caller(name: &str) -> Caller {
    let account = Account::new(AccountName::new(name).unwrap());
    Caller { account: Arc::new(account), scopes: Scopes::ALL, groups: None, credential: "".into() }
}

fn instance(id: u128, owner: &str, more: serde_json::Value) -> Instance {
    let mut json = serde_json::json!({ "id": Uuid::from_u128(id), "node": Uuid::from_u128(99), "owner": owner });
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json).unwrap()
}

/// What of each id a caller may see.
fn seen(catalogue: &Catalogue, caller: &Caller, now: SystemTime) -> Vec<u128> {
    let ids = (1..100).filter(|id| visible(catalogue, caller, Uuid::from_u128(*id), now).is_some());
    ids.collect()
}

#[test]
fn one_sees_ones_own_and_operators_see_nodes() {
    let catalogue = Catalogue::default();
    let now = SystemTime::now();
    let ago = |seconds: u64| {
        let at = now.duration_since(UNIX_EPOCH).unwrap() - Duration::from_secs(seconds);
        serde_json::json!({ "state": "gone", "ended_at_ms": u64::try_from(at.as_millis()).unwrap() })
    };
    catalogue.apply([
        Change::Instance(instance(1, "a", serde_json::json!({ "groups": ["web"] }))),
        Change::Instance(instance(2, "b", serde_json::json!({}))),
        Change::Instance(instance(3, "operator", serde_json::json!({}))),
        Change::Instance(instance(4, "a", ago(60))),
        Change::Instance(instance(5, "a", ago(901))),
    ]);
    let node = serde_json::json!({ "id": Uuid::from_u128(99), "url": "http://127.0.0.1:1" });
    catalogue.apply([Change::Node(serde_json::from_value(node).unwrap())]);
    assert_eq!(seen(&catalogue, &caller("a"), now), [1, 4]);
    assert_eq!(seen(&catalogue, &caller("b"), now), [2]);
    assert_eq!(seen(&catalogue, &caller("nobody"), now), [0; 0]);
    assert_eq!(seen(&catalogue, &caller("operator"), now), [3, 99], "its own and nodes, nothing of others");
    let part = |name: &str| Caller { groups: Some(["web".to_owned()].into()), ..caller(name) };
    assert_eq!(seen(&catalogue, &part("a"), now), [1]);
    assert_eq!(seen(&catalogue, &part("operator"), now), [0; 0]);
    // A clock that was set back makes nothing vanish.
    assert_eq!(seen(&catalogue, &caller("a"), now - Duration::from_secs(3600)), [1, 4, 5]);
}

#[test]
fn an_alias_is_its_accounts_own() {
    let catalogue = Catalogue::default();
    let now = SystemTime::now();
    let alias = |text: &str, state: State| serde_json::json!({ "alias": text, "state": state });
    catalogue.apply([
        Change::Instance(instance(1, "team.a", alias("Web_1", State::Running))),
        Change::Instance(instance(2, "b", alias("web-1", State::Running))),
        Change::Instance(instance(3, "b", alias("twice", State::Running))),
        Change::Instance(instance(4, "b", alias("twice", State::Running))),
        Change::Instance(instance(5, "b", alias("again", State::Stopped))),
        Change::Instance(instance(6, "b", alias("again", State::Frozen))),
    ]);
    let of = |account: &str, label: &str| match visible_by_label(&catalogue, &caller(account), label, now) {
        Some(Visible::Instance(instance)) => Some(instance.id.as_u128()),
        _ => None,
    };
    assert_eq!(of("team.a", "web-1--team-a"), Some(1));
    assert_eq!(of("b", "web-1--b"), Some(2));
    assert_eq!(of("b", "web-1--team-a"), None);
    assert_eq!(of("b", "twice--b"), None, "which of the two?");
    assert_eq!(of("b", "again--b"), Some(6));
    assert_eq!(of("b", "--b"), None);
    // The node of one of the two has died, and it was started again on another, which speaks.
    let moved = serde_json::json!({ "alias": "twice", "state": "running", "node": Uuid::from_u128(98) });
    catalogue.apply([Change::Instance(instance(4, "b", moved)), Change::Lease(Uuid::from_u128(98))]);
    assert_eq!(of("b", "twice--b"), Some(4));
    assert_eq!(of("b", &Uuid::from_u128(2).to_string()), Some(2));
    assert_eq!(id("6f9619ff8b864d01b42d00cf4fc964ff"), None, "one spelling");
}

/// Numbers that look random and are the same at each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    /// A name of ours or another's, with up to three changes.
    fn name(&mut self) -> Vec<u8> {
        const SEEDS: [&str; 8] = [
            "sonde.example",
            "cmon.example",
            "6f9619ff-8b86-4d01-b42d-00cf4fc964ff.sonde.example",
            "web--acme.sonde.example:9163",
            "[2001:db8::1]:9163",
            "127.0.0.1",
            "a.b.sonde.example",
            "evilsonde.example",
        ];
        const ODD: [u8; 16] = *b".:@[]%/ \t#?\\-_*\xe9";
        let mut name = SEEDS[self.roll(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..self.roll(4) {
            let at = self.roll(name.len());
            match self.roll(5) {
                0 => name[at] = ODD[self.roll(ODD.len())],
                1 => name.insert(at, ODD[self.roll(ODD.len())]),
                2 => name[at] = name[at].to_ascii_uppercase(),
                3 if name.len() > 1 => drop(name.remove(at)),
                _ => name.extend_from_slice(b"."),
            }
        }
        name
    }
}

/// Of names at random: what is taken is one of ours, to the letter, and every name that the request has is that one.
#[test]
fn a_name_that_is_taken_is_ours_whatever_else_was_said() {
    let mut dice = Dice(0x5eed);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..60_000 {
        let (host, target, server_name) = (dice.name(), dice.name(), dice.name());
        let mut request = Request::new(());
        let mut said = Vec::new();
        if let Ok(value) = HeaderValue::from_bytes(&host) {
            request.headers_mut().append(HOST, value);
            said.push(host);
        }
        // One in four has two names, and one in four three.
        if dice.roll(4) == 0
            && let Some(target) = String::from_utf8(target).ok().filter(|target| !target.contains(['/', '?', '#']))
            && let Ok(uri) = format!("https://{target}/metrics").parse()
        {
            *request.uri_mut() = uri;
            said.push(target.into_bytes());
        }
        let server_name = String::from_utf8(server_name).ok().filter(|_| dice.roll(4) == 0);
        said.extend(server_name.iter().map(|name| name.clone().into_bytes()));
        let Ok(found) = via(&request, server_name.as_deref(), SUFFIX, &["cmon.example".into()]) else {
            refused += 1;
            continue;
        };
        taken += 1;
        for name in said {
            let name = String::from_utf8(name).unwrap().to_ascii_lowercase();
            let without_port =
                name.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(&*name, |(host, _)| host);
            let bare = without_port.trim_end_matches('.');
            let is_it = match &found {
                Via::Address => bare.trim_matches(['[', ']']).parse::<IpAddr>().is_ok(),
                Via::Ours => [SUFFIX, "cmon.example"].contains(&bare),
                Via::Label(label) => bare == format!("{label}.{SUFFIX}") && !label.is_empty() && !label.contains('.'),
            };
            assert!(is_it, "{name:?} was taken for {found:?}");
        }
    }
    assert!(taken > 5_000 && refused > 5_000, "{taken} were taken and {refused} refused");
}
