//! The most that a component may have of anything, and why so much.
//!
//! wasmparser's own maxima (a million functions, bodies of 7.6 MB) only keep it from overflowing; a compiler can be kept busy for hours under them.
//! These are many times what honest sensors have, because a limit that an honest one meets is worse than none. The largest that are built here have 408
//! functions, 6.6 KB and 41 locals in one, 44 blocks in one another, 49 branch targets, 51 table elements. Go's runtime is several thousand
//! functions, a JavaScript engine tens of thousands.

use sonde_manifest::Class;

/// Core instances, memories and tables that a component may come to. What wit-component makes of a module has three core instances
/// (the module, a shim, the shim's fixups), one memory and two tables; a WASI adapter adds one of each at most. The engine's pool has places for so
/// many and no more.
pub const CORE_INSTANCES: u32 = 6;
pub const MEMORIES: u32 = 2;
pub const TABLES: u32 = 4;
/// Of one module, as in the engine's pool. Several memories are an instruction set of their own, which no toolchain uses.
pub const MEMORIES_OF_MODULE: u32 = 1;
pub const TABLES_OF_MODULE: u32 = 2;
/// Elements of one table in the pool, and so of all element segments: each is unrolled into code that runs when an instance starts.
pub const TABLE_ELEMENTS: usize = 20_000;

/// Modules and components in a component: wit-component has four modules, `wac` a component for each part.
pub(super) const NESTED: u64 = 32;
/// Whatever is declared outside of modules: imports, exports, aliases, instances, functions lifted and lowered. A sensor that imports most of the world has some 60.
pub(super) const COMPONENT_ITEMS: u64 = 5_000;
/// The types outside of modules, which are not looked into here: reading them is recursive, and left to the compile worker. The world's are 2 KiB.
pub(super) const COMPONENT_TYPE_BYTES: u64 = 256 << 10;
/// Parameters and results of a function: toolchains pass what is more in memory.
pub(super) const SIGNATURE: u64 = 256;
/// A page of a memory in bytes; other sizes are a proposal.
pub(super) const PAGE_BYTES: u64 = 64 << 10;

/// What depends on the class.
pub(super) struct Most {
    pub(super) class: Class,
    /// Defined in all modules together.
    pub(super) functions: u64,
    /// Of one function. What the compiler does is not linear in this, so it is the number that matters most.
    pub(super) body_bytes: u64,
    /// Of one function: register allocation is what they cost.
    pub(super) locals: u64,
    /// Loops times locals of one function: a compiler may need a value for each local in each loop, so that the two are worth their product.
    pub(super) loop_values: u64,
    /// Of all jump tables of one function: each is an edge.
    pub(super) branch_targets: u64,
    /// Blocks in blocks. A `match` of n arms is n of them, and so is a function of Go with n calls.
    pub(super) nesting: u64,
    /// Of all modules together, as the next two.
    pub(super) types: u64,
    pub(super) globals: u64,
    /// Imports and exports of modules.
    pub(super) names: u64,
    pub(super) data_segments: u64,
}

const SMALL: Most = Most {
    class: Class::Small,
    functions: 20_000,
    body_bytes: 256 << 10,
    locals: 2_000,
    loop_values: 50_000,
    branch_targets: 4_096,
    nesting: 1_000,
    types: 2_000,
    globals: 1_000,
    names: 1_000,
    data_segments: 1_000,
};

/// Of toolchains that bring a runtime. Go compiles resuming into one block and one branch target a call, and the initialisers of its tables into the
/// largest bodies there are; the loop of an interpreter has a few thousand locals.
const MEDIUM: Most = Most {
    class: Class::Medium,
    functions: 100_000,
    body_bytes: 2 << 20,
    locals: 10_000,
    loop_values: 1_000_000,
    branch_targets: 65_536,
    nesting: 16_384,
    types: 20_000,
    globals: 20_000,
    names: 20_000,
    data_segments: 10_000,
};

const LARGE: Most = Most { class: Class::Large, ..MEDIUM };

impl Most {
    pub(super) fn of(class: Class) -> &'static Self {
        match class {
            Class::Small => &SMALL,
            Class::Medium => &MEDIUM,
            Class::Large => &LARGE,
        }
    }
}
