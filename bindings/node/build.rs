//! How the addon is linked.

fn main() {
    napi_build::setup();
    // Node unloads addons with the worker that loaded them; threads of the library may still be at their lookup.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
