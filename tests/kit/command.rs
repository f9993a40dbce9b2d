//! The command `mtasts`, as cargo makes it beside the running test. It is a program of its own, so a test of the library
//! has it made first.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Where the command is, with the test Internet in it.
pub(crate) fn mtasts() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        let here = std::env::current_exe().unwrap();
        let folder = here.parent().and_then(|deps| deps.parent()).expect("target/debug/deps");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let made = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--package",
                "mtasts-cli",
                "--features",
                "lab",
                "--target-dir",
            ])
            .arg(folder.parent().unwrap())
            .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")))
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "cargo cannot build the command mtasts"
        );
        folder.join("mtasts").to_str().unwrap().to_owned()
    })
}
