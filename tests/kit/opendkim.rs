//! Debian's OpenDKIM, unpacked below `target/`: what a receiver says of a signature.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repository;

/// Gets it, if it is not there yet: its tree.
pub fn fetch() -> PathBuf {
    let folder = repository().join("target/mta");
    let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
        .arg(&folder)
        .args(["opendkim", "opendkim"])
        .status();
    assert!(fetched.unwrap().success(), "tests/mta/fetch.sh");
    folder.join("opendkim")
}

/// What it says of a mail, if this name in DNS has this key record. `directory` is for its files.
pub fn verify(directory: &Path, name: &str, key: &str, mail: &str) -> String {
    let file = |name: &str, text: &str| {
        fs::write(directory.join(name), text).unwrap();
        directory.join(name)
    };
    let keys = file("keys", &format!("{name} {key}\n"));
    let config = file("opendkim.conf", &format!("Mode v\nTestPublicKeys {}\n", keys.display()));
    let mail = file("mail.eml", &mail.replace("\r\n", "\n").replace('\n', "\r\n"));
    let tree = fetch();
    let libraries = format!(
        "{0}/usr/lib:{0}/usr/lib/{1}-linux-gnu",
        tree.display(),
        std::env::consts::ARCH
    );
    let ran = Command::new(tree.join("usr/sbin/opendkim"))
        .env("LD_LIBRARY_PATH", libraries)
        .arg("-x")
        .arg(config)
        .arg("-vvt")
        .arg(mail)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()
}
