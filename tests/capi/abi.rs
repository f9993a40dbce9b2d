//! What a compiled program depends on: symbols, soname, layout, numbers. A change here breaks programs that exist.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::build::{Library, Link, compile, compiler, library, program, root};
use mtasts_kit::pki::{Directory, command};

/// A defect on purpose, in the library that the tests build (`--cfg mtasts_test`) and in no other.
const FOR_TESTS: &str = "mtasts_test_panic";

/// What is exported, sorted.
pub(crate) fn exported() -> BTreeSet<String> {
    exported_by(library())
}

fn exported_by(library: &Library) -> BTreeSet<String> {
    let listed = said_by("nm", &["-D", "--defined-only", "--format=posix"], library);
    let name = |line: &str| line.split(' ').next().unwrap().to_owned();
    listed.lines().map(name).collect()
}

/// What a program of the binutils says about the shared library.
fn said_by(tool: &str, arguments: &[&str], library: &Library) -> String {
    let output = command(tool, "binutils", root())
        .args(arguments)
        .arg(&library.shared)
        .output()
        .unwrap();
    assert!(output.status.success(), "{tool}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compares with a committed file, or renews that.
fn pinned(name: &str, found: &str) {
    let file = root().join("tests/abi").join(name);
    if std::env::var_os("MTASTS_WRITE_ABI").is_some() {
        fs::write(&file, found).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == found,
        "tests/abi/{name} says otherwise. Something added: MTASTS_WRITE_ABI=1 cargo test --test capi. Something changed \
         or gone: programs that exist break, so MTASTS_ABI and the soname in build.rs are to be raised.\n\
         {found}"
    );
}

#[test]
fn nothing_is_exported_but_what_is_pinned() {
    let mut found = String::new();
    for name in exported().iter().filter(|name| *name != FOR_TESTS) {
        assert!(name.starts_with("mtasts_"), "{name} is exported");
        writeln!(found, "{name}").unwrap();
    }
    pinned("symbols.txt", &found);
}

#[test]
fn it_needs_the_c_library_alone_and_stays_loaded() {
    let dynamic = said_by("readelf", &["--dynamic", "--wide"], library());
    let all = |kind: &str| -> BTreeSet<String> {
        let entries = dynamic.lines().filter(|line| line.contains(kind));
        entries
            .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned()))
            .collect()
    };
    assert_eq!(all("(SONAME)"), BTreeSet::from(["libmtasts.so.1".to_owned()]));
    for needed in all("(NEEDED)") {
        let known = ["libc.so", "libm.so", "libgcc_s.so", "ld-linux"];
        assert!(known.iter().any(|known| needed.starts_with(known)), "{needed}");
    }
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)"));
    assert!(flags.is_some_and(|line| line.contains("NODELETE")), "{flags:?}");
}

/// How many packages the library is made of, itself among them.
const MOST_PACKAGES: usize = 106;

/// What a mail server loads has none of the packages that only a program needs.
#[test]
fn no_package_of_a_program_is_in_the_library() {
    let tree = mtasts_kit::command::cargo()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "tree",
            "--package",
            "mtasts",
            "--edges",
            "normal",
            "--features",
            "capi,fleet",
        ])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for own in [
        "anstyle",
        "clap",
        "hickory-server",
        "hyper",
        "indicatif",
        "rcgen",
        "rusqlite",
        "serde_json",
        "tokio-rustls",
    ] {
        assert!(!packages.contains(own), "{own} came into the library");
    }
    // Grows with each package that the library itself takes: look at what came in, and whether it is worth it.
    assert!(
        packages.len() <= MOST_PACKAGES,
        "{} packages: {packages:?}",
        packages.len()
    );
}

#[test]
fn the_header_is_c99_c11_and_cxx11() {
    let directory = Directory::new("header");
    for (name, standard, suffix) in [
        ("gcc", "c99", "c"),
        ("gcc", "c11", "c"),
        ("g++", "c++11", "cpp"),
        ("g++", "c++20", "cpp"),
    ] {
        // Twice, for the include guard.
        let source = directory.write(
            &format!("header.{suffix}"),
            "#include <mtasts.h>\n#include <mtasts.h>\nint main(void) { return mtasts_version() == NULL; }\n",
        );
        let mut compiler = compiler(name, standard, directory.root());
        compiler.arg("-c").arg(source);
        compile(compiler);
    }
}

/// The constants and the structs with their fields that the header declares.
fn declared(header: &str) -> (Vec<&str>, Vec<(&str, Vec<&str>)>) {
    let (mut constants, mut structs): (Vec<&str>, Vec<(&str, Vec<&str>)>) = Default::default();
    let mut inside = false;
    for line in header.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            [name, "=", _] if name.starts_with("MTASTS_") => constants.push(name),
            // The version moves with every release; tests/c/calls.c compares it.
            ["#define", name, _, ..] if !name.starts_with("MTASTS_VERSION_") => constants.push(name),
            ["typedef", "struct", name, "{"] => {
                structs.push((name, Vec::new()));
                inside = true;
            }
            ["}", ..] => inside = false,
            ["//", ..] => {}
            [.., last] if inside && last.ends_with(';') => {
                let field = last.trim_start_matches('*').split(['[', ';']).next().unwrap();
                structs.last_mut().unwrap().1.push(field);
            }
            _ => {}
        }
    }
    (constants, structs)
}

/// Makes the program that prints them: a constant or a field that is new cannot be forgotten.
fn layout_source(header: &str) -> String {
    let (constants, structs) = declared(header);
    let mut source = String::from("#include <mtasts.h>\n#include <stdio.h>\n\nint main(void) {\n");
    for name in constants {
        writeln!(source, "    printf(\"{name} %lld\\n\", (long long){name});").unwrap();
    }
    for (name, fields) in structs {
        writeln!(source, "    printf(\"{name} size %zu\\n\", sizeof({name}));").unwrap();
        for field in fields {
            writeln!(
                source,
                "    printf(\"{name}.{field} at %zu size %zu\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"
            )
            .unwrap();
        }
    }
    source + "    return 0;\n}\n"
}

#[test]
fn layout_and_numbers_are_pinned() {
    assert_eq!(size_of::<usize>(), 8, "tests/abi/layout.txt is of a 64-bit system");
    let directory = Directory::new("layout");
    let header = fs::read_to_string(root().join("include/mtasts.h")).unwrap();
    let source = directory.write("layout.c", layout_source(&header));
    let printed = run(&program(source.to_str().unwrap(), Link::Shared, directory.root()));
    assert!(
        printed.contains("mtasts_decision.sentence at "),
        "fields are found: {printed}"
    );
    for_each_extensible(&printed, |name, size, end| {
        assert_eq!(
            size, end,
            "{name} has padding at its end: the next field would lie in what callers never set"
        );
    });
    pinned("layout.txt", &printed);
}

/// Calls `look` with the name of each extensible struct, its size, and the end of its last field.
fn for_each_extensible(layout: &str, look: impl Fn(&str, usize, usize)) {
    let mut seen = 0;
    let sizes = layout.lines().filter_map(|line| line.split_once(" size "));
    for (name, size) in sizes.filter(|(name, _)| !name.contains('.')) {
        let fields = layout.lines().filter_map(|line| line.strip_prefix(&format!("{name}.")));
        let fields: Vec<Vec<&str>> = fields.map(|line| line.split(' ').collect()).collect();
        if fields[0][0] != "size" {
            continue;
        }
        let [_, _, at, _, length] = fields.last().unwrap()[..] else {
            panic!("{fields:?}")
        };
        let end = at.parse::<usize>().unwrap() + length.parse::<usize>().unwrap();
        look(name, size.parse().unwrap(), end);
        seen += 1;
    }
    assert!(seen >= 5, "the structs are found: {layout}");
}

fn run(program: &Path) -> String {
    let output = std::process::Command::new(program).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
