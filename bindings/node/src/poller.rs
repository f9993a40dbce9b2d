//! The thread that waits for the descriptors of the queues.
//!
//! There is one for an environment of JavaScript (the main thread, each worker), from its first lookup that needs the
//! network until the environment ends, which waits for it. It calls nothing of the library, and JavaScript only by
//! way of a threadsafe function: no thread of libuv's pool, where the file system and getaddrinfo would wait behind
//! lookups, is ever taken.
//!
//! A descriptor is watched once at a time: it rings, is taken out of the watch, and JavaScript puts it back when it has
//! taken the completions. So a busy JavaScript is not told twice.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;

use crate::error::{Result, guarded, refused};

/// JavaScript's function for a descriptor that rang, by the number of its queue. It keeps no process alive by itself.
type Wake = ThreadsafeFunction<u32, (), u32, Status, false, true>;

/// The number that ends the thread; no queue has it.
const END: u64 = u64::MAX;

/// What the administrator reads when the thread, or what it needs, cannot be had.
pub(crate) const NO_WAIT: &str = "cannot wait for lookups";

/// The thread of an environment.
#[napi]
pub struct Poller {
    wake: Arc<Wake>,
    watch: Arc<Watch>,
}

/// What the thread waits for.
pub(crate) struct Watch {
    epoll: OwnedFd,
    end: OwnedFd,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[napi]
impl Poller {
    /// Starts the thread.
    #[napi(constructor)]
    pub fn new(env: Env, wake: Function<'_, u32, ()>) -> Result<Self> {
        guarded(|| {
            let build = wake.build_threadsafe_function::<u32>().weak::<true>();
            let wake: Wake = build.build().map_err(|error| refused(NO_WAIT, &error.reason))?;
            let (watch, wake) = (Watch::new().map_err(|error| refused(NO_WAIT, &error))?, Arc::new(wake));
            let watch = Arc::new(watch);
            let thread = start(watch.clone(), wake.clone()).map_err(|error| refused(NO_WAIT, &error))?;
            *watch.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            env.add_env_cleanup_hook(watch.clone(), |watch| watch.end())
                .map_err(|error| refused(NO_WAIT, &error.reason))?;
            Ok(Self { wake, watch })
        })
    }

    /// Keeps the process alive: a lookup is under way.
    #[napi]
    pub fn hold(&self, env: Env) {
        // SAFETY: on the thread of its environment, and it lives as long as we do.
        unsafe { napi::sys::napi_ref_threadsafe_function(env.raw(), self.wake.raw()) };
    }

    /// Lets the process end: none is.
    #[napi]
    pub fn release(&self, env: Env) {
        // SAFETY: as above.
        unsafe { napi::sys::napi_unref_threadsafe_function(env.raw(), self.wake.raw()) };
    }
}

impl Poller {
    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Watch {
    fn new() -> io::Result<Self> {
        // SAFETY: system calls on values; each descriptor is ours alone.
        let (epoll, end) = unsafe {
            (
                owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))?,
                owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?,
            )
        };
        let watch = Self {
            epoll,
            end,
            thread: Mutex::new(None),
        };
        watch.control(libc::EPOLL_CTL_ADD, watch.end.as_raw_fd(), END, libc::EPOLLIN)?;
        Ok(watch)
    }

    /// Watches a descriptor until it rings once.
    pub(crate) fn add(&self, descriptor: RawFd, number: u32) -> io::Result<()> {
        self.control(
            libc::EPOLL_CTL_ADD,
            descriptor,
            number.into(),
            libc::EPOLLIN | libc::EPOLLONESHOT,
        )
    }

    /// Watches it once more.
    pub(crate) fn again(&self, descriptor: RawFd, number: u32) -> io::Result<()> {
        self.control(
            libc::EPOLL_CTL_MOD,
            descriptor,
            number.into(),
            libc::EPOLLIN | libc::EPOLLONESHOT,
        )
    }

    /// Watches it no more.
    pub(crate) fn remove(&self, descriptor: RawFd) {
        // It fails where the descriptor is not watched.
        let _ = self.control(libc::EPOLL_CTL_DEL, descriptor, 0, 0);
    }

    fn control(&self, operation: i32, descriptor: RawFd, number: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events.cast_unsigned(),
            u64: number,
        };
        // SAFETY: an event of our own, which the kernel reads.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The number of the next queue that rings, or [`END`].
    fn wait(&self) -> io::Result<u64> {
        let mut event = libc::epoll_event { events: 0, u64: END };
        // SAFETY: a place for one event.
        match unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &raw mut event, 1, -1) } {
            1 => Ok(event.u64),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Ends the thread and waits for that.
    fn end(&self) {
        let one = 1u64;
        // SAFETY: eight octets, as an eventfd takes them.
        unsafe { libc::write(self.end.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

/// # Safety
/// `descriptor` is what a system call gave, and belongs to nobody yet.
unsafe fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Starts the thread, with all signals blocked: no handler of the program runs there.
fn start(watch: Arc<Watch>, wake: Arc<Wake>) -> io::Result<JoinHandle<()>> {
    let run = move || {
        loop {
            match watch.wait() {
                Ok(END) => break,
                // The number was a u32 when it was given.
                Ok(number) => drop(wake.call(number as u32, ThreadsafeFunctionCallMode::NonBlocking)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    };
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes the set, pthread_sigmask reads it and writes the other; a new thread inherits the mask.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let thread = thread::Builder::new()
        .name("mtasts-wait".into())
        .stack_size(128 * 1024)
        .spawn(run);
    // SAFETY: the set that was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    thread
}
