//! Where a Valkey or Redis server is, as the operator writes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::protocol::names::Domain;
use crate::protocol::text::one_line;

/// The port of such servers.
const PORT: u16 = 6379;
/// The port of Sentinel.
const SENTINEL_PORT: u16 = 26379;
/// How many Sentinels are asked.
const MOST_SENTINELS: usize = 7;
/// The longest path of a unix socket (unix(7)).
const MAX_PATH: usize = 107;
/// The longest name of a user.
const MAX_USER: usize = 128;

/// `redis://HOST`, `rediss://HOST` with TLS, `unix:/PATH`, or `redis+sentinel://HOST,HOST/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The way there.
    pub way: Way,
    /// Whom the server knows us as; `None` for its default user.
    pub user: Option<String>,
    /// The number of the database.
    pub database: u32,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A socket of this host.
    Unix(PathBuf),
    /// TCP without TLS.
    Plain(Host, u16),
    /// TLS, with a certificate for this name.
    Tls(Domain, u16),
    /// Where Sentinel says.
    Sentinel(Sentinel),
}

/// Several servers of which Sentinel says who is the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinel {
    /// The hosts on which Sentinels are, and the servers.
    pub hosts: Vec<(Host, u16)>,
    /// What they call the servers together.
    pub name: String,
    /// Whether all of them speak TLS.
    pub tls: bool,
}

/// A host as an address names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By an address.
    Ip(IpAddr),
    /// By a name.
    Name(Domain),
}

impl Address {
    /// Reads `redis://[USER@]HOST[:PORT][/DATABASE]`, the same with `rediss:`, `unix:[USER@]/PATH`, or
    /// `redis+sentinel://[USER@]HOST[:PORT],HOST[:PORT]/NAME[/DATABASE]`, the same with `rediss+sentinel:`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let quoted = || format!("{:?}", one_line(text, 200));
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| format!("{} is not an address", quoted()))?;
        let (user, place) = match (rest.strip_prefix("//").unwrap_or(rest), scheme) {
            (rest, "unix" | "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel") => match rest.rsplit_once('@') {
                Some((user, place)) => (Some(user), place),
                None => (None, rest),
            },
            _ => return Err(format!("{} does not begin with redis://, rediss:// or unix:", quoted())),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err("no password belongs here, where others may read it: put it into fleet_key_file".to_owned());
        }
        let is_user =
            |user: &str| !user.is_empty() && user.len() <= MAX_USER && user.bytes().all(|c| c.is_ascii_graphic());
        if user.is_some_and(|user| !is_user(user)) {
            return Err(format!("{} has no valid name of a user", quoted()));
        }
        let user = user.map(str::to_owned);
        if scheme == "unix" {
            if !place.starts_with('/') || place.len() > MAX_PATH || place.contains(char::is_control) {
                return Err(format!(
                    "{} has no absolute path of at most {MAX_PATH} octets",
                    quoted()
                ));
            }
            let way = Way::Unix(place.into());
            return Ok(Self { way, user, database: 0 });
        }
        let (place, rest) = place.split_once('/').unwrap_or((place, ""));
        let is_sentinel = scheme.ends_with("+sentinel");
        let (name, database) = match rest.split_once('/') {
            _ if !is_sentinel => ("", rest),
            Some((name, database)) => (name, database),
            None => (rest, ""),
        };
        let database = match database {
            "" => 0,
            number if number.len() <= 5 && number.bytes().all(|c| c.is_ascii_digit()) => number.parse().unwrap_or(0),
            _ => return Err(format!("{} has no number of a database behind the host", quoted())),
        };
        let tls = scheme.starts_with("rediss");
        if is_sentinel {
            let way = Way::Sentinel(Sentinel::parse(place, name, tls).map_err(|why| format!("{}: {why}", quoted()))?);
            return Ok(Self { way, user, database });
        }
        let (host, port) =
            host_and_port(place, PORT).ok_or_else(|| format!("{} has no valid host and port", quoted()))?;
        let way = match (tls, host) {
            (false, host) => Way::Plain(host, port),
            (true, Host::Name(name)) => Way::Tls(name, port),
            (true, Host::Ip(_)) => return Err(format!("{}: TLS needs the name in the server's certificate", quoted())),
        };
        Ok(Self { way, user, database })
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.way, Way::Tls(..) | Way::Sentinel(Sentinel { tls: true, .. }))
    }

    /// Whether nobody outside this host can read or change what is said on the way there.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        match &self.way {
            Way::Unix(_) | Way::Tls(..) => true,
            Way::Plain(host, _) => host.is_loopback(),
            Way::Sentinel(all) => all.tls || all.hosts.iter().all(|(host, _)| host.is_loopback()),
        }
    }
}

/// Without its user, for a log.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Unix(path) => write!(f, "unix:{}", one_line(&path.to_string_lossy(), MAX_PATH)),
            Way::Plain(host, port) => write!(f, "redis://{host}:{port}"),
            Way::Tls(name, port) => write!(f, "rediss://{name}:{port}"),
            Way::Sentinel(Sentinel { hosts, name, tls }) => {
                f.write_str(if *tls { "rediss+sentinel:/" } else { "redis+sentinel:/" })?;
                for (number, (host, port)) in hosts.iter().enumerate() {
                    write!(f, "{}{host}:{port}", if number == 0 { '/' } else { ',' })?;
                }
                write!(f, "/{name}")
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Host {
    const fn is_loopback(&self) -> bool {
        matches!(self, Self::Ip(ip) if ip.is_loopback())
    }
}

impl Sentinel {
    fn parse(places: &str, name: &str, tls: bool) -> Result<Self, &'static str> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        if name.is_empty() || name.len() > MAX_USER || !name.bytes().all(plain) {
            return Err("no name of the servers is behind the hosts of Sentinel");
        }
        let hosts: Option<Vec<_>> = places
            .split(',')
            .map(|place| host_and_port(place, SENTINEL_PORT))
            .collect();
        let hosts = hosts.filter(|hosts| hosts.len() <= MOST_SENTINELS);
        let hosts = hosts.ok_or("no valid hosts and ports")?;
        if tls && hosts.iter().any(|(host, _)| matches!(host, Host::Ip(_))) {
            return Err("TLS needs the names in the servers' certificates");
        }
        let name = name.to_owned();
        Ok(Self { hosts, name, tls })
    }
}

/// `localhost` is this host whatever DNS says (RFC 6761 6.3).
fn host_and_port(text: &str, usual: u16) -> Option<(Host, u16)> {
    if let Some((ip, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = if rest.is_empty() {
            Some(usual)
        } else {
            port(rest.strip_prefix(':')?)
        };
        return Some((Host::Ip(IpAddr::V6(ip.parse().ok()?)), port?));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, number)) => (host, port(number)?),
        None => (text, usual),
    };
    let host = match host.parse::<Ipv4Addr>() {
        Ok(ip) => Host::Ip(ip.into()),
        Err(_) if host.eq_ignore_ascii_case("localhost") => Host::Ip(Ipv4Addr::LOCALHOST.into()),
        Err(_) => Host::Name(Domain::parse(host).ok()?),
    };
    Some((host, port))
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_printed() {
        for (text, printed, safe) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379", true),
            ("redis://localhost:6380/3", "redis://127.0.0.1:6380", true),
            ("redis://[::1]:7", "redis://[::1]:7", true),
            ("redis://192.0.2.1/0", "redis://192.0.2.1:6379", false),
            ("redis://Cache.Example", "redis://cache.example:6379", false),
            (
                "rediss://mtasts@cache.example:6380/0",
                "rediss://cache.example:6380",
                true,
            ),
            ("unix:/run/valkey.sock", "unix:/run/valkey.sock", true),
            ("unix://mtasts@/run/valkey.sock", "unix:/run/valkey.sock", true),
            (
                "redis+sentinel://localhost,[::1]:7/mail",
                "redis+sentinel://127.0.0.1:26379,[::1]:7/mail",
                true,
            ),
            (
                "redis+sentinel://a.example/mail/0",
                "redis+sentinel://a.example:26379/mail",
                false,
            ),
            (
                "rediss+sentinel://u@a.example:1,b.example/m",
                "rediss+sentinel://a.example:1,b.example:26379/m",
                true,
            ),
        ] {
            let address = Address::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (address.to_string().as_str(), address.is_safe()),
                (printed, safe),
                "{text}"
            );
            assert_eq!(address.user.is_some(), text.contains('@'), "{text}");
        }
        assert_eq!(Address::parse("redis://localhost:6380/3").unwrap().database, 3);
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        for (text, why) in [
            ("cache.example", "is not an address"),
            ("http://cache.example", "does not begin with"),
            ("redis://", "no valid host"),
            ("redis://cache.example:0", "no valid host"),
            ("redis://cache.example:65536", "no valid host"),
            ("redis://cache.example:+1", "no valid host"),
            ("redis://::1", "no valid host"),
            ("redis://[127.0.0.1]", "no valid host"),
            ("redis://a b", "no valid host"),
            ("redis://cache.example/x", "no number of a database"),
            ("redis://@cache.example", "name of a user"),
            ("redis://user:secret@cache.example", "put it into fleet_key_file"),
            ("rediss://192.0.2.1", "TLS needs the name"),
            ("unix:run/valkey.sock", "no absolute path"),
            ("redis+sentinel://a.example", "no name of the servers"),
            ("redis+sentinel://a.example/", "no name of the servers"),
            ("redis+sentinel://a.example,/mail", "no valid hosts"),
            ("rediss+sentinel://192.0.2.1/mail", "TLS needs the names"),
            ("redis+cluster://a.example", "does not begin with"),
            ("unix:/a\nb", "no absolute path"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
