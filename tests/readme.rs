//! The README says what is so: its settings are read, its links lead somewhere, its commands exist.

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
fn targets_of_make_exist() {
    let rules = file("Makefile") + &file("tests/targets.mk");
    let readme = file("README.md");
    for line in blocks(&readme, "sh").concat().lines() {
        let Some(at) = line.find("make").filter(|at| line[..*at].trim() == "sudo" || *at == 0) else {
            continue;
        };
        let target = line[at..].split_whitespace().nth(1).unwrap_or("all");
        assert!(rules.contains(&format!("\n{target}:")), "{line}");
    }
}
