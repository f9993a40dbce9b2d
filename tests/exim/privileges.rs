//! Exim is set-uid root, calls the library as root, and any local user can start it. What the library does with that,
//! and what becomes of mail when it is missing, misconfigured or crashes.

use super::host::{self, Config, Fate, Host};
use super::{World, builds, evidence};
use mtasts_kit::process::{children, group, is_bare, signal, state, uid};
use mtasts_lab::{Change, Https};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// The network and what comes from it are in the hands of a process of the cache directory's owner, never of root.
pub(crate) fn root_stays_off_the_network(world: &World) {
    for tls in builds() {
        for (address, table) in [("a@https-silent.test", "tcp"), ("a@txt-silent.test", "udp")] {
            let host = world.host(*tls, &Config::Complete);
            // So patient that Exim, who asks the DNS as root himself, does not come to that while we look.
            fs::write(
                host.etc("mtasts/mtasts.toml"),
                host::SETTINGS.replace("timeout = 6", "timeout = 60"),
            )
            .unwrap();
            let mut exim = host
                .command("exim4")
                .args(["-bt", address])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let users = socket_owners(table);
            let owner = cache_owner(&host);
            // All its processes go with the host.
            drop(host);
            exim.wait().unwrap();
            assert_eq!(users, BTreeSet::from([owner]), "{table} sockets during {address}");
            evidence(
                &format!("exim -bt {address} as root ({tls:?})"),
                &format!("{table} sockets belong to uid {users:?} alone"),
            );
        }
        let host = world.host(*tls, &Config::Complete);
        let owner = cache_owner(&host);
        host.send(&["a@good.test"]);
        let policies = files(&host.var("lib/mtasts"));
        assert!(!policies.is_empty(), "nothing was cached");
        for file in &policies {
            let meta = fs::metadata(file).unwrap();
            assert_eq!(
                (meta.uid(), meta.permissions().mode() & 0o002),
                (owner, 0),
                "{}",
                file.display()
            );
        }
        evidence("after a delivery", &format!("{policies:?} belong to uid {owner}"));
    }
}

/// Any user can start `exim -bt`, and stop it with Ctrl-Z when it asks for a policy: everybody's mail to the domain would
/// wait for the lock. The helper has a session of its own, and has nothing of root's; and where it is stopped as well (a
/// frozen cgroup), the mail of the others waits for a moment and is protected.
pub(crate) fn stopped_by_its_user(world: &World) {
    for tls in builds() {
        let host = world.host(*tls, &Config::Complete);
        fs::write(
            host.etc("mtasts/mtasts.toml"),
            host::SETTINGS.replace("timeout = 6", "timeout = 60"),
        )
        .unwrap();
        let about = fs::metadata(host.var("lib/mtasts")).unwrap();
        let owner = cache_owner(&host);
        world.lab.set("good.test", Change::https(Https::Silent)).unwrap();
        let fetches = || {
            world
                .lab
                .counters()
                .https
                .get("mta-sts.good.test")
                .copied()
                .unwrap_or(0)
        };
        let fetched = fetches();
        let mut exim = host
            .command_as_nobody(&[], "exim4")
            .args(["-bt", "a@good.test"])
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let user = i32::try_from(exim.id()).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let helper = loop {
            assert!(Instant::now() < end, "no helper that fetches");
            let helpers = group(user).into_iter().flat_map(children);
            let helper = helpers.into_iter().find(|pid| uid(*pid) == Some(owner));
            if let Some(helper) = helper.filter(|_| fetches() > fetched) {
                break helper;
            }
            thread::sleep(Duration::from_millis(5));
        };
        signal(-user, libc::SIGSTOP);
        let mut states = Vec::new();
        mtasts_kit::until("its processes stop", || {
            states = group(user).into_iter().filter_map(state).collect::<Vec<_>>();
            !states.is_empty() && states.iter().all(|state| state == "T")
        });
        assert_ne!(state(helper).as_deref(), Some("T"), "it is of the group");
        is_bare(helper, owner, about.gid());
        evidence(
            &format!("exim -bt of nobody, stopped ({tls:?})"),
            &format!("its processes: {states:?}, root's helper: {:?}", state(helper)),
        );

        signal(helper, libc::SIGSTOP);
        world.lab.reset().unwrap();
        let begun = Instant::now();
        let outcome = host.command("exim4").args(["-bt", "a@good.test"]).output().unwrap();
        let (took, text) = (begun.elapsed(), String::from_utf8_lossy(&outcome.stdout).into_owned());
        assert!(text.contains("transport = remote_smtp_mtasts"), "{text}");
        assert!(took < Duration::from_secs(14), "{took:?}");
        evidence(
            &format!("exim -bt of root beside a helper that is stopped ({tls:?})"),
            &format!("{took:.1?}: {}", text.split_whitespace().collect::<Vec<_>>().join(" ")),
        );
        // What stands outside of the host (`nsenter`) stops whenever Exim is stopped.
        exim.kill().unwrap();
        drop(host);
        exim.wait().unwrap();
    }
}

fn cache_owner(host: &Host) -> u32 {
    let owner = fs::metadata(host.var("lib/mtasts")).unwrap().uid();
    assert_ne!(owner, 0);
    owner
}

/// Who owns the sockets that are open to a policy host or a name server, watched for two seconds.
fn socket_owners(table: &str) -> BTreeSet<u32> {
    let port = if table == "tcp" { ":01BB" } else { ":0035" };
    let mut users = BTreeSet::new();
    // For two seconds from the first one on, whenever a busy machine has come to it.
    let (begin, mut first) = (Instant::now(), None::<Instant>);
    while first.is_none_or(|first| first.elapsed() < Duration::from_secs(2))
        && begin.elapsed() < Duration::from_secs(40)
    {
        for line in fs::read_to_string(format!("/proc/thread-self/net/{table}"))
            .unwrap()
            .lines()
            .skip(1)
        {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (local, remote, state, uid) = (fields[1], fields[2], fields[3], fields[7]);
            // The lab's own ends have the port as their local one. A connection that is being closed (any state but
            // 01, established, and 02, opening; 07 is UDP's only one) belongs to nobody any more.
            let client =
                remote.ends_with(port) || (table == "udp" && !local.ends_with(port) && remote == "00000000:0000");
            if client && !local.ends_with(port) && ["01", "02", "07"].contains(&state) {
                users.insert(uid.parse().unwrap());
            }
        }
        if !users.is_empty() {
            first.get_or_insert_with(Instant::now);
        }
        thread::sleep(Duration::from_millis(10));
    }
    users
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}

/// `exim -bt` of an ordinary user, who sets every variable that could lead the library astray. Exim passes them all on
/// here; in the shipped configuration `keep_environment` is empty.
pub(crate) fn hostile_environment(world: &World) {
    let evil = world.folder().join("evil");
    fs::create_dir_all(&evil).unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(evil.join("mtasts.toml"), "this is not = [ TOML").unwrap();
    fs::create_dir_all(evil.join("cache")).unwrap();
    fs::set_permissions(evil.join("cache"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(evil.join("empty.pem"), "").unwrap();
    let at = |name: &str| evil.join(name).display().to_string();
    let preload = host::compiled("preload", &evil);
    host::public(&preload);
    let preload = preload.display().to_string();
    let (config, cache, empty) = (at("mtasts.toml"), at("cache"), at("empty.pem"));
    let environment = [
        ("MTASTS_CONFIG", config.as_str()),
        ("MTASTS_CACHE_DIR", &cache),
        ("XDG_STATE_HOME", &cache),
        ("XDG_CONFIG_HOME", &cache),
        ("HOME", &cache),
        ("https_proxy", "http://127.0.0.1:9"),
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
        ("SSL_CERT_FILE", &empty),
        ("SSL_CERT_DIR", &cache),
        ("RES_OPTIONS", "ndots:15 timeout:1 attempts:1"),
        ("LOCALDOMAIN", "elsewhere.test"),
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
        ("LD_PRELOAD", &preload),
        ("LD_LIBRARY_PATH", &cache),
        ("LD_AUDIT", &preload),
    ];
    for tls in builds() {
        let host = world.host(
            *tls,
            &host::edited(&[("keep_environment =\n", "keep_environment = *\n")]),
        );
        let output = host
            .command_as_nobody(&environment, "exim4")
            .args(["-bt", "a@good.test"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("transport = remote_smtp_mtasts"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("mx.good.test"), "{text}");
        assert_eq!(
            fs::read_dir(&cache).unwrap().count(),
            0,
            "something was written where the user said"
        );
        assert!(!evil.join("preloaded").exists(), "LD_PRELOAD was obeyed");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        evidence(&format!("exim -bt by nobody in a hostile environment ({tls:?})"), &text);
    }
}

/// A settings file that cannot be read as one: mail waits, and the reason names the file.
pub(crate) fn broken_settings(world: &World) {
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        let settings = fs::read_to_string(host.etc("mtasts/mtasts.toml")).unwrap();
        for broken in ["this is not = [ TOML", "no_such_setting = true\n", "cache_dir = 7\n"] {
            fs::write(host.etc("mtasts/mtasts.toml"), broken).unwrap();
            let outcome = host.send(&["a@good.test"]);
            let (fate, line) = outcome.of("a@good.test");
            assert_eq!(fate, Fate::Deferred, "{broken}: {}", outcome.log);
            assert!(
                line.contains("/etc/mtasts/mtasts.toml"),
                "the reason does not name the file: {line}"
            );
            evidence(&format!("settings {broken:?}"), line);
        }
        fs::write(host.etc("mtasts/mtasts.toml"), settings).unwrap();
        let outcome = host.run_queue("-qff");
        assert_eq!(
            outcome.log.matches("=> a@good.test").count(),
            3,
            "mended, all three leave: {}",
            outcome.log
        );
    }
}

/// A `ca_file` that is missing, empty or not for the library's user: mail for a domain with a policy waits, though that
/// policy was never fetched, and the reason names the file. Nothing is held against the domain, and others get their mail.
pub(crate) fn no_roots(world: &World) {
    const TO: [&str; 3] = ["a@good.test", "a@hub-unlisted.test", "a@nopolicy.test"];
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        let (settings, roots) = (host.etc("mtasts/mtasts.toml"), host.etc("mtasts/roots.pem"));
        let before = fs::read_to_string(&settings).unwrap();
        fs::write(&settings, format!("{before}ca_file = '/etc/mtasts/roots.pem'\n")).unwrap();
        let good = fs::read_to_string(world.lab.ca_file()).unwrap();
        let cases = [
            (None, 0o644, "No such file"),
            (Some(""), 0o644, "no CA certificate in"),
            (Some(&good[..good.len() / 2]), 0o644, "line 1: "),
            (Some(&good), 0o600, "Permission denied"),
        ];
        for (content, mode, words) in &cases {
            if let Some(content) = content {
                fs::write(&roots, content).unwrap();
                fs::set_permissions(&roots, fs::Permissions::from_mode(*mode)).unwrap();
            }
            let outcome = host.send(&TO);
            for to in &TO[..2] {
                let (fate, line) = outcome.of(to);
                assert_eq!(fate, Fate::Deferred, "{words}: {}", outcome.log);
                assert!(line.contains("/etc/mtasts/roots.pem") && line.contains(words), "{line}");
                evidence(&format!("{to}, roots: {words}"), line);
            }
            assert_eq!(outcome.of(TO[2]).0, Fate::Delivered, "{words}: {}", outcome.log);
        }
        assert_eq!(world.received(TO[0]) + world.received(TO[1]), 0);
        fs::set_permissions(&roots, fs::Permissions::from_mode(0o644)).unwrap();
        let outcome = host.run_queue("-qff");
        let left = outcome.log.matches(&format!("=> {}", TO[0])).count();
        assert_eq!(left, cases.len(), "mended, all leave: {}", outcome.log);
        assert_eq!(world.received(TO[1]), 0, "{}", outcome.log);
        world.lab.reset().unwrap();
    }
}

/// A crash in a lookup or at an event: what Exim makes of it. libmtasts does not crash (it catches its panics); this is
/// why it must not.
pub(crate) fn crashes(world: &World) {
    let fault = host::compiled("fault", world.folder());
    for tls in builds() {
        let host = world.host(*tls, &Config::Complete);
        host.install(&fault);
        let set = |what: &str| fs::write(host.etc("mtasts/fault"), what).unwrap();

        for (place, to) in [
            ("lookup crash", "crash1@good.test"),
            ("tls:cert crash", "crash2@good.test"),
        ] {
            set(place);
            let before = world.received(to);
            let outcome = host.send(&[to]);
            assert_eq!(world.received(to), before, "sent all the same: {}", outcome.log);
            assert!(!outcome.log.contains(" ** "), "{}", outcome.log);
            let line = outcome
                .log
                .lines()
                .rfind(|line| !line.contains("<="))
                .unwrap_or("(the log says nothing; the message is on the queue)");
            evidence(&format!("{place} ({tls:?})"), line);
            set("nowhere 0");
            thaw(&host);
            let outcome = host.run_queue("-qff");
            assert_eq!(
                world.received(to),
                before + 1,
                "not delivered afterwards: {}",
                outcome.log
            );
            evidence(&format!("{place} ({tls:?}), mended"), outcome.of(to).1);
        }

        let to = "crash3@good.test";
        set("msg:delivery crash");
        let before = world.received(to);
        host.send(&[to]);
        assert_eq!(world.received(to), before + 1);
        let queue = host::run(host.command("exim4").arg("-bp"));
        let queue = String::from_utf8_lossy(&queue.stdout).into_owned();
        assert!(queue.contains(to), "the row is no longer true: {queue}");
        let queue = queue.split_whitespace().collect::<Vec<_>>().join(" ");
        evidence(
            &format!("msg:delivery crash ({tls:?}): delivered, and still on the queue"),
            &queue,
        );
    }
}

fn thaw(host: &Host) {
    let frozen = host::run(host.command("exiqgrep").args(["-z", "-i"]));
    for id in String::from_utf8_lossy(&frozen.stdout).split_whitespace() {
        host::run(host.command("exim4").args(["-Mt", id]));
    }
}

/// Addresses for which there cannot be a policy: Exim's own answer stands, at once.
pub(crate) fn no_policy_domain(world: &World) {
    for (tls, config) in world.combinations() {
        let host = world.host(tls, &config);
        for to in ["a@nowhere.test", "a@no.such.example", "a@xn--a.test"] {
            let outcome = host.send(&[to]);
            let (fate, line) = outcome.of(to);
            assert_eq!(fate, Fate::Bounced, "{}", outcome.log);
            evidence(&format!("{tls:?}"), line);
        }
    }
}
