//! From a file to a sensor: compiled once, believed only with its mark, and refused once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sonde_host::wire::{CompileFault, CompileReply};
use sonde_host::{Digest, LoadError, RunFailure, Share};

use super::workers::{CompilerSays, Start, code_of};
use super::*;

impl Node {
    fn compiled(&self) -> usize {
        self.workers.compiled.load(Ordering::SeqCst)
    }

    async fn load(&self, name: &str, account: &str) -> Result<Arc<Sensor>, LoadError> {
        self.loader.load(component(name, ""), &self.account(account, FREE)).await
    }
}

#[tokio::test]
async fn what_two_accounts_load_at_once_is_compiled_and_described_once() {
    let node = Node::new(settings());
    let (one, other) = tokio::join!(node.load("shared", "a"), node.load("shared", "b"));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(Arc::ptr_eq(&one, &other));
    assert!(Arc::ptr_eq(&one, &node.load("shared", "c").await.unwrap()));
    let compilations = |name| node.account(name, FREE).usage().compilations;
    assert_eq!((node.compiled(), compilations("a") + compilations("b") + compilations("c")), (1, 1));
    until("the workers to be ended", || node.workers.alive() == 1).await;
}

#[tokio::test]
async fn what_does_not_compile_is_refused_by_its_digest() {
    let node = Node::new(settings());
    node.workers.compile_by(|bytes| match bytes {
        [] => CompilerSays::Ends,
        _ => CompilerSays::Reply(CompileReply::Refused(CompileFault::Compile("bad \x1b[2J".into())), Vec::new()),
    });
    for account in ["a", "b"] {
        let error = node.load("bad", account).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_transient()), ("it does not compile: bad \\u{1b}[2J", false));
    }
    assert_eq!(node.compiled(), 1);
}

#[tokio::test]
async fn a_worker_that_is_cut_off_at_work_has_met_too_dear_a_component() {
    let node = Node::new(settings());
    node.workers.compile_by(|_| CompilerSays::Ends);
    assert!(!node.load("dear", "a").await.unwrap_err().is_transient());
    assert!(node.load("dear", "a").await.is_err());
    assert_eq!(node.compiled(), 1);
}

#[tokio::test]
async fn the_nodes_own_trouble_is_not_remembered_nor_charged() {
    let node = Node::new(settings());
    node.load("before", "x").await.unwrap();
    let account = node.account("a", Share { compilations_per_hour: 1, ..FREE });
    let load = || node.loader.load(component("later", ""), &account);
    node.workers.compile_by(|_| CompilerSays::EndsAtOnce);
    assert!(load().await.unwrap_err().is_transient(), "it never saw the component");
    node.workers.compile_by(|bytes| match bytes {
        [] => CompilerSays::Ends,
        _ => CompilerSays::Reply(CompileReply::Refused(CompileFault::Worker("no memory".into())), Vec::new()),
    });
    assert!(load().await.unwrap_err().is_transient());
    node.workers.compile_by(|bytes| {
        let code = code_of(Digest::of(bytes));
        CompilerSays::Reply(CompileReply::Compiled { code_bytes: code.len() as u64 }, code)
    });
    load().await.unwrap();
    assert_eq!(account.usage().compilations, 1);
    let error = node.loader.load(component("one-more", ""), &account).await.unwrap_err();
    assert!(matches!(error, LoadError::TooMany { .. }) && error.is_transient());
}

#[tokio::test]
async fn a_description_that_breaks_a_rule_is_refused_and_one_that_was_cut_off_is_not() {
    let node = Node::new(settings());
    let digest = |name| Digest::of(&component(name, ""));
    let bad = encode(&batch::Description::Families([series(&[0]).families, series(&[0]).families].concat()));
    node.workers.on_describe(digest("bad"), move |runner, order| runner.done(order.run, outcome(Ok(bad.clone()))));
    node.workers.on_describe(digest("traps"), |runner, order| {
        runner.done(order.run, outcome(Err(RunFailure::Trap { message: "x".into() })));
    });
    node.workers.on_describe(digest("dies"), |runner, _| runner.die());
    for (name, transient) in [("bad", false), ("traps", false), ("dies", true)] {
        let error = node.load(name, "a").await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{name}: {error}");
    }
    node.workers.on_describe(digest("dies"), |runner, order| runner.done(order.run, described()));
    node.load("dies", "a").await.unwrap();
    assert!(node.load("bad", "a").await.is_err(), "remembered");
    assert_eq!(node.compiled(), 3);
}

#[tokio::test]
async fn descriptions_have_a_few_places_of_their_own() {
    let node = Node::new(with_places(64));
    let loads: Vec<_> = (0..12)
        .map(|number| {
            let name = format!("one-of-{number}");
            node.workers.on_describe(Digest::of(&component(&name, "")), |runner, order| runner.hold(order));
            let (loader, account) = (node.loader.clone(), node.account("a", FREE));
            tokio::spawn(async move { loader.load(component(&name, ""), &account).await })
        })
        .collect();
    until("its places to be taken", || node.workers.held() == sonde_host::DESCRIPTIONS).await;
    node.meanwhile_in_another_class().await;
    assert_eq!(node.workers.held(), sonde_host::DESCRIPTIONS);
    for _ in 0..12 {
        until("the next", || node.workers.held() > 0).await;
        node.workers.release_one().answer(described());
    }
    for load in loads {
        load.await.unwrap().unwrap();
    }
}

impl Node {
    /// Runs of another class, while the places for descriptions of this one are taken.
    async fn meanwhile_in_another_class(&self) {
        let sensor = self.sensor_with("medium", "class = \"medium\"").await;
        let slot = self.place(900, &sensor, &self.account("meanwhile", FREE), AT_ONCE).await;
        until("the neighbour's runs", || slot.totals().runs >= 5).await;
        self.schedule.remove(slot).await;
    }
}

#[tokio::test]
async fn kept_code_needs_no_compiler_and_tampered_code_does() {
    let node = Node::new(settings());
    drop(node.load("kept", "a").await.unwrap());
    let again = loader(&node.folder, &node.workers, &node.schedule);
    again.load(component("kept", ""), &node.account("a", FREE)).await.unwrap();
    assert_eq!((node.compiled(), again.rejected_code()), (1, 0));
    for entry in std::fs::read_dir(node.folder.path().join("code")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "code") {
            std::fs::write(&path, b"poison").unwrap();
        }
    }
    let third = loader(&node.folder, &node.workers, &node.schedule);
    third.load(component("kept", ""), &node.account("a", FREE)).await.unwrap();
    assert_eq!((node.compiled(), third.rejected_code()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_compile_worker_that_never_starts_is_given_up() {
    let workers = Scripted::new();
    workers.starting(Start::NeverEnds);
    let error = Compiling::new(workers).hello().await.unwrap_err();
    assert!(error.is_transient() && sonde_host::chain(&error).contains("did not start within"), "{error}");
}
