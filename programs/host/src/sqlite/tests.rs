use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::sleep;

use mtasts::Mode;
use mtasts_kit::Child;
use tempfile::TempDir;

use super::schema::{APPLICATION, STEPS};
use super::*;
use crate::exchanges;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("ledger.db")
    }

    fn open(&self) -> Sqlite {
        Sqlite::open(&self.file()).unwrap()
    }

    fn refused(&self) -> LedgerError {
        Sqlite::open(&self.file()).map(|_| ()).unwrap_err()
    }
}

fn name(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn tenant(text: &str) -> Tenant {
    Tenant::new(text).unwrap()
}

fn policy(max_age: u32) -> Published {
    Published::new(Mode::Testing, max_age, &["mx.example.com".into()]).unwrap()
}

#[test]
fn a_token_stays_with_its_tenant() {
    let place = Place::new();
    let (a, b) = (name("a.example"), name("b.example"));
    let (anna, bert, operator) = (tenant("anna"), tenant("bert"), Tenant::operator());
    place.open().claim(&[(&a, &anna), (&b, &bert)], 1).unwrap();
    let first = place.open().claims().unwrap();
    assert_eq!((first.len(), first[&a].since, &first[&a].tenant), (2, 1, &anna));
    assert_ne!(first[&a].token, first[&b].token);

    // Again, and by another process.
    place.open().claim(&[(&a, &anna)], 2).unwrap();
    assert_eq!(place.open().claims().unwrap(), first);

    // Another tenant is a rival, with a token of its own that stays.
    for now in [3, 4] {
        place.open().claim(&[(&b, &bert), (&a, &bert)], now).unwrap();
    }
    let claims = place.open().claims().unwrap();
    let rival = claims[&a].of(&bert).unwrap().clone();
    assert_eq!(
        (rival.since, claims[&a].rivals.len(), claims[&b].rivals.len()),
        (3, 1, 0)
    );
    assert!(rival.token != first[&a].token && rival.token != first[&b].token);
    assert_eq!(claims[&a].of(&anna).unwrap().token, first[&a].token);

    // The operator takes it over with its token; another tenant gets it from the operator, with a new one.
    place.open().claim(&[(&a, &operator)], 4).unwrap();
    let taken = &place.open().claims().unwrap()[&a];
    assert_eq!((&taken.tenant, &taken.token), (&operator, &first[&a].token));
    place.open().reclaim(&a, &bert, 5).unwrap();
    let moved = place.open().claims().unwrap()[&a].clone();
    assert_eq!((&moved.tenant, moved.since), (&bert, 5));
    assert_ne!(moved.token, first[&a].token);
    assert!(moved.rivals.is_empty() && moved.token != rival.token);
    place.open().reclaim(&a, &bert, 6).unwrap();
    assert_eq!(place.open().claims().unwrap()[&a], moved);
    // Nobody is a rival of the operator, and with that domain nothing else is claimed.
    place.open().reclaim(&a, &operator, 7).unwrap();
    let before = place.open().claims().unwrap();
    let error = place
        .open()
        .claim(&[(&name("c.example"), &bert), (&a, &bert)], 8)
        .unwrap_err();
    assert!(
        matches!(&error, LedgerError::Taken(domain, _) if *domain == a),
        "{error}"
    );
    assert_eq!(place.open().claims().unwrap(), before);
}

#[test]
fn a_rival_that_dns_names_gets_the_domain() {
    let place = Place::new();
    let (a, b) = (name("a.example"), name("b.example"));
    let (anna, bert, carl) = (tenant("anna"), tenant("bert"), tenant("carl"));
    let mut ledger = place.open();
    ledger
        .claim(&[(&a, &anna), (&a, &bert), (&a, &carl), (&b, &bert)], 1)
        .unwrap();
    let claims = ledger.claims().unwrap();
    let token = |tenant| claims[&a].of(tenant).unwrap().token.clone();
    ledger.turn(&a, &Turn::Proven(token(&anna)), 2).unwrap();
    ledger.serve(&[(&a, &policy(86_400))], 3).unwrap();
    ledger.import(&a, Some(&policy(86_401)), 4).unwrap();
    let moves = exchanges::with(&[], &["new.example".into()], &[], 5);
    ledger.exchange(&a, &moves).unwrap();
    ledger.turn(&a, &Turn::Lost(token(&anna)), 6).unwrap();
    // The token of another domain's claim is nothing here.
    assert!(!ledger.turn(&a, &Turn::Proven(claims[&b].token.clone()), 7).unwrap());
    assert!(ledger.turn(&a, &Turn::Proven(token(&carl)), 8).unwrap());
    let won = place.open().claims().unwrap().remove(&a).unwrap();
    assert_eq!((&won.tenant, &won.token), (&carl, &token(&carl)));
    assert_eq!((won.since, won.proven, won.lost), (8, Some(8), None));
    let rivals: Vec<_> = won.rivals.iter().map(|rival| (&rival.tenant, &rival.token)).collect();
    assert_eq!(rivals, [(&anna, &token(&anna)), (&bert, &token(&bert))]);
    // What senders hold is there, and nothing that was under way for the tenant before.
    assert_eq!(ledger.served().unwrap().len(), 1);
    assert!(ledger.imported().unwrap().is_empty() && ledger.exchanges().unwrap().is_empty());
    // The customer comes back, with the token in the DNS.
    assert!(ledger.turn(&a, &Turn::Proven(token(&anna)), 9).unwrap());
    assert_eq!(ledger.claims().unwrap()[&a].tenant, anna);
    // All tokens are nobody's when the domain is released.
    ledger.turn(&a, &Turn::Released, 10).unwrap();
    let gone = ledger.gone(&[]).unwrap();
    for tenant in [&anna, &bert, &carl] {
        assert!(gone.contains(&token(tenant)), "{tenant}");
    }
}

#[test]
fn what_dns_said_is_of_one_token() {
    let place = Place::new();
    let a = name("a.example");
    let (anna, bert) = (tenant("anna"), tenant("bert"));
    let mut ledger = place.open();
    ledger.claim(&[(&a, &anna)], 1).unwrap();
    let token = ledger.claims().unwrap()[&a].token.clone();
    let said = |ledger: &Sqlite| {
        let claim = ledger.claims().unwrap().remove(&a).unwrap();
        (claim.proven, claim.lost, claim.is_proven())
    };
    let other = Token::random().unwrap();
    assert!(!ledger.turn(&a, &Turn::Proven(other), 2).unwrap());
    assert!(
        !ledger
            .turn(&name("b.example"), &Turn::Proven(token.clone()), 2)
            .unwrap()
    );
    assert_eq!(said(&ledger), (None, None, false));
    ledger.serve(&[(&a, &policy(86_400))], 3).unwrap();
    for (turn, now, expected) in [
        (Turn::Proven(token.clone()), 4, (Some(4), None, true)),
        (Turn::Lost(token.clone()), 5, (Some(4), Some(5), true)),
        (Turn::Lost(token.clone()), 6, (Some(4), Some(5), true)),
        (Turn::Proven(token.clone()), 7, (Some(4), None, true)),
        (Turn::Lost(token.clone()), 8, (Some(4), Some(8), true)),
    ] {
        assert!(ledger.turn(&a, &turn, now).unwrap());
        assert_eq!(said(&ledger), expected, "{turn:?}");
    }
    // A claim that is renewed keeps it, and so does one that returns.
    ledger.turn(&a, &Turn::Leaving, 9).unwrap();
    ledger.claim(&[(&a, &anna)], 10).unwrap();
    assert_eq!(said(&ledger), (Some(4), Some(8), true));
    assert_eq!(ledger.served().unwrap().len(), 1);
    ledger.turn(&a, &Turn::Void(token.clone()), 11).unwrap();
    assert_eq!(
        (said(&ledger), ledger.served().unwrap().len()),
        ((None, None, false), 0)
    );
    assert_eq!(ledger.history(&a).unwrap()[0].until, Some(11));
    // Another tenant begins anew; the operator needs no proof.
    ledger.turn(&a, &Turn::Proven(token.clone()), 12).unwrap();
    ledger.reclaim(&a, &bert, 13).unwrap();
    assert_eq!(said(&ledger), (None, None, false));
    assert!(!ledger.turn(&a, &Turn::Proven(token), 14).unwrap());
    ledger.claim(&[(&a, &Tenant::operator())], 15).unwrap();
    assert_eq!(said(&ledger), (None, None, true));
}

#[test]
fn what_was_served_is_remembered_until_the_domain_is_released() {
    let place = Place::new();
    let mut ledger = place.open();
    let (a, b) = (name("a.example"), name("b.example"));
    assert!(
        ledger.serve(&[(&a, &policy(86_400))], 1).is_err(),
        "a domain that is not claimed"
    );
    ledger.claim(&[(&a, &tenant("t")), (&b, &tenant("t"))], 1).unwrap();
    // A, A again, B, A.
    for (max_age, now) in [(86_400, 10), (86_400, 20), (86_401, 30), (86_400, 40)] {
        let policy = policy(max_age);
        ledger.serve(&[(&a, &policy), (&b, &policy)], now).unwrap();
    }
    let history: Vec<_> = ledger.history(&a).unwrap();
    let times: Vec<_> = history
        .iter()
        .map(|served| (served.published.policy().max_age(), served.from, served.until))
        .collect();
    assert_eq!(
        times,
        [(86_400, 10, Some(30)), (86_401, 30, Some(40)), (86_400, 40, None)]
    );
    let served = place.open().served().unwrap();
    assert_eq!(*served[&a], policy(86_400));
    assert!(Arc::ptr_eq(&served[&a], &served[&b]));

    assert!(ledger.turn(&a, &Turn::Released, 0).unwrap());
    assert!(!ledger.turn(&a, &Turn::Released, 0).unwrap());
    assert_eq!(
        (ledger.history(&a).unwrap().len(), ledger.served().unwrap().len()),
        (0, 1)
    );
    // A new claim is a new token.
    let before = place.open().claims().unwrap();
    ledger.claim(&[(&a, &tenant("t"))], 50).unwrap();
    assert_eq!((before.len(), ledger.claims().unwrap().len()), (1, 2));
}

#[test]
fn the_steps_and_what_the_gates_said() {
    let place = Place::new();
    let mut ledger = place.open();
    let (a, b) = (name("a.example"), name("b.example"));
    let step = |mode, max_age| Step { mode, max_age };
    assert!(
        ledger.step(&[(&a, Step::FIRST)], None, 1).is_err(),
        "a domain that is not claimed"
    );
    assert!(ledger.judge(&a, &[], 1).is_err(), "a domain that is not claimed");
    ledger.claim(&[(&a, &tenant("t")), (&b, &tenant("t"))], 1).unwrap();
    ledger.step(&[(&a, Step::FIRST), (&b, Step::FIRST)], None, 10).unwrap();
    let said = ["mx: one".to_owned(), "mx: two".to_owned()];
    ledger.judge(&a, &said, 15).unwrap();
    ledger.judge(&a, &said[..1], 16).unwrap();
    let judged = place.open().judged().unwrap();
    assert_eq!(
        (judged.len(), judged[&a].at, &judged[&a].refusals[..]),
        (1, 16, &said[..1])
    );
    let next = step(Mode::Enforce, 86_400);
    ledger.step(&[(&a, next)], Some("why not"), 20).unwrap();
    let steps = place.open().steps().unwrap();
    let stepped = |step, at, forced: Option<&str>| Stepped {
        step,
        at,
        forced: forced.map(str::to_owned),
    };
    assert_eq!(steps[&a], stepped(next, 20, Some("why not")));
    assert_eq!(steps[&b], stepped(Step::FIRST, 10, None));
    assert_eq!(ledger.judged().unwrap().len(), 0, "it was said of the step before");

    // Another process has written, or this one alone.
    let before = ledger.version().unwrap();
    ledger.judge(&b, &said, 30).unwrap();
    assert_eq!(ledger.version().unwrap(), before);
    place.open().turn(&a, &Turn::Released, 0).unwrap();
    assert_ne!(ledger.version().unwrap(), before);
    assert_eq!(ledger.steps().unwrap().len(), 1);
}

#[test]
fn what_leaves_and_what_comes() {
    let place = Place::new();
    let mut ledger = place.open();
    let (a, operator) = (name("a.example"), Tenant::operator());
    assert!(!ledger.turn(&a, &Turn::Leaving, 1).unwrap());
    assert!(
        ledger.import(&a, Some(&policy(86_400)), 1).is_err(),
        "a domain that is not claimed"
    );
    ledger.claim(&[(&a, &operator)], 2).unwrap();
    let before = ledger.claims().unwrap();
    assert!(ledger.turn(&a, &Turn::Leaving, 3).unwrap() && ledger.turn(&a, &Turn::Leaving, 4).unwrap());
    assert_eq!(place.open().claims().unwrap()[&a].leaving, Some(3));
    // A file names it again.
    ledger.claim(&[(&a, &operator)], 5).unwrap();
    assert_eq!(place.open().claims().unwrap(), before);

    let strange = Published::taken_over(b"version: STSv1\nmode: none\nmax_age: 1\n", "x1").unwrap();
    for published in [&policy(86_400), &strange] {
        ledger.import(&a, Some(published), 6).unwrap();
        assert_eq!(*place.open().imported().unwrap()[&a], *published);
    }
    // The same text under another id is another policy.
    let again = Published::taken_over(strange.text().as_bytes(), "x2").unwrap();
    for (published, at) in [(&strange, 10), (&strange, 11), (&again, 12)] {
        ledger.serve(&[(&a, published)], at).unwrap();
        assert_eq!(*place.open().served().unwrap()[&a], *published);
    }
    assert_eq!(ledger.history(&a).unwrap().len(), 2);
    assert!(ledger.import(&a, None, 7).unwrap() && !ledger.import(&a, None, 7).unwrap());
    assert_eq!(ledger.imported().unwrap().len(), 0);
}

#[test]
fn the_certificates_and_what_was_done_for_them() {
    let place = Place::new();
    let mut ledger = place.open();
    let (a, b) = (name("a.example"), name("b.example"));
    let attempt = |failures, order: Option<(&str, &str)>| Attempt {
        failures,
        next: 77,
        why: "because".into(),
        order: order.map(|(url, key)| (url.to_owned(), key.to_owned())),
        authority: "https://ca.example/".into(),
        since: Some(70),
    };
    let mut certificate = Certificate {
        chain: "CHAIN".into(),
        key: "KEY".into(),
        authority: "https://ca.example/".into(),
        life: Life {
            issued: 1,
            until: 2,
            renew: 3,
            ask: 4,
            is_advised: false,
        },
    };
    assert!(
        ledger.attempt(&a, &attempt(1, None)).is_err(),
        "a domain that is not claimed"
    );
    assert!(
        ledger.certify(&a, &certificate).is_err(),
        "a domain that is not claimed"
    );
    ledger.claim(&[(&a, &tenant("t")), (&b, &tenant("t"))], 1).unwrap();
    let begun = attempt(2, Some(("https://ca.example/1", "KEY")));
    ledger.attempt(&a, &attempt(1, None)).unwrap();
    ledger.attempt(&a, &begun).unwrap();
    let tls = place.open().tls().unwrap();
    assert_eq!((tls.len(), &tls[&a].attempt, tls[&a].life), (1, &Some(begun), None));
    ledger.certify(&a, &certificate).unwrap();
    assert_eq!(place.open().certificate(&a).unwrap(), Some(certificate.clone()));
    assert_eq!(place.open().certificate(&b).unwrap(), None);
    assert_eq!(ledger.tls().unwrap()[&a].attempt, None, "it was done");
    certificate.life.is_advised = true;
    certificate.life.renew = 9;
    ledger.plan(&a, &certificate.life).unwrap();
    certificate.key = "OTHER".into();
    ledger.certify(&a, &certificate).unwrap();
    assert_eq!(place.open().certificate(&a).unwrap(), Some(certificate));
    ledger.turn(&a, &Turn::Released, 0).unwrap();
    assert_eq!(
        (ledger.certificate(&a).unwrap(), ledger.tls().unwrap().len()),
        (None, 0)
    );

    // One account at each authority.
    let mut noted = |note| {
        ledger.account("https://ca.example/", note, 5).unwrap();
        let found = place.open().account("https://ca.example/", None, 7).unwrap();
        found.map(|account| (account.key, account.plain))
    };
    assert_eq!(noted(None), None);
    assert_eq!(noted(Some(Note::Plain(9))), None);
    assert_eq!(noted(Some(Note::Key(b"\0key"))), Some((b"\0key".to_vec(), 0)));
    assert_eq!(noted(Some(Note::Plain(9))), Some((b"\0key".to_vec(), 9)));
    assert_eq!(noted(Some(Note::Key(b"other"))), Some((b"other".to_vec(), 0)));
}

/// In no window are there more orders than the settings say, also after a restart.
#[test]
fn orders_are_counted_in_every_window() {
    let place = Place::new();
    let (window, most) = (100, 7);
    let mut made = Vec::new();
    for now in (0..1000).step_by(3) {
        if place.open().order(now - window.min(now), now, most).unwrap() {
            made.push(now);
        }
    }
    assert!(made.len() > 60, "{made:?}");
    for last in &made {
        let recent = made
            .iter()
            .filter(|time| (last.saturating_sub(window) + 1..=*last).contains(*time));
        assert!(recent.count() <= most as usize, "{made:?}");
    }
}

/// What an older version has written is read, and its schema is brought up.
#[test]
fn a_ledger_of_the_first_schema_is_taken_over() {
    let place = Place::new();
    let old = Connection::open(place.file()).unwrap();
    old.execute_batch(STEPS[0]).unwrap();
    old.execute_batch(
        "INSERT INTO domain VALUES ('a.example', 't', 'aaaaaaaaaaaaaaaa', 7);
         INSERT INTO served VALUES ('a.example', 'version: STSv1' || char(13, 10) || 'mode: none' || char(13, 10) ||
             'max_age: 86400' || char(13, 10), 8, NULL);",
    )
    .unwrap();
    old.pragma_update(None, "application_id", APPLICATION).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let mut ledger = place.open();
    assert_eq!(ledger.claims().unwrap()[&name("a.example")].since, 7);
    assert_eq!(ledger.served().unwrap()[&name("a.example")].policy().mode(), Mode::None);
    ledger.step(&[(&name("a.example"), Step::FIRST)], None, 9).unwrap();
}

#[test]
fn its_files_are_the_owners_alone() {
    let place = Place::new();
    let mut ledger = place.open();
    ledger.claim(&[(&name("a.example"), &tenant("t"))], 1).unwrap();
    let files: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 2, "the write-ahead log is there: {files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
    fs::set_permissions(place.0.path(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(
        place.refused().to_string().contains("every user may write"),
        "{}",
        place.refused()
    );
    let nowhere = place.0.path().join("not-there/ledger.db");
    assert!(matches!(Sqlite::open(&nowhere), Err(LedgerError::Place(_))));
}

#[test]
fn what_this_version_does_not_understand_is_left_alone() {
    let place = Place::new();
    place.open();
    let change = |sql: &str| Connection::open(place.file()).unwrap().execute_batch(sql).unwrap();
    change("PRAGMA user_version = 99");
    assert!(matches!(place.refused(), LedgerError::Newer(99)));
    change("PRAGMA user_version = 1; PRAGMA application_id = 7");
    assert!(matches!(place.refused(), LedgerError::Damaged(_)));
    let other = Place::new();
    Connection::open(other.file())
        .unwrap()
        .execute_batch("CREATE TABLE mail (a)")
        .unwrap();
    assert!(matches!(other.refused(), LedgerError::Damaged(_)));
    let text = Place::new();
    fs::write(
        text.file(),
        "this is not a ledger, and longer than the head of one".repeat(10),
    )
    .unwrap();
    assert!(matches!(text.refused(), LedgerError::Engine(_)));
}

#[test]
fn what_it_holds_is_validated_again() {
    for sql in [
        "UPDATE domain SET name = 'A.example'",
        "UPDATE domain SET name = 'a' || char(10) || 'b.example'",
        "UPDATE domain SET token = 'aaaaaaaaaaaaaaa1'",
        "UPDATE domain SET tenant = '../x'",
        "UPDATE served SET text = 'version: STSv1'",
        "UPDATE served SET id = 'a b'",
        "UPDATE step SET mode = 'Enforce'",
        "UPDATE step SET max_age = 86399",
        "UPDATE exchange SET pattern = 'a' || char(10) || 'b.example'",
        "UPDATE exchange SET stage = 'gone'",
        "UPDATE served SET text = replace(text, 'testing', 'enforce' || char(10) || 'x: y')",
    ] {
        let place = Place::new();
        let mut ledger = place.open();
        let a = name("a.example");
        ledger.claim(&[(&a, &tenant("t"))], 1).unwrap();
        ledger.serve(&[(&a, &policy(86_400))], 1).unwrap();
        ledger.step(&[(&a, Step::FIRST)], None, 1).unwrap();
        ledger
            .exchange(&a, &exchanges::with(&[], &["mx.a.example".into()], &[], 1))
            .unwrap();
        ledger
            .0
            .execute_batch(&format!("PRAGMA foreign_keys = off; {sql}"))
            .unwrap();
        let read = ledger.claims().map(|_| ()).and_then(|()| ledger.served().map(|_| ()));
        let read = read.and_then(|()| ledger.steps().map(|_| ()));
        let read = read.and_then(|()| ledger.exchanges().map(|_| ()));
        assert!(matches!(read, Err(LedgerError::Damaged(_))), "{sql}");
    }
}

#[test]
fn the_moves_of_a_domain() {
    let place = Place::new();
    let mut ledger = place.open();
    let (a, b) = (name("a.example"), name("b.example"));
    let moves = exchanges::with(&[], &["new.example".into()], &["*.old.example".into()], 5);
    assert!(ledger.exchange(&a, &moves).is_err(), "it is not claimed");
    ledger.claim(&[(&a, &tenant("t")), (&b, &tenant("t"))], 1).unwrap();
    ledger.exchange(&a, &moves).unwrap();
    ledger.exchange(&b, &[]).unwrap();
    let known = place.open().exchanges().unwrap();
    assert_eq!((known.len(), &known[&a]), (1, &moves));
    ledger.exchange(&a, &moves[1..]).unwrap();
    assert_eq!(ledger.exchanges().unwrap()[&a], moves[1..]);
    ledger.turn(&a, &Turn::Released, 0).unwrap();
    assert!(ledger.exchanges().unwrap().is_empty());
}

/// A writer is killed at any moment. What it had done is there, what it had begun is not.
#[test]
fn a_writer_that_is_killed_leaves_whole_steps() {
    let place = Place::new();
    let (a, b) = (name("a.example"), name("b.example"));
    place
        .open()
        .claim(&[(&a, &tenant("t")), (&b, &tenant("t"))], 1)
        .unwrap();
    let claims = place.open().claims().unwrap();
    let mut last = 0;
    for round in 0..400_u32 {
        // A slow disk has more rounds.
        if round >= 20 && last > 20 {
            break;
        }
        let (file, round) = (place.file(), round % 20);
        let writer = Child::start(move || {
            let mut ledger = Sqlite::open(&file).unwrap();
            let (a, b) = (name("a.example"), name("b.example"));
            for step in 0.. {
                let policy = policy(86_400 + round * 1_000_000 + step % 900_000);
                ledger.serve(&[(&a, &policy), (&b, &policy)], step.into()).unwrap();
            }
        });
        sleep(Duration::from_millis(7 + u64::from(round) * 3));
        drop(writer);
        let ledger = place.open();
        let check: String = ledger
            .0
            .query_row("PRAGMA integrity_check", (), |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        let served = ledger.served().unwrap();
        assert_eq!(served.get(&a), served.get(&b), "half a step");
        assert_eq!(ledger.claims().unwrap(), claims);
        last = last.max(ledger.history(&a).unwrap().len());
    }
    assert!(last > 20, "{last} steps were made");
}

#[test]
fn a_writer_waits_for_another_process() {
    let place = Place::new();
    let mut first = place.open();
    let transaction = first.write().unwrap();
    let file = place.file();
    let second = std::thread::spawn(move || {
        let mut ledger = Sqlite::open(&file)?;
        ledger.claim(&[(&name("a.example"), &tenant("t"))], 1)
    });
    sleep(Duration::from_millis(200));
    assert!(!second.is_finished());
    transaction.commit().unwrap();
    second.join().unwrap().unwrap();
    assert_eq!(first.claims().unwrap().len(), 1);
}

#[test]
fn all_private_keys_are_replaced_or_none() {
    let place = Place::new();
    let mut ledger = place.open();
    let a = name("a.example");
    ledger.claim(&[(&a, &tenant("anna"))], 1).unwrap();
    let key = Note::Key(b"\xffaccount");
    ledger.account("https://ca.example/", Some(key), 1).unwrap();
    let life = Life {
        issued: 1,
        until: 9,
        renew: 5,
        ask: 2,
        is_advised: false,
    };
    let certificate = Certificate {
        chain: "chain".into(),
        key: "certified".into(),
        authority: String::new(),
        life,
    };
    ledger.certify(&a, &certificate).unwrap();
    let attempt = Attempt {
        order: Some(("https://ca.example/1".into(), "ordered".into())),
        ..Attempt::default()
    };
    ledger.attempt(&a, &attempt).unwrap();
    let keys = |ledger: &mut Sqlite| {
        let mut keys = Vec::new();
        let mut look = |place: &str, key: &[u8]| {
            keys.push((place.to_owned(), String::from_utf8_lossy(key).into_owned()));
            Ok(None)
        };
        assert_eq!(ledger.rekey(&mut look).unwrap(), 0);
        keys
    };
    let before = keys(&mut ledger);
    assert_eq!(
        before,
        [
            ("account at https://ca.example/", "\u{fffd}account"),
            ("certificate of a.example", "certified"),
            ("order for a.example", "ordered")
        ]
        .map(|(place, key)| (place.to_owned(), key.to_owned()))
    );
    let mut fails = |place: &str, _: &[u8]| match place.starts_with("order") {
        true => Err("no".to_owned()),
        false => Ok(Some(b"new".to_vec())),
    };
    assert_eq!(ledger.rekey(&mut fails).unwrap_err().to_string(), "no");
    assert_eq!(keys(&mut ledger), before);
    assert_eq!(ledger.rekey(&mut |_, _| Ok(Some(b"new".to_vec()))).unwrap(), 3);
    assert!(keys(&mut ledger).iter().all(|(_, key)| key == "new"));
    assert_eq!(ledger.certificate(&a).unwrap().unwrap().key, "new");
    // Nothing of what was there is left in its files.
    for file in fs::read_dir(place.0.path()).unwrap() {
        let octets = fs::read(file.unwrap().path()).unwrap();
        assert!(!octets.windows(9).any(|octets| octets == b"certified"));
    }
}
