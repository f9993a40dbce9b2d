//! DANE in C: the name server is ours, and the certificates are real.

use std::fs;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::TLSA;
use hickory_resolver::proto::rr::{RData, RecordType};
use mtasts_kit::dns_server::{DnsServer, Reply, address, mx, record};
use mtasts_kit::pki::self_signed_host;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;

use crate::build::{Link, program};
use crate::run::{Bench, Watch, Who};

#[test]
fn tlsa_records_decide_before_the_policy() {
    let (good, wrong) = (
        self_signed_host(&["nobody.example"]),
        self_signed_host(&["mx.enforced.example"]),
    );
    let der = CertificateDer::from(good.der.as_slice());
    let leaf = webpki::EndEntityCert::try_from(&der).unwrap();
    let key = digest(&SHA256, &leaf.subject_public_key_info()).as_ref().to_vec();
    let server = DnsServer::start(move |asked| match (asked.name.as_str(), asked.kind) {
        ("broken.backup.example", _) => Reply::code(ResponseCode::ServFail),
        (name, RecordType::A) => {
            let reply = Reply::answers(vec![address(name, "192.0.2.1")]);
            if name.starts_with("plain.") {
                reply
            } else {
                reply.authentic()
            }
        }
        (name, RecordType::MX) => {
            let hosts = ["mx.enforced.example", "plain.backup.example", "broken.backup.example"];
            Reply::answers(hosts.map(|host| mx(name, 10, host)).to_vec()).authentic()
        }
        ("_25._tcp.mx.enforced.example", RecordType::TLSA) => {
            let tlsa = TLSA::new(3.into(), 1.into(), 1.into(), key.clone());
            Reply::answers(vec![record(&asked.name, 60, RData::TLSA(tlsa))]).authentic()
        }
        _ => Reply::nodata(),
    });
    let bench = Bench::new("dane");
    let (first, second) = (bench.root().join("good.der"), bench.root().join("wrong.der"));
    fs::write(&first, &good.der).unwrap();
    fs::write(&second, &wrong.der).unwrap();
    for (link, watch) in [
        (Link::Shared, Watch::Nothing),
        (Link::Sanitized, Watch::Nothing),
        (Link::Shared, Watch::ValgrindOverTls),
    ] {
        let dane = program("dane.c", link, bench.root());
        for who in [Who::Root, Who::User] {
            let cache = bench.cache("cache");
            let arguments = [
                cache.to_str().unwrap(),
                &server.address.to_string(),
                first.to_str().unwrap(),
                second.to_str().unwrap(),
            ];
            assert_eq!(bench.run(&dane, &arguments, who, watch), "");
        }
    }
}
