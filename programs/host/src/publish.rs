//! The records for any other zone: a file that is replaced when they change, and a command of the operator that is run then. What they
//! announce is served already.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use mtasts::Domain;
use mtasts::protocol::text::one_line;
use mtasts::sender::resolver::unix_now;
use mtasts_serve::Log;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::notation::Notation;
use crate::service::Service;
use crate::source::{Problem, Value};
use crate::state::State;

/// How long the command may take.
const TIME: Duration = Duration::from_secs(60);
/// How long after a failure it is tried again, in seconds.
const AGAIN: u64 = 60;
/// How much of what it says is logged, in octets.
const SAID: u64 = 300;

/// The table `publish` of the operator's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `file`: the records.
    pub file: PathBuf,
    /// `format`: how they are written.
    pub format: Notation,
    /// `exec`: the command, by its absolute path, and its arguments.
    pub exec: Vec<String>,
}

impl Settings {
    /// Reads the table.
    pub(crate) fn read(table: &Value<'_, '_>) -> Result<Self, Problem> {
        let (mut file, mut format, mut exec) = (None, Notation::Zone, Vec::new());
        for (name, value) in table.entries()? {
            match name.get_ref().as_ref() {
                "file" => file = Some(value.path()?),
                "format" => {
                    let found = Notation::from_name(value.text()?);
                    format = found.ok_or_else(|| {
                        value.problem("must be \"zone\", \"nsupdate\", \"octodns\", \"dnscontrol\" or \"terraform\"")
                    })?;
                }
                "exec" => {
                    exec = value.list(|text| Ok(text.to_owned()))?;
                    if !exec.first().is_some_and(|program| program.starts_with('/')) {
                        return Err(value.problem("must begin with the absolute path of a program"));
                    }
                }
                _ => return Err(value.problem("unknown key; there are file, format and exec")),
            }
        }
        Ok(Self {
            file: file.ok_or_else(|| table.problem("file is missing"))?,
            format,
            exec,
        })
    }
}

/// What is to be in the file, and what is published.
pub(crate) struct Publisher {
    settings: Settings,
    zone: Domain,
    wanted: RefCell<String>,
    /// Nothing at the start: another process may have published other records.
    done: RefCell<Option<String>>,
    is_busy: Cell<bool>,
    next: Cell<u64>,
    log: Log,
}

impl Publisher {
    pub(crate) fn new(settings: &Settings, zone: &Domain, log: Log) -> Self {
        Self {
            settings: settings.clone(),
            zone: zone.clone(),
            wanted: RefCell::default(),
            done: RefCell::default(),
            is_busy: Cell::new(false),
            next: Cell::new(0),
            log,
        }
    }

    /// Takes the records of a state, which are served already.
    pub(crate) fn take(&self, state: &State, service: &Service) {
        let records: Vec<_> = state.targets(&self.zone, service).collect();
        self.wanted.replace(self.settings.format.write(&self.zone, &records));
    }

    /// Begins what is to be done.
    pub(crate) fn look(self: &Rc<Self>, now: u64) {
        let is_done = self.done.borrow().as_ref() == Some(&*self.wanted.borrow());
        if self.is_busy.get() || now < self.next.get() || is_done {
            return;
        }
        self.is_busy.set(true);
        let publisher = Rc::clone(self);
        spawn_local(async move {
            let text = publisher.wanted.borrow().clone();
            match publisher.publish(&text).await {
                Ok(()) => {
                    publisher.done.replace(Some(text));
                }
                Err(why) => {
                    publisher.next.set(unix_now() + AGAIN);
                    let sentence = format!("the records are not published: {why}; it is tried again");
                    publisher.log.warning(&one_line(&sentence, 1000));
                }
            }
            publisher.is_busy.set(false);
        });
    }

    async fn publish(&self, text: &str) -> Result<(), String> {
        let file = &self.settings.file;
        replace(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let Some((program, arguments)) = self.settings.exec.split_first() else {
            return Ok(());
        };
        let at = |why: &dyn std::fmt::Display| format!("{program}: {why}");
        let mut child = Command::new(program)
            .args(arguments)
            .env("MTASTS_ZONE", self.zone.as_str())
            .env("MTASTS_FILE", file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| at(&error))?;
        let stderr = child.stderr.take();
        let run = async {
            let mut said = Vec::new();
            if let Some(stderr) = stderr {
                let mut stderr = stderr.take(SAID);
                stderr.read_to_end(&mut said).await?;
                // The rest is read as well: a full pipe would stop it.
                tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await?;
            }
            Ok::<_, std::io::Error>((child.wait().await?, said))
        };
        match timeout(TIME, run).await {
            Ok(Ok((status, _))) if status.success() => Ok(()),
            Ok(Ok((status, said))) => {
                let said = String::from_utf8_lossy(&said);
                Err(at(&format_args!("{status}: {}", said.trim())))
            }
            Ok(Err(error)) => Err(at(&error)),
            Err(_) => Err(at(&"it takes longer than a minute, and was killed")),
        }
    }
}

/// Replaces a file as a whole.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let mut out = fs::File::create(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&new, file)
}
