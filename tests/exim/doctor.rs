//! `mtasts doctor` on a host with a real Exim, whose operator makes mistakes.

use std::fs;
use std::process::Command;

use mtasts_kit::{Ran, mtasts};

use super::host::{self, Config, Host, Tls};
use super::{World, evidence};

/// What the doctor finds there of Exim and of the library.
fn found(command: &mut Command, code: &str) -> String {
    let ran = Ran::from(command.args(["doctor", "--json"]).output().unwrap());
    let told = ran.json();
    let findings = told["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["code"] == code);
    let finding = finding.unwrap_or_else(|| panic!("no {code}: {findings:#?}"));
    finding["sentence"].as_str().unwrap().to_owned()
}

/// Each state of the configuration, with its finding.
pub(crate) fn states(world: &World) {
    let host: Host = world.host(Tls::Gnu, &Config::Debian);
    host::run(host.command("install").arg(mtasts()).arg("/usr/bin/mtasts"));
    let check = |code: &str, words: &str| {
        let told = found(&mut host.command("mtasts"), code);
        assert!(told.contains(words), "{code}: {told}");
        evidence(code, &told);
    };
    check("exim", "(Debian's split configuration) asks the library");
    check("user", "Debian-exim (Exim's user) can read and write /var/lib/mtasts");
    check("library-unknown", "libmtasts.so.1 does not say its version");
    let told = found(&mut host.command_as_nobody(&[], "mtasts"), "exim-unknown");
    assert!(told.ends_with("Run mtasts doctor as root."), "{told}");

    let part = host.etc("exim4/conf.d/transport/30_mtasts");
    let text = fs::read_to_string(&part).unwrap();
    fs::write(&part, text + "\nnever_used:\n  driver = smtp\n").unwrap();
    check("exim-stale", "run update-exim4.conf");
    host::run(&mut host.command("update-exim4.conf"));
    check("exim-parts", "transport/30_mtasts is edited");
    fs::write(host.etc("exim4/exim4.conf"), "no_such_option = 1\n").unwrap();
    check("exim-invalid", "no_such_option");
    fs::write(host.etc("exim4/exim4.conf"), "primary_hostname = mail.test\n").unwrap();
    check("exim-absent", "does not ask the library");
}
