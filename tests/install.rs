//! `make install` into an empty place, and a program built from there as a stranger does: with pkg-config alone.
//!
//! Debian packages: make gcc libc6-dev pkgconf binutils systemd.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "capi/build.rs"]
mod build;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "capi/run.rs"]
mod run;

use build::{library, root};
use mtasts_kit::USER;
use mtasts_kit::command::{builder, builders_home};
use mtasts_kit::pki::command;
use run::{Bench, Who};

/// The largest stripped library, in octets: it is mapped into every process of a mail server. Without DANE and TLS reports it
/// was 3.33 MB, and without the fleet 3.68 MB. The fleet has 0.09 MB, of which a process without the setting touches nothing: the
/// hosts that want it run Exim, which has no other way to it. The crate redis would have been 0.45 MB.
const LARGEST: u64 = 3_800_000;
/// The same by the oldest compiler that is supported, Ubuntu's 1.89, which makes it larger.
const LARGEST_OF_1_89: u64 = 3_950_000;

/// What is installed, below /usr. A link tells where it leads, a file its mode.
const INSTALLED: &str = "\
bin/mtasts 755
include/mtasts.h 644
lib/multiarch/libmtasts.a 644
lib/multiarch/libmtasts.so -> libmtasts.so.1
lib/multiarch/libmtasts.so.1 -> libmtasts.so.VERSION
lib/multiarch/libmtasts.so.VERSION 644
lib/multiarch/pkgconfig/mtasts.pc 644
share/bash-completion/completions/mtasts 644
share/doc/libmtasts/LICENSE 644
share/doc/libmtasts/LICENSE-APACHE 644
share/doc/libmtasts/LICENSE-MIT 644
share/doc/libmtasts/docs/log.md 644
share/doc/libmtasts/examples/c/deliver.c 644
share/doc/libmtasts/examples/exim/conf.d/retry/20_mtasts 644
share/doc/libmtasts/examples/exim/conf.d/router/190_mtasts 644
share/doc/libmtasts/examples/exim/conf.d/transport/30_mtasts 644
share/doc/libmtasts/examples/exim/exim.conf 644
share/doc/libmtasts/examples/exim/light/exim.conf 644
share/doc/libmtasts/examples/host/host.toml 644
share/doc/libmtasts/examples/postfix/main-3.10.cf 644
share/doc/libmtasts/examples/sendmail/sendmail.mc 644
share/doc/libmtasts/examples/systemd/mtasts-collect.service 644
share/doc/libmtasts/examples/systemd/mtasts-collect.socket 644
share/doc/libmtasts/examples/systemd/mtasts-host.service 644
share/doc/libmtasts/examples/systemd/mtasts-host.socket 644
share/doc/libmtasts/examples/systemd/mtasts-report.service 644
share/doc/libmtasts/examples/systemd/mtasts-report.timer 644
share/doc/libmtasts/examples/systemd/mtasts-serve.service 644
share/doc/libmtasts/examples/systemd/mtasts-visit.service 644
share/doc/libmtasts/examples/systemd/mtasts-visit.timer 644
share/doc/libmtasts/examples/systemd/sysusers.d/mtasts.conf 644
share/doc/libmtasts/examples/systemd/tmpfiles.d/mtasts.conf 644
share/fish/vendor_completions.d/mtasts.fish 644
share/man/man1/mtasts.1 644
share/man/man3/libmtasts.3 644
share/man/man5/mtasts.toml.5 644
share/zsh/site-functions/_mtasts 644
";

/// `make TARGET`; what it prints.
fn make_install(variables: &[String]) -> String {
    make("install", variables)
}

fn make(target: &str, variables: &[String]) -> String {
    // What is built belongs to the builder; what is installed, to root.
    said(at_home(&mut builder("make")).args(["--silent", "all"]));
    // The umask of a careful root must not leave files that nobody can read.
    said(
        at_home(&mut Command::new("sh"))
            .args(["-c", "umask 077; exec make \"$@\"", "sh", target])
            .args(variables),
    )
}

/// make, as started by hand in the checkout.
fn at_home(make: &mut Command) -> &mut Command {
    make.current_dir(root()).env_remove("MAKEFLAGS").env_remove("MAKELEVEL")
}

/// All files below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let mode = path.metadata().unwrap().mode() & 0o777;
            assert_eq!(mode, 0o755, "{path:?}");
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What a command prints, in one line.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn pkg_config(prefix: &Path, arguments: &[&str]) -> Vec<String> {
    let mut pkg_config = command("pkg-config", "pkgconf", prefix);
    pkg_config.args(arguments).arg("mtasts");
    let flags = said(pkg_config.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")));
    flags.split_whitespace().map(str::to_owned).collect()
}

/// Everything in one test, because it shares the release build.
#[test]
fn a_stranger_installs_it_and_builds_a_program() {
    let bench = Bench::new("install");
    let version = env!("CARGO_PKG_VERSION");

    let stage = bench.root().join("stage");
    let multiarch = ["PREFIX=/usr".to_owned(), "LIBDIR=/usr/lib/multiarch".to_owned()];
    make_install(&[&multiarch[..], &[format!("DESTDIR={}", stage.display())]].concat());
    is_complete(&stage.join("usr"), version);
    names_no_builder(&stage.join("usr"));
    completes(&stage.join("usr/share"));
    let pc = fs::read_to_string(stage.join("usr/lib/multiarch/pkgconfig/mtasts.pc")).unwrap();
    assert!(pc.contains("\nlibdir=${prefix}/lib/multiarch\n"), "{pc}");
    is_small_and_closed(&stage.join("usr/lib/multiarch/libmtasts.so.1"));
    systemd_understands(&stage);
    make(
        "uninstall",
        &[&multiarch[..], &[format!("DESTDIR={}", stage.display())]].concat(),
    );
    let mut left = Vec::new();
    files(&stage.join("usr"), &mut left);
    assert!(
        left.is_empty() && !stage.join("usr/share/doc/libmtasts").exists(),
        "{left:?}"
    );

    let prefix = bench.root().join("prefix");
    let said_last = make_install(&[format!("PREFIX={}", prefix.display())]);
    says_what_is_left(&said_last, &prefix);
    is_whole_at_every_moment(&prefix);
    let own = said(Command::new(prefix.join("bin/mtasts")).arg("--version"));
    assert_eq!(own, format!("mtasts {version}"));
    assert_eq!(pkg_config(&prefix, &["--modversion"]), [version]);
    let private = pkg_config(&prefix, &["--static", "--libs-only-l"]);
    assert_eq!(private[0], "-lmtasts");
    assert_eq!(private[1..], library().beside, "Libs.private in mtasts.pc.in");

    let example = prefix.join("share/doc/libmtasts/examples/c/deliver.c");
    let dynamic = bench.root().join("dynamic");
    let flags = pkg_config(&prefix, &["--cflags", "--libs"]);
    said(
        command("cc", "gcc", bench.root())
            .arg(&example)
            .args(flags)
            .arg("-o")
            .arg(&dynamic),
    );
    delivers(&bench, &dynamic, Some(&prefix.join("lib")));
    // Where there is no shared library, the static one is meant.
    fs::remove_file(prefix.join("lib/libmtasts.so")).unwrap();
    let fixed = bench.root().join("static");
    let flags = pkg_config(&prefix, &["--static", "--cflags", "--libs"]);
    said(
        command("cc", "gcc", bench.root())
            .arg(&example)
            .args(flags)
            .arg("-o")
            .arg(&fixed),
    );
    delivers(&bench, &fixed, None);
}

/// Each step that `make install` leaves to the operator names files and commands that exist.
fn says_what_is_left(said: &str, prefix: &Path) {
    let steps = said
        .split("What is left to do, as root:")
        .nth(1)
        .unwrap_or_else(|| panic!("{said}"));
    let documents = prefix.join("share/doc/libmtasts");
    for word in [
        "ldconfig",
        "mtasts cache setup --user",
        "systemctl enable --now mtasts-refresh.timer",
    ] {
        assert!(steps.contains(word), "{word}: {steps}");
    }
    let named: Vec<_> = steps
        .split_whitespace()
        .filter(|word| word.starts_with(documents.to_str().unwrap()))
        .collect();
    assert_eq!(named.len(), 3, "{steps}");
    for path in named {
        assert!(Path::new(&path.replace(".*", ".timer")).exists(), "{path}");
    }
    for (file, line) in [
        ("systemd/mtasts-refresh.service", "ExecStart="),
        ("cron/mtasts", " mtasts "),
    ] {
        let text = fs::read_to_string(documents.join("examples").join(file)).unwrap();
        let command = format!("{line}{}/bin/mtasts cache refresh", prefix.display());
        assert!(text.contains(&command), "{command}: {text}");
    }
}

/// Mail servers load the library while it is installed anew: its name always leads to a whole file, and whoever has the old
/// one keeps it as it is.
fn is_whole_at_every_moment(prefix: &Path) {
    let watched = [
        prefix.join("lib/libmtasts.so.1"),
        prefix.join("lib/libmtasts.so"),
        prefix.join("bin/mtasts"),
    ];
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for path in &watched {
            let done = &done;
            scope.spawn(move || {
                let whole = fs::metadata(path).unwrap().len();
                let mut looks = 0;
                // Whatever happens to the installation, this ends.
                let begun = Instant::now();
                while !done.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(120) {
                    let size = fs::metadata(path).unwrap_or_else(|e| panic!("{path:?}: {e}")).len();
                    assert_eq!(size, whole, "{path:?} was cut short");
                    looks += 1;
                }
                println!("{path:?}: {looks} looks");
            });
        }
        let mut old = fs::File::open(&watched[0]).unwrap();
        for _ in 0..5 {
            make_install(&[format!("PREFIX={}", prefix.display())]);
        }
        done.store(true, Ordering::Relaxed);
        let mut kept = Vec::new();
        old.read_to_end(&mut kept).unwrap();
        assert!(kept == fs::read(&watched[0]).unwrap() && old.metadata().unwrap().nlink() == 0);
    });
}

/// The shells complete the command that is installed.
fn completes(share: &Path) {
    let script = ". \"$0\"; COMP_WORDS=(mtasts doc); COMP_CWORD=1; _mtasts mtasts doc mtasts; echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash")
        .args(["-c", script])
        .arg(share.join("bash-completion/completions/mtasts"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout), "doctor\n", "{bash:?}");
    let zsh = fs::read_to_string(share.join("zsh/site-functions/_mtasts")).unwrap();
    assert!(zsh.starts_with("#compdef mtasts\n"), "{zsh}");
    let fish = fs::read_to_string(share.join("fish/vendor_completions.d/mtasts.fish")).unwrap();
    assert!(fish.contains("complete -c mtasts "), "{fish}");
}

fn is_complete(usr: &Path, version: &str) {
    let mut found = Vec::new();
    files(usr, &mut found);
    let about = |path: &PathBuf| {
        let name = path.strip_prefix(usr).unwrap().display();
        match path.read_link() {
            Ok(target) => format!("{name} -> {}", target.display()),
            Err(_) => format!("{name} {:o}", path.metadata().unwrap().permissions().mode() & 0o7777),
        }
    };
    let found: BTreeSet<String> = found.iter().map(about).collect();
    for line in INSTALLED.replace("VERSION", version).lines() {
        assert!(found.contains(line), "{line} is not installed: {found:#?}");
    }
    // Nothing lies in the directories that are searched but what is meant to.
    let more = found.iter().filter(|line| !line.starts_with("share/doc/"));
    let meant = INSTALLED.lines().filter(|line| !line.starts_with("share/doc/"));
    assert_eq!(more.count(), meant.count(), "{found:#?}");
}

/// The library as it is shipped, after link-time optimisation.
fn is_small_and_closed(shared: &Path) {
    let here = shared.parent().unwrap();
    let exported = said(
        command("nm", "binutils", here)
            .args(["-D", "--defined-only", "--format=just-symbols"])
            .arg(shared),
    );
    let pinned = fs::read_to_string(root().join("tests/abi/symbols.txt")).unwrap();
    assert_eq!(exported, pinned.trim());
    let dynamic = said(
        command("readelf", "binutils", here)
            .args(["--dynamic", "--wide"])
            .arg(shared),
    );
    assert!(dynamic.contains("Library soname: [libmtasts.so.1]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    let stripped = here.join("stripped");
    said(command("strip", "binutils", here).arg(shared).arg("-o").arg(&stripped));
    let size = stripped.metadata().unwrap().len();
    fs::remove_file(stripped).unwrap();
    println!("libmtasts.so, stripped: {size} octets");
    let cargo = std::env::var_os("CARGO").expect("cargo starts the tests");
    let compiler = said(Command::new(Path::new(&cargo).with_file_name("rustc")).arg("--version"));
    let is_oldest = compiler.starts_with("rustc 1.89.");
    assert!(
        size <= if is_oldest { LARGEST_OF_1_89 } else { LARGEST },
        "{size} octets"
    );
}

/// Nothing that is installed names the builder's home or the checkout: see rustflags.sh.
fn names_no_builder(usr: &Path) {
    let home = builders_home();
    let mut found = Vec::new();
    files(usr, &mut found);
    let binaries = found.iter().filter(|path| {
        let path = path.to_str().unwrap();
        ["/bin/mtasts", ".so.1", ".a"].iter().any(|end| path.ends_with(end))
    });
    let mut looked = 0;
    for path in binaries {
        let content = fs::read(path).unwrap();
        for directory in [&home, root().to_str().unwrap()] {
            let named = content
                .windows(directory.len() + 1)
                .find(|octets| octets.strip_suffix(b"/") == Some(directory.as_bytes()));
            assert!(named.is_none(), "{path:?} names {directory}");
        }
        looked += 1;
    }
    assert_eq!(looked, 3, "{found:#?}");
}

/// The example, from a cache that knows enforced.example.
fn delivers(bench: &Bench, program: &Path, libraries: Option<&Path>) {
    let cache = bench.cache("cache");
    for (host, status) in [("mx.enforced.example", 0), ("mx.elsewhere.example", 75)] {
        let mut deliver = Command::new(program);
        bench.prepare(&mut deliver, Who::User).env("MTASTS_CACHE_DIR", &cache);
        if let Some(libraries) = libraries {
            deliver.env("LD_LIBRARY_PATH", libraries);
        }
        let done = deliver.args(["enforced.example", host]).output().unwrap();
        assert_eq!(done.status.code(), Some(status), "{done:?}");
    }
}

/// The directory and its owner as a package makes them.
fn systemd_understands(stage: &Path) {
    let examples = root().join("examples/systemd");
    fs::create_dir_all(stage.join("etc")).unwrap();
    said(
        command("systemd-sysusers", "systemd", stage)
            .arg(format!("--root={}", stage.display()))
            .arg(examples.join("sysusers.d/mtasts.conf")),
    );
    let passwd = fs::read_to_string(stage.join("etc/passwd")).unwrap();
    let mtasts: Vec<&str> = passwd.trim().split(':').collect();
    assert_eq!((mtasts[0], mtasts[5]), ("mtasts", "/var/lib/mtasts"), "{passwd}");
    let run = said(
        command("systemd-tmpfiles", "systemd", stage)
            .args(["--create", &format!("--root={}", stage.display())])
            .arg(examples.join("tmpfiles.d/mtasts.conf")),
    );
    let about = stage.join("var/lib/mtasts").metadata().unwrap();
    assert_eq!(about.mode() & 0o7777, 0o2770, "{run}");
    assert_eq!(about.uid().to_string(), mtasts[2]);
    // The timer's user is the owner, and a policy of another owner is not lost to it.
    let service = fs::read_to_string(examples.join("mtasts-refresh.service")).unwrap();
    assert!(service.contains("\nUser=mtasts\nGroup=mtasts\n"), "{service}");
    let cron = fs::read_to_string(root().join("examples/cron/mtasts")).unwrap();
    assert!(cron.contains(" mtasts /usr/bin/mtasts cache refresh"), "{cron}");
    let policy = stage.join("var/lib/mtasts/good.test");
    fs::write(&policy, "").unwrap();
    chown(&policy, Some(USER), Some(USER)).unwrap();
    // Nor does the next start of the machine let the group write where the operator has not.
    let dir = stage.join("var/lib/mtasts");
    fs::set_permissions(&dir, Permissions::from_mode(0o2750)).unwrap();
    said(
        command("systemd-tmpfiles", "systemd", stage)
            .args(["--create", &format!("--root={}", stage.display())])
            .arg(examples.join("tmpfiles.d/mtasts.conf")),
    );
    assert_eq!(policy.metadata().unwrap().uid().to_string(), mtasts[2]);
    assert_eq!(dir.metadata().unwrap().mode() & 0o7777, 0o2750);
}
