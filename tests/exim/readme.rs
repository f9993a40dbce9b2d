//! The README on Debian: its commands as written, from `make install` to the first mail, on a host without any of it.

use super::host::{self, Fate, Tls};
use super::{Config, World};
use std::fs;
use std::process::Command;

/// Where no systemd runs, this is not either.
const NOT_HERE: &str = "systemctl ";

/// The commands of a chapter of the README, without `sudo`.
fn commands(chapter: &str) -> Vec<String> {
    let readme = fs::read_to_string(mtasts_kit::repository().join("README.md")).unwrap();
    let text = readme
        .split(&format!("# {chapter}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("{chapter}"));
    let block = text.split("```sh\n").nth(1).unwrap_or_else(|| panic!("{chapter}"));
    // Of the chapter on installation both blocks.
    let more = (chapter == "Install from source").then(|| text.split("```sh\n").nth(2).unwrap());
    let blocks = [Some(block), more].into_iter().flatten();
    blocks
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .map(|line| line.trim_start_matches("sudo ").to_owned())
        .collect()
}

pub(crate) fn on_debian(world: &World) {
    // As its user, who is not root.
    let make = commands("Install from source").remove(0);
    assert_eq!(make, "make");
    host::run(mtasts_kit::command::builder("make").current_dir(mtasts_kit::repository()));
    let host = world.host(Tls::Gnu, &Config::Debian);
    // As Debian installs Exim, and no more.
    host.uninstall();
    let settings = host.etc("exim4/update-exim4.conf.conf");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(
        &settings,
        text.replace("dc_use_split_config='true'", "dc_use_split_config='false'"),
    )
    .unwrap();
    host::run(host.command("sh").args([
        "-c",
        "rm -rf /var/lib/mtasts /etc/exim4/conf.d/*/*mtasts && sed -i '/^mtasts:/d' /etc/passwd /etc/group && \
         mkdir -p /etc/systemd/system",
    ]));
    for chapter in ["Install from source", "Exim"] {
        for command in commands(chapter)
            .iter()
            .filter(|line| !line.contains(NOT_HERE) && *line != "make")
        {
            let mut shell: Command = host.command("sh");
            shell
                .current_dir(mtasts_kit::repository())
                .env_remove("MAKEFLAGS")
                .env_remove("MAKELEVEL");
            let place = mtasts_kit::repository().canonicalize().unwrap();
            host::run(shell.args(["-ec", &format!("cd '{}'; {command}", place.display())]));
        }
    }
    let output = host
        .command("exim4")
        .args(["-bt", "postmaster@good.test"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("transport = remote_smtp_mtasts"), "{said}");
    let outcome = host.send(&["a@good.test"]);
    let (fate, line) = outcome.of("a@good.test");
    assert!(fate == Fate::Delivered && line.contains("CV=yes"), "{}", outcome.log);
    // The policies belong to the refresh's user, and Exim's user is in the group.
    let shown = host::run(host.command("mtasts").args(["cache", "show", "good.test"]));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("enforce"), "{shown:?}");
    let refreshed = host::run(host.command("setpriv").args([
        "--reuid",
        "mtasts",
        "--regid",
        "mtasts",
        "--clear-groups",
        "mtasts",
        "cache",
        "refresh",
    ]));
    assert!(refreshed.status.success());
    let timer = host::run(host.command("cat").arg("/etc/systemd/system/mtasts-refresh.service"));
    assert!(String::from_utf8_lossy(&timer.stdout).contains("\nExecStart=/usr/bin/mtasts cache refresh\n"));
    // And away again, which would make mail wait as long as Exim asks the library.
    let uninstall = || {
        let mut make = host.command("make");
        make.args(["--silent", "-C"])
            .arg(mtasts_kit::repository())
            .args(["uninstall", "PREFIX=/usr"])
            .output()
            .unwrap()
    };
    let refused = uninstall();
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("run mtasts exim remove"),
        "{refused:?}"
    );
    host::run(host.command("mtasts").args(["exim", "remove"]));
    let done = uninstall();
    assert!(done.status.success(), "{done:?}");
    let there = host.command("test").args(["-e", "/usr/bin/mtasts"]).status().unwrap();
    assert!(!there.success());
    let outcome = host.send(&["b@good.test"]);
    assert!(outcome.of("b@good.test").0 == Fate::Delivered, "{}", outcome.log);
}
