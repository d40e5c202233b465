//! Runners and compile workers that do what a test says, on threads of the test itself, over real sockets.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sonde_host::wire::{
    self, Answer, Call, CompileOrder, CompileReply, CompilerHello, FromRunner, Inbox, Outbox, Outcome, RunOrder,
    ToRunner,
};
use sonde_host::{Digest, NotStarted, Room, Started, Starting, Workers};

/// What becomes of an order.
pub type Deed = Arc<dyn Fn(&Runner, &RunOrder) + Send + Sync>;
/// What becomes of a component.
pub type Compiler = Box<dyn Fn(&[u8]) -> CompilerSays + Send + Sync>;

/// A compile worker's last word.
pub enum CompilerSays {
    Reply(CompileReply, Vec<u8>),
    /// It ends, before it has said what it is or after the order.
    EndsAtOnce,
    Ends,
}

/// How starting goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    Works,
    Fails,
    NeverEnds,
}

/// An order that was given.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    pub room: Room,
    pub runner: u64,
    pub digest: Digest,
    pub account: u64,
    pub call: Call,
}

/// A runner's own end.
#[derive(Clone)]
pub struct Runner {
    pub room: Room,
    pub number: u64,
    outbox: Arc<Mutex<Outbox>>,
    socket: Arc<UnixStream>,
    state: Arc<State>,
}

/// A run that a test holds in flight.
pub struct Held {
    pub order: RunOrder,
    pub runner: Runner,
}

#[derive(Default)]
struct State {
    deeds: Mutex<HashMap<(Digest, bool), Deed>>,
    given: Mutex<Vec<Given>>,
    held: Mutex<Vec<Held>>,
    answers: Mutex<Vec<Answer>>,
    unloaded: Mutex<Vec<Digest>>,
    killed: Mutex<HashSet<u64>>,
    sockets: Mutex<HashMap<u64, Arc<UnixStream>>>,
    compiler: Mutex<Option<Compiler>>,
}

/// The double of the broker.
pub struct Scripted {
    state: Arc<State>,
    next: AtomicU64,
    start: Mutex<Start>,
    pub compiled: Arc<AtomicUsize>,
}

impl Scripted {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Arc::default(),
            next: AtomicU64::new(1),
            start: Mutex::new(Start::Works),
            compiled: Arc::default(),
        })
    }

    /// From now on, runs of a digest come to this.
    pub fn on(&self, digest: Digest, deed: impl Fn(&Runner, &RunOrder) + Send + Sync + 'static) {
        self.state.deeds.lock().unwrap().insert((digest, true), Arc::new(deed));
    }

    /// And its descriptions to this.
    pub fn on_describe(&self, digest: Digest, deed: impl Fn(&Runner, &RunOrder) + Send + Sync + 'static) {
        self.state.deeds.lock().unwrap().insert((digest, false), Arc::new(deed));
    }

    pub fn compile_by(&self, compiler: impl Fn(&[u8]) -> CompilerSays + Send + Sync + 'static) {
        *self.state.compiler.lock().unwrap() = Some(Box::new(compiler));
    }

    pub fn starting(&self, start: Start) {
        *self.start.lock().unwrap() = start;
    }

    /// All orders so far to collect, in the order in which the runners had them.
    pub fn runs(&self) -> Vec<Given> {
        self.state.given.lock().unwrap().iter().filter(|given| given.call == Call::Collect).copied().collect()
    }

    pub fn runs_of(&self, digest: Digest) -> Vec<Given> {
        self.runs().into_iter().filter(|given| given.digest == digest).collect()
    }

    pub fn held(&self) -> usize {
        self.state.held.lock().unwrap().len()
    }

    /// The one that is held longest.
    pub fn release_one(&self) -> Held {
        self.state.held.lock().unwrap().remove(0)
    }

    pub fn was_killed(&self, number: u64) -> bool {
        self.state.killed.lock().unwrap().contains(&number)
    }

    /// Processes that were started and not ended.
    pub fn alive(&self) -> usize {
        self.state.sockets.lock().unwrap().len()
    }

    pub fn answers(&self) -> Vec<Answer> {
        self.state.answers.lock().unwrap().clone()
    }

    pub fn unloaded(&self) -> Vec<Digest> {
        self.state.unloaded.lock().unwrap().clone()
    }

    fn process(&self) -> (Started, Arc<UnixStream>, u64) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let (here, there) = UnixStream::pair().unwrap();
        let there = Arc::new(there);
        self.state.sockets.lock().unwrap().insert(number, there.clone());
        (Started { number, socket: here.into() }, there, number)
    }
}

impl Workers for Scripted {
    fn start_runner(&self, room: Room) -> Starting<'_> {
        Box::pin(async move {
            let start = *self.start.lock().unwrap();
            match start {
                Start::Works => {}
                Start::Fails => return Err(NotStarted("no more\nprocesses".into())),
                Start::NeverEnds => std::future::pending().await,
            }
            let (started, socket, number) = self.process();
            let (inbox, outbox) = wire::blocking(socket.try_clone().unwrap().into(), true).unwrap();
            let outbox = Arc::new(Mutex::new(outbox));
            let runner = Runner { room, number, outbox, socket, state: self.state.clone() };
            std::thread::spawn(move || runner.serve(inbox));
            Ok(started)
        })
    }

    fn start_compiler(&self) -> Starting<'_> {
        Box::pin(async move {
            if *self.start.lock().unwrap() == Start::NeverEnds {
                std::future::pending::<()>().await;
            }
            let (started, socket, _) = self.process();
            let (state, compiled) = (self.state.clone(), self.compiled.clone());
            std::thread::spawn(move || compile(&state, &compiled, &socket));
            Ok(started)
        })
    }

    fn kill(&self, number: u64) {
        self.state.killed.lock().unwrap().insert(number);
        if let Some(socket) = self.state.sockets.lock().unwrap().remove(&number) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Runner {
    pub fn say(&self, message: &FromRunner) {
        let mut outbox = self.outbox.lock().unwrap();
        outbox.push(message, None);
        let _ = outbox.flush_blocking();
    }

    pub fn done(&self, run: u64, outcome: Outcome) {
        self.say(&FromRunner::Done { run, outcome });
    }

    /// Bytes that are no message.
    pub fn raw(&self, bytes: &[u8]) {
        let _ = (&*self.socket).write_all(bytes);
    }

    pub fn die(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    pub fn hold(&self, order: &RunOrder) {
        let order = wire::decode(&wire::encode(order)).unwrap();
        self.state.held.lock().unwrap().push(Held { order, runner: self.clone() });
    }

    fn serve(self, mut inbox: Inbox) {
        self.say(&FromRunner::Ready { layers: Vec::new() });
        let mut codes = HashMap::new();
        while let Ok(Some((message, descriptor))) = inbox.next_blocking::<ToRunner>() {
            match message {
                ToRunner::Load { digest } => {
                    let mut code = Vec::new();
                    std::fs::File::from(descriptor.unwrap()).read_to_end(&mut code).unwrap();
                    codes.insert(digest, code);
                    self.say(&FromRunner::Loaded { digest, fault: None });
                }
                ToRunner::Unload { digest } => {
                    codes.remove(&digest);
                    self.state.unloaded.lock().unwrap().push(digest);
                }
                ToRunner::Run(order) => {
                    let code = codes.get(&order.digest).map(Vec::as_slice);
                    assert_eq!(code, Some(code_of(order.digest).as_slice()), "a run without its whole code");
                    self.run(&order);
                }
                ToRunner::Kstats { answer, .. } => self.state.answers.lock().unwrap().push(answer),
            }
        }
    }

    fn run(&self, order: &RunOrder) {
        let RunOrder { digest, account, call, .. } = *order;
        self.state.given.lock().unwrap().push(Given { room: self.room, runner: self.number, digest, account, call });
        let collects = call == Call::Collect;
        let deed = self.state.deeds.lock().unwrap().get(&(digest, collects)).cloned();
        match deed {
            Some(deed) => deed(self, order),
            None if collects => self.done(order.run, super::good()),
            None => self.done(order.run, super::described()),
        }
    }
}

impl Held {
    pub fn answer(self, outcome: Outcome) {
        self.runner.done(self.order.run, outcome);
    }
}

/// What the scripted compiler makes.
pub fn code_of(digest: Digest) -> Vec<u8> {
    format!("code of {digest}").into_bytes()
}

fn compile(state: &State, compiled: &AtomicUsize, socket: &UnixStream) {
    let (mut inbox, mut outbox) = wire::blocking(socket.try_clone().unwrap().into(), false).unwrap();
    let says = |bytes: &[u8]| state.compiler.lock().unwrap().as_ref().map(|compiler| compiler(bytes));
    if matches!(says(&[]), Some(CompilerSays::EndsAtOnce)) {
        let _ = socket.shutdown(Shutdown::Both);
        return;
    }
    outbox.push(&CompilerHello { layers: Vec::new(), compatibility: [1, 2, 3] }, None);
    let _ = outbox.flush_blocking();
    let Ok(Some((CompileOrder { component_bytes, .. }, _))) = inbox.next_blocking() else { return };
    let bytes = inbox.bytes_blocking(component_bytes as usize).unwrap();
    compiled.fetch_add(1, Ordering::SeqCst);
    let code = code_of(Digest::of(&bytes));
    let reply = CompileReply::Compiled { code_bytes: code.len() as u64 };
    match says(&bytes).unwrap_or(CompilerSays::Reply(reply, code)) {
        CompilerSays::Reply(reply, code) => {
            outbox.push(&reply, None);
            outbox.push_bytes(&code);
            let _ = outbox.flush_blocking();
        }
        CompilerSays::EndsAtOnce | CompilerSays::Ends => drop(socket.shutdown(Shutdown::Both)),
    }
}
