//! The reports of sys4's tlsrpt-reporter and ours, of one mail to every domain of the test Internet.

use std::fs;

use mtasts_kit::sys4::Sys4;
use mtasts_lab::{self as lab, Change};

use super::host::{self, Tls};
use super::{World, counted, table};

/// Exim hands each session over to both.
pub(crate) fn with_sys4(world: &World) {
    for entry in lab::table() {
        let record = format!("v=TLSRPTv1; rua=mailto:reports@{}", entry.name);
        let change = Change {
            txt_at: [("_smtp._tls".to_owned(), record)].into(),
            ..Change::default()
        };
        world.lab.set(&entry.name, change).unwrap();
    }
    let sys4 = Sys4::start(&world.folder().join("sys4"), Some(10_000));
    let host = world.host(Tls::Gnu, &counted::counting());
    let settings = format!(
        "{}{}tlsrpt_socket = {:?}\n",
        host::SETTINGS,
        counted::SETTINGS,
        sys4.socket()
    );
    fs::write(host.etc("mtasts/mtasts.toml"), settings).unwrap();
    table::every_domain_from(world, &host, Tls::Gnu, &[]);
    let domains = sys4.compare(&host.var("lib/mtasts"));
    println!("{domains} domains have the same report");
    assert!(domains > 200, "{domains}");
}
