//! Every language has the words and numbers of `src/protocol/words.rs`. The header is made from that table
//! (`tests/header.rs`), the constants of libmtasts(3) are too; Python's enums and Node's types are compared with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use mtasts::protocol::words::{Status, VOCABULARIES, Vocabulary, Word};

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn file(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn vocabulary(name: &str) -> Vocabulary {
    VOCABULARIES.into_iter().find(|v| v.name == name).unwrap()
}

/// What the names in C and Python are made of: `SKIP_HOST`.
fn capitals(word: &str) -> String {
    word.to_uppercase().replace('-', "_")
}

fn names(vocabulary: &Vocabulary) -> BTreeSet<String> {
    vocabulary.words.iter().map(|word| word.name.to_owned()).collect()
}

/// The texts between single quotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_header_has_the_numbers() {
    let header = file("include/mtasts.h");
    let entry = |line: &str| {
        let (name, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    let found: BTreeMap<String, i32> = header.lines().filter_map(entry).collect();
    let known = |v: &Vocabulary| -> Vec<(String, i32)> { v.words.iter().map(|w| (v.in_c(w), w.number)).collect() };
    let known: BTreeMap<String, i32> = VOCABULARIES.iter().flat_map(known).collect();
    assert_eq!(found, known);
}

#[test]
fn python_has_the_numbers() {
    let words = file("bindings/python/mtasts/words.py");
    for (class, name) in [
        ("Mode", "Mode"),
        ("Source", "Source"),
        ("Action", "Action"),
        ("Seen", "SeenKind"),
        ("ResultType", "ResultType"),
        ("PolicyType", "PolicyType"),
    ] {
        let from = words.find(&format!("class {class}(_Word):")).expect(class);
        let body = words[from..].split("\n\n\n").next().unwrap();
        let entry = |line: &str| {
            let (name, number) = line.trim().split_once(" = ")?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        let found: BTreeMap<String, i32> = body.lines().filter_map(entry).collect();
        let known = vocabulary(name);
        let known = known.words.iter().map(|word| (capitals(word.name), word.number));
        assert_eq!(found, known.collect(), "words.py: {class}");
    }
}

#[test]
fn python_has_an_exception_for_each_failure() {
    // A class of its own is for what a program of Python can meet: it has no header, no queue of a parent process, and
    // asyncio cancels by itself.
    let none = [Status::Ok, Status::Abi, Status::Forked, Status::Cancelled];
    let errors = file("bindings/python/mtasts/errors.py");
    let entry = |line: &str| {
        let (number, class) = line.trim().strip_suffix(',')?.split_once(": ")?;
        Some((number.parse().ok()?, class.to_owned()))
    };
    let found: BTreeMap<i32, String> = errors.lines().filter_map(entry).collect();
    let known: BTreeSet<i32> = Status::ALL
        .iter()
        .filter(|s| !none.contains(s))
        .map(|s| s.number())
        .collect();
    assert_eq!(found.keys().copied().collect::<BTreeSet<i32>>(), known, "errors.py");
    for (status, class) in [(Status::Unavailable, "Unavailable"), (Status::Defect, "Defect")] {
        assert_eq!(found[&status.number()], class, "errors.py");
        assert_eq!(class.to_lowercase(), status.name());
    }
}

#[test]
fn typescript_has_the_words() {
    let types = file("bindings/node/index.d.ts");
    for name in ["Mode", "Source", "Action", "ResultType", "NoHost", "Judge"] {
        let from = types.find(&format!("export type {name} =")).expect(name);
        let body = types[from..].split("\n\n").next().unwrap();
        assert_eq!(quoted(body), names(&vocabulary(name)), "index.d.ts: type {name}");
        // The constants beside the type, if there are any.
        let Some((_, rest)) = types.split_once(&format!("export const {name}: Readonly<{{")) else {
            continue;
        };
        let body = rest.split("}>").next().unwrap();
        let entry = |line: &str| {
            let (constant, word) = line.trim().split_once(": '")?;
            Some((constant.to_owned(), word.trim_end_matches('\'').to_owned()))
        };
        let found: BTreeMap<String, String> = body.split(['\n', ';']).filter_map(entry).collect();
        let known = vocabulary(name);
        let known = known.words.iter().map(|w| (capitals(w.name), w.name.to_owned()));
        assert_eq!(found, known.collect(), "index.d.ts: const {name}");
    }
    let kinds: BTreeSet<String> = types
        .split("{ kind: '")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('\'')?.0.to_owned()))
        .collect();
    assert_eq!(kinds, names(&vocabulary("SeenKind")), "index.d.ts: kinds of Seen");
    // Node has one word of its own for a resolver that was closed, and one for what napi itself refuses.
    for code in quoted(&types)
        .iter()
        .filter_map(|word| word.strip_prefix("ERR_MTASTS_"))
    {
        let known = Status::ALL.iter().any(|status| capitals(status.name()) == code);
        assert!(
            known || ["CLOSED", "NODE"].contains(&code),
            "index.d.ts: ERR_MTASTS_{code}"
        );
    }
}

/// The constants of the manual, between two comments.
fn manual() -> String {
    let mut text = String::new();
    for vocabulary in VOCABULARIES {
        let plain = |lines: &[&str]| lines.concat().trim().replace('`', "").replace(". ", ".\n");
        writeln!(
            text,
            ".Ss {}\n{}\n.Bl -tag -width Ds",
            title(vocabulary.name),
            plain(vocabulary.about)
        )
        .unwrap();
        for word in vocabulary.words {
            let Word { name, number, meaning } = word;
            let constant = vocabulary.in_c(word);
            writeln!(text, ".It Dv {constant} Pq {number}, {name}\n{}", plain(meaning)).unwrap();
        }
        writeln!(text, ".El").unwrap();
    }
    text
}

/// `ResultType` as a title: `Result type`.
fn title(name: &str) -> String {
    let mut title = String::new();
    for (at, letter) in name.char_indices() {
        match at > 0 && letter.is_uppercase() {
            true => title.extend([' ', letter.to_ascii_lowercase()]),
            false => title.push(letter),
        }
    }
    title
}

#[test]
fn the_manual_has_the_table() {
    let name = "docs/man/libmtasts.3";
    let (begin, end) = (
        ".\\\" The table of src/protocol/words.rs.\n",
        ".\\\" The end of the table.\n",
    );
    let page = file(name);
    let (before, rest) = page.split_once(begin).expect("the beginning of the table");
    let (_, after) = rest.split_once(end).expect("the end of the table");
    let current = format!("{before}{begin}{}{end}{after}", manual());
    if std::env::var_os("MTASTS_WRITE_WORDS").is_some() {
        std::fs::write(path(name), &current).unwrap();
    }
    assert!(
        file(name) == current,
        "{name}: MTASTS_WRITE_WORDS=1 cargo test --test words"
    );
}
