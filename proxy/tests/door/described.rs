//! The description of the routes (`docs/openapi.json`) held to the door: what it names is there, with the methods that it names, and nothing answers otherwise.

use serde_json::{Value, json};
use sonde_inventory::Scope;
use sonde_proxy::api::{Kind, ROUTES, Route, allowed, openapi};

use crate::agent::Says;
use crate::client::{Ask, Heard, Version, ask};
use crate::house::{Credential, House, SUFFIX, id, instance};
use crate::sensors::{artifact, send};

/// What is taken away last is put there again for the next route.
const METHODS: [&str; 6] = ["GET", "PUT", "POST", "PATCH", "OPTIONS", "DELETE"];

/// An operator's credential that may do everything, so that only what is not there is 404.
async fn furnished() -> (House, Credential) {
    let limits = "limits = { requests_per_second = 100000, request_burst = 100000 }";
    let house = House::configured(&[instance(1, "acme", json!({}))], limits).await;
    // An exposition passes as it is, whatever is in it; and so do the sensors, of which there are none.
    house.agent.says(&id(1).to_string(), Says::Body("[]".into()));
    let accounts = house.proxy.accounts();
    accounts.add(&crate::house::name("acme"), true).await.unwrap();
    let acme = house.token("acme", &[Scope::ReadMetrics, Scope::PushSensors], None).await;
    send(&house, &acme, "PUT", "/v1/sensors/web", &[], &artifact("one")).await;
    (house, acme)
}

/// A path with something in it that is there.
fn path(route: &Route) -> String {
    let path = route.path.replace("{id}", &id(1).to_string()).replace("{service}", "sonde");
    path.replace("{name}", "web").replace("{key}", "password")
}

async fn heard(house: &House, acme: &Credential, route: &Route, method: &str) -> Heard {
    // What is asked for may have gone with what was asked before.
    if route.kind == Kind::Sensors && ["GET", "DELETE"].contains(&method) {
        let pushed = send(house, acme, "PUT", "/v1/sensors/web", &[], &artifact("one")).await;
        assert!(pushed.status.is_success(), "{}", pushed.text());
        let secret = send(house, acme, "PUT", "/v1/sensors/web/secrets/password", &[], b"x").await;
        assert!(secret.status.is_success(), "{}", secret.text());
    }
    let host = if route.path == "/metrics" { format!("{}.{SUFFIX}", id(1)) } else { "127.0.0.1".to_owned() };
    let path = path(route);
    let headers = [("if-match", "*")];
    let server_name = (route.path == "/metrics").then_some(host.as_str());
    let asked =
        Ask { method: Some(method), host: Some(&host), server_name, path: &path, headers: &headers, ..Ask::default() };
    ask(house, acme, Version::One, &asked).await
}

#[tokio::test]
async fn every_route_answers_as_it_is_described_and_with_no_other_method() {
    let (house, acme) = furnished().await;
    let described = openapi();
    for route in ROUTES {
        for method in METHODS {
            let heard = heard(&house, &acme, route, method).await;
            let at = format!("{method} {} is {}: {}", route.path, heard.status, heard.text());
            let operation = &described["paths"][route.path][method.to_lowercase()];
            if operation.is_null() {
                assert_eq!(heard.status, 405, "{at}");
                assert_eq!(heard.headers["allow"], allowed(&path(route)).unwrap(), "{at}");
                continue;
            }
            // There are no lists in DNS in a house without names.
            let may_be_missing = route.path == "/v1/sd/dns";
            assert!(![405, 500].contains(&heard.status.as_u16()), "{at}");
            assert!(heard.status != 404 || may_be_missing, "{at}");
            let content = &operation["responses"][heard.status.as_str()]["content"];
            let said = heard.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
            assert!(content.get(said).is_some(), "{at} is {said}, and this was described: {content}");
            let schema = &content[said]["schema"]["type"];
            let is_so = |body: &Value| if schema == "array" { body.is_array() } else { body.is_object() };
            assert!(
                said != "application/json" || serde_json::from_slice(&heard.body).is_ok_and(|body| is_so(&body)),
                "{at}"
            );
            if route.kind == Kind::Discovery && heard.status != 200 {
                assert!(serde_json::from_slice::<Value>(&heard.body).is_err(), "{at}");
            }
        }
    }
    house.proxy.stop().await;
}
