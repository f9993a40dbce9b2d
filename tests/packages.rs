//! The packaging says what the tree says: versions, symbols, drop-ins. What the packages do on a fresh system is tested by
//! tests/packages/fresh.sh.

use std::collections::BTreeSet;
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

/// Each artefact with a binary has the list that licences.py prints for it, from the line of its build. What is linked, cargo
/// says here in another way; the names and versions are those of Cargo.lock, and each has a text.
#[test]
fn every_crate_in_an_artefact_has_its_licence() {
    for (packages, lines) in [
        (
            &["mtasts/capi"][..],
            &[
                ("debian/rules", "licences.py mtasts=capi >"),
                ("packaging/rpm/libmtasts.spec", "licences.py mtasts=capi >"),
            ][..],
        ),
        (
            &["mtasts-cli"],
            &[
                ("debian/rules", "licences.py mtasts-cli >"),
                ("packaging/rpm/libmtasts.spec", "licences.py mtasts-cli >"),
            ],
        ),
        (
            &["mtasts/capi", "mtasts-cli"],
            &[
                (".ci/release", "licences.py mtasts=capi mtasts-cli >"),
                ("packaging/arch/PKGBUILD", "licences.py mtasts=capi mtasts-cli >"),
                ("bindings/python/backend.py", "\"mtasts=capi\", \"mtasts-cli\"]"),
            ],
        ),
        (
            &["mtasts-node"],
            &[("bindings/node/Makefile", "-$${package##*-} mtasts-node \\")],
        ),
    ] {
        for (build, line) in lines {
            assert!(file(build).contains(line), "{build}: no line {line}");
        }
        let mut script = Command::new("python3");
        script.arg(root().join("licences.py"));
        let mut linked = BTreeSet::new();
        for package in packages {
            script.arg(package.replace('/', "="));
            linked.extend(linked_into(package));
        }
        let said = stdout(&mut script);
        let (head, texts) = said.split_once(&"=".repeat(78)).unwrap();
        let named = BTreeSet::from_iter(head.lines().filter(|line| is_crate(line)).map(str::to_owned));
        let less = |a: &BTreeSet<String>, b| a.difference(b).cloned().collect::<Vec<_>>();
        assert!(linked.len() > 60, "{packages:?}: {linked:?}");
        assert_eq!(
            less(&linked, &named),
            [""; 0],
            "{packages:?}: linked and not in the list"
        );
        assert_eq!(
            less(&named, &locked()),
            [""; 0],
            "{packages:?}: in the list and not in Cargo.lock"
        );
        // The last one is C code in ring.
        let others = ["The Rust standard library (MIT)", "(third_party/fiat/LICENSE)"].map(str::to_owned);
        for name in named.iter().map(|name| format!("\n{name} (")).chain(others) {
            assert!(texts.contains(&name), "{packages:?}: no text for {name}");
        }
    }
}

/// `NAME VERSION`
fn is_crate(line: &str) -> bool {
    let mut words = line.split(' ');
    let version = words
        .nth(1)
        .is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    version && words.next().is_none()
}

fn locked() -> BTreeSet<String> {
    let lock = file("Cargo.lock");
    let value = |package: &str, key: &str| {
        let start = format!("{key} = \"");
        let line = package
            .lines()
            .find_map(|line| line.strip_prefix(&start)?.strip_suffix('"'));
        line.map(str::to_owned)
    };
    lock.split("[[package]]")
        .filter(|package| value(package, "source").is_some())
        .map(|package| {
            format!(
                "{} {}",
                value(package, "name").unwrap(),
                value(package, "version").unwrap()
            )
        })
        .collect()
}

/// What `cargo tree` shows, without the members of the workspace, which have a path.
fn linked_into(package: &str) -> impl Iterator<Item = String> {
    let (name, feature) = package.split_once('/').unwrap_or((package, ""));
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--locked",
        "--edges=normal,no-proc-macro",
        "--prefix=none",
        "--format={p}",
    ])
    .args(["--package", name, "--features", feature])
    .current_dir(root());
    let tree = stdout(&mut tree);
    let lines: Vec<_> = tree
        .lines()
        .filter(|line| !line.contains(['/', '(']))
        .map(|line| line.replacen(" v", " ", 1))
        .collect();
    lines.into_iter().filter(|line| is_crate(line))
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
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

/// systemd gives a server up that has ended five times in ten seconds, if its unit does not say otherwise.
#[test]
fn no_server_is_given_up() {
    let mut servers = 0;
    for entry in fs::read_dir(root().join("examples/systemd")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "service") {
            let unit = fs::read_to_string(&path).unwrap();
            let has = |line: &str| unit.lines().any(|other| other == line);
            let is_never_given_up = has("StartLimitIntervalSec=0") && has("RestartSec=1");
            assert_eq!(is_never_given_up, has("Restart=always"), "{}", path.display());
            servers += usize::from(is_never_given_up);
        }
    }
    assert_eq!(servers, 3);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()));
}
