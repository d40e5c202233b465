//! The body of a function: how large, how deep, how branched, and of which instructions.
//!
//! Each instruction is read once and forgotten. What is kept is a few numbers, and wasmparser's own stack of open blocks, a byte each.

use wasmparser::{FunctionBody, Operator};

use super::most::Most;
use super::shape::{ShapeError, at_most};
use super::{PrecheckError, broken};

/// Goes through one body.
pub(super) fn check(body: &FunctionBody<'_>, most: &Most) -> Result<(), PrecheckError> {
    let range = body.range();
    at_most(range.end - range.start, most.body_bytes, "bytes in one function", most)?;
    let mut locals = 0_u64;
    for group in body.get_locals_reader().map_err(broken)? {
        locals += u64::from(group.map_err(broken)?.0);
        at_most(locals, most.locals, "locals in one function", most)?;
    }
    let (mut nesting, mut targets, mut loops) = (0_u64, 0_u64, 0_u64);
    for operator in body.get_operators_reader().map_err(broken)? {
        let operator = operator.map_err(broken)?;
        if let Some(proposal) = outside(&operator) {
            return Err(ShapeError::Proposal(proposal).into());
        }
        if matches!(operator, Operator::Loop { .. }) {
            loops += 1;
            at_most(loops * locals, most.loop_values, "loops times locals in one function", most)?;
        }
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                nesting += 1;
                at_most(nesting, most.nesting, "blocks in one another", most)?;
            }
            Operator::End => nesting = nesting.saturating_sub(1),
            Operator::BrTable { targets: of_this } => {
                targets += u64::from(of_this.len());
                at_most(targets, most.branch_targets, "branch targets in one function", most)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The proposal that an instruction is of, where the engine has it switched off: what is here must be what `engine.rs` of the runner leaves on.
fn outside(operator: &Operator<'_>) -> Option<&'static str> {
    macro_rules! proposals {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $type:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
            match operator {
                $(Operator::$op { .. } => proposals!(one @$proposal),)*
                _ => Some("an instruction that is not known here"),
            }
        };
        (one @mvp) => { None };
        (one @sign_extension) => { None };
        (one @saturating_float_to_int) => { None };
        (one @bulk_memory) => { None };
        (one @reference_types) => { None };
        (one @simd) => { None };
        (one @$proposal:ident) => { Some(stringify!($proposal)) };
    }
    wasmparser::for_each_operator!(proposals)
}
