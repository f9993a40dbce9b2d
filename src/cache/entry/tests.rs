//! The text of an entry, written and read back, and what a hostile file cannot say.

use super::*;

/// When the files were written.
const WRITTEN: u64 = 1_000_000;

fn id(text: &str) -> PolicyId {
    text.parse().unwrap()
}

/// The file with this body.
fn signed(body: &str) -> Vec<u8> {
    format!("{FORMAT}{}\n{body}", digest(body)).into_bytes()
}

fn body(entry: &Entry) -> String {
    entry.to_file().split_once('\n').unwrap().1.to_owned()
}

fn full() -> Entry {
    let text = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 1000\r\nx: \n\n: no";
    let text = text.replace("\r\nx: \n\n: no", "\r\n\r\nx: é\r\n");
    let failed = FailedFetch::new(id("B"), 300, ResultType::StsWebpkiInvalid, "bad\ncertificate");
    Entry {
        domain: Domain::parse("example.com").unwrap(),
        cached: Some(Arc::new(CachedPolicy::new(id("A"), 100, text).unwrap())),
        txt: Some(TxtSeen { at: 200, next: 260 }),
        failed: Some(failed),
        unlearned_since: Some(7),
        mode_since: Some(90),
        imported: Some(95),
        pinned_until: Some(1000),
        used: Some(400),
        idle_since: Some(500),
    }
}

#[test]
fn reads_back_what_it_wrote() {
    let entry = full();
    assert_eq!(entry.failed.as_ref().unwrap().detail, "bad certificate");
    let read = Entry::from_file(&entry.domain, entry.to_file().as_bytes(), WRITTEN).unwrap();
    assert_eq!(read, entry);
    let bare = Entry::new(entry.domain.clone());
    assert_eq!(
        Entry::from_file(&bare.domain, bare.to_file().as_bytes(), WRITTEN),
        Ok(bare)
    );
}

/// What was written before there were these times.
#[test]
fn reads_a_file_without_the_later_lines() {
    let later = ["mode-since", "imported", "pinned-until", "used", "idle-since"];
    let body: String = body(&full())
        .split_inclusive('\n')
        .filter(|line| !later.iter().any(|name| line.starts_with(&format!("{name}: "))))
        .collect();
    let read = Entry::from_file(&full().domain, &signed(&body), WRITTEN).unwrap();
    assert_eq!((read.cached, read.txt), (full().cached, full().txt));
    assert_eq!((read.used, read.pinned_until, read.mode_since), (None, None, None));
}

#[test]
fn a_use_is_noted_once_a_day_whatever_the_clock_does() {
    let mut entry = full();
    entry.used = None;
    for (now, noted) in [
        (1_000_000, true),
        (1_000_001, false),
        (1_086_399, false),
        (1_086_400, true),
        (9_000_000, true),
        (1_000_000, true),
        (999_000, false),
    ] {
        assert_eq!(entry.note_use(now), noted, "at {now}");
    }
    assert_eq!(entry.used, Some(1_000_000));
}

#[test]
fn a_pin_holds_to_its_last_second_and_needs_a_policy_that_counts() {
    let mut entry = full();
    assert_eq!((entry.pinned(1000), entry.pinned(1001)), (Some(1000), None));
    entry.pinned_until = Some(5000);
    assert_eq!((entry.pinned(1100), entry.pinned(1101)), (Some(5000), None));
}

#[test]
fn one_changed_or_missing_octet_voids_the_file() {
    let file = full().to_file().into_bytes();
    let domain = full().domain;
    for cut in 0..file.len() {
        assert!(
            Entry::from_file(&domain, &file[..cut], WRITTEN).is_err(),
            "cut at {cut}"
        );
    }
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(Entry::from_file(&domain, &changed, WRITTEN).is_err(), "changed at {at}");
    }
}

/// An attacker who can write the file can make its digest match.
#[test]
fn a_value_that_dns_or_https_could_not_give_voids_the_file() {
    let good = body(&full());
    for (line, hostile) in [
        ("policy-id: A", "policy-id: x\" ignore=\"net-sqlite;/tmp/x select 1\""),
        ("policy-id: A", "policy-id: "),
        ("policy-id: A", "policy-id: a-b"),
        ("policy-id: A", "policy-id: \u{e9}"),
        ("policy-id: A", "policy-id: 123456789012345678901234567890123"),
        ("failed-id: B", "failed-id: b c"),
        ("fetched: 100", "fetched: -1"),
        ("fetched: 100", "fetched: 18446744073709551616"),
        ("failed-result: sts-webpki-invalid", "failed-result: x"),
        ("used: 400", "used: 400\nused: 400"),
        ("version: STSv1", "version: STSv2"),
    ] {
        let body = good.replace(line, hostile);
        assert_ne!(body, good, "{line}");
        let read = Entry::from_file(&full().domain, &signed(&body), WRITTEN);
        let error = read.expect_err(hostile).to_string();
        assert!(error.len() < 200 && !error.contains('\n'), "{error}");
    }
    let idless = good.replace("policy-id: A\nfetched: 100\n", "");
    assert!(Entry::from_file(&full().domain, &signed(&idless), WRITTEN).is_err());
}

#[test]
fn nothing_happened_after_it_was_written_and_no_life_is_longer_than_a_year() {
    let mut body = body(&full()).replace("max_age: 1000", "max_age: 9999999999");
    for name in [
        "fetched",
        "mode-since",
        "imported",
        "pinned-until",
        "txt-seen",
        "txt-next",
        "failed-at",
        "unlearned-since",
        "used",
        "idle-since",
    ] {
        let at = body.find(&format!("\n{name}: ")).unwrap() + name.len() + 3;
        let end = at + body[at..].find('\n').unwrap();
        body.replace_range(at..end, &u64::MAX.to_string());
    }
    let read = Entry::from_file(&full().domain, &signed(&body), WRITTEN).unwrap();
    let year = u64::from(MAX_MAX_AGE);
    let cached = read.cached.as_ref().unwrap();
    assert_eq!((cached.fetched, cached.expires()), (WRITTEN, WRITTEN + year));
    let past = [
        read.mode_since,
        read.imported,
        read.unlearned_since,
        read.used,
        read.idle_since,
    ];
    assert_eq!(past, [Some(WRITTEN); 5]);
    assert_eq!(
        (read.pinned_until, read.failed.unwrap().at),
        (Some(WRITTEN + year), WRITTEN)
    );
    assert_eq!(read.txt, None);

    // The clocks of a host and of its file server differ.
    let ahead = |by: u64| {
        let mut entry = full();
        (entry.imported, entry.txt) = (
            None,
            entry.txt.map(|txt| TxtSeen {
                at: WRITTEN + by,
                ..txt
            }),
        );
        let old = entry.cached.unwrap();
        entry.cached = Some(Arc::new(
            CachedPolicy::new(old.id, WRITTEN + by, old.text.as_str()).unwrap(),
        ));
        Entry::from_file(&entry.domain, entry.to_file().as_bytes(), WRITTEN).unwrap()
    };
    let near = ahead(CLOCKS_DIFFER);
    assert_eq!((near.imported, near.txt.unwrap().at), (None, WRITTEN));
    let lies = ahead(CLOCKS_DIFFER + 1);
    assert_eq!((lies.imported, lies.txt), (Some(WRITTEN), None));
    assert_eq!(lies.cached.unwrap().fetched, WRITTEN);
}

#[test]
fn a_text_of_the_file_is_one_clean_line() {
    let body = body(&full()).replace("bad certificate", "a\u{1b}[31m\u{202e}\u{7}b\tc\r");
    let read = Entry::from_file(&full().domain, &signed(&body), WRITTEN).unwrap();
    assert_eq!(read.failed.unwrap().detail, "a [31m  b c");
}

#[test]
fn another_domain_or_version_is_not_used() {
    let file = full().to_file();
    let other = Domain::parse("example.net").unwrap();
    let read = Entry::from_file(&other, file.as_bytes(), WRITTEN);
    assert_eq!(read, Err(EntryError::OtherDomain));
    let newer = file.replacen("mtasts 1 ", "mtasts 2 ", 1);
    let read = Entry::from_file(&full().domain, newer.as_bytes(), WRITTEN);
    assert_eq!(read, Err(EntryError::Format));
}

#[test]
fn counts_up_to_its_last_second() {
    let entry = full();
    assert!(entry.live(1100).is_some());
    assert!(entry.live(1101).is_none());
    assert!(entry.live(0).is_some(), "the clock went back");
}

/// What another host of a fleet knows: a later fetch wins, in both directions, and what is this host's own stays.
#[test]
fn a_later_fetch_of_another_host_is_adopted() {
    const NOW: u64 = 5000;
    let fetched = |name: &str, at: u64, max_age: u64| {
        let text = format!("version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: {max_age}\n");
        let mut entry = Entry::new(Domain::parse("example.com").unwrap());
        entry.cached = Some(Arc::new(CachedPolicy::new(id(name), at, text).unwrap()));
        entry.mode_since = Some(at);
        entry
    };
    let failed = |mut entry: Entry, at: u64| {
        entry.failed = Some(FailedFetch::new(id("f"), at, ResultType::StsPolicyFetchError, "gone"));
        entry
    };
    let bare = || Entry::new(full().domain);
    for (ours, theirs, expected, failed_at) in [
        (bare(), fetched("b", 4000, 2000), Some("b"), None),
        (fetched("a", 4000, 2000), fetched("b", 4001, 2000), Some("b"), None),
        (fetched("a", 4000, 2000), fetched("b", 4000, 2000), Some("a"), None),
        (fetched("a", 4001, 2000), fetched("b", 4000, 2000), Some("a"), None),
        // A replay: ours has expired, and theirs is older and lives for longer.
        (fetched("a", 4000, 10), fetched("b", 3000, 9000), Some("a"), None),
        (bare(), fetched("b", 4000, 999), None, None),
        // A failure counts until a fetch that succeeds, wherever either was.
        (bare(), failed(bare(), 4900), None, Some(4900)),
        (fetched("a", 4000, 2000), failed(bare(), 4900), Some("a"), Some(4900)),
        (fetched("a", 4950, 2000), failed(bare(), 4900), Some("a"), None),
        (failed(bare(), 4950), failed(bare(), 4900), None, Some(4950)),
        (failed(bare(), 4800), fetched("b", 4900, 2000), Some("b"), None),
        (failed(bare(), 4950), fetched("b", 4900, 2000), Some("b"), Some(4950)),
    ] {
        let mut entry = Entry {
            txt: full().txt,
            used: full().used,
            ..ours
        };
        entry.adopt(&theirs, NOW);
        let cached = entry.cached.as_ref().map(|cached| cached.id.as_str());
        assert_eq!(cached, expected, "{theirs:?}");
        assert_eq!(entry.failed.as_ref().map(|failed| failed.at), failed_at, "{theirs:?}");
        assert_eq!((entry.txt, entry.used, entry.imported), (full().txt, full().used, None));
    }
}
