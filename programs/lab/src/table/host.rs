//! Domains told apart by their MX hosts.

use crate::behaviour::{Certificate, Fault, Mx, Tlsa};
use crate::entry::{At, Entry, Expect, Policy};

/// Mail to these is delivered.
pub(super) fn good() -> Vec<Entry> {
    let new = Entry::new;
    vec![
        new("good.test"),
        new("testing.test").twin(Policy::Testing),
        new("none.test").twin(Policy::None),
        new("nopolicy.test").twin(Policy::Absent),
        new("plain.test")
            .twin(Policy::Absent)
            .mx(Mx::NoStarttls)
            .wrong("no policy and no TLS: an ordinary old domain"),
        new("xn--aca-6ma.test").wrong("nothing; an internationalised name, \u{f1}aca.test"),
        new("wild.test")
            .hosts(&["a"])
            .patterns(&["*"])
            .wrong("nothing; the policy lists *.wild.test"),
        new("wildcert.test")
            .certificate(Certificate::Wildcard)
            .wrong("nothing; the certificate is for *.wildcert.test"),
        new("implicit.test")
            .implicit()
            .wrong("nothing; no MX record, the domain is its own MX host"),
        new("twomx.test").hosts(&["mx1", "mx2"]),
        new("downfirst.test")
            .hosts(&["mx1", "mx2"])
            .host("mx1", |host| host.mx = Mx::Refused)
            .verified_at(&["mx2"])
            .wrong("the first MX host is down"),
        new("cname-mx.test")
            .host("mx", |host| host.at = At::Alias("real.cname-mx.test".to_owned()))
            .wrong("nothing; the MX name is a CNAME, the certificate is for the MX name"),
        new("empty-subject.test")
            .certificate(Certificate::EmptySubject)
            .wrong("nothing; the certificate has an empty subject and a critical subjectAltName"),
        new("tls12.test")
            .mx(Mx::Tls12)
            .wrong("nothing; the MX host speaks TLS 1.2 only"),
        new("v6.test")
            .host("mx", |host| host.at = At::Both)
            .wrong("nothing; the MX host has IPv6 and IPv4"),
        new("v6dead.test")
            .host("mx", |host| host.at = At::DeadV6)
            .wrong("the IPv6 address of the MX host is dead"),
        new("mixed.test")
            .hosts(&["mx1", "mx2"])
            .patterns(&["mx2"])
            .verified_at(&["mx2"])
            .wrong("the first of two MX hosts is not listed"),
        new("sameip.test")
            .hosts(&["mx1", "mx2"])
            .patterns(&["mx2"])
            .verified_at(&["mx2"])
            .certificate(Certificate::Siblings)
            .host("mx2", |host| host.at = At::With("mx1.sameip.test".to_owned()))
            .wrong("two MX names at one address, the first not listed"),
        new("secondgood.test")
            .hosts(&["mx1", "mx2"])
            .host("mx1", |host| host.certificate = Certificate::Expired)
            .verified_at(&["mx2"])
            .wrong("the certificate of the first of two MX hosts has expired"),
        new("secondstarttls.test")
            .hosts(&["mx1", "mx2"])
            .host("mx1", |host| host.mx = Mx::NoStarttls)
            .verified_at(&["mx2"])
            .wrong("the first of two MX hosts knows no STARTTLS"),
        // Several domains on one MX host whose certificate nobody can verify: a connection opened for
        // the one without policy must never carry mail for the one that enforces.
        new("shared.test").certificate(Certificate::SelfSigned).fails(
            "certificate-not-trusted",
            "the MX host, shared with shared-nopolicy.test, is self-signed",
        ),
        shared("shared-nopolicy.test").twin(Policy::Absent),
        shared("shared-testing.test").twin(Policy::Testing),
        shared("shared-strict.test").fails(
            "certificate-not-trusted",
            "the certificate of the shared MX host is self-signed",
        ),
        // The same with an MX host in order.
        new("hub.test").wrong("nothing; its MX host also serves hub-nopolicy.test and hub-other.test"),
        on(new("hub-nopolicy.test"), "mx.hub.test").twin(Policy::Absent),
        on(new("hub-other.test"), "mx.hub.test"),
        on(new("hub-unlisted.test"), "mx.hub.test")
            .patterns(&["mx"])
            .fails(
                "validation-failure",
                "its MX host, that of hub.test, is not in its policy",
            )
            .wrong("its MX host, that of hub.test, is not in its policy"),
    ]
}

/// A domain without MX hosts of its own.
fn on(mut entry: Entry, host: &str) -> Entry {
    entry.setup.hosts.clear();
    let wrong = format!("nothing; the MX host is {host}");
    entry
        .prefer(&[host])
        .patterns(&[host])
        .verified_at(&[host])
        .wrong(&wrong)
}

fn shared(name: &str) -> Entry {
    on(Entry::new(name), "mx.shared.test").wrong("the MX host is mx.shared.test, which is self-signed")
}

/// Broken MX hosts, each with its twins in mode testing, in mode none, and without a policy: mail to those is delivered.
pub(super) fn broken() -> Vec<Entry> {
    type Row = (&'static str, fn(Entry) -> Entry);
    let rows: &[Row] = &[
        ("expired", |e| {
            e.certificate(Certificate::Expired)
                .fails("certificate-expired", "the certificate has expired")
        }),
        ("notyet", |e| {
            e.certificate(Certificate::NotYetValid)
                .fails("certificate-not-trusted", "the certificate is valid only from tomorrow")
        }),
        ("selfsigned", |e| {
            e.certificate(Certificate::SelfSigned)
                .fails("certificate-not-trusted", "the certificate is self-signed")
        }),
        ("unknownca", |e| {
            e.certificate(Certificate::UnknownCa)
                .fails("certificate-not-trusted", "the certificate is from a CA nobody knows")
        }),
        ("wrongname", |e| {
            e.certificate(Certificate::WrongName)
                .fails("certificate-host-mismatch", "the certificate is for mx.elsewhere.test")
        }),
        ("cnonly", |e| {
            e.certificate(Certificate::CnOnly).fails(
                "certificate-host-mismatch",
                "the certificate has its name only in the Common Name",
            )
        }),
        ("no-intermediate", |e| {
            e.certificate(Certificate::NoIntermediate)
                .fails("certificate-not-trusted", "the intermediate certificate is not sent")
        }),
        ("expired-intermediate", |e| {
            e.certificate(Certificate::ExpiredIntermediate)
                .fails("certificate-expired", "the intermediate certificate has expired")
        }),
        ("clientonly", |e| {
            e.certificate(Certificate::ClientOnly)
                .fails("certificate-not-trusted", "the certificate is for TLS clients only")
        }),
        ("constrained", |e| {
            e.certificate(Certificate::ConstrainedCa).fails(
                "certificate-not-trusted",
                "the CA is not permitted to sign for this name",
            )
        }),
        ("deepwild", |e| {
            e.certificate(Certificate::WildcardTwoLabels).fails(
                "certificate-host-mismatch",
                "the certificate is for *.test, one label too few",
            )
        }),
        ("partwild", |e| {
            e.certificate(Certificate::PartialWildcard).fails(
                "certificate-host-mismatch",
                "the star of the certificate is only a part of a label",
            )
        }),
        ("domaincert", |e| {
            e.certificate(Certificate::Domain).fails(
                "certificate-host-mismatch",
                "the certificate is for the domain, not for the MX host",
            )
        }),
        ("sibling", |e| {
            e.hosts(&["mx1"])
                .patterns(&["mx1", "mx2"])
                .certificate(Certificate::Sibling)
                .fails(
                    "certificate-host-mismatch",
                    "the certificate is for another host of the policy",
                )
        }),
        ("cname-target", |e| {
            let target = e.full("real");
            e.host("mx", |host| host.at = At::Alias(target))
                .certificate(Certificate::CnameTarget)
                .fails(
                    "certificate-host-mismatch",
                    "the certificate is for the target of the MX name's CNAME only",
                )
        }),
        ("nomatch", |e| {
            e.patterns(&["other"])
                .fails("validation-failure", "no MX host is in the policy")
        }),
        ("nomatch-implicit", |e| {
            e.implicit().patterns(&["*"]).fails(
                "validation-failure",
                "no MX record, and the domain itself is not in the policy",
            )
        }),
        ("nomatch-deep", |e| {
            let deep = format!("a.b.{}", e.name);
            e.hosts(&[&deep]).patterns(&["*"]).fails(
                "validation-failure",
                "the MX host is two labels below the wildcard of the policy",
            )
        }),
        ("nomatch-suffix", |e| {
            e.hosts(&["evil-mx"])
                .patterns(&["mx"])
                .fails("validation-failure", "the MX host only looks like the listed one")
        }),
        ("nostarttls", |e| {
            e.mx(Mx::NoStarttls)
                .fails("starttls-not-supported", "the MX host knows no STARTTLS")
        }),
        ("starttls454", |e| {
            e.mx(Mx::Starttls454)
                .fails("starttls-not-supported", "the MX host answers STARTTLS with 454")
        }),
        ("starttls554", |e| {
            e.mx(Mx::Starttls554)
                .fails("starttls-not-supported", "the MX host answers STARTTLS with 554")
        }),
        ("stripped", |e| {
            e.mx(Mx::Stripped)
                .fails("starttls-not-supported", "a man in the middle stripped STARTTLS")
        }),
        ("tls11", |e| {
            e.mx(Mx::TlsAlert)
                .fails("validation-failure", "the handshake ends in the alert protocol_version")
        }),
        ("handshake-reset", |e| {
            e.mx(Mx::TlsReset)
                .fails("validation-failure", "the connection is reset in the handshake")
        }),
        ("nottls", |e| {
            e.mx(Mx::NotTls)
                .fails("validation-failure", "what follows STARTTLS is not TLS")
        }),
    ];
    let mut entries = Vec::new();
    for (name, build) in rows {
        entries.push(build(Entry::new(&format!("{name}.test"))));
        for (prefix, policy) in [
            ("testing", Policy::Testing),
            ("none", Policy::None),
            ("nopolicy", Policy::Absent),
        ] {
            entries.push(build(Entry::new(&format!("{prefix}-{name}.test"))).twin(policy));
        }
    }
    let new = Entry::new;
    entries.extend([
        new("injected.test")
            .mx(Mx::Injected)
            .verified_or_defer()
            .wrong("a man in the middle put an EHLO answer in clear behind the 220 of STARTTLS"),
        new("tls-silent.test")
            .mx(Mx::TlsSilent)
            .defer("the MX host says nothing after STARTTLS"),
        new("closed-after-tls.test")
            .mx(Mx::ClosedAfterTls)
            .defer("the MX host hangs up after the handshake"),
        new("close.test")
            .mx(Mx::CloseAfterEhlo)
            .defer("the MX host hangs up at EHLO"),
        new("busy.test")
            .mx(Mx::Greeting421)
            .defer("the MX host greets with 421"),
        new("blackhole.test")
            .mx(Mx::BlackHole)
            .defer("the MX host says nothing"),
        new("refused.test")
            .mx(Mx::Refused)
            .defer("the MX host is down: connection refused"),
        new("noroute.test")
            .mx(Mx::Unreachable)
            .defer("the MX host is down: no route"),
        new("alldown.test")
            .hosts(&["mx1", "mx2"])
            .mx(Mx::Refused)
            .defer("both MX hosts are down"),
        new("mixed-broken.test")
            .hosts(&["mx1", "mx2"])
            .patterns(&["mx2"])
            .host("mx2", |host| host.certificate = Certificate::Expired)
            .fails(
                "certificate-expired",
                "of two MX hosts the first is not listed and the certificate of the second has expired",
            ),
        new("mx-nxdomain.test")
            .hosts(&["mx1", "mx2"])
            .host("mx1", |host| host.at = At::Fault(Fault::NxDomain))
            .verified_at(&["mx2"])
            .wrong("the first of two MX names does not exist"),
        new("mx-servfail.test")
            .mx_fault(Fault::ServFail)
            .defer("the lookup of the MX records fails"),
        new("mx-silent.test")
            .mx_fault(Fault::Silent)
            .defer("the lookup of the MX records gets no answer"),
    ]);
    entries.extend(denied());
    entries
}

/// The DNS says that a domain takes no mail. Under a policy in force that lists MX hosts one of the two may be forged: the
/// mail waits. In testing it is bounced as it is without a policy.
fn denied() -> Vec<Entry> {
    type Row = (&'static str, fn(Entry) -> Entry, &'static str);
    let rows: &[Row] = &[
        (
            "nullmx",
            |e| e.prefer(&["."]),
            "null MX: the domain takes no mail (RFC 7505)",
        ),
        (
            "mxdenied-nxdomain",
            |e| e.mx_fault(Fault::NxDomain),
            "the DNS says that the domain does not exist (NXDOMAIN for its MX records)",
        ),
        (
            "mxdenied-nodata",
            |e| e.mx_fault(Fault::NoData),
            "the DNS says that the domain has no MX record and no address",
        ),
    ];
    let mut entries = Vec::new();
    for (name, build, wrong) in rows {
        let row = |name: &str| build(Entry::new(name)).wrong(wrong);
        entries.push(row(&format!("{name}.test")).defer("the DNS denies MX hosts that the policy lists"));
        let mut testing = row(&format!("testing-{name}.test")).twin(Policy::Testing);
        testing.expect = Expect::Bounce;
        entries.push(testing);
    }
    entries
}

/// DNSSEC-signed domains with TLSA records, in mode enforce too.
pub(super) fn dane() -> Vec<Entry> {
    let new = Entry::new;
    let at = |host: &str| Expect::DeliverVerified {
        hosts: vec![host.to_owned()],
    };
    vec![
        new("dane.test")
            .tlsa(Tlsa::Ee)
            .wrong("nothing; TLSA 3 1 1 and policy agree"),
        new("dane-ta.test")
            .tlsa(Tlsa::Ta)
            .wrong("nothing; TLSA 2 1 1 and policy agree"),
        new("dane-selfsigned.test")
            .tlsa(Tlsa::Ee)
            .certificate(Certificate::SelfSigned)
            .fails(
                "certificate-not-trusted",
                "the certificate is self-signed, TLSA 3 1 1 vouches for it: only DANE can deliver",
            )
            .dane(at("mx.dane-selfsigned.test")),
        new("dane-private-ca.test")
            .tlsa(Tlsa::Ta)
            .certificate(Certificate::UnknownCa)
            .fails(
                "certificate-not-trusted",
                "the CA is unknown, TLSA 2 1 1 vouches for it: only DANE can deliver",
            )
            .dane(at("mx.dane-private-ca.test")),
        new("dane-mismatch.test")
            .tlsa(Tlsa::EeMismatch)
            .dane(Expect::Defer {
                why: "the TLSA record does not match; a good certificate must not override it (RFC 8461 2)",
            })
            .wrong("the TLSA record does not match, certificate and policy are good"),
        new("dane-ta-wrongname.test")
            .tlsa(Tlsa::Ta)
            .certificate(Certificate::WrongName)
            .fails(
                "certificate-host-mismatch",
                "the CA matches the TLSA record, the name of the host does not match",
            ),
        new("dane-ta-wrongname-nopolicy.test")
            .tlsa(Tlsa::Ta)
            .certificate(Certificate::WrongName)
            .twin(Policy::Absent)
            .dane(Expect::Defer {
                why: "the CA matches the TLSA record, and anybody can have a certificate of it for a name of his own",
            })
            .wrong("no MTA-STS; the CA matches the TLSA record, the name of the host does not match"),
        new("dane-nostarttls.test")
            .tlsa(Tlsa::Ee)
            .mx(Mx::NoStarttls)
            .fails("starttls-not-supported", "there is a TLSA record but no STARTTLS"),
        new("dane-unusable.test")
            .tlsa(Tlsa::Unusable)
            .wrong("the TLSA record is unusable (usage 0); the policy is good"),
        new("dane-bogus.test")
            .tlsa(Tlsa::ServFail)
            .dane(Expect::Defer {
                why: "the lookup of the TLSA record fails",
            })
            .wrong("the lookup of the TLSA record fails; certificate and policy are good"),
        new("dane-nopolicy.test")
            .tlsa(Tlsa::Ee)
            .certificate(Certificate::SelfSigned)
            .twin(Policy::Absent)
            .wrong("nothing; no MTA-STS, and TLSA 3 1 1 vouches for the self-signed certificate"),
        new("dane-mismatch-nopolicy.test")
            .tlsa(Tlsa::EeMismatch)
            .twin(Policy::Absent)
            .dane(Expect::Defer {
                why: "the TLSA record does not match",
            })
            .wrong("no MTA-STS; the TLSA record does not match"),
        new("dane-nomatch.test").tlsa(Tlsa::Ee).patterns(&["other"]).fails(
            "validation-failure",
            "TLSA record and certificate agree, but the MX host is not in the policy",
        ),
        new("signed.test")
            .tlsa(Tlsa::None)
            .wrong("nothing; signed, no TLSA record"),
    ]
}
