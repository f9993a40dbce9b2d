//! The servers (`mtasts serve`) that run on this host, as /proc shows them, and whether each answers.

use std::fs;
use std::path::Path;

use mtasts_serve::{Address, version};

/// A server at one of its addresses.
pub(crate) struct Daemon {
    /// Where it listens, if its command line says so.
    address: Option<Address>,
    /// Its process.
    pid: u32,
}

/// What became of the question to a server.
pub(crate) enum Said {
    /// It answers, and has the version of this command.
    Answers(String),
    /// It answers, and has another version.
    Other(String),
    /// It does not answer.
    Silent(String),
    /// Its sockets are those of the service manager, and were not asked.
    NotAsked(String),
}

/// The servers of this network namespace.
pub(crate) fn running() -> Vec<Daemon> {
    let own = fs::read_link("/proc/self/ns/net").ok();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Some(listen) = fs::read(path.join("cmdline")).ok().and_then(|line| started(&line)) else {
            continue;
        };
        // The servers of containers are not this host's. Who may not look cannot tell.
        if own.is_none() || fs::read_link(path.join("ns/net")).ok() != own {
            continue;
        }
        let is_activated = fs::read(path.join("environ")).is_ok_and(|all| has_sockets(&all));
        match listen.is_empty() {
            false => found.extend(listen.into_iter().map(|address| Daemon {
                address: Some(address),
                pid,
            })),
            true => found.push(Daemon {
                address: (!is_activated).then(Address::usual),
                pid,
            }),
        }
    }
    found
}

/// The addresses in the command line of a server; nothing if it is another program's.
fn started(command_line: &[u8]) -> Option<Vec<Address>> {
    let text = String::from_utf8_lossy(command_line);
    let mut words = text.split('\0');
    let is_ours = Path::new(words.next()?).file_name()? == "mtasts" && words.next()? == "serve";
    let mut listen = Vec::new();
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--listen") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        listen.extend(value.and_then(|value| value.parse().ok()));
    }
    is_ours.then_some(listen)
}

fn has_sockets(environment: &[u8]) -> bool {
    environment
        .split(|octet| *octet == 0)
        .any(|pair| pair.starts_with(b"LISTEN_FDS="))
}

impl Daemon {
    /// Asks it.
    pub(crate) fn ask(&self) -> Said {
        let Some(address) = &self.address else {
            return Said::NotAsked(format!(
                "mtasts serve (process {}) has the sockets of systemd",
                self.pid
            ));
        };
        let name = format!("mtasts serve at {address}");
        match version(address) {
            Ok(version) if version == env!("CARGO_PKG_VERSION") => Said::Answers(format!("{name} answers")),
            Ok(version) => Said::Other(format!(
                "{name} has version {version}, and this command {}",
                env!("CARGO_PKG_VERSION")
            )),
            Err(error) => Said::Silent(format!("{name} does not answer ({error})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_a_server_says() {
        for (reply, expected) in [
            (format!("OK libmtasts {}", env!("CARGO_PKG_VERSION")), "answers"),
            ("OK libmtasts 0.0.1".to_owned(), "has version 0.0.1, and this command"),
            (
                "PERM no map of this name".to_owned(),
                "does not answer (what listens there is no server of libmtasts)",
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Some(Address::Tcp(listener.local_addr().unwrap()));
            let server = std::thread::spawn(move || {
                let mut client = listener.accept().unwrap().0;
                let mut question = [0; 10];
                client.read_exact(&mut question).unwrap();
                assert_eq!(&question, b"7:version,");
                write!(client, "{}:{reply},", reply.len()).unwrap();
            });
            let (Said::Answers(said) | Said::Other(said) | Said::Silent(said) | Said::NotAsked(said)) =
                Daemon { address, pid: 1 }.ask();
            server.join().unwrap();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn servers_by_their_command_lines() {
        let at = |line: &str| {
            let listen = started(line.replace(' ', "\0").as_bytes())?;
            Some(listen.iter().map(Address::to_string).collect::<Vec<_>>().join(" "))
        };
        for (line, listen) in [
            ("/usr/bin/mtasts serve ", Some("")),
            (
                "mtasts serve --listen 127.0.0.1:5461 --metrics 127.0.0.1:9461 ",
                Some("127.0.0.1:5461"),
            ),
            (
                "mtasts serve --listen=/run/a --log json --listen [::1]:8461 ",
                Some("/run/a [::1]:8461"),
            ),
            ("mtasts serve --listen ", Some("")),
            ("mtasts cache list ", None),
            ("/usr/bin/other serve ", None),
            ("", None),
        ] {
            assert_eq!(at(line).as_deref(), listen, "{line}");
        }
        assert!(has_sockets(b"A=1\0LISTEN_FDS=2\0") && !has_sockets(b"A=LISTEN_FDS=2\0"));
    }
}
