//! No descriptor is left, a timer interrupts every system call, and the time is over before anything has answered.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

use mtasts::cache::Cache as _;
use mtasts::sender::queue::{Completed, Queue};
use mtasts::sender::resolver::unix_now;
use mtasts::{Mode, Resolver, Settings, Source};
use mtasts_lab::Change;

use mtasts_kit::{Child, Internet, USER, as_user, ask, become_user, name, settings_of_new_fleet};

use crate::{MEMORY, SETTINGS, files_of, on_the_internet, run, warns};

/// Takes all descriptors that this process may have, which are some more than it has.
fn all_descriptors() -> Vec<File> {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.map(|file| file.unwrap().file_name().into_string().unwrap().parse::<u64>().unwrap());
    let most = numbers.max().unwrap() + 64;
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: a valid rlimit, in a child of the test.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// A process that has no descriptor left knows what it knew, and never takes "too many open files" for "no policy".
#[test]
fn no_descriptor_is_left() {
    on_the_internet("descriptors", |ground| {
        as_user(USER, USER, || ground.asks("good.test"));
        let (before, resolver) = (ground.entry("good.test").unwrap(), ground.resolver());
        let child = Child::start(|| {
            become_user(USER, USER);
            assert_eq!(ask(&resolver, "good.test").source(), Source::Cached);
            let all = all_descriptors();
            assert!(all.len() > 10);
            assert_eq!(ask(&resolver, "good.test").source(), Source::Cached, "from memory");
            // Nobody knows whether these have a policy: mail waits, and the reason is told.
            for domain in ["good.test", "wild.test"] {
                let unknown = ground.resolver().lookup(&name(domain), Duration::from_secs(20));
                let unknown = unknown.expect_err("no answer").to_string();
                assert!(unknown.contains("Too many open files"), "{unknown}");
            }
            // The answer is too old to be repeated, and the policy in it counts.
            thread::sleep(MEMORY);
            let kept = ask(&resolver, "good.test");
            assert_eq!(
                (kept.source(), kept.mode()),
                (Source::CachedAfterFailure, Mode::Enforce),
                "{kept}"
            );
            warns(&kept, "Too many open files");
            drop(all);
            thread::sleep(MEMORY);
            for resolver in [&resolver, &ground.resolver()] {
                let mended = ask(resolver, "good.test");
                assert_eq!((mended.source(), mended.warning()), (Source::Cached, None), "{mended}");
            }
            assert_eq!(ask(&resolver, "wild.test").source(), Source::Fresh);
        });
        child.ends_well(Duration::from_secs(60));
        let after = ground.entry("good.test").unwrap();
        assert_eq!((after.cached, after.mode_since), (before.cached, before.mode_since));
        assert_eq!(ground.fetches("good.test"), 1);
        // Root has no pipe to its helper then.
        let child = Child::start(|| {
            let all = all_descriptors();
            let refused = ground.resolver().lookup(&name("good.test"), Duration::from_secs(20));
            assert!(refused.unwrap_err().to_string().contains("Too many open files"));
            drop(all);
            assert_eq!(ask(&ground.resolver(), "good.test").source(), Source::Cached);
        });
        child.ends_well(Duration::from_secs(60));
    });
}

/// Leaves `more` descriptors, after the cache has been read.
fn leave(more: usize) -> Vec<File> {
    let mut all = all_descriptors();
    all.truncate(all.len().saturating_sub(more));
    all
}

/// However many descriptors are left, and so wherever a lookup runs out of them (the runtime, the socket for DNS, the roots,
/// the socket for HTTPS), a domain with a policy never looks as if it had none, and nothing is noted against it.
#[test]
fn few_descriptors_are_left() {
    on_the_internet("few", |ground| {
        let settings = |cache: bool| {
            let mut settings = settings_of_new_fleet(&ground.cache, SETTINGS);
            settings
                .set("cache_dir", if cache { ground.cache.to_str().unwrap() } else { "" })
                .unwrap();
            settings.set("first_contact_defer", "1h").unwrap();
            settings
        };
        as_user(USER, USER, || ground.asks("wild.test"));
        let mut due = ground.entry("wild.test").unwrap();
        due.txt = None;
        ground.store().save(&due).unwrap();
        let (mut waits, mut fresh) = (0, 0);
        for more in 0..24 {
            let mut pipe = [0; 2];
            // SAFETY: room for the two ends of a pipe, for the child's word.
            assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
            let child = Child::start(|| {
                become_user(USER, USER);
                let (with, without) = (Resolver::new(settings(true)), Resolver::new(settings(false)));
                let all = leave(more);
                let result = without.lookup(&name("good.test"), Duration::from_secs(10));
                let kept = with.lookup(&name("wild.test"), Duration::from_secs(10));
                drop(all);
                let word = match &result {
                    Ok(answer) => {
                        assert_eq!(
                            (answer.source(), answer.mode()),
                            (Source::Fresh, Mode::Enforce),
                            "{more}: {answer}"
                        );
                        b'f'
                    }
                    Err(_) => b'w',
                };
                if let Ok(kept) = &kept {
                    assert_eq!(kept.mode(), Mode::Enforce, "{more}: {kept}");
                }
                // SAFETY: one octet of ours.
                assert_eq!(unsafe { libc::write(pipe[1], (&raw const word).cast(), 1) }, 1);
                // Nothing pauses: with descriptors the policy is there at once.
                let mended = without.lookup(&name("good.test"), Duration::from_secs(10)).unwrap();
                assert_eq!(mended.mode(), Mode::Enforce, "{more}: {mended}");
            });
            child.ends_well(Duration::from_secs(60));
            let mut word = 0_u8;
            // SAFETY: one octet, and the two ends are closed once.
            unsafe {
                assert_eq!(libc::read(pipe[0], (&raw mut word).cast(), 1), 1);
                libc::close(pipe[0]);
                libc::close(pipe[1]);
            }
            if word == b'w' {
                waits += 1
            } else {
                fresh += 1
            }
            let entry = ground.entry("wild.test").unwrap();
            assert_eq!((entry.failed, entry.unlearned_since), (None, None), "{more}");
        }
        println!("of 24 lookups with few descriptors {waits} wait and {fresh} have the policy");
        assert!(waits >= 5 && fresh >= 1, "{waits} {fresh}");
    });
}

/// A handler without SA_RESTART, a thousand times a second.
fn storm() {
    extern "C" fn nothing(_: libc::c_int) {}
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: 1000,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: the handler does nothing, and all are valid values of ours, in a child of the test.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        assert_eq!(
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()),
            0
        );
        assert_eq!(
            libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()),
            0
        );
    }
    let interrupted = (0..1000).any(|_| {
        // SAFETY: no descriptors to wait for.
        let ready = unsafe { libc::poll(std::ptr::null_mut(), 0, 50) };
        ready < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
    });
    assert!(interrupted, "the storm does not blow");
}

#[test]
fn interrupted_system_calls() {
    on_the_internet("interrupted", |ground| {
        for as_root in [false, true] {
            let child = Child::start(|| {
                if !as_root {
                    become_user(USER, USER);
                }
                storm();
                for n in 0..12 {
                    ground.store().remove(&name("good.test")).unwrap();
                    let fresh = ask(&ground.resolver_of_new_fleet(), "good.test");
                    assert_eq!((fresh.source(), fresh.warning()), (Source::Fresh, None), "{n}: {fresh}");
                    for _ in 0..5 {
                        let cached = ask(&ground.resolver(), "good.test");
                        assert_eq!(
                            (cached.source(), cached.warning()),
                            (Source::Cached, None),
                            "{n}: {cached}"
                        );
                    }
                }
            });
            child.ends_well(Duration::from_secs(60));
        }
        assert_eq!(files_of(ground), ["good.test"]);
    });
}

/// A context that has little time, and makes mail wait where nothing can be learnt at the first contact.
fn hurried(ground: &Internet) -> Settings {
    let mut settings = ground.settings();
    settings.set("timeout", "3s").unwrap();
    settings.set("first_contact_defer", "1h").unwrap();
    settings
}

/// A file of roots that hangs, as on a disk that is gone. That says nothing of the domain, whose record was read: its mail
/// waits, nothing is noted of it, and a policy stays in force.
#[test]
fn roots_that_hang_are_not_the_domains_silence() {
    on_the_internet("hanging", |ground| {
        let fifo = ground.cache.with_file_name("roots");
        run("mkfifo", &["-m", "666"], &fifo);
        as_user(USER, USER, || ground.asks("wild.test"));
        let mut due = ground.entry("wild.test").unwrap();
        due.txt = None;
        ground.store().save(&due).unwrap();
        let another = Change::txt("v=STSv1; id=another;");
        ground.lab.set("wild.test", another).unwrap();
        let mut settings = hurried(ground);
        settings.set("ca_file", fifo.to_str().unwrap()).unwrap();
        let asks = |domain: &str| {
            let patience = Duration::from_secs(60);
            as_user(USER, USER, || {
                Resolver::new(settings.clone()).lookup(&name(domain), patience)
            })
        };
        let unknown = asks("good.test").expect_err("nobody could be asked").to_string();
        assert!(
            unknown.contains("while this host was reading its own files"),
            "{unknown}"
        );
        assert_eq!(
            (files_of(ground), ground.fetches("good.test")),
            (vec!["wild.test".to_owned()], 0)
        );
        let kept = asks("wild.test").unwrap();
        assert_eq!(
            (kept.source(), kept.mode()),
            (Source::CachedAfterFailure, Mode::Enforce)
        );
        assert_eq!(
            (
                kept.failure().unwrap().result,
                ground.entry("wild.test").unwrap().failed
            ),
            (None, None)
        );
        // The threads that hang there.
        let mut options = OpenOptions::new();
        let open = options.write(true).custom_flags(libc::O_NONBLOCK);
        while let Ok(fifo) = open.open(&fifo) {
            drop(fifo);
            thread::sleep(Duration::from_millis(50));
        }
    });
}

/// The mail of a domain of which nothing is known waits from the first failure on (D-02), whichever deadline has passed
/// and whichever process met it.
#[test]
fn a_deadline_that_passes_is_a_first_failure() {
    on_the_internet("deadline", |ground| {
        let silent = |domain: &str| ground.lab.set(domain, Change::txt("SILENT")).unwrap();
        let waits = |domain: &str| as_user(USER, USER, || ask(&Resolver::new(hurried(ground)), domain));
        silent("good.test");
        let first = waits("good.test");
        assert_eq!(first.source(), Source::CouldNotLearn);
        let until = first.defer_until().expect("it waits");
        assert!((unix_now() + 3500..unix_now() + 3601).contains(&until));
        assert_eq!(ground.entry("good.test").unwrap().unlearned_since, Some(until - 3600));
        thread::sleep(Duration::from_millis(1500));
        ground.lab.set("good.test", Change::txt("SERVFAIL")).unwrap();
        assert_eq!(
            waits("good.test").defer_until(),
            Some(until),
            "from the first failure on"
        );
        ground.lab.reset().unwrap();

        // A policy counts on, and DNS is left alone for a while.
        as_user(USER, USER, || ground.asks("wild.test"));
        let mut due = ground.entry("wild.test").unwrap();
        due.txt = None;
        ground.store().save(&due).unwrap();
        silent("wild.test");
        let kept = waits("wild.test");
        assert_eq!(
            (kept.source(), kept.mode()),
            (Source::CachedAfterFailure, Mode::Enforce),
            "{kept}"
        );
        assert!(kept.alert().is_some());
        let asked = ground.questions("wild.test");
        assert_eq!(waits("wild.test").mode(), Mode::Enforce);
        assert_eq!(ground.questions("wild.test"), asked);

        // The deadline of a queue.
        silent("twomx.test");
        as_user(USER, USER, || {
            let queue = Queue::new(&Resolver::new(hurried(ground))).unwrap();
            queue.submit(&name("twomx.test"), Duration::from_secs(1), ()).unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            let result = loop {
                if let Some(completion) = queue.next().unwrap() {
                    break completion.result;
                }
                assert!(Instant::now() < end, "no completion");
                thread::sleep(Duration::from_millis(10));
            };
            let Completed::Answer(answer) = result else {
                panic!("{result:?}")
            };
            let since = answer.defer_until().expect("it waits") - 3600;
            assert_eq!(ground.entry("twomx.test").unwrap().unlearned_since, Some(since));
        });
        // What can be learnt ends the wait.
        ground.lab.reset().unwrap();
        let fresh = as_user(USER, USER, || ask(&Resolver::new(hurried(ground)), "twomx.test"));
        assert_eq!(fresh.source(), Source::Fresh);
        assert_eq!(ground.entry("twomx.test").unwrap().unlearned_since, None);
    });
}
