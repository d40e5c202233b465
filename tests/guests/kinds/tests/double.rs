//! Every kind is there, and none of it is thrown away by the checks that the double has of the node's.

use guest_kinds::Kinds;
use sonde_sensor::testing::{Instance, collect};

#[test]
fn it_has_a_value_of_each_kind() {
    let run = collect::<Kinds>(Instance::new()).unwrap();
    assert_eq!(run.value("kinds_level_ratio", &[]), Some(0.25));
    assert_eq!(run.value("kinds_thing", &[]), Some(-7.0));
}
