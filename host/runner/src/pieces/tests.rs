//! What a guest sees is what the instruction does: each case is run as written and in pieces, and compared byte by byte.

use super::*;
use wasmtime::{Config, Engine, Instance, Module, Store, UpdateDeadline};

const PAGES: u32 = 17;
const MEMORY_BYTES: u32 = PAGES << 16;
const PIECE: u32 = PIECE_BYTES as u32;

fn module() -> Vec<u8> {
    let text = format!(
        r#"(module
            (type (func))
            (import "" "f" (func))
            (memory (export "memory") {PAGES})
            (func (export "fill") (param i32 i32 i32)
                (memory.fill (local.get 0) (local.get 1) (local.get 2)))
            (func (export "copy") (param i32 i32 i32)
                (memory.copy (local.get 0) (local.get 1) (local.get 2)))
            (@custom "kept" "as it is"))"#
    );
    wat::parse_str(text).unwrap()
}

/// The module alone, as it is inside of a component.
fn cut_module(bytes: &[u8]) -> Vec<u8> {
    let mut cutter = Cutter::default();
    cutter.look_at(bytes).unwrap();
    let mut module = wasm_encoder::Module::new();
    utils::parse_core_module(&mut cutter, &mut module, Parser::new(0), bytes).unwrap();
    module.finish()
}

/// What is in memory after; what the trap says; how often the epoch was looked at.
struct After {
    memory: Vec<u8>,
    trap: Option<String>,
    looks: u64,
}

struct Guest {
    store: Store<u64>,
    instance: Instance,
    /// No two pieces alike.
    pattern: Vec<u8>,
}

impl Guest {
    fn new(bytes: &[u8]) -> Self {
        let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
        let module = Module::new(&engine, bytes).unwrap();
        let mut store = Store::new(&engine, 0);
        let import = wasmtime::Func::wrap(&mut store, || {});
        // Past already, so that each look is one too late.
        store.epoch_deadline_callback(|mut store| {
            *store.data_mut() += 1;
            Ok(UpdateDeadline::Continue(0))
        });
        let instance = Instance::new(&mut store, &module, &[import.into()]).unwrap();
        let pattern = (0..MEMORY_BYTES).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
        Self { store, instance, pattern }
    }

    fn call(&mut self, name: &str, operands: (u32, u32, u32)) -> After {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        memory.data_mut(&mut self.store).copy_from_slice(&self.pattern);
        *self.store.data_mut() = 0;
        self.store.set_epoch_deadline(0);
        let function = self.instance.get_typed_func::<(u32, u32, u32), ()>(&mut self.store, name).unwrap();
        let trap = function.call(&mut self.store, operands).err().map(|error| error.root_cause().to_string());
        After { memory: memory.data(&self.store).to_vec(), trap, looks: *self.store.data() }
    }
}

#[test]
fn a_guest_sees_no_difference() {
    let bytes = module();
    let (mut plain, mut cut) = (Guest::new(&bytes), Guest::new(&cut_module(&bytes)));
    let lengths =
        [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 17, MEMORY_BYTES, MEMORY_BYTES + 1, u32::MAX];
    let places = [0, 1, PIECE, PIECE + 5, MEMORY_BYTES - PIECE - 1, MEMORY_BYTES, MEMORY_BYTES + 1, u32::MAX];
    let mut trapped = 0;
    for length in lengths {
        for to in places {
            let second = [("fill", 0x1_77), ("copy", to)].into_iter();
            for (name, from) in second.chain(places.map(|from| ("copy", from))) {
                let (expected, got) = (plain.call(name, (to, from, length)), cut.call(name, (to, from, length)));
                assert_eq!(got.trap, expected.trap, "{name} {to} {from} {length}");
                assert!(got.memory == expected.memory, "{name} {to} {from} {length}");
                trapped += u32::from(got.trap.is_some());
            }
        }
    }
    assert!(trapped > 100, "some of it is out of bounds");
}

#[test]
fn it_can_be_broken_off_after_each_piece() {
    let bytes = module();
    let (mut plain, mut cut) = (Guest::new(&bytes), Guest::new(&cut_module(&bytes)));
    for (name, operands, length) in [
        ("fill", (0, 7, MEMORY_BYTES), MEMORY_BYTES),
        ("copy", (0, 16, MEMORY_BYTES - 16), MEMORY_BYTES - 16),
        ("copy", (16, 0, MEMORY_BYTES - 16), MEMORY_BYTES - 16),
    ] {
        let pieces = u64::from(length.div_ceil(PIECE));
        assert!(plain.call(name, operands).looks < 3, "the instruction itself is never broken off");
        assert!(cut.call(name, operands).looks >= pieces, "{name}");
    }
}

#[test]
fn a_component_is_cut_wherever_its_modules_are_and_only_then() {
    let with = |body: &str| {
        wat::parse_str(format!(
            r#"(component
                (component (core module (memory 1) (func (param i32) {body})))
                (core module (memory 1) (func (param i32) {body})))"#
        ))
        .unwrap()
    };
    let bulk = |bytes: &[u8]| {
        let bodies = Parser::new(0).parse_all(bytes).filter_map(|payload| match payload.unwrap() {
            Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        });
        let operators = bodies.flat_map(|body| body.get_operators_reader().unwrap().into_iter());
        operators.filter(|operator| Bulk::of(operator.as_ref().unwrap()).is_some()).count()
    };
    let fill = with("(memory.fill (local.get 0) (local.get 0) (local.get 0))");
    let done = cut(&fill).unwrap();
    wasmparser::Validator::new().validate_all(&done).unwrap();
    // In each of the two: small, out of bounds, a piece, the rest.
    assert_eq!((bulk(&fill), bulk(&done)), (2, 8));
    // A name section that is none, which the compiler does not look at.
    let malformed = wat::parse_str("(component (core module (@custom \"name\" \"\\ff\\ff\")))").unwrap();
    assert!(cut(&malformed).is_ok());
    let none = with("");
    assert!(matches!(cut(&none).unwrap(), Cow::Borrowed(_)));
}
