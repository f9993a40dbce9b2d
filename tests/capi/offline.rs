//! Every function without a network: what it says where all is well, and that nothing crashes where nothing is.

use std::collections::BTreeSet;

use crate::abi::exported;
use crate::build::{Link, program};
use crate::run::{Bench, Watch, Who};

/// Each way to build and to watch a program.
const WAYS: [(Link, Watch); 4] = [
    (Link::Shared, Watch::Nothing),
    (Link::Static, Watch::Nothing),
    (Link::Sanitized, Watch::Nothing),
    (Link::Shared, Watch::Valgrind),
];

#[test]
fn every_exported_function_is_tried_with_hostile_arguments() {
    let bench = Bench::new("hostile-list");
    let hostile = program("hostile.c", Link::Shared, bench.root());
    let listed = bench.run(&hostile, &["--list"], Who::Root, Watch::Nothing);
    let tried: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    assert_eq!(tried, exported(), "tests/c/hostile.c has to try each export");
}

#[test]
fn hostile_arguments_give_an_error_code() {
    let bench = Bench::new("hostile");
    for (link, watch) in WAYS {
        let hostile = program("hostile.c", link, bench.root());
        for who in [Who::Root, Who::User] {
            let cache = bench.cache("cache");
            assert_eq!(bench.run(&hostile, &[cache.to_str().unwrap()], who, watch), "");
        }
    }
}

#[test]
fn each_function_does_what_it_says() {
    let bench = Bench::new("calls");
    for (link, watch) in WAYS {
        let calls = program("calls.c", link, bench.root());
        for who in [Who::Root, Who::User] {
            let (cache, open) = (bench.cache("cache"), bench.of_user("open", 0o777));
            let arguments = [cache.to_str().unwrap(), open.to_str().unwrap()];
            assert_eq!(bench.run(&calls, &arguments, who, watch), "");
        }
    }
}
