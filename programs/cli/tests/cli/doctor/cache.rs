//! What `mtasts doctor` says of the cache directory, of its users and of what is in it.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use mtasts_kit::{Internet, Ran, USER, on_the_internet};

use super::{FILE, HOUR, command_as, cron, doctor, doctor_as, has, sentence, user};

#[test]
fn the_cache_directory() {
    on_the_internet("doctor-cache", |host| {
        let path = host.cache.display().to_string();
        let code = |code: &str, status: i32, words: &str| {
            let (ended, found) = doctor(&[]);
            let told = sentence(&found, code);
            assert!(told.contains(words), "{told}");
            assert_eq!(ended, status, "{found:#?}");
        };
        host.mode(0o2777);
        code("cache-writable", 1, &format!("Run chmod o-w {path}"));
        host.mode(0o2770);
        host.own(0, 0);
        code("cache-root", 1, "belongs to root");
        host.own(USER, USER);
        host.mode(0o500);
        code("user-cannot-write", 1, "cannot write to");
        host.mode(0o2770);
        fs::remove_dir(&host.cache).expect("empty");
        code(
            "cache-missing",
            1,
            &format!("install -d -m 2770 -o USER -g GROUP {path}"),
        );
        fs::write(&host.cache, "").expect("a file");
        code("cache-missing", 1, "not a directory");
        fs::remove_file(&host.cache).expect("a file");
        host.empty_cache();
        for (options, code_of) in [("size=16k", "cache-full"), ("ro,size=1m", "cache-read-only")] {
            let options = format!("{options},uid={USER},gid={USER},mode=2770");
            let mount = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "none", &path])
                .status();
            assert!(mount.expect("mount").success());
            code(code_of, 1, &path);
            assert!(Command::new("umount").arg(&path).status().expect("umount").success());
        }
        let settings = fs::read_to_string(FILE).expect("the settings");
        let others: Vec<&str> = settings.lines().filter(|line| !line.starts_with("cache_dir")).collect();
        fs::write(FILE, others.join("\n") + "\ncache_dir = ''\nuser = 'nobody'\n").expect("/etc");
        code("cache-memory", 0, "keeps its own policies");
    });
}

#[test]
fn each_user_of_the_cache() {
    on_the_internet("doctor-users", |host| {
        user("writer", 4711, "");
        user("member", 4712, "");
        user("stranger", 4713, "");
        let group = fs::read_to_string("/etc/group").expect("/etc");
        fs::write("/etc/group", group + "policies:x:4800:member\n").expect("/etc");
        host.own(4711, 4800);
        let user_is = |name: &str, code: &str, mode: u32, status: i32| {
            host.mode(mode);
            cron("writer");
            fs::create_dir_all("/etc/haraka/config").expect("/etc");
            fs::write("/etc/haraka/config/plugins", "# others\nmta-sts\n").expect("/etc");
            fs::write("/etc/haraka/config/smtp.ini", format!("user={name}\n")).expect("/etc");
            let (ended, found) = doctor(&[]);
            let told = found
                .iter()
                .find(|(_, told)| told.starts_with(&format!("{name} (Haraka's user)")));
            assert_eq!(told.map(|(code, _)| code.as_str()), Some(code), "{found:#?}");
            assert_eq!(ended, status, "{found:#?}");
            assert!(has(&found, "haraka"), "{found:#?}");
        };
        user_is("member", "user", 0o2770, 0);
        user_is("member", "user-reads", 0o2750, 0);
        user_is("stranger", "user-cannot-read", 0o2770, 1);
        user_is("nobody-of-that-name", "user-unknown", 0o2770, 1);
        // Exim asks as root.
        user("Debian-exim", 4714, "");
        user_is("member", "user", 0o2770, 0);
        let told = sentence(&doctor(&[]).1, "user-by-root");
        assert!(told.starts_with("Debian-exim (Exim's user) cannot write to "), "{told}");
        // The refresh must write.
        cron("stranger");
        let (status, found) = doctor(&[]);
        let told = sentence(&found, "user-cannot-write");
        assert!(
            told.starts_with("stranger (whom cron runs the refresh as) cannot use "),
            "{told}"
        );
        assert_eq!(status, 1);
        // A directory above it.
        let above = host.cache.parent().expect("a directory");
        cron("writer");
        fs::set_permissions(above, Permissions::from_mode(0o700)).expect("root");
        let (status, found) = doctor(&[]);
        assert!(
            sentence(&found, "user-cannot-read").contains(&format!("chmod o+x {}", above.display())),
            "{found:#?}"
        );
        assert_eq!(status, 1);
    });
}

#[test]
fn what_is_in_the_cache() {
    on_the_internet("doctor-policies", |host| {
        cron("nobody");
        for domain in ["good.test", "twomx.test", "testing.test", "tls12.test", "expired.test"] {
            host.lookup(domain);
        }
        let now = mtasts::sender::resolver::unix_now();
        age(host, "testing.test", 400 * 24 * HOUR);
        age(host, "twomx.test", 23 * HOUR);
        host.change("good.test", |entry| {
            let id = entry.cached.as_ref().expect("a policy").id;
            let result = mtasts::ResultType::StsPolicyFetchError;
            entry.failed = Some(mtasts::cache::entry::FailedFetch::new(id, now, result, "status 500"));
        });
        fs::write(host.file("tls12.test"), "rubbish").expect("a file");
        chown(host.file("tls12.test"), Some(USER), Some(USER)).expect("root");
        fs::write(host.file("Upper.test"), "").expect("a file");
        let (status, found) = doctor(&[]);
        assert!(
            sentence(&found, "policies").starts_with("3 policies are in force, "),
            "{found:#?}"
        );
        assert!(sentence(&found, "policies").ends_with("; 1 have expired"), "{found:#?}");
        assert!(
            sentence(&found, "policies-failed").starts_with("1 (good.test): the last fetch failed"),
            "{found:#?}"
        );
        assert!(
            sentence(&found, "policies-overdue").starts_with("1 (twomx.test): due for renewal for more than 3 hours"),
            "{found:#?}"
        );
        let ignored: Vec<&str> = found
            .iter()
            .filter(|(code, _)| code == "cache-file")
            .map(|(_, told)| told.as_str())
            .collect();
        assert_eq!(ignored.len(), 2, "{found:#?}");
        assert!(
            ignored[0].contains("Upper.test: its name is not that of a domain"),
            "{ignored:?}"
        );
        assert!(
            ignored[1].contains("tls12.test is ignored: not a file of this version"),
            "{ignored:?}"
        );
        assert_eq!(status, 0, "warnings: {found:#?}");

        // The clock: a file of tomorrow.
        let file = File::options()
            .write(true)
            .open(host.file("good.test"))
            .expect("a file");
        file.set_times(FileTimes::new().set_modified(SystemTime::now() + Duration::from_secs(2 * HOUR)))
            .expect("a time");
        let (status, found) = doctor(&[]);
        let told = sentence(&found, "clock-wrong");
        assert!(told.contains("good.test was written "), "{told}");
        assert_eq!(status, 1);
    });
}

/// The entry was fetched so long ago.
fn age(host: &Internet, domain: &str, seconds: u64) {
    host.change(domain, |entry| {
        let cached = entry.cached.as_ref().expect("a policy");
        let fetched = mtasts::sender::resolver::unix_now() - seconds;
        let cached = mtasts::cache::entry::CachedPolicy::new(cached.id, fetched, cached.text.as_str());
        entry.cached = Some(cached.expect("it was valid").into());
    });
}

#[test]
fn what_this_user_may_not_read_is_unknown() {
    on_the_internet("doctor-stranger", |host| {
        cron("nobody");
        host.lookup("good.test");
        let (status, found) = doctor_as(host, 4711, 4711);
        let told = sentence(&found, "cache-unreadable");
        assert!(
            told.contains("What is in it is unknown: run mtasts doctor as root"),
            "{told}"
        );
        assert!(!has(&found, "policies"), "{found:#?}");
        assert_eq!(status, 3, "{found:#?}");
        // Who asks need not be a user of the cache.
        user("stranger", 4711, "");
        host.mode(0o2751);
        let (status, found) = doctor_as(host, 4711, 4711);
        assert!(
            sentence(&found, "cache-unreadable").contains("make it a member of the directory's group")
                && !found.iter().any(|(_, told)| told.contains("who asks now")),
            "{found:#?}"
        );
        assert_eq!(status, 3, "{found:#?}");
        // A file alone.
        host.mode(0o2770);
        chown(host.file("good.test"), Some(0), Some(0)).expect("root");
        fs::set_permissions(host.file("good.test"), Permissions::from_mode(0o600)).expect("root");
        let (status, found) = doctor(&[]);
        let told = sentence(&found, "cache-unreadable");
        assert!(told.starts_with("1 files cannot be read by this user"), "{told}");
        assert_eq!(status, 3, "{found:#?}");
        // A crontab that may have it.
        fs::set_permissions("/etc/cron.d/mtasts", Permissions::from_mode(0o600)).expect("/etc");
        let (_, found) = doctor_as(host, USER, USER);
        assert!(
            sentence(&found, "refresh-unknown").contains("/etc/cron.d/mtasts: Permission denied"),
            "{found:#?}"
        );
        fs::remove_file("/etc/cron.d/mtasts").expect("/etc");
        let (_, found) = doctor(&[]);
        assert!(
            sentence(&found, "refresh-missing").contains("systemctl enable --now"),
            "{found:#?}"
        );
    });
}

/// What this user may not read is not "nothing".
#[test]
fn the_cache_of_another_user() {
    on_the_internet("doctor-cache-show", |host| {
        host.lookup("good.test");
        let as_stranger = |arguments: &[&str]| -> Ran {
            let mut command = command_as(host, 4711, 4711, arguments);
            command.output().expect("the command").into()
        };
        let check = || {
            let ran = as_stranger(&["cache", "show", "good.test"]);
            assert_eq!((ran.status, ran.err.as_str()), (3, ""), "{ran:?}");
            assert!(ran.out.contains("  unknown "), "{}", ran.out);
            assert!(
                ran.out.contains("whether a policy is in force is unknown to this user"),
                "{}",
                ran.out
            );
            assert!(
                !ran.out.contains("no entry") && !ran.out.contains("ignored"),
                "{}",
                ran.out
            );
            let json = as_stranger(&["cache", "show", "good.test", "--json"]).json();
            assert_eq!(json["counts"], serde_json::Value::Null, "{json}");
            assert!(
                json["error"].as_str().expect("a text").contains("Permission denied"),
                "{json}"
            );
        };
        // The directory, and what is above it.
        check();
        let ran = as_stranger(&["cache", "list"]);
        assert!(
            ran.status == 2 && ran.err.contains("Permission denied") && ran.out.is_empty(),
            "{ran:?}"
        );
        let above = host.cache.parent().expect("a directory");
        let program = above.with_extension("program");
        assert!(
            Command::new("cp")
                .arg(env!("CARGO_BIN_EXE_mtasts"))
                .arg(&program)
                .status()
                .expect("cp")
                .success()
        );
        fs::set_permissions(above, Permissions::from_mode(0o700)).expect("root");
        let mut command = Command::new(&program);
        command
            .args(["cache", "show", "good.test"])
            .uid(4711)
            .gid(4711)
            .current_dir("/");
        let ran = Ran::from(command.output().expect("the command"));
        fs::remove_file(&program).expect("ours");
        fs::set_permissions(above, Permissions::from_mode(0o755)).expect("root");
        assert!(ran.status == 3 && ran.out.contains("unknown to this user"), "{ran:?}");
        // The file alone.
        host.mode(0o2775);
        check();
        let ran = as_stranger(&["cache", "list"]);
        assert_eq!((ran.status, ran.err.as_str()), (3, ""), "{ran:?}");
        assert!(ran.out.contains("unknown: cannot use the cache file"), "{}", ran.out);
    });
}
