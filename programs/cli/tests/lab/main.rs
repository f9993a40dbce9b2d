//! The test Internet itself: does it behave as its table says, and does it leave the machine alone?

mod client;
mod command;
mod dns;
mod running;
mod smtp;
mod table;

use mtasts_lab::{self as lab, Lab};
use std::path::Path;

/// Runs a test on a lab of its own, on a thread of its own: the other tests' threads stay where they are.
fn in_lab(test: impl FnOnce(&Lab) + Send + 'static) {
    let outcome = std::thread::spawn(|| {
        let directory = tempfile();
        lab::isolate(&directory).expect("these tests need root and the command ip");
        let lab = Lab::start(&directory).expect("the lab starts");
        test(&lab);
        drop(lab);
        std::fs::remove_dir_all(&directory).expect("nothing holds the directory");
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A name for a directory that does not exist yet.
fn tempfile() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lab-{}-{number}", std::process::id()))
}
