//! The C boundary, tried from C.
//!
//! With the feature `lab` also on the test Internet. Debian packages: gcc g++ libc6-dev binutils valgrind, and there
//! strace openssl iproute2.

mod abi;
mod build;
mod dane;
mod extensible;
mod internet;
mod offline;
mod run;
mod table;
