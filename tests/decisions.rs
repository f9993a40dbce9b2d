//! `docs/decisions.md` and the tree agree: each decision that is cited is there, and each test that is named exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const DIRECTORIES: &[&str] = &["src", "programs", "tests", "include", "bindings", "docs", "examples"];
const FILES: &[&str] = &["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The files below a directory that people write: nothing hidden, built or downloaded.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !name.starts_with('.') && name != "node_modules" && name != "target" {
            files(&entry.path(), found);
        } else if kind.is_file() && name != "package-lock.json" {
            found.push(entry.path());
        }
    }
}

/// The numbers that a text cites, each as `D-` and two digits.
fn citations(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("D-").filter_map(|(at, _)| {
        let number = text.get(at..at + 4)?;
        let digits = number.bytes().skip(2).all(|c| c.is_ascii_digit());
        let apart = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
        let alone = apart(text[..at].chars().next_back()) && apart(text[at + 4..].chars().next());
        (digits && alone).then_some(number)
    })
}

/// The decisions in their order: number and text.
fn decisions(text: &str) -> Vec<(&str, &str)> {
    text.split("\n## ").skip(1).map(|part| part.split_at(4)).collect()
}

#[test]
fn numbers_have_no_gaps_and_no_part_is_missing() {
    let text = read("docs/decisions.md");
    for (at, (number, body)) in decisions(&text).into_iter().enumerate() {
        assert_eq!(number, format!("D-{:02}", at + 1));
        for part in ["\n**RFC:** ", "\n**Choice:** ", "\n**Why:** "] {
            assert_eq!(body.matches(part).count(), 1, "{number}: {part}");
        }
        let tested = body.contains("\n**Test:** ") || body.contains("\n**No test yet:** ");
        assert!(tested, "{number} names no test and does not say that there is none");
    }
}

#[test]
fn every_citation_is_of_a_decision() {
    let text = read("docs/decisions.md");
    let known: BTreeSet<&str> = decisions(&text).into_iter().map(|(number, _)| number).collect();
    let mut all: Vec<PathBuf> = FILES.iter().map(|name| root().join(name)).collect();
    for directory in DIRECTORIES {
        files(&root().join(directory), &mut all);
    }
    let mut cited = BTreeSet::new();
    for file in all {
        // What is not UTF-8 is no text.
        let text = String::from_utf8(fs::read(&file).unwrap()).unwrap_or_default();
        for number in citations(&text) {
            assert!(known.contains(number), "{} cites {number}", file.display());
            cited.insert(number.to_owned());
        }
    }
    assert_eq!(cited.len(), known.len());
}

#[test]
fn every_named_test_exists() {
    let vectors = read("tests/vectors/rfc8461.json");
    let text = read("docs/decisions.md");
    for (number, body) in decisions(&text) {
        let paragraphs = body.split("\n\n").filter_map(|part| part.strip_prefix("**Test:** "));
        for paragraph in paragraphs {
            let mut file = ("", String::new());
            for name in paragraph.split('`').skip(1).step_by(2) {
                if name.contains('/') {
                    file = (name, read(name));
                    continue;
                }
                let there = if name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                    file.1.contains(&format!("fn {name}(")) || file.1.contains(&format!("def {name}("))
                } else {
                    file.1.contains(name)
                };
                assert!(there, "{number}: {} has no {name}", file.0);
            }
            // A vector is a letter and two digits.
            for word in paragraph.split(|c: char| !c.is_ascii_alphanumeric()) {
                if let [b'A'..=b'Z', b'0'..=b'9', b'0'..=b'9'] = word.as_bytes() {
                    assert!(vectors.contains(&format!("\"{word}-")), "{number}: no vector {word}");
                }
            }
        }
    }
}
