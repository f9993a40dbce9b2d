//! The committed header is what the sources say.

use std::path::Path;

/// Generates the header as cbindgen sees the sources, without Rust's own notes about safety: what a caller owes stands
/// in the text of each function.
fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/capi/mod.rs"))
        .generate()
        .unwrap();
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn header_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/mtasts.h");
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
