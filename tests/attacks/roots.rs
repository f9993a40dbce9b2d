//! Roots that are not there, or not all of them. That is trouble of this host, never the domain's: mail for a domain whose
//! policy must be fetched waits, nothing is noted against the domain, and what is in the cache stays in force.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mtasts::queue::{Completed, Queue};
use mtasts::{Answer, Domain, Mode, Resolver, Source, Unavailable};
use mtasts_kit::{Internet, USER, as_user, settings};
use mtasts_lab::{Change, policy_text};

use crate::on_the_internet;

const PATIENCE: Duration = Duration::from_secs(10);

fn resolver(host: &Internet, roots: &Path) -> Resolver {
    let more = [
        ("ca_file", roots.to_str().unwrap()),
        ("txt_life_min", "0s"),
        ("txt_life_max", "0s"),
    ];
    Resolver::new(settings(&host.cache, &more))
}

/// A file of roots, or none.
fn roots_file(host: &Internet, content: Option<&[u8]>) -> PathBuf {
    let file = host.cache.with_file_name("roots.pem");
    let _ = fs::remove_file(&file);
    if let Some(content) = content {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    }
    file
}

/// Whether the policy host of a domain was asked for, or even looked for.
fn asked(host: &Internet, domain: &str) -> bool {
    let counters = host.lab.counters();
    let name = format!("mta-sts.{domain}");
    counters.https.contains_key(&name) || counters.dns.keys().any(|question| question.starts_with(&name))
}

fn ask(resolver: &Resolver, domain: &str) -> Result<Arc<Answer>, Unavailable> {
    resolver.lookup(&Domain::parse(domain).unwrap(), PATIENCE)
}

#[test]
fn mail_waits_for_roots_that_cannot_be_read() {
    on_the_internet("roots", |host| {
        let ca = fs::read_to_string(host.lab.ca_file()).unwrap();
        let (ca, lines) = (ca.trim_end(), ca.trim_end().lines().count());
        let glued = format!("{ca}{ca}\n");
        let cut = &ca[..ca.len() - 30];
        let obsolete = format!("{ca}\n-----BEGIN PKCS7-----\n-----END PKCS7-----\n");
        for (content, words) in [
            (None, "No such file"),
            (Some(""), "no CA certificate in"),
            (Some("no roots\n"), "no CA certificate in"),
            (Some(cut), "line 1: -----BEGIN CERTIFICATE----- without its END"),
            (Some(&*glued), &*format!("line {lines}: ")),
            (Some(&*obsolete), &*format!("line {}: a section \"PKCS7\"", lines + 1)),
        ] {
            let roots = roots_file(host, content.map(str::as_bytes));
            waits(host, &roots, words);
        }
        let private = roots_file(host, Some(ca.as_bytes()));
        fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
        waits(host, &private, "Permission denied");
        waits(host, host.cache.parent().unwrap(), "directory");
        // Read by us and by OpenSSL, so by both.
        for content in [
            format!("\u{feff}{ca}\n"),
            ca.replace("CERTIFICATE", "X509 CERTIFICATE"),
            ca.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        ] {
            let roots = roots_file(host, Some(content.as_bytes()));
            assert_eq!(ask(&resolver(host, &roots), "good.test").unwrap().mode(), Mode::Enforce);
            fs::remove_file(host.cache.join("good.test")).unwrap();
        }
    });
}

/// By root's helper, by the owner of the cache himself, and through a queue.
fn waits(host: &Internet, roots: &Path, words: &str) {
    let resolver = resolver(host, roots);
    let refused = |error: &str| {
        let file = roots.to_str().unwrap();
        assert!(
            error.contains(words) && error.contains(file) && error.contains("ca_file"),
            "{error}"
        );
    };
    refused(&ask(&resolver, "good.test").expect_err("no roots").to_string());
    let queued = as_user(USER, USER, || {
        refused(&ask(&resolver, "good.test").expect_err("no roots").to_string());
        let queue = Queue::new(&resolver).unwrap();
        queue
            .submit(&Domain::parse("good.test").unwrap(), PATIENCE, ())
            .unwrap();
        loop {
            match queue.next().unwrap() {
                Some(completion) => break completion.result,
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    });
    let Completed::Failed(error) = queued else {
        panic!("{queued:?}")
    };
    refused(&error.to_string());
    // Not the domain's fault: it was not asked, and there is no pause.
    assert!(!asked(host, "good.test") && !host.cache.join("good.test").exists());
    // A domain without a record needs no roots.
    assert_eq!(ask(&resolver, "nopolicy.test").unwrap().source(), Source::NoPolicy);
}

#[test]
fn a_policy_in_the_cache_outlives_the_roots() {
    on_the_internet("roots-cached", |host| {
        assert_eq!(
            ask(&resolver(host, &host.lab.ca_file()), "good.test").unwrap().source(),
            Source::Fresh
        );
        let change = Change::publish("another", policy_text("testing", &["mx.good.test"], 86_400));
        host.lab.set("good.test", change).unwrap();
        let roots = roots_file(host, None);
        let resolver = resolver(host, &roots);
        for _ in 0..2 {
            let kept = ask(&resolver, "good.test").unwrap();
            assert_eq!(
                (kept.source(), kept.mode()),
                (Source::CachedAfterFailure, Mode::Enforce)
            );
            assert_eq!(
                kept.failure().and_then(|failure| failure.result),
                None,
                "nothing to report"
            );
            let told = kept.alert().expect("the administrator is told");
            assert!(
                told.contains("the cached one stays in force") && told.contains(roots.to_str().unwrap()),
                "{told}"
            );
        }
        // As soon as the file is there the policy is fetched: no pause, no restart.
        roots_file(host, Some(&fs::read(host.lab.ca_file()).unwrap()));
        let fresh = ask(&resolver, "good.test").unwrap();
        assert_eq!((fresh.source(), fresh.mode()), (Source::Fresh, Mode::Testing));
    });
}
