//! Each bound of the shape: what is at it passes, what is over it is refused for it and for nothing else.

use std::time::{Duration, Instant};

use sonde_manifest::Class;

use super::most::{COMPONENT_ITEMS, COMPONENT_TYPE_BYTES, NESTED, SIGNATURE};
use super::shape;
use super::*;

fn check(text: &str, class: Class) -> Result<(), PrecheckError> {
    shape::check(&wat::parse_str(text).expect("the text is a component"), Most::of(class))
}

fn refused(text: &str) -> ShapeError {
    match check(text, Class::Small).expect_err("it should have been refused") {
        PrecheckError::Shape(error) => error,
        other => panic!("refused for something else: {other}"),
    }
}

/// A component with one module in it.
fn module(fields: &str) -> String {
    format!("(component (core module {fields}))")
}

fn times(count: u64, text: &str) -> String {
    text.repeat(count as usize)
}

/// So many of something are too many, and one less is not.
#[track_caller]
fn bounded(class: Class, most: u64, what: &str, with: impl Fn(u64) -> String) {
    check(&with(most), class).unwrap_or_else(|error| panic!("{most} {what}: {error}"));
    let error = check(&with(most + 1), class).expect_err(what);
    let PrecheckError::Shape(ShapeError::TooMany { what: named, most: said, class: of }) = error else {
        panic!("{what}: {error}")
    };
    assert_eq!((named, said, of), (what, most, class.name()));
}

fn jumps(targets: u64) -> String {
    // One of them is the default, which is not counted.
    module(&format!("(func (block (br_table {} (i32.const 0))))", times(targets + 1, "0 ")))
}

fn blocks(depth: u64) -> String {
    module(&format!("(func {} {})", times(depth, "block "), times(depth, "end ")))
}

#[test]
fn functions() {
    for class in Class::ALL {
        let most = Most::of(class);
        bounded(class, most.body_bytes, "bytes in one function", |bytes| {
            // Beside the instructions: how many groups of locals, and the end.
            module(&format!("(func {})", times(bytes - 2, "nop ")))
        });
        bounded(class, most.locals, "locals in one function", |locals| {
            module(&format!("(func (local i64) (local {}))", times(locals - 1, "i32 ")))
        });
        bounded(class, most.branch_targets, "branch targets in one function", jumps);
        bounded(class, most.nesting, "blocks in one another", blocks);
    }
    let most = Most::of(Class::Small);
    bounded(Class::Small, most.functions, "functions", |functions| {
        let half = times(functions / 2, "(func)");
        format!("(component (core module {half}) (core module {}))", times(functions - functions / 2, "(func)"))
    });
    let several = times(3, "(block (br_table 0 0 0 0 (i32.const 0)))");
    check(&module(&format!("(func {several})")), Class::Small).unwrap();
    // Blocks beside one another are not in one another.
    check(&module(&format!("(func {})", times(most.nesting + 1, "block end "))), Class::Small).unwrap();
}

#[test]
fn loops_times_locals() {
    for class in Class::ALL {
        let (most, locals) = (Most::of(class).loop_values, 1_000);
        let with = |loops| module(&format!("(func (local {}) {})", times(locals, "i32 "), times(loops, "loop end ")));
        check(&with(most / locals), class).unwrap();
        let error = check(&with(most / locals + 1), class).expect_err("one loop too many");
        let what = "loops times locals in one function";
        assert_eq!(error.to_string(), ShapeError::TooMany { what, most, class: class.name() }.to_string());
        // Either alone is nothing.
        check(&module(&format!("(func {})", times(most / locals + 1, "loop end "))), class).unwrap();
    }
}

#[test]
fn declarations() {
    let most = Most::of(Class::Small);
    bounded(Class::Small, most.types, "types", |types| module(&times(types, "(type (func))")));
    bounded(Class::Small, most.globals, "globals", |globals| module(&times(globals, "(global i32 (i32.const 0))")));
    bounded(Class::Small, most.names, "imports and exports of modules", |names| {
        let exports: String = (1..names).map(|at| format!("(export \"{at}\" (global 0))")).collect();
        module(&format!("(import \"\" \"\" (global i32)) {exports}"))
    });
    bounded(Class::Small, SIGNATURE, "parameters and results of one function", |parameters| {
        module(&format!("(type (func (param {}) (result i32)))", times(parameters - 1, "i32 ")))
    });
}

#[test]
fn memories_and_their_data() {
    let most = Most::of(Class::Small);
    bounded(Class::Small, u64::from(MEMORIES), "memories", |memories| {
        format!("(component {})", times(memories, "(core module (memory 1))"))
    });
    bounded(Class::Small, u64::from(MEMORIES_OF_MODULE), "memory in one module", |memories| {
        module(&times(memories, "(import \"\" \"\" (memory 1))"))
    });
    let begins = |pages: u32| format!("(component (core module (memory 6)) (core module (memory {pages})))");
    check(&begins(250), Class::Small).unwrap();
    let (bytes, limit) = (257 * 65_536, 16 << 20);
    assert_eq!(refused(&begins(251)), ShapeError::Memory { bytes, most: limit, class: "small" });
    check(&begins(251), Class::Medium).unwrap();

    bounded(Class::Small, most.data_segments, "data segments", |segments| {
        module(&format!("(memory 1) {}", times(segments, "(data (i32.const 0) \"\")")))
    });
    let reaches = |offset: u32| module(&format!("(memory 1) (data (i32.const {offset}) \"four\")"));
    check(&reaches((16 << 20) - 4), Class::Small).unwrap();
    let end = (16 << 20) + 1;
    assert_eq!(refused(&reaches((16 << 20) - 3)), ShapeError::Data { end, most: limit, class: "small" });
    // An offset is an i32 and means a u32.
    assert!(matches!(refused(&module("(memory 1) (data (i32.const -1) \"\")")), ShapeError::Data { .. }));
}

#[test]
fn tables_and_their_elements() {
    bounded(Class::Small, u64::from(TABLES), "tables", |tables| {
        format!("(component {})", times(tables, "(core module (table 1 funcref))"))
    });
    bounded(Class::Small, u64::from(TABLES_OF_MODULE), "tables in one module", |tables| {
        module(&times(tables, "(import \"\" \"\" (table 1 externref))"))
    });
    check(&module(&format!("(table {TABLE_ELEMENTS} funcref)")), Class::Small).unwrap();
    let elements = TABLE_ELEMENTS as u64 + 1;
    assert_eq!(refused(&module(&format!("(table {elements} funcref)"))), ShapeError::Table { elements });
    // Two segments, of both ways to write one; each counts for one itself.
    bounded(Class::Small, TABLE_ELEMENTS as u64, "elements of tables", |elements| {
        let (functions, nulls) =
            (times(elements / 2 - 1, "0 "), times(elements - elements / 2 - 1, "(ref.null func) "));
        module(&format!("(func) (table 1 funcref) (elem (i32.const 0) func {functions}) (elem funcref {nulls})"))
    });
}

#[test]
fn components_in_components() {
    bounded(Class::Small, NESTED, "modules and components within it", |nested| {
        format!("(component (component) {})", times(nested - 1, "(core module)"))
    });
    bounded(Class::Small, u64::from(CORE_INSTANCES), "core instances", |instances| {
        format!("(component (core module $m) {})", times(instances, "(core instance (instantiate $m))"))
    });
    bounded(Class::Small, NESTED, "instances of components", |instances| {
        format!("(component (component $c) {})", times(instances, "(instance (instantiate $c))"))
    });
    bounded(Class::Small, COMPONENT_ITEMS, "items of components", |items| {
        let aliases = times(items - 1, "(alias export $i \"f\" (func))");
        format!("(component (import \"i\" (instance $i (export \"f\" (func)))) {aliases})")
    });
    let types = |count: u64| format!("(component {})", times(count, "(type (func (param \"twelve-bytes\" u8)))"));
    check(&types(COMPONENT_TYPE_BYTES / 20), Class::Small).expect("17 bytes each");
    assert!(matches!(
        refused(&types(COMPONENT_TYPE_BYTES / 16)),
        ShapeError::TooMany { what: "bytes of component types", .. }
    ));
}

/// Few words that come to millions of instances, one level of nesting times the other.
#[test]
fn what_multiplies() {
    let level =
        |inner: &str, times: usize| format!("(component $c {inner} {})", "(instance (instantiate $c))".repeat(times));
    let mut text = "(component $c (core module $m) (core instance (instantiate $m)))".to_owned();
    for _ in 0..8 {
        text = level(&text, 3);
    }
    assert!(matches!(refused(&text), ShapeError::TooMany { what: "core instances", .. }));
    let empty = (0..8).fold("(component $c)".to_owned(), |text, _| level(&text, 3));
    assert!(matches!(refused(&empty), ShapeError::TooMany { what: "instances of components", .. }));
    for higher in [
        "(component (component (import \"c\" (component))))",
        "(component (component (import \"m\" (core module))))",
        "(component (import \"i\" (instance $i (export \"c\" (component)))) (alias export $i \"c\" (component)))",
    ] {
        assert_eq!(refused(higher), ShapeError::HigherOrder, "{higher}");
    }
}

#[test]
fn proposals_that_are_off() {
    let modules = [
        ("(func $f return_call $f)", "tail_call"),
        ("(memory 1 1 shared)", "threads"),
        ("(import \"\" \"\" (memory 1 1 shared))", "threads"),
        ("(func atomic.fence)", "threads"),
        ("(memory i64 1)", "memory64"),
        ("(table i64 1 funcref)", "memory64"),
        ("(memory 1 (pagesize 1))", "custom_page_sizes"),
        ("(tag)", "exceptions"),
        ("(import \"\" \"\" (tag))", "exceptions"),
        ("(func (throw_ref (unreachable)))", "exceptions"),
        ("(type (struct))", "gc"),
        ("(table 0 anyref)", "gc"),
        ("(func (drop (ref.i31 (i32.const 0))))", "gc"),
        ("(type $t (func)) (func (call_ref $t (unreachable)))", "function_references"),
        ("(func (drop (i32x4.relaxed_trunc_f32x4_s (unreachable))))", "relaxed_simd"),
        ("(func (result i64 i64) (i64.add128 (unreachable)))", "wide_arithmetic"),
        ("(type $t (func)) (type $c (cont $t)) (func (drop (cont.new $c (unreachable))))", "gc"),
    ];
    for (fields, proposal) in modules {
        assert_eq!(refused(&module(fields)), ShapeError::Proposal(proposal), "{fields}");
    }
    let asynchronous = ShapeError::Proposal("async components or threads");
    for function in ["waitable-set.new", "task.cancel", "backpressure.inc", "subtask.drop"] {
        assert_eq!(refused(&format!("(component (core func (canon {function})))")), asynchronous, "{function}");
    }
    assert_eq!(refused(&lowering("async (memory (core memory $i \"m\"))")), asynchronous);
}

/// A function of the world made one of a module, with these options.
fn lowering(options: &str) -> String {
    format!(
        r#"(component (import "f" (func $f (param "s" string)))
            (core module $m (memory (export "m") 1)
                (func (export "r") (param i32 i32 i32 i32) (result i32) unreachable))
            (core instance $i (instantiate $m))
            (core func (canon lower (func $f) {options})))"#
    )
}

#[test]
fn strings() {
    check(
        &lowering("string-encoding=utf8 (memory (core memory $i \"m\")) (realloc (core func $i \"r\"))"),
        Class::Small,
    )
    .unwrap();
    for (encoding, said) in [("utf16", "UTF-16"), ("latin1+utf16", "Latin-1 or UTF-16")] {
        let text = lowering(&format!("string-encoding={encoding} (memory (core memory $i \"m\"))"));
        assert_eq!(refused(&text), ShapeError::Strings(said));
    }
}

/// Ten times as much of what is the most to keep in mind is not a hundred times the work.
#[test]
fn takes_linear_time() {
    let most = Most::of(Class::Large);
    let deep = format!("(func {} {})", times(most.nesting, "block "), times(most.nesting, "end "));
    let timed = |count: u64| {
        let bytes = wat::parse_str(module(&times(count, &deep))).expect("it is a module");
        // The best of three: what else the machine does is not counted.
        let once = |_| {
            let began = Instant::now();
            shape::check(&bytes, most).expect("it is within");
            began.elapsed()
        };
        (0..3).map(once).min().expect("it was done")
    };
    let (one, ten) = (timed(2), timed(20));
    assert!(ten < one * 40 + Duration::from_millis(100), "{one:?}, and ten times as much took {ten:?}");
}
