//! The admin routes: how the agent is, on a thread and a socket of their own.
//!
//! They answer when every serving thread is busy or stuck, and need nothing of those: `/healthz` says which part does not answer, `/metrics` what
//! the agent knows of itself. Only on loopback, in plain HTTP, for the operator; tenants' data is not here. Connections are few, and one too
//! many takes the place of the quietest.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use sonde_listen::admin::{self, Wanted};
use sonde_listen::{Event, Spare};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::routes::{Room, expose};
use super::sandbox;
use crate::about::Now;
use crate::reload::Reloader;

/// Between two reloads: whoever asks sooner waits, one after the other.
const RELOADS_EVERY: Duration = Duration::from_millis(250);

/// What the admin routes answer from.
pub(crate) struct Desk {
    pub(crate) room: Arc<Room>,
    reloader: Reloader,
    /// When the last reload was done.
    reloaded: Mutex<Option<Instant>>,
}

impl Desk {
    pub(crate) fn new(room: Arc<Room>, reloader: Reloader) -> Self {
        Self { room, reloader, reloaded: Mutex::default() }
    }

    async fn reload(&self) -> Result<(), String> {
        let mut reloaded = self.reloaded.lock().await;
        if let Some(at) = *reloaded {
            tokio::time::sleep_until(at + RELOADS_EVERY).await;
        }
        let done = self.reloader.reload().await;
        *reloaded = Some(Instant::now());
        done
    }
}

impl admin::Desk for Desk {
    async fn answer(&self, wanted: Wanted, headers: &HeaderMap) -> Answer {
        match wanted {
            Wanted::Health => health(self),
            Wanted::Readiness => readiness(&self.room),
            Wanted::Metrics => about(&self.room, headers),
            Wanted::Reload => match self.reload().await {
                Ok(()) => answer::sentence(StatusCode::OK, "reloaded"),
                Err(refused) => answer::sentence(StatusCode::UNPROCESSABLE_ENTITY, &refused),
            },
        }
    }

    fn happened(&self, event: Event) {
        self.room.happened(event);
    }

    fn spare(&self) -> Arc<Spare> {
        self.room.spare.clone()
    }
}

fn health(desk: &Desk) -> Answer {
    match desk.room.pulses.silent() {
        None => answer::sentence(StatusCode::OK, "ok"),
        Some((part, silence)) => {
            let sentence = format!("{part} has not answered for {} s", silence.as_secs());
            answer::sentence(StatusCode::SERVICE_UNAVAILABLE, &sentence)
        }
    }
}

/// Whether the first look for instances is done.
pub(super) fn readiness(room: &Room) -> Answer {
    if *room.ready.borrow() {
        answer::sentence(StatusCode::OK, "ready")
    } else {
        answer::sentence(StatusCode::SERVICE_UNAVAILABLE, "the first look for instances is not done")
    }
}

/// The agent about itself. It waits for nothing and needs no other thread.
pub(super) fn about(room: &Room, headers: &HeaderMap) -> Answer {
    let (instances, gone) = room.catalogue.count();
    let sensors = room.catalogue.live().iter().map(|instance| instance.placed().len()).sum();
    let now = Now {
        instances,
        gone,
        sensors,
        stuck: room.threads.stuck_ever(),
        floor: room.threads.floor(None, room.config.borrow().floor),
        overloaded: room.threads.is_overloaded(),
        certificate_faults: room.certificate_faults(),
        silences: room.pulses.silences().collect(),
    };
    let (facts, rejected_code) = (room.schedule.facts(), room.loader.rejected_code());
    expose(room, headers, StatusCode::OK, |writer| {
        room.about.write(writer, &now);
        room.readiness.write(writer, room.spare.is_whole());
        sandbox::write(writer, &facts, rejected_code);
    })
}
