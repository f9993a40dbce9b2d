//! The cache in bad weather: processes with threads, queues and children share one cache directory while names,
//! policies and certificates change and fail, workers are killed and stopped, crowds of silent names are asked for, locks are
//! held by others, and files are garbled and forged. `make soak` runs it for a quarter of an hour, `make test` for half a
//! minute.
//!
//! What was served when is known here, so for each answer it is known whether it was permissible: see [`history`].
//! Everything random comes from one seed, which is printed, though processes never meet twice in the same way.
//!
//! `SOAK_SECONDS` and `SOAK_SEED` change the run.

mod history;
mod neighbours;
mod weather;
mod worker;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mtasts_kit::{Internet, USER, mtasts};
use mtasts_lab::{self as lab, Change, Lab, Policy};

use history::{Call, History, Told};
use neighbours::Neighbours;
use weather::Weather;
use worker::{MARGIN, TIMEOUT};

/// How many processes look up.
const WORKERS: usize = 4;
/// How many domains have policies that change.
const DOMAINS: usize = 40;
/// How many of them are asked for far more often than the others.
const POPULAR: usize = 8;
/// A worker that has told nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);
/// Told is out of order by the time that the slowest lookup takes; it is judged when nothing earlier can come.
const SETTLED: u64 = 20_000_000;
/// How often the crowds are judged: the lab's counters are large.
const CROWDS: Duration = Duration::from_secs(5);
/// The longest report of wrong answers, in lines.
const MOST_TOLD: usize = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, rest @ ..] = &arguments[..]
        && command == "worker"
    {
        worker::work(rest);
        return ExitCode::SUCCESS;
    }
    // A filter of `cargo test` that is not for us.
    if let Some(filter) = arguments.iter().find(|argument| !argument.starts_with('-'))
        && !"soak".contains(filter.as_str())
    {
        return ExitCode::SUCCESS;
    }
    let seconds = number("SOAK_SECONDS").unwrap_or(30);
    let seed = number("SOAK_SEED").unwrap_or_else(now_us);
    println!("soak: {seconds} s with the seed {seed}");
    let dir = std::env::temp_dir().join(format!("mtasts-soak-{}", std::process::id()));
    let at = dir.clone();
    // A thread of its own, because its namespaces are for good.
    let run = move || Soak::start(&at, seed).run(Duration::from_secs(seconds));
    let passed = thread::spawn(run).join();
    let _ = std::fs::remove_dir_all(&dir);
    match passed {
        Ok(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// The time in microseconds, the same in all processes.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }
}

/// A process that looks up, and what it tells.
struct Worker {
    number: usize,
    process: Child,
}

struct Soak {
    lab: Lab,
    cache: PathBuf,
    random: Random,
    domains: Vec<String>,
    workers: Vec<Worker>,
    tell: Sender<(usize, Option<Told>)>,
    told: Receiver<(usize, Option<Told>)>,
    counts: BTreeMap<&'static str, u64>,
}

impl Soak {
    fn start(dir: &Path, seed: u64) -> Self {
        let internet = Internet::at(dir);
        // What `mtasts cache refresh` reads.
        for (key, value) in worker::SETTINGS {
            internet.set(&format!("{key} = \"{value}\""));
        }
        let named = |wanted: fn(&Policy) -> bool, most| {
            let table = lab::table().into_iter().filter(move |entry| wanted(&entry.policy));
            let names = table.map(|entry| entry.name);
            names.filter(|name| name != worker::COLD).take(most)
        };
        let has_one = |policy: &Policy| matches!(policy, Policy::Enforce | Policy::Testing | Policy::None);
        let (tell, told) = channel();
        Self {
            lab: internet.lab,
            cache: internet.cache,
            random: Random(seed),
            domains: named(has_one, DOMAINS)
                .chain(named(|policy| matches!(policy, Policy::Absent), 4))
                .collect(),
            workers: Vec::new(),
            tell,
            told,
            counts: BTreeMap::new(),
        }
    }

    /// Starts a worker; the first one is root's.
    fn worker(&mut self, number: usize, mode: &str) {
        let who = if number == 0 { "root" } else { "user" };
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["worker", mode, who])
            .arg(&self.cache)
            .arg(self.random.next().to_string())
            .args(&self.domains)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = (
            self.tell.clone(),
            BufReader::new(process.stdout.take().unwrap()).lines(),
        );
        thread::spawn(move || {
            // Each line is one write of less than PIPE_BUF octets: whole, whoever is killed.
            for line in lines.map_while(Result::ok) {
                let told = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                let _ = tell.send((number, Some(told)));
            }
            let _ = tell.send((number, None));
        });
        self.workers.push(Worker { number, process });
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// The number of wrong answers.
    fn run(mut self, time: Duration) -> usize {
        let changing = self.domains.len().min(DOMAINS);
        let mut weather = Weather::new(self.random.next(), &self.domains[..changing], &self.domains[changing..]);
        weather.begin(&self.lab);
        for name in [worker::SILENT, worker::COLD] {
            let change = Change {
                every_name: Some(true),
                ..Change::default()
            };
            self.lab.set(name, change).unwrap();
        }
        let mut neighbours = Neighbours::new(self.random.next());
        for number in 0..WORKERS {
            self.worker(number, "storm");
        }
        let start = Instant::now();
        let stop = AtomicBool::new(false);
        let (mut judge, mut wrong) = (Judge::default(), Vec::new());
        let (mut kill_at, mut crowds_at) = (start + Duration::from_secs(1), start);
        thread::scope(|scope| {
            let refresh = scope.spawn(|| refresh_often(&stop));
            let mut heard = [start; WORKERS];
            while start.elapsed() < time {
                let what = weather.change(&self.lab, &self.cache);
                self.count(what);
                if Instant::now() > kill_at {
                    let number = self.random.below(WORKERS);
                    self.replace(number);
                    heard[number] = Instant::now();
                    kill_at = Instant::now() + Duration::from_millis(500 + self.random.next() % 2500);
                }
                let processes: Vec<i32> = (0..WORKERS).map(|number| self.process(number)).collect();
                if let Some(what) = neighbours.act(&processes, &self.cache) {
                    self.count(what);
                }
                self.listen(&mut judge, &mut heard);
                judge.judge(&mut weather.history, now_us().saturating_sub(SETTLED), &mut wrong);
                if crowds_at.elapsed() > CROWDS {
                    judge.crowds(&self.lab, &mut wrong);
                    crowds_at = Instant::now();
                }
                for (number, heard) in heard
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, heard)| heard.elapsed() > SILENCE)
                {
                    wrong.push(format!("worker {number} has told nothing for {SILENCE:?}: it hangs"));
                    *heard = Instant::now();
                }
                thread::sleep(Duration::from_millis(25));
            }
            neighbours.leave();
            stop.store(true, Ordering::Relaxed);
            let (runs, failed) = refresh.join().unwrap();
            self.counts.insert("refresh runs beside", runs);
            wrong.extend(failed);
        });
        // The sky clears, and what is known must be what is served.
        for worker in &mut self.workers {
            end(&mut worker.process);
        }
        weather.clear(&self.lab);
        self.worker(WORKERS, "calm");
        end_of(&mut self.workers.last_mut().unwrap().process);
        let mut heard = [start; WORKERS];
        thread::sleep(Duration::from_secs(2));
        self.listen(&mut judge, &mut heard);
        judge.judge(&mut weather.history, u64::MAX, &mut wrong);
        judge.crowds(&self.lab, &mut wrong);
        let silent: Vec<&String> = self.domains.iter().filter(|d| !judge.calm.contains(*d)).collect();
        if !silent.is_empty() {
            wrong.push(format!("no answer in the end for {silent:?}"));
        }
        self.report(&judge, &wrong);
        wrong.len()
    }

    fn process(&self, number: usize) -> i32 {
        let worker = self.workers.iter().find(|worker| worker.number == number).unwrap();
        worker.process.id().try_into().unwrap()
    }

    /// Kills a worker, its threads in the midst of whatever they do, and starts another.
    fn replace(&mut self, number: usize) {
        for worker in self.workers.iter_mut().filter(|worker| worker.number == number) {
            end(&mut worker.process);
        }
        self.workers.retain(|worker| worker.number != number);
        self.worker(number, "storm");
        self.count("kill -9 of a worker");
    }

    fn listen(&self, judge: &mut Judge, heard: &mut [Instant]) {
        for (number, told) in self.told.try_iter() {
            if let (Some(heard), Some(_)) = (heard.get_mut(number), &told) {
                *heard = Instant::now();
            }
            judge.waiting.extend(told);
        }
    }

    fn report(&self, judge: &Judge, wrong: &[String]) {
        println!("lookups judged: {}", judge.calls.values().sum::<u64>());
        for (call, count) in &judge.calls {
            println!("  {count:9} {call}");
        }
        println!("of them with a policy: {}", judge.policies);
        println!(
            "cold domains in a silent crowd: {} of {} were learnt",
            judge.cold.0, judge.cold.1
        );
        println!("changes and faults:");
        for (what, count) in &self.counts {
            println!("  {count:9} {what}");
        }
        println!("wrong answers: {}", wrong.len());
        for line in wrong.iter().take(MOST_TOLD) {
            println!("  {line}");
        }
    }
}

/// Puts what was told in order and judges it.
#[derive(Default)]
struct Judge {
    waiting: Vec<Told>,
    calls: BTreeMap<Call, u64>,
    policies: u64,
    /// The domains that were looked up when all was well again.
    calm: std::collections::BTreeSet<String>,
    /// What became of the names of a crowd.
    crowds: Vec<Told>,
    /// Of the cold domains in a crowd, those that were learnt, and all.
    cold: (u64, u64),
}

impl Judge {
    fn judge(&mut self, history: &mut History, until: u64, wrong: &mut Vec<String>) {
        self.waiting.sort_by_key(|told| told.end);
        let due = self.waiting.partition_point(|told| told.end < until);
        let told: Vec<Told> = self.waiting.drain(..due).collect();
        for told in told {
            *self.calls.entry(told.call).or_default() += 1;
            self.policies += u64::from(told.cached.is_some());
            if matches!(told.call, Call::Silent | Call::Cold) {
                self.crowds.push(told);
                continue;
            }
            if told.call == Call::Calm {
                self.calm.insert(told.domain.clone());
            }
            if let Err(why) = history.judge(&told) {
                wrong.push(format!("{why}: {told:?}"));
            }
        }
    }
}

impl Judge {
    /// A name of a crowd that nobody has asked DNS about has no answer: mail for it waits. A cold domain in the crowd has
    /// its policy, or waits as well.
    fn crowds(&mut self, lab: &Lab, wrong: &mut Vec<String>) {
        let asked = lab.counters().dns;
        for told in self.crowds.drain(..) {
            if told.call == Call::Cold {
                let is_learnt = told.cached.as_ref().is_some_and(|cached| cached.mode == "enforce");
                self.cold = (self.cold.0 + u64::from(is_learnt), self.cold.1 + 1);
                if !is_learnt && !told.source.is_empty() && !told.is_out_of_time() {
                    wrong.push(format!("a cold domain without its policy: {told:?}"));
                }
            } else if told.cached.is_some() {
                wrong.push(format!("a policy for a silent name: {told:?}"));
            }
            let is_delivered = told.cached.is_none() && !told.source.is_empty();
            if is_delivered && !asked.contains_key(&format!("_mta-sts.{} TXT", told.domain)) {
                wrong.push(format!("delivered although never asked: {told:?}"));
            }
        }
    }
}

/// Ends a process and waits for it.
fn end(process: &mut Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Waits for a process that ends by itself.
fn end_of(process: &mut Child) {
    let start = Instant::now();
    while process.try_wait().unwrap().is_none() {
        if start.elapsed() > 2 * SILENCE {
            end(process);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// `mtasts cache refresh` again and again, every other time for all policies, and each fifth one is killed.
fn refresh_often(stop: &AtomicBool) -> (u64, Vec<String>) {
    let (mut runs, mut failed) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        runs += 1;
        let mut command = Command::new(mtasts());
        command.args(["cache", "refresh", "--json"]);
        if runs % 2 == 0 {
            command.arg("--all");
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let is_over = loop {
            thread::sleep(Duration::from_millis(50));
            match process.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if stop.load(Ordering::Relaxed) || start.elapsed() > 3 * SILENCE => break None,
                None if runs % 5 == 0 && start.elapsed() > Duration::from_millis(300) => break None,
                None => {}
            }
        };
        match is_over.map(|status| status.code()) {
            // 1 says that some could not be renewed.
            Some(Some(0 | 1)) => {}
            Some(other) => failed.push(format!("mtasts cache refresh ended with {other:?}")),
            None if start.elapsed() > 3 * SILENCE => failed.push("mtasts cache refresh hangs".to_owned()),
            None => {}
        }
        let _ = process.kill();
        let _ = process.wait();
        thread::sleep(Duration::from_millis(700));
    }
    (runs, failed)
}
