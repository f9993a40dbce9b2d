//! kill -9 in the middle of writes, again and again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mtasts::Domain;
use mtasts::cache::Cache as _;
use mtasts::cache::entry::CachedPolicy;
use mtasts::cache::entry::Entry;
use mtasts::cache::store::Store;

use mtasts_kit::Child;

const WRITES: u64 = 1000;
const WRITERS: usize = 4;
const DOMAINS: usize = 3;

/// What all processes of this test see: how many writes were begun and how many came back, for each domain.
#[derive(Default)]
struct Counts {
    begun: [AtomicU64; DOMAINS],
    done: [AtomicU64; DOMAINS],
}

impl Counts {
    fn shared() -> &'static Self {
        // SAFETY: fresh memory of zeros, which is a valid value of atomics, shared with the children and never given
        // back.
        unsafe {
            let (size, flags) = (size_of::<Self>(), libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let memory = libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0);
            assert_ne!(memory, libc::MAP_FAILED);
            &*memory.cast()
        }
    }

    fn all(counts: &[AtomicU64]) -> u64 {
        counts.iter().map(|count| count.load(Ordering::SeqCst)).sum()
    }
}

fn domain(number: usize) -> Domain {
    Domain::parse(&format!("customer{number}.example")).unwrap()
}

/// The policy of a write: its number stands at both ends of a text that is longer than a page.
fn entry(domain: &Domain, number: u64) -> Entry {
    let filling = "x: filling\n".repeat(500 + usize::try_from(number % 50).unwrap() * 20);
    let text =
        format!("version: STSv1\nmode: enforce\nmx: mx{number}.example.com\nmax_age: 86400\n{filling}last: {number}\n");
    let mut entry = Entry::new(domain.clone());
    let id = number.to_string().parse().unwrap();
    entry.cached = Some(Arc::new(CachedPolicy::new(id, number, text).unwrap()));
    entry
}

/// Each write counts what stands there on by one, under the lock, until it is killed.
fn writer(store: &Store, counts: &Counts) {
    for n in std::process::id() as usize.. {
        let (number, domain) = (n % DOMAINS, domain(n % DOMAINS));
        let mut next = |stored: Result<Option<Entry>, _>| {
            counts.begun[number].fetch_add(1, Ordering::SeqCst);
            let stored = stored
                .expect("a whole file")
                .map_or(0, |entry| entry.cached.unwrap().fetched);
            Some(entry(&domain, stored + 1))
        };
        store
            .change(&domain, Instant::now() + Duration::from_secs(20), &mut next)
            .unwrap();
        counts.done[number].fetch_add(1, Ordering::SeqCst);
    }
}

/// Every file is whole, and no write that came back is lost.
fn all_is_well(store: &Store, counts: &Counts) {
    for number in 0..DOMAINS {
        let done = counts.done[number].load(Ordering::SeqCst);
        let stored = store.load(&domain(number)).expect("a whole file");
        let begun = counts.begun[number].load(Ordering::SeqCst);
        let found = stored
            .as_ref()
            .map_or(0, |entry| entry.cached.as_ref().unwrap().fetched);
        assert!((done..=begun).contains(&found), "{done} {found} {begun}");
        if let Some(stored) = stored {
            assert_eq!(stored, entry(&domain(number), found));
        }
    }
}

#[test]
fn killed_writers_leave_whole_files_and_what_they_leave_besides_is_swept() {
    let dir = std::env::temp_dir().join(format!("mtasts-faults-{}-kill", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    let (store, counts) = (Store::new(dir.clone()), Counts::shared());
    let start = || Child::start(|| writer(&store, counts));
    let mut writers: Vec<Child> = (0..WRITERS).map(|_| start()).collect();
    let mut kills = 0_usize;
    let end = Instant::now() + Duration::from_secs(600);
    let files = || -> BTreeSet<PathBuf> { fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect() };
    let unfinished = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(".tmp-");
    loop {
        // A point that nobody has chosen.
        let nanos = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .subsec_nanos();
        thread::sleep(Duration::from_micros(u64::from(nanos / 7 % 9000)));
        drop(writers.remove(kills % WRITERS));
        kills += 1;
        all_is_well(&store, counts);
        assert!(
            Instant::now() < end,
            "{} writes, {kills} kills",
            Counts::all(&counts.done)
        );
        if Counts::all(&counts.done) >= WRITES && kills >= 100 {
            writers.clear();
            // Where files are in memory, few kills are in the middle of a write, and without one this test proves nothing.
            if files().iter().any(|path| unfinished(&path)) {
                break;
            }
            writers.extend((1..WRITERS).map(|_| start()));
        }
        writers.insert((kills - 1) % WRITERS, start());
    }
    all_is_well(&store, counts);

    let kept: BTreeSet<PathBuf> = (0..DOMAINS)
        .map(|number| dir.join(domain(number).as_str()))
        .chain([dir.join(".lock")])
        .collect();
    let all = files();
    let left: Vec<&PathBuf> = all.iter().filter(unfinished).collect();
    assert_eq!(
        all.iter()
            .filter(|path| !unfinished(path))
            .cloned()
            .collect::<BTreeSet<_>>(),
        kept
    );

    // What may still be in the making stays; an hour later all of it goes, and nothing else.
    assert_eq!((store.sweep().unwrap(), files()), (0, all.clone()));
    let old = SystemTime::now() - Duration::from_secs(2 * 3600);
    for path in &all {
        File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    assert_eq!((store.sweep().unwrap(), files()), (left.len(), kept));
    all_is_well(&store, counts);
    fs::remove_dir_all(&dir).unwrap();
}
