//! Carries `no_excl_open.so`, a shim for LD_PRELOAD written in C.
//!
//! There is no Rust in it: a shared object that gets into every program of a process tree must
//! bring nothing along. The build script compiles `no_excl_open.c` into its output folder, from
//! where maturin takes it into the wheel, beside the extension.
