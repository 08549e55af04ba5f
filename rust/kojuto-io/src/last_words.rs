//! What a command says when there is no memory for the core to go on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;

/// What to say when there is no memory; unset in a program that only uses the library.
static MEMORY_WORDS: OnceLock<Vec<u8>> = OnceLock::new();

/// The system's allocator. Where Rust would abort, a command ends with a line and status 1.
#[derive(Debug)]
pub struct Speaking;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Speaking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        heard(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        heard(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        heard(unsafe { System.realloc(old, layout, size) })
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(old, layout) };
    }
}

#[inline]
fn heard(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        speak();
    }
    memory
}

/// Ends a command whose memory is out; nothing is allocated, freed or unwound on the way.
#[cold]
fn speak() {
    let Some(words) = MEMORY_WORDS.get() else { return };
    // SAFETY: the words are readable for their length and are never freed.
    unsafe {
        libc::write(2, words.as_ptr().cast(), words.len());
        libc::_exit(1);
    }
}

/// From now on the process ends with these words when it has no memory left.
pub fn set(words: String) {
    let _ = MEMORY_WORDS.set(words.into_bytes()); // the first command line is the only one
}
