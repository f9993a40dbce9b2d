//! Each report goes where its domain wants it, once, and again if it was not taken.

use std::fs;

use mtasts::protocol::calendar;
use mtasts::sender::resolver::unix_now;
use mtasts_kit::Ran;
use serde_json::json;

use super::world::{DAY, World, label, yesterday};

#[test]
fn each_domain_gets_its_report_once_where_it_wants_it() {
    let world = World::new(
        "once",
        &[
            ("mail.test", "v=TLSRPTv1; rua=mailto:reports@mail.test"),
            (
                "both.test",
                "v=TLSRPTv1; rua=mailto:a%21b@both.test,HTTPS://good.test:443/v1?x=%7E",
            ),
            ("good.test", "8.8.8.1"),
            // Whoever writes a record can name us, our own network, and things that are not destinations.
            (
                "hostile.test",
                "v=TLSRPTv1; rua=mailto:TLSRPT@sender.test,https://127.0.0.1/,http://x.test/,javascript:alert(1),mailto:x%0d%0aBcc:y@z.test",
            ),
        ],
    );
    world.sessions(&["mail.test", "both.test", "none.test", "hostile.test", "silent.test"]);
    let ran = world.run();
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "reports: 3 sent, 0 failed, 2 domains want none, of 1 DNS does not say\n"
    );
    assert_eq!(
        ran.err,
        "mtasts: 5 of the places where hostile.test wants reports are not used (D-36, D-38)\n"
    );
    let again = world.run();
    assert_eq!(
        again.out, "reports: 0 sent, 0 failed, 0 domains want none, of 1 DNS does not say\n",
        "{again:?}"
    );

    let day = yesterday();
    let begin = calendar::day(&day).unwrap();
    let mails = world.mails();
    assert_eq!(mails.len(), 2, "{mails:?}");
    let mail = mails
        .iter()
        .find(|mail| mail["headers"]["tls-report-domain"] == "mail.test")
        .unwrap();
    let headers = &mail["headers"];
    let id = mail["report"]["report-id"].as_str().unwrap();
    assert_eq!(
        headers["subject"],
        format!("Report Domain: mail.test Submitter: sender.test Report-ID: <{id}>")
    );
    assert_eq!(headers["from"], "Sénder <tlsrpt@sender.test>");
    assert_eq!(headers["to"], "reports@mail.test");
    assert_eq!(headers["tls-report-submitter"], "sender.test");
    assert_eq!(headers["tls-required"], "No");
    assert_eq!(headers["auto-submitted"], "auto-generated");
    assert!(
        headers["message-id"].as_str().unwrap().ends_with("@sender.test>"),
        "{headers}"
    );
    assert_eq!(mail["count"], 11, "{headers}");
    assert_eq!(
        (&mail["type"], &mail["report-type"]),
        (&json!("multipart/report"), &json!("tlsrpt"))
    );
    assert_eq!(
        (&mail["parts"], &mail["defects"]),
        (&json!(["text/plain", "application/tlsrpt+gzip"]), &json!([]))
    );
    let unique = id.rsplit_once('@').unwrap().0.rsplit_once('_').unwrap().1;
    assert_eq!(
        mail["file"],
        format!("sender.test!mail.test!{begin}!{}!{unique}.json.gz", begin + DAY - 1)
    );
    assert!(
        mail["text"]
            .as_str()
            .unwrap()
            .contains(&format!("servers of mail.test on {day} (UTC)")),
        "{}",
        mail["text"]
    );
    let report = &mail["report"];
    assert_eq!(report["organization-name"], "Sénder");
    let summary = json!({"total-successful-session-count": 1, "total-failure-session-count": 1});
    assert_eq!(report["policies"][0]["summary"], summary);
    let both = mails
        .iter()
        .find(|mail| mail["headers"]["tls-report-domain"] == "both.test")
        .unwrap();
    assert_eq!(both["headers"]["to"], "a!b@both.test");
    // The same report by https.
    assert_eq!(*world.posted.lock().unwrap(), [both["report"].clone()]);
    let requests = world.servers[0].requests();
    assert_eq!(requests.len(), 1);
    let head = requests[0].head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1?x=%7e http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/tlsrpt+gzip\r\n") && head.contains("content-length: "),
        "{head}"
    );
    // Who wants a report is asked once a day; of whom nothing is known, again.
    let asked = |domain: &str| {
        let name = format!("_smtp._tls.{domain}");
        world.dns.asked().iter().filter(|asked| asked.name == name).count()
    };
    assert_eq!(["mail.test", "none.test", "hostile.test"].map(asked), [1, 1, 1]);
    assert!(asked("silent.test") >= 2);
}

#[test]
fn what_is_not_taken_is_tried_again_and_not_elsewhere() {
    let world = World::new(
        "again",
        &[
            (
                "a.test",
                "v=TLSRPTv1; rua=mailto:r@a.test,https://moved.test/,https://inside.test/,https://good.test/,https://none.test/",
            ),
            ("b.test", "v=TLSRPTv1; rua=https://other.test/,https://wrong.test/"),
            ("good.test", "8.8.8.1"),
            ("moved.test", "8.8.8.2"),
            ("other.test", "8.8.8.3"),
            ("wrong.test", "8.8.8.3"),
            ("inside.test", "10.1.2.3"),
        ],
    );
    world.sessions(&["a.test", "b.test"]);
    world.mailer("echo no room >&2; exit 75");
    let ran = world.run();
    let day = yesterday();
    let mut said: Vec<&str> = ran.err.lines().collect();
    said.sort_unstable();
    let line = |domain: &str, uri: &str, why: &str| {
        format!("mtasts: the report of {day} to {domain} at {uri} is not known to be sent: {why}")
    };
    let sendmail = world.path("sendmail");
    let expected = [
        line(
            "a.test",
            "https://inside.test/",
            "inside.test has the address 10.1.2.3, a private address, and is not contacted; if this is your own host, add \
             10.1.2.3/32 to allow_addresses",
        ),
        line(
            "a.test",
            "https://moved.test/",
            "moved.test [8.8.8.2]: the HTTP status is 307",
        ),
        line(
            "a.test",
            "https://none.test/",
            "none.test: the name does not exist (NXDOMAIN)",
        ),
        line(
            "a.test",
            "mailto:r@a.test",
            &format!("{sendmail} has refused the mail: exit status: 75 (no room)"),
        ),
        line(
            "b.test",
            "https://wrong.test/",
            "wrong.test [8.8.8.3]: the certificate names other.test, not wrong.test",
        ),
    ];
    assert_eq!(said, expected);
    assert_eq!(
        (ran.status, &*ran.out),
        (
            1,
            "reports: 2 sent, 5 failed, 0 domains want none, of 0 DNS does not say\n"
        )
    );
    assert_eq!((world.mails().len(), world.posted.lock().unwrap().len()), (0, 1));

    // Not at once, and then what has failed alone. Certificates need not be checked.
    let soon = world.run();
    assert_eq!(
        (soon.status, &*soon.out),
        (
            0,
            "reports: 0 sent, 0 failed, 0 domains want none, of 0 DNS does not say\n"
        )
    );
    let ledger = fs::read_to_string(world.ledger()).unwrap();
    let now = unix_now() / 100_000;
    assert!(ledger.contains(&format!(" {now}")), "{ledger}");
    fs::write(world.ledger(), ledger.replace(&format!(" {now}"), " 17000")).unwrap();
    world.mailer("cat > \"$MAILS/$$\"");
    world.configure("dkim_selector = \"s\"\nhttps_certificates = false");
    let later = world.run();
    assert_eq!(
        (later.status, &*later.out),
        (
            1,
            "reports: 2 sent, 3 failed, 0 domains want none, of 0 DNS does not say\n"
        )
    );
    assert_eq!((world.mails().len(), world.posted.lock().unwrap().len()), (1, 1));
    let ledger = fs::read_to_string(world.ledger()).unwrap();
    assert!(ledger.contains("\nsent b.test https://wrong.test/ .\n"), "{ledger}");

    // The day after, what was not sent is told once.
    let before = world
        .directory
        .join(format!("cache/.report-{}.sent", calendar::date(unix_now() - 2 * DAY)));
    fs::rename(world.ledger(), before).unwrap();
    fs::remove_file(world.directory.join(format!("cache/.report-{day}-{}", label()))).unwrap();
    let after = world.run();
    assert_eq!(
        after.err.matches(" was not sent, and is given up: ").count(),
        3,
        "{after:?}"
    );
    assert_eq!((after.status, world.run().err.as_str()), (0, ""));
}

#[test]
fn an_address_from_which_mail_came_back_gets_none_for_a_week() {
    let record = "v=TLSRPTv1; rua=mailto:Reports@mail.test,mailto:other@mail.test";
    let world = World::new("bounced", &[("mail.test", record)]);
    world.sessions(&["mail.test"]);
    let bounced = |address: &str| -> Ran {
        let mut command = crate::command_of_user(&["report", "bounced", address]);
        command.env("MTASTS_CONFIG", world.path("mtasts.toml"));
        command.output().unwrap().into()
    };
    for no_address in ["x", "a@b.test\nc@d.test", "a b@c.test"] {
        let ran = bounced(no_address);
        assert!(
            ran.status == 2 && ran.err.contains("is not a plain mail address"),
            "{ran:?}"
        );
    }
    assert_eq!(bounced("else@mail.test").status, 0);
    assert_eq!(bounced("reports@MAIL.test").status, 0);
    let ran = world.run();
    let today = calendar::date(unix_now());
    assert_eq!(
        ran.err,
        format!("mtasts: mail.test gets no report at mailto:Reports@mail.test: mail to it came back ({today})\n")
    );
    let mails = world.mails();
    assert_eq!(
        (mails.len(), &mails[0]["headers"]["to"]),
        (1, &json!("other@mail.test"))
    );
    // After a week it gets the next one.
    let file = world.directory.join("cache/.report-bounced");
    let noted = fs::read_to_string(&file).unwrap();
    assert_eq!(noted, format!("{today} else@mail.test\n{today} reports@mail.test\n"));
    let before = calendar::date(unix_now() - 8 * DAY);
    fs::write(&file, noted.replace(&today, &before)).unwrap();
    fs::remove_file(world.ledger()).unwrap();
    let ran = world.run();
    assert_eq!((&*ran.err, world.mails().len()), ("", 3), "{ran:?}");
}
