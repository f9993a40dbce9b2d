//! An attacker on the way between the name server that validates and the name servers of the Internet, who may do to each
//! answer what such a one can: strip signatures, deny TLSA records, name other MX hosts, be silent, in any order. He has a
//! certificate of a public CA for the right host, and a host of his own with TLSA records in a zone that he signs. Mail waits
//! or goes to the right host (RFC 7672 2.1, RFC 8461 2).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record, RecordType, rdata::TLSA};
use mtasts::network::dns::{Servers, StubResolver};
use mtasts::sender::dane::{Facts, learn};
use mtasts::sender::precedence::{Enforced, Way, way};
use mtasts::{Domain, UnixTime};
use mtasts_kit::dns_server::{Asked, DnsServer, Reply, address, mx, record};
use mtasts_kit::pki::{self, Host, host, self_signed_host};
use ring::digest::{SHA256, digest};

const DOMAIN: &str = "example.com";
const RIGHT: &str = "mx.example.com";
const EVIL: &str = "mx.evil.example";
/// How many there are in CI; `make dane` has 10,000.
const ROUNDS: u64 = 1500;

/// Which of the zones are signed, and whether a policy in force is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct World {
    /// That of the MX records.
    domain_signed: bool,
    /// That of the right host, which has a TLSA record if it is.
    host_signed: bool,
    policy: bool,
}

/// Those in which something protects the mail: DNSSEC from the domain on, or a policy in force.
const WORLDS: [World; 5] = [
    World {
        domain_signed: true,
        host_signed: true,
        policy: false,
    },
    World {
        domain_signed: true,
        host_signed: true,
        policy: true,
    },
    World {
        domain_signed: false,
        host_signed: true,
        policy: true,
    },
    World {
        domain_signed: true,
        host_signed: false,
        policy: true,
    },
    World {
        domain_signed: false,
        host_signed: false,
        policy: true,
    },
];

/// A sequence of numbers that the seed alone decides (SplitMix64).
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

struct Certificates {
    right: Host,
    /// Of a public CA, for the name of the right host.
    bought: Vec<Vec<u8>>,
    evil: Host,
}

/// What a name server that validates says while the attacker is at work. In a signed zone he can only make it fail; in any
/// other he says what he likes, and it is not authentic.
fn answer(asked: &Asked, world: World, certificates: &Certificates, dice: &Mutex<Dice>) -> Reply {
    let mut dice = dice.lock().expect("no panic");
    let name = asked.name.trim_start_matches("_25._tcp.");
    let signed = match name {
        DOMAIN => world.domain_signed,
        RIGHT => world.host_signed,
        // His own zone, which nobody disturbs.
        _ => true,
    };
    let honest = || -> Option<Vec<Record>> {
        match (name, asked.kind) {
            (DOMAIN, RecordType::MX) => Some(vec![mx(DOMAIN, 10, RIGHT)]),
            (RIGHT, RecordType::A) => Some(vec![address(RIGHT, "192.0.2.1")]),
            (EVIL, RecordType::A) => Some(vec![address(EVIL, "192.0.2.66")]),
            (RIGHT, RecordType::TLSA) if world.host_signed => Some(vec![tlsa(&asked.name, &certificates.right)]),
            (EVIL, RecordType::TLSA) => Some(vec![tlsa(&asked.name, &certificates.evil)]),
            _ => None,
        }
    };
    let forged = |dice: &mut Dice| match (asked.kind, dice.throw(3)) {
        (RecordType::MX, 0) => Some(vec![mx(DOMAIN, 10, EVIL)]),
        (RecordType::MX, 1) => Some(vec![mx(DOMAIN, 5, EVIL), mx(DOMAIN, 10, RIGHT)]),
        (RecordType::A, 0) => Some(vec![address(&asked.name, "192.0.2.66")]),
        (RecordType::TLSA, 0) => Some(vec![tlsa(&asked.name, &certificates.evil)]),
        // An absence: NODATA.
        _ => None,
    };
    let attacked = name != EVIL && dice.throw(3) == 0;
    if attacked && dice.throw(20) == 0 {
        return Reply::silence();
    }
    let said = match (attacked, signed) {
        // Stripped, denied or forged: it does not validate, and the name server refuses it (RFC 4035 5.5).
        (true, true) => return Reply::code(ResponseCode::ServFail),
        (true, false) => forged(&mut dice),
        (false, _) => honest(),
    };
    let reply = said.map_or_else(Reply::nodata, Reply::answers);
    if signed { reply.authentic() } else { reply }
}

fn tlsa(owner: &str, host: &Host) -> Record {
    let data = digest(&SHA256, &host.der).as_ref().to_vec();
    record(owner, 60, RData::TLSA(TLSA::new(3.into(), 0.into(), 1.into(), data)))
}

/// Whether mail goes to somebody with this chain at the host of this name.
fn goes(facts: &Facts, name: &str, chain: &[&[u8]], world: World, by_a_ca: bool) -> bool {
    let policy = match (world.policy, name == RIGHT) {
        (false, _) => Enforced::No,
        (true, true) => Enforced::Listed,
        (true, false) => Enforced::NotListed,
    };
    let name = Domain::parse(name).expect("a name");
    match way(facts, &name, policy, false) {
        Way::SkipHost(_) => false,
        Way::Dane(asserted) | Way::Both(asserted) => {
            mtasts::protocol::dane::check(&asserted.names, chain, &asserted.records, UnixTime::now()).is_ok()
        }
        // The policy asks for its own hosts and a CA; without one anybody may have the mail.
        Way::Sts | Way::TlsWithoutName(_) => match policy {
            Enforced::No => true,
            Enforced::Listed => by_a_ca,
            Enforced::NotListed => false,
        },
    }
}

#[test]
fn mail_waits_or_goes_to_the_right_host() {
    let rounds = std::env::var("DANE_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let ca = pki::root("Public CA");
    let bought = host(&[RIGHT], &ca, |_| {});
    let certificates = Arc::new(Certificates {
        right: self_signed_host(&[RIGHT]),
        bought: vec![bought.der, ca.der().to_vec()],
        evil: self_signed_host(&[EVIL]),
    });
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let certificates = Arc::clone(&certificates);
            std::thread::spawn(move || attack(thread, rounds / 4, &certificates))
        })
        .collect();
    let counts = threads.into_iter().map(|thread| thread.join().expect("no panic"));
    let (went, waited) = counts.fold((0, 0), |(went, waited), (more, less)| (went + more, waited + less));
    println!(
        "{} interleavings: {went} deliver to the right host, in {waited} the mail waits, 0 wrong",
        went + waited
    );
    assert!(went > rounds / 10 && waited > rounds / 10, "{went} {waited}");
}

/// How often mail went to the right host, and how often it waited.
fn attack(thread: u64, rounds: u64, certificates: &Arc<Certificates>) -> (u64, u64) {
    let (mut went, mut waited) = (0, 0);
    let (domain, now) = (
        Domain::parse(DOMAIN).expect("a name"),
        Arc::new(Mutex::new((WORLDS[0], Dice(0)))),
    );
    let (state, known) = (Arc::clone(&now), Arc::clone(certificates));
    let server = DnsServer::start(move |asked| {
        let (world, dice) = state.lock().expect("no panic").clone();
        // The order in which questions arrive must not change the dice of another one.
        let own = asked
            .name
            .bytes()
            .fold(dice.0, |seed, octet| seed.wrapping_mul(31) + u64::from(octet));
        let dice = Mutex::new(Dice(own ^ u64::from(u16::from(asked.kind))));
        answer(asked, world, &known, &dice)
    });
    let dns = StubResolver::validating(server.address);
    for round in 0..rounds {
        let seed = thread * 1_000_003 + round;
        let mut dice = Dice(seed);
        let world = WORLDS[usize::try_from(dice.throw(WORLDS.len() as u64)).expect("few")];
        *now.lock().expect("no panic") = (world, dice.clone());
        // The mail server has asked for MX records too, and may have been told another thing.
        let given: Vec<Domain> = match dice.throw(4) {
            0 => vec![EVIL],
            1 => vec![EVIL, RIGHT],
            2 => vec![RIGHT],
            _ => Vec::new(),
        }
        .into_iter()
        .map(|name| Domain::parse(name).expect("a name"))
        .collect();
        let deadline = std::time::Instant::now() + Duration::from_millis(500);
        let asked = dns.together(deadline, async |servers: Servers| {
            learn(&servers, &domain, &given).await
        });
        let facts = asked.unwrap_or_else(|error| Facts::unknown(&domain, error.to_string()));
        let bought: Vec<&[u8]> = certificates.bought.iter().map(Vec::as_slice).collect();
        let evil = [&certificates.evil.der[..]];
        let about = || format!("seed {seed}, {world:?}, given {given:?}: {facts:?}");
        // He answers at each of the names, with each of his certificates.
        assert!(!goes(&facts, EVIL, &evil, world, false), "{}", about());
        assert!(!goes(&facts, EVIL, &bought, world, false), "{}", about());
        assert!(!goes(&facts, RIGHT, &evil, world, false), "{}", about());
        if world.host_signed {
            assert!(!goes(&facts, RIGHT, &bought, world, true), "{}", about());
        }
        let own = [&certificates.right.der[..]];
        let by_a_ca = !world.host_signed;
        if goes(&facts, RIGHT, &own, world, by_a_ca) {
            went += 1;
        } else {
            waited += 1;
        }
    }
    (went, waited)
}
