//! Every domain of the test Internet through the smallest MTA that there is: `tests/kit/toy.rs`. `tests/kit/README.md`
//! lists the others.

use std::process::Command;

use mtasts_kit::{command::built, drivers, on_the_internet_with};
use mtasts_lab::judge::Rules;

#[test]
fn a_toy_mta_obeys() {
    // Before the test Internet, where cargo cannot download anything.
    let toy = built("mtasts-kit", "toy", &[]);
    on_the_internet_with("toy", &[("timeout", "6s")], move |internet| {
        let rules = Rules {
            results: true,
            ..Rules::default()
        };
        drivers::every_domain(&internet.lab, &mut Command::new(toy), &rules);
    });
}
