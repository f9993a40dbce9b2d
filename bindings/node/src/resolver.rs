//! A context with its queue.

use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::{mem, ptr};

use mtasts::capi;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::answer::{Answer, asked};
use crate::certificate::{self, Check};
use crate::error::{Result, call, failure, meaning, refused};
use crate::poller::{Poller, Watch};
use crate::text;

thread_local! {
    /// What the administrator is to be told. The library says it on the thread that asks, during the call, and JavaScript
    /// takes it after the call: it could not be called in the middle of one.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn log(line: *const c_char, _: *mut c_void) {
    // SAFETY: the library's promise.
    let line = unsafe { text::of(line) };
    LINES.with_borrow_mut(|lines| lines.push(line));
}

/// What the library has said in the last call, for the log.
#[napi]
pub fn lines() -> Vec<String> {
    LINES.with_borrow_mut(mem::take)
}

/// A context and its queue.
#[napi]
pub struct Resolver {
    context: *mut capi::mtasts_context,
    /// NULL before the first lookup.
    queue: *mut capi::mtasts_queue,
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
    /// Where there is none, what is wrong.
    pub code: Option<String>,
    /// And in words.
    pub message: Option<String>,
}

#[napi]
impl Resolver {
    /// A context with the settings of a file (an empty name: of none) or of the host, and others on top.
    #[napi(constructor)]
    pub fn new(file: Option<String>, entries: Vec<(String, String)>, logs: bool) -> Result<Self> {
        let mut settings = ptr::null_mut();
        call(|error| {
            // SAFETY: places of our own.
            unsafe {
                match &file {
                    None => capi::mtasts_settings_of_host(&raw mut settings, error),
                    Some(_) => capi::mtasts_settings_new(&raw mut settings),
                }
            }
        })?;
        let settings = Settings(settings);
        if let Some(file) = file.filter(|file| !file.is_empty()) {
            let file = text::to_c(&file);
            // SAFETY: alive settings, a NUL-terminated text.
            call(|error| unsafe { capi::mtasts_settings_read_file(settings.0, file.as_ptr(), error) })?;
        }
        for (key, value) in entries {
            let (key, value) = (text::to_c(&key), text::to_c(&value));
            // SAFETY: alive settings, NUL-terminated texts.
            call(|error| unsafe { capi::mtasts_settings_set(settings.0, key.as_ptr(), value.as_ptr(), error) })?;
        }
        if logs {
            // SAFETY: alive settings, and a function that needs nothing but its thread.
            unsafe { capi::mtasts_settings_set_log(settings.0, Some(log), ptr::null_mut()) };
        }
        let mut context = ptr::null_mut();
        // SAFETY: alive settings, a place of our own.
        call(|error| unsafe { capi::mtasts_context_new(settings.0, &raw mut context, error) })?;
        Ok(Self {
            context,
            queue: ptr::null_mut(),
            watch: None,
        })
    }

    /// The setting `ca_file`.
    #[napi(getter)]
    pub fn ca_file(&self) -> Option<String> {
        // SAFETY: the context is alive or NULL.
        let path = unsafe { capi::mtasts_context_ca_file(self.context) };
        // SAFETY: NULL, or a text of the context.
        (!path.is_null()).then(|| unsafe { text::of(path) })
    }

    /// Answers from the cache.
    #[napi]
    pub fn lookup_cached(&self, domain: String) -> Result<Answer> {
        let (name, length) = (domain.as_ptr().cast(), domain.len());
        // SAFETY: the context is alive or NULL, the text has its length.
        asked(|answer, error| unsafe { capi::mtasts_lookup_cached(self.context, name, length, answer, error) })
    }

    /// Submits a lookup, or a recheck, and gives its number.
    #[napi]
    pub fn submit(&mut self, domain: String, timeout_ms: u32, recheck: bool) -> Result<i64> {
        if self.queue.is_null() {
            // SAFETY: the context is alive or NULL; a place of our own.
            call(|error| unsafe { capi::mtasts_queue_new(self.context, &raw mut self.queue, error) })?;
        }
        let (name, length, mut id) = (domain.as_ptr().cast(), domain.len(), 0);
        call(|error| {
            let (id, user) = (&raw mut id, ptr::null_mut());
            let submit = if recheck {
                capi::mtasts_queue_recheck
            } else {
                capi::mtasts_queue_submit
            };
            // SAFETY: the queue is alive, the text has its length, `id` is ours.
            unsafe { submit(self.queue, name, length, timeout_ms, user, id, error) }
        })?;
        Ok(id.cast_signed())
    }

    /// Takes the next completion.
    #[napi]
    pub fn next(&self) -> Result<Option<Completion>> {
        let mut done = capi::mtasts_completion {
            size: size_of::<capi::mtasts_completion>(),
            id: 0,
            user: ptr::null_mut(),
            answer: ptr::null_mut(),
            status: 0,
            message: [0; capi::MTASTS_MESSAGE_SIZE],
        };
        // SAFETY: the queue is alive or NULL; a struct whose size is set.
        match unsafe { capi::mtasts_queue_next(self.queue, &raw mut done) } {
            1 => {}
            0 => return Ok(None),
            status => return Err(meaning(status)),
        }
        let id = done.id.cast_signed();
        if done.status == 0 {
            // SAFETY: the library has given it to us.
            let answer = unsafe { Answer::take(done.answer) };
            return Ok(Some(Completion {
                id,
                answer: Some(answer),
                code: None,
                message: None,
            }));
        }
        let message = text::in_place(&done.message);
        let error = if message.is_empty() {
            meaning(done.status)
        } else {
            failure(done.status, message)
        };
        let (code, message) = (error.status.as_ref().to_owned(), error.reason.clone());
        Ok(Some(Completion {
            id,
            answer: None,
            code: Some(code),
            message: Some(message),
        }))
    }

    /// Cancels a lookup.
    #[napi]
    pub fn cancel(&self, id: i64) {
        // SAFETY: the queue is alive or NULL.
        unsafe { capi::mtasts_queue_cancel(self.queue, id.cast_unsigned()) };
    }

    /// Has the poller call for this number when there is a completion: once.
    #[napi]
    pub fn watch(&mut self, poller: &Poller, number: u32) -> Result<()> {
        // SAFETY: the queue is alive or NULL.
        let descriptor = unsafe { capi::mtasts_queue_fd(self.queue) };
        if descriptor < 0 {
            return Err(meaning(descriptor));
        }
        let watched = match &self.watch {
            Some(watch) => watch.again(descriptor, number),
            None => poller.watch().add(descriptor, number),
        };
        watched.map_err(|_| refused("cannot wait for lookups"))?;
        self.watch.get_or_insert_with(|| poller.watch().clone());
        Ok(())
    }

    /// Checks the certificate chain of a host. A time of 0 stands for now.
    #[napi]
    pub fn verify_certificate(&self, host: String, chain: Vec<Uint8Array>, at: i64) -> Result<Check> {
        let octets: Vec<capi::mtasts_octets> = chain
            .iter()
            .map(|der| capi::mtasts_octets {
                data: der.as_ptr(),
                length: der.len(),
            })
            .collect();
        let (name, length, at) = (host.as_ptr().cast(), host.len(), at.cast_unsigned());
        let mut check = certificate::place();
        call(|error| {
            let (chain, count, check) = (octets.as_ptr(), octets.len(), &raw mut check);
            // SAFETY: the context is alive or NULL, the text has its length and the chain its certificates.
            unsafe { capi::mtasts_verify_certificate(self.context, name, length, chain, count, at, check, error) }
        })?;
        Ok(certificate::told(&check))
    }

    /// Gives everything up. Lookups under way complete no more.
    #[napi]
    pub fn close(&mut self) {
        // SAFETY: the queue is alive or NULL; both are not used again.
        unsafe {
            if let Some(watch) = self.watch.take() {
                watch.remove(capi::mtasts_queue_fd(self.queue));
            }
            capi::mtasts_queue_free(mem::replace(&mut self.queue, ptr::null_mut()));
            capi::mtasts_context_free(mem::replace(&mut self.context, ptr::null_mut()));
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.close();
    }
}

/// Settings on the way to a context.
struct Settings(*mut capi::mtasts_settings);

impl Drop for Settings {
    fn drop(&mut self) {
        // SAFETY: they were ours alone.
        unsafe { capi::mtasts_settings_free(self.0) }
    }
}
