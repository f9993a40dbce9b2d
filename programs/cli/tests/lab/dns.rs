//! The DNS of the lab.

use super::in_lab;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use mtasts_kit::client::{Ask, addresses, ask_tcp, ask_udp, records, texts};
use std::io::ErrorKind;

#[test]
fn answers_and_failures_are_told_apart() {
    in_lab(|lab| {
        let code = |name: &str, kind| {
            let answer = ask_udp(name, kind, Ask::Plainly).unwrap();
            (answer.metadata.response_code, answer.answers.len())
        };
        let txt = |domain: &str| code(&format!("_mta-sts.{domain}"), RecordType::TXT);
        assert_eq!(txt("good.test"), (ResponseCode::NoError, 1));
        assert_eq!(txt("nopolicy.test"), (ResponseCode::NXDomain, 0));
        assert_eq!(txt("txt-nodata.test"), (ResponseCode::NoError, 0));
        assert_eq!(txt("txt-servfail.test"), (ResponseCode::ServFail, 0));
        assert_eq!(txt("txt-refused.test"), (ResponseCode::Refused, 0));
        assert_eq!(txt("nowhere.test"), (ResponseCode::NXDomain, 0));
        let silence = ask_udp("_mta-sts.txt-silent.test", RecordType::TXT, Ask::Plainly).unwrap_err();
        assert!(
            matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{silence}"
        );
        // RFC 2308: a negative answer comes with the SOA.
        let negative = ask_udp("_mta-sts.nopolicy.test", RecordType::TXT, Ask::Plainly).unwrap();
        assert_eq!(negative.authorities.len(), 1);
        assert_eq!(code("implicit.test", RecordType::MX), (ResponseCode::NoError, 0));
        assert_eq!(code("implicit.test", RecordType::A), (ResponseCode::NoError, 1));
        assert_eq!(code("_tcp.mx.dane.test", RecordType::A), (ResponseCode::NoError, 0));
        assert_eq!(code("_tcp.mx.good.test", RecordType::A), (ResponseCode::NXDomain, 0));
        assert_eq!(code("GOOD.test", RecordType::MX), (ResponseCode::NoError, 1));
        assert_eq!(lab.counters().dns["good.test MX"], 1);
        assert_eq!(lab.counters().dns["_mta-sts.txt-silent.test TXT"], 1);
    });
}

#[test]
fn txt_records_come_as_published() {
    in_lab(|_| {
        let of = |domain: &str| texts(&format!("_mta-sts.{domain}")).unwrap();
        assert_eq!(of("txt-two.test").len(), 2);
        assert_eq!(of("txt-split.test"), [b"v=STSv1; id=20160831085700Z;"]);
        assert_eq!(of("txt-cname2.test"), [b"v=STSv1; id=p;"]);
        assert_eq!(of("txt-nonascii.test"), ["v=STSv1; id=a; note=caf\u{e9};".as_bytes()]);
        let [RData::TXT(split)] = &records("_mta-sts.txt-split.test", RecordType::TXT).unwrap()[..] else {
            panic!("one record")
        };
        assert_eq!(split.txt_data.len(), 2);
        let chain = ask_udp("_mta-sts.txt-cname2.test", RecordType::TXT, Ask::Plainly).unwrap();
        assert_eq!(chain.answers.len(), 3, "two CNAMEs and the record");
        let looped = ask_udp("_mta-sts.txt-cname-loop.test", RecordType::TXT, Ask::Plainly).unwrap();
        assert_eq!(looped.metadata.response_code, ResponseCode::ServFail);
        let dangling = ask_udp("_mta-sts.txt-cname-dangling.test", RecordType::TXT, Ask::Plainly).unwrap();
        assert_eq!(dangling.metadata.response_code, ResponseCode::NXDomain);
    });
}

#[test]
fn what_does_not_fit_into_a_datagram_goes_over_tcp() {
    in_lab(|_| {
        let name = "_mta-sts.txt-big.test";
        assert!(
            ask_udp(name, RecordType::TXT, Ask::Plainly)
                .unwrap()
                .metadata
                .truncation
        );
        assert!(ask_udp(name, RecordType::TXT, Ask::WithDo).unwrap().metadata.truncation);
        let all = ask_tcp(name, RecordType::TXT).unwrap();
        assert!(!all.metadata.truncation);
        assert_eq!(all.answers.len(), 40);
    });
}

#[test]
fn signed_domains_are_marked_for_those_who_ask() {
    in_lab(|_| {
        let ad = |name: &str, kind, ask| ask_udp(name, kind, ask).unwrap().metadata.authentic_data;
        for kind in [RecordType::MX, RecordType::TXT] {
            assert!(ad("dane.test", kind, Ask::WithAd));
            assert!(ad("dane.test", kind, Ask::WithDo));
            assert!(!ad("dane.test", kind, Ask::Plainly));
            assert!(!ad("good.test", kind, Ask::WithAd));
        }
        let tlsa = |domain: &str| {
            let answer = ask_udp(&format!("_25._tcp.mx.{domain}"), RecordType::TLSA, Ask::WithAd).unwrap();
            (
                answer.metadata.response_code,
                answer.metadata.authentic_data,
                answer.answers.len(),
            )
        };
        assert_eq!(tlsa("dane.test"), (ResponseCode::NoError, true, 1));
        assert_eq!(tlsa("signed.test"), (ResponseCode::NXDomain, true, 0));
        assert_eq!(tlsa("good.test"), (ResponseCode::NXDomain, false, 0));
        assert_eq!(tlsa("dane-bogus.test"), (ResponseCode::ServFail, false, 0));
    });
}

#[test]
fn addresses_are_where_the_table_says() {
    in_lab(|_| {
        let of = |name: &str| {
            addresses(name)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("mta-sts.ssrf-loopback.test"), ["127.0.0.1"]);
        assert_eq!(of("mta-sts.ssrf-mapped.test"), ["::ffff:10.0.0.1"]);
        assert_eq!(of("mta-sts.ssrf-nat64.test"), ["64:ff9b::a00:1"]);
        assert_eq!(of("mta-sts.ssrf-mix.test").len(), 2);
        assert_eq!(of("mx1.sameip.test"), of("mx2.sameip.test"));
        assert_eq!(of("mx.cname-mx.test"), of("real.cname-mx.test"));
        assert_eq!(of("mx.v6.test").len(), 2);
        assert!(of("mta-sts.good.test")[0].starts_with("198.18."));
        assert!(of("mta-sts.https-nxdomain.test").is_empty());
    });
}
