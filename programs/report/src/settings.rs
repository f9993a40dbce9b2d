//! The settings of the reporter: who sends reports, and by what.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mtasts::Settings as Host;
use mtasts::protocol::names::Domain;
use mtasts::protocol::report_record::mail_address;
use mtasts::sys::host;
use serde::Deserialize;

use crate::dkim::Key;
use crate::report::Sender;
use crate::spread;

/// Where they are if nothing else is said.
pub const FILE: &str = "/etc/mtasts/report.toml";
/// The program that takes mails.
const SENDMAIL: &str = "/usr/sbin/sendmail";
/// The longest file that is read, in octets.
const LONGEST: u64 = 64 * 1024;
/// The longest name of an organization, in characters.
const LONGEST_NAME: usize = 100;

/// The settings of the reporter.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who sends reports.
    pub sender: Sender,
    /// `sendmail`: the program that takes mails.
    pub sendmail: PathBuf,
    /// `dkim_selector`: where the key is in DNS by which reports are verified.
    pub selector: Option<Domain>,
    /// `dkim_key`: a file with the key by which the reporter signs, if the mail server does not.
    pub key: Option<Arc<Key>>,
    /// `https_certificates`: whether the certificates of hosts that take reports are checked. RFC 8460 5.4 leaves it open.
    pub https_certificates: bool,
}

/// The file. Each key may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    organization: Option<String>,
    contact: Option<String>,
    sendmail: Option<PathBuf>,
    dkim_selector: Option<String>,
    dkim_key: Option<PathBuf>,
    https_certificates: Option<bool>,
}

impl Settings {
    /// Reads the file of the reporter, which need not be there, beside the settings of this host, which say from which address
    /// reports are sent.
    ///
    /// # Errors
    /// A sentence that names the file or the setting.
    pub fn read(file: &Path, host: &Host) -> Result<Self, String> {
        let problem = |reason: String| format!("{}: {reason}", file.display());
        let keys: Keys = match text(file) {
            Ok(text) => toml::from_str(&text).map_err(|error| problem(wrong(&text, &error)))?,
            Err(error) if error.kind() == ErrorKind::NotFound && file == Path::new(FILE) => Keys::default(),
            Err(error) => return Err(problem(error.to_string())),
        };
        let address = host.tlsrpt_sender.clone().ok_or(
            "no address is set from which reports are sent. Set tlsrpt_sender in mtasts.toml to an address whose mail you read.",
        )?;
        let contact = keys.contact.unwrap_or_else(|| address.clone());
        let mut sender = sender(&contact, keys.organization.as_deref()).map_err(problem)?;
        sender.domain = domain(&address).ok_or("tlsrpt_sender is not a mail address")?;
        sender.address = address;
        let sendmail = keys.sendmail.unwrap_or_else(|| SENDMAIL.into());
        if !sendmail.is_absolute() {
            return Err(problem("sendmail: must be an absolute path".into()));
        }
        let selector = keys.dkim_selector.map(|name| Domain::parse(&name));
        let selector = selector
            .transpose()
            .map_err(|error| problem(format!("dkim_selector: {error}")))?;
        let key = keys.dkim_key.map(|file| key(&file));
        let key = key.transpose().map_err(|why| problem(format!("dkim_key: {why}")))?;
        if key.is_some() && selector.is_none() {
            return Err(problem("dkim_key needs dkim_selector".into()));
        }
        Ok(Self {
            sender,
            sendmail,
            selector,
            key: key.map(Arc::new),
            https_certificates: keys.https_certificates.unwrap_or(true),
        })
    }
}

impl Settings {
    /// What is different if anything is that receivers see.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let sender = &self.sender;
        let key = self.key.as_ref().map(|key| key.public());
        let all = format!(
            "{}\n{}\n{}\n{:?}\n{:?}\n{key:?}",
            sender.address, sender.contact, sender.organization, self.sendmail, self.selector
        );
        format!("{:016x}\n", spread::hash(&all))
    }
}

/// A sender of reports by its address for questions, which is also where its mails come from.
///
/// # Errors
/// A sentence: the address, or the name, is not one for a mail.
pub fn sender(contact: &str, organization: Option<&str>) -> Result<Sender, String> {
    let domain = domain(contact).ok_or_else(|| format!("{contact:?} is not a plain mail address"))?;
    let organization = organization.unwrap_or(domain.as_str()).to_owned();
    if organization.chars().count() > LONGEST_NAME || organization.contains(char::is_control) {
        return Err(format!(
            "organization: must be one line of at most {LONGEST_NAME} characters"
        ));
    }
    Ok(Sender {
        organization,
        contact: contact.to_owned(),
        address: contact.to_owned(),
        host: format!("{:08x}", spread::hash(&host::name()) >> 32),
        domain,
    })
}

/// The domain of a plain mail address.
fn domain(address: &str) -> Option<Domain> {
    Domain::parse(mail_address(address)?.rsplit_once('@')?.1).ok()
}

/// What is wrong with the file, and in which line.
fn wrong(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|at| text.get(..at.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

fn key(file: &Path) -> Result<Key, String> {
    let pem = text(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Key::read(pem.as_bytes()).map_err(|why| format!("{} {why}", file.display()))
}

fn text(file: &Path) -> std::io::Result<String> {
    let opened = File::open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(std::io::Error::other("is not a regular file"));
    }
    let mut text = String::new();
    opened.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_its_mistakes_are_named() {
        let file = std::env::temp_dir().join(format!("mtasts-report-settings-{}", std::process::id()));
        let read = |text: &str, address: &str| {
            std::fs::write(&file, text).unwrap();
            let mut host = Host::default();
            host.set("tlsrpt_sender", address).unwrap();
            Settings::read(&file, &host).map_err(|why| why.replace(&file.display().to_string(), "FILE"))
        };
        let settings = read("", "tlsrpt@Sender.test").unwrap();
        assert_eq!(settings.sender.organization, "sender.test");
        assert_eq!(settings.sender.contact, settings.sender.address);
        assert_eq!(
            (settings.sendmail, settings.https_certificates),
            (SENDMAIL.into(), true)
        );
        let all = "organization = \"Séndér\"\ncontact = \"post@help.test\"\nsendmail = \"/bin/true\"\nhttps_certificates = false";
        let settings = read(all, "tlsrpt@sender.test").unwrap();
        assert_eq!(settings.sender.domain.as_str(), "sender.test");
        assert_eq!(
            (&*settings.sender.contact, settings.https_certificates),
            ("post@help.test", false)
        );
        for (text, said) in [
            ("contact = \"x\"", "FILE: \"x\" is not a plain mail address"),
            ("sendmail = \"bin/true\"", "FILE: sendmail: must be an absolute path"),
            (
                "dkim_key = \"/dev/null\"",
                "FILE: dkim_key: /dev/null: is not a regular file",
            ),
            (
                "dkim_selector = \"a b\"",
                "FILE: dkim_selector: the character ' ' cannot be part of a host name",
            ),
            (
                "organization = \"a\\nb\"",
                "FILE: organization: must be one line of at most 100 characters",
            ),
        ] {
            assert_eq!(read(text, "a@sender.test").unwrap_err(), said);
        }
        let unknown = read("\nfrom = 1", "a@sender.test").unwrap_err();
        assert!(unknown.starts_with("FILE: line 2: unknown field `from`"), "{unknown}");
        std::fs::write(&file, "").unwrap();
        let none = Settings::read(&file, &Host::default()).unwrap_err();
        assert!(none.contains("tlsrpt_sender"), "{none}");
        std::fs::remove_file(file).unwrap();
    }
}
