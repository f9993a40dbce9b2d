//! A process that looks up, in all the ways that there are, until it is killed.

use std::io::Write;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mtasts::queue::{Completed, Queue};
use mtasts::{Answer, Domain, Resolver};
use mtasts_kit::{give_up_root, settings};

use crate::history::{CachedPolicy, Call, Told};
use crate::{POPULAR, Random, now_us};

/// The setting `timeout`.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);
/// Time runs faster here than on a mail server.
pub(crate) const SETTINGS: &[(&str, &str)] = &[("timeout", "3s"), ("txt_life_min", "1s"), ("txt_life_max", "2s")];
/// Each name below it is a domain whose name server is silent.
pub(crate) const SILENT: &str = "txt-silent.test";
/// Each name below it is a domain with a policy in enforce.
pub(crate) const COLD: &str = "good.test";
/// How many silent names are asked for at once.
const CROWD: usize = 300;
/// What a busy machine may add to it before somebody is told that something hangs, or that an answer came too late.
pub(crate) const MARGIN: Duration = Duration::from_secs(15);

/// `worker MODE WHO CACHE SEED DOMAIN...`
pub(crate) fn work(arguments: &[String]) {
    let [mode, who, cache, seed, domains @ ..] = arguments else {
        panic!("worker MODE WHO CACHE SEED DOMAIN...")
    };
    if who != "root" {
        give_up_root();
    }
    // Nobody is left behind when the soak is interrupted. After the change of user, which would undo it.
    // SAFETY: a plain system call on values.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let settings = settings(Path::new(cache), SETTINGS);
    assert_eq!(settings.timeout, TIMEOUT);
    let worker = Worker {
        resolver: Resolver::new(settings),
        domains: domains.iter().map(|name| Domain::parse(name).unwrap()).collect(),
    };
    let seed: u64 = seed.parse().unwrap();
    if mode == "calm" {
        return worker.calm();
    }
    thread::scope(|scope| {
        for thread in 0..3 {
            let worker = &worker;
            scope.spawn(move || worker.ask(&mut Random(seed ^ thread), Call::Lookup));
        }
        scope.spawn(|| worker.fork(&mut Random(!seed)));
        scope.spawn(|| worker.crowd(&mut Random(seed.rotate_left(16))));
        worker.submit(&mut Random(seed.rotate_left(32)));
    });
}

struct Worker {
    resolver: Resolver,
    domains: Vec<Domain>,
}

impl Worker {
    fn domain(&self, random: &mut Random) -> &Domain {
        // A few are asked for far more often than the others, as on a mail server.
        let most = if random.below(2) == 0 {
            POPULAR
        } else {
            self.domains.len()
        };
        &self.domains[random.below(most)]
    }

    fn patience(random: &mut Random) -> Duration {
        Duration::from_millis(random.pick(&[60_000, 60_000, 60_000, 60_000, 60_000, 700, 100, 0]))
    }

    /// One lookup of a random kind.
    fn one(&self, random: &mut Random, lookup: Call) {
        let domain = self.domain(random);
        let patience = Self::patience(random);
        let start = now_us();
        let (call, result) = match random.below(10) {
            0..6 => (lookup, self.resolver.lookup(domain, patience)),
            6..8 => (Call::Recheck, self.resolver.recheck(domain, patience)),
            _ => (Call::Cached, self.resolver.lookup_cached(domain)),
        };
        match result {
            Ok(answer) => tell(&Told::new(call, start, patience, domain, &answer)),
            Err(error) => tell(&Told::failed(call, start, patience, domain, &error.to_string())),
        }
    }

    fn ask(&self, random: &mut Random, call: Call) {
        loop {
            self.one(random, call);
            thread::sleep(Duration::from_millis(random.next() % 8));
        }
    }

    /// Children of this threaded process look up and end, and some are killed.
    fn fork(&self, random: &mut Random) {
        loop {
            let (kill, seed) = (random.below(6) == 0, random.next());
            // SAFETY: this is what is tested: the child uses the library whatever the other threads were doing.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: the end of one that hangs, and leaving without the destructors of the parent.
                unsafe { libc::alarm(60) };
                let mut random = Random(seed);
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    (0..3).for_each(|_| self.one(&mut random, Call::Child));
                }));
                // SAFETY: as above.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            let mut status = 0;
            if kill {
                thread::sleep(Duration::from_millis(random.next() % 30));
                // SAFETY: our own child.
                unsafe { libc::kill(child, libc::SIGKILL) };
            }
            let start = now_us();
            // SAFETY: our own child and a place for its status.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            let was_killed = kill && libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
            if status != 0 && !was_killed {
                let why = format!("a child ended with status {status:#x}");
                tell(&Told::failed(Call::Child, start, TIMEOUT, &self.domains[0], &why));
            }
        }
    }

    fn submit(&self, random: &mut Random) {
        loop {
            let queue = Queue::new(&self.resolver).unwrap();
            for _ in 0..random.below(40) {
                self.batch(&queue, random);
                thread::sleep(Duration::from_millis(random.next() % 30));
            }
            // And some are dropped in flight.
            for _ in 0..random.below(10) {
                let _ = queue.submit(
                    self.domain(random),
                    TIMEOUT,
                    (0, Duration::ZERO, self.domains[0].clone()),
                );
            }
        }
    }

    fn batch(&self, queue: &Queue<(u64, Duration, Domain)>, random: &mut Random) {
        let count = 1 + random.below(12);
        let mut last = 0;
        for _ in 0..count {
            let (domain, patience) = (self.domain(random), Self::patience(random));
            last = queue
                .submit(domain, patience, (now_us(), patience, domain.clone()))
                .unwrap();
        }
        let cancelled = random.below(4) == 0 && queue.cancel(last).unwrap();
        let (mut taken, begun) = (0, Instant::now());
        while taken < count {
            let mut wait = libc::pollfd {
                fd: queue.descriptor().unwrap(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one valid pollfd.
            unsafe { libc::poll(&raw mut wait, 1, 1000) };
            while let Some(done) = queue.next().unwrap() {
                taken += 1;
                let (start, patience, domain) = done.user;
                match done.result {
                    Completed::Answer(answer) => tell(&Told::new(Call::Queue, start, patience, &domain, &answer)),
                    Completed::Cancelled if cancelled && done.id == last => {}
                    other => tell(&Told::failed(
                        Call::Queue,
                        start,
                        patience,
                        &domain,
                        &format!("{other:?}"),
                    )),
                }
            }
            if begun.elapsed() > TIMEOUT + MARGIN {
                let why = format!("{taken} of {count} are complete");
                tell(&Told::failed(Call::Queue, now_us(), TIMEOUT, &self.domains[0], &why));
                return;
            }
        }
    }

    /// Hundreds of silent names at once, and a domain in their midst that is as good as any.
    fn crowd(&self, random: &mut Random) {
        loop {
            let (queue, batch) = (Queue::new(&self.resolver).unwrap(), random.next());
            let mut names: Vec<(Call, Domain)> = (0..CROWD)
                .map(|number| (Call::Silent, format!("s{batch:x}-{number}.p{}.{SILENT}", number % 5)))
                .chain([(Call::Cold, format!("c{batch:x}.{COLD}"))])
                .map(|(call, name)| (call, Domain::parse(&name).unwrap()))
                .collect();
            for (call, name) in names.drain(..) {
                queue.submit(&name.clone(), TIMEOUT, (now_us(), call, name)).unwrap();
            }
            let begun = Instant::now();
            let mut left = CROWD + 1;
            while left > 0 && begun.elapsed() < TIMEOUT + MARGIN {
                thread::sleep(Duration::from_millis(20));
                while let Some(done) = queue.next().unwrap() {
                    let (start, call, name) = done.user;
                    left -= 1;
                    tell(&match done.result {
                        Completed::Answer(answer) => Told::new(call, start, TIMEOUT, &name, &answer),
                        other => Told::failed(call, start, TIMEOUT, &name, &format!("{other:?}")),
                    });
                }
            }
            if left > 0 {
                let why = format!("{left} of a crowd are not complete");
                tell(&Told::failed(Call::Queue, now_us(), TIMEOUT, &self.domains[0], &why));
            }
            thread::sleep(Duration::from_millis(500 + random.next() % 4000));
        }
    }

    /// Everything is well again: each domain once.
    fn calm(&self) {
        let patience = Duration::from_secs(60);
        for domain in &self.domains {
            let start = now_us();
            match self.resolver.recheck(domain, patience) {
                Ok(answer) => tell(&Told::new(Call::Calm, start, patience, domain, &answer)),
                Err(error) => tell(&Told::failed(Call::Calm, start, patience, domain, &error.to_string())),
            }
        }
    }
}

impl Told {
    fn failed(call: Call, start: u64, patience: Duration, domain: &Domain, why: &str) -> Self {
        Self {
            call,
            start,
            end: now_us(),
            patience,
            domain: domain.to_string(),
            source: String::new(),
            cached: None,
            why: why.chars().take(500).collect(),
        }
    }

    fn new(call: Call, start: u64, patience: Duration, domain: &Domain, answer: &Answer) -> Self {
        let cached = answer.cached().map(|cached| CachedPolicy {
            id: cached.id.to_string(),
            mode: cached.policy.mode().to_string(),
            mx: cached.policy.mx().map(|mx| mx.to_string()).collect(),
            max_age: cached.policy.max_age().into(),
            fetched: cached.fetched,
        });
        assert_eq!(answer.domain(), Some(domain));
        if let Some(cached) = &cached {
            assert_eq!(cached.mode, answer.mode().to_string());
        }
        let why = answer.failure().map_or("", |failure| &failure.detail);
        Self {
            source: answer.source().name().to_owned(),
            cached,
            ..Self::failed(call, start, patience, domain, why)
        }
    }
}

/// One write: lines of several threads and processes do not mix.
fn tell(told: &Told) {
    let line = serde_json::to_string(told).unwrap() + "\n";
    assert!(line.len() < libc::PIPE_BUF);
    // SAFETY: stdout, which this process does not use otherwise and which is not closed here.
    let mut out = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(1) });
    out.write_all(line.as_bytes()).unwrap();
}
