//! What was tried against a host that uses the library, and fails. Each file is one kind of it, on the test Internet; as
//! root (`cargo test --features lab --test attacks`).

mod crowds;
mod roots;
