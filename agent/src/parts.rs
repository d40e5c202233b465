//! The parts that the agent is of no use without, and how each is asked whether it is at work: with a question that it answers as it
//! answers others.
//!
//! The server by way of its accept loop, the keeper between two changes, each scheduling thread with a task of its own, the broker with a
//! message. What is asked is of no consequence.

use std::sync::Arc;

use sonde_broker::Client;
use sonde_host::Schedule;
use tokio::sync::{mpsc, oneshot};

use crate::keeper::Order;
use crate::pulses::{Answering, Part};
use crate::serve::Ask;

/// What they are called in the log, in `sonde_agent_part_silence_seconds` and at `/healthz`.
pub(crate) const NAMES: [&str; 4] = ["serving", "keeper", "sensors", "broker"];

/// All parts, with the ways to ask them, in the order of [`NAMES`].
pub(crate) fn all(
    ask: mpsc::Sender<Ask>,
    orders: mpsc::Sender<Order>,
    schedule: Schedule,
    broker: Arc<Client>,
) -> Vec<Part> {
    let serving = move || -> Answering {
        let ask = ask.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            ask.send(reply).await.is_ok() && answer.await.is_ok()
        })
    };
    let keeper = move || -> Answering {
        let orders = orders.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            orders.send(Order::Ping(reply)).await.is_ok() && answer.await.is_ok()
        })
    };
    let sensors = move || -> Answering {
        let asked: Vec<_> = schedule.runtimes().map(|runtime| runtime.spawn(async {})).collect();
        Box::pin(async move {
            let mut all = true;
            for answered in asked {
                all &= answered.await.is_ok();
            }
            all
        })
    };
    let broker = move || -> Answering {
        let broker = broker.clone();
        Box::pin(async move { broker.ping().await })
    };
    let asks: [Box<dyn Fn() -> Answering + Send + Sync>; NAMES.len()] =
        [Box::new(serving), Box::new(keeper), Box::new(sensors), Box::new(broker)];
    NAMES.into_iter().zip(asks).map(|(name, ask)| Part { name, ask }).collect()
}
