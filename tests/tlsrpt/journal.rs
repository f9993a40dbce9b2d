//! The journal, by every kind of process, and what cannot be written to it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mtasts::cache::store::Store;
use mtasts::report::{Loss, ReportEvent};
use mtasts::{Domain, MxName, Resolver, ResultType};
use mtasts_kit::{USER, become_user, give_up_root, name};
use serde_json::{Value, json};

use super::place::{PATIENCE, Place, as_user, dns, failed, passed};

#[test]
fn it_is_off_by_default() {
    let (place, dns) = (Place::new("off"), dns());
    let resolver = place.resolver(&dns, &[]);
    resolver
        .report(&name("example.test"), &[passed("example.test")], PATIENCE)
        .unwrap();
    as_user(|| resolver.report(&name("example.test"), &[passed("example.test")], PATIENCE)).unwrap();
    assert_eq!(dns.asked().len(), 0);
    assert_eq!(fs::read_dir(place.path("cache")).unwrap().count(), 0);
}

/// Root (by its helper), an ordinary user, a thread, and a child of a child.
#[test]
fn every_process_writes_the_journal() {
    let (place, dns) = (Place::new("journal"), dns());
    let resolver = place.resolver(&dns, &[("tlsrpt_journal", "on")]);
    let report = |host: &str| {
        let event = ReportEvent {
            host: MxName::from_mx(host),
            ..failed(
                "example.test",
                ResultType::CertificateExpired,
                "certificate-expired: 2026-01-01",
            )
        };
        resolver.report(&name("example.test"), &[event], PATIENCE)
    };
    report("root.test").unwrap();
    as_user(|| report("user.test")).unwrap();
    let child = mtasts_kit::Child::start(|| {
        give_up_root();
        report("child.test").unwrap();
        mtasts_kit::Child::start(|| report("grandchild.test").unwrap()).ends_well(PATIENCE);
    });
    child.ends_well(PATIENCE);
    let both = [passed("mx.example.test"), passed("example.test")];
    resolver.report(&name("example.test"), &both, PATIENCE).unwrap();
    let (lines, losses) = place.journal();
    let detail = |line: &Value| line["policies"][0]["failure-details"][0]["n"].clone();
    let hosts: Vec<Value> = lines.iter().map(detail).collect();
    assert_eq!(
        hosts,
        [
            json!("root.test"),
            json!("user.test"),
            json!("child.test"),
            json!("grandchild.test"),
            json!(null),
            json!(null)
        ]
    );
    assert_eq!(losses, "");
    assert_eq!(lines[4]["policies"][0]["policy-domain"], "mx.example.test");
    assert_eq!(lines[5]["policies"][0]["policy-string"][1], "mode: testing");
    assert_eq!(lines[5]["d"], "example.test");
    // The journal needs no record: the reporter asks for it.
    assert_eq!(dns.asked().len(), 0);
}

#[test]
fn what_cannot_be_written_is_told_once_and_harms_nothing() {
    let (place, dns) = (Place::new("unwritten"), dns());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = told.clone();
    let settings = place.settings(&dns, &[("tlsrpt_journal", "on"), ("tlsrpt_socket", "/nowhere/socket")]);
    let resolver = Resolver::with_log(settings, move |line| tells.lock().unwrap().push(line.to_owned()));
    fs::set_permissions(place.path("cache"), Permissions::from_mode(0o550)).unwrap();
    for _ in 0..3 {
        let lost = as_user(|| resolver.report(&name("example.test"), &[passed("example.test")], PATIENCE));
        assert!(matches!(lost, Err(Loss::NotWritten(_))), "{lost:?}");
    }
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    let begins = "mtasts[report-lost]: a result for TLS reports is lost: the journal cannot be written: cannot use the cache \
                  file ";
    assert!(told[0].starts_with(begins), "{}", told[0]);
    assert!(
        told[0].ends_with("Permission denied (os error 13). The mail is not affected."),
        "{}",
        told[0]
    );
}

/// Beyond the limit of file sizes the kernel would end the mail server.
#[test]
fn the_limit_of_the_process_is_kept() {
    let place = Place::new("limit");
    let store = Store::new(place.path("cache"));
    let child = mtasts_kit::Child::start(|| {
        give_up_root();
        let limit = libc::rlimit {
            rlim_cur: 10_000,
            rlim_max: 10_000,
        };
        // SAFETY: a valid limit that lives during the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        for n in 0..20 {
            let expected = if n < 10 { Ok(()) } else { Err(Loss::JournalFull) };
            assert_eq!(store.append(&"x".repeat(998), 1_800_000_000), expected);
        }
    });
    child.ends_well(PATIENCE);
}

/// Twenty thousand results in a few seconds, by threads and processes at once: the journal has each of them.
#[test]
fn a_burst_loses_nothing_in_the_journal() {
    const EACH: usize = 2500;
    let (place, dns) = (Place::new("burst"), dns());
    let resolver = place.resolver(&dns, &[("tlsrpt_journal", "on")]);
    let domain: Domain = name("example.test");
    let work = || {
        become_user(USER, USER);
        for n in 0..EACH {
            let event = failed("example.test", ResultType::ValidationFailure, &format!("reason {n}"));
            resolver.report(&domain, &[event], PATIENCE).unwrap();
        }
    };
    let begun = Instant::now();
    let children: Vec<_> = (0..4)
        .map(|_| mtasts_kit::Child::start(|| std::thread::scope(|scope| drop([(); 2].map(|()| scope.spawn(work))))))
        .collect();
    for child in children {
        child.ends_well(Duration::from_secs(60));
    }
    println!("{} results in {:?}", 8 * EACH, begun.elapsed());
    let (lines, losses) = place.journal();
    assert_eq!((lines.len(), &*losses), (8 * EACH, ""));
    for n in [0, EACH - 1] {
        let reason = json!(format!("reason {n}"));
        let with = lines
            .iter()
            .filter(|line| line["policies"][0]["failure-details"][0]["f"] == reason);
        assert_eq!(with.count(), 8);
    }
}
