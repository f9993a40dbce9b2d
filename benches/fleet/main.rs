//! What the server of a fleet costs a lookup, beside postfix-mta-sts-resolver on the same server: benches/fleet/run.sh.
//!
//! fleet ADDRESS KEY-FILE: each line is a case, its median, and its 99th percentile in microseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mtasts::cache::entry::{CachedPolicy, Entry};
use mtasts::cache::sealed::{open, seal};
use mtasts::network::dns::{Dns, StubResolver};
use mtasts::network::https::RootSource;
use mtasts::network::valkey::{Connection, Reply};
use mtasts::sender::resolver::unix_now;
use mtasts::{Domain, Settings};

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
    println!("| sealed entry, octets | {} | |", sealed.len());
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
    println!("| {name} | {:.1} | {:.1} |", at(50), at(99));
}
