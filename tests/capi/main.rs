//! The C boundary, tried from C.
//!
//! Debian packages: gcc g++ libc6-dev binutils valgrind.

mod abi;
mod build;
mod offline;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../pki/mod.rs"]
mod pki;
mod run;
