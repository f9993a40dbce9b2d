//! A real Valkey or Redis server of a test: Debian's, on a socket of its own and, if it is wanted, on TCP and TLS.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{USER, until};

/// A server. It is ended, by its number, when this goes.
pub struct Valkey {
    process: Child,
    directory: PathBuf,
    /// Connections of the methods here.
    own: AtomicU64,
}

/// The program: that of tests/fleet/versions.sh, or else Valkey if the distribution has it.
fn program(name: &str) -> String {
    if let Ok(directory) = std::env::var("MTASTS_VALKEY") {
        return format!("{directory}/valkey-{name}");
    }
    let there = |program: &String| Path::new("/usr/bin").join(program).exists();
    let names = [format!("valkey-{name}"), format!("redis-{name}")];
    names
        .into_iter()
        .find(there)
        .expect("Debian's redis-server or valkey-server")
}

impl Valkey {
    /// A server with its files in a new directory, that keeps all in memory. `more` are lines of its configuration.
    pub fn start(directory: &Path, more: &[&str]) -> Self {
        Self::start_as(directory, &[], more)
    }

    /// A Sentinel that watches the servers `mail`, of which the one at this address and port is the master.
    pub fn sentinel(directory: &Path, port: u16, master: &str) -> Self {
        let lines = [
            format!("port {port}"),
            format!("sentinel monitor mail {master} 1"),
            "sentinel down-after-milliseconds mail 1000".to_owned(),
        ];
        Self::start_as(directory, &["--sentinel"], &lines.each_ref().map(String::as_str))
    }

    fn start_as(directory: &Path, arguments: &[&str], more: &[&str]) -> Self {
        fs::create_dir_all(directory).unwrap();
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        let at = directory.display();
        let configuration = format!(
            "dir {at}\nunixsocket {at}/socket\nunixsocketperm 777\nlogfile {at}/log\n{}{}\n",
            if arguments.is_empty() {
                "port 0\nsave \"\"\nappendonly no\n"
            } else {
                ""
            },
            more.join("\n")
        );
        fs::write(directory.join("conf"), configuration).unwrap();
        let process = Command::new(program("server"))
            .arg(directory.join("conf"))
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            process,
            directory: directory.to_owned(),
            // That of `is_open`, which ends with the first one.
            own: AtomicU64::new(1),
        };
        until("the server", || server.is_open());
        server
    }

    /// Whether everybody can connect: it makes the socket first, and opens it to others and listens on it later.
    fn is_open(&self) -> bool {
        let socket = self.directory.join("socket");
        let mode = fs::metadata(&socket).map_or(0, |metadata| metadata.permissions().mode());
        mode & 0o777 == 0o777 && UnixStream::connect(&socket).is_ok()
    }

    /// The number of its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    /// Its address as the setting `fleet` has it.
    pub fn address(&self) -> String {
        format!("unix:{}/socket", self.directory.display())
    }

    /// How many clients have connected so far, but for those of this and the other commands here.
    pub fn connections(&self) -> u64 {
        let text = self.says(&["INFO", "stats"]);
        let field = |line: &str| {
            line.strip_prefix("total_connections_received:")?
                .trim()
                .parse::<u64>()
                .ok()
        };
        text.lines().find_map(field).unwrap() - self.own.load(Ordering::Relaxed)
    }

    /// What the server's own client prints for a command.
    pub fn says(&self, command: &[&str]) -> String {
        String::from_utf8_lossy(&self.client(command)).trim_end().to_owned()
    }

    fn client(&self, command: &[&str]) -> Vec<u8> {
        self.own.fetch_add(1, Ordering::Relaxed);
        let mut client = Command::new(program("cli"));
        client.arg("-s").arg(self.directory.join("socket")).args(command);
        client.output().unwrap().stdout
    }

    /// Stores a value as it is.
    pub fn set(&self, key: &str, value: &[u8]) {
        self.own.fetch_add(1, Ordering::Relaxed);
        let mut stream = UnixStream::connect(self.directory.join("socket")).unwrap();
        let mut command = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len()).into_bytes();
        command.extend_from_slice(value);
        command.extend_from_slice(b"\r\n");
        stream.write_all(&command).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// The octets of a value.
    pub fn get(&self, key: &str) -> Vec<u8> {
        let mut value = self.client(&["GET", key]);
        // The client ends what it prints with a line end of its own.
        value.pop();
        value
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file of secrets that the user of the tests may read, with these lines.
pub fn key_file(file: &Path, lines: &str) {
    fs::write(file, lines).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o640)).unwrap();
    chown(file, Some(0), Some(USER)).unwrap();
}
