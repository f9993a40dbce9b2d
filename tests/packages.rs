//! The packaging says what the tree says: versions, symbols, drop-ins. What the packages do on a fresh system is tested by
//! tests/packages/fresh.sh.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn file(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn one_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (name, line) in [
        ("debian/changelog", format!("libmtasts ({version}-1) ")),
        ("packaging/rpm/libmtasts.spec", format!("\nVersion:        {version}\n")),
        ("packaging/arch/PKGBUILD", format!("\npkgver={version}\n")),
    ] {
        assert!(file(name).contains(&line), "{name} has another version than {version}");
    }
}

/// dpkg-gensymbols would find it during a release build.
#[test]
fn the_symbols_are_those_of_the_library() {
    let (_, listed) = file("debian/libmtasts1.symbols")
        .split_once("libmtasts-dev\n")
        .map(|(head, list)| (head.to_owned(), list.to_owned()))
        .unwrap();
    let listed: Vec<&str> = listed
        .lines()
        .map(|line| line.trim().split('@').next().unwrap())
        .collect();
    let exported = file("tests/abi/symbols.txt");
    assert_eq!(listed, exported.lines().collect::<Vec<_>>());
    let abi = format!("libmtasts.so.{}", abi());
    assert!(file("debian/libmtasts1.symbols").starts_with(&format!("{abi} libmtasts{} ", self::abi())));
}

fn abi() -> String {
    let header = file("include/mtasts.h");
    let abi = header.lines().find_map(|line| line.strip_prefix("#define MTASTS_ABI "));
    abi.unwrap().to_owned()
}

/// A drop-in that the package forgets would never reach an Exim.
#[test]
fn every_drop_in_is_packaged() {
    let (rules, template) = (file("debian/rules"), file("debian/exim4-mtasts.d/template"));
    let mut count = 0;
    for folder in root().join("examples/exim/conf.d").read_dir().unwrap() {
        for drop_in in folder.unwrap().path().read_dir().unwrap() {
            let path = drop_in.unwrap().path();
            let name: PathBuf = path
                .components()
                .rev()
                .take(2)
                .collect::<Vec<_>>()
                .iter()
                .rev()
                .collect();
            let name = name.to_str().unwrap();
            assert!(
                rules.contains(name) && template.contains(name),
                "{name} is not packaged"
            );
            count += 1;
        }
    }
    assert!(count > 2);
}

/// Exim's template, with our parts and without them: not an octet of it is lost.
#[test]
fn the_template_is_given_back() {
    let exim = root().join("target/exim");
    let fetched = Command::new(root().join("tests/exim/fetch.sh")).arg(&exim).status();
    assert!(fetched.is_ok_and(|status| status.success()), "no Exim");
    let directory = std::env::temp_dir().join(format!("mtasts-{}-template", std::process::id()));
    let template = directory.join("exim4.conf.template");
    copy(&exim.join("gnutls/etc/exim4"), &directory);
    let read = || fs::read_to_string(&template).unwrap();
    let run = |what: &str| -> Output {
        let mut command = Command::new(root().join("debian/exim4-mtasts.d/template"));
        command.arg(what).env("EXIM4_ETC", &directory).output().unwrap()
    };
    // Debian's own program makes it of conf.d.
    let make = || {
        let program = exim.join("gnutls/usr/sbin/update-exim4.conf.template");
        let made = Command::new(program)
            .args(["--run", "--nobackup"])
            .env("CONFDIR", &directory)
            .status();
        assert!(made.unwrap().success());
        read()
    };
    let before = read();
    let made_without = make();
    for drop_in in ["router/190_mtasts", "transport/30_mtasts", "retry/20_mtasts"] {
        let from = root().join("examples/exim/conf.d").join(drop_in);
        fs::copy(from, directory.join("conf.d").join(drop_in)).unwrap();
    }
    let main = directory.join("conf.d/main/00_mtasts");
    fs::copy(root().join("debian/exim4-mtasts.d/main"), main).unwrap();

    fs::write(&template, &before).unwrap();
    assert!(run("insert").status.success());
    let with = read();
    let place = |part: &str| with.find(part).unwrap_or_else(|| panic!("no {part:?}"));
    let places = [
        "### main/00_mtasts",
        "\nbegin routers",
        "\nmtasts_policy:",
        "\ndnslookup:",
        "\nbegin transports",
        "\nremote_smtp_mtasts:",
        "\nbegin retry",
        "\n*                      tls_required",
        "\n*                      *           F,",
    ]
    .map(place);
    assert!(places.is_sorted(), "{places:?}");
    assert!(run("insert").status.success());
    assert_eq!(read(), with, "a second time changes nothing");
    assert!(run("remove").status.success());
    assert_eq!(read(), before);

    // Made of all of conf.d, with ours.
    assert_ne!(make(), made_without);
    assert!(run("remove").status.success());
    assert_eq!(read(), made_without);

    // A template of the operator's own, in which there is no place for ours.
    let own = before.replace("### end retry/00_exim4-config_header", "### mine");
    fs::write(&template, &own).unwrap();
    let files = || directory.read_dir().unwrap().count();
    let count = files();
    let ran = run("insert");
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&ran.stderr).contains("was left alone"),
        "{ran:?}"
    );
    assert_eq!(read(), own);
    assert_eq!(files(), count, "nothing else is left there");
    fs::remove_dir_all(&directory).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()));
}
