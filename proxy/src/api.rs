//! The tenants' routes as a table: what each is asked with, what it takes and what may come back.
//!
//! `docs/openapi.json` is made of it and served nowhere. A path that has no row is not there, and a method that its row lacks is refused, whatever the code behind
//! them could do. That the door does as it says is tried by asking it (`proxy/tests/door/described.rs`): each method
//! of each route, and each that is not there. What all routes share (who asks, how much, which host) is in `openapi.rs` once.

mod openapi;

use Content::{Configuration, Exposition, List, Object, Percent, Secrets, Text, Wasm};
use Kind::{Discovery, Open, Other, Sensors, Target};
use http::Method;
pub use openapi::openapi;

/// A path with its parameters in braces.
#[derive(Debug)]
pub struct Route {
    pub path: &'static str,
    pub kind: Kind,
    pub operations: &'static [Operation],
}

/// What is the same for several routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asked of an agent; what becomes of it is an outcome.
    Target,
    /// A list for scrapers: no error is JSON.
    Discovery,
    Other,
    /// What tenants push: asked with other methods too.
    Sensors,
    /// Without authentication.
    Open,
}

/// One method.
#[derive(Debug)]
pub struct Operation {
    pub method: &'static str,
    pub about: &'static str,
    pub query: &'static [Parameter],
    pub headers: &'static [Parameter],
    pub body: Option<Content>,
    /// What comes with 200.
    pub good: Content,
    /// Statuses beside those that any route of the kind has.
    pub more: &'static [u16],
}

#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    /// May be given several times.
    pub is_list: bool,
    /// So often at most, where the route counts.
    pub most: Option<u32>,
    /// A regular expression that each value that is taken matches; empty where it would say nothing.
    pub pattern: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Exposition,
    List,
    Object,
    Text,
    Wasm,
    /// `{"match": …, "config": …}`
    Configuration,
    /// Names with texts.
    Secrets,
    /// `{"percent": N}`
    Percent,
}

const fn one(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, is_list: false, most: None, pattern: "" }
}

const fn many(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, is_list: true, most: None, pattern: "" }
}

impl Parameter {
    const fn like(self, pattern: &'static str) -> Self {
        Self { pattern, ..self }
    }

    const fn at_most(self, most: u32) -> Self {
        Self { most: Some(most), ..self }
    }
}

const COLLECT: Parameter = many("collect[]", "A part: native, or sensor/NAME");
const TIMEOUT: Parameter = one("X-Prometheus-Scrape-Timeout-Seconds", "How long the scraper waits; 10 s, at most 60 s");
/// No name twice is more than an expression says.
const GROUPS: Parameter = one("groups", "1 to 100 different names with commas between them: instances in any of them")
    .like("^[A-Za-z0-9_-]{1,100}(,[A-Za-z0-9_-]{1,100}){0,99}$");
const MATCH: Parameter =
    many("match", "KEY=VALUE: instances with all of these labels, 16 at most").like("^[^=]+=").at_most(16);
const SHARD: Parameter =
    one("shard", "I/N: one of N stable parts, the first of which is 0/N; N up to 1024").like("^[0-9]+/[0-9]+$");
const SELECTION: [Parameter; 3] = [GROUPS, MATCH, SHARD];
const WITH_ROLE: [Parameter; 4] =
    [GROUPS, MATCH, SHARD, one("role", "What is listed").like("^(instance|node|account)$")];
const CONSUL: [Parameter; 8] = [
    GROUPS,
    MATCH,
    SHARD,
    many("tag", "Instances in all of these groups"),
    many("node-meta", "KEY:VALUE, 16 at most together with match; or shard:I/N").like("^[^:]+:"),
    one("passing", "Only those whose check passes"),
    one("index", "Answer when the list is another than this").like("^[0-9]*$"),
    one("wait", "But after so long, two minutes at most: 500ms, 90s, 2m, 1h").like("^([0-9]+(ms|s|m|h))?$"),
];
const EXPECTED: [Parameter; 2] =
    [one("If-Match", "A tag, a digest or *: what is replaced"), one("If-None-Match", "*: only where nothing is there")];
const PUSH: [Parameter; 3] = [
    one("If-Match", EXPECTED[0].about),
    one("If-None-Match", EXPECTED[1].about),
    one("X-Sonde-Push", "JSON, or that in base64: match, config, secrets, percent"),
];
const OF_VERSION: [Parameter; 1] = [one("sha256", "Of this version, if it is not the current one")];

const fn get(about: &'static str, query: &'static [Parameter], good: Content) -> Operation {
    Operation { method: "get", about, query, headers: &[], body: None, good, more: &[] }
}

const fn scrape(about: &'static str, good: Content) -> [Operation; 1] {
    let headers = &[TIMEOUT];
    [Operation { method: "get", about, query: &[COLLECT], headers, body: None, good, more: &[] }]
}

const fn put(about: &'static str, query: &'static [Parameter], body: Content, more: &'static [u16]) -> Operation {
    let (method, headers, good) = ("put", &EXPECTED, Object);
    Operation { method, about, query, headers, body: Some(body), good, more }
}

const fn delete(about: &'static str, query: &'static [Parameter], good: Content) -> Operation {
    Operation { method: "delete", about, query, headers: &EXPECTED, body: None, good, more: &[] }
}

const fn route(path: &'static str, kind: Kind, operations: &'static [Operation]) -> Route {
    Route { path, kind, operations }
}

impl Route {
    /// Whether it is asked with this method.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        let name = if *method == Method::HEAD { Method::GET.as_str() } else { method.as_str() };
        self.operations.iter().any(|one| one.method.eq_ignore_ascii_case(name))
    }

    /// What it is asked with, as `Allow` has it.
    pub(crate) fn allow(&self) -> String {
        let methods = self.operations.iter().map(|one| match one.method {
            "get" => "GET, HEAD".to_owned(),
            other => other.to_uppercase(),
        });
        methods.collect::<Vec<_>>().join(", ")
    }
}

/// The route of a path; what has none is not there.
pub(crate) fn route_of(path: &str) -> Option<&'static Route> {
    let is_at = |route: &&Route| {
        let (mut own, mut asked) = (route.path.split('/'), path.split('/'));
        loop {
            match (own.next(), asked.next()) {
                (None, None) => return true,
                (Some(own), Some(asked)) if own == asked || own.starts_with('{') && !asked.is_empty() => {}
                _ => return false,
            }
        }
    };
    ROUTES.iter().find(is_at)
}

/// What a path is asked with, as `Allow` has it; none where no route is there.
pub fn allowed(path: &str) -> Option<String> {
    route_of(path).map(Route::allow)
}

/// Every route of the tenants' listener.
pub const ROUTES: &[Route] = &[
    route("/_ping", Open, &[get("Alive", &[], Text)]),
    route(
        "/metrics",
        Target,
        &scrape("The instance whose name the host is; by another host it is not there", Exposition),
    ),
    route(
        "/v1/instances/{id}/metrics",
        Target,
        &scrape("An instance's exposition; a node's, for operators", Exposition),
    ),
    route("/v1/instances/{id}/sensors", Target, &scrape("What the agent says of the instance's sensors", List)),
    route(
        "/v1/account/metrics",
        Other,
        &[get("All of the account's instances and sensors, as one target", &[], Exposition)],
    ),
    route("/v1/instances", Other, &[get("The account's instances", &[], List)]),
    route("/v1/usage", Other, &[get("What the account has used, and may; of all accounts, for operators", &[], List)]),
    route("/v1/nodes", Other, &[get("Nodes; for operators, to others it is not there", &[], List)]),
    route("/v1/discover", Discovery, &[get("Targets for triton_sd_configs", &SELECTION, Object)]),
    route(
        "/v1/gz/discover",
        Discovery,
        &[get("Nodes for triton_sd_configs; for operators, to others empty", &[], Object)],
    ),
    route("/v1/sd/http", Discovery, &[get("Targets for http_sd_configs", &WITH_ROLE, List)]),
    route("/v1/sd/dns", Discovery, &[get("The name under which the account's lists are in DNS", &[], Text)]),
    route("/v1/agent/self", Discovery, &[get("For consul_sd_configs: which datacenter this is", &CONSUL, Object)]),
    route("/v1/catalog/services", Discovery, &[get("For consul_sd_configs: the services", &CONSUL, Object)]),
    route(
        "/v1/health/service/{service}",
        Discovery,
        &[get("For consul_sd_configs: the targets of one", &CONSUL, List)],
    ),
    route("/v1/sensors", Sensors, &[get("What the account pushed, and what became of it", &[], List)]),
    route(
        "/v1/sensors/{name}",
        Sensors,
        &[
            get("One sensor", &[], Object),
            Operation {
                method: "put",
                about: "Push a version",
                query: &[],
                headers: &PUSH,
                body: Some(Wasm),
                good: Object,
                more: &[201, 412, 428, 507],
            },
            delete("Take it away", &[], Object),
        ],
    ),
    route(
        "/v1/sensors/{name}/config",
        Sensors,
        &[get("Which instances, and settings", &[], Object), put("Change them", &[], Configuration, &[])],
    ),
    route(
        "/v1/sensors/{name}/secrets",
        Sensors,
        &[
            get("Their names; never a value", &[], List),
            put("Set all", &OF_VERSION, Secrets, &[]),
            delete("Remove all", &OF_VERSION, Object),
        ],
    ),
    route(
        "/v1/sensors/{name}/secrets/{key}",
        Sensors,
        &[put("Set one", &OF_VERSION, Text, &[]), delete("Remove one", &OF_VERSION, Object)],
    ),
    route(
        "/v1/sensors/{name}/rollout",
        Sensors,
        &[
            get("The sensor", &[], Object),
            put("To so many of a hundred instances; at 100 the next version is the current one", &[], Percent, &[]),
            delete("Give the next version up", &[], Object),
        ],
    ),
    route(
        "/v1/sensors/{name}/logs",
        Sensors,
        &[get("What it logged, by instance", &[const { one("instance", "Only this one") }], List)],
    ),
];
