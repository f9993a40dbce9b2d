//! How the shared library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // For whatever is linked here (it means nothing to a program): arguments for cdylibs alone would be passed on to the
    // cdylibs of those who depend on us, and a plugin that carries our soname stands in the library's place.
    // The number is MTASTS_ABI in src/capi/version.rs.
    println!("cargo:rustc-link-arg=-Wl,-soname,libmtasts.so.1");
    // Thread-local destructors make an unload unsound; Exim never unloads, others might.
    println!("cargo:rustc-link-arg=-Wl,-z,nodelete");
}
