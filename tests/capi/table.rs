//! Every domain of the test Internet, by a mail server whose every decision is that of `examples/c/deliver.c`.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtasts::Seen;
use mtasts_kit::drivers::{each, follow};
use mtasts_kit::pki;
use mtasts_kit::walk::{self, Saw};
use mtasts_lab::judge::{End, Rules};
use mtasts_lab::table;

use crate::build::{Link, program, root};
use crate::internet::on_the_internet;
use crate::run::Who;

#[test]
fn the_example_decides_about_every_domain() {
    on_the_internet("table", |bench, internet| {
        internet.set("timeout = \"6s\"");
        let deliver = program(
            root().join("examples/c/deliver.c").to_str().unwrap(),
            Link::Shared,
            bench.root(),
        );
        let chains = bench.of_user("chains", 0o777);
        let (number, stranger) = (AtomicUsize::new(0), pki::self_signed_host(&["stranger.example"]).der);
        let asks = |domain: &str, host: &str, chain: &[Vec<u8>]| {
            let at = chains.join(number.fetch_add(1, Ordering::Relaxed).to_string());
            let files = chain.iter().enumerate().map(|(place, certificate)| {
                let file = at.with_extension(place.to_string());
                fs::write(&file, certificate).unwrap();
                file
            });
            let files: Vec<_> = files.collect();
            let mut command = Command::new(&deliver);
            command.args([domain, host]).args(files);
            let ran = bench.prepare(&mut command, Who::User).output().unwrap();
            match (
                ran.status.code(),
                String::from_utf8_lossy(&ran.stdout).contains("meets the MTA-STS policy"),
            ) {
                (Some(0), true) => Some(End::Verified),
                (Some(0), false) => Some(End::Delivered),
                (Some(75), _) => None,
                _ => panic!("{domain} {host}: {ran:?}"),
            }
        };
        let domains: Vec<_> = table().into_iter().map(|entry| entry.name).collect();
        let fates = each(&domains, |domain| {
            walk::send(domain, |host, saw| match saw {
                Saw::Host(Seen::Name) => asks(domain, host, &[]),
                Saw::Certificates(chain) => asks(domain, host, &chain),
                // The example knows names and certificates. If DNS denies an MX host, it is asked about a host that no
                // policy lists; if there is no TLS, about a certificate that proves nothing.
                Saw::NoMx(_) => asks(domain, "unlisted.example", &[]),
                Saw::Host(_) => asks(domain, host, std::slice::from_ref(&stranger)),
            })
        });
        follow(&internet.lab, &table(), &fates, &Rules::default());
    });
}
