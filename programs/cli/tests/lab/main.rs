//! The test Internet itself: does it behave as its table says, and does it leave the machine alone?

mod command;
mod dns;
mod running;
mod smtp;
mod table;

use mtasts_lab::Lab;

/// Runs a test on a lab of its own.
fn in_lab(test: impl FnOnce(&Lab) + Send + 'static) {
    mtasts_kit::on_the_internet("lab", |internet| test(&internet.lab));
}
