//! The settings: their sources, and what each may be.
//!
//! The file is `/etc/mtasts/mtasts.toml`. One table of keys serves the file and the C boundary alike, so that a value
//! means the same wherever it is set.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::crowd::Bounds;
use crate::network::addresses::{Nat64Prefix, Nat64PrefixError, Network, Rule};
use crate::network::valkey::address::Address;
use crate::protocol::names::Domain;
use crate::protocol::report_record::mail_address;
use crate::protocol::text::one_line;
use crate::sender::exceptions::{self, Exceptions};
use crate::sender::fleet::{self, Setup};
use crate::sender::settings_file;
use crate::sender::user::User;
use crate::sys::process;

/// The settings file of the host.
pub const FILE: &str = "/etc/mtasts/mtasts.toml";
/// The cache of the host: state that must survive, not a throw-away cache.
pub const CACHE_DIR: &str = "/var/lib/mtasts";
/// A name whose signatures its owner keeps broken, so that resolvers can be tested.
const BOGUS_NAME: &str = "dnssec-failed.org";

/// The settings of a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `cache_dir`: the directory of the policies, or `None` to keep them in memory only. An absolute path.
    pub cache_dir: Option<PathBuf>,
    /// `user`: whom a process of root becomes to use the cache and the network; `None` for the owner of the cache
    /// directory. A name or number of /etc/passwd, which is looked up when it is set.
    pub user: Option<User>,
    /// `cache_max`: how many domains the cache may hold, in all; those that are worth least are removed.
    pub cache_max: usize,
    /// `cache_max_per_parent`: how many domains the cache may hold below one registered domain.
    pub cache_max_per_parent: usize,
    /// `ca_file`: a PEM file of the roots to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// `nameservers`: asked in place of those of /etc/resolv.conf; an address, or an address and a port.
    pub nameservers: Vec<SocketAddr>,
    /// `timeout`: how long a lookup may take in all, 1 s to 10 min. A caller's shorter deadline wins (RFC 8461 3.3
    /// suggests one minute).
    pub timeout: Duration,
    /// `allow_addresses`: addresses or networks in which a policy host may be although they are not public.
    pub allow_addresses: Vec<Network>,
    /// `nat64_prefixes`: the prefixes of this network's translators (RFC 6052); an address below one is judged by the
    /// IPv4 address that it carries.
    pub nat64_prefixes: Vec<Nat64Prefix>,
    /// `first_contact_defer`: how long mail waits, from the first failure, if DNS or the policy host is broken for a
    /// domain of which nothing is known. Zero, the default: mail does not wait (D-02).
    pub first_contact_defer: Duration,
    /// `silence_budget`: how long this process waits in all for silent hosts, before each further one must answer
    /// within little more than a second, or its mail waits.
    pub silence_budget: Duration,
    /// `txt_life_min`: a TXT record is not asked for again within this time, whatever its TTL.
    pub txt_life_min: Duration,
    /// `txt_life_max`: a TXT record is asked for again after this time, whatever its TTL.
    pub txt_life_max: Duration,
    /// `exceptions`: the domains for which nothing is enforced. The setting is the absolute path of a file, which is
    /// read when it is set; a resolver reads it again when it changes.
    pub exceptions: Exceptions,
    /// `dane`: whether TLSA records decide about MX hosts (RFC 7672), and how the name server is trusted that vouches for
    /// them.
    pub dane: Dane,
    /// `dane_resolver`: the one name server whose word on DNSSEC is believed; an address, or an address and a port.
    pub dane_resolver: SocketAddr,
    /// `dane_bogus_name`: a name whose signatures are broken on purpose, for the test of `dane_resolver`.
    pub dane_bogus_name: Domain,
    /// `tlsrpt_journal`: whether the results for TLS reports (RFC 8460) are kept in the cache directory.
    pub tlsrpt_journal: bool,
    /// `tlsrpt_socket`: the datagram socket of a collector for TLS reports, such as tlsrpt-collectd. An absolute path.
    pub tlsrpt_socket: Option<PathBuf>,
    /// `tlsrpt_sender`: the address from which TLS reports are sent. No report counts its mails.
    pub tlsrpt_sender: Option<String>,
    /// `fleet`: the Valkey or Redis server by which the hosts of a fleet share what they fetch, and a replica of it to
    /// read from, if there is one; none by default.
    pub fleet: Vec<Address>,
    /// `fleet_prefix`: how the names of all keys there begin.
    pub fleet_prefix: String,
    /// `fleet_key_file`: the file of the secrets that the hosts have in common. An absolute path.
    pub fleet_key_file: Option<PathBuf>,
    /// `fleet_insecure`: whether that server may be asked without TLS beyond this host.
    pub fleet_insecure: bool,
}

/// Whether DANE is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dane {
    /// Which name server is believed.
    pub trust: Trust,
    /// Whether a host with usable TLSA records must meet a policy in force, too: `strict-both`.
    pub strict_both: bool,
}

/// Which name server is believed about DNSSEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// None, and nothing is asked: `off`.
    Nothing,
    /// One on this host that is seen to validate: `auto`.
    Tested,
    /// Any: the operator trusts it and the way to it. `trust`.
    Anything,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_dir: Some(PathBuf::from(CACHE_DIR)),
            user: None,
            cache_max: 100_000,
            cache_max_per_parent: 1000,
            ca_file: None,
            nameservers: Vec::new(),
            timeout: Duration::from_secs(60),
            allow_addresses: Vec::new(),
            nat64_prefixes: Vec::new(),
            first_contact_defer: Duration::ZERO,
            silence_budget: Duration::from_secs(60),
            txt_life_min: Duration::from_secs(60),
            txt_life_max: Duration::from_secs(3600),
            exceptions: Exceptions::default(),
            dane: Dane {
                trust: Trust::Nothing,
                strict_both: false,
            },
            dane_resolver: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53),
            dane_bogus_name: bogus_name(BOGUS_NAME).expect("a name"),
            tlsrpt_journal: false,
            tlsrpt_socket: None,
            tlsrpt_sender: None,
            fleet: Vec::new(),
            fleet_prefix: fleet::PREFIX.to_owned(),
            fleet_key_file: None,
            fleet_insecure: false,
        }
    }
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The file, if the setting is in one.
    pub file: Option<PathBuf>,
    /// The key, if the error is in one.
    pub key: Option<String>,
    /// What is wrong, in plain words.
    pub reason: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for SettingsError {}

impl SettingsError {
    fn new(key: &str, reason: impl Into<String>) -> Self {
        Self {
            file: None,
            key: Some(one_line(key, 80)),
            reason: reason.into(),
        }
    }
}

impl Settings {
    pub(crate) const fn bounds(&self) -> Bounds {
        Bounds {
            per_parent: self.cache_max_per_parent,
            in_all: self.cache_max,
        }
    }

    /// Sets one key from its text. Lists are separated by spaces or commas, times are `30`, `30s`, `5m`, `1h` or `1d`.
    /// The file that `exceptions` names is read.
    ///
    /// # Errors
    /// A [`SettingsError`] that names the key, or the file of exceptions, and the reason; the settings are then as
    /// before.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        let fail = |reason: String| SettingsError::new(key, reason);
        match key {
            "cache_dir" if value.is_empty() => self.cache_dir = None,
            "cache_dir" => self.cache_dir = Some(absolute(value).map_err(fail)?),
            "user" if value.is_empty() => self.user = None,
            "user" => self.user = Some(User::of_host(value).map_err(fail)?),
            "cache_max" => self.cache_max = count(value).map_err(fail)?,
            "cache_max_per_parent" => self.cache_max_per_parent = count(value).map_err(fail)?,
            "ca_file" => self.ca_file = Some(absolute(value).map_err(fail)?),
            "nameservers" => self.nameservers = list(value, nameserver).map_err(fail)?,
            "timeout" => {
                let timeout = duration(value).map_err(fail)?;
                if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&timeout) {
                    return Err(fail("must be between 1s and 10m".into()));
                }
                self.timeout = timeout;
            }
            "allow_addresses" => self.allow_addresses = list(value, network).map_err(fail)?,
            "nat64_prefixes" => self.nat64_prefixes = list(value, nat64_prefix).map_err(fail)?,
            "first_contact_defer" => self.first_contact_defer = duration(value).map_err(fail)?,
            "silence_budget" => {
                let budget = duration(value).map_err(fail)?;
                if !(Duration::from_secs(5)..=Duration::from_secs(3600)).contains(&budget) {
                    return Err(fail("must be between 5s and 1h".into()));
                }
                self.silence_budget = budget;
            }
            "txt_life_min" => self.txt_life_min = duration(value).map_err(fail)?,
            "txt_life_max" => self.txt_life_max = duration(value).map_err(fail)?,
            "exceptions" if value.is_empty() => self.exceptions = Exceptions::default(),
            "exceptions" => {
                let file = absolute(value).map_err(fail)?;
                self.exceptions = Exceptions::read_file(&file).map_err(|reason| SettingsError {
                    file: Some(file),
                    key: None,
                    reason,
                })?;
            }
            "dane" => self.dane = dane(value).map_err(fail)?,
            "dane_resolver" => self.dane_resolver = nameserver(value).map_err(fail)?,
            "dane_bogus_name" => self.dane_bogus_name = bogus_name(value).map_err(fail)?,
            "tlsrpt_journal" => self.tlsrpt_journal = switch(value).map_err(fail)?,
            "tlsrpt_socket" if value.is_empty() => self.tlsrpt_socket = None,
            "tlsrpt_socket" => self.tlsrpt_socket = Some(socket(value).map_err(fail)?),
            "tlsrpt_sender" if value.is_empty() => self.tlsrpt_sender = None,
            "tlsrpt_sender" => {
                let address =
                    mail_address(value).ok_or_else(|| fail(format!("{value:?} is not a plain mail address")))?;
                self.tlsrpt_sender = Some(address);
            }
            "fleet" | "fleet_prefix" | "fleet_key_file" | "fleet_insecure" if !fleet::BUILT => {
                return Err(fail("this libmtasts was built without its feature fleet".into()));
            }
            "fleet" => self.fleet = fleet_servers(value).map_err(fail)?,
            "fleet_prefix" => self.fleet_prefix = fleet_prefix(value).map_err(fail)?,
            "fleet_key_file" if value.is_empty() => self.fleet_key_file = None,
            "fleet_key_file" => self.fleet_key_file = Some(absolute(value).map_err(fail)?),
            "fleet_insecure" => self.fleet_insecure = switch(value).map_err(fail)?,
            _ => return Err(fail("unknown setting".into())),
        }
        Ok(())
    }

    /// Whether reports count a session with a mail from this envelope sender, whose header field `TLS-Required` says this
    /// (D-39).
    pub(crate) fn is_reported_on(&self, sender: &str, tls_required: &str) -> bool {
        let sender = sender.trim().trim_start_matches('<').trim_end_matches('>');
        let own = self.tlsrpt_sender.as_ref();
        !own.is_some_and(|own| own.eq_ignore_ascii_case(sender)) && !tls_required.trim().eq_ignore_ascii_case("no")
    }

    /// The fleet to which this host belongs; `None` if it belongs to none.
    ///
    /// # Errors
    /// A [`SettingsError`]: the settings of the fleet do not fit together.
    pub fn fleet_setup(&self) -> Result<Option<Setup>, SettingsError> {
        Setup::of(
            &self.fleet,
            &self.fleet_prefix,
            self.fleet_key_file.as_deref(),
            self.fleet_insecure,
        )
        .map_err(|(key, reason)| SettingsError::new(key, reason))
    }

    /// Which addresses policy hosts and MX hosts may have.
    #[must_use]
    pub fn addresses(&self) -> Rule {
        Rule {
            allowed: self.allow_addresses.clone(),
            nat64: self.nat64_prefixes.clone(),
        }
    }

    /// Reads the text of a settings file: TOML, each key at most once and at the top level.
    ///
    /// # Errors
    /// A [`SettingsError`] with the key and the reason; the settings are then as before.
    pub fn read(&mut self, text: &str) -> Result<(), SettingsError> {
        let table: toml::Table = toml::from_str(text).map_err(|e: toml::de::Error| SettingsError {
            file: None,
            key: None,
            reason: format!("not TOML: {}", one_line(&e.to_string(), 300)),
        })?;
        let mut read = self.clone();
        for (key, value) in table {
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Array(items) => {
                    let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                    texts
                        .ok_or_else(|| SettingsError::new(&key, "must be a list of strings"))?
                        .join(" ")
                }
                _ => {
                    return Err(SettingsError::new(
                        &key,
                        "must be a string, a number or a list of strings",
                    ));
                }
            };
            read.set(&key, &text)?;
        }
        read.fleet_setup()?;
        *self = read;
        Ok(())
    }

    /// Reads a settings file.
    ///
    /// # Errors
    /// A [`SettingsError`] with the file, the key and the reason; the settings are then as before.
    pub fn read_file(&mut self, file: &Path) -> Result<(), SettingsError> {
        let unreadable = |reason: String| SettingsError {
            file: Some(file.to_owned()),
            key: None,
            reason,
        };
        let text = settings_file::read(file).map_err(unreadable)?;
        self.read(&text).map_err(|e| SettingsError {
            // A file of exceptions is named already.
            file: e.file.or_else(|| Some(file.to_owned())),
            ..e
        })
    }

    /// The settings of this host for the process that asks: as [`Settings::of_host`], and its environment is read
    /// unless the process is privileged (root, or a set-uid program), because then it may be another user's.
    ///
    /// # Errors
    /// A [`SettingsError`].
    pub fn of_process() -> Result<Self, SettingsError> {
        let privileged = process::is_privileged();
        Self::of_host(|name| {
            if privileged {
                None
            } else {
                std::env::var_os(name).map(PathBuf::from)
            }
        })
    }

    /// The settings of this host: the settings file, if there is one, over the defaults.
    ///
    /// `environment` gives the value of an environment variable. In a privileged process it must return `None`: any
    /// local user can start Exim as root with an environment of that user's.
    ///
    /// # Errors
    /// A [`SettingsError`]. A missing file is not an error, unless the environment names it.
    pub fn of_host(environment: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, SettingsError> {
        let unread = Exceptions::unread(Path::new(exceptions::FILE));
        // No text sets an empty path: an empty `cache_dir` is `None`, memory alone.
        let unset = Some(PathBuf::new());
        let mut settings = Self {
            cache_dir: unset.clone(),
            exceptions: unread.clone(),
            ..Self::default()
        };
        match environment("MTASTS_CONFIG") {
            Some(file) => settings.read_file(&file)?,
            None if Path::new(FILE).symlink_metadata().is_ok() => settings.read_file(Path::new(FILE))?,
            None => {}
        }
        if let Some(dir) = environment("MTASTS_CACHE_DIR") {
            settings.set("cache_dir", &dir.to_string_lossy())?;
        }
        if settings.cache_dir == unset {
            settings.cache_dir = Some(default_cache_dir(environment));
        }
        if settings.exceptions == unread {
            settings.exceptions = Exceptions::of_host().map_err(|reason| SettingsError {
                file: Some(exceptions::FILE.into()),
                key: None,
                reason,
            })?;
        }
        Ok(settings)
    }
}

/// The cache of the host; for an ordinary user of a host without one, the user's own.
fn default_cache_dir(environment: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let host = PathBuf::from(CACHE_DIR);
    if host.is_dir() {
        return host;
    }
    let state = environment("XDG_STATE_HOME").or_else(|| environment("HOME").map(|home| home.join(".local/state")));
    state
        .filter(|dir| dir.is_absolute())
        .map_or(host, |dir| dir.join("mtasts"))
}

fn absolute(value: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(value);
    // No file has a NUL in its name.
    if path.is_absolute() && !value.contains('\0') {
        Ok(path)
    } else {
        Err(format!("{:?} is not an absolute path", one_line(value, 200)))
    }
}

/// An address of unix(7) is shorter than 108 octets.
fn socket(value: &str) -> Result<PathBuf, String> {
    if value.len() > 107 {
        return Err("the path of a socket has 107 octets at most".to_owned());
    }
    absolute(value)
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{:?} is not on or off", one_line(value, 80))),
    }
}

fn list<T>(value: &str, item: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    value
        .split([' ', ',', '\t'])
        .filter(|s| !s.is_empty())
        .map(item)
        .collect()
}

fn nameserver(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| format!("{:?} is not an address, or an address with a port", one_line(text, 80)))
}

/// `off`, `auto` or `trust`, and `strict-both` with one of the last two; alone it means `auto strict-both`.
fn dane(value: &str) -> Result<Dane, String> {
    let words: Vec<&str> = value.split([' ', ',', '\t']).filter(|word| !word.is_empty()).collect();
    let (trust, strict_both) = match *words {
        ["off"] => (Trust::Nothing, false),
        ["auto"] => (Trust::Tested, false),
        ["trust"] => (Trust::Anything, false),
        ["strict-both"] | ["auto", "strict-both"] => (Trust::Tested, true),
        ["trust", "strict-both"] => (Trust::Anything, true),
        _ => {
            return Err(format!(
                "{:?} is not off, auto or trust, or one of the last two with strict-both",
                one_line(value, 80)
            ));
        }
    };
    Ok(Dane { trust, strict_both })
}

/// A server, or two.
fn fleet_servers(value: &str) -> Result<Vec<Address>, String> {
    let servers: Vec<Address> = value.split_whitespace().map(Address::parse).collect::<Result<_, _>>()?;
    if servers.len() > 2 {
        return Err("has at most two addresses: the server, and one to read from".to_owned());
    }
    Ok(servers)
}

/// Nothing that is more than itself in an ACL or in a pattern of the server.
fn fleet_prefix(value: &str) -> Result<String, String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b":._-".contains(&c);
    if (1..=64).contains(&value.len()) && value.bytes().all(plain) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "{:?} is not 1 to 64 letters, digits, and the characters : . _ -",
        one_line(value, 80)
    ))
}

fn bogus_name(text: &str) -> Result<Domain, String> {
    Domain::parse(text).map_err(|error| format!("{:?} is not a name: {error}", one_line(text, 80)))
}

fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|_| {
        format!(
            "{:?} is not an address, or a network such as 192.0.2.0/24",
            one_line(text, 80)
        )
    })
}

fn count(text: &str) -> Result<usize, String> {
    let digits = text.bytes().all(|c| c.is_ascii_digit()) && text.len() <= 9;
    let number = digits.then(|| text.parse().ok()).flatten().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{:?} is not a number from 1 to 999999999", one_line(text, 40)))
}

fn nat64_prefix(text: &str) -> Result<Nat64Prefix, String> {
    text.parse()
        .map_err(|e: Nat64PrefixError| format!("{:?}: {e}", one_line(text, 80)))
}

/// A length of time as settings have it: a number and `s`, `m`, `h` or `d`; without a unit in seconds.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    let count: Option<u64> = (unit > 0 && digits.len() <= 9).then(|| digits.parse().ok()).flatten();
    count
        .map(|count| Duration::from_secs(count * unit))
        .ok_or_else(|| format!("{:?} is not a duration such as 30s, 5m, 1h or 1d", one_line(text, 40)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory alone is a choice, and not the default directory.
    #[test]
    fn an_empty_cache_dir_of_the_file_is_memory_alone() {
        let file = std::env::temp_dir().join(format!("mtasts-settings-memory-{}", std::process::id()));
        let of_host = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let named = |name: &str| (name == "MTASTS_CONFIG").then(|| file.clone());
            Settings::of_host(named).unwrap().cache_dir
        };
        assert_eq!(of_host("cache_dir = ''\n"), None);
        assert_eq!(of_host("cache_dir = '/srv/mtasts'\n"), Some("/srv/mtasts".into()));
        assert_eq!(of_host(""), Some(CACHE_DIR.into()));
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn reads_every_key() {
        let mut settings = Settings::default();
        settings
            .read(
                "cache_dir = '/srv/mtasts'\nca_file = '/srv/ca.pem'\nnameservers = ['192.0.2.1', '[2001:db8::1]:5353']\n\
                 timeout = 30\nallow_addresses = ['198.18.0.0/15', '::1']\n\
                 nat64_prefixes = ['fd64::/96', '2001:db8::/32']\nfirst_contact_defer = '1h'\n\
                 silence_budget = '2m'\ntxt_life_min = '5m'\ntxt_life_max = '1d'\n\
                 cache_max = 50000\ncache_max_per_parent = '500'\n\
                 dane = ['trust', 'strict-both']\ndane_resolver = '[::1]:5353'\n\
                 dane_bogus_name = 'Bogus.example'\ntlsrpt_journal = 'on'\n\
                 tlsrpt_socket = '/run/tlsrpt.sock'\ntlsrpt_sender = 'TLS%rpt@Example.test'\n\
                 fleet = ['redis://mtasts@192.0.2.1/2', 'unix:/run/replica']\nfleet_prefix = 'mx:'\n\
                 fleet_key_file = '/srv/fleet.key'\nfleet_insecure = 'on'\n",
            )
            .unwrap();
        assert_eq!(settings.cache_dir, Some("/srv/mtasts".into()));
        assert_eq!(settings.nameservers[1], "[2001:db8::1]:5353".parse().unwrap());
        assert_eq!(settings.timeout, Duration::from_secs(30));
        assert_eq!(settings.allow_addresses.len(), 2);
        assert_eq!(settings.nat64_prefixes.len(), 2);
        assert_eq!(settings.first_contact_defer, Duration::from_secs(3600));
        assert_eq!(settings.silence_budget, Duration::from_secs(120));
        assert_eq!(settings.txt_life_max, Duration::from_secs(86_400));
        assert_eq!((settings.cache_max, settings.cache_max_per_parent), (50_000, 500));
        let dane = settings.dane;
        assert_eq!((dane.trust, dane.strict_both), (Trust::Anything, true));
        assert_eq!(settings.dane_resolver, "[::1]:5353".parse().unwrap());
        assert_eq!(settings.dane_bogus_name.as_str(), "bogus.example");
        assert!(settings.tlsrpt_journal);
        assert_eq!(settings.tlsrpt_socket, Some("/run/tlsrpt.sock".into()));
        assert_eq!(settings.tlsrpt_sender, Some("TLS%rpt@example.test".into()));
        let setup = settings.fleet_setup().unwrap().unwrap();
        assert_eq!(setup.server.to_string(), "redis://192.0.2.1:6379");
        assert_eq!(
            (setup.server.database, setup.server.user.as_deref()),
            (2, Some("mtasts"))
        );
        assert_eq!(setup.reader.to_string(), "unix:/run/replica");
        assert_eq!(
            (setup.prefix.as_str(), setup.key_file.to_str()),
            ("mx:", Some("/srv/fleet.key"))
        );
    }

    #[test]
    fn reports_and_mail_that_needs_no_tls_are_not_reported_on() {
        let mut settings = Settings::default();
        assert!(settings.is_reported_on("", "") && settings.is_reported_on("tlsrpt@a.example", "Yes"));
        assert!(!settings.is_reported_on("user@b.example", " NO\r\n"));
        settings.set("tlsrpt_sender", "tlsrpt@a.example").unwrap();
        assert!(!settings.is_reported_on("TLSRPT@A.example", "") && !settings.is_reported_on("<tlsrpt@a.example>", ""));
        assert!(settings.is_reported_on("tlsrpt@b.example", "") && settings.is_reported_on("", ""));
    }

    #[test]
    fn exceptions_are_read_when_they_are_set() {
        let file = std::env::temp_dir().join(format!("mtasts-exceptions-{}", std::process::id()));
        std::fs::write(&file, "a.example 2026-12-31 moves\n").unwrap();
        let mut settings = Settings::default();
        settings.set("exceptions", file.to_str().unwrap()).unwrap();
        assert_eq!(settings.exceptions.iter().len(), 1);
        // A bad line names the file of exceptions, whichever file names that.
        std::fs::write(&file, "a.example 2026-12-31\n").unwrap();
        let (before, toml) = (settings.clone(), file.with_extension("toml"));
        std::fs::write(&toml, format!("exceptions = {:?}\n", file.to_str().unwrap())).unwrap();
        let error = settings.read_file(&toml).unwrap_err().to_string();
        let expected = format!(
            "{}: line 1: the reason is missing; write it after the date",
            file.display()
        );
        assert_eq!((error, &settings), (expected, &before));
        settings.set("exceptions", "").unwrap();
        assert_eq!(settings, Settings::default());
        for (value, reason) in [
            ("/nowhere", "No such file"),
            ("/dev/null", "not a regular file"),
            ("x", "\"x\" is not"),
        ] {
            let error = settings.set("exceptions", value).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        for file in [file, toml] {
            std::fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn a_bad_value_names_its_key_and_changes_nothing() {
        for (text, error) in [
            (
                "timeout = '1y'",
                "timeout: \"1y\" is not a duration such as 30s, 5m, 1h or 1d",
            ),
            ("timeout = '0s'", "timeout: must be between 1s and 10m"),
            ("cache_max = 0", "cache_max: \"0\" is not a number from 1 to 999999999"),
            (
                "cache_max = '1k'",
                "cache_max: \"1k\" is not a number from 1 to 999999999",
            ),
            ("silence_budget = '0s'", "silence_budget: must be between 5s and 1h"),
            ("cachedir = '/x'", "cachedir: unknown setting"),
            ("cache_dir = 'x'", "cache_dir: \"x\" is not an absolute path"),
            ("user = 0", "user: root is root: name the user of the mail server"),
            ("user = 'x y'", "user: \"x y\" is not a user in /etc/passwd"),
            ("nameservers = [1]", "nameservers: must be a list of strings"),
            (
                "nameservers = 'dns.example'",
                "nameservers: \"dns.example\" is not an address, or an address with a port",
            ),
            (
                "dane = 'off strict-both'",
                "dane: \"off strict-both\" is not off, auto or trust, or one of the last two with strict-both",
            ),
            ("tlsrpt_journal = 1", "tlsrpt_journal: \"1\" is not on or off"),
            (
                "tlsrpt_socket = 'run/x'",
                "tlsrpt_socket: \"run/x\" is not an absolute path",
            ),
            (
                "tlsrpt_sender = 'a@b.example, c@d.example'",
                "tlsrpt_sender: \"a@b.example, c@d.example\" is not a plain mail address",
            ),
            (
                "dane_resolver = 'localhost'",
                "dane_resolver: \"localhost\" is not an address, or an address with a port",
            ),
            (
                "nat64_prefixes = 'fd64::/95'",
                "nat64_prefixes: \"fd64::/95\": a NAT64 prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052 2.2)",
            ),
            (
                "allow_addresses = '1.2.3.4/40'",
                "allow_addresses: \"1.2.3.4/40\" is not an address, or a network such as 192.0.2.0/24",
            ),
            (
                "fleet = 'redis://a.example'",
                "fleet: redis://a.example:6379 would be asked without TLS, beyond this host: use rediss://, or set fleet_insecure = \"on\" if the way there is safe by other means",
            ),
            (
                "fleet = 'rediss://a.example'",
                "fleet_key_file: must be set where fleet is",
            ),
            (
                "fleet = ['unix:/a', 'unix:/b', 'unix:/c']",
                "fleet: has at most two addresses: the server, and one to read from",
            ),
            (
                "fleet = 'rediss://a:b@c.example'",
                "fleet: no password belongs here, where others may read it: put it into fleet_key_file",
            ),
            (
                "fleet_prefix = 'mtasts*'",
                "fleet_prefix: \"mtasts*\" is not 1 to 64 letters, digits, and the characters : . _ -",
            ),
            (
                "fleet_key_file = 'key'",
                "fleet_key_file: \"key\" is not an absolute path",
            ),
            ("fleet_insecure = 'yes'", "fleet_insecure: \"yes\" is not on or off"),
            (
                "[section]\nx = 1",
                "section: must be a string, a number or a list of strings",
            ),
        ] {
            let mut settings = Settings::default();
            let text = format!("first_contact_defer = '1h'\n{text}");
            assert_eq!(settings.read(&text).unwrap_err().to_string(), error);
            assert_eq!(settings, Settings::default());
        }
        assert!(
            Settings::default()
                .read("a b c")
                .unwrap_err()
                .to_string()
                .starts_with("not TOML: ")
        );
    }

    #[test]
    fn the_environment_counts_only_where_it_is_given() {
        let hostile = |name: &str| (name == "MTASTS_CACHE_DIR").then(|| PathBuf::from("/evil"));
        assert_eq!(Settings::of_host(hostile).unwrap().cache_dir, Some("/evil".into()));
        assert_ne!(Settings::of_host(|_| None).unwrap().cache_dir, Some("/evil".into()));
        let missing = |name: &str| (name == "MTASTS_CONFIG").then(|| PathBuf::from("/nowhere/mtasts.toml"));
        let error = Settings::of_host(missing).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/mtasts.toml: "), "{error}");
    }
}
