//! Who holds a lock of the cache, and does not let it go: a lookup that was stopped, a reader, a member of the group. It
//! costs the others the time of a short wait, never the policy.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::{Mode, Source};
use mtasts_lab::{Change, Https};
use ring::digest::{SHA256, digest};

use mtasts_kit::process::{children, group, state, uid};
use mtasts_kit::{Child, Internet, USER, as_user, become_user, signal, until};

use crate::{mode, on_the_internet};

/// Who owns a cache that he shares, and somebody of his group.
const OWNER: u32 = 4001;
const MEMBER: u32 = 4002;
const GROUP: u32 = 4000;
/// The wait for a lock, a fetch, and what a busy machine adds.
const SHORT: Duration = Duration::from_millis(5500);

/// Five mails at once learn the policy in a short time, and each that fetched without the lock says so.
fn five_learn_the_policy(ground: &Internet, domain: &str, identity: impl Fn(usize) + Sync) {
    let (begun, fetched) = (Instant::now(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..5 {
            let (identity, fetched) = (&identity, &fetched);
            scope.spawn(move || {
                identity(number);
                let answer = ground.asks(domain);
                assert_eq!(answer.mode(), Mode::Enforce, "{answer}");
                if answer.source() == Source::Fresh {
                    let told = answer.warning().unwrap_or_default();
                    assert!(told.contains("/.lock") && told.contains(domain), "{answer}");
                    fetched.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(begun.elapsed() < SHORT, "{:?}", begun.elapsed());
    assert!(fetched.into_inner() > 0);
    let again = as_user(OWNER, GROUP, || ground.asks(domain));
    assert_eq!((again.source(), again.warning()), (Source::Cached, None), "{again}");
}

/// Ctrl-Z, SIGSTOP, a frozen cgroup: whoever fetches for all does not go on, and holds the lock.
#[test]
fn a_leader_that_is_stopped() {
    on_the_internet("stopped", |ground| {
        ground.own(USER, GROUP);
        ground.mode(0o2770);
        for (domain, as_root) in [("good.test", true), ("wild.test", false)] {
            ground.lab.set(domain, Change::https(Https::Silent)).unwrap();
            let leader = Child::start(|| {
                if !as_root {
                    become_user(USER, GROUP);
                }
                ground.asks(domain);
            });
            until("a fetch", || ground.fetches(domain) > 0);
            let stopped = if as_root { leader.helper() } else { leader.0 };
            signal(stopped, libc::SIGSTOP);
            ground.lab.set(domain, Change::https(Https::Ok)).unwrap();
            five_learn_the_policy(ground, domain, |number| {
                // Of every kind: root's helpers among them.
                if number % 2 == 0 {
                    become_user(USER, GROUP);
                }
            });
            assert_eq!(state(stopped).as_deref(), Some("T"), "it was stopped all the time");
        }
    });
}

/// Ctrl-Z and Ctrl-C go to the processes of the terminal: the helper is none of them, and lets its lock go in time.
#[test]
fn the_terminal_of_a_host_does_not_reach_its_helper() {
    on_the_internet("terminal", |ground| {
        ground.lab.set("good.test", Change::https(Https::Silent)).unwrap();
        let host = Child::start(|| {
            // SAFETY: a system call on values.
            assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
            ground.asks("good.test");
        });
        until("a fetch", || ground.fetches("good.test") > 0);
        let helper = host.helper();
        assert_eq!(group(host.0), [host.0]);
        signal(-host.0, libc::SIGSTOP);
        until("a stop", || state(host.0).as_deref() == Some("T"));
        thread::sleep(Duration::from_millis(100));
        assert_ne!(state(helper).as_deref(), Some("T"));
    });
}

/// The parent of a helper that is stopped gives up at its deadline, and takes it away.
#[test]
fn a_helper_that_is_stopped_does_not_outlive_its_deadline() {
    on_the_internet("deadline", |ground| {
        ground.lab.set("good.test", Change::https(Https::Silent)).unwrap();
        let resolver = mtasts::Resolver::new(mtasts_kit::settings(&ground.cache, &[]));
        let host = Child::start(|| {
            let good = mtasts::Domain::parse("good.test").unwrap();
            let answer = resolver.lookup(&good, Duration::from_secs(5));
            assert!(answer.is_err(), "{answer:?}");
            assert!(children(i32::try_from(std::process::id()).unwrap()).is_empty());
        });
        until("a fetch", || ground.fetches("good.test") > 0);
        let helper = host.helper();
        signal(helper, libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: our own child and a valid place for its status.
        assert_eq!(unsafe { libc::waitpid(host.0, &raw mut status, 0) }, host.0);
        std::mem::forget(host);
        assert_eq!((status, uid(helper)), (0, None));
    });
}

/// Locks octets of a file as long as the value lives. A read lock needs no more than the right to read.
fn hold(file: &File, kind: libc::c_int, start: i64, length: i64) {
    // SAFETY: a flock is plain memory for which all zeros is a valid value, and the descriptor is open.
    unsafe {
        let mut range: libc::flock = std::mem::zeroed();
        range.l_type = kind as libc::c_short;
        range.l_whence = libc::SEEK_SET as libc::c_short;
        (range.l_start, range.l_len) = (start, length);
        let locked = libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range);
        assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
    }
}

fn read_as_member(lock: &Path) -> std::io::Result<File> {
    as_user(MEMBER, GROUP, || File::open(lock))
}

/// In mode 2750 the group reads policies and locks nothing; a lock from before, or from another mode, is corrected.
#[test]
fn a_reader_of_the_group_with_a_read_lock() {
    on_the_internet("reader", |ground| {
        ground.own(OWNER, GROUP);
        ground.mode(0o2750);
        for (domain, owner, before) in [
            ("good.test", OWNER, 0o640),
            ("wild.test", OWNER, 0o660),
            // Whoever of the group made it, when all of them wrote.
            ("testing.test", MEMBER, 0o660),
        ] {
            let _ = fs::remove_file(ground.file(".lock"));
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(ground.file(".lock"))
                .unwrap();
            fs::set_permissions(ground.file(".lock"), Permissions::from_mode(before)).unwrap();
            chown(ground.file(".lock"), Some(owner), Some(GROUP)).unwrap();
            let reader = read_as_member(&ground.file(".lock")).unwrap();
            hold(&reader, libc::F_RDLCK, 0, 0);
            if owner == OWNER && domain == "good.test" {
                five_learn_the_policy(ground, domain, |number| {
                    if number % 2 == 0 {
                        become_user(OWNER, GROUP);
                    }
                });
            } else {
                as_user(OWNER, GROUP, || ground.asks(domain));
            }
            assert_eq!(mode(&ground.file(".lock")), 0o600, "{domain}");
            assert!(read_as_member(&ground.file(".lock")).is_err(), "{domain}");
        }
        // And one who reads alone is not kept waiting, and does without.
        let begun = Instant::now();
        let own = as_user(MEMBER, GROUP, || ground.asks("implicit.test"));
        assert!(
            begun.elapsed() < SHORT && !own.warning().unwrap_or_default().contains(".lock"),
            "{own}"
        );
    });
}

/// Where all of the group write, all of them may lock: also after it was the owner alone.
#[test]
fn a_lock_that_is_too_narrow_is_widened() {
    on_the_internet("narrow", |ground| {
        ground.own(OWNER, GROUP);
        ground.mode(0o2750);
        as_user(OWNER, GROUP, || ground.asks("good.test"));
        assert_eq!(mode(&ground.file(".lock")), 0o600);
        ground.own(OWNER, GROUP);
        ground.mode(0o2770);
        as_user(OWNER, GROUP, || ground.asks("wild.test"));
        assert_eq!(mode(&ground.file(".lock")), 0o660);
    });
}

/// A member of the group takes the very octet of a domain, as a name on the same octet would.
#[test]
fn a_name_on_the_same_octet() {
    on_the_internet("octet", |ground| {
        ground.own(OWNER, GROUP);
        ground.mode(0o2770);
        as_user(OWNER, GROUP, || ground.asks("testing.test"));
        let lock = as_user(MEMBER, GROUP, || {
            File::options().read(true).write(true).open(ground.file(".lock"))
        });
        let lock = lock.unwrap();
        for name in ["good.test", "good.test write"] {
            let octets = digest(&SHA256, name.as_bytes());
            let octet = u64::from_be_bytes(octets.as_ref()[..8].try_into().unwrap()) >> 2;
            hold(&lock, libc::F_WRLCK, octet.try_into().unwrap(), 1);
        }
        five_learn_the_policy(ground, "good.test", |_| become_user(OWNER, GROUP));
    });
}
