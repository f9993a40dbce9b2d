//! A thread on an Internet of its own: private network, private `/etc`, and nothing of the host is changed.

use super::certificate::ROOT_HASH;
use super::world::DNS_ADDRESS;
use crate::namespace;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the overlay over `/etc` is called in the table of mounts.
const OVERLAY: &str = "mtasts-lab";

/// All these addresses are this host's (RFC 2544, RFC 5180), some have no route, and those where a policy host is only
/// said to be (private networks, NAT64) are served as well: whoever goes there is seen. The two addresses on the
/// interface are for getaddrinfo(3): under AI_ADDRCONFIG it asks nothing for a family that has only the loopback address.
const ADDRESSES: &str = "\
link set lo up
addr add 198.18.0.1/32 dev lo
addr add 2001:2::1/128 dev lo
route add local 198.18.0.0/15 dev lo
route add unreachable 198.19.255.0/24 table local
route add local 2001:2::/48 dev lo
route add unreachable 2001:2:0:dead::/64 table local
route add local 10.0.0.1/32 dev lo
route add local 169.254.169.254/32 dev lo
route add local 64:ff9b::a00:1/128 dev lo
";

/// The user without a name, and his group.
const NOBODY: u32 = 65_534;

/// Listeners for all hosts, and some hundred connections.
const DESCRIPTORS: libc::rlim_t = 8192;

/// Puts the calling thread, and all threads and processes it will start, on a network of their own with a private `/etc`:
///
/// * `resolv.conf` names the lab's DNS, `nsswitch.conf` asks no other;
/// * `ssl/certs` is empty until [`super::Lab::start`] puts the lab's root CA there;
/// * `mtasts/mtasts.toml` allows the lab's addresses and puts the cache into `DIRECTORY/cache`, which is made and belongs to nobody.
///
/// Threads that exist already stay where they are. `directory` is made if absent.
///
/// # Errors
/// The process is not root, the `ip` command (package iproute2) is missing, or the kernel lacks namespaces, overlayfs or IPv6.
pub fn isolate(directory: &Path) -> io::Result<()> {
    if !namespace::is_root() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "needs root: network namespaces",
        ));
    }
    let cache = directory.join("cache");
    fs::create_dir_all(&cache)?;
    // Root's helper becomes the owner of the cache, who cannot be root.
    chown(&cache, Some(NOBODY), Some(NOBODY))?;
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o2770))?;
    let directory = directory.canonicalize()?;
    namespace::allow_descriptors(DESCRIPTORS)?;
    namespace::separate().map_err(|error| explain(error, "cannot make a network namespace"))?;
    addresses()?;
    // IPv4 binds to any address that is routed here, IPv6 only with this; it belongs to the namespace.
    fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").map_err(|error| explain(error, "needs IPv6"))?;
    private_etc(&directory).map_err(|error| explain(error, "cannot make a private /etc"))
}

fn explain(error: io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn addresses() -> io::Result<()> {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| explain(error, "needs the command ip (package iproute2)"))?;
    if let Some(mut input) = ip.stdin.take() {
        input.write_all(ADDRESSES.as_bytes())?;
    }
    let output = ip.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "ip: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// An overlay over `/etc` whose changes live in memory.
fn private_etc(directory: &Path) -> io::Result<()> {
    let memory = directory.join("etc");
    fs::create_dir_all(&memory)?;
    namespace::mount(Some(OVERLAY), &memory, Some("tmpfs"), 0, "mode=0755")?;
    let (upper, work) = (memory.join("upper"), memory.join("work"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    let layers = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    namespace::mount(Some(OVERLAY), Path::new("/etc"), Some("overlay"), 0, &layers)?;
    // The overlay holds on to it; unseen, the directory can be removed.
    namespace::detach(&memory)?;
    fs::remove_dir(&memory)?;

    let resolver = format!("nameserver {DNS_ADDRESS}\noptions trust-ad timeout:2 attempts:1\n");
    replace(Path::new("/etc/resolv.conf"), &resolver)?;
    // `resolve` and its like would leave the namespace through a unix socket.
    let switch = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let mut lines: Vec<_> = switch
        .lines()
        .filter(|line| !line.trim_start().starts_with("hosts:"))
        .collect();
    lines.push("hosts: files dns\n");
    replace(Path::new("/etc/nsswitch.conf"), &lines.join("\n"))?;

    let certificates = Path::new("/etc/ssl/certs");
    fs::create_dir_all(certificates)?;
    namespace::mount(Some(OVERLAY), certificates, Some("tmpfs"), 0, "mode=0755")?;

    let settings = Path::new("/etc/mtasts");
    fs::create_dir_all(settings)?;
    let cache = directory.join("cache");
    let cache = toml_string(&cache.to_string_lossy());
    let text = format!("cache_dir = {cache}\nallow_addresses = [\"198.18.0.0/15\", \"2001:2::/48\"]\n");
    replace(&settings.join("mtasts.toml"), &text)
}

/// Writes a new file in the place of what is there. Never through a symbolic link: it could lead out of the overlay.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::write(path, text),
    }
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// If `/etc` is private, makes this the only certificate there that is trusted.
pub(super) fn trust(pem: &str) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let ours = |line: &str| line.split(' ').nth(4) == Some("/etc") && line.contains(&format!(" overlay {OVERLAY} "));
    if !mounts.lines().any(ours) {
        return Ok(());
    }
    let certificates = Path::new("/etc/ssl/certs");
    replace(&certificates.join("ca-certificates.crt"), pem)?;
    // For those who look CAs up by the hash of their name.
    replace(&certificates.join(ROOT_HASH), pem)
}
