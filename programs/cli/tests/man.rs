//! The manual pages say what there is: every command and option, every setting, every function.
//!
//! Debian packages: mandoc groff.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use mtasts::Settings;
use mtasts_kit::pki;
use mtasts_survey::finding::Code;

/// The codes of `mtasts doctor`, which are the command's own.
#[allow(dead_code, reason = "the test needs the codes alone")]
#[path = "../src/doctor/finding.rs"]
mod doctor;

const PAGES: [&str; 3] = ["mtasts.1", "libmtasts.3", "mtasts.toml.5"];

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/man")
        .join(name)
}

/// A program from Debian, run on a page: what it prints, and what it complains about.
fn run(program: &str, package: &str, arguments: &[&str], name: &str) -> (String, String) {
    let output = pki::command(program, package, concat!(env!("CARGO_MANIFEST_DIR"), "/../..").as_ref())
        .args(arguments)
        .arg(page(name))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A page as it is read, with single spaces.
fn rendered(name: &str) -> String {
    let (text, _) = run("mandoc", "mandoc", &["-Tutf8"], name);
    // Bold and underlined characters are struck twice.
    let mut plain = Vec::new();
    for c in text.chars() {
        if c == '\u{8}' {
            plain.pop();
        } else {
            plain.push(c);
        }
    }
    let plain: String = plain.into_iter().collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_pages_are_well_formed() {
    for name in PAGES {
        let (found, errors) = run("mandoc", "mandoc", &["-Tlint", "-Wwarning"], name);
        assert_eq!((found.as_str(), errors.as_str()), ("", ""), "{name}");
        let (_, errors) = run("groff", "groff", &["-mandoc", "-ww", "-Wbreak", "-Tutf8", "-z"], name);
        assert_eq!(errors, "", "{name}");
    }
}

/// The names of the commands and the long options of `mtasts`, and of all commands below.
fn help(path: &[String], found: &mut BTreeSet<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_mtasts"))
        .args(path)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "{path:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    found.extend(
        words
            .filter(|word| word.starts_with("--") && word.len() > 2)
            .map(str::to_owned),
    );
    let commands = text.split_once("\nCommands:\n").map_or("", |(_, list)| list);
    let commands = commands.split("\n\n").next().unwrap().lines();
    for command in commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
        if !command.is_empty() && command != "help" {
            let path = [path, &[command.to_owned()]].concat();
            found.insert(path.join(" "));
            help(&path, found);
        }
    }
}

#[test]
fn every_command_and_option_is_described() {
    let page = rendered("mtasts.1");
    let mut found = BTreeSet::new();
    help(&[], &mut found);
    for needed in ["check", "lint policy", "--json", "--roots"] {
        assert!(found.contains(needed), "{found:?}");
    }
    for name in &found {
        assert!(page.contains(name.as_str()), "mtasts.1 does not know {name}");
    }
    for word in page.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        if word.starts_with("--") && word.len() > 2 {
            assert!(found.contains(word), "mtasts.1 knows {word}, and mtasts does not");
        }
    }
}

/// The tables of findings are made of the code's: `MTASTS_WRITE_FINDINGS=1 cargo test ... --test man` writes them.
#[test]
fn every_finding_is_described() {
    table("", Code::ALL, |code| (code.name(), code.level().name(), code.meaning()));
    table(" of the doctor", doctor::Code::ALL, |code| {
        (code.name(), code.level().name(), code.meaning())
    });
}

/// Compares a table of the manual, or writes it: the name, the level and the meaning of each code.
fn table<C>(which: &str, codes: &[C], about: impl Fn(&C) -> (&'static str, &'static str, &'static str)) {
    let begin = format!(".\\\" The table{which} is written by tests/man.rs.\n");
    let end = format!(".\\\" The end of the table{which}.\n");
    let rows = codes.iter().map(|code| {
        let (name, level, meaning) = about(code);
        format!(".It Ic {name}\n{level}: {meaning}.\n")
    });
    let table: String = rows.collect();
    let text = std::fs::read_to_string(page("mtasts.1")).unwrap();
    let (before, rest) = text.split_once(&begin).expect("the table");
    let (written, after) = rest.split_once(&end).expect("its end");
    if std::env::var_os("MTASTS_WRITE_FINDINGS").is_some() {
        std::fs::write(page("mtasts.1"), format!("{before}{begin}{table}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(written, table, "MTASTS_WRITE_FINDINGS=1 writes the table");
    let names: BTreeSet<&str> = codes.iter().map(|code| about(code).0).collect();
    assert_eq!(names.len(), codes.len(), "a code appears twice");
    for name in names {
        let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
        assert!(name.bytes().all(known), "{name}");
    }
}

/// Those that no test on the test Internet can bring about.
const UNTESTED: [Code; 2] = [Code::OwnError, Code::MxCertificateUnsupported];

/// Those of the doctor that unit tests beside the code bring about: they need systemd as process 1, an installed library, or
/// an Exim without dlfunc.
const UNITS: [doctor::Code; 8] = [
    doctor::Code::RefreshInactive,
    doctor::Code::RefreshFailed,
    doctor::Code::Library,
    doctor::Code::LibraryVersion,
    doctor::Code::EximDlfunc,
    doctor::Code::ServerVersion,
    doctor::Code::ServerMissing,
    doctor::Code::ServerUnknown,
];

#[test]
fn every_finding_is_tested() {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let directories = ["tests/cli", "tests/cli/doctor"].map(|name| std::fs::read_dir(package.join(name)).unwrap());
    let tests: String = directories
        .into_iter()
        .flatten()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .chain(
            ["exim/doctor.rs", "fleet/command.rs", "serve/life.rs"].map(|name| package.join("../../tests").join(name)),
        )
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let is_tested = |name: &str| tests.contains(&format!("\"{name}\""));
    for code in Code::ALL {
        assert_eq!(is_tested(code.name()), !UNTESTED.contains(code), "{}", code.name());
    }
    for code in doctor::Code::ALL {
        assert_eq!(is_tested(code.name()), !UNITS.contains(code), "{}", code.name());
    }
}

#[test]
fn every_setting_is_described() {
    let settings = format!("{:#?}", Settings::default());
    let fields = settings.lines().filter_map(|line| line.strip_prefix("    "));
    let settings: BTreeSet<&str> = fields
        .filter(|field| field.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|field| Some(field.split_once(':')?.0))
        .collect();
    assert!(settings.contains("cache_dir"), "{settings:?}");
    let page = std::fs::read_to_string(page("mtasts.toml.5")).unwrap();
    let described = page.lines().filter_map(|line| line.strip_prefix(".It Ic ")).collect();
    assert_eq!(settings, described);
    for key in settings {
        // No key is unknown, whatever it says of an empty value.
        let error = Settings::default()
            .set(key, "\u{1}")
            .map_or_else(|e| e.reason, |()| String::new());
        assert_ne!(error, "unknown setting", "{key}");
    }
}

#[test]
fn every_function_is_described_as_it_is_declared() {
    let header = std::fs::read_to_string(page("../../include/mtasts.h")).unwrap();
    let (_, declarations) = header.split_once("extern \"C\" {").unwrap();
    let code: Vec<&str> = declarations.lines().filter(|line| !line.starts_with("//")).collect();
    let code = code.join(" ").replace("struct ", "");
    let page = rendered("libmtasts.3");
    let (synopsis, description) = page.split_once("DESCRIPTION").unwrap();
    let mut functions = 0;
    for declaration in code
        .split(';')
        .filter_map(|part| part.split_once("mtasts_")?.1.split_once('('))
    {
        let (name, arguments) = declaration;
        if name.contains(|c: char| !c.is_ascii_lowercase() && c != '_') || !arguments.ends_with(')') {
            continue;
        }
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let declared = format!("mtasts_{name}({};", arguments.join(" "));
        assert!(synopsis.contains(&declared), "libmtasts.3 does not know {declared}");
        assert!(
            description.contains(&format!("mtasts_{name}(")),
            "libmtasts.3 says nothing of {name}"
        );
        functions += 1;
    }
    let known = synopsis.matches(';').count();
    assert_eq!(functions, known, "libmtasts.3 knows functions that are gone");
}
