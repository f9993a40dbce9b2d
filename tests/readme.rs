//! The pages say what is so: the README's settings are read, links lead somewhere, the commands of the README and of
//! CONTRIBUTING.md exist, and so do the files that it names.

use std::path::Path;

use mtasts::Settings;

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

#[test]
fn the_settings_are_read_and_none_is_missing() {
    let readme = file("README.md");
    let [block] = blocks(&readme, "toml")[..] else {
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
        assert!(block.contains(&format!("\n{key} = ")), "{key} is not in the README");
    }
}

#[test]
fn links_lead_somewhere() {
    let docs = ["cache", "decisions", "fork", "glossary", "log", "root"].map(|name| format!("docs/{name}.md"));
    let pages = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(str::to_owned);
    for name in pages.into_iter().chain(docs) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        for target in file(&name)
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap().to_owned())
        {
            let there = target.starts_with("https://") || page.with_file_name(&target).exists();
            assert!(there, "{name}: {target}");
        }
    }
}

#[test]
fn commands_exist() {
    for page in ["README.md", "CONTRIBUTING.md"] {
        let text = file(page);
        let commands = [blocks(&text, "sh"), spans(&text)].concat();
        for line in commands.iter().flat_map(|command| command.lines()) {
            let words = line.split(" #").next().unwrap().split_whitespace();
            let words: Vec<&str> = words.skip_while(|word| *word == "sudo").collect();
            assert!(words.windows(2).all(is_there), "{page}: {line}");
            if let ["make", rest @ ..] = &words[..] {
                let (rules, target) = match rest {
                    ["-C", place, target, ..] => (file(&format!("{place}/Makefile")), *target),
                    _ => (
                        file("Makefile") + &file("tests/targets.mk"),
                        *rest.first().unwrap_or(&"all"),
                    ),
                };
                assert!(rules.contains(&format!("\n{target}:")), "{page}: {line}");
            }
        }
    }
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
