//! What the operator reads: a line for each event on stderr, plain or as JSON.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The sentence alone: journald and syslog add the rest.
    Plain,
    /// An object on each line, with `time` (Unix seconds), `level` and `message`.
    Json,
}

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub struct Log(pub Form);

impl Log {
    /// What is as it should be.
    pub fn info(self, message: &str) {
        self.line("info", message);
    }

    /// What the operator should know.
    pub fn warning(self, message: &str) {
        self.line("warning", message);
    }

    fn line(self, level: &str, message: &str) {
        let line = match self.0 {
            Form::Plain if level == "info" => format!("{message}\n"),
            Form::Plain => format!("{level}: {message}\n"),
            Form::Json => {
                let time = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |time| time.as_secs());
                let object = serde_json::json!({ "time": time, "level": level, "message": message });
                format!("{object}\n")
            }
        };
        // As one write, so that lines do not mix. Who does not listen is not served less.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
