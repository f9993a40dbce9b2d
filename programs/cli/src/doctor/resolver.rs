//! The name servers: whether each answers, how fast, and whether it says that it validates DNSSEC. One question, `. NS`, which
//! every recursive name server can answer, and which is signed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::finding::{Code, Finding};
use mtasts::network::dns::system_servers;
use mtasts::sender::settings::Settings;
use mtasts::sender::validator::{Worth, examine};

/// How long an answer is waited for before the question is sent again, and how often.
const PATIENCE: Duration = Duration::from_millis(1200);
const TRIES: u32 = 2;
/// Above this, mail is held up by each lookup.
const SLOW: Duration = Duration::from_secs(1);

/// A header that desires recursion (RD) and shows interest in AD (RFC 6840 5.7), and the question `. NS IN`. The identifier
/// comes first.
const QUESTION: [u8; 17] = [0, 0, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// What a name server answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// The response code; 0 is no error.
    code: u8,
    /// The AD bit.
    authenticated: bool,
}

pub(super) fn look(settings: &Settings, found: &mut Vec<Finding>) {
    let (servers, whence) = if settings.nameservers.is_empty() {
        match system_servers() {
            Ok(servers) => (servers.to_vec(), "/etc/resolv.conf"),
            Err(error) => {
                found.push(Finding::new(Code::ResolverUnknown, error.to_string()));
                return;
            }
        }
    } else {
        (settings.nameservers.clone(), "the setting nameservers")
    };
    let asked: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter()
            .map(|server| scope.spawn(move || (*server, Instant::now(), ask(*server), Instant::now())))
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let answers = asked
        .iter()
        .any(|(_, _, answer, _)| answer.as_ref().is_ok_and(|answer| good(answer.code)));
    if !answers {
        let why = asked.iter().map(|(server, _, answer, _)| match answer {
            Ok(answer) => format!("{server}: {}", code_name(answer.code)),
            Err(error) => format!("{server}: {error}"),
        });
        found.push(Finding::new(
            Code::ResolversFail,
            format!(
                "no name server answers ({}). Policies that are not cached cannot be looked up: repair the name server, or \
                 {whence}",
                why.collect::<Vec<_>>().join("; ")
            ),
        ));
        return;
    }
    for (server, begun, answer, ended) in asked {
        let took = ended - begun;
        let milliseconds = took.as_millis();
        found.push(match answer {
            Err(error) => Finding::new(
                Code::ResolverSilent,
                format!(
                    "{server}: {error}. Lookups ask it first or wait for it: repair it, or remove it from {whence}"
                ),
            ),
            Ok(answer) if !good(answer.code) => Finding::new(
                Code::ResolverFails,
                format!(
                    "{server} answers {}. Repair it, or remove it from {whence}",
                    code_name(answer.code)
                ),
            ),
            Ok(_) if took > SLOW => Finding::new(
                Code::ResolverSlow,
                format!("{server} answers after {milliseconds} ms. Repair it, or name another one in {whence}"),
            ),
            Ok(answer) => {
                let validates = match answer.authenticated {
                    true => "and says that it validates DNSSEC",
                    false => "and does not say that it validates DNSSEC, which MTA-STS does not need",
                };
                Finding::new(
                    Code::Resolver,
                    format!("{server} answers after {milliseconds} ms {validates}"),
                )
            }
        });
    }
}

/// What the word of the name server for DANE is worth.
pub(super) fn look_for_dane(settings: &Settings, found: &mut Vec<Finding>) {
    let (server, worth) = (
        settings.dane_resolver,
        examine(settings, Instant::now() + settings.timeout),
    );
    found.push(match &worth {
        Worth::Off => Finding::new(Code::DaneResolver, "DANE is off (the setting dane)"),
        Worth::Trusted | Worth::Validates => Finding::new(Code::DaneResolver, format!("{server}: {worth}")),
        Worth::Absent(_) | Worth::Unfit(_) => Finding::new(
            Code::DaneResolverUnfit,
            format!(
                "{server}: {worth}. DANE is not used, and MTA-STS alone decides. Run a name server on this host that \
                 validates, or set dane to off"
            ),
        ),
        Worth::Unknown(_) => Finding::new(
            Code::DaneResolverUnknown,
            format!("{server}: {worth}. No host can be looked up for DANE, and mail waits. Repair that name server"),
        ),
    });
}

/// No error and "no such name" are answers.
const fn good(code: u8) -> bool {
    matches!(code, 0 | 3)
}

fn code_name(code: u8) -> String {
    match code {
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        code => format!("the error {code}"),
    }
}

/// Asks one name server.
fn ask(server: SocketAddr) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    // It is no secret: an attacker gains nothing by a forged answer here.
    let id = socket.local_addr()?.port().to_be_bytes();
    let mut question = QUESTION;
    question[..2].copy_from_slice(&id);
    for _ in 0..TRIES {
        socket.send(&question)?;
        let until = Instant::now() + PATIENCE;
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left))?;
            let mut octets = [0; 1500];
            match socket.recv(&mut octets) {
                Ok(length) => {
                    if let Some(answer) = read(&octets[..length], id) {
                        return Ok(answer);
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(io::Error::other("no answer"))
}

/// The header of an answer to our question.
fn read(octets: &[u8], id: [u8; 2]) -> Option<Answer> {
    let header = octets.first_chunk::<12>()?;
    let is_answer = header[..2] == id && header[2] & 0x80 != 0;
    is_answer.then_some(Answer {
        code: header[3] & 0x0f,
        authenticated: header[3] & 0x20 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_an_answer() {
        let answer = |third, fourth| read(&[7, 8, third, fourth, 0, 1, 0, 0, 0, 0, 0, 0], [7, 8]);
        let good = |authenticated| Some(Answer { code: 0, authenticated });
        assert_eq!(answer(0x81, 0xa0), good(true));
        assert_eq!(answer(0x81, 0x80), good(false));
        assert_eq!(answer(0x81, 0x85).map(|answer| answer.code), Some(5));
        assert_eq!(answer(0x01, 0x20), None, "a question");
        assert_eq!(read(&[7, 9, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0], [7, 8]), None);
        assert_eq!(read(&[7, 8, 0x81], [7, 8]), None);
    }
}
