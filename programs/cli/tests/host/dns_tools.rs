//! Other name servers and their tools: BIND, Knot, PowerDNS, drill, dig.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use mtasts_kit::{pki, repository, until};

use super::hosting::{HOST, Hosting};

pub(super) const SECONDARY: &str = "8.8.8.2";
pub(super) const KNOT: &str = "127.0.0.3";
pub(super) const POWER_DNS: &str = "127.0.0.4";

pub(super) const SECRET: &str = "c2VjcmV0IG9mIHRoZSB0ZXN0IG9mIHVwZGF0ZXM=";

pub(super) fn settings(hosting: &Hosting, more: &str) {
    hosting.settings(&format!(
        "reports = [\"mailto:tlsrpt@example.net\"]\nhttps = [\"{HOST}:443\"]\ndns = [\"{HOST}:53\"]\nname_servers = \
         [\"ns1.sts.example.net\", \"ns.other.example\"]\nsecondaries = [\"{SECONDARY}\"]\n{more}"
    ));
}

/// What drill prints: the status, and the records without their TTL.
pub(super) fn drill(hosting: &Hosting, server: &str, arguments: &[&str]) -> (String, BTreeSet<String>) {
    let mut command = pki::command("drill", "ldnsutils", &hosting.path(""));
    let output = command.arg(format!("@{server}")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let status = text
        .split_once("rcode: ")
        .map_or("", |(_, rest)| rest.split(',').next().unwrap());
    let records = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let records = records.map(|line| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.remove(1);
        words.join(" ")
    });
    (status.to_owned(), records.collect())
}

/// A name server, which ends with the test.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gets these packages, which a network without a way out cannot.
pub(super) fn fetch(name: &str, packages: &[&str]) {
    let fetched = Command::new(repository().join("tests/mta/fetch.sh"))
        .arg(repository().join("target/mta"))
        .arg(name)
        .args(packages)
        .status();
    assert!(fetched.unwrap().success());
}

/// A program of them, with their libraries.
pub(super) fn program(name: &str, program: &str) -> Command {
    let tree = repository().join("target/mta").join(name);
    let libraries = fs::read_dir(tree.join("usr/lib"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let libraries: Vec<String> = libraries.map(|path| path.display().to_string()).collect();
    let mut command = Command::new(tree.join("usr").join(program));
    command.env("LD_LIBRARY_PATH", libraries.join(":")).stdin(Stdio::null());
    command
}

/// The zone in the configuration of BIND.
pub(super) fn zone_of_bind(text: &str) -> String {
    format!("zone \"sts.example.net\" {{ {text} }};\n")
}

/// BIND with this configuration besides where it listens.
pub(super) fn bind(hosting: &Hosting, more: &str) -> Running {
    hosting.write(
        "named.conf",
        &format!(
            "options {{\n directory \"{}\";\n listen-on port 53 {{ {SECONDARY}; }};\n listen-on-v6 {{ none; }};\n pid-file \
             none;\n session-keyfile none;\n recursion no;\n dnssec-validation no;\n transfer-source {SECONDARY};\n \
             allow-transfer {{ any; }};\n}};\ncontrols {{ }};\n{more}",
            hosting.path("").display()
        ),
    );
    let child = program("bind9", "sbin/named")
        .args(["-g", "-c"])
        .arg(hosting.path("named.conf"))
        .stderr(fs::File::create(hosting.path("named.log")).unwrap())
        .spawn()
        .unwrap();
    // It answers before it has read its zones.
    let log = || fs::read_to_string(hosting.path("named.log")).unwrap();
    until("named", || log().contains("all zones loaded"));
    Running(child)
}

/// The key of this name in the configuration of BIND.
pub(super) fn key_of_bind(name: &str) -> String {
    format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n")
}

/// Knot with a key, and the rest of its configuration behind that.
pub(super) fn knot(hosting: &Hosting, key: &str, more: &str) -> Running {
    let directory = hosting.path("knot").display().to_string();
    fs::create_dir_all(&directory).unwrap();
    let text = format!(
        "server:\n    listen: {KNOT}@53\n    rundir: \"{directory}\"\ndatabase:\n    storage: \"{directory}\"\nkey:\n  - id: {key}\n    \
         algorithm: hmac-sha256\n    secret: {SECRET}\n{more}    storage: \"{directory}\"\n"
    );
    hosting.write("knot.conf", &text);
    let child = program("knot", "sbin/knotd")
        .arg("-c")
        .arg(hosting.path("knot.conf"))
        .stdout(fs::File::create(hosting.path("knot.log")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("knotd", || TcpStream::connect((KNOT, 53)).is_ok());
    Running(child)
}

/// PowerDNS with the zone in this file, to be updated with a key of this name.
pub(super) fn power_dns(hosting: &Hosting, key: &str, zone: &str) -> Running {
    let (tree, directory) = (repository().join("target/mta/pdns"), hosting.path("pdns"));
    fs::create_dir_all(&directory).unwrap();
    let schema = fs::read_to_string(tree.join("usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")).unwrap();
    let database = rusqlite::Connection::open(directory.join("database")).unwrap();
    database.execute_batch(&schema).unwrap();
    drop(database);
    let libraries = fs::read_dir(tree.join("usr/lib")).unwrap().flatten();
    let modules = libraries
        .map(|entry| entry.path().join("pdns"))
        .find(|path| path.exists());
    hosting.write(
        "pdns/pdns.conf",
        &format!(
            "launch=gsqlite3\ngsqlite3-database={directory}/database\nmodule-dir={}\nsocket-dir={directory}\nlocal-address={POWER_DNS}\n\
             allow-axfr-ips=8.8.8.0/24,127.0.0.0/8\ndnsupdate=yes\nallow-dnsupdate-from=8.8.8.0/24,127.0.0.0/8\n",
            modules.unwrap().display(),
            directory = directory.display()
        ),
    );
    let configuration = format!("--config-dir={}", directory.display());
    let zone = hosting.path(zone).display().to_string();
    for arguments in [
        &["load-zone", "sts.example.net", &zone][..],
        &["import-tsig-key", key, "hmac-sha256", SECRET],
        &["set-meta", "sts.example.net", "TSIG-ALLOW-DNSUPDATE", key],
    ] {
        let mut command = program("pdns", "bin/pdnsutil");
        let output = command.arg(&configuration).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let child = program("pdns", "sbin/pdns_server")
        .args([&configuration, "--guardian=no", "--daemon=no"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(hosting.path("pdns.log")).unwrap())
        .spawn()
        .unwrap();
    until("pdns_server", || TcpStream::connect((POWER_DNS, 53)).is_ok());
    Running(child)
}

/// A connection with this port of the host from this address of the machine.
pub(super) fn from_address(address: &str, port: u16) -> TcpStream {
    let (from, to) = (format!("{address}:0"), format!("{HOST}:{port}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(from.parse().unwrap())?;
        socket.connect(to.parse().unwrap()).await?.into_std()
    });
    let stream = connected.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

/// The records that dig or kdig prints, without their TTL; and all that it says.
pub(super) fn ask(tree: &str, tool: &str, arguments: &[&str]) -> (BTreeSet<String>, String) {
    let output = program(tree, tool).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    let is_record = |line: &&str| !line.starts_with(';') && line.split_whitespace().nth(2) == Some("IN");
    let records = text.lines().filter(is_record).map(|line| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.remove(1);
        words.join(" ")
    });
    (records.collect(), text)
}

pub(super) fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

pub(super) fn write(stream: &mut TcpStream, message: &[u8]) -> Option<()> {
    let length = u16::try_from(message.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), message].concat()).ok()
}
