//! A report as a mail (RFC 8460 5.3), and the program that takes it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};
use mtasts::protocol::calendar;
use mtasts::protocol::text::ascii_line;
use tempfile::NamedTempFile;

use crate::ledger::End;
use crate::report::{Sender, Sessions};
use crate::settings::Settings;

/// How long the program may take with one mail.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much of what it says is quoted, in octets.
const QUOTE: u64 = 150;
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What is reported, besides the report itself.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The domain that gets the report.
    pub domain: &'a str,
    /// The day, such as `2026-12-31`, and its first second in Unix time.
    pub day: &'a str,
    /// The first second of the day, in Unix time.
    pub begin: u64,
    /// The `report-id`.
    pub id: &'a str,
}

impl About<'_> {
    /// The name of the report as a file (RFC 8460 5.1). The id is unique, so that the file is.
    fn file(&self, sender: &Sender) -> String {
        let end = self.begin + 86_399;
        let unique = &sender.host;
        format!(
            "{}!{}!{}!{end}!{unique}.json.gz",
            sender.domain, self.domain, self.begin
        )
    }
}

/// The mail with a compressed report to an address, its lines ended by line feeds as programs on this host have them.
///
/// Its `Message-ID` depends on the report and the address alone: if a mail is sent twice after a crash, it is the same one.
#[must_use]
pub fn message(about: &About<'_>, sender: &Sender, address: &str, report: &[u8], now: u64) -> Vec<u8> {
    let (domain, submitter) = (about.domain, sender.domain.as_str());
    let text = format!(
        "This is a report on TLS sessions with the mail servers of {domain} on {day} (UTC),\r\n\
         made by {organization} (RFC 8460). It is for programs: see the attached file.\r\n\
         Contact: {contact}\r\n",
        day = about.day,
        organization = ascii_line(&sender.organization, 200),
        contact = sender.contact,
    );
    let type_of_all = ContentType::new("multipart/report").attribute("report-type", "tlsrpt");
    let parts = vec![
        MimePart::new("text/plain", BodyPart::Text(text.into())),
        MimePart::new("application/tlsrpt+gzip", BodyPart::Binary(report.into())).attachment(about.file(sender)),
    ];
    let id = format!(
        "{}.{:016x}@{submitter}",
        about.id.replace('@', "."),
        crate::spread::hash(address)
    );
    let mail = MessageBuilder::new()
        .from((sender.organization.as_str(), sender.address.as_str()))
        .to(address)
        .date(i64::try_from(now).unwrap_or_default())
        .message_id(id)
        .header(
            "Subject",
            Raw::new(format!(
                "Report Domain: {domain} Submitter: {submitter} Report-ID: <{}>",
                about.id
            )),
        )
        .header("TLS-Report-Domain", Raw::new(domain))
        .header("TLS-Report-Submitter", Raw::new(submitter))
        // A report must arrive although TLS does not work (RFC 8460 3, RFC 8689).
        .header("TLS-Required", Raw::new("No"))
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .body(MimePart::new(type_of_all, BodyPart::Multipart(parts)));
    let mail = mail.write_to_vec().unwrap_or_default();
    let carriage_return = |at: usize| mail[at] == b'\r' && mail.get(at + 1) == Some(&b'\n');
    (0..mail.len())
        .filter(|at| !carriage_return(*at))
        .map(|at| mail[at])
        .collect()
}

/// The mail with its signature before it, if the reporter signs.
///
/// # Errors
/// In words: it cannot be signed.
pub fn signed(mail: Vec<u8>, settings: &Settings, now: u64) -> Result<Vec<u8>, String> {
    let (Some(key), Some(selector)) = (&settings.key, &settings.selector) else {
        return Ok(mail);
    };
    let field = key.signature(&mail, settings.sender.domain.as_str(), selector.as_str(), now)?;
    Ok([field.as_bytes(), &mail].concat())
}

/// The mail of a report without a session, from the sender to itself.
///
/// # Errors
/// As [`signed`].
pub fn example(settings: &Settings, now: u64) -> Result<Vec<u8>, String> {
    let sender = &settings.sender;
    let begin = now / 86_400 * 86_400 - 86_400;
    let day = calendar::date(begin);
    let sessions = Sessions::of(sender.domain.clone());
    let report = sessions.report(&day, sender);
    let about = About {
        domain: sender.domain.as_str(),
        day: &day,
        begin,
        id: report.id(),
    };
    signed(
        message(&about, sender, &sender.address, &report.compressed(), now),
        settings,
        now,
    )
}

/// What is put behind the name of the file of a mail when the program begins with it, and when it has taken it.
pub const BEGUN: &str = ".begun";
/// See [`BEGUN`].
pub const TAKEN: &str = ".taken";
/// Runs the program. If the name of the file is gone, the mail was taken back. What the last name says is worth nothing against
/// what the program says.
const SUBMIT: &str = "mv -- \"$0\" \"$0.begun\" && \"$@\" && { mv -- \"$0.begun\" \"$0.taken\" || :; }";

/// How the names of the files begin in which the mails of a day are until a program begins with them.
#[must_use]
pub fn name(day: &str, rest: &str) -> String {
    format!(".report-{day}.mail-{rest}")
}

/// Which start of this host it is, in a few letters.
#[must_use]
pub fn boot() -> Option<&'static str> {
    static BOOT: LazyLock<Option<String>> = LazyLock::new(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        id.get(..8).map(str::to_owned)
    });
    BOOT.as_deref()
}

/// A mail that is ready for a program that is called like sendmail(8). It is in a file, not in a pipe: if this process ends
/// while the program runs, the program has the whole mail. The name of the file says how far it came: a shell changes it, which
/// goes on whatever becomes of this process.
#[derive(Debug)]
pub struct Ready(NamedTempFile);

impl Ready {
    /// Writes the file, for a report of this day, into a directory.
    ///
    /// # Errors
    /// In words: it cannot be written.
    pub fn new(directory: &Path, day: &str, mail: &[u8]) -> Result<Self, String> {
        let begins = name(day, &format!("{}-", boot().unwrap_or("unknown")));
        let input = tempfile::Builder::new().prefix(&begins).tempfile_in(directory);
        let input = input.and_then(|mut file| {
            file.write_all(mail)?;
            file.rewind()?;
            Ok(file)
        });
        input.map(Self).map_err(|error| format!("the file of a mail: {error}"))
    }

    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.0.path().file_name()?.to_str()
    }

    /// Starts the program, and waits until it ends.
    #[must_use]
    pub fn submit(&self, sendmail: &Path, sender: &Sender) -> End {
        let said = match tempfile::tempfile() {
            Ok(file) => file,
            Err(error) => return End::Failed(format!("a temporary file: {error}")),
        };
        let files = said.try_clone().and_then(|stderr| Ok((self.0.reopen()?, stderr)));
        let program = files.and_then(|(stdin, stderr)| {
            Command::new("/bin/sh")
                .args(["-c", SUBMIT])
                .arg(self.0.path())
                .arg(sendmail)
                .args(["-i", "-t", "-f", &sender.address])
                .stdin(stdin)
                .stdout(Stdio::null())
                .stderr(stderr)
                .spawn()
        });
        match program {
            Ok(program) => wait(program, sendmail, said),
            Err(error) => End::Failed(format!("{}: {error}", sendmail.display())),
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        for state in [BEGUN, TAKEN] {
            let mut path = self.0.path().as_os_str().to_owned();
            path.push(state);
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The beginning of what a program has said.
fn beginning(mut said: File) -> String {
    let mut octets = Vec::new();
    let read = said.rewind().and_then(|()| said.take(QUOTE).read_to_end(&mut octets));
    match (read, octets.trim_ascii()) {
        (Ok(_), said) if !said.is_empty() => format!(" ({})", String::from_utf8_lossy(said)),
        _ => String::new(),
    }
}

fn wait(mut program: Child, name: &Path, said: File) -> End {
    let deadline = Instant::now() + PATIENCE;
    let name = name.display();
    loop {
        match program.try_wait() {
            Ok(Some(status)) if status.success() => return End::Sent,
            Ok(Some(status)) => {
                let said = beginning(said);
                return End::Failed(format!("{name} has refused the mail: {status}{said}"));
            }
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(None) => {
                let _ = program.kill();
                let _ = program.wait();
                return End::Unclear(format!("{name} did not end in {} s", PATIENCE.as_secs()));
            }
            Err(error) => return End::Unclear(format!("{name}: {error}")),
        }
    }
}
