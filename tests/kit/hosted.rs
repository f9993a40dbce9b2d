//! Domains of the test Internet whose policies a real `mtasts host` serves (tests/host/hosted.py).

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use mtasts_lab::Lab;
use mtasts_lab::judge::End;

use crate::command::mtasts;
use crate::repository;

/// Each domain, and what a sender must do with its mail by the policy that the host serves. Without the host `twomx.test`
/// would be verified.
pub const HOSTED: [(&str, End); 3] = [
    ("good.test", End::Verified),
    ("twomx.test", End::Deferred),
    ("wild.test", End::Delivered),
];

/// The host, which ends when this is dropped.
pub struct Hosted {
    process: Child,
    input: Option<ChildStdin>,
}

impl Hosted {
    /// Starts it, with its files in the directory of the test Internet, and waits until the records say what it serves.
    /// [`mtasts`] must have been built: from here no package can be reached.
    pub fn start(lab: &Lab) -> Self {
        let mut process = Command::new("python3")
            .arg(repository().join("tests/host/hosted.py"))
            .arg(mtasts())
            .arg(lab.directory().join("hosted"))
            .env("MTASTS_LAB", lab.control_socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let input = process.stdin.take();
        let hosted = Self { process, input };
        assert_eq!(line.trim_end(), "ready");
        hosted
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}
