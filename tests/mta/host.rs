//! A mail host in namespaces of its own, with an MTA that is unpacked below target/. Its files live as long as the lab's
//! namespace, its processes as long as this value.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use mtasts_kit::dns_server::DnsServer;
use mtasts_kit::repository;

/// An MTA that is unpacked.
pub(crate) struct Unpacked {
    tree: PathBuf,
    /// The system to which it belongs, if it is not this machine's (`tests/mta/versions.sh`).
    system: Option<PathBuf>,
}

/// Gets the packages of an MTA, if they are not there yet: the tree to be laid over the machine's. From the test Internet
/// no package can be reached.
pub(crate) fn fetch(name: &str, packages: &[&str]) -> Unpacked {
    if let Some(system) = std::env::var_os("MTASTS_MTA") {
        let system = PathBuf::from(system);
        return Unpacked {
            tree: system.join("mta").join(name),
            system: Some(system),
        };
    }
    let folder = repository().join("target/mta");
    let mut fetch = Command::new(repository().join("tests/mta/fetch.sh"));
    let status = fetch.arg(&folder).arg(name).args(packages).status().unwrap();
    assert!(status.success(), "{fetch:?}");
    Unpacked {
        tree: folder.join(name),
        system: None,
    }
}

impl Unpacked {
    /// Whether its version is at least this one.
    pub(crate) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let version = fs::read_to_string(self.tree.join("complete")).unwrap();
        let mut numbers = version
            .split(['.', '-'])
            .map(|number| number.parse::<u32>().unwrap_or_default());
        (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
    }
}

/// A running host.
pub(crate) struct Host {
    keeper: Child,
    _stdin: ChildStdin,
    /// Where its files are that differ from the machine's.
    pub(crate) base: PathBuf,
}

impl Host {
    /// Starts a host by a script beside this file, which says "ready".
    pub(crate) fn start(script: &str, folder: &Path, mta: &Unpacked, configuration: &str) -> Self {
        Self::start_with(script, folder, mta, configuration, |_| ()).0
    }

    /// The same; `prepare` gets the folder of its files before the script.
    pub(crate) fn start_with<T>(
        script: &str,
        folder: &Path,
        mta: &Unpacked,
        configuration: &str,
        prepare: impl FnOnce(&Path) -> T,
    ) -> (Self, T) {
        let base = folder.join("host");
        fs::create_dir_all(&base).unwrap();
        let mount = ["-t", "tmpfs", "-o", "mode=755", "mtasts-mta"];
        let mounted = Command::new("mount").args(mount).arg(&base).status().unwrap();
        assert!(mounted.success());
        let file = base.join("configuration");
        fs::write(&file, configuration).unwrap();
        let prepared = prepare(&base);
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private"])
            .arg(repository().join("tests/mta").join(script))
            .args([&base, &mta.tree, &file])
            .args(&mta.system)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let stdout = keeper.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "{script} did not come up");
        let host = Self {
            _stdin: keeper.stdin.take().unwrap(),
            keeper,
            base,
        };
        (host, prepared)
    }

    /// A program on this host, as root.
    pub(crate) fn command(&self, program: &str) -> Command {
        // The host's process 1 is the child of `unshare`, its only one.
        let parent = self.keeper.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--uts", "--pid", "--target", children.trim(), "--", program]);
        command
    }

    /// From now on a name server of an attacker answers this host, and no other: mx.hub.test is the MX host of each domain.
    pub(crate) fn is_lied_to(&self) -> DnsServer {
        let liar = DnsServer::spoofs("127.0.0.99", "mx.hub.test");
        let file = self.base.join("resolv.conf");
        fs::write(&file, "nameserver 127.0.0.99\n").unwrap();
        let mut mount = self.command("mount");
        assert!(
            mount
                .arg("--bind")
                .arg(&file)
                .arg("/etc/resolv.conf")
                .status()
                .unwrap()
                .success()
        );
        // What smtp(8) of Debian reads in its chroot.
        let chroot = self.base.join("var/spool/postfix/etc/resolv.conf");
        if chroot.exists() {
            fs::copy(&file, chroot).unwrap();
        }
        liar
    }

    /// Hands a message for these recipients to the host's sendmail(1). Returns whether that says that all is well.
    pub(crate) fn submit(&self, options: &[&str], recipients: &[String]) -> bool {
        let mut sendmail = self.command("/usr/sbin/sendmail");
        let sendmail = sendmail
            .args(["-i", "-f", "alice@sender.test"])
            .args(options)
            .args(recipients);
        let mut child = sendmail.stdin(Stdio::piped()).spawn().unwrap();
        let message = b"From: alice@sender.test\nSubject: hello\n\nhello\n";
        child.stdin.take().unwrap().write_all(message).unwrap();
        child.wait().unwrap().success()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // --kill-child: with `unshare` ends process 1 of the host, and with that all its processes.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let _ = Command::new("umount").arg("--lazy").arg(&self.base).status();
    }
}
