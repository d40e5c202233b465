//! What pushing costs an account: what goes to the store, each time it does.

use serde_json::json;
use sonde_inventory::Scope;

use crate::house::{House, name};
use crate::sensors::{artifact, send};

const BOTH: [Scope; 2] = [Scope::ReadMetrics, Scope::PushSensors];

#[tokio::test]
async fn what_goes_to_the_store_again_is_paid_for_again() {
    let house = House::start(&[]).await;
    let acme = house.token("acme", &BOTH, None).await;
    let wasm = artifact("one");
    let limits = json!({ "sensor_bytes": wasm.len(), "all_sensors_bytes": wasm.len() * 2 });
    house.proxy.accounts().set_limits(&name("acme"), limits.as_object().unwrap()).await.unwrap();
    let push = async |group: usize| {
        let settings = format!(r#"{{ "match": {{ "groups": ["g{group}"] }} }}"#);
        send(&house, &acme, "PUT", "/v1/sensors/web", &[("x-sonde-push", &settings)], &wasm).await
    };
    assert_eq!(push(0).await.status, 201);
    // As it is already: nothing is written, and nothing is paid.
    for _ in 0..4 {
        assert_eq!(push(0).await.status, 200);
    }
    let mut written = 1;
    let refused = loop {
        let heard = push(written).await;
        if heard.status != 200 {
            break heard;
        }
        written += 1;
        assert!(written < 10, "it was written without end");
    };
    assert!(refused.status == 429 && refused.text().contains("as many bytes"), "{}", refused.text());
    assert!((2..=3).contains(&written), "{written}");
    // Settings are no artifact, and may be changed on; as one does not expect them, they are not.
    let settings = json!({ "config": {} }).to_string();
    let other = [("if-match", "\"0000\"")];
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web/config", &other, settings.as_bytes()).await.status, 412);
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web/config", &[], settings.as_bytes()).await.status, 200);
    house.proxy.stop().await;
}
