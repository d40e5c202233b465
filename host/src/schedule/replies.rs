//! What runners say, and what becomes of it.
//!
//! A runner may say only what was asked of it. What is of a runner that is no more is dropped; one that says anything else is ended, and
//! nothing of it is taken for another's.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sonde_jail::{Layer, LayerReport};

use super::Event;
use super::room::{ADVANCE, InFlight, LEAST, State, Work};
use super::rooms::{Rooms, leave};
use crate::broker::BrokerError;
use crate::digest::Digest;
use crate::failure::tame;
use crate::slot::Kernel;
use crate::wire::{self, Answer, FromRunner, MOST_FRAME_BYTES, Outcome, ToRunner};
use crate::workers::{Room, Sharing};

/// Longest wait for a reading that a run asked for. A reading has half a second of its own.
const KSTATS_WAIT: Duration = Duration::from_secs(1);
/// Longest name of a module that anybody is asked for; the kernels' own have 31 bytes at most (`KSTAT_STRLEN`).
const MODULE_BYTES: usize = 128;
/// What the rest of a message may take beside an answer.
const ENVELOPE_BYTES: usize = 64;
/// Lines that one runner may put into the node's log: it has last words, and no reason to chat.
const MOST_LINES: u32 = 16;

impl Rooms {
    pub(super) fn take(&mut self, event: Event, now: Instant) {
        let (name, life) = match &event {
            Event::Started { room, life, .. }
            | Event::Said { room, life, .. }
            | Event::Ended { room, life, .. }
            | Event::Kstats { room, life, .. } => (*room, *life),
        };
        if self.rooms.get(&name).is_none_or(|room| room.life != life || !is_awaited(&event, &room.state)) {
            // Of a runner that is no more. One that has only just been started for nobody is ended.
            self.discard(event);
            return;
        }
        match event {
            Event::Started { started, .. } => self.started(name, life, started, now),
            Event::Said { message, .. } => self.said(name, message, now),
            Event::Ended { why, .. } => self.died(name, &why, now),
            Event::Kstats { run, answer, .. } => self.answer(name, run, answer),
        }
    }

    /// What nobody waits for any more; a process must not be left behind by it.
    pub(super) fn discard(&self, event: Event) {
        if let Event::Started { started: Ok(started), .. } = event {
            self.shared.workers.kill(started.number);
        }
    }

    fn said(&mut self, name: Room, message: FromRunner, now: Instant) {
        match message {
            FromRunner::Ready { layers } => self.ready(name, layers, now),
            FromRunner::Loaded { digest, fault } => self.loaded(name, &digest, fault, now),
            FromRunner::Done { run, outcome } => self.done(name, run, outcome, now),
            FromRunner::AskKstats { run, module } => self.ask(name, run, module, now),
            FromRunner::Log { level, message } => {
                let Some(room) = self.rooms.get_mut(&name) else { return };
                room.lines_said += 1;
                if room.lines_said > MOST_LINES {
                    return self.died(name, "it logged without end", now);
                }
                tracing::warn!(level = level.as_str(), message = tame(&message), "a runner says");
            }
        }
    }

    fn ready(&mut self, name: Room, mut layers: Vec<LayerReport>, now: Instant) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        if std::mem::replace(&mut room.ready, true) || layers.len() > Layer::ALL.len() {
            return self.died(name, "it reported its layers twice, or more than there are", now);
        }
        for LayerReport { fault, detail, .. } in &mut layers {
            for text in [fault, detail].into_iter().flatten() {
                *text = tame(text);
            }
        }
        if self.shared.facts.layers().is_none() {
            for LayerReport { layer, fault, .. } in &layers {
                if let Some(fault) = fault {
                    let layer = layer.as_str();
                    tracing::warn!(layer, fault, "the sandbox lacks a layer on this machine");
                }
            }
        }
        self.shared.facts.set_layers(layers);
    }

    fn loaded(&mut self, name: Room, digest: &Digest, fault: Option<String>, now: Instant) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        if !room.answered(digest, fault.is_none()) {
            return self.died(name, "it spoke of code that it was not given", now);
        }
        if let Some(fault) = fault {
            // The runs of it fail by themselves, with the same words.
            tracing::error!(%digest, fault = tame(&fault), "a runner cannot load compiled code");
        }
    }

    fn done(&mut self, name: Room, run: u64, mut outcome: Outcome, now: Instant) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        let Some(in_flight) = room.in_flight.remove(&run) else {
            return self.died(name, "it reported a run that it was not given", now);
        };
        room.deaths = 0;
        self.shared.facts.runs_in_flight.fetch_sub(1, Ordering::Relaxed);
        if name.sharing == Sharing::Solitary {
            self.shared.suspects.survived(in_flight.digest());
            // The next one is alone only in a process that this one was not in.
            room.state = State::Absent;
        }
        // One run is at one place at a time, and was given to the runner then: what that says beyond is another's bill.
        let most = now.saturating_duration_since(in_flight.began);
        outcome.usage.cpu = outcome.usage.cpu.min(most);
        outcome.usage.wall = outcome.usage.wall.min(most);
        match in_flight.work {
            Work::Describe(describe) => drop(describe.reply.send(Ok(outcome))),
            Work::Run { id, slot } => {
                let (account, weight) = (slot.account.number, slot.account.share().weight);
                // A place is worth something too, also to who only waits in it.
                let held = outcome.usage.wall / u32::try_from(room.places).unwrap_or(u32::MAX);
                room.queue.charge(account, weight, outcome.usage.cpu.max(held).max(LEAST), ADVANCE);
                room.left(account);
                leave(&mut self.of_target, slot.target);
                slot.take(outcome);
                self.ended.push(id);
            }
        }
    }

    fn ask(&mut self, name: Room, run: u64, module: String, now: Instant) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        let life = room.life;
        let Some(InFlight { work: Work::Run { slot, .. }, asking, questions, .. }) = room.in_flight.get_mut(&run)
        else {
            return self.died(name, "it asked for a run that it was not given", now);
        };
        *questions += 1;
        if std::mem::replace(asking, true) {
            return self.died(name, "it asked for one run twice at once", now);
        }
        if *questions > slot.grant.limits.host_calls {
            return self.died(name, "it asked for a run more often than that may call", now);
        }
        let (granted, kernel, events) = (slot.grant.kstats, slot.kernel.clone(), self.events.clone());
        tokio::spawn(async move {
            let answer = if granted {
                reading(&*kernel, module).await
            } else {
                Err(BrokerError::Denied("the grant does not hold kstats".into()))
            };
            let _ = events.send(Event::Kstats { room: name, life, run, answer }).await;
        });
    }

    fn answer(&mut self, name: Room, run: u64, answer: Answer) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        if let Some(in_flight) = room.in_flight.get_mut(&run) {
            in_flight.asking = false;
            if let State::Open(link) = &room.state {
                link.send(ToRunner::Kstats { run, answer }, None);
            }
        }
    }
}

/// Whether a runner in this state may be what an event is of.
fn is_awaited(event: &Event, state: &State) -> bool {
    match event {
        Event::Started { .. } => matches!(state, State::Starting),
        Event::Said { .. } | Event::Ended { .. } | Event::Kstats { .. } => matches!(state, State::Open(_)),
    }
}

async fn reading(kernel: &dyn Kernel, module: String) -> Answer {
    if module.len() > MODULE_BYTES {
        return Err(BrokerError::Other("no module has so long a name".into()));
    }
    let read = tokio::time::timeout(KSTATS_WAIT, kernel.kstats(module)).await;
    let answer = read.unwrap_or(Err(BrokerError::Timeout));
    // A frame that is too long would end the runner, and the sensor would be suspected for what the kernel said.
    if wire::encode(&answer).len() + ENVELOPE_BYTES > MOST_FRAME_BYTES {
        return Err(BrokerError::Other("there are too many statistics for one answer; ask for one module".into()));
    }
    answer
}
