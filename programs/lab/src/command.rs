//! `mtasts lab`: the test Internet on the command line.

use super::control::{Operation, ask};
use super::judge::{self, End, Rules};
use super::log::{Counters, Mail, Session};
use super::{Lab, isolate, table};
use crate::namespace;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

/// A test Internet: domains good and broken in every way that matters to MTA-STS.
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Show the domains, what is wrong with them, and what a conformant sender must do.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a command on the test Internet (needs root): its resolver, its CA, no other network.
    Run {
        /// So many ordinary domains more: many0.test and so on.
        #[arg(long, default_value_t = 0)]
        crowd: u16,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Change the behaviour of a domain of the lab around us.
    ///
    /// Keys: txt (again for a second record; or NXDOMAIN, NODATA, SERVFAIL, REFUSED, SILENT), policy (\n ends a line; @FILE
    /// reads a file), every-name (yes: each name below is such a domain), https, https-certificate, hosts, mx, certificate,
    /// addresses (of the MX hosts), host.
    Set {
        /// The domain.
        domain: String,
        /// What to change, as KEY=VALUE.
        #[arg(required = true)]
        changes: Vec<String>,
    },
    /// Judge what an MTA did with a mail to each domain of the lab around us; exit 1 if a row is wrong.
    ///
    /// Runs a driver, which reads lines `send DOMAIN` and answers `DOMAIN FATE HOST [RESULT...]` (fates: verified,
    /// delivered, deferred, bounced; HOST is - if no host took it), or reads such answers from stdin.
    Judge {
        /// The MTA does DANE too.
        #[arg(long)]
        dane: bool,
        /// The MTA has RFC 8460 result types, which are compared.
        #[arg(long)]
        results: bool,
        /// A domain where the MTA is known to do something else; an error if it does not.
        #[arg(long, value_name = "DOMAIN=FATE")]
        differs: Vec<String>,
        /// Only these domains, separated by commas.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// The driver and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        driver: Vec<String>,
    },
    /// Bring the behaviour of all domains back, and forget counters and mail.
    Reset,
    /// Show the delivered mail and the sessions with the MX hosts.
    Mail {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the DNS queries, HTTPS requests and connections.
    Counters {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does what the arguments ask; the exit status is that of the command run, 1 for a failure.
pub fn run(args: LabArgs) -> ExitCode {
    match perform(args.command) {
        Ok(code) => code,
        // Who reads us may have read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mtasts lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(command: LabCommand) -> io::Result<ExitCode> {
    match command {
        LabCommand::List { json } => list(json)?,
        LabCommand::Run { crowd, command } => return run_command(crowd, &command),
        LabCommand::Set { domain, changes } => {
            let change = parse_changes(&changes)?;
            ask(&socket()?, &Operation::Set { domain, change })?;
        }
        LabCommand::Judge {
            dane,
            results,
            differs,
            only,
            driver,
        } => {
            let differs = differs.iter().map(|text| parse_difference(text));
            let rules = Rules {
                dane,
                results,
                differs: differs.collect::<io::Result<_>>()?,
            };
            return judge(&rules, &only, &driver);
        }
        LabCommand::Reset => drop(ask(&socket()?, &Operation::Reset)?),
        LabCommand::Mail { json } => mail(json)?,
        LabCommand::Counters { json } => counters(json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) -> io::Result<()> {
    let table = table();
    let mut out = io::stdout().lock();
    if json {
        return writeln!(out, "{}", serde_json::to_string_pretty(&table)?);
    }
    let width = table.iter().map(|entry| entry.name.len()).max().unwrap_or_default();
    for entry in &table {
        writeln!(out, "{:width$}  {:22}  {}", entry.name, entry.policy, entry.wrong)?;
        writeln!(out, "{:width$}  {:22}  -> {}", "", "", entry.expect)?;
        if let Some(expect) = &entry.expect_dane {
            writeln!(out, "{:width$}  {:22}  -> with DANE: {expect}", "", "")?;
        }
    }
    Ok(())
}

/// Runs a command on a lab of its own and leaves nothing behind.
fn run_command(crowd: u16, words: &[String]) -> io::Result<ExitCode> {
    let directory = make_directory()?;
    let status = run_in(&directory, crowd, words);
    fs::remove_dir_all(&directory)?;
    let status = status?;
    // As shells do.
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn run_in(directory: &Path, crowd: u16, words: &[String]) -> io::Result<ExitStatus> {
    isolate(directory)?;
    let lab = Lab::start_with_crowd(directory, crowd)?;
    namespace::adopt_orphans()?;
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("MTASTS_LAB", lab.control_socket())
        .env("MTASTS_LAB_DIR", directory)
        .env("MTASTS_LAB_CA", lab.ca_file());
    namespace::die_with_parent(&mut command);
    let status = wait(command).map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")));
    namespace::end_children()?;
    drop(lab);
    status
}

/// Waits for the command. A hang-up or an order to end ends the command; Ctrl-C is the command's own affair, the
/// terminal sends it there too.
fn wait(command: Command) -> io::Result<ExitStatus> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut end = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut child = tokio::process::Command::from(command).spawn()?;
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = end.recv() => child.start_kill()?,
                _ = hangup.recv() => child.start_kill()?,
                _ = interrupt.recv() => {}
            }
        }
    })
}

/// A fresh directory that every user may look into.
fn make_directory() -> io::Result<PathBuf> {
    let base = std::env::temp_dir();
    for n in 0.. {
        let directory = base.join(format!("mtasts-lab.{}.{n}", std::process::id()));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
                return Ok(directory);
            }
        }
    }
    unreachable!("the numbers do not end")
}

fn socket() -> io::Result<PathBuf> {
    let socket = std::env::var_os("MTASTS_LAB").ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "MTASTS_LAB is not set: not inside of `mtasts lab run`",
        )
    })?;
    Ok(socket.into())
}

fn parse_changes(changes: &[String]) -> io::Result<Value> {
    let mut object = Map::new();
    for change in changes {
        let (key, value) = change
            .split_once('=')
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{change}: not KEY=VALUE")))?;
        match key {
            "txt" => {
                let records = object.entry(key).or_insert_with(|| json!([]));
                records
                    .as_array_mut()
                    .into_iter()
                    .for_each(|records| records.push(value.into()));
            }
            "hosts" | "addresses" => drop(object.insert(key.into(), value.split(',').collect())),
            "every-name" => drop(object.insert(key.into(), (value == "yes").into())),
            "policy" => {
                let text = match value.strip_prefix('@') {
                    Some(file) => fs::read_to_string(file)?,
                    None => value.replace("\\r", "\r").replace("\\n", "\n"),
                };
                object.insert(key.into(), text.into());
            }
            _ => drop(object.insert(key.into(), value.into())),
        }
    }
    Ok(object.into())
}

fn parse_difference(text: &str) -> io::Result<(String, End)> {
    let (domain, end) = text.split_once('=').ok_or(io::ErrorKind::InvalidInput)?;
    Ok((domain.to_owned(), end.parse().map_err(io::Error::other)?))
}

fn judge(rules: &Rules, only: &[String], driver: &[String]) -> io::Result<ExitCode> {
    let mut cases = table();
    cases.retain(|entry| only.is_empty() || only.contains(&entry.name));
    let fates = match driver {
        [] => judge::read(io::stdin())?,
        [program, arguments @ ..] => judge::drive(Command::new(program).args(arguments), &cases)?,
    };
    let answer = ask(&socket()?, &Operation::Mail)?;
    let mail: Vec<Mail> = serde_json::from_value(answer["mail"].clone())?;
    let wrong = judge::judge(&cases, &fates, &mail, rules);
    let mut out = io::stdout().lock();
    wrong.iter().try_for_each(|wrong| writeln!(out, "{wrong}"))?;
    writeln!(out, "{} of {} rows are wrong", wrong.len(), cases.len())?;
    Ok(ExitCode::from(u8::from(!wrong.is_empty())))
}

fn mail(json: bool) -> io::Result<()> {
    let answer = ask(&socket()?, &Operation::Mail)?;
    let mut out = io::stdout().lock();
    if json {
        return writeln!(out, "{}", serde_json::to_string_pretty(&answer)?);
    }
    let mail: Vec<Mail> = serde_json::from_value(answer["mail"].clone())?;
    let sessions: Vec<Session> = serde_json::from_value(answer["sessions"].clone())?;
    for mail in mail {
        let tls = mail.tls.as_ref().map_or("in clear", |tls| tls.version.as_str());
        writeln!(
            out,
            "mail     {} -> {} at {} ({tls})",
            mail.sender,
            mail.recipients.join(" "),
            mail.host
        )?;
    }
    for session in sessions {
        let tls = session.tls.as_ref().map_or("in clear", |tls| tls.version.as_str());
        let error = session.tls_error.map(|error| format!(": {error}")).unwrap_or_default();
        writeln!(
            out,
            "session  {} [{}] reached {} ({tls}){error}",
            session.host, session.address, session.reached
        )?;
    }
    Ok(())
}

fn counters(json: bool) -> io::Result<()> {
    let answer = ask(&socket()?, &Operation::Counters)?;
    let mut out = io::stdout().lock();
    if json {
        return writeln!(out, "{}", serde_json::to_string_pretty(&answer["counters"])?);
    }
    let counters: Counters = serde_json::from_value(answer["counters"].clone())?;
    let kinds = [
        ("dns", &counters.dns),
        ("https", &counters.https),
        ("https connection", &counters.https_connections),
        ("smtp connection", &counters.smtp_connections),
    ];
    for (kind, counts) in kinds {
        for (key, count) in counts {
            writeln!(out, "{count:6}  {kind:16}  {key}")?;
        }
    }
    Ok(())
}
