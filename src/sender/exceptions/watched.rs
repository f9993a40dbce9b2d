//! The file of exceptions in a process that lives on: a change takes effect within seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, TryLockError};
use std::time::{Duration, Instant};

use super::{Exceptions, Look};
use crate::sender::notice::{Notice, Token};

/// A file that may have changed is looked at no more often than this.
const LOOK: Duration = Duration::from_secs(2);
/// How often a lock that is held for an exchange is tried: that takes nanoseconds, unless its holder does not exist.
const TRIES: usize = 1000;

/// The exceptions of a process that lives on: it looks at their file again and again, a few seconds apart.
#[derive(Debug)]
pub(crate) struct Watched {
    /// As they were read with the settings.
    first: Exceptions,
    /// As they are now. The lock is only tried, and held for an exchange: a child that was forked in that moment
    /// uses those that were read first.
    now: RwLock<Exceptions>,
    began: Instant,
    /// When the file was last looked at, in milliseconds since the beginning.
    looked: AtomicU64,
    /// What it looked like.
    look: AtomicU64,
}

impl Watched {
    /// Nothing is looked at yet.
    pub(crate) fn new(first: Exceptions) -> Self {
        Self {
            now: RwLock::new(first.clone()),
            began: Instant::now(),
            looked: AtomicU64::new(0),
            look: AtomicU64::new(first.look.number()),
            first,
        }
    }

    /// Those in force now, by the last look at the file.
    pub(crate) fn now(&self) -> Exceptions {
        for _ in 0..TRIES {
            match self.now.try_read() {
                Ok(now) => return now.clone(),
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner().clone(),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
        self.first.clone()
    }

    /// Looks at the file, if it is time to, and reads it if it has changed. Returns what the operator should know of
    /// it, once for each change: a file that cannot be used changes nothing.
    pub(crate) fn look(&self) -> Option<Notice> {
        let file = self.first.file.as_deref()?;
        let (millis, last) = (self.began.elapsed().as_millis(), self.looked.load(Ordering::Relaxed));
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        let due = u128::from(millis.saturating_sub(last)) >= LOOK.as_millis();
        let ours = |last| {
            self.looked
                .compare_exchange(last, millis, Ordering::AcqRel, Ordering::Relaxed)
        };
        if !due || ours(last).is_err() {
            return None;
        }
        let look = Look::at(file);
        if look.number() == self.look.load(Ordering::Acquire) {
            return None;
        }
        let read = match look {
            Look::Absent if self.first.optional => Ok(Exceptions::default()),
            Look::Hidden if self.now().list.is_empty() => Ok(Exceptions::default()),
            _ => Exceptions::read_file(file),
        };
        let told = match read {
            Ok(read) => {
                if !self.exchange(read) {
                    // Another time.
                    return None;
                }
                None
            }
            Err(reason) => Some(Notice::new(
                Token::ExceptionsNotRead,
                format!(
                    "{}: {reason}. The previous exceptions stay in force; fix the file to apply the change.",
                    file.display()
                ),
            )),
        };
        self.look.store(look.number(), Ordering::Release);
        told
    }

    fn exchange(&self, read: Exceptions) -> bool {
        for _ in 0..TRIES {
            let mut now = match self.now.try_write() {
                Ok(now) => now,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    std::hint::spin_loop();
                    continue;
                }
            };
            *now = read;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::names::Domain;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_a_broken_one_is_told_once() {
        let dir = std::env::temp_dir().join(format!("mtasts-watched-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("exceptions");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("a.example 2099-12-31 moves\n");
        let watched = Watched::new(Exceptions::read_file(&file).unwrap());
        // As after a pause; and not before.
        let look = || {
            assert_eq!(watched.look(), None, "too soon");
            watched.looked.store(0, Ordering::Relaxed);
            std::thread::sleep(LOOK.saturating_sub(watched.began.elapsed()));
            watched.look()
        };
        let has = |name: &str| watched.now().find(&domain(name), 0).is_some();
        assert_eq!(look(), None);
        assert!(has("a.example"));
        write("b.example 2099-12-31 moves as well\n");
        assert!(has("a.example"), "nobody has looked");
        assert_eq!(look(), None);
        assert!(has("b.example") && !has("a.example"));
        for broken in ["b.example 2099-12-31\n", "c.example tomorrow moves\n"] {
            write(broken);
            let told = look().unwrap().sentence;
            assert!(
                told.contains("/exceptions: line 1: ") && told.ends_with("to apply the change."),
                "{told}"
            );
            assert_eq!(look(), None, "told once");
            assert!(has("b.example"));
        }
        // A file that a setting names has to be there, and the default file may go.
        std::fs::remove_file(&file).unwrap();
        assert!(look().unwrap().sentence.contains("No such file"));
        assert!(has("b.example"));
        write("b.example 2099-12-31 moves\n");
        assert_eq!(look(), None);
        let mut unnamed = Watched::new(Exceptions {
            optional: true,
            ..Exceptions::read_file(&file).unwrap()
        });
        // If not even its directory is visible, as after chroot(2), nothing is known of it.
        std::fs::rename(&dir, dir.with_extension("away")).unwrap();
        unnamed.began -= LOOK;
        assert!(unnamed.look().is_some());
        assert!(unnamed.now().find(&domain("b.example"), 0).is_some());
        std::fs::create_dir(&dir).unwrap();
        unnamed.looked.store(0, Ordering::Relaxed);
        assert_eq!(unnamed.look(), None);
        assert!(unnamed.now().find(&domain("b.example"), 0).is_none());
        // And one that comes later is in force.
        write("d.example 2099-12-31 moves\n");
        unnamed.looked.store(0, Ordering::Relaxed);
        assert_eq!(unnamed.look(), None);
        assert!(unnamed.now().find(&domain("d.example"), 0).is_some());
        // A child that was forked in the moment of an exchange does not wait.
        let held = unnamed.now.write().unwrap();
        assert!(unnamed.now().find(&domain("b.example"), 0).is_some());
        drop(held);
        for dir in [dir.with_extension("away"), dir] {
            std::fs::remove_dir_all(dir).unwrap();
        }
    }
}
