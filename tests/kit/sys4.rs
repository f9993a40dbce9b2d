//! sys4's tlsrpt-reporter beside ours (tests/tlsrpt/sys4.py).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::command::mtasts;
use crate::repository;

/// Gets tlsrpt-reporter from PyPI, if it is not there yet: its packages.
pub fn fetch_reporter() -> PathBuf {
    let packages = repository().join("target/tlsrpt-reporter");
    let fetched = Command::new(repository().join("tests/tlsrpt/fetch.sh"))
        .arg(&packages)
        .status();
    assert!(fetched.unwrap().success(), "tests/tlsrpt/fetch.sh");
    packages
}

/// Its collector, which ends when this is dropped.
pub struct Sys4 {
    process: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    directory: PathBuf,
}

impl Sys4 {
    /// Starts it with its files in this directory. `queue`: how many datagrams may wait, in the whole network namespace.
    pub fn start(directory: &Path, queue: Option<u32>) -> Self {
        let mut process = Command::new("python3")
            .arg(repository().join("tests/tlsrpt/sys4.py"))
            .args([&fetch_reporter(), directory])
            .args(queue.map(|queue| queue.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut sys4 = Self {
            asks: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
            directory: directory.to_owned(),
        };
        assert_eq!(sys4.answer(), "ready");
        sys4
    }

    /// The socket of the collector.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Ends the day: its reports and those of the journals in this cache directory must be the same. How many there are.
    pub fn compare(mut self, cache: &Path) -> usize {
        let ask = format!("compare {} {}\n", mtasts(), cache.display());
        self.asks.as_ref().unwrap().write_all(ask.as_bytes()).unwrap();
        let answer = self.answer();
        let count = answer.strip_prefix("ok ").and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("{}", answer.replace("\\n", "\n")))
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Sys4 {
    fn drop(&mut self) {
        self.asks = None;
        let _ = self.process.wait();
    }
}
