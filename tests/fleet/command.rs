//! What an operator sees of a fleet: `mtasts cache fleet`, `mtasts doctor`, `mtasts check`, and the metrics.

use std::fs;
use std::path::Path;
use std::process::Command;

use mtasts::{Resolver, Settings, Source};
use mtasts_kit::valkey::{Valkey, key_file};
use mtasts_kit::{Ran, USER, ask};

use super::{KEY, note_late, on_a_fleet, size};

/// A mail from a new process that reads the settings file of the host.
fn mail(domain: &str) -> Source {
    let settings = Settings::of_host(|_| None).unwrap();
    ask(&Resolver::with_log(settings, note_late), domain).source()
}

#[test]
fn the_command_shows_what_is_shared() {
    on_a_fleet("fleet-command", 0, |internet| {
        let server = Valkey::start(&internet.lab.directory().join("valkey"), &[]);
        internet.empty_cache();
        let key = internet.lab.directory().join("fleet.key");
        key_file(&key, KEY);
        let none = internet.cache("fleet status");
        assert!(
            none.status == 2 && none.err.contains("the setting fleet is empty"),
            "{none:?}"
        );
        internet.set(&format!("fleet = {:?}\nfleet_key_file = {key:?}", server.address()));
        for domain in ["good.test", "testing.test"] {
            mail(domain);
        }
        let status = internet.cache("fleet status");
        let lines: Vec<&str> = status.out.lines().collect();
        assert_eq!((status.status, lines.len()), (0, 3), "{status:?}");
        assert!(
            lines[0].contains(" answers after ") && lines[1].contains("2 policies"),
            "{lines:?}"
        );
        assert!(lines[2].contains("no limit, maxmemory-policy noeviction"), "{lines:?}");
        // What is exported can be imported.
        let export = internet.cache("fleet export");
        assert_eq!((export.status, export.out.lines().count()), (0, 2), "{export:?}");
        let file = internet.lab.directory().join("export");
        fs::write(&file, &export.out).unwrap();
        internet.empty_cache();
        let import = internet.cache(&format!("import {}", file.display()));
        assert!(import.status == 0 && import.out.starts_with("2 imported"), "{import:?}");
        // What is not sealed is left out.
        server.set("mtasts:1:p:testing.test", b"x");
        server.set("mtasts:1:p:Not a domain", b"x");
        server.set("other:p:example.com", b"x");
        let export = internet.cache("fleet export");
        assert_eq!((export.status, export.out.lines().count()), (1, 1), "{export:?}");
        assert!(
            export
                .err
                .contains("mtasts:1:p:testing.test is ignored: not a sealed entry"),
            "{export:?}"
        );
        let purged = internet.cache("fleet purge good.test example.com");
        assert_eq!((purged.status, purged.out.lines().count()), (1, 1), "{purged:?}");
        assert!(
            purged.err.contains("example.com: the fleet has no policy"),
            "{purged:?}"
        );
        assert_eq!(server.get("mtasts:1:p:good.test"), b"");
        // A server that drops what is in force.
        server.says(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        let status = internet.cache("fleet status --json");
        assert_eq!(
            (status.status, status.json()["memory_policy"].as_str()),
            (1, Some("allkeys-lru"))
        );
        let codes = || -> Vec<String> {
            let doctor = Command::new(mtasts_kit::mtasts()).args(["doctor", "--json"]).output();
            let found = Ran::from(doctor.unwrap()).json();
            let findings = found["findings"].as_array().unwrap().iter();
            let codes = findings.map(|finding| finding["code"].as_str().unwrap().to_owned());
            codes.filter(|code| code.starts_with("fleet")).collect()
        };
        assert_eq!(codes(), ["fleet", "fleet-evicts"]);
        // A check of a domain says so beside its result, and is otherwise as before.
        let check = || {
            let ran = Command::new(mtasts_kit::mtasts())
                .args(["check", "--no-smtp", "good.test"])
                .output();
            let ran = Ran::from(ran.unwrap());
            assert_eq!(ran.status, 0, "{ran:?}");
            ran.err
        };
        let warning = check();
        assert!(
            warning.starts_with("mtasts: about this host: ") && warning.contains("maxmemory-policy is allkeys-lru"),
            "{warning}"
        );
        assert_eq!(warning.lines().count(), 1, "{warning}");
        let up = |file: &Path, state: &str| {
            let ran = internet.cache(&format!("refresh --prometheus {}", file.display()));
            assert_eq!(ran.status, 0, "{ran:?}");
            let text = fs::read_to_string(file).unwrap();
            assert!(
                text.contains(&format!("mtasts_fleet{{state=\"{state}\"}} 1\n")),
                "{text}"
            );
        };
        assert_eq!(server.says(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
        assert_eq!(check(), "");
        // One that is asked without TLS beyond this host, which has to be allowed.
        let plain = Valkey::start(
            &internet.lab.directory().join("plain"),
            &["port 7001", "bind 198.18.1.30", "protected-mode no"],
        );
        let file = "/etc/mtasts/mtasts.toml";
        let text = fs::read_to_string(file).unwrap();
        let changed = text.replace(&server.address(), "redis://198.18.1.30:7001");
        fs::write(file, &changed).unwrap();
        let refused = internet.cache("fleet status");
        assert!(
            refused.status == 2 && refused.err.contains("without TLS"),
            "{refused:?}"
        );
        fs::write(file, changed + "fleet_insecure = \"on\"\n").unwrap();
        assert_eq!(codes(), ["fleet", "fleet-plain"]);
        let status = internet.cache("fleet status --json");
        assert_eq!((status.status, status.json()["tls"].as_bool()), (1, Some(false)));
        drop(plain);
        fs::write(file, text).unwrap();
        let file = internet.cache.with_file_name("textfile").join("mtasts.prom");
        fs::create_dir(file.parent().unwrap()).unwrap();
        std::os::unix::fs::chown(file.parent().unwrap(), Some(USER), Some(USER)).unwrap();
        up(&file, "up");
        drop(server);
        up(&file, "down");
        let status = internet.cache("fleet status");
        assert!(
            status.status == 1 && status.out.contains("Each host fetches for itself"),
            "{status:?}"
        );
        assert_eq!(codes(), ["fleet-silent"]);
        let warning = check();
        assert!(warning.contains("Each host fetches for itself"), "{warning}");
    });
}

/// As many keys as a stranger with the password likes to make: they are counted and passed over, and need no memory here.
#[test]
fn very_many_keys_are_counted_in_little_memory() {
    let keys = size("FLEET_KEYS", 20_000);
    on_a_fleet("fleet-keys", 0, move |internet| {
        let server = Valkey::start(&internet.lab.directory().join("valkey"), &[]);
        let key = internet.lab.directory().join("fleet.key");
        key_file(&key, KEY);
        internet.set(&format!("fleet = {:?}\nfleet_key_file = {key:?}", server.address()));
        mail("good.test");
        let script = "for i = 1, ARGV[1] do redis.call('SET', 'mtasts:1:p:d' .. i .. '.test', 'x') end";
        server.says(&["EVAL", script, "0", &keys.to_string()]);
        let command = |words: &str| {
            // In kibibytes: the program itself has half of that.
            let limited = format!("ulimit -v 400000; exec {} {words}", mtasts_kit::mtasts());
            Ran::from(Command::new("sh").args(["-c", &limited]).output().unwrap())
        };
        let status = command("cache fleet status --json");
        assert_eq!(status.status, 0, "{status:?}");
        // While the server makes its table larger it may name one twice.
        let counted = status.json()["policies"].as_u64().unwrap();
        assert!((keys + 1..keys + keys / 10).contains(&counted), "{counted} of {keys}");
        let export = command("cache fleet export");
        assert_eq!((export.status, export.out.lines().count()), (1, 1), "{}", export.err);
        assert_eq!(export.err.lines().count(), 21, "{}", export.err);
        assert!(
            export.err.contains(&format!("and {} more", keys - 20)),
            "{}",
            export.err
        );
        // A lookup asks for one key.
        assert_eq!(mail("testing.test"), Source::Fresh);
    });
}
