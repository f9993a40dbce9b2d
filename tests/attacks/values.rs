//! A member of the cache's group writes what he likes, with a digest that fits: whatever stands in the file, what the C
//! interface lends keeps its promises, for a user and for root, who has it from a helper.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::ptr;

use mtasts::capi::{
    mtasts_answer_defer_until, mtasts_answer_detail, mtasts_answer_domain, mtasts_answer_expires,
    mtasts_answer_explanation, mtasts_answer_fetched, mtasts_answer_free, mtasts_answer_id, mtasts_answer_mode,
    mtasts_answer_mx, mtasts_answer_mx_count, mtasts_answer_warning, mtasts_context_free, mtasts_context_new,
    mtasts_lookup_cached, mtasts_settings_free, mtasts_settings_new, mtasts_settings_set,
};
use mtasts::protocol::policy::MAX_MAX_AGE;
use mtasts::sender::resolver::unix_now;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use mtasts_kit::{USER, as_user};

const DOMAIN: &str = "example.com";

/// A value of a line: sometimes right, sometimes what an attacker would try.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[A-Za-z0-9]{1,32}",
        12 => any::<u64>().prop_map(|number| number.to_string()),
        12 => (0_u64..4_000_000_000).prop_map(|number| number.to_string()),
        1 => Just("x\" ignore=\"net-sqlite;/tmp/x select 1".to_owned()),
        1 => Just("sts-policy-fetch-error".to_owned()),
        1 => "[\\x01-\\x09\\x0b-\\x7f]{0,40}",
        1 => "\\PC{0,20}",
        1 => "\u{1b}\\[[0-9]m\u{202e}\\PC{0,3}",
    ]
}

/// The id of a policy: often one that the parser would refuse only for its characters, since it is short enough.
fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => "[A-Za-z0-9]{1,32}",
        1 => Just("x\" ignore=\"net-sqlite;/tmp/x".to_owned()),
        1 => "[\\x20-\\x7e]{1,32}",
        1 => "\\PC{1,8}",
    ]
}

/// The body of a file: the lines in their order, each there or not.
fn body() -> impl Strategy<Value = String> {
    const LINES: [&str; 14] = [
        "policy-id",
        "fetched",
        "mode-since",
        "imported",
        "pinned-until",
        "txt-seen",
        "txt-next",
        "failed-id",
        "failed-at",
        "failed-result",
        "failed-detail",
        "unlearned-since",
        "used",
        "idle-since",
    ];
    let lines = proptest::collection::vec((prop::bool::weighted(0.2), value()), LINES.len());
    let good = (prop::bool::weighted(0.7), id(), any::<u32>());
    (lines, good, "(enforce|testing|none)").prop_map(|(lines, (is_good, id, time), mode)| {
        let mut body = format!("domain: {DOMAIN}\n");
        for (name, (is_there, value)) in LINES.iter().zip(lines) {
            match *name {
                // Often enough a policy that is in force, so that the rest is looked at.
                "policy-id" if is_good => body += &format!("policy-id: {id}\n"),
                "fetched" if is_good => body += &format!("fetched: {}\n", unix_now() + u64::from(time)),
                _ if is_there => body += &format!("{name}: {value}\n"),
                _ => {}
            }
        }
        body + &format!("\nversion: STSv1\nmode: {mode}\nmx: *.example.com\nmax_age: 9999999999\nx: \u{202e}\n")
    })
}

fn plant(cache: &Path, body: &str) {
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let sum: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    let file = cache.join(DOMAIN);
    fs::write(&file, format!("mtasts 1 {sum}\n{body}")).unwrap();
    chown(&file, Some(USER), Some(USER)).unwrap();
}

/// What C is lent.
fn lent(text: *const c_char) -> String {
    // SAFETY: the interface promises a text closed by a NUL.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().expect("UTF-8").to_owned()
}

fn is_one_line(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}'))
}

/// Asks the cache, and looks at all that an answer lends.
fn keeps_its_promises(cache: &Path) -> bool {
    let (mut settings, mut resolver, mut answer) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let dir = CString::new(cache.to_str().unwrap()).unwrap();
    let domain = CString::new(DOMAIN).unwrap();
    // SAFETY: as the header asks: pointers to pointers, texts closed by a NUL, each handle freed once.
    unsafe {
        assert_eq!(mtasts_settings_new(&mut settings), 0);
        assert_eq!(
            mtasts_settings_set(settings, c"cache_dir".as_ptr(), dir.as_ptr(), ptr::null_mut()),
            0
        );
        assert_eq!(mtasts_context_new(settings, &mut resolver, ptr::null_mut()), 0);
        mtasts_settings_free(settings);
        let length = domain.as_bytes().len();
        let status = mtasts_lookup_cached(resolver, domain.as_ptr(), length, &mut answer, ptr::null_mut());
        assert_eq!(status, 0);
        let (id, now) = (lent(mtasts_answer_id(answer)), unix_now());
        let is_there = !id.is_empty();
        if is_there {
            assert!(
                id.len() <= 32 && id.bytes().all(|c| c.is_ascii_alphanumeric()),
                "{id:?}"
            );
            let (fetched, expires) = (mtasts_answer_fetched(answer), mtasts_answer_expires(answer));
            assert!(fetched <= now + 1, "{fetched}");
            assert!((now..=now + 1 + u64::from(MAX_MAX_AGE)).contains(&expires), "{expires}");
            assert!((0..=2).contains(&mtasts_answer_mode(answer)));
        } else {
            assert_eq!((mtasts_answer_fetched(answer), mtasts_answer_expires(answer)), (0, 0));
        }
        assert_eq!(mtasts_answer_defer_until(answer), 0);
        for index in 0..mtasts_answer_mx_count(answer) {
            let pattern = lent(mtasts_answer_mx(answer, index));
            assert!(
                pattern
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"*.-".contains(&c)),
                "{pattern:?}"
            );
        }
        assert_eq!(lent(mtasts_answer_domain(answer)), DOMAIN);
        for text in [
            mtasts_answer_detail(answer),
            mtasts_answer_warning(answer),
            mtasts_answer_explanation(answer),
        ] {
            let text = lent(text);
            assert!(is_one_line(&text), "{text:?}");
        }
        mtasts_answer_free(answer);
        mtasts_context_free(resolver);
        is_there
    }
}

#[test]
fn whatever_a_file_says_what_c_is_lent_keeps_its_promises() {
    let cache = std::env::temp_dir().join(format!("mtasts-attacks-{}-values", std::process::id()));
    fs::create_dir(&cache).unwrap();
    chown(&cache, Some(USER), Some(USER)).unwrap();
    let (read, tried) = (Cell::new(0), Cell::new(0));
    let config = Config {
        cases: 600,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&body(), |body| {
        plant(&cache, &body);
        let ours = as_user(USER, USER, || keeps_its_promises(&cache));
        let roots = keeps_its_promises(&cache);
        assert_eq!(ours, roots, "root and its helper read the same");
        read.set(read.get() + usize::from(ours));
        tried.set(tried.get() + 1);
        Ok(())
    });
    fs::remove_dir_all(&cache).unwrap();
    result.unwrap();
    let (read, tried) = (read.get(), tried.get());
    assert!(
        read > tried / 20,
        "only {read} of {tried} files held a policy: this shows little"
    );
}
