//! `mtasts check` for scripts and from networks that block port 25.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mtasts_kit::until;
use mtasts_lab::{Change, Mx};
use serde_json::Value;

use crate::check::{check, on_the_internet};
use crate::{mtasts, mtasts_with_input};

/// The codes of all that is more than advice.
fn codes(told: &Value) -> Vec<&str> {
    let findings = told["findings"].as_array().expect("a list");
    findings
        .iter()
        .filter(|finding| finding["level"] != "advice")
        .map(|finding| finding["code"].as_str().expect("a code"))
        .collect()
}

/// A port that swallows every SYN, as a firewall does: a listener whose queue is full.
fn blocked(address: &str) -> (TcpListener, Vec<TcpStream>) {
    let address = SocketAddr::new(address.parse().expect("an address"), 25);
    // What a test beside this one has just forked holds the lab's listener until it executes its program.
    let mut listener = TcpListener::bind(address);
    until("port 25", || {
        if listener.is_err() {
            listener = TcpListener::bind(address);
        }
        listener.is_ok()
    });
    let listener = listener.expect("port 25");
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let queue = std::iter::repeat_with(connect)
        .take(10_000)
        .map_while(Result::ok)
        .collect();
    assert!(connect().is_err(), "the queue is not full");
    (listener, queue)
}

#[test]
fn port_25_is_blocked_here() {
    on_the_internet("blocked", |lab, _| {
        let (_, told) = check("mixed.test");
        let address = |host: usize| {
            told["hosts"][host]["addresses"][0]["address"]
                .as_str()
                .expect("an address")
        };
        lab.set("mixed.test", Change::mx(Mx::Refused)).expect("a change");
        // One blocked and one that refuses: the network is not at fault.
        let _second = blocked(address(1));
        let (status, one) = check("mixed.test");
        assert_eq!(
            (status, codes(&one)),
            (1, vec!["mx-not-listed", "mx-no-service", "mx-unreachable"]),
            "{one}"
        );
        // Both blocked: the host that is not listed says nothing of the one that is.
        let _first = blocked(address(0));
        let (status, both) = check("mixed.test");
        assert_eq!((status, codes(&both)), (1, vec!["port-25", "mx-not-listed"]), "{both}");
        let conclusion = both["conclusion"].as_str().expect("a sentence");
        assert!(
            conclusion.starts_with("no MX host that the policy lists answered"),
            "{conclusion}"
        );
        // Nothing else is wrong: it could not be determined.
        let (_, told) = check("good.test");
        let address = told["hosts"][0]["addresses"][0]["address"]
            .as_str()
            .expect("an address")
            .to_owned();
        lab.set("good.test", Change::mx(Mx::Refused)).expect("a change");
        let _queue = blocked(&address);
        let begun = Instant::now();
        let ran = mtasts(&["check", "good.test", "--timeout", "40s"]);
        let taken = begun.elapsed();
        assert_eq!(ran.status, 3, "{ran:?}");
        assert!(
            ran.out.contains("no MX host answered on port 25; is it blocked here?"),
            "{}",
            ran.out
        );
        assert!(
            ran.out.contains("(preference 10), listed: it could not be determined"),
            "{}",
            ran.out
        );
        // Ten seconds for a connection, whatever time there is.
        assert!(
            (Duration::from_secs(9)..Duration::from_secs(16)).contains(&taken),
            "{taken:?}"
        );
    });
}

/// A domain, its MX hosts if they are made others, what is found, and the exit status.
const FOUND: &[(&str, Option<&str>, &[&str], i32)] = &[
    ("injected.test", None, &["mx-injected"], 1),
    ("closed-after-tls.test", None, &["mx-after-tls"], 1),
    ("nostarttls.test", None, &["mx-starttls"], 1),
    ("starttls454.test", None, &["mx-starttls"], 1),
    ("tls11.test", None, &["mx-tls"], 1),
    ("expired.test", None, &["mx-certificate"], 1),
    ("busy.test", None, &["mx-no-service"], 1),
    ("noroute.test", None, &["port-25"], 3),
    ("mx-nxdomain.test", None, &["mx-no-address"], 1),
    ("good.test", Some("a_b.good.test"), &["mx-not-a-host"], 1),
    (
        "twomx.test",
        Some("mta-sts.https-servfail.test"),
        &["mx-address-unknown"],
        3,
    ),
    ("nopolicy.test", Some("."), &["no-record", "null-mx"], 4),
    ("no-such-domain.test", None, &["no-record", "no-domain"], 1),
    ("nullmx.test", None, &["no-domain"], 1),
    ("mx-servfail.test", None, &["mx-unknown"], 3),
    ("txt-servfail.test", None, &["record-unknown"], 3),
    ("txt-two.test", None, &["record-ignored"], 1),
    ("policy-badmode.test", None, &["policy-invalid"], 1),
];

#[test]
fn each_finding_has_its_code() {
    on_the_internet("codes", |lab, _| {
        for (domain, mx, found, status) in FOUND {
            if let Some(mx) = mx {
                let hosts = Some(vec![(*mx).to_owned()]);
                let change = Change {
                    hosts,
                    ..Change::default()
                };
                lab.set(domain, change).expect("a change");
            }
            let (ended, told) = check(domain);
            let codes: Vec<&str> = codes(&told)
                .into_iter()
                .filter(|code| *code != "pattern-host-missing")
                .collect();
            assert_eq!((codes, ended), (found.to_vec(), *status), "{domain}: {told}");
        }
        // A machine without IPv6, and a host that has nothing else.
        let change = Change {
            addresses: Some(vec!["2001:db8::1".parse().expect("an address")]),
            ..Change::default()
        };
        lab.set("tls12.test", change).expect("a change");
        let (status, told) = check("tls12.test");
        assert_eq!((status, codes(&told)), (3, vec!["mx-no-route"]), "{told}");
    });
}

#[test]
fn without_smtp() {
    on_the_internet("no-smtp", |lab, _| {
        let ran = mtasts(&["check", "good.test", "--no-smtp", "--json"]);
        let told = ran.json();
        assert_eq!((ran.status, &told["outcome"]), (0, &"good".into()), "{told}");
        assert_eq!(told["hosts"][0]["addresses"][0]["error"], "not contacted");
        let ran = mtasts(&["check", "good.test", "--no-smtp"]);
        assert!(
            ran.out.contains("(preference 10), listed: not contacted\n"),
            "{}",
            ran.out
        );
        assert!(
            ran.out.contains("only its record and its policy were checked"),
            "{}",
            ran.out
        );
        // What the names say is found anyway.
        let ran = mtasts(&["check", "mixed.test", "--no-smtp", "--json"]);
        assert_eq!((ran.status, codes(&ran.json())), (1, vec!["mx-not-listed"]), "{ran:?}");
        assert!(lab.sessions().is_empty(), "{:?}", lab.sessions());
    });
}

/// The outcome of each, and of several the worst.
#[test]
fn exit_status_for_monitoring() {
    on_the_internet("monitoring", |_, _| {
        for (domains, status) in [
            (&["good.test"][..], 0),
            (&["expired.test"], 1),
            (&["mx-servfail.test"], 3),
            (&["txt-servfail.test"], 3),
            (&["nopolicy.test"], 4),
            (&["good.test", "nopolicy.test"], 4),
            (&["nopolicy.test", "mx-servfail.test", "good.test"], 3),
            (&["expired.test", "mx-servfail.test", "nopolicy.test"], 1),
        ] {
            let ran = mtasts(&[&["check", "--json"], domains].concat());
            assert_eq!(ran.status, status, "{domains:?}: {ran:?}");
            let named: Vec<Value> = ran
                .out
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect();
            let named: Vec<&str> = named
                .iter()
                .map(|told| told["domain"].as_str().expect("a domain"))
                .collect();
            assert_eq!(named, domains, "{ran:?}");
        }
        let list =
            b"good.test\n\n user@none.test\nhttps://mta-sts.good.test/.well-known/mta-sts.txt\n_mta-sts.good.test\n";
        let ran = mtasts_with_input(&["check", "-", "--no-smtp", "--json"], list);
        assert_eq!((ran.status, ran.out.lines().count()), (0, 4), "{ran:?}");
        assert_eq!(
            ran.err,
            "mtasts: \" user@none.test\": the domain is none.test\n\
             mtasts: \"https://mta-sts.good.test/.well-known/mta-sts.txt\": the domain is good.test\n\
             mtasts: \"_mta-sts.good.test\": the domain is good.test\n"
        );
        let ran = mtasts(&["check", "good.test", "none.test"]);
        assert!(ran.out.contains("\n\nRecord at _mta-sts.none.test\n"), "{}", ran.out);
        let ran = mtasts_with_input(&["check", "-"], b"good.test\nno domain\n");
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{ran:?}");
    });
}

/// What our TLS library does not support is not the host's fault, and another MTA may deliver.
#[test]
fn tls_that_only_others_support() {
    on_the_internet("tls-others", |lab, _| {
        lab.set("good.test", Change::mx(Mx::Alert40)).expect("a change");
        let (status, told) = check("good.test");
        assert_eq!((status, codes(&told)), (3, vec!["mx-tls-unsupported"]), "{told}");
        assert_eq!(
            (&told["action"], &told["hosts"][0]["action"]),
            (&Value::Null, &Value::Null),
            "{told}"
        );
        let ran = mtasts(&["check", "good.test"]);
        assert!(
            ran.out.contains("libmtasts does not support the TLS of this host"),
            "{}",
            ran.out
        );
        assert!(
            !ran.out.contains("no mail is sent") && !ran.out.contains("administrator"),
            "{}",
            ran.out
        );
    });
}

#[test]
fn completions_and_colours() {
    let bash = mtasts(&["completions", "bash"]);
    assert_eq!((bash.status, bash.err.as_str()), (0, ""));
    let script =
        "eval \"$0\"; COMP_WORDS=(mtasts che); COMP_CWORD=1; _mtasts mtasts che mtasts; echo \"${COMPREPLY[@]}\"";
    let shell = std::process::Command::new("bash")
        .args(["-c", script, &bash.out])
        .output()
        .expect("bash");
    assert_eq!(String::from_utf8_lossy(&shell.stdout), "check check-mta\n", "{shell:?}");
    for shell in ["zsh", "fish"] {
        assert!(mtasts(&["completions", shell]).out.contains("no-smtp"), "{shell}");
    }
    let record = ["lint", "record", "v=STSv1; id=a", "--color"];
    assert!(
        mtasts(&[&record[..], &["always"]].concat())
            .out
            .contains("\x1b[32mok\x1b[0m")
    );
    assert!(!mtasts(&[&record[..], &["never"]].concat()).out.contains('\x1b'));
}
