//! The library as C sees it, made from the sources as they are now, and C programs linked against it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use mtasts_kit::command::cargo;
use mtasts_kit::pki::command;

/// How a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Against `libmtasts.so`.
    Shared,
    /// Against `libmtasts.a`.
    Static,
    /// Against `libmtasts.a`, with AddressSanitizer and UndefinedBehaviorSanitizer.
    Sanitized,
}

/// The built library.
pub(crate) struct Library {
    /// `libmtasts.so`.
    pub(crate) shared: PathBuf,
    /// `libmtasts.a`.
    pub(crate) archive: PathBuf,
    /// What a program needs beside `libmtasts.a`, as linker arguments.
    pub(crate) beside: Vec<String>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The library as it is installed, but for its profile and for `mtasts_test_panic`.
pub(crate) fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| make_library("capi", &["mtasts_test"]))
}

/// The same as a later version of it: each extensible struct has one more field (src/capi/extensible.rs).
pub(crate) fn later_library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| make_library("capi-later", &["mtasts_test", "mtasts_grown"]))
}

/// Makes the library in the dev profile.
///
/// `cargo test` builds only the Rust library for sure, and another cargo may be at work in the same target directory:
/// so this asks for the two of C, and copies them.
fn make_library(name: &str, cfgs: &[&str]) -> Library {
    let output = cargo()
        .current_dir(root())
        .args(["rustc", "--quiet", "--lib", "--crate-type", "cdylib,staticlib"])
        .args(["--message-format=json", "--features", "capi,fleet"])
        .args(["--", "--print", "native-static-libs"])
        .args(cfgs.iter().flat_map(|cfg| ["--cfg", cfg]))
        .output()
        .unwrap();
    let messages: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let said: Vec<&str> = messages
        .iter()
        .filter_map(|message| message["message"]["rendered"].as_str())
        .collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", said.concat());
    let beside = said
        .iter()
        .find_map(|line| line.split_once("native-static-libs: "))
        .expect("the compiler says what to link")
        .1;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).unwrap();
    let copy = |name: &str| {
        let copied = directory.join(name);
        copy_whole(&artefact(&messages, name), &copied);
        copied
    };
    Library {
        shared: copy("libmtasts.so"),
        archive: copy("libmtasts.a"),
        beside: beside.split_whitespace().map(str::to_owned).collect(),
    }
}

/// The path of an artefact in cargo's messages.
fn artefact(messages: &[Value], name: &str) -> PathBuf {
    let files = messages
        .iter()
        .filter_map(|message| message["filenames"].as_array())
        .flatten();
    let mut paths = files.filter_map(|file| file.as_str().map(PathBuf::from));
    paths
        .find(|path| path.ends_with(name))
        .unwrap_or_else(|| panic!("cargo has made no {name}"))
}

/// Copies a file so that nobody ever sees half of it.
fn copy_whole(from: &Path, to: &Path) {
    let unfinished = to.with_extension(std::process::id().to_string());
    fs::copy(from, &unfinished).unwrap();
    fs::rename(&unfinished, to).unwrap();
}

/// A C or C++ compiler with the project's header and no mercy.
pub(crate) fn compiler(name: &str, standard: &str, directory: &Path) -> Command {
    let mut compiler = command(name, name, directory);
    compiler
        .args([&format!("-std={standard}"), "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .arg("-I")
        .arg(root().join("include"));
    compiler
}

/// Runs a compiler; what it complains about is the test's failure.
pub(crate) fn compile(mut compiler: Command) {
    let output = compiler.output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler:?}\n{complaints}");
}

/// Compiles `source`, below `tests/c` or absolute, into `directory`, and gives the program.
pub(crate) fn program(source: &str, link: Link, directory: &Path) -> PathBuf {
    program_with(library(), source, link, directory)
}

/// The same against another library. In one directory all programs have the same `libmtasts.so`.
pub(crate) fn program_with(library: &Library, source: &str, link: Link, directory: &Path) -> PathBuf {
    let source = root().join("tests/c").join(source);
    let name = format!("{}-{link:?}", source.file_stem().unwrap().to_str().unwrap());
    let program = directory.join(name.to_lowercase());
    // Of the two it is clang's AddressSanitizer whose allocator works in the child of a process with several threads, from
    // version 18 on: GCC 12's is left locked there, and the child hangs. Root's helper is such a child.
    let name = if link == Link::Sanitized { "clang-19" } else { "gcc" };
    let mut compiler = compiler(name, "c11", directory);
    compiler
        .args(["-D_GNU_SOURCE", "-O1", "-g", "-pthread", "-o"])
        .args([&program, &source]);
    match link {
        Link::Shared => {
            // It may be run by a user who cannot look into the target directory.
            let here = directory.join("libmtasts.so.1");
            if !here.exists() {
                copy_whole(&library.shared, &here);
            }
            compiler.arg(&here).arg("-Wl,-rpath,$ORIGIN");
        }
        Link::Static => {
            compiler.arg(&library.archive).args(&library.beside);
        }
        Link::Sanitized => {
            compiler
                .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
                .arg(&library.archive)
                .args(&library.beside);
        }
    }
    compile(compiler);
    program
}
