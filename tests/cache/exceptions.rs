//! Exceptions: nothing is enforced, and everybody says so.

use std::ffi::{CStr, CString, c_int, c_uchar};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mtasts::queue::{Completed, Queue};
use mtasts::sender::verdict::verdict;
use mtasts::{Action, Answer, Domain, Mode, MxName, NoHost, Resolver, Seen, Source, verdict_without_host};
use mtasts_lab::Change;
use serde_json::json;

use mtasts_kit::on_the_internet;

const FILE: &str = "/etc/mtasts/exceptions";

type Export = unsafe extern "C" fn(*mut *mut c_uchar, c_int, *mut *mut c_uchar) -> c_int;

unsafe extern "C" {
    fn mtasts_exim_lookup(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int;
    fn mtasts_exim_recheck(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int;
}

/// What Exim gets for a domain: the status and the text.
fn exim(domain: &str) -> (c_int, String) {
    exim_asks(mtasts_exim_lookup, domain)
}

fn exim_asks(export: Export, domain: &str) -> (c_int, String) {
    let domain = CString::new(domain).unwrap();
    let mut arguments = [domain.as_ptr().cast_mut().cast::<c_uchar>()];
    let mut text = std::ptr::null_mut();
    // SAFETY: one NUL-terminated argument, and a place for the text, which lives until the next call.
    unsafe {
        let status = export(&raw mut text, 1, arguments.as_mut_ptr());
        (status, CStr::from_ptr(text.cast()).to_str().unwrap().to_owned())
    }
}

/// A context whose log is kept.
fn listening() -> (Resolver, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    let resolver = Resolver::with_log(mtasts::Settings::of_host(|_| None).unwrap(), move |line| {
        kept.lock().unwrap().push(line.to_owned())
    });
    (resolver, lines)
}

fn ask(resolver: &Resolver, domain: &str) -> Arc<Answer> {
    resolver
        .lookup(&Domain::parse(domain).unwrap(), Duration::from_secs(12))
        .unwrap()
}

fn action(answer: &Answer, seen: &Seen) -> Action {
    verdict(answer, &MxName::from_mx("mx.elsewhere.test"), seen).action
}

#[test]
fn an_exception_switches_enforcement_off_and_is_told_at_each_use() {
    on_the_internet("exceptions", |host| {
        // A bad line: mail waits, as for any bad setting, and the sentence names the file and the line.
        std::fs::write(FILE, "# ours\ngood.test 2026-02-30 moves\n").unwrap();
        let (status, text) = exim("good.test");
        assert_eq!(status, 2, "FAIL");
        assert!(
            text.contains("/etc/mtasts/exceptions: line 2: \"2026-02-30\" is not a date"),
            "{text}"
        );
        let ran = host.cache("list");
        assert_eq!((ran.status, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains("/etc/mtasts/exceptions: line 2: "), "{ran:?}");

        std::fs::write(
            FILE,
            "good.test 2099-12-31 ticket \"4711\": moves\nwild.test 2020-01-01 over\n",
        )
        .unwrap();
        let named = "enforcement is off until 2099-12-31 (operator exception: ticket \"4711\": moves)";
        // We are root here: the answer comes from a helper, over a pipe. Then from memory.
        let (resolver, log) = listening();
        for source in [Source::Fresh, Source::Fresh] {
            let answer = ask(&resolver, "good.test");
            assert_eq!((answer.source(), answer.mode()), (source, Mode::Testing));
            assert_eq!(
                answer.policy().unwrap().mode(),
                Mode::Enforce,
                "what the domain says stays in sight"
            );
            assert!(answer.explain().contains(named), "{answer}");
            assert_eq!(action(&answer, &Seen::Name), Action::DeliverAndReport);
            assert_eq!(
                verdict_without_host(&answer, NoHost::Left, &[]).action,
                Action::DeliverAndReport
            );
        }
        let cached = resolver.lookup_cached(&Domain::parse("good.test").unwrap()).unwrap();
        assert_eq!(cached.exception().unwrap().reason, "ticket \"4711\": moves");
        let line = format!("mtasts[exception]: good.test: {named}");
        assert_eq!(*log.lock().unwrap(), vec![line.clone(); 3], "each use");

        // One that is over, a domain that asks for nothing, and a domain without a policy: no word.
        log.lock().unwrap().clear();
        let answer = ask(&resolver, "wild.test");
        assert_eq!((answer.mode(), answer.exception()), (Mode::Enforce, None));
        assert_eq!(action(&answer, &Seen::Name), Action::SkipHost);
        assert!(log.lock().unwrap().is_empty());

        let (status, text) = exim("good.test");
        let id = &answer_id(&cached);
        let want = format!(
            "mode=testing enforce=no log=yes id={id} exception=\"{}\"",
            line.replace('"', "'")
        );
        assert_eq!((status, text), (0, want));
        assert!(exim("wild.test").1.starts_with("mode=enforce enforce=yes id="));

        // RFC 8461 5. A refresh renews the policy, which is the same as before: no reason for another attempt. This stands
        // here because a process has one context for Exim, and it still has the older answer in its memory.
        let before = resolver
            .lookup(&Domain::parse("wild.test").unwrap(), Duration::from_secs(12))
            .unwrap();
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(host.cache("refresh --all --json").status, 0);
        let (status, text) = exim_asks(mtasts_exim_recheck, "wild.test");
        assert_eq!(
            (status, text),
            (0, format!("changed=no mode=enforce id={}", answer_id(&before)))
        );
        let now = resolver
            .recheck(&Domain::parse("wild.test").unwrap(), Duration::from_secs(12))
            .unwrap();
        assert!(now.cached().unwrap().fetched > before.cached().unwrap().fetched);
        assert!(now.is_same_policy(&before));
        host.lab
            .set(
                "wild.test",
                Change::publish(
                    "moved",
                    "version: STSv1\nmode: enforce\nmx: mx.elsewhere.test\nmax_age: 86400\n",
                ),
            )
            .unwrap();
        let now = resolver
            .recheck(&Domain::parse("wild.test").unwrap(), Duration::from_secs(12))
            .unwrap();
        assert!(!now.is_same_policy(&before));
    });
}

fn answer_id(answer: &Answer) -> String {
    answer.cached().unwrap().id.to_string()
}

#[test]
fn an_exception_ends_a_wait_for_dns() {
    on_the_internet("exception-dns", |host| {
        host.set("first_contact_defer = \"1h\"");
        host.lab.set("good.test", Change::txt("SERVFAIL")).unwrap();
        let (resolver, log) = listening();
        let waiting = ask(&resolver, "good.test");
        assert!(waiting.defer_until().is_some());
        assert_eq!(action(&waiting, &Seen::Name), Action::Defer);
        std::fs::write(FILE, "good.test 2099-12-31 their DNS is broken\n").unwrap();
        let (resolver, log_of_exception) = listening();
        let flows = ask(&resolver, "good.test");
        assert_eq!((flows.defer_until(), flows.source()), (None, Source::CouldNotLearn));
        assert_eq!(action(&flows, &Seen::Name), Action::Deliver);
        assert_eq!(
            (log.lock().unwrap().len(), log_of_exception.lock().unwrap().len()),
            (0, 1)
        );
    });
}

/// A process that lives on, of root and so by a helper: what the operator changes counts within seconds.
#[test]
fn exceptions_that_change_need_no_restart() {
    on_the_internet("exceptions-change", |_| {
        let (resolver, log) = listening();
        let told = |text: &str| {
            let log = log.lock().unwrap();
            log.iter().filter(|line| line.contains(text)).count()
        };
        let becomes = |mode: Mode| {
            let begin = Instant::now();
            while ask(&resolver, "good.test").mode() != mode {
                assert!(
                    begin.elapsed() < Duration::from_secs(20),
                    "{mode}: {:?}",
                    log.lock().unwrap()
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        becomes(Mode::Enforce);
        // There was none when the process began.
        std::fs::write(FILE, "good.test 2099-12-31 moves\n").unwrap();
        becomes(Mode::Testing);
        // A slip of the pen takes nothing away, and is told once.
        std::fs::write(FILE, "wild.test 2099-02-30 moves\n").unwrap();
        let begin = Instant::now();
        while told("/etc/mtasts/exceptions: line 1: \"2099-02-30\" is not a date") == 0 {
            assert_eq!(ask(&resolver, "good.test").mode(), Mode::Testing);
            assert!(begin.elapsed() < Duration::from_secs(20), "nobody is told");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(6));
        for _ in 0..3 {
            assert_eq!(ask(&resolver, "good.test").mode(), Mode::Testing);
        }
        assert_eq!(told("The previous exceptions stay in force"), 1);
        std::fs::remove_file(FILE).unwrap();
        becomes(Mode::Enforce);

        // The same in an event loop.
        let queue = Queue::new(&resolver).unwrap();
        let answers = || {
            queue
                .submit(&Domain::parse("good.test").unwrap(), Duration::from_secs(12), ())
                .unwrap();
            loop {
                match queue.next().unwrap().map(|completion| completion.result) {
                    Some(Completed::Answer(answer)) => return answer.mode(),
                    Some(other) => panic!("{other:?}"),
                    None => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        };
        assert_eq!(answers(), Mode::Enforce);
        std::fs::write(FILE, "good.test 2099-12-31 moves again\n").unwrap();
        let begin = Instant::now();
        while answers() != Mode::Testing {
            assert!(begin.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::write(FILE, "good.test 2099-12-31\n").unwrap();
        let begin = Instant::now();
        while told("line 1: the reason is missing") == 0 {
            assert_eq!(answers(), Mode::Testing);
            assert!(begin.elapsed() < Duration::from_secs(20), "nobody is told");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn exceptions_are_listed_also_those_that_are_over() {
    on_the_internet("exceptions-list", |host| {
        let ran = host.cache("exceptions");
        assert_eq!((ran.status, ran.out.as_str()), (0, ""));
        assert_eq!(
            host.cache("exceptions --json").json(),
            json!({ "file": null, "exceptions": [] })
        );
        host.lookup("good.test");
        let file = Path::new("/etc/mtasts/elsewhere");
        std::fs::write(file, "good.test 2099-12-31 moves\nold.test 2020-01-01 moved\n").unwrap();
        host.set("exceptions = \"/etc/mtasts/elsewhere\"");
        let ran = host.cache("exceptions");
        assert_eq!(ran.status, 0);
        assert_eq!(
            ran.out,
            "  advice  good.test until 2099-12-31: moves\n          old.test ended on 2020-01-01: moved\n"
        );
        let json = host.cache("exceptions --json").json();
        assert_eq!(json["file"], json!("/etc/mtasts/elsewhere"));
        let over: Vec<_> = json["exceptions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["over"].clone())
            .collect();
        assert_eq!(over, [json!(false), json!(true)]);
        assert!(host.cache("list").out.contains("not enforced until 2099-12-31"));
        let shown = host.cache("show good.test");
        assert!(
            shown
                .out
                .contains("enforcement is off until 2099-12-31 (operator exception: moves)"),
            "{shown:?}"
        );
        assert_eq!(
            host.cache("show good.test --json").json()["exception"]["reason"],
            json!("moves")
        );
    });
}
