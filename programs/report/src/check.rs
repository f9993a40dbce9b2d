//! Whether receivers will take the reports of this host, before it sends any: what DNS has for the sender, and the way out.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use mtasts::cache::store::Store;
use mtasts::network::addresses::Rule;
use mtasts::network::dns::{Dns, DnsError, Servers, StubResolver};
use mtasts::protocol::text::ascii_line;

use crate::dkim;
use crate::mail;
use crate::settings::Settings;
use crate::spf;

/// How long DNS may take with one question.
const TIME: Duration = Duration::from_secs(10);
/// Where it is noted that a check was good.
const NOTE: &str = ".report-checked";
/// How much of a stranger's text is quoted.
const QUOTE: usize = 200;
/// Addresses on the Internet. Nothing is sent to them: the system only says from where it would.
const ELSEWHERE: [&str; 2] = ["198.41.0.4:25", "[2001:503:ba3e::2:30]:25"];

/// What a check has found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The thing.
    pub what: &'static str,
    /// Whether it is in order; `None` if that cannot be known from here.
    pub good: Option<bool>,
    /// A sentence.
    pub sentence: String,
}

/// What a receiver asks.
#[derive(Debug)]
pub struct Check<'a> {
    settings: &'a Settings,
    dns: StubResolver,
}

impl<'a> Check<'a> {
    /// A check of these settings, by the name servers of this host.
    #[must_use]
    pub fn new(settings: &'a Settings, host: &mtasts::Settings) -> Self {
        let dns = match &*host.nameservers {
            [] => StubResolver::system(),
            servers => StubResolver::with_servers(servers),
        };
        Self { settings, dns }
    }

    /// Looks at everything. The mail that a report would be is written to `file`, if there is one.
    #[must_use]
    pub fn run(&self, file: Option<&Path>, now: u64) -> Vec<Finding> {
        let judged = [
            ("sender", self.sender()),
            ("spf", self.spf()),
            ("dkim", self.dkim()),
            ("mail", self.dry_run(file, now)),
        ];
        let mut found: Vec<Finding> = judged.into_iter().map(|(what, judged)| finding(what, judged)).collect();
        found.extend(self.dmarc());
        for address in ELSEWHERE.iter().filter_map(|there| own_address(there.parse().ok()?)) {
            found.extend(self.of_this_host(address));
        }
        found
    }

    /// Who sends much mail to Google or Microsoft needs a DMARC record. Reports are seldom so many.
    fn dmarc(&self) -> Option<Finding> {
        let domain = &self.settings.sender.domain;
        let records = self.texts(&format!("_dmarc.{domain}")).ok()?;
        let has_one = records.iter().any(|text| text.starts_with("v=DMARC1"));
        let sentence = format!("{domain} has no DMARC record of its own, which large receivers ask for");
        (!has_one).then_some(Finding {
            what: "dmarc",
            good: None,
            sentence,
        })
    }

    /// Bounces, and questions of receivers, must find somebody.
    fn sender(&self) -> Result<String, String> {
        let domain = &self.settings.sender.domain;
        let deadline = Instant::now() + TIME;
        let found = self.dns.mx(domain, deadline).map(|found| found.data);
        match found {
            Ok(hosts) if hosts.iter().all(|host| host.exchange == ".") => Err(format!(
                "{domain} takes no mail (null MX), so that nobody reads what comes back"
            )),
            Ok(_) => Ok(format!("{domain} takes mail")),
            Err(error) if error.is_absence() => match self.dns.addresses(domain.as_str(), deadline) {
                Ok(_) => Ok(format!("{domain} takes mail at its own address")),
                Err(error) => Err(format!("{domain} has neither an MX host nor an address: {error}")),
            },
            Err(error) => Err(format!("DNS does not say where {domain} takes mail: {error}")),
        }
    }

    fn spf(&self) -> Result<String, String> {
        let domain = &self.settings.sender.domain;
        let records = self.texts(domain.as_str())?;
        let found = spf::records(&records);
        match found[..] {
            [] => Err(format!(
                "{domain} has no SPF record: publish one that lists what this host sends from"
            )),
            [one] if one.eq_ignore_ascii_case("v=spf1 -all") => Err(format!(
                "the SPF record of {domain} says that it sends no mail: add what this host sends from"
            )),
            [one] => Ok(format!("{domain} has the SPF record {:?}", quoted(one))),
            _ => Err(format!(
                "{domain} has {} SPF records; there must be one (RFC 7208 3.2)",
                found.len()
            )),
        }
    }

    fn dkim(&self) -> Result<String, String> {
        let domain = &self.settings.sender.domain;
        let Some(selector) = &self.settings.selector else {
            return Err(
                "receivers must ignore a report without a DKIM signature: set dkim_selector in report.toml to the selector by \
                 which your mail server signs, and dkim_key if it does not sign"
                    .into(),
            );
        };
        let name = format!("{selector}._domainkey.{domain}");
        let records = self.texts(&name)?;
        let [record] = &records[..] else {
            return Err(format!("{name} must have one TXT record, and has {}", records.len()));
        };
        let own = self.settings.key.as_deref();
        dkim::check_record(record, own).map_err(|why| format!("the key record {name} is not good: {why}"))?;
        let who = if own.is_some() {
            "the reporter signs"
        } else {
            "your mail server has to sign, TLS-Report-Domain and TLS-Report-Submitter, too"
        };
        Ok(format!("{name} has a key for reports; {who}"))
    }

    /// The mail of a report, as it would be given to the program.
    fn dry_run(&self, file: Option<&Path>, now: u64) -> Result<String, String> {
        let Settings { sendmail, .. } = self.settings;
        let about = fs::metadata(sendmail).map_err(|error| format!("{}: {error}", sendmail.display()))?;
        if !about.is_file() || about.mode() & 0o111 == 0 {
            return Err(format!("{} is not a program", sendmail.display()));
        }
        let mail = mail::example(self.settings, now)?;
        let Some(file) = file else {
            return Ok(format!("{} is there, and a mail can be made", sendmail.display()));
        };
        let written = fs::write(file, mail).map_err(|error| format!("{}: {error}", file.display()));
        written.map(|()| format!("the mail of a report is in {}", file.display()))
    }

    /// Many receivers take no mail from an address without a name (PTR) that leads back to it, or that SPF does not list.
    fn of_this_host(&self, address: IpAddr) -> Vec<Finding> {
        let unknown = |what, sentence| Finding {
            what,
            good: None,
            sentence,
        };
        if let Some(why) = Rule::default().refusal(address) {
            let sentence =
                format!("this host sends from {address}, {why}: what others see in its place needs a name (PTR)");
            return vec![unknown("ptr", sentence)];
        }
        let mut found = vec![finding("ptr", self.name(address))];
        let domain = &self.settings.sender.domain;
        let texts = self.texts(domain.as_str()).unwrap_or_default();
        if let [record] = spf::records(&texts)[..] {
            let mut evaluation = spf::Evaluation::new(&self.dns, address, Instant::now() + TIME);
            found.push(match evaluation.allows(record, domain.as_str()) {
                Ok(true) => finding("spf", Ok(format!("the SPF record of {domain} lists {address}"))),
                // Mail may leave by another host.
                Ok(false) => unknown(
                    "spf",
                    format!(
                        "the SPF record of {domain} does not list {address}: add it, unless another host sends your mail on"
                    ),
                ),
                Err(why) => unknown(
                    "spf",
                    format!("whether the SPF record of {domain} lists {address} is for you to see: {}", quoted(&why)),
                ),
            });
        }
        found
    }

    fn name(&self, address: IpAddr) -> Result<String, String> {
        let deadline = Instant::now() + TIME;
        let asked = self
            .dns
            .together(deadline, async |servers: Servers| servers.names_of(address).await);
        let names = asked
            .map_err(|error| format!("{address} has no name (PTR): {error}"))?
            .data;
        let leads_back = |name: &&String| {
            let found = self.dns.addresses(name, deadline);
            found.is_ok_and(|found| found.data.contains(&address))
        };
        match names.iter().find(leads_back) {
            Some(name) => Ok(format!("{address} is {}", quoted(name))),
            None => Err(format!(
                "no name of {address} (PTR) leads back to it: {}",
                quoted(&names.join(", "))
            )),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        match self.dns.txt(name, Instant::now() + TIME) {
            Ok(found) => Ok(found
                .data
                .iter()
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect()),
            Err(DnsError::NxDomain | DnsError::NoData) => Ok(Vec::new()),
            Err(error) => Err(format!("DNS does not say what {name} has: {error}")),
        }
    }
}

/// From which address this host sends to that one.
fn own_address(there: SocketAddr) -> Option<IpAddr> {
    let own: IpAddr = if there.is_ipv4() {
        [0, 0, 0, 0].into()
    } else {
        [0u16; 8].into()
    };
    let socket = UdpSocket::bind((own, 0)).ok()?;
    socket.connect(there).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn finding(what: &'static str, judged: Result<String, String>) -> Finding {
    let good = Some(judged.is_ok());
    let (Ok(sentence) | Err(sentence)) = judged;
    Finding { what, good, sentence }
}

fn quoted(text: &str) -> String {
    ascii_line(text, QUOTE)
}

/// Notes in the cache directory that a check of these settings was good.
///
/// # Errors
/// A sentence: it cannot be written.
pub fn note(store: &Store, settings: &Settings) -> Result<(), String> {
    let path = store.dir().join(NOTE);
    let _ = fs::remove_file(&path);
    let made = File::options().write(true).create_new(true).mode(0o640).open(&path);
    let written = made.and_then(|mut file| file.write_all(settings.fingerprint().as_bytes()));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether a check of these settings was good.
#[must_use]
pub fn is_noted(store: &Store, settings: &Settings) -> bool {
    fs::read(store.dir().join(NOTE)).is_ok_and(|noted| noted == settings.fingerprint().as_bytes())
}
