//! A mail host with a real Exim, alone in its own mount, process and host-name namespaces (see `host.sh`).

use mtasts_kit::command::library;
use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The TLS library that Exim is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Debian's own build.
    Gnu,
    /// The same source with OpenSSL.
    Open,
}

/// What is in /etc/exim4.
#[derive(Clone, Debug)]
pub(crate) enum Config {
    /// Debian's split configuration for a host on the Internet, with the drop-ins of `examples/exim/conf.d`.
    Debian,
    /// `examples/exim/exim.conf`.
    Complete,
    /// This text as `exim4.conf`.
    Text(String),
}

/// The text of `examples/exim/exim.conf`, for tests that change it.
pub(crate) fn complete() -> String {
    fs::read_to_string(root().join("examples/exim/exim.conf")).unwrap()
}

/// `examples/exim/exim.conf` with some of its lines changed. Each `from` must be there.
pub(crate) fn edited(edits: &[(&str, &str)]) -> Config {
    Config::Text(edits.iter().fold(complete(), |text, (from, to)| {
        assert!(text.contains(from), "exim.conf no longer has {from:?}");
        text.replace(from, to)
    }))
}

/// The host's name, and the domain of its mail.
pub(crate) const NAME: &str = "sender.test";

const DEBIAN_SETTINGS: &str = "dc_eximconfig_configtype='internet'
dc_other_hostnames='sender.test'
dc_local_interfaces='127.0.0.1'
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='false'
dc_relay_nets=''
dc_smarthost=''
CFILEMODE='644'
dc_use_split_config='true'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
";

fn root() -> PathBuf {
    mtasts_kit::repository().to_path_buf()
}

/// A whole system of another distribution, in place of the private Exim: its /usr is laid over the machine's.
pub(crate) fn system() -> Option<PathBuf> {
    std::env::var_os("MTASTS_EXIM").map(PathBuf::from)
}

/// Whether that, or the machine, is Ubuntu 24.04.
pub(crate) fn is_noble() -> bool {
    let system = system().unwrap_or_else(|| "/".into());
    fs::read_to_string(system.join("etc/os-release")).is_ok_and(|text| text.contains("noble"))
}

/// Gets the private Exim, if it is not there yet: the folders to be laid over the machine's, the upper first.
pub(crate) fn fetch(tls: Tls) -> Vec<PathBuf> {
    if let Some(system) = system() {
        return vec![system];
    }
    let exim = root().join("target/exim");
    let mut fetch = Command::new(root().join("tests/exim/fetch.sh"));
    fetch.arg(&exim);
    let mut trees = vec![exim.join("gnutls")];
    if tls == Tls::Open {
        fetch.arg("openssl");
        trees.insert(0, exim.join("openssl"));
    }
    let status = fetch.status().unwrap_or_else(|error| panic!("{fetch:?}: {error}"));
    assert!(status.success(), "{fetch:?} failed");
    trees
}

/// Gets exim4-daemon-light, which has no `dlfunc`: the program.
pub(crate) fn fetch_light() -> PathBuf {
    if let Some(system) = system() {
        return system.join("usr/sbin/exim4-light");
    }
    let exim = root().join("target/exim");
    run(Command::new(root().join("tests/exim/fetch.sh")).arg(&exim).arg("light"));
    exim.join("light/usr/sbin/exim4")
}

/// Compiles `tests/exim/NAME.c` to a shared library.
pub(crate) fn compiled(name: &str, into: &Path) -> PathBuf {
    let library = into.join(format!("{name}.so"));
    let source = root().join("tests/exim").join(format!("{name}.c"));
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(source));
    library
}

/// The lab's addresses are none that a policy host may have on the real Internet, and some of its policy hosts are slow.
pub(crate) const SETTINGS: &str = "timeout = 6\nallow_addresses = [\"198.18.0.0/15\", \"2001:2::/48\"]\n";

/// A running host. Its files live as long as the lab's namespace, its processes as long as this value.
pub(crate) struct Host {
    base: PathBuf,
    keeper: Child,
    _stdin: ChildStdin,
    read: Cell<usize>,
}

impl Host {
    /// Starts a host with this Exim and configuration, libmtasts where `make install` puts it, and the lab's settings.
    /// `folder` is on a tmpfs.
    pub(crate) fn start(folder: &Path, tls: Tls, config: &Config) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let trees = fetch(tls);
        let base = folder.join(format!("host{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&base).unwrap();
        let mut keeper = Command::new("unshare")
            .args([
                "--mount",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
            ])
            .arg(root().join("tests/exim/host.sh"))
            .args([&base, Path::new(NAME)])
            .args(&trees)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line.trim(), "ready", "host.sh did not come up");
        let host = Self {
            base,
            _stdin: keeper.stdin.take().unwrap(),
            keeper,
            read: Cell::new(0),
        };
        host.install(library());
        fs::write(host.etc("mtasts/mtasts.toml"), SETTINGS).unwrap();
        host.configure(config);
        host
    }

    /// Puts a shared library where the dynamic loader finds `libmtasts.so.1`.
    pub(crate) fn install(&self, library: &Path) {
        let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        run(self
            .command("install")
            .args(["-m", "644"])
            .arg(library)
            .arg(format!("{folder}/libmtasts.so.1")));
    }

    /// Writes the configuration as an operator does.
    pub(crate) fn configure(&self, config: &Config) {
        let etc = self.base.join("exim4");
        let _ = fs::remove_file(etc.join("exim4.conf"));
        match config {
            Config::Debian => {
                fs::write(etc.join("update-exim4.conf.conf"), DEBIAN_SETTINGS).unwrap();
                run(Command::new("cp")
                    .arg("-r")
                    .arg(root().join("examples/exim/conf.d"))
                    .arg(&etc));
                run(&mut self.command("update-exim4.conf"));
            }
            Config::Complete => fs::write(etc.join("exim4.conf"), complete()).map(drop).unwrap(),
            Config::Text(text) => fs::write(etc.join("exim4.conf"), text).unwrap(),
        }
    }

    /// Sets macros of Debian's configuration, as an operator does.
    pub(crate) fn macros(&self, lines: &str) {
        let file = self.base.join("exim4/conf.d/main/000_localmacros");
        fs::write(file, lines).unwrap();
        run(&mut self.command("update-exim4.conf"));
    }

    /// Takes it away again.
    pub(crate) fn uninstall(&self) {
        run(self
            .command("sh")
            .args(["-c", "rm /usr/lib/*-linux-gnu/libmtasts.so.1"]));
    }

    /// A file of the host's /etc/exim4 or /etc/mtasts.
    pub(crate) fn etc(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// A file of the host's /var.
    pub(crate) fn var(&self, path: &str) -> PathBuf {
        self.base.join("var").join(path)
    }

    /// A program on this host, as root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        // The host's process 1 is the child of `unshare`, its only one.
        let parent = self.keeper.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        command.args(["--mount", "--uts", "--pid", "--target", children.trim(), "--", program]);
        command
    }

    /// A program on this host, as somebody with no rights at all.
    pub(crate) fn command_as_nobody(&self, environment: &[(&str, &str)], program: &str) -> Command {
        let mut command = self.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "env"]);
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(program);
        command
    }

    /// Sends one message to these recipients and waits until Exim has tried each of them once.
    pub(crate) fn send(&self, recipients: &[&str]) -> Outcome {
        self.submit("-odf", recipients);
        self.outcome()
    }

    /// Puts a message on the queue; nothing tries it before a queue run.
    pub(crate) fn queue(&self, recipients: &[&str]) {
        self.submit("-odq", recipients);
    }

    /// Sends one message to each of these recipients, all at a time, and waits until Exim has tried each once.
    pub(crate) fn send_each(&self, recipients: &[String]) -> Outcome {
        recipients.iter().for_each(|to| self.exim("-odb", &[to]));
        self.settle();
        self.outcome()
    }

    fn submit(&self, how: &str, recipients: &[&str]) {
        self.exim(how, recipients);
        self.settle();
    }

    /// Sends a message from this envelope sender, with another line in its header, and waits until Exim has tried it.
    pub(crate) fn send_from(&self, sender: &str, line: &str, recipient: &str) {
        self.exim_from(sender, line, "-odf", &[recipient]);
        self.settle();
    }

    fn exim(&self, how: &str, recipients: &[&str]) {
        self.exim_from("alice@sender.test", "", how, recipients);
    }

    fn exim_from(&self, sender: &str, line: &str, how: &str, recipients: &[&str]) {
        let mut exim = self.command("exim4");
        let mut child = exim
            .args([how, "-i", "-f", sender])
            .args(recipients)
            .stdin(Stdio::piped())
            .spawn()
            .expect("exim4");
        let message = format!("From: alice@sender.test\nSubject: hello\n{line}\nhello\n");
        child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "exim4 refused the message");
    }

    /// Waits for the processes that Exim has left in the background. (A daemon never ends: not to be used beside one.)
    pub(crate) fn settle(&self) {
        // Zombies do not count, because process 1 of the host reaps nobody. An Exim of Debian has the name exim4, and one
        // without its patches the name exim.
        let running = r"grep -qs '(exim4\?) [^Z]' /proc/[0-9]*/stat";
        let wait = format!("for n in $(seq 3000); do {running} || exit 0; sleep 0.02; done; exit 1");
        run(self.command("sh").args(["-c", &wait]));
    }

    /// Lets Exim forget what it knows of other hosts: retry times, waiting messages, TLS sessions.
    pub(crate) fn forget(&self) {
        for file in fs::read_dir(self.var("spool/exim4/db")).into_iter().flatten() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }

    /// Starts the daemon with SMTP at this address.
    pub(crate) fn daemon(&self, address: SocketAddr) {
        let (ip, port) = (address.ip(), address.port());
        run(self.command("exim4").args(["-bd", "-oX", &format!("<; [{ip}]:{port}")]));
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            assert!(
                Instant::now() < end,
                "no daemon at {address}: {}{}",
                self.log(),
                self.panic_log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// One queue run, waited for. `-qff`: also what is not due; `-qqff`: routes all messages before it delivers.
    pub(crate) fn run_queue(&self, how: &str) -> Outcome {
        run(self.command("exim4").arg(how));
        self.settle();
        self.outcome()
    }

    /// What Exim logged since the last outcome.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut log = self.log();
        let new = log.split_off(self.read.replace(log.len()));
        Outcome { log: new }
    }

    /// Exim's whole main log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.var("log/exim4/mainlog")).unwrap_or_default()
    }

    /// Exim's panic log.
    pub(crate) fn panic_log(&self) -> String {
        fs::read_to_string(self.var("log/exim4/paniclog")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // --kill-child: with `unshare` ends process 1 of the host, and with that all its processes.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Makes a script or library readable and executable for everybody.
pub(crate) fn public(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A piece of Exim's main log.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The lines.
    pub(crate) log: String,
}

impl Outcome {
    /// The line that tells what became of a recipient, and what that was.
    pub(crate) fn of(&self, recipient: &str) -> (Fate, &str) {
        let fates = [
            (" => ", Fate::Delivered),
            (" -> ", Fate::Delivered),
            (" == ", Fate::Deferred),
            (" ** ", Fate::Bounced),
        ];
        self.log
            .lines()
            .rev()
            .find_map(|line| {
                let (_, fate) = fates
                    .iter()
                    .find(|(mark, _)| line.contains(&format!("{mark}{recipient}")))?;
                Some((*fate, line))
            })
            .unwrap_or_else(|| panic!("nothing became of {recipient}:\n{}", self.log))
    }
}

/// What Exim did with a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A host took the message.
    Delivered,
    /// Exim will try again.
    Deferred,
    /// Exim gave up.
    Bounced,
}
