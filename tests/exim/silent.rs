//! A message to many domains, of which most say nothing. Exim routes its recipients one after the other, in one process:
//! the silent ones may not hold up the others for as long as all of them together may be waited for.

use std::fs;
use std::time::{Duration, Instant};

use mtasts_lab::Change;

use super::host::{self, Config, Fate, Tls};
use super::{World, evidence};

/// How many names are silent in each of the two ways.
const SILENT: usize = 6;
/// The longest time for one lookup, and that for silence in all.
const TIME: Duration = Duration::from_secs(10);

pub(crate) fn hold_nobody_up(world: &World) {
    for name in ["txt-silent.test", "https-blackhole.test"] {
        let change = Change {
            every_name: Some(true),
            ..Change::default()
        };
        world.lab.set(name, change).unwrap();
    }
    let host = world.host(Tls::Gnu, &Config::Complete);
    let seconds = format!("timeout = {0}\nsilence_budget = \"{0}s\"\n", TIME.as_secs());
    fs::write(
        host.etc("mtasts/mtasts.toml"),
        host::SETTINGS.replace("timeout = 6\n", &seconds),
    )
    .unwrap();
    let mut to: Vec<String> = (0..SILENT)
        .flat_map(|n| {
            [
                format!("a@s{n}.txt-silent.test"),
                format!("a@s{n}.https-blackhole.test"),
            ]
        })
        .collect();
    to.push("last@good.test".to_owned());
    let begun = Instant::now();
    let outcome = host.send(&to.iter().map(String::as_str).collect::<Vec<_>>());
    let took = begun.elapsed();
    assert_eq!(outcome.of("last@good.test").0, Fate::Delivered, "{}", outcome.log);
    assert_eq!(world.received("last@good.test"), 1);
    // One after the other they would take twelve times the timeout.
    assert!(took < 5 * TIME, "{took:?}: {}", outcome.log);
    // What was cut short is not taken for a domain without a policy: its mail waits, and the log says why.
    let waits = outcome.log.matches("silence_budget").count();
    assert!(waits > 0, "{}", outcome.log);
    evidence(
        &format!("{} silent domains and a good one", 2 * SILENT),
        &format!("delivered to the good one after {took:?}"),
    );
}
