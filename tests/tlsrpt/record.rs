//! The record of a domain.

use std::time::{Duration, Instant};

use mtasts::Resolver;
use mtasts::report::Loss;
use mtasts_kit::name;

use super::place::{PATIENCE, Place, RECORD, as_user, dns, passed};

#[test]
fn a_record_is_asked_for_once_and_read_like_the_vectors() {
    let (place, dns) = (Place::new("record"), dns());
    let text = |resolver: &Resolver, domain: &str| {
        let record = resolver.report_record(&name(domain), PATIENCE).unwrap();
        record.map(|record| record.text().to_owned())
    };
    // Each process has a memory of its own; root's helper tells root.
    let as_root = place.resolver(&dns, &[]);
    let ordinary = place.resolver(&dns, &[]);
    let all = |resolver: &Resolver| {
        for _ in 0..3 {
            assert_eq!(text(resolver, "example.test").as_deref(), Some(RECORD));
            assert_eq!(
                text(resolver, "alias.test").as_deref(),
                Some("v=TLSRPTv1; rua=https://r.example.test/")
            );
            assert_eq!(
                text(resolver, "odd.test").as_deref(),
                Some("v=TLSRPTv1;rua=mailto:a@odd.test")
            );
            assert_eq!(text(resolver, "bad.test"), None);
            assert_eq!(text(resolver, "none.test"), None);
        }
    };
    all(&as_root);
    let asked = dns.asked().len();
    assert_eq!(asked, 5, "{:?}", dns.asked());
    as_user(|| all(&ordinary));
    assert_eq!(dns.asked().len(), 2 * asked);
}

#[test]
fn silence_is_no_record_and_holds_up_one_mail_alone() {
    let (place, dns) = (Place::new("silence"), dns());
    let resolver = place.resolver(&dns, &[("tlsrpt_socket", "/nowhere/socket")]);
    let domain = name("silent.test");
    let begun = Instant::now();
    let why = resolver.report_record(&domain, Duration::from_secs(1)).unwrap_err();
    assert_eq!(why.to_string(), "no name server answered in time");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let again = Instant::now();
    let lost = resolver.report(&domain, &[passed("silent.test")], PATIENCE);
    assert_eq!(lost, Err(Loss::RecordUnknown));
    assert!(again.elapsed() < Duration::from_secs(4), "{:?}", again.elapsed());
    assert_eq!(place.journal(), (Vec::new(), "r".to_owned()));
}
