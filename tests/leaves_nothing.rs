//! After a question to DNS and a fetch nothing is left: no thread, no descriptor. One test only, because it counts
//! those of the whole process.

use std::collections::BTreeSet;
use std::fs::{read_dir, read_link};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mtasts::Domain;
use mtasts::network::dns::{Dns, DnsError, StubResolver};
use mtasts::network::https::{Https, PolicyHost};
use mtasts_kit::dns_server::{DnsServer, Reply, address, txt};
use mtasts_kit::pki;
use mtasts_kit::policy_server::{PolicyServer, isolate};

fn threads() -> BTreeSet<String> {
    read_dir("/proc/self/task")
        .expect("procfs")
        .flatten()
        .map(|e| format!("{:?}", e.file_name()))
        .collect()
}

fn descriptors() -> BTreeSet<String> {
    let entries = read_dir("/proc/self/fd").expect("procfs").flatten();
    let targets = entries.filter_map(|e| Some(format!("{:?} {:?}", e.file_name(), read_link(e.path()).ok()?)));
    // The directory that is being read has a descriptor too.
    targets.filter(|t| !t.contains("/proc/")).collect()
}

/// The servers of this test run in the same process and end a moment later than their clients.
fn comes_back_to(before: &BTreeSet<String>, now: impl Fn() -> BTreeSet<String>, what: &str) {
    let start = Instant::now();
    while now() != *before {
        let left: Vec<_> = now().difference(before).cloned().collect();
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: {left:?}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_thread_and_no_descriptor_is_left() {
    isolate(&["8.8.8.1"]);
    let dns = DnsServer::start(|asked| match asked.name.split('.').next() {
        Some("silent") => Reply::silence(),
        Some("tcp") if !asked.tcp => Reply::truncated(),
        _ if asked.kind == RecordType::TXT => Reply::answers(vec![txt(&asked.name, 60, &[b"v=STSv1; id=a;"])]),
        _ if asked.kind == RecordType::A => Reply::answers(vec![address(&asked.name, "8.8.8.1")]),
        _ => Reply::nodata(),
    });
    let authority = pki::root("Test Root");
    let certificate = pki::host(&["mta-sts.example.com"], &authority, |_| {});
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    let _server = PolicyServer::says("8.8.8.1", &certificate, answer);
    let roots = Arc::new(pki::roots(&[&authority]));

    // The test Internet, which is built beside, handles signals; so tokio opens a pair of sockets with the first runtime of the
    // process, whoever makes it, and keeps it. The library as it is installed has no such pair.
    drop(
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime"),
    );
    let before = (threads(), descriptors());
    let resolver = StubResolver::with_servers(&[dns.address, dns.address]);
    let policy_host = PolicyHost::new(
        Arc::new(resolver.clone()),
        Arc::new(move || Ok(Arc::clone(&roots))),
        mtasts::network::addresses::Rule::default(),
    );
    let soon = || Instant::now() + Duration::from_secs(10);
    for _ in 0..3 {
        resolver.txt("_mta-sts.example.com", soon()).expect("a record");
        resolver.txt("tcp.example.com", soon()).expect("a record");
        let silent = resolver.txt("silent.example.com", Instant::now() + Duration::from_millis(300));
        assert_eq!(silent, Err(DnsError::Timeout));
        comes_back_to(&before.0, threads, "threads");
        let body = policy_host.get(&Domain::parse("example.com").expect("a domain"), soon());
        assert_eq!(body.as_deref(), Ok(&b"hello"[..]));
        let wrong_name = policy_host.get(&Domain::parse("example.net").expect("a domain"), soon());
        assert!(wrong_name.is_err());
    }
    comes_back_to(&before.0, threads, "threads");
    comes_back_to(&before.1, descriptors, "descriptors");
}
