//! Memory that is overwritten before it is given back: for the processes that secrets pass through.
//!
//! A secret on its way from the broker through the runner into a guest is copied by libraries that free their copies without a
//! thought. In those two lives of this program every freed block is zeroed first, so that nothing of a run outlasts it; the agent, which has no
//! secrets, is not slowed. What a guest itself had is reset by wasmtime with its memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

static WIPES: AtomicBool = AtomicBool::new(false);

/// From here on, what is freed is zeroed first. To be called before anything worth it has been allocated.
pub fn begin() {
    WIPES.store(true, Ordering::Relaxed);
}

/// The allocator of the program.
pub struct Wiping<A>(pub A);

#[global_allocator]
static ALLOCATOR: Wiping<System> = Wiping(System);

#[allow(unsafe_code, reason = "the trait of allocators is unsafe; every call is handed on as it came")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason holds for all of them, and stands above the whole")]
// SAFETY: each method hands its arguments to the inner allocator unchanged, under the caller's own guarantees, and what it returns
// back. Before a block is freed its bytes, which the caller guarantees to be `layout.size()` and its own until then, are overwritten.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WIPES.load(Ordering::Relaxed) {
            unsafe { block.write_bytes(0, layout.size()) };
            // Else the compiler may leave out what nobody reads any more.
            black_box(block);
        }
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        if !WIPES.load(Ordering::Relaxed) {
            return unsafe { self.0.realloc(block, layout, new_bytes) };
        }
        // What grows may move, and the old place is then to be wiped as well.
        let Ok(new_layout) = Layout::from_size_align(new_bytes, layout.align()) else { return std::ptr::null_mut() };
        let moved = unsafe { self.alloc(new_layout) };
        if !moved.is_null() {
            unsafe {
                moved.copy_from_nonoverlapping(block, layout.size().min(new_bytes));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Counts freed blocks that still hold something.
    struct Looking {
        dirty: AtomicUsize,
        freed: AtomicUsize,
    }

    #[allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "as above")]
    // SAFETY: as above; a block is read before it is freed.
    unsafe impl GlobalAlloc for Looking {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            self.dirty.fetch_add(usize::from(bytes.iter().any(|byte| *byte != 0)), Ordering::Relaxed);
            self.freed.fetch_add(1, Ordering::Relaxed);
            unsafe { System.dealloc(block, layout) }
        }
    }

    #[test]
    #[allow(unsafe_code, reason = "an allocator is called by hand")]
    fn what_is_freed_or_outgrown_is_zeroed() {
        let wiping = Wiping(Looking { dirty: AtomicUsize::new(0), freed: AtomicUsize::new(0) });
        let layout = Layout::from_size_align(64, 8).unwrap();
        begin();
        // SAFETY: a block is filled within its size, grown from its layout, and freed once with the layout it then has.
        unsafe {
            let block = wiping.alloc(layout);
            block.write_bytes(7, 64);
            let grown = wiping.realloc(block, layout, 128);
            assert_eq!(*grown.add(63), 7, "what was in it is still there");
            wiping.dealloc(grown, Layout::from_size_align(128, 8).unwrap());
        }
        assert_eq!(wiping.0.freed.load(Ordering::Relaxed), 2);
        assert_eq!(wiping.0.dirty.load(Ordering::Relaxed), 0);
    }
}
