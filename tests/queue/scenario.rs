//! What happens in the processes of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mtasts::queue::{Completed, Completion, Queue, QueueError};
use mtasts::{Answer, Domain, Mode, Resolver, Settings, Source};

use mtasts_kit::give_up_root;

use crate::good_domains;

/// How many of the good domains are slow in the scenario `mixed`.
pub(crate) const SLOW: usize = 60;
/// More than any scenario takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// What a busy machine may add to a time that is promised.
const BUSY: Duration = Duration::from_secs(3);

/// Runs one scenario, if this process was started for that.
#[test]
fn one() {
    let Ok(scenario) = std::env::var("MTASTS_SCENARIO") else {
        return;
    };
    let (scenario, who) = scenario.split_once(' ').unwrap();
    let is_root = who == "root";
    if !is_root {
        give_up_root();
    }
    // With the feature `lab`, tokio opens a pair of sockets with the first runtime of a process and keeps it.
    drop(tokio_runtime());
    match scenario {
        "threads" => threads_come_and_go(),
        "joined" => joined(),
        "fill" => fill(),
        "hits" => hits(is_root),
        "recheck" => recheck(),
        "mixed" => mixed(is_root),
        "patience" => patience(is_root),
        "hasty" => hasty(),
        "told" => told(),
        "cancel" => cancel(),
        "dropped" => dropped(who),
        "forked" => forked(),
        "limits" => limits(),
        "many" => many(is_root),
        "crowd" => crowd(who),
        _ => panic!("no scenario {scenario}"),
    }
}

fn tokio_runtime() -> impl Sized {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().build().unwrap()
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    let cache = std::env::var("MTASTS_TEST_CACHE").unwrap();
    settings.set("cache_dir", &cache).unwrap();
    settings.set("allow_addresses", "198.18.0.0/15 2001:2::/48").unwrap();
    let more = std::env::var("MTASTS_TEST_SETTINGS").unwrap();
    for (key, value) in more.split(';').filter_map(|setting| setting.split_once('=')) {
        settings.set(key, value).unwrap();
    }
    settings
}

fn resolver() -> Resolver {
    Resolver::new(settings())
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn slow(number: usize) -> Domain {
    domain(&format!("slow{number}.example"))
}

fn threads() -> usize {
    read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> BTreeSet<String> {
    let of = |entry: std::fs::DirEntry| Some(format!("{:?} {:?}", entry.file_name(), entry.path().read_link().ok()?));
    let all = read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| of(entry.unwrap()));
    all.filter(|target| !target.contains("/proc/")).collect()
}

/// Resident memory, in KiB.
fn memory() -> usize {
    let status = read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

fn comes_true(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "not so: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the descriptor becomes readable within this time.
fn readable<T: Send + 'static>(queue: &Queue<T>, within: Duration) -> bool {
    let mut wait = libc::pollfd {
        fd: queue.descriptor().unwrap(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut wait, 1, i32::try_from(within.as_millis()).unwrap()) == 1 }
}

/// The next completion, as an event loop gets it: it waits for the descriptor, and for nothing else.
fn next<T: Send + 'static>(queue: &Queue<T>) -> Completion<T> {
    loop {
        assert!(readable(queue, LONG), "no completion comes");
        if let Some(done) = queue.next().unwrap() {
            return done;
        }
    }
}

fn answer(result: &Completed) -> &Answer {
    match result {
        Completed::Answer(answer) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

fn threads_come_and_go() {
    let (resolver, before) = (resolver(), (threads(), descriptors()));
    let queue = Queue::new(&resolver).unwrap();
    let descriptor = queue.descriptor().unwrap();
    assert_eq!(threads(), before.0);
    assert_eq!(descriptors().len(), before.1.len() + 1);
    // SAFETY: plain system calls on an open descriptor.
    let (about, status) = unsafe {
        (
            libc::fcntl(descriptor, libc::F_GETFD),
            libc::fcntl(descriptor, libc::F_GETFL),
        )
    };
    assert_eq!(about, libc::FD_CLOEXEC);
    assert_eq!(status & libc::O_NONBLOCK, libc::O_NONBLOCK);
    assert!(!readable(&queue, Duration::from_millis(50)));
    assert!(queue.next().unwrap().is_none());
    assert!(!queue.cancel(1).unwrap());

    let names = ["good.test", "testing.test", "none.test"];
    let mut ids = BTreeMap::new();
    for name in names {
        let id = queue.submit(&domain(name), LONG, name).unwrap();
        assert_eq!(ids.insert(id, name), None, "a new number for each");
    }
    assert!((before.0 + 1..=before.0 + 3).contains(&threads()));
    while !ids.is_empty() {
        let done = next(&queue);
        assert_eq!(ids.remove(&done.id), Some(done.user), "each once");
        assert_eq!(answer(&done.result).domain().unwrap().as_str(), done.user);
        assert!(!queue.cancel(done.id).unwrap(), "complete");
    }
    assert!(!readable(&queue, Duration::from_millis(50)));
    comes_true("idle threads end", || threads() == before.0);
    // And others come when they are needed again.
    queue.submit(&domain("absent.test"), LONG, "again").unwrap();
    next(&queue);
    drop(queue);
    comes_true("no thread is left", || threads() == before.0);
    comes_true("no descriptor is left", || descriptors() == before.1);
}

fn joined() {
    let queue = Queue::new(&resolver()).unwrap();
    let before = threads();
    for number in 0..100 {
        queue.submit(&domain("good.test"), LONG, number).unwrap();
    }
    assert!(threads() <= before + 1, "one worker for one domain");
    let mut users: BTreeSet<i32> = (0..100).collect();
    while !users.is_empty() {
        let done = next(&queue);
        assert!(users.remove(&done.user));
        assert_eq!(answer(&done.result).mode(), Mode::Enforce);
    }
}

fn fill() {
    for (name, mode) in [("good.test", Mode::Enforce), ("testing.test", Mode::Testing)] {
        let answer = resolver().lookup(&domain(name), LONG).unwrap();
        assert_eq!((answer.source(), answer.mode()), (Source::Fresh, mode));
    }
}

fn hits(is_root: bool) {
    // As in a new process: nothing is in memory, the first time.
    let (queue, mut before) = (Queue::new(&resolver()).unwrap(), threads());
    for time in 1..=3 {
        queue.submit(&domain("good.test"), LONG, time).unwrap();
        if !is_root || time > 1 {
            let done = queue.next().unwrap().expect("complete already");
            assert_eq!(answer(&done.result).source(), Source::Cached);
            assert!(threads() <= before, "a hit needs no new thread");
        } else {
            // Root has the disk read by a helper, whose worker stays for three seconds.
            assert_eq!(answer(&next(&queue).result).source(), Source::Cached);
            before = threads();
        }
    }
    queue.submit(&domain("good.test"), LONG, 4).unwrap();
    assert!(readable(&queue, LONG), "the descriptor tells of a hit too");
}

/// A lookup is a hit in the cache; a recheck beside it learns what the domain has changed to.
fn recheck() {
    let queue = Queue::new(&resolver()).unwrap();
    queue.recheck(&domain("good.test"), LONG, "recheck").unwrap();
    queue.submit(&domain("good.test"), LONG, "lookup").unwrap();
    queue.recheck(&domain("good.test"), LONG, "recheck").unwrap();
    let mut seen = BTreeMap::<_, Vec<_>>::new();
    for _ in 0..3 {
        let done = next(&queue);
        let answer = answer(&done.result);
        seen.entry(done.user)
            .or_default()
            .push((answer.source(), answer.mode()));
    }
    assert_eq!(seen["recheck"], [(Source::Fresh, Mode::Testing); 2]);
    // It may have come later than the rechecks, as root.
    let [(_, mode)] = seen["lookup"][..] else {
        panic!("{seen:?}")
    };
    assert!(matches!(mode, Mode::Enforce | Mode::Testing));
}

/// What becomes of a domain whose policy host does not answer.
fn nothing_learnt(result: &Completed, is_root: bool) {
    match result {
        Completed::Answer(answer) => assert_eq!(answer.source(), Source::CouldNotLearn, "{answer}"),
        // Root's cache is read by a helper, and for this one there was none in time.
        Completed::Failed(_) if is_root => {}
        other => panic!("{other:?}"),
    }
}

/// Whether a lookup failed because no worker came to it: then it must not say that nothing could be learnt.
fn never_begun(result: &Completed) -> bool {
    matches!(result, Completed::Failed(why) if why.to_string().contains("did not start in time"))
}

fn mixed(is_root: bool) {
    let queue = Queue::new(&resolver()).unwrap();
    let domains = good_domains();
    let (slow, fast) = domains.split_at(SLOW);
    assert!(fast.len() > 20, "{}", fast.len());
    let (limit, start) = (Duration::from_secs(12), Instant::now());
    // The slow ones first; and neither gets in the other's way.
    for name in slow.iter().chain(fast) {
        queue.submit(&domain(name), limit, name.clone()).unwrap();
    }
    for count in 0..domains.len() {
        let done = next(&queue);
        let elapsed = start.elapsed();
        if count < fast.len() {
            assert!(fast.contains(&done.user), "{} comes before a fast one", done.user);
            assert_eq!(answer(&done.result).source(), Source::Fresh, "{}", done.user);
            assert!(elapsed < limit, "{} took {elapsed:?}", done.user);
        } else {
            nothing_learnt(&done.result, is_root);
            assert!(
                (limit..limit + BUSY).contains(&elapsed),
                "{} took {elapsed:?}",
                done.user
            );
        }
    }
}

fn patience(is_root: bool) {
    let queue = Queue::new(&resolver()).unwrap();
    let (limit, start) = (Duration::from_millis(500), Instant::now());
    // The worker has more patience, for another's sake.
    queue
        .submit(&domain("good.test"), Duration::from_secs(4), "patient")
        .unwrap();
    queue.submit(&domain("good.test"), limit, "hasty").unwrap();
    let hasty = next(&queue);
    assert!(
        (limit..limit + BUSY).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(hasty.user, "hasty");
    if is_root {
        // It does not read the cache, and says so rather than that there is no policy.
        assert!(matches!(hasty.result, Completed::Failed(_)), "{:?}", hasty.result);
    } else {
        let answer = answer(&hasty.result);
        assert_eq!(
            (answer.source(), answer.mode()),
            (Source::CachedAfterFailure, Mode::Enforce)
        );
        assert_eq!(answer.failure().unwrap().result, None, "nobody is to blame yet");
        // Without any time nobody is asked, and that is no answer.
        queue.submit(&domain("slow.test"), Duration::ZERO, "hasty").unwrap();
        let nothing = next(&queue);
        assert_eq!(nothing.user, "hasty");
        assert!(matches!(nothing.result, Completed::Failed(_)), "{:?}", nothing.result);
    }
    let patient = next(&queue);
    assert_eq!(patient.user, "patient");
    assert_eq!(answer(&patient.result).mode(), Mode::Enforce);
}

fn hasty() {
    let queue = Queue::new(&resolver()).unwrap();
    let late = domain("late.example");
    queue.submit(&late, Duration::from_millis(300), "hasty").unwrap();
    thread::sleep(Duration::from_millis(100));
    queue.submit(&late, LONG, "patient").unwrap();
    assert_eq!(next(&queue).user, "hasty");
    let patient = next(&queue);
    assert_eq!(patient.user, "patient");
    assert_eq!(answer(&patient.result).source(), Source::NoPolicy, "{patient:?}");
}

fn told() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = lines.clone();
    let resolver = Resolver::with_log(settings(), move |line| {
        heard.lock().unwrap().push((line.to_owned(), thread::current().id()));
    });
    let queue = Queue::new(&resolver).unwrap();
    let check = |what: &str| {
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        let [(line, thread)] = &lines[..] else {
            panic!("{what}: {lines:?}")
        };
        assert!(line.starts_with("mtasts[policy-not-renewed]: "), "{what}: {line}");
        assert_eq!(*thread, thread::current().id(), "{what}");
    };
    queue.submit(&domain("good.test"), LONG, ()).unwrap();
    assert_eq!(answer(&next(&queue).result).source(), Source::CachedAfterFailure);
    check("with the completion");
    // This one takes its time, so that its worker has begun.
    let id = queue
        .submit(&domain("testing.test"), Duration::from_secs(4), ())
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    assert!(queue.cancel(id).unwrap());
    assert!(matches!(next(&queue).result, Completed::Cancelled));
    assert!(queue.next().unwrap().is_none());
    assert!(readable(&queue, LONG));
    assert!(queue.next().unwrap().is_none());
    check("although the lookup was cancelled");
    assert!(!readable(&queue, Duration::from_millis(50)));
}

fn cancel() {
    let (queue, before) = (Queue::new(&resolver()).unwrap(), threads());
    let start = Instant::now();
    let ids: Vec<u64> = (0..300).map(|n| queue.submit(&slow(n), LONG, n).unwrap()).collect();
    let good = queue.submit(&domain("good.test"), LONG, 300).unwrap();
    for id in ids.iter().rev().chain([&good]) {
        assert!(queue.cancel(*id).unwrap());
        assert!(!queue.cancel(*id).unwrap(), "once");
    }
    for number in (0..300).rev().chain([300]) {
        let done = queue.next().unwrap().expect("complete already");
        assert!(matches!(done.result, Completed::Cancelled));
        assert_eq!(done.user, number);
    }
    assert!(queue.next().unwrap().is_none());
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    // It had no worker yet, and gets none. One that has its worker goes on for the cache.
    comes_true("all threads end", || threads() == before);
    let file = PathBuf::from(std::env::var("MTASTS_TEST_CACHE").unwrap()).join("good.test");
    assert!(!file.exists());
    let id = queue.submit(&domain("good.test"), LONG, 0).unwrap();
    thread::sleep(Duration::from_millis(1));
    let cancelled = queue.cancel(id).unwrap();
    assert_eq!(matches!(next(&queue).result, Completed::Cancelled), cancelled);
    if threads() > before {
        comes_true("the cache has it", || threads() == before);
    }
    let again = queue.submit(&domain("good.test"), LONG, 0).unwrap();
    let done = next(&queue);
    assert_eq!((done.id, answer(&done.result).mode()), (again, Mode::Enforce));
}

fn dropped(who: &str) {
    let silent = Arc::new(AtomicBool::new(false));
    let must_be = silent.clone();
    let resolver = Resolver::with_log(settings(), move |line| {
        assert!(!must_be.load(Ordering::Relaxed), "told after the end: {line}");
    });
    let before = (threads(), descriptors());
    let mut took = Vec::new();
    for _ in 0..3 {
        let queue = Queue::new(&resolver).unwrap();
        for number in 0..2000 {
            queue.submit(&slow(number), LONG, vec![0_u8; 100]).unwrap();
        }
        thread::sleep(Duration::from_millis(300));
        assert_eq!(threads(), before.0 + 256);
        let descriptor = queue.descriptor().unwrap();
        let start = Instant::now();
        drop(queue);
        took.push(start.elapsed());
        silent.store(true, Ordering::Relaxed);
        // Its number may be another's by now.
        let is_bell = |target: &String| target.contains("timerfd");
        assert!(!descriptors().iter().any(is_bell), "{descriptor} is closed at once");
        comes_true("the threads end", || threads() == before.0);
        assert_eq!(descriptors(), before.1);
        silent.store(false, Ordering::Relaxed);
    }
    println!("as {who}: dropping 2,000 lookups in flight took {took:?}");
    took.sort();
    assert!(took[1] < Duration::from_millis(500), "{took:?}");
}

/// Forks, and gives the child's exit status: 0 where `child` was content.
fn in_child(child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child uses the library, which is made for that, and leaves without destructors.
    match unsafe { libc::fork() } {
        -1 => panic!("no child: {}", std::io::Error::last_os_error()),
        // SAFETY: plain system calls.
        0 => unsafe {
            // One that hangs is killed.
            libc::alarm(30);
            libc::_exit(i32::from(!child()))
        },
        child => {
            let mut status = 0;
            // SAFETY: our own child.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            status
        }
    }
}

fn forked() {
    let resolver = resolver();
    // For ever: each child frees its own copy.
    let queue: &'static Queue<usize> = Box::leak(Box::new(Queue::new(&resolver).unwrap()));
    let (limit, start) = (Duration::from_secs(15), Instant::now());
    for number in 0..200 {
        queue.submit(&slow(number), limit, number).unwrap();
    }
    // A thread that is inside the queue most of the time, so that children are born with its lock held.
    let stop = Arc::new(AtomicBool::new(false));
    let busy = thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                let id = queue.submit(&slow(0), limit, 1000).unwrap();
                assert!(queue.cancel(id).unwrap() || start.elapsed() >= limit);
            }
        }
    });
    for number in 0..200 {
        let status = in_child(|| {
            let is_forked = |error: QueueError| matches!(error, QueueError::Forked);
            let refused = queue.submit(&domain("good.test"), LONG, 0).is_err_and(is_forked)
                && queue.next().is_err_and(is_forked)
                && queue.cancel(1).is_err_and(is_forked)
                && queue.descriptor().is_err_and(is_forked);
            // SAFETY: it came from a box, and this process does not use it again.
            drop(unsafe { Box::from_raw(std::ptr::from_ref(queue).cast_mut()) });
            let own = number % 20 > 0 || {
                let queue = Queue::new(&resolver).unwrap();
                queue.submit(&domain("good.test"), LONG, 7).unwrap();
                let done = next(&queue);
                done.user == 7 && answer(&done.result).mode() == Mode::Enforce
            };
            refused && own
        });
        assert_eq!(status, 0, "child {number}");
    }
    println!("200 forks took {:?}", start.elapsed());
    stop.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    let mut left: BTreeSet<usize> = (0..200).collect();
    while !left.is_empty() {
        let done = next(queue);
        match done.user {
            1000 => {}
            number => {
                assert!(left.remove(&number), "{number} once");
                assert!(start.elapsed() >= limit);
            }
        }
    }
    queue.submit(&domain("good.test"), LONG, 1).unwrap();
    while next(queue).user != 1 {}
}

/// Runs something with a lower limit.
fn with_limit<R>(which: libc::__rlimit_resource_t, limit: u64, run: impl FnOnce() -> R) -> R {
    // SAFETY: the pointers are to live rlimits.
    unsafe {
        let mut before = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(which, &raw mut before), 0);
        let lower = libc::rlimit {
            rlim_cur: limit,
            ..before
        };
        assert_eq!(libc::setrlimit(which, &raw const lower), 0);
        let result = run();
        assert_eq!(libc::setrlimit(which, &raw const before), 0);
        result
    }
}

fn limits() {
    let resolver = resolver();
    let none = with_limit(libc::RLIMIT_NOFILE, 3, || Queue::<u8>::new(&resolver));
    assert!(matches!(none, Err(QueueError::System(_))), "{none:?}");
    let queue = Queue::new(&resolver).unwrap();
    for _ in 0..3 {
        let none = with_limit(libc::RLIMIT_NPROC, 0, || queue.submit(&domain("good.test"), LONG, 'a'));
        assert!(matches!(none, Err(QueueError::System(_))), "{none:?}");
    }
    assert!(!readable(&queue, Duration::from_millis(50)));
    queue.submit(&domain("good.test"), LONG, 'b').unwrap();
    let done = next(&queue);
    assert_eq!((done.user, answer(&done.result).mode()), ('b', Mode::Enforce));
}

fn many(is_root: bool) {
    const MANY: usize = 10_000;
    let who = if is_root { "root" } else { "user" };
    let queue = Queue::new(&resolver()).unwrap();
    let (threads_before, memory_before) = (threads(), memory());
    let limit = Duration::from_secs(12);
    let mut submitted = Vec::new();
    let mut submit = |number: usize| {
        // Before the call: on a busy machine its worker may begin long before it returns.
        submitted.push(Instant::now());
        queue.submit(&slow(number), limit, number).unwrap();
    };
    let start = Instant::now();
    (0..200).for_each(&mut submit);
    // Good ones among them, before all workers have slow ones.
    let good = [(); 20].map(|()| queue.submit(&domain("good.test"), limit, MANY).unwrap());
    for id in good {
        let done = next(&queue);
        assert_eq!((done.id, done.user), (id, MANY));
        assert_eq!(answer(&done.result).mode(), Mode::Enforce);
    }
    let good_after = start.elapsed();
    (200..1000).for_each(&mut submit);
    // Until all workers wait for their hosts and need no more memory: two seconds, and more on a busy machine.
    let mut memory_working = 0;
    while memory() > memory_working + 256 {
        memory_working = memory();
        thread::sleep(Duration::from_secs(2));
    }
    (1000..MANY).for_each(&mut submit);
    let (submitted_after, memory_waiting) = (start.elapsed(), memory());
    assert_eq!(threads(), threads_before + 256);
    let (mut latest, mut left, mut asked) = (Duration::ZERO, BTreeSet::from_iter(0..MANY), 0);
    while !left.is_empty() {
        let done = next(&queue);
        assert!(left.remove(&done.user));
        let took = submitted[done.user].elapsed();
        assert!(took >= limit - Duration::from_millis(1), "{took:?}");
        latest = latest.max(took - limit);
        if !never_begun(&done.result) {
            asked += 1;
            nothing_learnt(&done.result, is_root);
        }
    }
    // One for each worker. On a busy machine a worker that is free again may ask a second one, if that was submitted late.
    assert!((200..=512).contains(&asked), "{asked}");
    let each = (memory_waiting - memory_working) * 1024 / (MANY - 1000);
    println!(
        "as {who}: {MANY} in flight: 256 threads, RSS {} MiB over {} MiB before, {each} octets for each that waits; \
         good ones after {good_after:?}, all submitted after {submitted_after:?}, at most {latest:?} late",
        (memory_waiting - memory_before) / 1024,
        memory_before / 1024,
    );
    assert!(each < 1024, "{each}");
    assert!(memory_waiting - memory_before < 200 * 1024, "{memory_waiting} KiB");
    // All of them at the same moment, unoptimised, on a busy machine.
    assert!(latest < 3 * BUSY, "{latest:?}");
    comes_true("the threads end", || threads() == threads_before);
}

/// Two thousand names below ten parents, whose name servers or policy hosts say nothing, and good domains among them.
fn crowd(who: &str) {
    const CROWD: usize = 2000;
    let limit = Duration::from_secs(12);
    let queue = Queue::new(&resolver()).unwrap();
    let mut good = good_domains().into_iter();
    let mut silent = BTreeMap::new();
    let mut answered = Vec::new();
    let mut learn = |silent: &mut BTreeMap<usize, String>, name: String| {
        let start = Instant::now();
        let id = queue.submit(&domain(&name), limit, CROWD).unwrap();
        loop {
            let done = next(&queue);
            if done.id == id {
                assert_eq!(answer(&done.result).source(), Source::Fresh, "{name}");
                return start.elapsed();
            }
            settle(silent, &mut answered, &done);
        }
    };
    let quiet = (0..10).map(|_| learn(&mut silent, good.next().unwrap())).max().unwrap();
    let start = Instant::now();
    for number in 0..CROWD {
        let kind = if number % 20 < 10 { "silent" } else { "hole" };
        let name = format!("{kind}{number}.p{}.example", number % 10);
        queue.submit(&domain(&name), limit, number).unwrap();
        silent.insert(number, name);
    }
    let submitted = start.elapsed();
    let mut loud = Duration::ZERO;
    while start.elapsed() < Duration::from_secs(9) {
        loud = loud.max(learn(&mut silent, good.next().unwrap()));
        thread::sleep(Duration::from_millis(200));
    }
    let at_work = threads();
    while !silent.is_empty() {
        let done = next(&queue);
        settle(&mut silent, &mut answered, &done);
    }
    println!(
        "as {who}: with {CROWD} silent names below 10 parents in flight (submitted in {submitted:?}, {at_work} threads), a good \
         domain took at most {loud:?} and before {quiet:?}; {} silent ones were asked and answered, {} wait",
        answered.len(),
        CROWD - answered.len()
    );
    // Behind the silent ones it would wait for twelve seconds.
    assert!(loud < quiet + Duration::from_secs(5), "{loud:?} and {quiet:?}");
    assert!((100..=256).contains(&answered.len()), "{}", answered.len());
    let file = PathBuf::from(std::env::var("MTASTS_TEST_CACHE").unwrap()).join(".answered");
    std::fs::write(file, answered.join("\n")).unwrap();
}

/// A silent lookup is complete: either it was asked, or it says that it was not.
fn settle(silent: &mut BTreeMap<usize, String>, answered: &mut Vec<String>, done: &Completion<usize>) {
    let name = silent.remove(&done.user).expect("each once");
    if !never_begun(&done.result) {
        if let Completed::Answer(answer) = &done.result {
            assert_eq!(answer.source(), Source::CouldNotLearn, "{answer}");
            answered.push(name);
        } else {
            nothing_learnt(&done.result, true);
        }
    }
}
