//! Asynchronous lookups for C.

use std::ffi::{c_char, c_void};
use std::ptr;

use super::answer::mtasts_answer;
use super::context::{mtasts_context, patience};
use super::error::{Fault, MTASTS_MESSAGE_SIZE, guard, mtasts_error};
use super::extensible::{Extensible, Place, zeroed};
use super::{OK, any_name, copy_text, free, handle, place};
use crate::protocol::words::Status;
use crate::sender::queue::{Completed, Queue, QueueError};

/// A queue of lookups for an event loop. For any number of threads at the same time, but only in the process that
/// created it.
pub struct mtasts_queue {
    queue: Queue<User>,
}

/// What C wants back with a completion. We only carry it.
struct User(*mut c_void);

// SAFETY: the pointer is never followed here; its target is shared by the caller's own threads.
unsafe impl Send for User {}

/// A completed lookup. An extensible struct: set `size` before the call.
#[repr(C)]
pub struct mtasts_completion {
    /// `sizeof(mtasts_completion)`, set by the caller.
    pub size: usize,
    /// The number that `mtasts_queue_submit` or `mtasts_queue_recheck` gave.
    pub id: u64,
    /// The `user` that was passed to it.
    pub user: *mut c_void,
    /// If `status` is `MTASTS_OK`, the answer; free it with `mtasts_answer_free`. Otherwise NULL.
    pub answer: *mut mtasts_answer,
    /// `MTASTS_OK`, `MTASTS_E_CANCELLED`, or `MTASTS_E_UNAVAILABLE`: no answer is possible, defer the mail.
    pub status: i32,
    /// If `status` is `MTASTS_E_UNAVAILABLE`, what is wrong, closed by a NUL.
    pub message: [c_char; MTASTS_MESSAGE_SIZE],
}

// SAFETY: `repr(C)`, `size` first, pointers that may be NULL.
unsafe impl Extensible for mtasts_completion {
    const FIRST: usize = std::mem::offset_of!(Self, message) + MTASTS_MESSAGE_SIZE;
}

impl From<QueueError> for Fault {
    fn from(error: QueueError) -> Self {
        let status = match error {
            QueueError::Forked => Status::Forked,
            QueueError::System(_) => Status::Unavailable,
        };
        Self::new(status, error.to_string())
    }
}

/// Creates a queue of lookups with this context, which may be freed before the queue. This opens one descriptor.
/// Threads are started by the first lookup that needs them.
///
/// `out` receives the queue. Free it with `mtasts_queue_free`.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_UNAVAILABLE` if there is no descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_new(
    context: *const mtasts_context,
    out: *mut *mut mtasts_queue,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, out) = unsafe { (handle(context)?, place(out)?) };
        let queue = Queue::new(&context.context)?;
        *out = Box::into_raw(Box::new(mtasts_queue { queue }));
        Ok(OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// The descriptor to wait for, with poll(2), epoll(7) or any event loop. It is readable as long as `mtasts_queue_next`
/// has something to do. Do not read, write or close it: the queue closes it. Remove it from an epoll set before that.
///
/// Returns the descriptor (0 or more), `MTASTS_E_ARGUMENT` or `MTASTS_E_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_fd(queue: *const mtasts_queue) -> i32 {
    // SAFETY: the caller's promise.
    let body = || Ok(unsafe { handle(queue) }?.queue.descriptor()?);
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Submits a lookup and returns at once. The lookup is that of `mtasts_lookup`: the same domain, the same time limit
/// (from now on), the same answer. A hit in the cache, or a domain that cannot have a policy, is complete when the call
/// returns. Otherwise a thread of the queue asks the network: one thread for all pending lookups of a domain, at most
/// 256 threads for a queue.
///
/// Each lookup completes once, at most a second after its time limit; the answer is then what the cache knows. `user`
/// comes back with the completion; the library does not use it. `id` receives the number of the lookup, which is never
/// 0; it may be NULL. A pending lookup takes less than 1 KiB of memory and the text of its domain, beside what the
/// threads use.
///
/// A lookup that ran out of time before anything was known completes with `MTASTS_E_UNAVAILABLE` in a process of root,
/// because root does not read the cache itself. The same is true in every process for a lookup that was never started
/// because silent names keep all threads busy that its parent domain may use, unless the cache has a policy of the
/// domain.
///
/// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`; `MTASTS_E_UNAVAILABLE` if there is no thread; `MTASTS_E_FORKED` or
/// `MTASTS_E_DEFECT`. Only after `MTASTS_OK` there is a completion.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_submit(
    queue: *const mtasts_queue,
    domain: *const c_char,
    length: usize,
    timeout_ms: u32,
    user: *mut c_void,
    id: *mut u64,
    error: *mut mtasts_error,
) -> i32 {
    let submit = |queue: &Queue<User>, domain: &str| queue.submit(domain, patience(timeout_ms), User(user));
    // SAFETY: all are the caller's.
    unsafe { guard(error, || begin(queue, domain, length, id, submit)) }
}

/// Submits a check for a newer policy, which is that of `mtasts_recheck`. Time limit, completion, arguments and return
/// values are those of `mtasts_queue_submit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_recheck(
    queue: *const mtasts_queue,
    domain: *const c_char,
    length: usize,
    timeout_ms: u32,
    user: *mut c_void,
    id: *mut u64,
    error: *mut mtasts_error,
) -> i32 {
    let recheck = |queue: &Queue<User>, domain: &str| queue.recheck(domain, patience(timeout_ms), User(user));
    // SAFETY: all are the caller's.
    unsafe { guard(error, || begin(queue, domain, length, id, recheck)) }
}

/// # Safety
/// As `mtasts_queue_submit`.
unsafe fn begin(
    queue: *const mtasts_queue,
    domain: *const c_char,
    length: usize,
    id: *mut u64,
    submit: impl FnOnce(&Queue<User>, &str) -> Result<u64, QueueError>,
) -> Result<i32, Fault> {
    // SAFETY: the caller's promises.
    let (queue, domain, id) = unsafe { (handle(queue)?, any_name(domain, length)?, id.as_mut()) };
    let given = submit(&queue.queue, &domain)?;
    if let Some(id) = id {
        *id = given;
    }
    Ok(OK)
}

/// Takes the next completion. When the descriptor is readable, call this until it returns 0. The log function of the
/// settings is called from here, and never on a thread of the queue.
///
/// Returns 1 with the completion in `completion`, 0 if there is none now, `MTASTS_E_ARGUMENT` or `MTASTS_E_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_next(queue: *const mtasts_queue, completion: *mut mtasts_completion) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (queue, place) = unsafe { (handle(queue)?, Place::new(completion, "completion")?) };
        let Some(done) = queue.queue.next()? else {
            return Ok(0);
        };
        let mut told: mtasts_completion = zeroed();
        (told.id, told.user) = (done.id, done.user.0);
        let status = match done.result {
            Completed::Answer(answer) => {
                told.answer = mtasts_answer::give(answer);
                Status::Ok
            }
            Completed::Cancelled => Status::Cancelled,
            Completed::Failed(error) => {
                copy_text(&mut told.message, &error.to_string());
                Status::Unavailable
            }
        };
        told.status = status.number();
        place.write(&told);
        Ok(1)
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Cancels a lookup. It completes at once with `MTASTS_E_CANCELLED`; take that completion with `mtasts_queue_next`. Its
/// thread goes on, and what it finds goes to the cache.
///
/// Returns 1; 0 if no such lookup is pending, because its completion is ready or was taken; `MTASTS_E_ARGUMENT` or
/// `MTASTS_E_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_cancel(queue: *const mtasts_queue, id: u64) -> i32 {
    // SAFETY: the caller's promise.
    let body = || Ok(i32::from(unsafe { handle(queue) }?.queue.cancel(id)?));
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Frees a queue and closes its descriptor. NULL is allowed. It does not wait: pending lookups and completions that
/// were not taken are dropped, and their `user` does not come back. Threads that still ask the network finish for the
/// cache, end at the time limit at the latest, and touch nothing of the program. No thread may be inside a call with
/// the queue. In a child process it frees the child's copy only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_free(queue: *mut mtasts_queue) {
    // SAFETY: the caller does not use it again.
    unsafe { free(queue) }
}
