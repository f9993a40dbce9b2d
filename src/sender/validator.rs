//! What the word of the setting `dane_resolver` on DNSSEC is worth.
//!
//! This library does not validate. A name server on this host that does is believed, and the setting `dane = auto` looks
//! hourly whether it does: it must say of a signed zone that it has validated it, and refuse a name whose signatures are
//! broken on purpose. What the choice leaves open is D-35.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use tokio::task::spawn;

use crate::network::dns::{DnsError, Servers, StubResolver};
use crate::protocol::names::Domain;
use crate::sender::settings::{Settings, Trust};

/// How long a verdict stands before the name server is tested again.
const LIFE: Duration = Duration::from_secs(3600);
/// When it is tested ahead of that, beside the mail: no delivery waits then.
const AHEAD: Duration = Duration::from_secs(2700);
/// How long a verdict stands if the test found nothing out, and how long one ahead may take.
const AGAIN: Duration = Duration::from_secs(60);

/// What a name server's word on DNSSEC is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Nothing is asked: `dane = off`.
    Off,
    /// The operator trusts it: `dane = trust`.
    Trusted,
    /// It validates, as far as a test can tell.
    Validates,
    /// Nothing listens there: DANE is not used, unless the name server validated before.
    Absent(String),
    /// It does not validate, or is not on this host, for this reason: DANE is not used.
    Unfit(String),
    /// The test found nothing out, for this reason. Hosts cannot be looked up, and mail waits.
    Unknown(String),
}

impl Worth {
    /// All words that [`Worth::name`] gives.
    pub const NAMES: [&'static str; 6] = ["off", "trusted", "validates", "absent", "unfit", "unknown"];

    /// One word for a table, stable.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Trusted => "trusted",
            Self::Validates => "validates",
            Self::Absent(_) => "absent",
            Self::Unfit(_) => "unfit",
            Self::Unknown(_) => "unknown",
        }
    }

    /// What is to be known before the first question: nothing for `auto`, unless the address alone decides.
    #[must_use]
    pub fn untested(settings: &Settings) -> Option<Self> {
        match settings.dane.trust {
            Trust::Nothing => Some(Self::Off),
            Trust::Anything => Some(Self::Trusted),
            Trust::Tested => foreign(settings.dane_resolver).map(Self::Unfit),
        }
    }
}

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "DANE is off",
            Self::Trusted => "the name server is trusted to validate, by the operator's word",
            Self::Validates => "the name server is on this host and validates",
            Self::Absent(why) | Self::Unfit(why) | Self::Unknown(why) => why,
        })
    }
}

/// Why `auto` does not count a name server, whatever it says.
fn foreign(server: SocketAddr) -> Option<String> {
    let ip = server.ip().to_canonical();
    if !ip.is_loopback() {
        return Some(format!(
            "the name server {server} is not on this host, and what it says of DNSSEC can be forged on the way"
        ));
    }
    // It has passed on the AD bit of the servers that it asks.
    let of_systemd = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)];
    of_systemd
        .map(IpAddr::V4)
        .contains(&ip)
        .then(|| format!("the name server {server} is systemd-resolved, which does not validate for its clients"))
}

/// What the settings' name server is worth now. It is asked on the calling thread, unless the settings alone decide.
#[must_use]
pub fn examine(settings: &Settings, deadline: Instant) -> Worth {
    Worth::untested(settings).unwrap_or_else(|| {
        let dns = StubResolver::validating(settings.dane_resolver);
        let test = async |servers: Servers| Ok(tested(&servers, &settings.dane_bogus_name).await);
        dns.together(deadline, test)
            .unwrap_or_else(|error| Worth::Unknown(format!("the name server cannot be tested: {error}")))
    })
}

/// Tests the name server. `bogus` is a name whose signatures are broken on purpose.
pub async fn tested(servers: &Servers, bogus: &Domain) -> Worth {
    // A question to nobody would take all its time.
    if servers.nobody_listens() {
        return Worth::Absent("no name server listens at the address of dane_resolver".into());
    }
    let (there, name) = (servers.clone(), bogus.clone());
    let refuses = spawn(async move { there.answers_for(&name).await });
    match servers.validates_the_root().await {
        Ok(true) => {}
        Ok(false) => return Worth::Unfit("it says of no answer about the root that it has validated it".into()),
        Err(error @ (DnsError::ServFail | DnsError::Timeout | DnsError::Own(_))) => {
            return Worth::Unknown(format!("the name servers of the root cannot be looked up: {error}"));
        }
        Err(error) => return Worth::Unfit(format!("the name servers of the root cannot be looked up: {error}")),
    }
    match refuses.await {
        Ok(Err(DnsError::ServFail)) => Worth::Validates,
        Ok(Ok(()) | Err(DnsError::NxDomain | DnsError::NoData)) => Worth::Unfit(format!(
            "it answers for {bogus}, whose signatures are broken on purpose, so that it does not validate"
        )),
        Ok(Err(error)) => Worth::Unknown(format!("{bogus} cannot be looked up: {error}")),
        Err(_) => Worth::Unknown("a defect of libmtasts (a panic)".into()),
    }
}

/// What the last test of a process has shown. The locks are only tried, as all that a resolver shares.
#[derive(Debug, Default)]
pub(crate) struct Tests {
    last: RwLock<Option<(Worth, Instant)>>,
    /// When a test was begun ahead of time.
    begun: RwLock<Option<Instant>>,
}

impl Tests {
    /// The last verdict, and whether it is time for another test.
    pub(crate) fn last(&self) -> (Option<Worth>, bool) {
        let Ok(last) = self.last.try_read() else {
            return (None, true);
        };
        let Some((worth, at)) = &*last else {
            return (None, true);
        };
        (Some(worth.clone()), at.elapsed() >= life(worth))
    }

    /// Whether the verdict is old enough for a test ahead, and no other one was begun just now. Then this one has begun.
    pub(crate) fn begin_ahead(&self, now: Instant) -> bool {
        let is_old = self.last.try_read().is_ok_and(|last| {
            last.as_ref().is_some_and(|(worth, at)| {
                let age = now.saturating_duration_since(*at);
                life(worth) == LIFE && (AHEAD..LIFE).contains(&age)
            })
        });
        let Ok(mut begun) = self.begun.try_write() else {
            return false;
        };
        // A child that was forked has no thread of its parent: it begins one of its own after a while.
        let is_under_way = begun.is_some_and(|begun| now.saturating_duration_since(begun) < AGAIN);
        let begins = is_old && !is_under_way;
        if begins {
            *begun = Some(now);
        }
        begins
    }

    /// Whether this was the last verdict; else it is now. For a verdict that no test gives.
    pub(crate) fn is_known(&self, worth: &Worth) -> bool {
        let is_last = self.last().0.as_ref() == Some(worth);
        if !is_last {
            self.note(worth.clone());
        }
        is_last
    }

    /// Keeps a verdict, and gives the one that stands now, and whether that is news. A test that found nothing out leaves
    /// the verdict before it: an attacker who cuts this host off must not switch DANE off.
    pub(crate) fn note(&self, worth: Worth) -> (Worth, bool) {
        let Ok(mut last) = self.last.try_write() else {
            return (worth, false);
        };
        let stands = match (&*last, worth) {
            (Some((before, _)), Worth::Unknown(_)) => before.clone(),
            // It is being restarted.
            (Some((before @ Worth::Validates, _)), Worth::Absent(_)) => before.clone(),
            (_, worth) => worth,
        };
        let is_news = last.as_ref().is_none_or(|(before, _)| *before != stands);
        *last = Some((stands.clone(), Instant::now()));
        (stands, is_news)
    }
}

/// How long a verdict stands.
const fn life(worth: &Worth) -> Duration {
    match worth {
        Worth::Unknown(_) | Worth::Absent(_) => AGAIN,
        _ => LIFE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(dane: &str, server: &str) -> Option<&'static str> {
        let mut settings = Settings::default();
        settings.set("dane", dane).unwrap();
        settings.set("dane_resolver", server).unwrap();
        Worth::untested(&settings).map(|worth| worth.name())
    }

    #[test]
    fn auto_counts_a_name_server_of_this_host_alone() {
        for server in [
            "127.0.0.1",
            "127.0.0.1:5353",
            "127.9.9.9",
            "::1",
            "[::ffff:127.0.0.1]:53",
        ] {
            assert_eq!(worth("auto", server), None, "{server}");
        }
        for server in [
            "127.0.0.53",
            "127.0.0.54:53",
            "[::ffff:127.0.0.53]:53",
            "192.0.2.1",
            "10.0.0.1",
            "2001:db8::1",
        ] {
            assert_eq!(worth("auto", server), Some("unfit"), "{server}");
            assert_eq!(worth("trust", server), Some("trusted"), "{server}");
            assert_eq!(worth("off", server), Some("off"), "{server}");
        }
    }

    #[test]
    fn a_test_ahead_begins_once_and_in_time() {
        let tests = Tests::default();
        let after = |minutes: u64| Instant::now() + Duration::from_secs(minutes * 60);
        assert!(!tests.begin_ahead(after(50)), "there is no verdict");
        tests.note(Worth::Validates);
        assert!(!tests.begin_ahead(after(40)));
        assert!(tests.begin_ahead(after(50)));
        assert!(!tests.begin_ahead(after(50)), "it is under way");
        assert!(tests.begin_ahead(after(52)), "that one was lost");
        assert!(
            !tests.begin_ahead(after(61)),
            "the verdict is over, and a question waits for the test"
        );
        tests.note(Worth::Absent("nobody".into()));
        tests.note(Worth::Unfit("answers".into()));
        assert!(tests.begin_ahead(after(55)));
    }

    #[test]
    fn a_test_that_found_nothing_out_leaves_the_verdict_before_it() {
        let tests = Tests::default();
        assert_eq!(tests.last(), (None, true));
        let unknown = || Worth::Unknown("silence".into());
        assert_eq!(tests.note(unknown()), (unknown(), true));
        assert_eq!(tests.note(Worth::Validates), (Worth::Validates, true));
        assert_eq!(tests.note(unknown()), (Worth::Validates, false));
        assert_eq!(tests.last(), (Some(Worth::Validates), false));
        let unfit = || Worth::Unfit("answers".into());
        assert_eq!(tests.note(unfit()), (unfit(), true));
        assert_eq!(tests.note(unknown()), (unfit(), false));
        let absent = || Worth::Absent("nobody".into());
        assert_eq!(tests.note(absent()), (absent(), true));
        assert_eq!(tests.note(Worth::Validates), (Worth::Validates, true));
        assert_eq!(tests.note(absent()), (Worth::Validates, false));
    }
}
