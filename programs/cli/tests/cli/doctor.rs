//! `mtasts doctor` on hosts of the test Internet, each broken in its own way. The private `/etc` is the host's own.

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mtasts_kit::{Internet, Ran, USER, on_the_internet};

use crate::mtasts;

#[path = "doctor/cache.rs"]
mod cache;

const FILE: &str = "/etc/mtasts/mtasts.toml";
const HOUR: u64 = 3600;

/// What is found: each code with its sentence.
fn doctor(arguments: &[&str]) -> (i32, Vec<(String, String)>) {
    found(&mtasts(&[&["doctor", "--json"], arguments].concat()))
}

fn found(ran: &Ran) -> (i32, Vec<(String, String)>) {
    assert_eq!(ran.err, "");
    let told = ran.json();
    let outcome = [(0, "good"), (1, "bad"), (3, "unknown")];
    let outcome = outcome
        .iter()
        .find(|(status, _)| *status == ran.status)
        .expect("a status");
    assert_eq!(told["outcome"], outcome.1, "{told}");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let findings = told["findings"].as_array().expect("a list").iter();
    let findings = findings.map(|finding| (text(&finding["code"]), text(&finding["sentence"])));
    (ran.status, findings.collect())
}

/// The sentence of a code that must be there.
fn sentence(found: &[(String, String)], code: &str) -> String {
    let found = found.iter().find(|(found, _)| found == code);
    found.unwrap_or_else(|| panic!("no {code}: {found:#?}")).1.clone()
}

fn has(found: &[(String, String)], code: &str) -> bool {
    found.iter().any(|(found, _)| found == code)
}

/// The command as a user, from a copy that everybody can reach.
fn command_as(host: &Internet, user: u32, group: u32, arguments: &[&str]) -> Command {
    let copy = host.cache.with_file_name("doctor");
    if !copy.exists() {
        // By a process of its own: nobody starts a file that is open for writing, and another test that starts a process at
        // this moment would have it open in there too.
        let cp = Command::new("cp").arg(env!("CARGO_BIN_EXE_mtasts")).arg(&copy).status();
        assert!(cp.expect("cp").success());
    }
    let mut command = Command::new(copy);
    command.args(arguments).uid(user).gid(group).current_dir("/");
    command
}

/// The doctor as a user.
fn doctor_as(host: &Internet, user: u32, group: u32) -> (i32, Vec<(String, String)>) {
    let mut command = command_as(host, user, group, &["doctor", "--json"]);
    for variable in ["MTASTS_CONFIG", "MTASTS_CACHE_DIR"] {
        command.env_remove(variable);
    }
    found(&command.output().expect("the command").into())
}

/// Adds users to the private /etc.
fn user(name: &str, number: u32, groups: &str) {
    let add = |file: &str, line: String| {
        let text = fs::read_to_string(file).expect(file);
        fs::write(file, text + &line).expect(file);
    };
    add("/etc/passwd", format!("{name}:x:{number}:{number}::/:/bin/false\n"));
    add("/etc/group", format!("{name}:x:{number}:\n"));
    if !groups.is_empty() {
        add("/etc/group", format!("{groups}:{name}\n"));
    }
}

fn cron(user: &str) {
    fs::create_dir_all("/etc/cron.d").expect("/etc");
    let line = format!("37 * * * * {user} /usr/bin/mtasts cache refresh >/dev/null\n");
    fs::write("/etc/cron.d/mtasts", line).expect("/etc");
}

/// All files of a directory: the name, the length, and when it was changed.
fn listing(directory: &Path) -> Vec<(String, u64, SystemTime)> {
    let files = fs::read_dir(directory).expect("a directory").flatten();
    let about = |file: fs::DirEntry| {
        let about = file.metadata().expect("a file");
        (
            file.file_name().to_string_lossy().into_owned(),
            about.len(),
            about.modified().expect("a time"),
        )
    };
    let mut listing: Vec<_> = files.map(about).collect();
    listing.sort();
    listing
}

#[test]
fn a_host_in_good_order() {
    on_the_internet("doctor-good", |host| {
        cron("nobody");
        host.lookup("good.test");
        let before = listing(&host.cache);
        let (questions, fetches) = (host.questions("good.test"), host.fetches("good.test"));
        let ran = mtasts(&["doctor"]);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        let path = host.cache.display();
        for line in [
            format!("ok        settings: {FILE} is in force\n"),
            format!("ok        cache: {path} belongs to the user nobody and the group nogroup, mode 2770\n"),
            format!(
                "ok        user: nobody (whom cron runs the refresh as, whom root becomes) can read and write {path}\n"
            ),
            "ok        policies: 1 policies are in force, ".to_owned(),
            "ok        roots: 1 trust anchors in /etc/ssl/certs/ca-certificates.crt\n".to_owned(),
            "ok        resolver: 198.18.".to_owned(),
            "ok        refresh: cron runs it as nobody (/etc/cron.d/mtasts)".to_owned(),
        ] {
            assert!(ran.out.contains(&line), "{line:?}: {}", ran.out);
        }
        for line in ran.out.lines() {
            let (level, rest) = line.split_once(' ').expect("a level");
            assert!(["ok", "warning"].contains(&level), "{line}");
            assert!(rest.trim_start().contains(": "), "{line}");
        }
        // Nothing was changed, and only the name server was asked.
        assert_eq!(listing(&host.cache), before);
        assert_eq!(
            (host.questions("good.test"), host.fetches("good.test")),
            (questions, fetches)
        );
        assert!(host.lab.sessions().is_empty());
        // No library is installed on this host.
        fs::remove_file("/etc/ld.so.cache").expect("the private /etc");
        fs::write("/etc/ld.so.conf", "").expect("the private /etc");
        assert!(Command::new("ldconfig").arg("-X").status().expect("ldconfig").success());
        let (_, json) = doctor(&[]);
        assert!(sentence(&json, "library-missing").contains("ldconfig"), "{json:#?}");
        assert_eq!(json.len(), ran.out.lines().count());
        assert!(sentence(&json, "refresh").contains("so see the policies"), "{json:#?}");
        assert!(has(&json, "clock") || has(&json, "clock-free"), "{json:#?}");
        assert!(!ran.out.contains("araka"), "no Haraka, no line: {}", ran.out);
    });
}

#[test]
fn every_error_of_the_settings_with_its_line() {
    on_the_internet("doctor-settings", |host| {
        let good = fs::read_to_string(FILE).expect("the settings");
        let faulty = format!(
            "{good}# time\ntimeout = 'soon'\nnameserver = [\n  '192.0.2.1',\n]\nuser = 'no-such-user'\n\n[cache]\nmax = 3\n"
        );
        fs::write(FILE, faulty).expect("/etc");
        let (status, found) = doctor(&[]);
        let told: Vec<&str> = found
            .iter()
            .filter(|(code, _)| code == "settings-invalid")
            .map(|(_, sentence)| {
                sentence
                    .strip_prefix(&format!("{FILE}: "))
                    .expect("the file")
                    .split(". ")
                    .next()
                    .unwrap_or_default()
            })
            .collect();
        let mut told = told;
        told.sort_unstable();
        assert_eq!(
            told,
            [
                "line 10: cache: must be a string, a number or a list of strings",
                "line 4: timeout: \"soon\" is not a duration such as 30s, 5m, 1h or 1d",
                "line 5: nameserver: unknown setting",
                "line 8: user: \"no-such-user\" is not a user in /etc/passwd",
            ]
        );
        assert_eq!(status, 1);
        // What can be read is used for the rest.
        assert!(
            sentence(&found, "cache").contains(host.cache.to_str().expect("a path")),
            "{found:#?}"
        );
        fs::write(FILE, format!("{good}timeout = \n")).expect("/etc");
        let (status, found) = doctor(&[]);
        assert!(sentence(&found, "settings-invalid").contains("line 3"), "{found:#?}");
        assert_eq!(status, 1);

        // The exceptions.
        fs::write(FILE, &good).expect("/etc");
        fs::write("/etc/mtasts/exceptions", "good.test soon\n").expect("/etc");
        let (status, found) = doctor(&[]);
        let told = sentence(&found, "exceptions-invalid");
        assert!(told.starts_with("/etc/mtasts/exceptions: line 1: "), "{told}");
        assert_eq!(status, 1);
        fs::write(
            "/etc/mtasts/exceptions",
            "good.test 2099-12-31 they move\nold.test 2020-01-01 they moved\n",
        )
        .expect("/etc");
        let (status, found) = doctor(&[]);
        assert_eq!(
            sentence(&found, "exceptions"),
            "/etc/mtasts/exceptions: enforcement is off for 1 domains (good.test); 1 exceptions are over and can be removed"
        );
        assert_eq!(status, 0);

        // Who may change them.
        for (path, mode, owner, code, status) in [
            (FILE, 0o666, 0, "settings-writable", 1),
            (FILE, 0o644, USER, "settings-owner", 0),
            ("/etc/mtasts", 0o777, 0, "settings-writable", 1),
        ] {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("/etc");
            chown(path, Some(owner), None).expect("/etc");
            let (ended, found) = doctor(&[]);
            assert!(sentence(&found, code).contains(path), "{found:#?}");
            assert_eq!(ended, status, "{found:#?}");
            fs::set_permissions(path, Permissions::from_mode(if path == FILE { 0o644 } else { 0o755 })).expect("/etc");
            chown(path, Some(0), None).expect("/etc");
        }

        // No file, and one that this user may not read.
        fs::set_permissions(FILE, Permissions::from_mode(0o600)).expect("/etc");
        let (status, found) = doctor_as(host, USER, USER);
        assert!(
            sentence(&found, "settings-unreadable").contains("Run mtasts doctor as root"),
            "{found:#?}"
        );
        assert_eq!(status, if has(&found, "cache-missing") { 1 } else { 3 }, "{found:#?}");
        fs::remove_file(FILE).expect("/etc");
        let (_, found) = doctor(&[]);
        assert_eq!(
            sentence(&found, "settings"),
            format!("there is no {FILE}: the defaults apply")
        );
    });
}

#[test]
fn trust_anchors() {
    on_the_internet("doctor-roots", |host| {
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        let good = fs::read_to_string(bundle).expect("the lab's");
        let odd = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        fs::write(bundle, format!("{good}{odd}")).expect("/etc");
        let (status, found) = doctor(&[]);
        assert!(sentence(&found, "roots-skipped").contains(bundle), "{found:#?}");
        assert_eq!(status, 0);
        fs::remove_file(bundle).expect("/etc");
        let (status, found) = doctor(&[]);
        assert!(
            sentence(&found, "roots-unusable").contains("Install the package ca-certificates"),
            "{found:#?}"
        );
        assert_eq!(status, 1);
        let own = "/etc/mtasts/ca.pem";
        fs::write(own, good).expect("/etc");
        host.set(&format!("ca_file = '{own}'"));
        let (status, found) = doctor(&[]);
        assert_eq!(sentence(&found, "roots"), format!("1 trust anchors in {own}"));
        assert!(sentence(&found, "ca-file").contains("MTASTS_CA_FILE"), "{found:#?}");
        assert_eq!(status, 0);
        // Read as the user who asks the network, and not as root.
        fs::set_permissions(own, Permissions::from_mode(0o600)).expect("/etc");
        let (status, found) = doctor(&[]);
        let told = sentence(&found, "roots-unusable");
        assert!(
            told.contains("Permission denied") && told.contains("let the user of the cache read it"),
            "{told}"
        );
        assert_eq!(status, 1);
    });
}

/// A name server of a few octets: what it answers to each question, and after which time.
fn name_server(address: &str, answer: Option<(Duration, [u8; 2])>) {
    let socket = UdpSocket::bind((address, 53)).expect("port 53");
    thread::spawn(move || {
        let mut octets = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut octets) {
            if let Some((delay, flags)) = answer {
                thread::sleep(delay);
                octets[2..4].copy_from_slice(&flags);
                let _ = socket.send_to(&octets[..length], from);
            }
        }
    });
}

#[test]
fn name_servers() {
    on_the_internet("doctor-resolver", |host| {
        host.lookup("good.test");
        name_server("198.18.77.1", None);
        name_server("198.18.77.2", Some((Duration::ZERO, [0x81, 0x85])));
        name_server("198.18.77.3", Some((Duration::from_millis(1100), [0x81, 0x80])));
        name_server("198.18.77.4", Some((Duration::ZERO, [0x81, 0xa0])));
        let conf = |servers: &[u8]| {
            let lines = servers.iter().map(|server| format!("nameserver 198.18.77.{server}\n"));
            fs::write("/etc/resolv.conf", lines.collect::<String>()).expect("/etc");
        };
        conf(&[4]);
        let (status, found) = doctor(&[]);
        assert!(
            sentence(&found, "resolver").ends_with("says that it validates DNSSEC"),
            "{found:#?}"
        );
        assert_eq!(status, 0);
        conf(&[1, 2, 3]);
        let begun = Instant::now();
        let (status, found) = doctor(&[]);
        assert!(
            sentence(&found, "resolver-silent").starts_with("198.18.77.1:53: no answer."),
            "{found:#?}"
        );
        assert!(
            sentence(&found, "resolver-fails").starts_with("198.18.77.2:53 answers REFUSED."),
            "{found:#?}"
        );
        assert!(
            sentence(&found, "resolver-slow").starts_with("198.18.77.3:53 answers after 1"),
            "{found:#?}"
        );
        assert_eq!(status, 0);
        conf(&[1, 2]);
        let (status, found) = doctor(&[]);
        let told = sentence(&found, "resolvers-fail");
        assert!(
            told.contains("(198.18.77.1:53: no answer; 198.18.77.2:53: REFUSED)"),
            "{told}"
        );
        assert!(told.ends_with("/etc/resolv.conf"), "{told}");
        assert_eq!(status, 1);
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "two runs, each below five seconds at rest: {:?}",
            begun.elapsed()
        );
        // One that refuses is known at once.
        host.set("nameservers = ['198.18.77.9']");
        let begun = Instant::now();
        let (_, found) = doctor(&[]);
        assert!(
            sentence(&found, "resolvers-fail").ends_with("the setting nameservers"),
            "{found:#?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
        // A file that the user of the cache may not read: not asked is not "no answer".
        let settings = fs::read_to_string(FILE).expect("the settings");
        fs::write(FILE, settings.replace("nameservers = ['198.18.77.9']", "")).expect("/etc");
        fs::set_permissions("/etc/resolv.conf", Permissions::from_mode(0o600)).expect("/etc");
        let (status, found) = doctor(&[]);
        assert!(
            sentence(&found, "resolver-unknown").contains("cannot read /etc/resolv.conf"),
            "{found:#?}"
        );
        assert_eq!(status, 3, "{found:#?}");
    });
}

#[test]
fn harakas_configuration() {
    on_the_internet("doctor-haraka", |host| {
        let config = host.cache.with_file_name("haraka").join("config");
        fs::create_dir_all(&config).expect("a directory");
        let directory = config.parent().and_then(Path::to_str).expect("a path");
        let write = |name: &str, text: &str| fs::write(config.join(name), text).expect("a file");
        let check = |code: &str, status: i32, words: &str| {
            let (ended, found) = doctor(&["--haraka", directory]);
            let told = sentence(&found, code);
            assert!(told.contains(words), "{told}");
            assert_eq!(ended, status, "{found:#?}");
        };
        check("haraka-plugin", 0, "add the line mta-sts");
        write("plugins", "#mta-sts\ntls\n");
        check("haraka-plugin", 0, "does not list mta-sts");
        write("plugins", "tls\nmta-sts\n");
        check("haraka", 0, "plugins lists mta-sts");
        write(
            "mta-sts.ini",
            "; ours\nenabled=true\nlookup_timeuot=3\n[routes]\ncheck=1\n",
        );
        check(
            "haraka-settings",
            1,
            "lookup_timeuot is not a setting; [routes] is not a section",
        );
        write(
            "mta-sts.ini",
            "[main]\nsettings_file=/etc/mtasts/haraka.toml\nca_file=\n",
        );
        check("haraka", 0, "with its own settings_file /etc/mtasts/haraka.toml");
        // The example with every setting uncommented.
        let example =
            fs::read_to_string(mtasts_kit::repository().join("bindings/haraka/config/mta-sts.ini")).expect("a file");
        write(
            "mta-sts.ini",
            &example
                .replace("\n; enabled", "\nenabled")
                .replace("\n;ca_file", "\nca_file"),
        );
        check("haraka", 0, "plugins lists mta-sts");
        // What this user may not read.
        fs::set_permissions(config.join("plugins"), Permissions::from_mode(0o600)).expect("root");
        fs::create_dir_all("/etc/haraka").expect("/etc");
        std::os::unix::fs::symlink(&config, "/etc/haraka/config").expect("/etc");
        let (status, found) = doctor_as(host, USER, USER);
        assert!(
            sentence(&found, "haraka-unreadable").contains("plugins: Permission denied"),
            "{found:#?}"
        );
        assert_eq!(status, 3, "{found:#?}");
    });
}
