//! Compiles the shim with the C compiler that cargo (or zig, for the wheel) would use.
//!
//! For musl there is none: what logrotate does is known and tried with glibc alone. The wheel is
//! without it there, and the command says so.

use std::path::PathBuf;
use std::process::ExitCode;

const SOURCES: [&str; 3] = ["src/no_excl_open.c", "src/patterns.c", "src/preload.c"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let libc = std::env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
    if os == "linux" && libc == "musl" {
        return ExitCode::SUCCESS;
    }
    if os != "linux" || libc != "gnu" {
        println!("cargo::error=no_excl_open.so is for Linux with glibc, not for {os}/{libc}");
        return ExitCode::FAILURE;
    }
    let out =
        PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("no_excl_open.so");
    let compiler = cc::Build::new()
        .opt_level(2)
        .debug(false)
        .pic(true)
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .get_compiler();
    let status = compiler
        .to_command()
        // The shim defines the functions that the fortified headers would replace by others.
        .args(["-U_FORTIFY_SOURCE", "-std=gnu11", "-fvisibility=hidden", "-shared"])
        // A signal handler may have a stack of 2 KiB (MINSIGSTKSZ) for it and the shim.
        .arg("-Wframe-larger-than=512")
        .args(["-Wl,-soname,no_excl_open.so", "-Wl,-z,relro,-z,now", "-s", "-o"])
        .arg(&out)
        .args(SOURCES)
        .arg("-ldl")
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        other => {
            println!("cargo::error=cannot compile the shim: {other:?}");
            ExitCode::FAILURE
        }
    }
}
