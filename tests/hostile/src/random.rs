//! Guests that nobody thought of: made at random from a seed, so that a failure can be had again.
//!
//! Two kinds. Modules that are valid and of our world's shape, whose insides are wasm-smith's: these are compiled and run. And valid
//! components with a few bytes changed, moved or cut off: most are refused, and none may do more than that.

use arbitrary::Unstructured;
use sonde_manifest::embed;
use wasm_encoder::{CodeSection, Function, MemArg, MemArgTarget, RawSection};
use wasm_smith::{Config, Module};
use wasmparser::{Parser, Payload, TypeRef};
use wit_component::StringEncoding;

use crate::assemble::component_of;

/// Entropy of one module: some dozens of functions.
const ENTROPY_BYTES: u64 = 4_096;
/// Changes to a component's bytes, at most.
const MOST_CHANGES: u64 = 6;
/// Bytes that one change moves or cuts, at most.
const MOST_MOVED: u64 = 64;

/// As the format numbers them.
const CODE_SECTION: u8 = 10;
const DATA_SECTION: u8 = 11;

/// Short runs: what a random module does, it does early.
const MANIFEST: &str = "name = \"chance\"\nversion = \"0.1.0\"\ndescription = \"At random.\"\ninterval = \"1s\"\n\
    [capabilities]\ntcp = [1]\nhttp = [1]\nunix = [\"/run/s\"]\nfiles = [\"/etc/hosts\"]\nsecrets = [\"s\"]\n\
    kstats = true\nprocesses = true\nstate = true\n\
    [limits]\nfuel = 2_000_000\nwall = \"200ms\"\n[config.k]\ntype = \"string\"\ndefault = \"v\"\n";

/// What the world gives; a module takes of it what it likes.
const IMPORTS: &str = r#"(module
    (import "sonde:sensor/clock@0.1.0" "now" (func (result i64)))
    (import "sonde:sensor/clock@0.1.0" "elapsed" (func (result i64)))
    (import "sonde:sensor/log@0.1.0" "write" (func (param i32 i32 i32)))
    (import "sonde:sensor/state@0.1.0" "store" (func (param i32 i32) (result i32)))
    (import "sonde:sensor/state@0.1.0" "load" (func (param i32)))
    (import "sonde:sensor/config@0.1.0" "get" (func (param i32 i32 i32)))
    (import "sonde:sensor/secrets@0.1.0" "get" (func (param i32 i32 i32)))
    (import "sonde:sensor/kstats@0.1.0" "read" (func (param i32 i32 i32)))
    (import "sonde:sensor/processes@0.1.0" "list-processes" (func (param i32)))
    (import "sonde:sensor/files@0.1.0" "read" (func (param i32 i32 i64 i32 i32)))
    (import "sonde:sensor/tcp@0.1.0" "connect" (func (param i32 i32 i32)))
    (import "sonde:sensor/unix@0.1.0" "connect" (func (param i32 i32 i32 i32)))
    (import "sonde:sensor/streams@0.1.0" "[method]connection.read" (func (param i32 i32 i32)))
    (import "sonde:sensor/streams@0.1.0" "[method]connection.write" (func (param i32 i32 i32 i32)))
    (import "sonde:sensor/streams@0.1.0" "[resource-drop]connection" (func (param i32))))"#;

/// What the world wants.
const EXPORTS: &str = r#"(module
    (memory (export "memory") 2)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "describe") (result i32) unreachable)
    (func (export "collect") (result i32) unreachable)
    (func (export "cabi_post_collect") (param i32)))"#;

/// A stream of numbers from a seed (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    /// The next of them.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `most`, which is not 0.
    fn below(&mut self, most: u64) -> u64 {
        self.draw() % most
    }

    /// A place in bytes, which are not none.
    fn place(&mut self, bytes: &[u8]) -> usize {
        self.below(bytes.len() as u64) as usize
    }
}

fn config() -> Config {
    let parse = |text: &str| wat::parse_str(text).expect("the shapes are well formed");
    Config {
        available_imports: Some(parse(IMPORTS)),
        exports: Some(parse(EXPORTS)),
        max_memory32_bytes: 1 << 20,
        max_tables: 1,
        max_table_elements: 1_000,
        gc_enabled: false,
        reference_types_enabled: true,
        exceptions_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        compact_imports_enabled: false,
        // Beside the one that the world wants.
        max_memories: 0,
        ..Config::default()
    }
}

/// A sensor file around a random module of bytes that decide everything in it; `None` where they decide on nothing that is whole.
pub fn module_of(entropy: &[u8]) -> Option<Vec<u8>> {
    let module = Module::new(config(), &mut Unstructured::new(entropy)).ok()?;
    let module = describing(&module.to_bytes())?;
    let component = component_of(&module, StringEncoding::UTF8).ok()?;
    embed(&component, MANIFEST).ok()
}

/// The same module, but that its `describe` says "dynamic": else hardly any would get to be run.
fn describing(module: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut imported, mut described) = (wasm_encoder::Module::new(), 0, None);
    let mut code = CodeSection::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.ok()?;
        match &payload {
            Payload::ImportSection(section) => {
                imported =
                    section.clone().into_imports().flatten().filter(|import| is_function(import.ty)).count() as u32;
            }
            Payload::ExportSection(section) => {
                described = section.clone().into_iter().flatten().find(|export| export.name == "describe");
            }
            Payload::CodeSectionEntry(body) => {
                if described.is_some_and(|export| export.index == imported + code.len()) {
                    let mut honest = Function::new([]);
                    let at = MemArg { offset: 0, align: 0, target: MemArgTarget::Memory(0), ordering: None };
                    honest.instructions().i32_const(16).i32_const(1).i32_store8(at).i32_const(16).end();
                    code.function(&honest);
                } else {
                    code.raw(&module[body.range().start as usize..body.range().end as usize]);
                }
                continue;
            }
            _ => {}
        }
        let Some((id, range)) = payload.as_section() else { continue };
        if id == CODE_SECTION {
            continue;
        }
        // Data comes after code, and custom sections wherever they were.
        if id == DATA_SECTION {
            out.section(&code);
        }
        out.section(&RawSection { id, data: &module[range.start as usize..range.end as usize] });
        if id == DATA_SECTION {
            code = CodeSection::new();
        }
    }
    if !code.is_empty() {
        out.section(&code);
    }
    Some(out.finish())
}

fn is_function(ty: TypeRef) -> bool {
    matches!(ty, TypeRef::Func(_) | TypeRef::FuncExact(_))
}

/// A sensor file around a random module.
pub fn module(seed: u64) -> Option<Vec<u8>> {
    let mut chance = Chance(seed);
    let length = 1 + chance.below(ENTROPY_BYTES / 8);
    let entropy: Vec<u8> = (0..length).flat_map(|_| chance.draw().to_le_bytes()).collect();
    module_of(&entropy)
}

/// One of the valid components, with some of its bytes no longer what they were.
pub fn mutated(seed: u64, valid: &[Vec<u8>]) -> Vec<u8> {
    let mut chance = Chance(seed);
    let mut bytes = valid[chance.below(valid.len() as u64) as usize].clone();
    for _ in 0..=chance.below(MOST_CHANGES) {
        if bytes.is_empty() {
            break;
        }
        let at = chance.place(&bytes);
        let end = bytes.len().min(at + chance.below(MOST_MOVED) as usize);
        match chance.below(7) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes[at] = chance.draw() as u8,
            // What integers of the format look like at their limits.
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][chance.below(5) as usize],
            3 => drop(bytes.drain(at..end)),
            4 => {
                let moved = bytes[at..end].to_vec();
                let to = chance.place(&bytes);
                bytes.splice(to..to, moved);
            }
            5 => bytes[at..end].reverse(),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// The corpus' own files: what mutations start from.
pub fn seeds() -> Vec<Vec<u8>> {
    let small = crate::corpus().into_iter().filter(|guest| !guest.is_dear());
    small.filter_map(|guest| guest.bytes(&[]).ok()).collect()
}
