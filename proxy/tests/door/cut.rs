//! Lists that are bounded: what is cut off is counted in the answer.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use crate::agent::Says;
use crate::client::get;
use crate::house::{House, id, instance};
use crate::sensors::{self, BOTH, artifact, send};

/// Between two looks at the same thing.
const PAUSE: Duration = Duration::from_millis(10);

#[tokio::test]
async fn a_list_that_is_cut_says_so() {
    const MOST: u128 = 64;
    let instances: Vec<_> = (1..=MOST + 3).map(|number| instance(number, "acme", json!({}))).collect();
    let house = House::start(&instances).await;
    let acme = house.token("acme", &BOTH, None).await;
    let sent = send(&house, &acme, "PUT", "/v1/sensors/web", &[], &artifact("one")).await;
    assert_eq!(sent.status, 201, "{}", sent.text());
    let many: Vec<Value> = (0..103).map(|n| json!({ "name": format!("s{n}"), "state": "running" })).collect();
    let says = |rows: &Value| Says::Body(rows.to_string());
    for instance in &instances {
        house.agent.says(&instance.id.to_string(), says(&json!([])));
    }
    house.agent.says(&id(1).to_string(), says(&many.into()));
    let heard = get(&house, &acme, "/v1/sensors/web/logs").await;
    assert_eq!(sensors::json(&heard).as_array().unwrap().len(), MOST as usize);
    assert_eq!(heard.headers.get("x-sonde-left-out").map(|count| count.to_str().unwrap()), Some("3"));
    let one = get(&house, &acme, &format!("/v1/sensors/web/logs?instance={}", id(1))).await;
    assert_eq!((one.status, one.headers.get("x-sonde-left-out")), (StatusCode::OK, None));
    let expected = format!("sonde_instance_sensors_left_out{{instance_id=\"{}\",name=\"i1\"}} 3", id(1));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        // So many are asked a scrape.
        let target = get(&house, &acme, "/v1/account/metrics").await;
        if target.text().contains(&expected) {
            assert_eq!(target.text().matches("sonde_instance_sensors_left_out{").count(), 1);
            break;
        }
        assert!(Instant::now() < deadline, "{}", target.text());
        tokio::time::sleep(PAUSE).await;
    }
    house.proxy.stop().await;
}
