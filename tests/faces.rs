//! One brain: a face translates and decides nothing (law 8 of ARCHITECTURE.md).
//!
//! What an action, a mode or an id means is asked of the library: `Action::delivers` and `defers`, `Answer::enforces`,
//! `applies` and `is_same_policy`, `Attempt`, `verdict_without_host`. Which mail domain cannot have a policy is a lookup's
//! to say. Each language has the same under its own names. A face that compares one of them by itself is red here.
//!
//! What describes a policy or an entry of the cache to an operator (`advice.rs`, `mtasts cache`) has no answer to ask, and
//! decides about no mail.

use std::fs;
use std::path::{Path, PathBuf};

/// The files of a face or whole directories of them, the end of their names, and what may not stand in a line. `*` stands
/// for any text within the line.
struct Face {
    places: &'static [&'static str],
    suffix: &'static str,
    forbidden: &'static [&'static str],
}

/// A new face is added here.
const FACES: &[Face] = &[
    Face {
        places: &[
            "src/capi/exim.rs",
            "src/capi/exim_session.rs",
            "programs/survey/src/judge.rs",
            "programs/survey/src/smtp.rs",
            "programs/survey/src/survey.rs",
            "programs/cli/src/check",
            "programs/cli/src/check.rs",
            "tests/kit/toy.rs",
        ],
        suffix: ".rs",
        forbidden: &[
            "== *Action::",
            "!= *Action::",
            "matches!(*Action::",
            "contains(*Action::",
            " Action::* =>",
            "(Action::* =>",
            "== *Mode::",
            "!= *Mode::",
            "matches!(*Mode::",
            " Mode::* =>",
            "(Mode::* =>",
            ".id == ",
            ".id != ",
            ".fetched",
            "NameError",
            "Domain::parse(domain)",
        ],
    },
    Face {
        places: &["examples/c"],
        suffix: ".c",
        forbidden: &[
            "MTASTS_ACTION_",
            "MTASTS_MODE_",
            "mtasts_answer_fetched",
            "strcmp(*mtasts_answer_id",
            "MTASTS_E_NAME",
            "MTASTS_E_ADDRESS",
        ],
    },
    Face {
        places: &["examples/exim"],
        suffix: "",
        forbidden: &["extract{mode}", "extract{id}", "{deliver", "{skip-host}", "{defer}"],
    },
    Face {
        places: &["bindings/node/src"],
        suffix: ".rs",
        forbidden: &[
            ".id == ",
            ".id != ",
            "== Action::",
            "!= Action::",
            "== Mode::",
            "!= Mode::",
            "matches!(*Action::",
            "matches!(*Mode::",
        ],
    },
    Face {
        places: &[
            "bindings/node/index.js",
            "bindings/node/lib",
            "bindings/haraka/index.js",
            "bindings/haraka/lib",
        ],
        suffix: ".js",
        forbidden: &[
            "action === ",
            "action !== ",
            "mode === ",
            "mode !== ",
            ".id === ",
            ".id !== ",
            "[mode, id",
            ".fetched",
            "ERR_MTASTS_NAME",
            "ERR_MTASTS_ADDRESS",
        ],
    },
    Face {
        places: &["bindings/python/mtasts", "bindings/python/examples"],
        suffix: ".py",
        forbidden: &[
            "self.mode,",
            "self.id,",
            "answer.id ==",
            "other.id",
            "answer.enforces",
            "answer is None",
            "answer is not None",
            "except *InvalidName",
            "except *IsAddress",
            "is Action.",
            "is not Action.",
            "== Action.",
            "in (Action.",
            "is Mode.",
            "is not Mode.",
            "== Mode.",
            "in (Mode.",
            ".fetched",
        ],
    },
];

/// Whether the pattern stands somewhere in the line.
fn stands_in(pattern: &str, line: &str) -> bool {
    let mut rest = line;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn files(place: &Path, suffix: &str) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let inside = fs::read_dir(place).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
    let inside: Vec<PathBuf> = inside.map(|entry| entry.unwrap().path()).collect();
    let (directories, files): (Vec<_>, Vec<_>) = inside.into_iter().partition(|path| path.is_dir());
    let wanted = files
        .into_iter()
        .filter(|file| file.to_string_lossy().ends_with(suffix));
    wanted
        .chain(directories.iter().flat_map(|inner| self::files(inner, suffix)))
        .collect()
}

/// The lines of a text that decide.
fn deciding<'a>(face: &Face, text: &'a str) -> Vec<(usize, &'a str)> {
    let decides = |line: &str| {
        face.forbidden
            .iter()
            .any(|pattern| stands_in(pattern, &format!(" {line}")))
    };
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let code = lines.filter(|(_, line)| !["//", "/*", "* "].iter().any(|comment| line.starts_with(comment)));
    code.filter(|(_, line)| decides(line)).collect()
}

#[test]
fn no_face_compares_an_action_a_mode_or_an_id() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for face in FACES {
        for place in face.places {
            let files = files(&root.join(place), face.suffix);
            assert!(!files.is_empty(), "{place}: no file {}", face.suffix);
            for file in files {
                let text = fs::read_to_string(&file).unwrap();
                let lines = deciding(face, &text);
                found.extend(
                    lines
                        .iter()
                        .map(|(at, line)| format!("{}:{at}: {line}", file.display())),
                );
            }
        }
    }
    assert!(found.is_empty(), "ask the library instead:\n{}", found.join("\n"));
}

#[test]
fn what_faces_did_before_is_found() {
    for line in [
        "if answer.mode() != Mode::Enforce {",
        "verdict(&answer, &host, &Seen::Name).action != Action::SkipHost",
        "if hosts.iter().any(|host| host.action == Some(Action::Defer)) {",
        "Action::SkipHost | Action::Defer => Some(by_name),",
        "(Some(Action::Deliver), Some(_)) => (Mark::Good, \"\"),",
        "Mode::Enforce => {",
        "let policy = |answer: &Answer| answer.held().map(|held| (held.id, held.fetched));",
        "let Ok(domain) = Domain::parse(domain) else {",
    ] {
        assert_eq!(deciding(&FACES[0], &format!("    {line}")).len(), 1, "{line}");
    }
    let before = "condition = ${if inlist{${extract{mode}{$address_data}}}{none:testing}{no}{yes}}";
    assert_eq!(deciding(&FACES[2], before).len(), 1, "{before}");
    for line in [
        "return mtasts_answer_mode(answer) != MTASTS_MODE_ENFORCE;",
        "return decision.action == MTASTS_ACTION_DELIVER || decision.action == MTASTS_ACTION_DELIVER_AND_REPORT;",
        "if (status == MTASTS_E_NAME || status == MTASTS_E_ADDRESS) {",
    ] {
        assert_eq!(deciding(&FACES[1], line).len(), 1, "{line}");
    }
    for line in [
        "if (verdict.action === 'skip-host') continue",
        "return this.answer?.mode === 'enforce'",
        "const can_have_none = err.code === 'ERR_MTASTS_NAME' || err.code === 'ERR_MTASTS_ADDRESS'",
    ] {
        assert_eq!(deciding(&FACES[4], line).len(), 1, "{line}");
    }
    for line in [
        "if verdict.action is Action.DEFER:",
        "refused = verdict.action in (Action.SKIP_HOST, Action.DEFER)",
        "return (self.mode, self.id, self.mx) == (other.mode, other.id, other.mx)",
        "if (answer is None or not answer.enforces) and await _has_no_address(door, domain):",
        "except InvalidName:",
    ] {
        assert_eq!(deciding(&FACES[5], line).len(), 1, "{line}");
    }
}
