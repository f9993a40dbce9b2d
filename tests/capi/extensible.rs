//! Structs that may grow (src/capi/extensible.rs): programs with an older or a newer header than the library.

use crate::build::{Link, later_library, library, program_with};
use crate::run::{Bench, Watch, Who};

/// Compiled with the first released header, and run with today's library and with a later one.
#[test]
fn a_program_with_the_first_layout_works_with_every_library() {
    for (name, library, links) in [
        ("today", library(), &[Link::Shared, Link::Sanitized][..]),
        ("later", later_library(), &[Link::Shared, Link::Sanitized]),
    ] {
        let bench = Bench::new(&format!("first-layout-{name}"));
        for link in links {
            let program = program_with(library, "first_layout.c", *link, bench.root());
            let cache = bench.cache("cache");
            let said = bench.run(&program, &[cache.to_str().unwrap()], Who::User, Watch::Nothing);
            assert_eq!(said, "", "{name} {link:?}");
        }
    }
}

/// Compiled with a later header, and run with the library of that header and with today's, which has to refuse a field that
/// it does not know.
#[test]
fn a_program_with_a_later_layout_is_told_what_is_not_known() {
    for (word, library) in [("unknown", library()), ("known", later_library())] {
        let bench = Bench::new(&format!("later-layout-{word}"));
        for link in [Link::Shared, Link::Sanitized] {
            let program = program_with(library, "later_layout.c", link, bench.root());
            let cache = bench.cache("cache");
            let said = bench.run(&program, &[cache.to_str().unwrap(), word], Who::User, Watch::Nothing);
            assert_eq!(said, "", "{word} {link:?}");
        }
    }
}
