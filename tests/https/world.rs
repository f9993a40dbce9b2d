//! A policy host on a small Internet, and what it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mtasts::network::addresses::Rule;
use mtasts::network::dns::StubResolver;
use mtasts::network::https::{FetchError, Https as _, PolicyHost};
use mtasts::network::roots::Roots;
use mtasts::{Domain, ResultType};
use mtasts_kit::dns_server::{DnsServer, Reply, address};
use mtasts_kit::pki::{Authority, Host, host, root, roots};
use mtasts_kit::policy_server::{PolicyServer, isolate};

pub(crate) const POLICY: &str = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";
pub(crate) const HOST: &str = "mta-sts.example.com";

/// A small Internet: one authority, and `mta-sts.example.com` at these addresses.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) dns: DnsServer,
}

impl World {
    pub(crate) fn new(addresses: &'static [&'static str]) -> Self {
        isolate(&["8.8.8.1", "8.8.8.2", "8.8.8.3", "2600::1"]);
        let dns = DnsServer::start(move |asked| {
            let records: Vec<_> = addresses.iter().map(|ip| address(&asked.name, ip)).collect();
            let records: Vec<_> = records.into_iter().filter(|r| r.record_type() == asked.kind).collect();
            match (asked.name.as_str(), records.is_empty()) {
                (HOST, false) => Reply::answers(records),
                (HOST, true) if !addresses.is_empty() => Reply::nodata(),
                _ => Reply::nxdomain(),
            }
        });
        Self {
            authority: root("Test Root"),
            dns,
        }
    }

    pub(crate) fn certificate(&self) -> Host {
        host(&[HOST], &self.authority, |_| {})
    }

    pub(crate) fn policy_host(&self, allowed: &[&str]) -> PolicyHost {
        let allowed = allowed.iter().map(|network| network.parse().expect(network)).collect();
        self.policy_host_by(Rule {
            allowed,
            ..Rule::default()
        })
    }

    pub(crate) fn policy_host_by(&self, addresses: Rule) -> PolicyHost {
        let roots: Arc<Roots> = Arc::new(roots(&[&self.authority]));
        let dns = StubResolver::with_servers(&[self.dns.address]);
        PolicyHost::new(Arc::new(dns), Arc::new(move || Ok(Arc::clone(&roots))), addresses)
    }

    pub(crate) fn get_within(&self, time: Duration) -> Result<String, FetchError> {
        let body = self.policy_host(&[]).get(&domain(), Instant::now() + time)?;
        Ok(String::from_utf8(body).expect("UTF-8"))
    }

    pub(crate) fn get(&self) -> Result<String, FetchError> {
        self.get_within(Duration::from_secs(20))
    }

    /// The error of a fetch that has to fail, with a part of its words.
    pub(crate) fn refused(&self, result: ResultType, words: &str) -> FetchError {
        let error = self.get().expect_err(words);
        assert_eq!(error.result(), Some(result), "{error}");
        assert!(error.detail().contains(words), "expected {words:?} in: {error}");
        error
    }

    pub(crate) fn fetch_error(&self, words: &str) -> FetchError {
        self.refused(ResultType::StsPolicyFetchError, words)
    }
}

pub(crate) fn domain() -> Domain {
    Domain::parse("example.com").expect("a domain")
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn policy_answer() -> String {
    answer("200 OK", "Content-Type: text/plain\r\n", POLICY)
}

/// What a world with one host gives for an answer.
pub(crate) fn get_of(answer: impl Into<Vec<u8>>) -> Result<String, FetchError> {
    let world = World::new(&["8.8.8.1"]);
    let _server = PolicyServer::says("8.8.8.1", &world.certificate(), answer);
    world.get()
}

pub(crate) fn is_fetch_error(result: &Result<String, FetchError>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.result() == Some(ResultType::StsPolicyFetchError))
}

pub(crate) fn with_length(body: &str) -> Vec<u8> {
    answer("200 OK", "Content-Type: text/plain\r\n", body).into_bytes()
}

pub(crate) fn chunked(body: &str, size: usize) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.as_bytes().chunks(size) {
        answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
        answer.extend(chunk);
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

pub(crate) fn until_closed(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

pub(crate) fn dns_of_one() -> DnsServer {
    DnsServer::start(|asked| match asked.kind {
        RecordType::A => Reply::answers(vec![address(&asked.name, "8.8.8.1")]),
        _ => Reply::nodata(),
    })
}
