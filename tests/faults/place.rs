//! What may stand in the place of a domain's file, and names that would lead elsewhere.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use mtasts::cache::Cache as _;
use mtasts::sender::resolver::unix_now;
use mtasts::{Answer, Domain, Mode, Source};

use mtasts_kit::{Internet, USER, as_user, ask, name};

use crate::{files_of, on_the_internet, run, warns};

/// Whatever stands there, it is told and not used, nobody waits for it, and the next fetch replaces it.
fn is_repaired(ground: &Internet, what: &str, told: &str) {
    let begin = Instant::now();
    let asks = || as_user(USER, USER, || ask(&ground.resolver_of_new_fleet(), "good.test"));
    let fresh = asks();
    assert_eq!(
        (fresh.source(), fresh.mode()),
        (Source::Fresh, Mode::Enforce),
        "{what}: {fresh}"
    );
    warns(&fresh, told);
    let cached = asks();
    assert_eq!(
        (cached.source(), cached.warning()),
        (Source::Cached, None),
        "{what}: {cached}"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{what}: {:?}",
        begin.elapsed()
    );
    let about = ground.file("good.test").symlink_metadata().unwrap();
    assert!(about.is_file() && about.mode() & 0o777 == 0o660, "{what}");
}

/// Every length and every octet is looked at; a fetch repairs some of them.
#[test]
fn a_file_that_was_cut_or_garbled() {
    on_the_internet("garbled", |ground| {
        as_user(USER, USER, || ground.asks("good.test"));
        let (file, whole) = (ground.file("good.test"), fs::read(ground.file("good.test")).unwrap());
        // In its place, and not a new one: its owner stays.
        let put = |content: &[u8]| fs::write(&file, content).unwrap();
        let is_told = |content: &[u8], what: &str| {
            put(content);
            let answer = ground.resolver().lookup_cached(&name("good.test")).unwrap();
            assert_eq!(answer.source(), Source::CouldNotLearn, "{what}: {answer}");
            warns(&answer, "good.test is ignored: ");
        };
        as_user(USER, USER, || {
            for length in 0..whole.len() {
                is_told(&whole[..length], &format!("cut to {length}"));
            }
            for at in 0..whole.len() {
                for bit in [0x01, 0x80] {
                    let mut garbled = whole.clone();
                    garbled[at] ^= bit;
                    is_told(&garbled, &format!("{bit:x} turned at {at}"));
                }
            }
            is_told(&[&whole[..], b"\n"].concat(), "longer");
        });
        for length in (0..whole.len()).step_by(whole.len() / 8) {
            put(&whole[..length]);
            is_repaired(ground, &format!("cut to {length}"), "good.test is ignored: ");
            let mut garbled = whole.clone();
            garbled[length] ^= 1;
            put(&garbled);
            is_repaired(ground, &format!("garbled at {length}"), "good.test is ignored: ");
        }
    });
}

#[test]
fn something_else_in_the_place_of_a_file() {
    on_the_internet("place", |ground| {
        let file = ground.file("good.test");
        let elsewhere = ground.cache.with_file_name("elsewhere");
        for domain in ["good.test", "wild.test"] {
            as_user(USER, USER, || ground.asks(domain));
        }
        let (mine, other) = (fs::read(&file).unwrap(), fs::read(ground.file("wild.test")).unwrap());
        let newer = String::from_utf8(mine.clone())
            .unwrap()
            .replacen("mtasts 1 ", "mtasts 2 ", 1);
        fs::write(&elsewhere, &mine).unwrap();
        let device = |major: u32, minor: u32| {
            let (path, device) = (
                CString::new(file.as_os_str().as_bytes()).unwrap(),
                libc::makedev(major, minor),
            );
            // SAFETY: a NUL-terminated path that lives during the call.
            let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, device) };
            assert_eq!(made, 0, "a device");
        };
        let no_file = "is ignored: it is not a regular file, or is too large";
        type Put<'a> = &'a dyn Fn();
        let all: [(&str, &str, Put<'_>); 13] = [
            ("of a newer version", "not a file of this version", &|| {
                fs::write(&file, &newer).unwrap()
            }),
            ("of another domain", "the file is for another domain", &|| {
                fs::write(&file, &other).unwrap()
            }),
            ("64 MiB of a policy", no_file, &|| {
                fs::write(&file, mine.repeat(200_000)).unwrap()
            }),
            ("one with a hole of 1 GiB", no_file, &|| {
                fs::write(&file, &mine).unwrap();
                File::options()
                    .write(true)
                    .open(&file)
                    .unwrap()
                    .set_len(1 << 30)
                    .unwrap();
            }),
            ("a link to a good file", no_file, &|| {
                std::os::unix::fs::symlink(&elsewhere, &file).unwrap()
            }),
            ("a link to nowhere", no_file, &|| {
                std::os::unix::fs::symlink("/nonexistent/x", &file).unwrap()
            }),
            ("a link to itself", no_file, &|| {
                std::os::unix::fs::symlink(&file, &file).unwrap()
            }),
            ("a FIFO", no_file, &|| run("mkfifo", &[], &file)),
            ("a socket", no_file, &|| drop(UnixListener::bind(&file).unwrap())),
            ("nothing that ends", no_file, &|| device(1, 5)),
            ("an empty device", no_file, &|| device(1, 3)),
            ("a device of nobody", no_file, &|| device(250, 77)),
            ("an empty directory", no_file, &|| fs::create_dir(&file).unwrap()),
        ];
        for (what, told, put) in all {
            fs::remove_file(&file).unwrap();
            put();
            std::os::unix::fs::lchown(&file, Some(USER), Some(USER)).unwrap();
            is_repaired(ground, what, told);
        }
        assert_eq!(fs::read(&elsewhere).unwrap(), mine, "no link was written through");

        // A directory with something in it may be somebody's: it stays, the policy is learnt all the same, and each
        // lookup says what to do. As root too.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        fs::write(file.join("something"), "").unwrap();
        chown(&file, Some(USER), Some(USER)).unwrap();
        let learns = |answer: &Answer| {
            assert_eq!(
                (answer.source(), answer.mode()),
                (Source::Fresh, Mode::Enforce),
                "{answer}"
            );
            warns(
                answer,
                "is a directory that is not empty; the cache needs a file of that name. Remove the directory.",
            );
        };
        let asks = || ask(&ground.resolver_of_new_fleet(), "good.test");
        learns(&as_user(USER, USER, asks));
        learns(&asks());
        assert!(file.join("something").exists());
        assert_eq!(files_of(ground), ["good.test", "wild.test"]);
        run("rm", &["-r"], &file);
        assert_eq!(asks().source(), Source::Fresh);
        assert_eq!(asks().source(), Source::Cached);
    });
}

/// The lock and the directory's own names are no place either.
#[test]
fn something_else_in_the_place_of_the_lock() {
    on_the_internet("lock", |ground| {
        let lock = ground.file(".lock");
        let elsewhere = ground.file(".elsewhere");
        let all: [&dyn Fn(); 3] = [
            &|| std::os::unix::fs::symlink(&elsewhere, &lock).unwrap(),
            &|| run("mkfifo", &[], &lock),
            &|| fs::create_dir(&lock).unwrap(),
        ];
        for put in all {
            put();
            let begin = Instant::now();
            let fresh = as_user(USER, USER, || ask(&ground.resolver_of_new_fleet(), "good.test"));
            // Without a lock each fetches for itself, and writes.
            assert_eq!(fresh.source(), Source::Fresh, "{fresh}");
            assert!(begin.elapsed() < Duration::from_secs(10));
            assert_eq!(
                as_user(USER, USER, || ground.asks("good.test")).source(),
                Source::Cached
            );
            fs::remove_file(ground.file("good.test")).unwrap();
            run("rm", &["-r"], &lock);
        }
        assert!(!elsewhere.exists(), "nothing is made behind a link");
    });
}

/// A name is a domain in its one spelling, or it never reaches the disk.
#[test]
fn names_that_would_lead_out_of_the_directory() {
    for evil in [
        "..",
        ".",
        "../good.test",
        "/etc/passwd",
        "a/../../b.test",
        "a.test/",
        "good.test/x",
        ".lock",
        ".tmp-1-2-3",
        "a..test",
        "..test",
        "\\..\\a.test",
        "a.test\0.b",
        "a.test\n",
        "%2e%2e.test",
        "~.test",
        "*.test",
        "-.test",
        "a_b.test",
        "\u{2024}\u{2024}.test",
        "\u{ff0e}\u{ff0e}/a.test",
        "\u{ff0f}etc",
        "",
    ] {
        assert!(Domain::parse(evil).is_err(), "{evil:?}: {:?}", Domain::parse(evil));
    }
    // The longest name there can be is a file name still, and unlike any of ours.
    let longest = [&*"a".repeat(63), &"b".repeat(63), &"c".repeat(63), &"d".repeat(61)].join(".");
    let (domain, dir) = (
        name(&longest),
        std::env::temp_dir().join(format!("mtasts-faults-{}-names", std::process::id())),
    );
    assert_eq!(domain.as_str().len(), 253);
    let mut entry = mtasts::cache::entry::Entry::new(domain);
    entry.unlearned_since = Some(unix_now());
    let store = mtasts::cache::store::Store::new(dir.clone());
    store.save(&entry).unwrap();
    assert_eq!(store.load(&entry.domain).unwrap(), Some(entry));
    assert!(dir.join(longest).is_file());
    fs::remove_dir_all(dir).unwrap();
}
