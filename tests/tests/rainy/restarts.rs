//! A container that is deleted and started anew, again and again: no life and no death of it is missed.

use sonde_tests::{Container, Exposition, Sonde, eventually};

use crate::table::Day;
use crate::weather::Ground;
use crate::{AT_ONCE, TOLD, words};

/// Enough that a death that is missed, or told of the next life, would show.
const LIVES: usize = 6;

/// Returns the last life.
pub fn live_through(sonde: &Sonde, day: &Day, ground: &Ground, first: Container) -> Container {
    let name = first.id().to_owned();
    let mut lives = vec![life(sonde, &name)];
    let mut container = first;
    while lives.len() < LIVES {
        container.delete();
        assert_is_gone(sonde, &lives[lives.len() - 1]);
        container = day.describe(ground).instead_of(&name).run();
        sonde.wait_to_notice(&name);
        let born = life(sonde, &name);
        assert!(!lives.contains(&born), "another life has the id of one before");
        assert_is_running(sonde, &name);
        lives.push(born);
    }
    let listed = sonde.instances();
    let states =
        |id: &String| listed.iter().find(|entry| entry["id"] == id.as_str()).map(|entry| entry["state"].clone());
    let told: Vec<_> = lives.iter().map(states).collect();
    assert!(told[..LIVES - 1].iter().all(|state| state.as_ref().is_some_and(|state| state == "gone")), "{told:?}");
    container
}

/// The id of the one that lives now.
fn life(sonde: &Sonde, name: &str) -> String {
    let entry = sonde.wait_to_notice(name);
    entry["id"].as_str().expect("an instance has an id").to_owned()
}

fn assert_is_gone(sonde: &Sonde, id: &str) {
    eventually("its death told", TOLD, || {
        let response = sonde.get(&format!("/v1/{id}/metrics"));
        assert!(response.elapsed < AT_ONCE, "a scrape took {:?}", response.elapsed);
        if response.status != 503 {
            return Err(format!("status {}", response.status));
        }
        let exposition = Exposition::read(&response.text());
        let said = ["state", "reason"].map(|label| match label {
            "state" => words(&exposition, "sonde_instance_state", label),
            _ => words(&exposition, "sonde_instance_state_reason", label),
        });
        if said == [["gone"], ["removed"]] { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

/// By its name: the latest life is meant.
fn assert_is_running(sonde: &Sonde, name: &str) {
    eventually("its birth told", TOLD, || {
        let response = sonde.get(&format!("/v1/{name}/metrics"));
        assert!(response.elapsed < AT_ONCE, "a scrape took {:?}", response.elapsed);
        if response.status == 200 { Ok(()) } else { Err(format!("status {}", response.status)) }
    });
}
