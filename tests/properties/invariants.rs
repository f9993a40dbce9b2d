//! What holds for every input, however hostile. The property tests and the fuzz targets feed the same functions; each
//! panics where its invariant is broken.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

use std::collections::HashSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::from_utf8;
use std::time::{Duration, Instant};

use mtasts::cache::entry::Entry;
use mtasts::cache::sealed::{Secrets, open, seal};
use mtasts::network::roots::Roots;
use mtasts::network::valkey::Reply;
use mtasts::protocol::certificate::check_chain;
use mtasts::protocol::certificate::check_name;
use mtasts::protocol::mx::MxPattern;
use mtasts::protocol::policy::{MAX_MAX_AGE, MAX_POLICY, WarningKind};
use mtasts::protocol::record::MAX_ID;
use mtasts::protocol::record::Record;
use mtasts::report::{Destination, ReportRecord};
use mtasts::sender::exceptions::Exceptions;
use mtasts::{Answer, Domain, Mode, Policy, Settings};
use rustls_pki_types::UnixTime;

/// TXT records, one a line.
pub(crate) fn record(data: &[u8]) {
    let records: Vec<&[u8]> = data.split(|c| *c == b'\n').collect();
    let found = Record::find(&records);
    let announcing = records.iter().filter(|r| r.starts_with(b"v=STSv1;")).count();
    if announcing > 1 {
        assert!(found.is_err(), "one of {announcing} records was chosen");
    }
    for record in &records {
        match Record::parse(record) {
            Ok(read) => {
                is_an_id(read.id.as_str());
                assert_eq!(Record::parse(read.to_string().as_bytes()).as_ref(), Ok(&read));
                assert!(records.len() > 1 || found.as_ref() == Ok(&read));
            }
            Err(error) => says_something(&error),
        }
    }
}

/// TXT records at `_smtp._tls`, one a line.
pub(crate) fn report_record(data: &[u8]) {
    let records: Vec<&[u8]> = data.split(|c| *c == b'\n').collect();
    if records.iter().filter(|r| r.starts_with(b"v=TLSRPTv1;")).count() > 1 {
        assert!(
            ReportRecord::find(&records).is_err(),
            "one of several records was chosen"
        );
    }
    for record in &records {
        let read = match ReportRecord::parse(record) {
            Ok(read) => read,
            Err(error) => {
                says_something(&error);
                continue;
            }
        };
        assert!((1..=5).contains(&read.destinations().len()));
        assert!(read.text().len() <= 1535 && read.text().bytes().all(|c| matches!(c, b'\t' | b' '..=b'~')));
        let again = ReportRecord::parse(read.text().as_bytes()).expect("what we pass on is valid");
        assert_eq!((again.destinations(), again.left_out()), (read.destinations(), 0));
        for destination in read.destinations() {
            assert_eq!(Destination::parse(destination.uri()).as_ref(), Some(destination));
            if let Destination::Mail { address, .. } = destination {
                let (local, domain) = address.rsplit_once('@').expect("an address");
                assert!(
                    !local.contains(['@', ' ', '"', ',', ';', '<', '>', '|', '/', '\r', '\n']),
                    "{address}"
                );
                assert!(
                    Domain::parse(domain).is_ok_and(|name| name.as_str() == domain),
                    "{address}"
                );
            }
        }
    }
}

/// The body of a policy file.
pub(crate) fn policy(data: &[u8]) {
    let (policy, warnings) = match Policy::parse(data) {
        Ok(read) => read,
        Err(error) => {
            assert!(error.line <= data.split(|c| *c == b'\n').count());
            return says_something(&error);
        }
    };
    assert!(data.len() <= MAX_POLICY && policy.max_age() <= MAX_MAX_AGE);
    assert!(policy.mode() == Mode::None || policy.mx().len() > 0);
    let mut seen = HashSet::new();
    for pattern in policy.mx() {
        assert_eq!(MxPattern::parse(pattern.as_str()), Ok(pattern));
        assert!(seen.insert(pattern), "{pattern} twice");
    }
    for (index, warning) in warnings.iter().enumerate() {
        assert!(warnings[..index].iter().all(|w| w.kind != warning.kind));
        says_something(warning);
    }
    let printed = policy.to_string();
    let (again, warnings) = Policy::parse(printed.as_bytes()).expect("what we print is valid");
    assert_eq!(again, policy);
    assert!(
        warnings.iter().all(|w| w.kind == WarningKind::MxIpLiteral),
        "{warnings:?}"
    );
}

/// A policy domain or an MX host.
pub(crate) fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let domain = match Domain::parse(&text) {
        Ok(domain) => domain,
        Err(error) => return says_something(&error),
    };
    let name = domain.as_str();
    assert!(name.len() <= 253);
    for label in name.split('.') {
        assert!((1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-'));
        assert!(
            label
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        );
    }
    assert!(name.parse::<IpAddr>().is_err(), "{name} is an address");
    for spelling in [name.to_owned(), format!("{name}."), name.to_ascii_uppercase()] {
        assert_eq!(Domain::parse(&spelling).as_ref(), Ok(&domain), "{spelling}");
    }
}

/// A pattern, a line end, an MX host.
pub(crate) fn mx_match(data: &[u8]) {
    let Some((pattern, host)) = from_utf8(data).ok().and_then(|text| text.split_once('\n')) else {
        return;
    };
    let Ok(host) = Domain::parse(host) else { return };
    if let Ok(pattern) = MxPattern::parse(pattern) {
        assert_eq!(pattern.matches(&host), label_by_label(pattern.as_str(), host.as_str()));
    }
    // The same by way of a policy, where patterns have more spellings.
    let text = format!("version: STSv1\nmode: testing\nmax_age: 1\nmx: {pattern}");
    if let Ok((policy, _)) = Policy::parse(text.as_bytes()) {
        let pattern = pattern.trim_matches([' ', '\t', '\r']);
        let pattern = pattern.strip_suffix('.').unwrap_or(pattern);
        assert_eq!(policy.allows_mx(&host), label_by_label(pattern, host.as_str()));
    }
}

/// RFC 8461 4.1 once more, in another way: as many labels on both sides, and each pair is equal but for the first, which
/// may be a `*`.
fn label_by_label(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    let mut pairs = pattern.iter().zip(&host).enumerate();
    pattern.len() == host.len() && pairs.all(|(at, (p, h))| p.eq_ignore_ascii_case(h) || (at == 0 && *p == "*"))
}

/// A file of the cache, and the same octets as the body behind a digest that fits.
pub(crate) fn entry(data: &[u8]) {
    let domain = Domain::parse("example.com").expect("a name");
    let whole = Entry::from_file(&domain, data, NOW);
    for read in [whole, Entry::from_file(&domain, &signed(data), NOW)] {
        match read {
            Ok(entry) => {
                keeps_its_promises(&entry);
                reads_back(&entry);
            }
            Err(error) => says_something(&error),
        }
    }
}

/// What an entry writes, it reads.
pub(crate) fn reads_back(entry: &Entry) {
    let again = Entry::from_file(&entry.domain, entry.to_file().as_bytes(), u64::MAX).expect("a file of ours");
    assert_eq!(&again, entry);
    assert_eq!(again.to_file(), entry.to_file());
}

/// What a host of a fleet finds on the server: as it came, and as a time and a file that somebody with the key has sealed.
pub(crate) fn sealed(data: &[u8]) {
    let secrets = Secrets::parse(&format!("key {}\n", "ab".repeat(32))).expect("a key");
    let domain = Domain::parse("example.com").expect("a name");
    assert!(open(&secrets, &domain, data, NOW).is_err(), "a seal by chance");
    let Some((time, body)) = data.split_first_chunk::<8>() else {
        return;
    };
    // Near the present, where it matters.
    let time = (u64::from_le_bytes(*time) % 4096 + NOW).saturating_sub(2048);
    let file = signed(body);
    let text = [format!("mtasts-fleet 1 {time}\n").as_bytes(), &file].concat();
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[0xab; 32]), &text);
    let tag: String = tag.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    let text = [format!("mtasts-fleet 1 {time} {tag}\n").as_bytes(), &file].concat();
    match open(&secrets, &domain, &text, NOW) {
        Ok(entry) => {
            keeps_its_promises(&entry);
            assert!(time <= NOW + 300 && !entry.is_empty());
            assert!(
                entry.txt.is_none() && entry.pinned_until.is_none() && entry.used.is_none() && entry.imported.is_none()
            );
            let again = open(&secrets, &domain, seal(&secrets, &entry).as_bytes(), NOW);
            assert_eq!(again, Ok(entry));
        }
        Err(error) => says_something(&error),
    }
}

/// What a Valkey or Redis server answers.
pub(crate) fn reply(data: &[u8]) {
    let mut rest = data;
    while let Ok(reply) = Reply::read(&mut rest) {
        assert!(size(&reply) <= 128 * 1024);
    }
}

/// The octets in a reply.
fn size(reply: &Reply) -> usize {
    match reply {
        Reply::Status(text) | Reply::Error(text) | Reply::Bulk(text) => text.len(),
        Reply::Number(_) | Reply::Nothing => 1,
        Reply::List(list) => list.iter().map(size).sum(),
    }
}

/// When the files of [`entry`] were written.
const NOW: u64 = 1_800_000_000;

/// What the interfaces say of ids, texts and times, of an entry that was read.
fn keeps_its_promises(entry: &Entry) {
    let latest = NOW + u64::from(MAX_MAX_AGE);
    if let Some(cached) = &entry.cached {
        is_an_id(cached.id.as_str());
        assert!(cached.fetched <= NOW && cached.expires() <= latest);
    }
    if let Some(failed) = &entry.failed {
        is_an_id(failed.id.as_str());
        assert!(failed.at <= NOW && failed.detail.len() <= 500 && !failed.detail.chars().any(char::is_control));
    }
    if let Some(txt) = &entry.txt {
        assert!(txt.at <= NOW && txt.next <= latest);
    }
    let past = [
        entry.unlearned_since,
        entry.mode_since,
        entry.imported,
        entry.used,
        entry.idle_since,
    ];
    assert!(past.into_iter().flatten().all(|time| time <= NOW));
    assert!(entry.pinned_until.is_none_or(|until| until <= latest));
}

/// The answer of a name server.
#[cfg(feature = "inside")]
pub(crate) fn dns(data: &[u8]) {
    let Some((txt, mx)) = mtasts::testing::dns_answer(data, "_mta-sts.example.com") else {
        return;
    };
    match txt {
        Ok(txt) => {
            assert!(!txt.data.is_empty());
            txt.data.iter().for_each(|found| record(found));
        }
        Err(error) => says_something(&error),
    }
    match mx {
        Ok(mx) => {
            let mx = mx.data;
            assert!(!mx.is_empty() && mx.is_sorted());
            for host in mx {
                assert!(host.exchange.bytes().all(|c| (b'!'..=b'~').contains(&c)) && host.exchange.len() <= 1020);
            }
        }
        Err(error) => says_something(&error),
    }
}

/// The answer of a policy host.
#[cfg(feature = "inside")]
pub(crate) fn http(data: &[u8]) {
    match mtasts::testing::http_answer(data) {
        Ok(body) => {
            let text = String::from_utf8_lossy(data).to_ascii_lowercase();
            assert!(body.len() <= MAX_POLICY && text.contains("200") && text.contains("text/plain"));
            policy(&body);
        }
        Err(why) => assert!(
            !why.is_empty() && why.bytes().all(|c| (b' '..=b'~').contains(&c)),
            "{why:?}"
        ),
    }
}

/// A message of a helper: a head, and behind an empty line the body of an entry's file, to which a digest is made.
#[cfg(feature = "inside")]
pub(crate) fn wire(data: &[u8]) {
    let domain = Domain::parse("example.com").expect("a name");
    let split = data
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .map_or(data.len(), |at| at + 2);
    let (head, body) = data.split_at(split);
    for message in [data.to_vec(), [head, &signed(body)].concat()] {
        match mtasts::testing::helper_message(&domain, &message, NOW) {
            Some(Ok((answer, entry))) => {
                keeps_its_promises(&entry);
                answer_keeps_its_promises(&answer);
            }
            Some(Err(why)) => assert!(is_one_line(&why), "{why:?}"),
            None => {}
        }
    }
}

/// What the C interface says of the texts and times of an answer.
pub(crate) fn answer_keeps_its_promises(answer: &Answer) {
    let latest = NOW + u64::from(MAX_MAX_AGE);
    if let Some(cached) = answer.cached() {
        is_an_id(cached.id.as_str());
        assert!(cached.fetched <= NOW && (NOW..=latest).contains(&cached.expires()));
    }
    assert!(answer.defer_until().is_none_or(|until| until <= latest));
    assert!(answer.pinned_until().is_none() && answer.exception().is_none());
    let texts = [
        answer.warning(),
        answer.alert(),
        answer.failure().map(|failure| &*failure.detail),
    ];
    assert!(texts.into_iter().flatten().all(is_one_line));
    assert!(is_one_line(&answer.explain()));
}

fn is_one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// The file of an entry with this body.
fn signed(body: &[u8]) -> Vec<u8> {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    let sum: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    [format!("mtasts 1 {sum}\n").as_bytes(), body].concat()
}

fn is_an_id(id: &str) {
    assert!(
        (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric()),
        "{id:?}"
    );
}

/// Certificates, each behind its length in two octets.
pub(crate) fn chain(mut data: &[u8], roots: &Roots) {
    let mut chain = Vec::new();
    while let [high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (certificate, rest) = rest.split_at(length);
        chain.push(certificate);
        data = rest;
    }
    let host = Domain::parse("mx.example.com").expect("a name");
    let at = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let start = Instant::now();
    let checked = check_chain(&host, &chain, roots.anchors(), at);
    // Milliseconds, in a build for use on a machine that is not busy.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    match checked {
        Ok(()) => assert_eq!(check_name(&host, chain[0]), Ok(())),
        Err(failure) => {
            assert!(!failure.reason.is_empty() && failure.reason.len() <= 512, "{failure}");
            assert!(
                failure.reason.bytes().all(|c| (b' '..=b'~').contains(&c)),
                "{failure:?}"
            );
        }
    }
}

/// A file of roots: each certificate is read, or the file is refused.
pub(crate) fn roots(data: &[u8]) {
    let roots = match Roots::from_pem(data) {
        Ok(roots) => roots,
        Err(error) => return says_something(&error),
    };
    let begins = |line: &&[u8]| {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        ["", "X509 ", "TRUSTED "]
            .iter()
            .any(|kind| line.starts_with(format!("-----BEGIN {kind}CERTIFICATE-----").as_bytes()))
    };
    let begun = data.split(|c| *c == b'\n').filter(begins).count();
    assert_eq!((roots.certificates().len(), roots.anchors().len()), (begun, begun));
    assert!(begun > 0 && roots.warning().is_none());
}

/// A settings file.
pub(crate) fn settings(data: &[u8]) {
    let (mut settings, text) = (Settings::default(), String::from_utf8_lossy(data));
    if let Err(error) = settings.read(&text) {
        says_something(&error);
        assert_eq!(settings, Settings::default(), "a bad file changes nothing");
    }
}

/// A file of exceptions.
pub(crate) fn exceptions(data: &[u8]) {
    match Exceptions::parse(&String::from_utf8_lossy(data)) {
        Ok(exceptions) => {
            for exception in exceptions.iter() {
                says_something(exception);
                let (domain, until) = (&exception.domain, exception.until);
                assert_eq!(exceptions.find(domain, until).map(|found| &**found), Some(exception));
                assert_eq!(exceptions.find(domain, until.saturating_add(1)), None);
            }
        }
        Err(error) => says_something(&error),
    }
}

/// Errors and warnings go to logs: one line, and not empty.
fn says_something(message: &impl Display) {
    let text = message.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}
