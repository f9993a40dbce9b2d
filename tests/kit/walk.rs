//! What every mail server does with one mail: the MX hosts in order, and at each of them EHLO, STARTTLS, the handshake
//! and the mail. After each sight of a host it asks whether it may go on (RFC 8461 5).

use mtasts::{NoHost, Seen};
use mtasts_lab::judge::{End, Fate};

use crate::client::{accepting, command, encrypt, greet, mail, mx_hosts};

/// What the mail server has seen.
pub enum Saw {
    /// The DNS denies that there is an MX host.
    NoMx(NoHost),
    /// The name of a host, before it connects; then what there is in place of TLS.
    Host(Seen),
    /// The host's certificates, its own first.
    Certificates(Vec<Vec<u8>>),
}

/// Sends one mail to a domain. `may` is told the host and what was seen of it. Nothing means: skip this host, and do not
/// bounce the mail. Otherwise the mail server goes on, and if the host takes the mail, this is what became of it.
pub fn send(domain: &str, mut may: impl FnMut(&str, Saw) -> Option<End>) -> Fate {
    let (end, host) = match mx_hosts(domain) {
        Ok(Err(why)) if may(domain, Saw::NoMx(why)).is_some() => (End::Bounced, None),
        Ok(Ok(hosts)) => hosts
            .into_iter()
            .find_map(|host| Some((try_host(domain, &host, &mut may)?, Some(host))))
            .unwrap_or((End::Deferred, None)),
        _ => (End::Deferred, None),
    };
    Fate::new(domain, end, host)
}

fn try_host(domain: &str, host: &str, may: &mut impl FnMut(&str, Saw) -> Option<End>) -> Option<End> {
    may(host, Saw::Host(Seen::Name))?;
    let to = format!("someone@{domain}");
    let (mut stream, offered) = greet(host).ok()?;
    let no_tls = if !offered {
        Seen::StarttlsNotOffered
    } else if command(&mut stream, "STARTTLS").ok()?.code != 220 {
        Seen::StarttlsRefused
    } else {
        match encrypt(&accepting(), host, stream) {
            Err(error) => Seen::HandshakeFailed(error.to_string()),
            Ok(mut stream) => {
                let chain = stream.conn.peer_certificates().unwrap_or_default();
                let end = may(host, Saw::Certificates(chain.iter().map(|one| one.to_vec()).collect()))?;
                command(&mut stream, "EHLO sender.test").ok()?;
                return mail(&mut stream, &to).is_ok().then_some(end);
            }
        }
    };
    let end = may(host, Saw::Host(no_tls))?;
    // In clear, over a new connection: the old one may be in the middle of a handshake.
    let (mut stream, _) = greet(host).ok()?;
    mail(&mut stream, &to).is_ok().then_some(end)
}
