//! Domains told apart by how their policy host serves the policy (RFC 8461 3.3).

use crate::behaviour::{Certificate, Fault, Https};
use crate::entry::{At, Entry};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const FETCH: &str = "sts-policy-fetch-error";
const WEBPKI: &str = "sts-webpki-invalid";

pub(super) fn entries() -> Vec<Entry> {
    let good: &[(&str, Https, &str)] = &[
        (
            "https-cache",
            Https::Cacheable,
            "the answer has ETag, Age and Cache-Control",
        ),
        ("https-upper", Https::TypeUpper, "the media type is written TEXT/PLAIN"),
        ("https-charset", Https::TypeParameters, "the media type has parameters"),
        ("https-chunked", Https::Chunked, "the answer comes in chunks"),
        (
            "https-close",
            Https::UntilClose,
            "the answer has no length and ends with the connection",
        ),
        ("https-64k", Https::Exactly64k, "the policy has exactly 65536 octets"),
    ];
    let bad: &[(&str, Https, &str)] = &[
        ("https-65k", Https::Over64k, "the policy has 65537 octets"),
        ("https-203", Https::Status203, "status 203 with the policy"),
        ("https-204", Https::Status204, "status 204 with the policy"),
        ("https-206", Https::Status206, "status 206 with the policy"),
        (
            "https-301",
            Https::Status301,
            "status 301 with the policy, to a path that has it too",
        ),
        (
            "https-302",
            Https::Status302,
            "status 302 with the policy, to a path that has it too",
        ),
        ("https-elsewhere", Https::RedirectHost, "a redirect to another host"),
        ("https-http", Https::RedirectHttp, "a redirect to http:"),
        ("https-304", Https::Status304, "status 304, which nobody asked for"),
        ("https-404", Https::Status404, "status 404 with the policy"),
        ("https-500", Https::Status500, "status 500 with the policy"),
        ("https-html", Https::Html, "the policy as text/html"),
        ("https-notype", Https::NoType, "the policy without a media type"),
        ("https-type", Https::TypePlus, "the policy as text/plain+"),
        (
            "https-gzip",
            Https::Gzip,
            "the policy gzip-coded, which nobody asked for",
        ),
        ("https-big", Https::Oversize, "131193 octets, by Content-Length"),
        ("https-bigchunks", Https::OversizeChunked, "131193 octets in chunks"),
        ("https-short", Https::Short, "less than Content-Length says"),
        ("https-drip", Https::Drip, "one octet each second"),
        ("https-flood", Https::HeaderFlood, "headers without end"),
        ("https-garbage", Https::Garbage, "not HTTP"),
        ("https-silent", Https::Silent, "no answer after the TLS handshake"),
        ("https-blackhole", Https::BlackHole, "connected, then nothing"),
        ("https-refused", Https::Refused, "connection refused"),
        ("https-noroute", Https::Unreachable, "no route to the host"),
        (
            "https-tls11",
            Https::TlsAlert,
            "the handshake ends in the alert protocol_version",
        ),
        (
            "https-reset",
            Https::TlsReset,
            "the connection is reset in the handshake",
        ),
        ("https-plain", Https::NotTls, "plain HTTP on port 443"),
    ];
    let certificates: &[(&str, Certificate, &str)] = &[
        ("https-expired", Certificate::Expired, "has expired"),
        ("https-notyet", Certificate::NotYetValid, "is valid only from tomorrow"),
        ("https-selfsigned", Certificate::SelfSigned, "is self-signed"),
        ("https-unknownca", Certificate::UnknownCa, "is from a CA nobody knows"),
        ("https-wrongname", Certificate::WrongName, "is for mx.elsewhere.test"),
        (
            "https-domaincert",
            Certificate::Domain,
            "is for the domain, not for the policy host",
        ),
        (
            "https-cnonly",
            Certificate::CnOnly,
            "has its name only in the Common Name",
        ),
        (
            "https-partwild",
            Certificate::PartialWildcard,
            "has a star that is only a part of a label",
        ),
        ("https-deepwild", Certificate::WildcardTwoLabels, "is for *.test"),
        (
            "https-nointermediate",
            Certificate::NoIntermediate,
            "comes without its intermediate",
        ),
        ("https-clientonly", Certificate::ClientOnly, "is for TLS clients only"),
    ];
    let new = |label: &str| Entry::new(&format!("{label}.test"));
    let mut entries: Vec<_> = good
        .iter()
        .map(|(name, https, wrong)| new(name).https(*https).wrong(&format!("nothing; {wrong}")))
        .collect();
    entries.extend(bad.iter().map(|(name, https, wrong)| {
        new(name)
            .https(*https)
            .unobtainable(FETCH)
            .wrong(&format!("policy host: {wrong}"))
    }));
    entries.extend(certificates.iter().map(|(name, certificate, wrong)| {
        let wrong = format!("the certificate of the policy host {wrong}");
        new(name)
            .https_certificate(*certificate)
            .unobtainable(WEBPKI)
            .wrong(&wrong)
    }));
    entries.extend(addresses());
    entries
}

/// Policy hosts at odd addresses. A policy is served at all of them, so that who asks there also gets one.
fn addresses() -> Vec<Entry> {
    let private = Ipv4Addr::new(10, 0, 0, 1);
    let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x0a00, 1);
    let forbidden: &[(&str, IpAddr, &str)] = &[
        ("ssrf-loopback.test", Ipv4Addr::LOCALHOST.into(), "127.0.0.1"),
        ("ssrf-loopback6.test", Ipv6Addr::LOCALHOST.into(), "::1"),
        ("ssrf-private.test", private.into(), "10.0.0.1"),
        (
            "ssrf-metadata.test",
            Ipv4Addr::new(169, 254, 169, 254).into(),
            "169.254.169.254",
        ),
        ("ssrf-mapped.test", private.to_ipv6_mapped().into(), "::ffff:10.0.0.1"),
        ("ssrf-nat64.test", nat64.into(), "64:ff9b::a00:1"),
    ];
    let new = Entry::new;
    let mut entries: Vec<_> = forbidden
        .iter()
        .map(|(name, address, text)| {
            let wrong = format!("the policy host is said to be at {text}, where no stranger may lead us");
            new(name)
                .policy_at(At::These(vec![*address]))
                .unobtainable(FETCH)
                .wrong(&wrong)
        })
        .collect();
    entries.extend([
        new("ssrf-mix.test")
            .policy_at(At::These(vec![private.into(), Ipv4Addr::new(198, 18, 0, 99).into()]))
            .wrong("nothing we may not pass over: of the policy host's two addresses the first is private"),
        new("https-wildcert.test")
            .https_certificate(Certificate::Wildcard)
            .wrong("nothing; the certificate of the policy host is for *.https-wildcert.test"),
        new("https-v6.test")
            .policy_at(At::V6)
            .wrong("nothing; the policy host has only IPv6"),
        new("https-v6dead.test")
            .policy_at(At::DeadV6)
            .wrong("the IPv6 address of the policy host is dead"),
        new("https-deadfirst.test")
            .policy_at(At::DeadFirst)
            .wrong("the first of the policy host's two addresses is dead"),
        new("https-cname.test")
            .policy_at(At::Alias("real.https-cname.test".to_owned()))
            .wrong("nothing; the policy host is a CNAME"),
        new("https-nxdomain.test")
            .policy_at(At::Fault(Fault::NxDomain))
            .unobtainable(FETCH)
            .wrong("there is a record but no policy host (NXDOMAIN)"),
        new("https-nodata.test")
            .policy_at(At::Fault(Fault::NoData))
            .unobtainable(FETCH)
            .wrong("the name of the policy host has no address"),
        new("https-servfail.test")
            .policy_at(At::Fault(Fault::ServFail))
            .unobtainable(FETCH)
            .wrong("the lookup of the policy host fails (SERVFAIL)"),
        new("https-dnssilent.test")
            .policy_at(At::Fault(Fault::Silent))
            .unobtainable(FETCH)
            .wrong("the lookup of the policy host gets no answer"),
    ]);
    entries
}
