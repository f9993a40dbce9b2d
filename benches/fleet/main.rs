//! What the server of a fleet costs a lookup, beside postfix-mta-sts-resolver on the same server: benches/fleet/run.sh.
//!
//! fleet ADDRESS KEY-FILE: each line is a case, its median, its 99th percentile in microseconds, and how many there were in a
//! second.
//!
//! fleet ADDRESS KEY-FILE DIRECTORY: lookups of a policy that is on the disk, of three hosts by turns. One has no fleet, one that
//! at ADDRESS, and one a server that does not answer. It is for an ordinary user, who owns the directory.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtasts::cache::entry::{CachedPolicy, Entry, TxtSeen};
use mtasts::cache::sealed::{open, seal};
use mtasts::cache::store::Store;
use mtasts::network::dns::{Dns, StubResolver};
use mtasts::network::https::RootSource;
use mtasts::network::valkey::{Connection, Reply};
use mtasts::sender::resolver::unix_now;
use mtasts::{Domain, Resolver, Settings, Source};

const TIMES: usize = 2000;
const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: aspmx.l.example.com\r\nmx: *.mail.example.com\r\nmx: *.backup.example.net\r\nmax_age: 604800\r\n";

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(address), Some(key_file)) = (arguments.next(), arguments.next()) else {
        return;
    };
    let mut settings = Settings::default();
    for (key, value) in [("fleet", &address), ("fleet_key_file", &key_file)] {
        settings.set(key, value).expect(key);
    }
    if let Some(directory) = arguments.next() {
        return disk(&directory, &settings);
    }
    let setup = settings.fleet_setup().expect("settings").expect("a fleet");
    let secrets = setup.secrets().expect("secrets");
    let dns: Arc<dyn Dns> = Arc::new(StubResolver::system());
    let roots: RootSource = Arc::new(|| Err("no roots".to_owned()));
    let connect = || {
        let deadline = Instant::now() + Duration::from_millis(150);
        Connection::open(&setup.server, secrets.password(), &*dns, &roots, deadline).expect("a server")
    };
    let domain = Domain::parse("example.com").expect("a name");
    let mut entry = Entry::new(domain.clone());
    entry.cached = Some(
        CachedPolicy::new("20260101".parse().expect("an id"), unix_now(), POLICY)
            .expect("a policy")
            .into(),
    );
    let key = setup.key('p', &domain);
    let sealed = seal(&secrets, &entry);
    let deadline = || Instant::now() + Duration::from_millis(150);
    connect()
        .ask(&[&[b"SET", key.as_bytes(), sealed.as_bytes()]], deadline())
        .expect("SET");
    let get = |connection: &mut Connection| {
        let replies = connection.ask(&[&[b"GET", key.as_bytes()]], deadline()).expect("GET");
        let [Reply::Bulk(text)] = replies.as_slice() else {
            panic!("no entry")
        };
        assert!(open(&secrets, &domain, text, unix_now()).is_ok());
    };
    println!("| sealed entry, octets | {} | | |", sealed.len());
    case("seal", || assert!(!seal(&secrets, &entry).is_empty()));
    case("open", || {
        assert!(open(&secrets, &domain, sealed.as_bytes(), unix_now()).is_ok())
    });
    case("connect, GET, open, close", || get(&mut connect()));
    let mut kept = connect();
    case("GET, open", || get(&mut kept));
}

fn case(name: &str, mut work: impl FnMut()) {
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times[TIMES * share / 100].as_nanos() as f64 / 1000.0;
    let all: Duration = times.iter().sum();
    let per_second = TIMES as f64 / all.as_secs_f64();
    println!("| {name} | {:.1} | {:.1} | {per_second:.0} |", at(50), at(99));
}

/// Each lookup is that of a new process: nothing is in memory.
fn disk(directory: &str, fleet: &Settings) {
    let with = |settings: &Settings| {
        let mut settings = settings.clone();
        settings.set("cache_dir", directory).expect("a directory");
        settings
    };
    let domain = Domain::parse("example.com").expect("a name");
    let mut entry = Entry::new(domain.clone());
    let now = unix_now();
    entry.cached = Some(
        CachedPolicy::new("20260101".parse().expect("an id"), now, POLICY)
            .expect("a policy")
            .into(),
    );
    entry.txt = Some(TxtSeen {
        at: now,
        next: now + 86_400,
    });
    entry.used = Some(now);
    Store::new(directory.into()).save(&entry).expect("an entry");
    let silent = UnixListener::bind(format!("{directory}/silent")).expect("a socket");
    let mut gone = fleet.clone();
    gone.set("fleet", &format!("unix:{directory}/silent"))
        .expect("an address");
    let hosts = [&Settings::default(), fleet, &gone].map(with);
    let mut times = [const { Vec::new() }; 3];
    for turn in 0..10 * TIMES {
        for number in 0..3 {
            // Which of them comes first changes with each turn.
            let host = (turn + number) % 3;
            let begun = Instant::now();
            let answer = Resolver::new(hosts[host].clone()).lookup("example.com", Duration::from_secs(9));
            times[host].push(begun.elapsed());
            assert_eq!(answer.expect("an answer").source(), Source::Cached);
        }
    }
    silent.set_nonblocking(true).expect("a socket");
    assert!(silent.accept().is_err(), "a lookup of the disk asks no fleet");
    let mut first = 0.0;
    for (name, mut times) in ["no fleet", "a fleet", "a silent one"].iter().zip(times) {
        times.sort_unstable();
        let median = times[times.len() / 2].as_nanos() as f64 / 1000.0;
        if first == 0.0 {
            first = median;
        }
        println!("| {name} | {median:.2} | {:+.2} % |", (median / first - 1.0) * 100.0);
    }
}
