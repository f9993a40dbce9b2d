//! What strangers, neighbours and networks may try, one module for each matter: each test does it and looks what it got.
//! On the test Internet, as root (`cargo test --features lab --test attacks`).

mod crowds;
