//! How the addon is linked.

fn main() {
    napi_build::setup();
    // Node unloads addons with the worker that loaded them; threads of the library may still be at their lookup.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Nobody debugs it where it is installed. (Were this in the profile, nothing could be shared with the library's builds.)
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-s");
    }
}
