//! The pages say what is so: settings are read, links lead somewhere, commands run as they are written, output is real, and
//! files that are named exist. tests/exim/readme.rs has the way from `make install` to the first mail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use mtasts::Settings;
use mtasts_kit::command::mtasts;
use mtasts_kit::{Internet, on_the_internet};

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    text.split(&open as &str)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// What is between backticks on a line.
fn spans(text: &str) -> Vec<&str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

fn exists(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

/// All pages, by their paths: those at the root, those of docs/, and those of the bindings.
fn pages() -> Vec<String> {
    let mut found = Vec::new();
    for folder in [
        ".",
        "docs",
        ".github",
        ".github/ISSUE_TEMPLATE",
        "bindings/haraka",
        "bindings/node",
        "bindings/python",
    ] {
        for entry in Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

#[test]
fn the_settings_are_read_and_none_is_missing() {
    let page = file("docs/settings.md");
    let [block] = blocks(&page, "toml")[..] else {
        panic!("one block of settings")
    };
    // The file of exceptions need not exist on the machine of the test.
    let exceptions = std::env::temp_dir().join(format!("mtasts-readme-{}", std::process::id()));
    std::fs::write(&exceptions, "example.com 2099-12-31 they are moving\n").unwrap();
    let block = block.replace("/etc/mtasts/exceptions", exceptions.to_str().unwrap());
    let read = Settings::default().read(&block);
    std::fs::remove_file(&exceptions).unwrap();
    read.unwrap();
    let manual = file("docs/man/mtasts.toml.5");
    for key in manual.lines().filter_map(|line| line.strip_prefix(".It Ic ")) {
        let key = key.split_whitespace().next().unwrap();
        assert!(
            block.contains(&format!("\n{key} = ")),
            "{key} is not in docs/settings.md"
        );
    }
}

#[test]
fn links_lead_somewhere() {
    for name in pages() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        for target in file(&name)
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap().to_owned())
        {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let there: PathBuf = if path.is_empty() {
                page.clone()
            } else {
                page.with_file_name(path)
            };
            assert!(target.starts_with("https://") || there.exists(), "{name}: {target}");
            if !anchor.is_empty() && there.extension().is_some_and(|end| end == "md") {
                let text = std::fs::read_to_string(&there).unwrap();
                assert!(headings(&text).any(|heading| heading == anchor), "{name}: {target}");
            }
        }
    }
}

/// What a newcomer asks, in one line each. The links are looked at above.
#[test]
fn every_question_has_an_answer() {
    let page = file("docs/questions.md");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| ") && *line != "| | |")
        .collect();
    assert_eq!(rows.len(), 20);
    for row in rows {
        let (question, answer) = row[2..].split_once(" | ").unwrap();
        assert!(answer.contains("]("), "no link: {question}");
    }
}

/// The anchors of a page, as GitHub makes them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    lines.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The front page is for an operator, who reads no more than this.
#[test]
fn the_readme_is_short() {
    let lines = file("README.md").lines().count();
    assert!(lines < 150, "{lines} lines");
}

/// A sample of output is what the command prints. The addresses of the test Internet may change.
#[test]
fn output_is_real() {
    on_the_internet("readme", |_: &Internet| {
        let mut compared = 0;
        for name in pages() {
            let page = file(&name);
            for block in blocks(&page, "console") {
                let (command, shown) = block.split_once('\n').unwrap();
                let arguments = command
                    .strip_prefix("$ mtasts ")
                    .unwrap_or_else(|| panic!("{name}: {command}"));
                let output = Command::new(mtasts()).args(arguments.split(' ')).output().unwrap();
                let printed = String::from_utf8(output.stdout).unwrap();
                assert!(
                    without_numbers(&printed).contains(&without_numbers(shown)),
                    "{name}: {command}\n{printed}"
                );
                compared += 1;
            }
        }
        assert!(compared > 0);
    });
}

fn without_numbers(text: &str) -> String {
    text.replace(|c: char| c.is_ascii_digit(), "9")
        .replace("99", "9")
        .replace("99", "9")
}

/// Each command `mtasts ...` of a page runs. What a page calls example.com is a domain of the test Internet here.
#[test]
fn commands_of_ours_run() {
    on_the_internet("pages", |host: &Internet| {
        host.lookup("good.test");
        let folder = host.cache.parent().unwrap();
        let bin = folder.join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(mtasts(), bin.join("mtasts")).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut ran = 0;
        for name in pages() {
            let page = file(&name);
            let lines = blocks(&page, "sh").into_iter().flat_map(str::lines);
            for line in lines.map(|line| line.trim_start_matches("sudo ")) {
                // What changes the machine, or needs its Exim: tests/cache/setup.rs and tests/exim/readme.rs have it.
                let elsewhere = ["mtasts cache setup", "mtasts exim "];
                if !line.starts_with("mtasts ") || elsewhere.iter().any(|command| line.starts_with(command)) {
                    continue;
                }
                let command = line.replace("example.com", "good.test");
                let done = Command::new("sh")
                    .args(["-ec", &command])
                    .current_dir(folder)
                    .env("PATH", &path)
                    .output()
                    .unwrap();
                assert!(done.status.success(), "{name}: {line}\n{done:?}");
                ran += 1;
            }
        }
        assert!(ran >= 5, "{ran}");
    });
}

#[test]
fn commands_exist() {
    for page in pages() {
        let text = file(&page);
        // The page of a binding means its own Makefile.
        let own = Path::new(&page).with_file_name("Makefile");
        let own = if own.starts_with("./bindings") || own.starts_with("bindings") {
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(own)).unwrap_or_default()
        } else {
            String::new()
        };
        let commands = [blocks(&text, "sh"), spans(&text)].concat();
        for line in commands.iter().flat_map(|command| command.lines()) {
            let words = line.split(" #").next().unwrap().split_whitespace();
            let words: Vec<&str> = words.skip_while(|word| *word == "sudo").collect();
            assert!(words.windows(2).all(is_there), "{page}: {line}");
            if let ["make", rest @ ..] = &words[..] {
                let rest: Vec<&str> = rest.iter().copied().filter(|word| !word.contains('=')).collect();
                let (rules, target) = match &rest[..] {
                    ["-C", place, target, ..] => (file(&format!("{place}/Makefile")), *target),
                    _ => (
                        own.clone() + &file("Makefile") + &file("tests/targets.mk"),
                        *rest.first().unwrap_or(&"all"),
                    ),
                };
                assert!(rules.contains(&format!("\n{target}:")), "{page}: {line}");
            }
        }
    }
}

/// Blocks that `make pages` leaves out: what the page is about is not published yet, or is no installation.
const NOT_ON_A_FRESH_SYSTEM: &[&str] = &[
    "bindings/haraka/README.md Install",
    "bindings/node/README.md Install",
    "bindings/python/README.md mtasts for Python",
    "bindings/python/README.md The command",
    "bindings/python/README.md Building",
    "CONTRIBUTING.md Add an MTA",
];

/// tests/run/pages.sh, or servers.sh or host.sh beside it, runs each block of commands as it is written.
#[test]
fn commands_run_on_a_fresh_system() {
    let scripts = ["pages.sh", "servers.sh", "host.sh"].map(|name| file(&format!("tests/run/{name}")));
    let scripts = scripts.concat();
    let mut left_out = BTreeSet::from_iter(NOT_ON_A_FRESH_SYSTEM.iter().map(|block| (*block).to_owned()));
    let mut count = 0;
    // A link to its neighbour README.md.
    for page in pages().iter().filter(|page| !page.ends_with("PYTHON.md")) {
        let page = page.trim_start_matches("./");
        let (mut heading, mut number, mut inside) = (String::new(), 0, false);
        for line in file(page).lines() {
            match line.split_once("# ") {
                Some((level, title)) if !inside && level.chars().all(|c| c == '#') => {
                    (heading, number) = (title.to_owned(), 0);
                }
                _ if line.starts_with("```") => {
                    inside = !inside;
                    if inside && line == "```sh" {
                        number += 1;
                        count += 1;
                        let name = format!("{page} {heading}");
                        if NOT_ON_A_FRESH_SYSTEM.contains(&&*name) {
                            left_out.remove(&name);
                            continue;
                        }
                        let quoted = match heading.contains(' ') {
                            true => format!("'{heading}'"),
                            false => heading.clone(),
                        };
                        let call = match number {
                            1 => format!("$(block {page} {quoted}"),
                            _ => format!("$(block {page} {quoted} {number})"),
                        };
                        assert!(
                            scripts.contains(&call),
                            "no {call} in tests/run/pages.sh, servers.sh or host.sh"
                        );
                    }
                }
                _ => {}
            }
        }
    }
    assert!(count > 15, "{count}");
    assert!(left_out.is_empty(), "no such block: {left_out:?}");
}

/// What an option of cargo names.
fn is_there(pair: &[&str]) -> bool {
    match pair {
        ["--test", "NAME"] => true,
        ["--test", name] => exists(&format!("tests/{name}.rs")) || exists(&format!("tests/{name}/main.rs")),
        ["--package", name] => file("Cargo.lock").contains(&format!("\nname = \"{name}\"\n")),
        _ => true,
    }
}

#[test]
fn files_of_contributing_exist() {
    let contributing = file("CONTRIBUTING.md");
    let paths = spans(&contributing).into_iter().filter(|span| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        span.contains('/') && span.chars().all(plain) && !span.starts_with("target/")
    });
    // NAME is what the reader adds.
    let missing: Vec<_> = paths
        .filter(|path| !exists(path.split("NAME").next().unwrap()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The repository is in one place, and every manifest says the same: each registry shows it.
#[test]
fn every_manifest_names_the_repository() {
    let cargo = file("Cargo.toml");
    let value = |key: &str| {
        let line = cargo.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.unwrap_or_else(|| panic!("{key}")).trim_end_matches('"').to_owned()
    };
    let (url, version) = (value("repository"), value("version"));
    assert!(url.starts_with("https://") && !url.ends_with('/'), "{url}");
    let platforms = ["linux-x64-gnu", "linux-arm64-gnu", "linux-x64-musl", "linux-arm64-musl"];
    let platforms = platforms.map(|platform| format!("bindings/node/npm/{platform}"));
    for folder in ["bindings/node", "bindings/haraka"]
        .map(str::to_owned)
        .iter()
        .chain(&platforms)
    {
        let package: serde_json::Value = serde_json::from_str(&file(&format!("{folder}/package.json"))).unwrap();
        assert_eq!(package["version"], *version, "{folder}");
        assert_eq!(package["homepage"], *url, "{folder}");
        assert_eq!(package["repository"]["url"], format!("git+{url}.git"), "{folder}");
        assert_eq!(package["repository"]["directory"], *folder);
        assert_eq!(package["bugs"]["url"], format!("{url}/issues"), "{folder}");
    }
    let python = file("bindings/python/pyproject.toml");
    for line in [
        format!("Homepage = \"{url}\""),
        format!("Repository = \"{url}\""),
        format!("Issues = \"{url}/issues\""),
    ] {
        assert!(python.contains(&format!("\n{line}\n")), "{line}");
    }
    // A registry shows the page of a package without the repository around it.
    for package in ["bindings/node", "bindings/haraka", "bindings/python"] {
        assert!(!file(&format!("{package}/README.md")).contains("](.."), "{package}");
    }
    for page in ["SECURITY.md", ".github/ISSUE_TEMPLATE/config.yml"] {
        assert!(file(page).contains(&format!("{url}/security/advisories/new")), "{page}");
    }
}
