//! Who gets hold of root's helper, by a defect in the code that parses what strangers send, has nothing of root's: the
//! kernel says so, around a host process that has made it as hard as it can.

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::IntoRawFd;

use mtasts::{Domain, Resolver, Settings, Source};

use mtasts_kit::process::is_bare;
use mtasts_kit::{Child, Internet, USER, until};

use crate::{PATIENCE, on_the_internet};

/// The capabilities that a careless host has made ambient: those to read all files, and to bind any port.
const AMBIENT: [c_int; 2] = [2, 10];

/// A program of root that has opened what only root may read, and has told the kernel to keep what it can.
fn hostile_host(closed: bool) {
    let number = File::open("/etc/shadow").unwrap().into_raw_fd();
    let all = [0x2008_0522, 0];
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: system calls on values and on memory of ours; this process is the test's own.
    unsafe {
        for copy in [0, 1, 2, 3, 9, 77, 900] {
            libc::dup2(number, copy);
        }
        if closed {
            // Then a pipe gets these numbers.
            for standard in 0..3 {
                libc::close(standard);
            }
        }
        assert_eq!(libc::syscall(libc::SYS_capget, all.as_ptr(), sets.as_mut_ptr()), 0);
        for [_, permitted, inheritable] in &mut sets {
            *inheritable = *permitted;
        }
        assert_eq!(libc::syscall(libc::SYS_capset, all.as_ptr(), sets.as_ptr()), 0);
        for capability in AMBIENT {
            let raised = libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                capability as libc::c_ulong,
                0 as libc::c_ulong,
                0 as libc::c_ulong,
            );
            assert_eq!(raised, 0);
        }
        // With the second a change of user alone takes nothing away at all.
        let bits = libc::SECBIT_KEEP_CAPS | if closed { libc::SECBIT_NO_SETUID_FIXUP } else { 0 };
        assert_eq!(libc::prctl(libc::PR_SET_SECUREBITS, bits as libc::c_ulong), 0);
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut signals);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const signals, std::ptr::null_mut());
        for ignored in [libc::SIGTERM, libc::SIGINT, libc::SIGTSTP, libc::SIGALRM] {
            libc::signal(ignored, libc::SIG_IGN);
        }
        extern "C" fn handler(_: c_int) {}
        for handled in [libc::SIGUSR1, libc::SIGIO, libc::SIGRTMIN() + 3] {
            libc::signal(handled, handler as *const () as libc::sighandler_t);
        }
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
    }
}

fn looks_into_the_helper(ground: &Internet, closed: bool) {
    let asked = ground.questions("txt-silent.test");
    let host = Child::start(|| {
        hostile_host(closed);
        ground.asks("txt-silent.test");
    });
    let helper = host.helper();
    until("a question to DNS", || ground.questions("txt-silent.test") > asked);
    is_bare(helper, USER, USER);
}

#[test]
fn the_helper_has_nothing_of_a_hostile_host() {
    on_the_internet("helper", |ground| {
        looks_into_the_helper(ground, false);
        looks_into_the_helper(ground, true);
    });
}

/// And it answers all the same, with its pipe among the standard descriptors or not.
#[test]
fn a_hostile_host_gets_its_answers() {
    on_the_internet("answers", |ground| {
        for (domain, closed) in [("good.test", false), ("wild.test", true)] {
            let host = Child::start(|| {
                hostile_host(closed);
                let answer = ground.asks(domain);
                assert_eq!(answer.source(), Source::Fresh);
            });
            let mut status = 0;
            // SAFETY: our own child and a valid place for its status.
            assert_eq!(unsafe { libc::waitpid(host.0, &raw mut status, 0) }, host.0);
            std::mem::forget(host);
            assert_eq!(status, 0, "closed: {closed}");
        }
    });
}

/// The group of root is no group to become, and it is said what to do.
#[test]
fn a_directory_of_roots_group_is_refused() {
    on_the_internet("group", |ground| {
        ground.own(USER, 0);
        ground.mode(0o2770);
        let resolver = ground.resolver();
        let refused = resolver.lookup(&Domain::parse("good.test").unwrap(), PATIENCE);
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("belongs to the group of root") && refused.contains("install -d -m 2770 -o USER -g GROUP"),
            "{refused}"
        );
        assert_eq!(ground.questions("good.test"), 0);
    });
}

/// A user whom each Debian has, with a group of the same number.
const MAIL: u32 = 8;

/// A context of root with this cache directory, and this user if there is one.
fn of_root(cache_dir: &str, user: Option<&str>) -> Resolver {
    let mut settings = Settings::default();
    settings.set("cache_dir", cache_dir).unwrap();
    settings.set("allow_addresses", "198.18.0.0/15 2001:2::/48").unwrap();
    if let Some(user) = user {
        settings.set("user", user).unwrap();
    }
    Resolver::new(settings)
}

fn name(domain: &str) -> Domain {
    Domain::parse(domain).unwrap()
}

/// The setting `user` names whom root becomes, by name or number; he must be able to write to the directory.
#[test]
fn the_helper_is_the_user_of_the_settings() {
    on_the_internet("user", |ground| {
        let dir = ground.cache.to_str().unwrap();
        for (user, cache_dir) in [("mail", dir), ("8", dir), ("mail", "")] {
            ground.own(MAIL, MAIL);
            ground.mode(0o2770);
            let asked = ground.questions("txt-silent.test");
            let host = Child::start(|| {
                let _ = of_root(cache_dir, Some(user)).lookup(&name("txt-silent.test"), PATIENCE);
            });
            let helper = host.helper();
            until(&format!("a question to DNS as {user} in {cache_dir:?}"), || {
                ground.questions("txt-silent.test") > asked
            });
            is_bare(helper, MAIL, MAIL);
        }
        let answer = of_root(dir, Some("mail")).lookup(&name("good.test"), PATIENCE).unwrap();
        assert_eq!((answer.source(), answer.warning()), (Source::Fresh, None), "{answer}");
        ground.own(USER, USER);
        let refused = of_root(dir, Some("mail")).lookup(&name("wild.test"), PATIENCE);
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("cannot be written by the user mail") && refused.contains("install -d -m 2770 -o mail"),
            "{refused}"
        );
        assert_eq!(ground.questions("wild.test"), 0);
    });
}

/// Memory alone: the helper has a copy of it, and what the helper learns is kept by its parent.
#[test]
fn memory_alone_is_roots_only_with_a_user() {
    on_the_internet("memory", |ground| {
        let without = of_root("", None);
        let refused = without.lookup(&name("good.test"), PATIENCE).unwrap_err().to_string();
        assert!(
            refused.contains("set user to the name of the mail server's user"),
            "{refused}"
        );
        assert_eq!(ground.questions("good.test"), 0);

        let resolver = of_root("", Some("mail"));
        let answer = resolver.lookup(&name("good.test"), PATIENCE).unwrap();
        assert_eq!(answer.source(), Source::Fresh, "{answer}");
        // Longer than an answer is repeated: the next helper goes by what the first has learnt.
        std::thread::sleep(std::time::Duration::from_secs(6));
        let asked = ground.questions("good.test");
        let again = resolver.lookup(&name("good.test"), PATIENCE).unwrap();
        assert_eq!((again.source(), again.warning()), (Source::Cached, None), "{again}");
        assert_eq!((ground.questions("good.test"), ground.fetches("good.test")), (asked, 1));
        assert_eq!(resolver.domains().unwrap(), [name("good.test")]);
        assert!(resolver.purge(&name("good.test")).unwrap() && !resolver.purge(&name("good.test")).unwrap());
        let anew = resolver.lookup(&name("good.test"), PATIENCE).unwrap();
        assert_eq!(
            (anew.source(), ground.fetches("good.test")),
            (Source::Fresh, 2),
            "{anew}"
        );
        assert!(!ground.cache.join("good.test").exists());
    });
}
