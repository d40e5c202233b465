//! Row 24 and the rest of 25: files that are dear to check and to compile. All are generated, and each goes through a real compile worker too: what the
//! check before it refuses, the worker must survive or end of, at its own cost.

use super::refused;
use crate::generated as make;
use crate::guest::{Defence, Expected, Guest};

/// Code, a sentence, or the worker's end by its own limits are all right, as long as it costs nobody else.
const BOUNDED: Expected = Expected::Either;

pub(super) fn guests() -> Vec<Guest> {
    vec![
        bomb(
            "24a-huge-function",
            make::huge_function,
            "a function as long as a file",
            refused("bytes in one function"),
        ),
        bomb(
            "24b-many-locals",
            make::many_locals,
            "every variable there may be, all alive at once",
            refused("bytes in one function"),
        ),
        bomb(
            "24c-branch-tables",
            make::branch_tables,
            "branch tables of as many targets as there may be",
            refused("bytes in one function"),
        ),
        bomb(
            "24d-deep-blocks",
            make::deep_blocks,
            "whoever compiles by recursion has no stack for it",
            refused("bytes in one function"),
        ),
        bomb(
            "24e-deep-loops",
            make::deep_loops,
            "whoever compiles by recursion has no stack for it",
            refused("bytes in one function"),
        ),
        bomb(
            "24f-deep-ifs",
            make::deep_ifs,
            "whoever compiles by recursion has no stack for it",
            refused("bytes in one function"),
        ),
        bomb("24g-loops-and-locals", make::loops_and_locals, "values by loops times variables", BOUNDED),
        bomb(
            "24h-loops-and-locals-squared",
            make::loops_and_locals_squared,
            "the same, from a file of 80 KB",
            refused("locals in one function"),
        ),
        bomb("24i-many-functions", make::many_functions, "a fixed cost for each function", refused("functions")),
        bomb(
            "24j-many-small-functions",
            make::many_small_functions,
            "a fixed cost for each function",
            refused("functions"),
        ),
        bomb(
            "24k-many-parameters",
            make::many_parameters,
            "a trampoline for each type",
            refused("parameters and results"),
        ),
        bomb("24l-many-modules", make::many_modules, "a component has few", refused("memories")),
        bomb("25d-many-types", make::many_types, "types are interned", refused("types")),
        bomb("25e-many-globals", make::many_globals, "an instance has a size", refused("globals")),
        bomb("25f-many-exports", make::many_exports, "names are kept", refused("imports and exports")),
        bomb("25g-many-data-segments", make::many_data_segments, "segments are kept", refused("data segments")),
        bomb(
            "25h-many-element-segments",
            make::many_element_segments,
            "segments are kept",
            refused("elements of tables"),
        ),
        bomb(
            "25i-large-element-segment",
            make::large_element_segment,
            "segments are kept",
            refused("elements of tables"),
        ),
        bomb("25j-many-core-imports", make::many_core_imports, "imports are kept", refused("imports and exports")),
        bomb(
            "25k-many-type-imports",
            make::many_type_imports,
            "types are no doors, but items",
            refused("items of components"),
        ),
        Guest::generated("25l-many-imports", make::many_imports, "names are counted", refused("more than 64")),
        bomb("25m-nested-components", make::nested_components, "depth is bounded", refused("components within it")),
    ]
}

/// One that the worker is given all the same.
fn bomb(name: &str, make: fn() -> Vec<u8>, why: &'static str, expected: Expected) -> Guest {
    Guest::generated(name, make, why, expected).without(&[Defence::Precheck], BOUNDED)
}
