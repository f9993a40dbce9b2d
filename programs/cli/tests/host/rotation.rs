//! Policies that change while senders ask, and processes that are killed in the middle: no record is ever ahead of its text, and no text
//! is served that is none.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use mtasts::Mode;
use mtasts_host::published::Published;
use mtasts_kit::signal;

use super::hosting::{HOST, Hosting, PATH};

const PROXY: &str = "127.0.0.1:8080";
/// How many fetches there are in a second.
const RATE: u32 = 500;
const CLIENTS: u32 = 4;

/// How much is done: less with each `make test` than by `make host-proofs`.
fn amount(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |amount| amount.parse().unwrap())
}

/// A domain whose policy is told from others by its life: 86400 and how often it has changed.
struct Domain {
    name: String,
    /// At which the record is.
    target: String,
    /// Which change each id is of.
    ids: BTreeMap<String, usize>,
}

fn text(domain: &str, change: usize) -> (String, u32) {
    (format!("mx.{domain}"), 86_400 + u32::try_from(change).unwrap())
}

/// The settings in which each domain has changed so often.
fn settings(hosting: &Hosting, domains: usize, changes: impl Fn(usize) -> usize) {
    let domains = (0..domains).map(|n| {
        let name = format!("d{n}.example");
        let (mx, max_age) = text(&name, changes(n));
        format!("[domain.\"{name}\"]\nmode = \"enforce\"\nmax_age = {max_age}\nmx = [\"{mx}\"]\n")
    });
    hosting.settings(&format!(
        "proxy = [\"{PROXY}\"]\ndns = [\"{HOST}:53\"]\nname_servers = [\"ns1.sts.example.net\"]\n{}",
        domains.collect::<String>()
    ));
}

/// The domains, of which each changes so often.
fn domains(hosting: &Hosting, count: usize, changes: usize) -> Vec<Domain> {
    let zone = hosting.ask(&["zone"]);
    let targets: BTreeMap<&str, &str> = zone
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(". 300 IN TXT \"v=STSv1; id=")?;
            Some((rest.split(';').next()?, name))
        })
        .collect();
    let all = (0..count).map(|n| {
        let name = format!("d{n}.example");
        let ids: BTreeMap<String, usize> = (0..=changes)
            .map(|change| {
                let (mx, max_age) = text(&name, change);
                let published = Published::new(Mode::Enforce, max_age, &[mx]).unwrap();
                (published.id().to_owned(), change)
            })
            .collect();
        let target = ids.keys().find_map(|id| targets.get(id.as_str())).expect("a record");
        Domain {
            target: (*target).to_owned(),
            name,
            ids,
        }
    });
    all.collect()
}

/// The id in DNS.
fn id(socket: &UdpSocket, target: &str) -> Option<String> {
    let mut question = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in target.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.bytes());
    }
    question.extend([0, 0, 16, 0, 1]);
    socket.send_to(&question, (HOST, 53)).ok()?;
    let mut answer = [0; 1232];
    let length = socket.recv(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    let (_, id) = answer.split_once("v=STSv1; id=")?;
    Some(id.split(';').next()?.to_owned())
}

/// One fetch on a connection that is kept.
fn fetch(stream: &mut TcpStream, domain: &str) -> std::io::Result<String> {
    // As one segment: the parts of a formatted text would wait for each other on the way.
    stream.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: mta-sts.{domain}\r\n\r\n").as_bytes())?;
    let (mut head, mut octet) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        stream.read_exact(&mut octet)?;
        head.push(octet[0].into());
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{domain}: {head}");
    let head = head.to_ascii_lowercase();
    let length = head.split_once("content-length: ").unwrap().1.lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body)?;
    Ok(String::from_utf8(body).unwrap())
}

impl Domain {
    fn change(&self, id: &str) -> usize {
        *self
            .ids
            .get(id)
            .unwrap_or_else(|| panic!("{}: the id {id} is of no policy", self.name))
    }

    /// Looks at text and record, in this order: DNS, the text, DNS.
    fn look(&self, stream: &mut TcpStream, socket: &UdpSocket) -> std::io::Result<usize> {
        let lost = || std::io::Error::other("no record");
        let before = self.change(&id(socket, &self.target).ok_or_else(lost)?);
        let text = fetch(stream, &self.name)?;
        let text = self.change(Published::of_text(&text).expect("a policy").id());
        let after = self.change(&id(socket, &self.target).ok_or_else(lost)?);
        assert!(
            before <= text,
            "{}: the record of {before} is ahead of the text of {text}",
            self.name
        );
        // At the moment after, DNS has what was fetched, or has gone on.
        assert!(text <= after + 1, "{}: text {text}, record {after}", self.name);
        Ok(text)
    }
}

fn asker() -> (TcpStream, UdpSocket) {
    let stream = TcpStream::connect(PROXY).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let socket = UdpSocket::bind((HOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    (stream, socket)
}

/// 2,000 changes to 1,000 domains. `ROTATIONS` is how often all of them change.
#[test]
fn no_record_is_ahead_of_its_text() {
    const DOMAINS: usize = 1000;
    let rounds = amount("ROTATIONS", 2);
    // Some of them at a time: the others stay as they are meanwhile.
    let parts = 5;
    let mut hosting = Hosting::new(&[]);
    settings(&hosting, DOMAINS, |_| 0);
    hosting.start();
    let all = domains(&hosting, DOMAINS, rounds);
    let (stop, fetched, newest) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (all, stop, fetched, newest) = (&all, &stop, &fetched, &newest);
            scope.spawn(move || {
                let (mut stream, socket) = asker();
                let mut next = Instant::now();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let domain = &all[(n * 37 + client as usize * 251) % DOMAINS];
                    match domain.look(&mut stream, &socket) {
                        Ok(text) => {
                            fetched.fetch_add(1, Ordering::Relaxed);
                            let mut newest = newest.lock().unwrap();
                            *newest = text.max(*newest);
                        }
                        // A connection lives for a minute.
                        Err(_) => (stream, _) = asker(),
                    }
                    next += Duration::from_secs(1) * CLIENTS / RATE;
                    sleep(next.saturating_duration_since(Instant::now()));
                }
            });
        }
        for step in 0..rounds * parts {
            settings(&hosting, DOMAINS, |n| {
                step / parts + usize::from(n % parts <= step % parts)
            });
            hosting.reload("settings reloaded");
            sleep(Duration::from_millis(250));
        }
        sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
    });
    let (fetched, seconds) = (fetched.into_inner(), begun.elapsed().as_secs_f64());
    println!(
        "{} changes, {fetched} fetches in {seconds:.1} s: {:.0}/s",
        rounds * DOMAINS,
        fetched as f64 / seconds
    );
    assert_eq!(*newest.lock().unwrap(), rounds);
    assert!(fetched > 100, "{fetched} fetches");
    hosting.stop();
}

/// Killed at any moment of a change. `KILL_POINTS` is how often.
#[test]
fn a_host_that_is_killed_serves_what_is_complete() {
    const DOMAINS: usize = 20;
    let points = amount("KILL_POINTS", 12);
    let mut hosting = Hosting::new(&[]);
    settings(&hosting, DOMAINS, |_| 0);
    hosting.start();
    let all = domains(&hosting, DOMAINS, points);
    for point in 1..=points {
        settings(&hosting, DOMAINS, |_| point);
        signal(hosting.pid(), libc::SIGHUP);
        // From before the signal is handled until all is done.
        sleep(Duration::from_micros((point as u64 * 7919) % 60_000));
        hosting.kill();
        // What the file says is served, or what was before it if the file is not read yet.
        if point % 3 == 0 {
            settings(&hosting, DOMAINS, |_| point - 1);
        }
        hosting.start();
        let (mut stream, socket) = asker();
        for domain in &all {
            let text = domain.look(&mut stream, &socket).unwrap();
            assert!(text == point || text + 1 == point, "{text} {point}");
        }
        let files = fs::read_dir(hosting.path("ledger")).unwrap().count();
        assert!((1..=3).contains(&files), "{files}");
    }
    hosting.stop();
    // The history has no gap and no text twice in a row.
    let ledger = rusqlite::Connection::open(hosting.path("ledger/ledger.db")).unwrap();
    let count = |query: &str| ledger.query_row(query, (), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        count("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
        0
    );
    assert_eq!(count("SELECT count(*) FROM served WHERE ended IS NULL"), DOMAINS as i64);
}
