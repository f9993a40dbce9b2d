//! The cache under faults: killed writers, full disks, files that are none, wrong clocks, other users. Whatever
//! happens, a lookup answers, the fault is told, and nothing that is stored is lost.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mtasts::Answer;
use mtasts_kit::Internet;

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/leader.rs"]
mod leader;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/place.rs"]
mod place;
#[path = "faults/sharing.rs"]
mod sharing;

/// So long an answer is repeated from memory, and a little longer.
const MEMORY: Duration = Duration::from_millis(6100);

/// No record is due in the middle of a test, however slow the machine is.
const SETTINGS: &[(&str, &str)] = &[("timeout", "20s"), ("txt_life_min", "1h")];

/// Runs a test on a test Internet of its own.
fn on_the_internet(name: &str, test: impl FnOnce(&Internet) + Send + 'static) {
    mtasts_kit::on_the_internet_with(name, SETTINGS, test);
}

/// All that is in the cache directory, but for the lock.
fn files_of(ground: &Internet) -> Vec<String> {
    let files = fs::read_dir(&ground.cache).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
    names.sort_unstable();
    names
}

fn warns(answer: &Answer, of: &str) {
    assert!(answer.warning().is_some_and(|w| w.contains(of)), "{of:?}: {answer}");
    assert!(answer.warning().is_some_and(|w| !w.contains("..")), "{answer}");
}

/// Runs a command that must succeed. A mount is seen by this test alone.
fn run(command: &str, arguments: &[&str], last: &Path) {
    let status = Command::new(command).args(arguments).arg(last).status().unwrap();
    assert!(status.success(), "{command} {arguments:?} {}", last.display());
}
