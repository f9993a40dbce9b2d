use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::protocol::datagram::LONGEST_LINE;
use crate::sys::identity::Identity;
use crate::sys::process;

/// 2026-11-27, noon.
const NOW: u64 = 1_795_780_800;
const DAY: u64 = 86_400;

fn store(name: &str) -> Store {
    let dir = std::env::temp_dir().join(format!("mtasts-journal-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o750)).unwrap();
    Store::new(dir)
}

fn text(read: Result<Option<impl Read>, CacheError>) -> Result<String, String> {
    let mut text = String::new();
    if let Some(mut file) = read.map_err(|e| e.to_string())? {
        file.read_to_string(&mut text).map_err(|e| e.to_string())?;
    }
    Ok(text)
}

fn lines(store: &Store, now: u64) -> Vec<String> {
    let text = text(store.results(&Journal::now(now))).unwrap();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn results_and_losses_are_kept_by_day_and_host() {
    let store = store("days");
    assert_eq!(store.journals().unwrap(), []);
    store.append("{1}", NOW).unwrap();
    store.append("{2}", NOW).unwrap();
    store.append("{3}", NOW + DAY).unwrap();
    store.count_loss(&Loss::QueueFull, NOW);
    store.count_loss(&Loss::NoCollector("x".into()), NOW);
    assert_eq!(lines(&store, NOW), ["{1}", "{2}"]);
    assert_eq!(lines(&store, NOW + DAY), ["{3}"]);
    assert_eq!(text(store.losses(&Journal::now(NOW))).unwrap(), "qc");
    let journals = store.journals().unwrap();
    let days: Vec<&str> = journals.iter().map(|journal| &*journal.day).collect();
    assert_eq!(days, ["2026-11-27", "2026-11-28"]);
    assert_eq!(journals[0].host, host_label(&host::name()));
    // The directory's owner reads and writes, its group reads.
    let file = store.dir().join(journals[0].results());
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o640);
    // They are no domains.
    assert!(crate::cache::Cache::domains(&store).unwrap().is_empty());
    fs::remove_dir_all(store.dir()).unwrap();
}

#[test]
fn the_name_of_a_host_is_part_of_a_file_name() {
    for (name, label) in [
        ("mx1.example.com", "mx1-example-com"),
        ("", "host"),
        ("../../etc/passwd", "------etc-passwd"),
        ("a.lost", "a-lost"),
        ("\u{fc}\n", "--"),
    ] {
        assert_eq!(host_label(name), label);
    }
    assert_eq!(host_label(&"a".repeat(200)).len(), 64);
    for name in [
        ".report-",
        ".report-2026-11-27",
        ".report-2026-02-30-a",
        ".report-\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}-a",
        "report-2026-11-27-a",
    ] {
        assert_eq!(Journal::of(name), None, "{name}");
    }
}

/// What stands behind this is the kernel's promise about O_APPEND, and that a line is one write.
#[test]
fn lines_of_many_threads_and_processes_do_not_mix() {
    const EACH: usize = 500;
    let store = store("crowd");
    let writer = |letter: char| {
        for n in 0..EACH {
            let length = 1 + (n * 997 + letter as usize * 31) % LONGEST_LINE;
            store.append(&letter.to_string().repeat(length), NOW).unwrap();
        }
    };
    let identity = Identity { uid: 65534, gid: 65534 };
    let (threads, processes) = ('a'..='d', 'e'..='h');
    if process::is_root() {
        chown(store.dir(), Some(identity.uid), Some(identity.gid)).unwrap();
        fs::set_permissions(store.dir(), Permissions::from_mode(0o2770)).unwrap();
    }
    store.append("first", NOW).unwrap();
    std::thread::scope(|scope| {
        for letter in threads {
            scope.spawn(move || writer(letter));
        }
        for letter in processes.filter(|_| process::is_root()) {
            let work = move || {
                writer(letter);
                vec![1]
            };
            let until = Instant::now() + Duration::from_secs(60);
            scope.spawn(move || process::in_helper(identity, until, 10, work).unwrap());
        }
    });
    let lines = lines(&store, NOW);
    let mut count = std::collections::BTreeMap::new();
    for line in &lines[1..] {
        let first = line.chars().next().unwrap();
        assert!(line.chars().all(|c| c == first), "{}", &line[..line.len().min(200)]);
        *count.entry(first).or_insert(0) += 1;
    }
    let writers = if process::is_root() { 8 } else { 4 };
    assert!(
        count.len() == writers && count.values().all(|n| *n == EACH),
        "{count:?}"
    );
    fs::remove_dir_all(store.dir()).unwrap();
}

/// The mark of a crash in the middle of a line, and of a disk that was full.
#[test]
fn a_line_that_was_cut_takes_no_other_with_it() {
    let store = store("cut");
    store.append("{1}", NOW).unwrap();
    let path = store.dir().join(Journal::now(NOW).results());
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\n{\"dpv\":\"1\",\"d").unwrap();
    store.append("{2}", NOW).unwrap();
    assert_eq!(lines(&store, NOW), ["{1}", "{\"dpv\":\"1\",\"d", "{2}"]);
    fs::remove_dir_all(store.dir()).unwrap();
}

#[test]
fn a_day_is_bounded_and_so_is_the_count_of_its_losses() {
    let store = store("full");
    store.append("{1}", NOW).unwrap();
    store.count_loss(&Loss::QueueFull, NOW);
    let journal = Journal::now(NOW);
    for name in [journal.results(), journal.losses()] {
        let file = OpenOptions::new().write(true).open(store.dir().join(name)).unwrap();
        file.set_len(MOST_A_DAY - 2).unwrap();
    }
    assert_eq!(store.append("{2}", NOW), Err(Loss::JournalFull));
    for _ in 0..4 {
        store.count_loss(&Loss::JournalFull, NOW);
    }
    assert_eq!(store.dir().join(journal.losses()).metadata().unwrap().len(), MOST_A_DAY);
    // The next day has room again.
    store.append("{3}", NOW + DAY).unwrap();
    fs::remove_dir_all(store.dir()).unwrap();
}

/// A clock that leaps to 2040 and back, or to 1970, removes nothing that a report is still to be made of.
#[test]
fn the_last_days_are_kept_whatever_the_clock_says() {
    let store = store("leaps");
    let day = |n: u64| NOW + n * DAY;
    for n in 0..6 {
        store.append("{}", day(n)).unwrap();
        store.count_loss(&Loss::QueueFull, day(n));
    }
    let days = |store: &Store| -> Vec<String> {
        let journals = store.journals().unwrap();
        journals.into_iter().map(|journal| journal.day).collect()
    };
    assert_eq!(days(&store), ["2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02"]);
    store.append("{}", day(5000)).unwrap();
    store.append("{}", day(5)).unwrap();
    assert_eq!(days(&store), ["2026-11-30", "2026-12-01", "2026-12-02", "2040-08-05"]);
    let before = fs::read_dir(store.dir()).unwrap().count();
    assert_eq!(before, 7, "and the counts of three days");
    // Those of another host are for that host to remove.
    fs::write(store.dir().join(".report-2020-01-01-other"), "").unwrap();
    store.append("{}", 5).unwrap();
    store.append("{}", DAY).unwrap();
    assert_eq!(
        days(&store),
        [
            "1970-01-02",
            "2020-01-01",
            "2026-11-30",
            "2026-12-01",
            "2026-12-02",
            "2040-08-05"
        ]
    );
    fs::remove_dir_all(store.dir()).unwrap();
}

#[test]
fn nothing_but_a_plain_file_is_written_or_waited_for() {
    let store = store("places");
    let path = store.dir().join(Journal::now(NOW).results());
    let elsewhere = store.dir().join("elsewhere");
    let refused = |what: &str| {
        let error = store.append("{}", NOW).unwrap_err().to_string();
        assert!(error.starts_with("the journal cannot be written: "), "{what}: {error}");
        assert!(text(store.results(&Journal::now(NOW))).is_err(), "{what}");
    };
    fs::write(&elsewhere, "").unwrap();
    symlink(&elsewhere, &path).unwrap();
    refused("a link");
    fs::remove_file(&path).unwrap();
    fs::hard_link(&elsewhere, &path).unwrap();
    refused("a second name");
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    refused("a FIFO");
    fs::remove_file(&path).unwrap();
    let socket = UnixListener::bind(&path).unwrap();
    refused("a socket");
    drop(socket);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("a directory");
    fs::remove_dir(&path).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "");
    fs::set_permissions(store.dir(), Permissions::from_mode(0o777)).unwrap();
    refused("a directory of everyone");
    fs::remove_dir_all(store.dir()).unwrap();
}

#[test]
fn what_others_may_have_written_is_not_read() {
    let store = store("owners");
    store.append("{}", NOW).unwrap();
    let path = store.dir().join(Journal::now(NOW).results());
    let error = || text(store.results(&Journal::now(NOW))).unwrap_err();
    fs::set_permissions(&path, Permissions::from_mode(0o646)).unwrap();
    assert!(error().ends_with("more users may use it than the mode of the directory allows"));
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert_eq!(lines(&store, NOW), ["{}"]);
    if process::is_root() {
        chown(&path, Some(65534), None).unwrap();
        assert!(error().ends_with("its owner is not that of the directory"));
        // Its group may write there.
        fs::set_permissions(store.dir(), Permissions::from_mode(0o770)).unwrap();
        assert_eq!(lines(&store, NOW), ["{}"]);
    }
    fs::remove_dir_all(store.dir()).unwrap();
}

#[test]
fn ledgers_of_days_long_gone_go_and_what_is_left_of_their_mails() {
    let store = store("sent");
    for day in 1..=7 {
        fs::write(store.dir().join(format!(".report-2026-11-0{day}.mail-b-x.taken")), "").unwrap();
        store.sent(&format!("2026-11-0{day}")).unwrap();
    }
    fs::write(store.dir().join(".report-2026-11-01.sent.old"), "").unwrap();
    store.sent("2026-11-08").unwrap();
    let files = fs::read_dir(store.dir()).unwrap().flatten();
    let mut names: Vec<String> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    names.sort();
    let kept = (5..=8).flat_map(|day| {
        let mail = (day < 8).then(|| format!(".report-2026-11-0{day}.mail-b-x.taken"));
        mail.into_iter().chain([format!(".report-2026-11-0{day}.sent")])
    });
    let kept: Vec<String> = [".report-2026-11-01.sent.old".to_owned()]
        .into_iter()
        .chain(kept)
        .collect();
    assert_eq!(names, kept);
}
