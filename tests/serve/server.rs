//! A running server, and a client of it that shares no code with it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mtasts_kit::{Internet, mtasts, signal, until};

/// Where it listens, and where its counters are.
pub(crate) const ADDRESS: &str = "127.0.0.1:8461";
pub(crate) const METRICS: &str = "127.0.0.1:9461";

/// A server. It is killed when it is forgotten.
pub(crate) struct Server {
    pub(crate) child: Child,
    log: PathBuf,
    pub(crate) socket: PathBuf,
}

impl Server {
    /// Starts one at a unix socket, at [`ADDRESS`] and at [`METRICS`], and waits until it is ready.
    pub(crate) fn start(internet: &Internet) -> Self {
        Self::start_with(internet, &mut Command::new(mtasts()))
    }

    /// The same by a command that ends with the program.
    pub(crate) fn start_with(internet: &Internet, command: &mut Command) -> Self {
        let socket = internet.lab.directory().join("socketmap");
        command.args(["serve", "--listen", ADDRESS, "--metrics", METRICS, "--listen"]);
        Self::run(internet, command.arg(&socket))
    }

    /// Runs a command and waits until it says that it is ready.
    pub(crate) fn run(internet: &Internet, command: &mut Command) -> Self {
        let log = internet.lab.directory().join("serve.log");
        let child = command
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            log,
            socket: internet.lab.directory().join("socketmap"),
        };
        until("the server", || {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", server.log());
            server.log().contains("ready")
        });
        server
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Asks it to stop, and waits for that.
    pub(crate) fn stop(mut self) -> String {
        signal(self.pid(), libc::SIGTERM);
        let mut status = None;
        until("its end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{}", self.log());
        self.log()
    }

    pub(crate) fn client(&self) -> Client<UnixStream> {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client(stream)
    }

    /// The reply of a client of its own.
    pub(crate) fn ask(&self, map: &str, key: &str) -> String {
        self.client().ask(map, key)
    }

    /// The answer to a line of Exim.
    pub(crate) fn exim(&self, line: &str) -> String {
        let mut client = self.client();
        client.0.write_all(line.as_bytes()).unwrap();
        String::from_utf8(client.rest().unwrap()).unwrap()
    }

    /// `GET path` from its counters.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(METRICS).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn tcp() -> Client<TcpStream> {
    let stream = TcpStream::connect(ADDRESS).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    Client(stream)
}

pub(crate) fn netstring(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [text.len().to_string().as_bytes(), b":", text, b","].concat()
}

/// A connection.
pub(crate) struct Client<S>(pub(crate) S);

impl<S: Read + Write> Client<S> {
    pub(crate) fn ask(&mut self, map: &str, key: impl AsRef<[u8]>) -> String {
        let query = [map.as_bytes(), b" ", key.as_ref()].concat();
        self.0.write_all(&netstring(query)).unwrap();
        self.reply()
    }

    pub(crate) fn reply(&mut self) -> String {
        let mut length = 0;
        loop {
            match self.octet() {
                b':' => break,
                digit => length = length * 10 + usize::from(digit - b'0'),
            }
        }
        let mut text = vec![0; length];
        self.0.read_exact(&mut text).unwrap();
        assert_eq!(self.octet(), b',');
        String::from_utf8(text).unwrap()
    }

    fn octet(&mut self) -> u8 {
        let mut octet = [0];
        self.0.read_exact(&mut octet).expect("a reply");
        octet[0]
    }
}

impl Client<UnixStream> {
    /// What comes until the server closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.0.read_to_end(&mut all).map(|_| all)
    }

    pub(crate) fn says_no_more(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }
}
