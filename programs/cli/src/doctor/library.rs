//! The library that Exim and C programs would load: which file, and whether it has the command's version.

use std::fs;

use super::finding::{Code, Finding};
use super::program;

/// The command's, and with it the version that the library should have.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The directories of the loader itself, on Debian and elsewhere.
const OWN: [&str; 4] = [
    "/usr/lib/ARCH-linux-gnu",
    "/lib/ARCH-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
];
/// What its names begin with.
const NAME: &str = "libmtasts.so.";

pub(super) fn look(found: &mut Vec<Finding>) {
    let Some(list) = program::output("ldconfig", &["-p"]) else {
        found.push(Finding::new(
            Code::LibraryUnknown,
            "ldconfig -p does not say which library would be loaded",
        ));
        return;
    };
    // The loader looks into its own directories too, when its list does not have a name.
    let own = OWN.map(|directory| format!("{}/{NAME}1", directory.replace("ARCH", std::env::consts::ARCH)));
    let own = own.iter().map(String::as_str).find(|path| fs::metadata(path).is_ok());
    let Some(path) = loaded(&list).or(own) else {
        found.push(Finding::new(
            Code::LibraryMissing,
            format!(
                "the dynamic loader finds no {NAME}1. If Exim or a C program is to use it: run make install and ldconfig, or set \
                 the macro MTASTS_LIB"
            ),
        ));
        return;
    };
    let file = fs::canonicalize(path).ok();
    let name = file.as_deref().and_then(|file| file.file_name()?.to_str());
    found.push(judge(path, name.and_then(|name| name.strip_prefix(NAME))));
}

/// The file that the loader finds, in the list of `ldconfig -p`.
fn loaded(list: &str) -> Option<&str> {
    let line = list.lines().find(|line| line.trim_start().starts_with(NAME))?;
    Some(line.split_once(" => ")?.1.trim())
}

/// By the version in the name of the file to which the link leads.
fn judge(path: &str, version: Option<&str>) -> Finding {
    match version {
        Some(VERSION) => Finding::new(
            Code::Library,
            format!("{path} has the version {VERSION}, as this command"),
        ),
        Some(version) if version.contains('.') => Finding::new(
            Code::LibraryVersion,
            format!("{path} has the version {version}, and this command {VERSION}: install both of one version"),
        ),
        _ => Finding::new(
            Code::LibraryUnknown,
            format!("the name of {path} does not say its version, as make install names it"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_loader() {
        let list = "312 libs found in cache `/etc/ld.so.cache'\n\tlibm.so.6 (libc6,x86-64) => /lib/libm.so.6\n\
                    \tlibmtasts.so.1 (libc6,x86-64) => /usr/local/lib/libmtasts.so.1\n\
                    \tlibmtasts.so (libc6,x86-64) => /usr/local/lib/libmtasts.so\n";
        assert_eq!(loaded(list), Some("/usr/local/lib/libmtasts.so.1"));
        assert_eq!(loaded("0 libs found in cache\n"), None);
        for (version, code) in [
            (Some(VERSION), Code::Library),
            (Some("0.0.1"), Code::LibraryVersion),
            (Some("1"), Code::LibraryUnknown),
            (None, Code::LibraryUnknown),
        ] {
            assert_eq!(judge("/usr/lib/libmtasts.so.1", version).code, code, "{version:?}");
        }
    }
}
