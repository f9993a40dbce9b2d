//! The committed header is what the sources say: the functions and structs of `src/capi` as cbindgen sees them, the enums
//! of `src/protocol/words.rs`, in the order of use.

use std::fmt::Write as _;
use std::path::Path;

use mtasts::protocol::words::{self, Vocabulary};

/// A part of the header: its title, its enums, its module.
type Section = (&'static str, &'static [Vocabulary], &'static str);

const SECTIONS: [Section; 13] = [
    ("Status and errors", &[words::Status::VOCABULARY], "error"),
    ("Settings", &[], "settings"),
    ("Context and lookup", &[], "context"),
    (
        "Answer",
        &[
            words::Mode::VOCABULARY,
            words::Source::VOCABULARY,
            words::ResultType::VOCABULARY,
        ],
        "answer",
    ),
    (
        "Verdict",
        &[words::Action::VOCABULARY, words::NoHost::VOCABULARY],
        "verdict",
    ),
    (
        "Attempt: one MX host, and what a report counts of it",
        &[
            words::SeenKind::VOCABULARY,
            words::Channel::VOCABULARY,
            words::PolicyType::VOCABULARY,
        ],
        "attempt",
    ),
    ("Checks: certificates and addresses", &[], "check"),
    ("DANE: TLSA records of MX hosts", &[words::Judge::VOCABULARY], "hosts"),
    ("TLS reports: what becomes of the events", &[], "tlsrpt"),
    ("Queue: lookups in an event loop", &[], "queue"),
    ("Cache", &[], "cache"),
    ("Exim: functions for dlfunc", &[], "exim"),
    ("Version", &[], "version"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut header = config.header.take().unwrap();
    header += "\n#ifndef MTASTS_H\n#define MTASTS_H\n\n#include <stddef.h>\n#include <stdint.h>\n";
    header += "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n";
    header += &config.after_includes.take().unwrap();
    let (mut handles, mut sections) = (String::new(), String::new());
    for (title, vocabularies, module) in SECTIONS {
        sections += &heading(title);
        for vocabulary in vocabularies {
            sections += &enumeration(vocabulary);
        }
        let (opaque, others) = declarations(module, config.clone());
        handles += &opaque;
        sections += &others;
    }
    // A function may take a handle that a later section creates.
    header += &(heading("Handles") + handles.trim_end() + "\n");
    header += sections.trim_end();
    header += "\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n";
    header
}

/// A vocabulary as an enum of C.
fn enumeration(vocabulary: &Vocabulary) -> String {
    let mut text = String::new();
    for line in vocabulary.about {
        writeln!(text, "//{line}").unwrap();
    }
    let mut tag = "mtasts".to_owned();
    for letter in vocabulary.name.chars() {
        if letter.is_uppercase() {
            tag.push('_');
        }
        tag.push(letter.to_ascii_lowercase());
    }
    writeln!(text, "typedef enum {tag} {{").unwrap();
    for word in vocabulary.words {
        for line in word.meaning {
            writeln!(text, "    //{line}").unwrap();
        }
        writeln!(text, "    {} = {},", vocabulary.in_c(word), word.number).unwrap();
    }
    writeln!(text, "}} {tag};\n").unwrap();
    text
}

fn heading(title: &str) -> String {
    let rule = "-".repeat(117);
    format!("\n// {rule}\n// {title}\n// {rule}\n\n")
}

/// What a module of the boundary exports: its handles, and all else.
fn declarations(module: &str, config: cbindgen::Config) -> (String, String) {
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root().join("src/capi").join(module).with_extension("rs"))
        .generate()
        .unwrap();
    let mut written = Vec::new();
    bindings.write(&mut written);
    let written = String::from_utf8(written).unwrap();
    let (mut handles, mut others) = (String::new(), String::new());
    for declaration in written.split("\n\n").map(str::trim).filter(|text| !text.is_empty()) {
        let last = declaration.lines().last().unwrap();
        let place = match last.starts_with("typedef struct") {
            true => &mut handles,
            false => &mut others,
        };
        for line in declaration.lines() {
            // Each type goes by its name without `struct`, also where cbindgen has not seen its module.
            *place += &match line.starts_with("typedef struct") {
                true => line.to_owned(),
                false => line.replace("struct mtasts_", "mtasts_"),
            };
            *place += "\n";
        }
        *place += "\n";
    }
    (handles, others)
}

#[test]
fn no_line_is_longer_than_120_columns() {
    let header = generated();
    let long: Vec<&str> = header.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(long.is_empty(), "wrap these at their source: {long:#?}");
}

#[test]
fn header_is_current() {
    let file = root().join("include/mtasts.h");
    let generated = generated();
    if std::env::var_os("MTASTS_WRITE_HEADER").is_some() {
        std::fs::write(&file, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == generated,
        "include/mtasts.h is out of date: MTASTS_WRITE_HEADER=1 cargo test --test header"
    );
}

/// No module of the boundary is forgotten.
#[test]
fn every_export_is_declared() {
    let header = generated();
    for file in std::fs::read_dir(root().join("src/capi")).unwrap() {
        let Ok(source) = std::fs::read_to_string(file.unwrap().path()) else {
            continue;
        };
        let exports = source.split("extern \"C\" fn ").skip(1);
        for name in exports.map(|rest| rest.split('(').next().unwrap()) {
            let declared = header.contains(&format!(" {name}(")) || header.contains(&format!("*{name}("));
            assert_eq!(declared, name != "mtasts_test_panic" && !name.is_empty(), "{name}");
        }
    }
}
