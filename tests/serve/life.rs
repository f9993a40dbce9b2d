//! How it starts, reloads and stops, and whom it is then.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use super::server::{ADDRESS, METRICS, Server, tcp};
use mtasts_kit::{USER, mtasts, on_the_internet, on_the_internet_with, process, signal, until};
use mtasts_lab::Change;

/// Root opens the sockets, and is the owner of the cache after that.
#[test]
fn root_becomes_the_owner_of_the_cache() {
    on_the_internet("serve-user", |internet| {
        let server = Server::start(internet);
        assert_eq!(process::uid(server.pid()), Some(USER));
        assert_eq!(process::status(server.pid(), "CapPrm").unwrap(), "0000000000000000");
        assert_eq!(process::status(server.pid(), "NoNewPrivs").unwrap(), "1");
        let mode = fs::metadata(&server.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666, "every user of the host may connect");
        assert!(server.ask("postfix", "good.test").starts_with("OK "));
        assert!(
            internet.entry("good.test").is_some(),
            "the cache is that of every MTA of the host"
        );
        assert!(server.log().contains("DANE is off"), "{}", server.log());

        // A second one leaves the first alone, and a socket that is left behind is replaced.
        let second = Command::new(mtasts())
            .args(["serve", "--listen"])
            .arg(&server.socket)
            .output()
            .unwrap();
        let why = String::from_utf8(second.stderr).unwrap();
        assert!(
            second.status.code() == Some(2) && why.contains("cannot listen at"),
            "{why}"
        );
        drop(server);
        let server = Server::start(internet);
        assert!(server.ask("postfix", "good.test").starts_with("OK "));
    });
}

/// `mtasts status` and `mtasts doctor` ask each server of this host, and say so if it is silent.
#[test]
fn status_and_doctor_ask_it() {
    on_the_internet("serve-status", |internet| {
        let ran = |command: &str| {
            let ran = Command::new(mtasts()).arg(command).output().unwrap();
            (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
        };
        let (code, line) = ran("status");
        assert!(code == Some(0) && !line.contains("mtasts serve"), "{line}");
        let has = |found: &str, code: &str, said: &str| found.contains(&format!("{code}: {said}"));
        let server = Server::start(internet);
        let answers = [ADDRESS, server.socket.to_str().unwrap()].map(|at| format!("mtasts serve at {at} answers"));
        let ((code, line), (_, found)) = (ran("status"), ran("doctor"));
        assert!(
            code == Some(0) && answers.iter().all(|said| line.contains(said)),
            "{line}"
        );
        assert!(answers.iter().all(|said| has(&found, "server", said)), "{found}");
        let mut client = server.client();
        client.0.write_all(b"7:version,").unwrap();
        assert_eq!(client.reply(), concat!("OK libmtasts ", env!("CARGO_PKG_VERSION")));
        signal(server.pid(), libc::SIGSTOP);
        let ((code, line), (_, found)) = (ran("status"), ran("doctor"));
        signal(server.pid(), libc::SIGCONT);
        let silent = format!("mtasts serve at {ADDRESS} does not answer");
        assert!(
            code == Some(2) && line.starts_with("MTA-STS CRITICAL: ") && line.contains(&silent),
            "{line}"
        );
        assert!(has(&found, "server-silent", &silent), "{found}");
    });
}

#[test]
fn wrong_usage() {
    on_the_internet("serve-usage", |internet| {
        for (arguments, why) in [
            (&["--listen", "0.0.0.0:8461"][..], "not on loopback"),
            (&["--listen", "socket"], "neither an absolute path nor"),
            (&["--metrics", "/run/metrics"], "must be an address and a port"),
            (&["--listen", "/none/socket"], "cannot listen at /none/socket"),
        ] {
            let ran = Command::new(mtasts()).arg("serve").args(arguments).output().unwrap();
            let said = String::from_utf8(ran.stderr).unwrap();
            assert!(ran.status.code() == Some(2) && said.contains(why), "{said}");
        }
        internet.own(0, 0);
        let ran = Command::new(mtasts()).arg("serve").output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(
            ran.status.code() == Some(2) && said.contains("belongs to root"),
            "{said}"
        );
    });
}

/// New settings apply at the next query; wrong ones change nothing. Connections stay.
#[test]
fn reloads() {
    on_the_internet("serve-reload", |internet| {
        let server = Server::start(internet);
        let mut client = server.client();
        assert!(client.ask("postfix", "good.test").starts_with("OK "));
        internet.set("timeout = \"never\"");
        signal(server.pid(), libc::SIGHUP);
        until("the warning", || {
            server.log().contains("The previous settings stay in force")
        });
        assert!(client.ask("postfix", "good.test").starts_with("OK "));
        let exceptions = internet.lab.directory().join("exceptions");
        fs::write(&exceptions, "good.test 2099-01-01 a test\n").unwrap();
        let file = "/etc/mtasts/mtasts.toml";
        let text = fs::read_to_string(file).unwrap().replace("timeout = \"never\"\n", "");
        fs::write(file, format!("{text}exceptions = \"{}\"\n", exceptions.display())).unwrap();
        signal(server.pid(), libc::SIGHUP);
        until("the reload", || server.log().contains("settings reloaded"));
        assert_eq!(client.ask("postfix", "good.test"), "NOTFOUND ");
    });
}

/// A query under way has its reply; nobody else is waited for.
#[test]
fn stops() {
    on_the_internet("serve-stop", |internet| {
        internet.lab.set("good.test", Change::txt("SILENT")).unwrap();
        internet.set("timeout = \"2s\"");
        let server = Server::start(internet);
        let (idle, mut asking) = (server.client(), server.client());
        asking.0.write_all(b"17:postfix good.test,").unwrap();
        until("the question", || internet.questions("good.test") > 0);
        let begun = Instant::now();
        let pid = server.pid();
        signal(pid, libc::SIGTERM);
        assert_eq!(asking.reply(), "NOTFOUND ");
        let log = server.stop();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert!(log.ends_with("stopped.\n"), "{log}");
        drop(idle);
    });
}

/// What cannot be written is kept in memory, and DNS that is gone takes no policy away; killed and started again, the server
/// has what is on disk.
#[test]
fn a_full_disk_no_dns_and_a_kill() {
    const DOMAINS: [&str; 8] = [
        "good.test",
        "wild.test",
        "wildcert.test",
        "twomx.test",
        "tls12.test",
        "v6.test",
        "mixed.test",
        "hub.test",
    ];
    let settings = [("timeout", "20s"), ("txt_life_min", "1s"), ("txt_life_max", "1s")];
    on_the_internet_with("serve-full", &settings, |internet| {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=16k,mode=2770,uid=65534,gid=65534", "full"]);
        assert!(mounted.arg(&internet.cache).status().unwrap().success());
        internet.own(USER, USER);
        let server = Server::start(internet);
        let replies = |server: &Server| DOMAINS.map(|domain| server.ask("postfix", domain));
        let before = replies(&server);
        assert!(
            before.iter().all(|reply| reply.starts_with("OK secure match=")),
            "{before:?}"
        );
        let on_disk = DOMAINS.map(|domain| internet.file(domain).exists());
        assert!(on_disk.contains(&true) && on_disk.contains(&false), "{on_disk:?}");
        assert!(server.log().contains("mtasts[cache-not-written]"), "{}", server.log());
        for domain in DOMAINS {
            let hosts = Some(vec!["SERVFAIL".to_owned()]);
            internet
                .lab
                .set(
                    domain,
                    Change {
                        hosts,
                        ..Change::txt("SERVFAIL")
                    },
                )
                .unwrap();
        }
        std::thread::sleep(Duration::from_millis(1500));
        let gone = replies(&server);
        assert!(
            gone.iter().all(|reply| reply.starts_with("TEMP the MX hosts of ")),
            "{gone:?}"
        );
        signal(server.pid(), libc::SIGKILL);
        drop(server);
        let server = Server::start(internet);
        for (reply, known) in replies(&server).iter().zip(on_disk) {
            assert!(!known || reply.starts_with("TEMP the MX hosts of "), "{reply}");
        }
        let _ = Command::new("umount").arg("--lazy").arg(&internet.cache).status();
    });
}

#[test]
fn lines_as_json() {
    on_the_internet("serve-json", |internet| {
        let server = Server::run(internet, Command::new(mtasts()).args(["serve", "--log", "json"]));
        let log = server.stop();
        let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert_eq!(
            (&lines[0]["level"], &lines[1]["message"]),
            (&"info".into(), &"stopped.".into())
        );
        assert!(lines[0]["time"].is_u64(), "{log}");
    });
}

/// Sockets of the service manager, and what it is told: ready, alive, reloading, stopping.
#[test]
fn under_a_service_manager() {
    on_the_internet("serve-systemd", |internet| {
        let path = internet.lab.directory().join("notify");
        let notified = UnixDatagram::bind(&path).unwrap();
        notified.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let next = || {
            let mut text = [0; 200];
            let length = notified.recv(&mut text).expect("a message");
            String::from_utf8(text[..length].to_vec()).unwrap()
        };
        let mut command = Command::new("systemd-socket-activate");
        command.args([
            "--listen",
            ADDRESS,
            "--listen",
            METRICS.replace("9461", "9462").as_str(),
        ]);
        command.arg(format!("--setenv=NOTIFY_SOCKET={}", path.display()));
        command.args(["--setenv=WATCHDOG_USEC=600000", mtasts(), "serve"]);
        // It starts the server when the first client comes.
        command.args(["--log", "json"]);
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        until("the socket", || std::net::TcpStream::connect(ADDRESS).is_ok());
        assert_eq!(next(), "READY=1\n");
        assert!(tcp().ask("postfix", "good.test").starts_with("OK "));
        assert_eq!(next(), "WATCHDOG=1\n");
        let pid = i32::try_from(child.id()).unwrap();
        signal(pid, libc::SIGHUP);
        let told: Vec<String> = std::iter::repeat_with(next)
            .filter(|text| text != "WATCHDOG=1\n")
            .take(2)
            .collect();
        assert!(told[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told:?}");
        assert_eq!(told[1], "READY=1\n");
        signal(pid, libc::SIGTERM);
        let told = std::iter::repeat_with(next).find(|text| text != "WATCHDOG=1\n");
        assert_eq!(told.as_deref(), Some("STOPPING=1\n"));
        assert!(child.wait().unwrap().success());
    });
}
