//! The case list, through a driver: see README.md beside this file.

use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mtasts_lab::judge::{Fate, Rules, drive, judge};
use mtasts_lab::{Entry, Lab, table};

/// Has a driver send a mail to every domain of the table, and compares.
pub fn every_domain(lab: &Lab, driver: &mut Command, rules: &Rules) {
    let fates = drive(driver, &table()).unwrap_or_else(|error| panic!("{driver:?}: {error}"));
    follow(lab, &table(), &fates, rules);
}

/// Sends a mail to each of these domains, by so many threads that slow ones hold up no others.
pub fn each(domains: &[String], send: impl Fn(&str) -> Fate + Sync) -> Vec<Fate> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut fates = Vec::new();
        while let Some(domain) = domains.get(next.fetch_add(1, Ordering::Relaxed)) {
            fates.push(send(domain));
        }
        fates
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// A driver: reads lines `send DOMAIN` from stdin until its end, and prints what became of a mail to each.
pub fn serve(send: impl Fn(&str) -> Fate + Sync) {
    let lines = io::stdin().lines().map(|line| line.expect("stdin is text"));
    let domains = lines.map(|line| line.strip_prefix("send ").expect("send DOMAIN").to_owned());
    let domains: Vec<_> = domains.collect();
    each(&domains, send).iter().for_each(|fate| println!("{fate}"));
}

/// What an MTA did with a mail to each of these domains is what the table says.
pub fn follow(lab: &Lab, cases: &[Entry], fates: &[Fate], rules: &Rules) {
    fates.iter().for_each(|fate| println!("{fate}"));
    let wrong = judge(cases, fates, &lab.mail(), rules);
    assert!(
        wrong.is_empty(),
        "{} of {} rows are wrong:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}
