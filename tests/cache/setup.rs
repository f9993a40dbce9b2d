//! `mtasts cache setup`: every layout becomes the one layout, and what is in the cache is kept.

use std::fs::{self, Permissions, hard_link};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use mtasts_kit::{Internet, on_the_internet};

/// A host with a mail server's user and without ours, whatever the machine has: /etc is the test's own.
fn without_us(host: &Internet) {
    for file in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        let kept = text.lines().filter(|line| !line.starts_with("mtasts:"));
        fs::write(file, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    let _ = Command::new("userdel").arg("postman").output();
    let made = Command::new("useradd")
        .args(["--system", "--no-log-init", "postman"])
        .output();
    assert!(made.as_ref().unwrap().status.success(), "{made:?}");
    assert!(host.lookup("good.test").policy().is_some());
}

fn about(path: &Path) -> (u32, u32, u32) {
    let about = fs::symlink_metadata(path).unwrap();
    (about.uid(), about.gid(), about.mode() & 0o7777)
}

fn number(of: &str, name: &str) -> u32 {
    let text = fs::read_to_string(format!("/etc/{of}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("{name} in {of}"))
        .split(':')
        .nth(2)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn another_layout_becomes_ours_and_keeps_its_policies() {
    on_the_internet("setup", |host| {
        without_us(host);
        // The layout of a host with one mail server.
        let postman = number("passwd", "postman");
        for path in [&host.cache, &host.cache.join("good.test")] {
            chown(path, Some(postman), Some(postman)).unwrap();
        }
        fs::set_permissions(&host.cache, Permissions::from_mode(0o700)).unwrap();
        // The refresh of another user, such as the timer's, says what to do.
        let ran = host.cache_as(65_534, "refresh");
        assert!(ran.status == 2 && ran.err.contains("mtasts cache setup"), "{ran:?}");
        let ran = host.cache("setup --user postman");
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        let (uid, gid) = (number("passwd", "mtasts"), number("group", "mtasts"));
        for step in [
            "the user and the group mtasts were made\n".to_owned(),
            format!("had owner {postman}, group {postman} and mode 700; now mtasts, mtasts and 2770\n"),
            "postman has joined the group mtasts: restart what runs as postman\n".to_owned(),
        ] {
            assert!(ran.out.contains(&step), "{step}: {}", ran.out);
        }
        assert_eq!(about(&host.cache), (uid, gid, 0o2770));
        assert_eq!(about(&host.cache.join("good.test")), (uid, gid, 0o660));
        assert!(
            fs::read_to_string("/etc/group")
                .unwrap()
                .contains(&format!("mtasts:x:{gid}:postman\n"))
        );
        // It is found again, also by root, and the refresh runs.
        let shown = host.cache("show good.test");
        assert!(shown.status == 0 && shown.out.contains("enforce"), "{shown:?}");
        assert_eq!(host.cache("refresh --all").status, 0);

        let again = host.cache("setup --user postman");
        assert!(
            again.out.ends_with("is as it should be: nothing was changed\n"),
            "{again:?}"
        );
    });
}

#[test]
fn no_file_of_anybody_else_is_given_away() {
    on_the_internet("setup-links", |host| {
        without_us(host);
        let secret = host.cache.with_file_name("secret");
        fs::write(&secret, "root's").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        hard_link(&secret, host.cache.join("hard.test")).unwrap();
        symlink(&secret, host.cache.join("soft.test")).unwrap();
        let before = about(&secret);
        let ran = host.cache("setup");
        assert!(
            ran.out
                .contains("left alone, because they are not files of the cache: 2\n"),
            "{ran:?}"
        );
        assert_eq!(about(&secret), before);
    });
}

#[test]
fn a_group_that_only_reads_goes_on_only_reading() {
    on_the_internet("setup-2750", |host| {
        without_us(host);
        fs::set_permissions(&host.cache, Permissions::from_mode(0o2750)).unwrap();
        assert_eq!(host.cache("setup").status, 0);
        assert_eq!(about(&host.cache).2, 0o2750);
        assert_eq!(about(&host.cache.join("good.test")).2, 0o640);
    });
}

#[test]
fn a_user_that_does_not_exist_changes_nothing() {
    on_the_internet("setup-user", |host| {
        without_us(host);
        let before = about(&host.cache);
        let ran = host.cache("setup --user nosuch");
        assert!(ran.status == 2 && ran.err.contains("nosuch"), "{ran:?}");
        assert_eq!(about(&host.cache), before);
        let ran = host.cache_as(65_534, "setup");
        assert!(
            ran.status == 2 && ran.err.contains("sudo mtasts cache setup"),
            "{ran:?}"
        );
    });
}
