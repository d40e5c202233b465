//! Modules with as many of a thing as there may be.

use wasm_encoder::{ConstExpr, Elements, ExportKind, Function, GlobalType, RefType, TableType, ValType};

use super::{MOST_SEGMENTS, SHELL_FUNCTIONS, with};

/// The format's limit of functions, types, globals and exports.
const MOST_ITEMS: u32 = 1_000_000;

/// Functions of nothing, as many as there may be.
pub fn many_functions() -> Vec<u8> {
    with(|shell| {
        let mut body = Function::new([]);
        body.instructions().end();
        for _ in 0..MOST_ITEMS - 10 {
            shell.body(&body);
        }
    })
}

/// Functions of a little each, as many as fit.
pub fn many_small_functions() -> Vec<u8> {
    with(|shell| {
        let mut body = Function::new([]);
        body.instructions().memory_size(0).memory_grow(0).drop().end();
        for _ in 0..300_000 {
            shell.body(&body);
        }
    })
}

/// Types that nothing uses, as many as there may be.
pub fn many_types() -> Vec<u8> {
    with(|shell| {
        for _ in 0..MOST_ITEMS - 10 {
            shell.types.ty().function([], []);
        }
    })
}

/// One type of as many parameters as there may be, and functions of it.
pub fn many_parameters() -> Vec<u8> {
    with(|shell| {
        shell.types.ty().function([ValType::I64; 1_000], [ValType::I64; 1_000]);
        for _ in 0..1_000 {
            shell.functions.function(3);
            let mut body = Function::new([]);
            for parameter in 0..1_000 {
                body.instructions().local_get(parameter);
            }
            body.instructions().call(SHELL_FUNCTIONS).end();
            shell.code.function(&body);
        }
    })
}

/// Globals, half a million.
pub fn many_globals() -> Vec<u8> {
    with(|shell| {
        for _ in 0..MOST_ITEMS / 2 {
            let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
            shell.globals.global(ty, &ConstExpr::i64_const(0));
        }
    })
}

/// Exports under as many names as fit.
pub fn many_exports() -> Vec<u8> {
    with(|shell| {
        for index in 0..300_000_u32 {
            shell.exports.export(&format!("{index:x}"), ExportKind::Func, 0);
        }
    })
}

/// Data segments, as many as there may be, a byte each.
pub fn many_data_segments() -> Vec<u8> {
    with(|shell| {
        for _ in 0..MOST_SEGMENTS - 10 {
            shell.data.active(0, &ConstExpr::i32_const(8192), [7]);
        }
    })
}

/// Element segments, as many as there may be.
pub fn many_element_segments() -> Vec<u8> {
    with(|shell| {
        let table =
            TableType { element_type: RefType::FUNCREF, minimum: 10, maximum: None, table64: false, shared: false };
        shell.tables.table(table);
        for _ in 0..MOST_SEGMENTS - 10 {
            shell.elements.active(None, &ConstExpr::i32_const(0), Elements::Functions([0].as_slice().into()));
        }
    })
}

/// One passive segment of a million elements.
pub fn large_element_segment() -> Vec<u8> {
    with(|shell| {
        shell.elements.passive(Elements::Functions(vec![0; MOST_ITEMS as usize].into()));
    })
}
