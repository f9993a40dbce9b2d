//! A context with its queue.

use std::cell::RefCell;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mtasts::protocol::words::Status;
use mtasts::queue::{Completed, Queue};
use mtasts::{Settings, UnixTime};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::answer::Answer;
use crate::certificate::Check;
use crate::error::{Error, Result, error, failure, guarded, name, refused};
use crate::poller::{NO_WAIT, Poller, Watch};

thread_local! {
    /// What the administrator should know. The library logs it on the thread that asks, during the call, and JavaScript
    /// takes it after the call: it could not be called in the middle of one.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What the library has logged in the last call.
#[napi]
pub fn lines() -> Vec<String> {
    LINES.with_borrow_mut(mem::take)
}

/// A context and its queue. Both are gone when it is closed.
#[napi]
pub struct Resolver {
    context: Option<mtasts::Resolver>,
    /// None before the first lookup.
    queue: Option<Queue<()>>,
    /// Where its descriptor is watched.
    watch: Option<Arc<Watch>>,
}

/// A lookup that is complete.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Completion {
    /// Its number.
    pub id: i64,
    /// The answer.
    pub answer: Option<Answer>,
    /// If there is none, the code of the error.
    pub code: Option<String>,
    /// And its message.
    pub message: Option<String>,
}

#[napi]
impl Resolver {
    /// A context with the settings of a file (an empty name: of none) or of the host, and others on top.
    #[napi(constructor)]
    pub fn new(file: Option<String>, entries: Vec<(String, String)>, logs: bool) -> Result<Self> {
        guarded(|| {
            let settings = settings(file, &entries).map_err(failure)?;
            let context = if logs {
                mtasts::Resolver::with_log(settings, |line| {
                    LINES.with_borrow_mut(|lines| lines.push(line.to_owned()));
                })
            } else {
                // The `log` facade has no listener in here.
                mtasts::Resolver::new(settings)
            };
            Ok(Self {
                context: Some(context),
                queue: None,
                watch: None,
            })
        })
    }

    /// The setting `ca_file`.
    #[napi(getter)]
    pub fn ca_file(&self) -> Result<Option<String>> {
        guarded(|| {
            let ca_file = self.context()?.settings().ca_file.as_ref();
            Ok(ca_file.map(|path| path.to_string_lossy().into_owned()))
        })
    }

    /// Whether the cache can be used: a sentence, or the sentence of an error.
    #[napi]
    pub fn check_cache(&self) -> Result<String> {
        guarded(|| {
            let checked = self.context()?.check_cache();
            checked.map_err(|wrong| error(Status::Unavailable, wrong))
        })
    }

    /// Answers from the cache.
    #[napi]
    pub fn lookup_cached(&self, domain: String) -> Result<Answer> {
        guarded(|| {
            let answer = self.context()?.lookup_cached(&domain);
            Ok(answer.map_err(failure)?.into())
        })
    }

    /// Submits a lookup, or a recheck, and gives its number. Without a time limit that of the settings applies.
    #[napi]
    pub fn submit(&mut self, domain: String, timeout_ms: Option<u32>, recheck: bool) -> Result<i64> {
        guarded(|| {
            let patience = timeout_ms.map_or(Duration::MAX, |ms| Duration::from_millis(ms.into()));
            let queue = self.make_queue()?;
            let id = if recheck {
                queue.recheck(&domain, patience, ())
            } else {
                queue.submit(&domain, patience, ())
            };
            Ok(id.map_err(failure)?.cast_signed())
        })
    }

    /// Takes the next completion.
    #[napi]
    pub fn next(&self) -> Result<Option<Completion>> {
        guarded(|| {
            let done = self.queue()?.next().map_err(failure)?;
            Ok(done.map(|done| {
                let (answer, error) = match done.result {
                    Completed::Answer(answer) => (Some(answer.into()), None),
                    Completed::Failed(error) => (None, Some(failure(&*error))),
                    _ => (None, Some(error(Status::Cancelled, "the lookup was cancelled"))),
                };
                Completion {
                    id: done.id.cast_signed(),
                    answer,
                    code: error.as_ref().map(|error| error.status.as_ref().to_owned()),
                    message: error.map(|error| error.reason.clone()),
                }
            }))
        })
    }

    /// Cancels a lookup.
    #[napi]
    pub fn cancel(&self, id: i64) -> Result<bool> {
        guarded(|| self.queue()?.cancel(id.cast_unsigned()).map_err(failure))
    }

    /// Has the poller call for this number when there is a completion: once.
    #[napi]
    pub fn watch(&mut self, poller: &Poller, number: u32) -> Result<()> {
        guarded(|| {
            let descriptor = self.queue()?.descriptor().map_err(failure)?;
            let watched = match &self.watch {
                Some(watch) => watch.again(descriptor, number),
                None => poller.watch().add(descriptor, number),
            };
            watched.map_err(|error| refused(NO_WAIT, &error))?;
            self.watch.get_or_insert_with(|| poller.watch().clone());
            Ok(())
        })
    }

    /// Checks the certificate chain of a host, now or at a time in Unix seconds.
    #[napi]
    pub fn verify_certificate(&self, host: String, chain: Vec<Uint8Array>, at: Option<i64>) -> Result<Check> {
        guarded(|| {
            let chain: Vec<&[u8]> = chain.iter().map(|der| &**der).collect();
            let at = at.map_or_else(UnixTime::now, |seconds| {
                UnixTime::since_unix_epoch(Duration::from_secs(seconds.cast_unsigned()))
            });
            let checked = self.context()?.verify_certificate(&name(&host)?, &chain, at);
            Ok(checked.map_err(failure)?.into())
        })
    }

    /// Gives everything up. Lookups under way complete no more.
    #[napi]
    pub fn close(&mut self) -> Result<()> {
        guarded(|| {
            let queue = self.queue.take();
            // The kernel drops a closed descriptor from an epoll, unless a forked child still has it open.
            if let (Some(watch), Some(Ok(descriptor))) = (self.watch.take(), queue.as_ref().map(Queue::descriptor)) {
                watch.remove(descriptor);
            }
            drop(queue);
            self.context = None;
            Ok(())
        })
    }
}

impl Resolver {
    pub(crate) fn context(&self) -> Result<&mtasts::Resolver> {
        self.context.as_ref().ok_or_else(closed)
    }

    fn queue(&self) -> Result<&Queue<()>> {
        self.queue.as_ref().ok_or_else(closed)
    }

    fn make_queue(&mut self) -> Result<&Queue<()>> {
        let queue = match self.queue.take() {
            Some(queue) => queue,
            None => Queue::new(self.context()?).map_err(failure)?,
        };
        Ok(self.queue.insert(queue))
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

fn closed() -> Error {
    error(Status::Argument, "the resolver is closed, or has no lookup")
}

fn settings(
    file: Option<String>,
    entries: &[(String, String)],
) -> std::result::Result<Settings, mtasts::sender::settings::SettingsError> {
    let mut settings = match file {
        None => Settings::of_process()?,
        Some(_) => Settings::default(),
    };
    if let Some(file) = file.filter(|file| !file.is_empty()) {
        settings.read_file(Path::new(&file))?;
    }
    for (key, value) in entries {
        settings.set(key, value)?;
    }
    Ok(settings)
}
