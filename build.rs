//! How the shared library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The number is MTASTS_ABI in src/ffi/names.rs.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmtasts.so.0");
    // Thread-local destructors make an unload unsound; Exim never unloads, others might.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
