//! Asynchronous lookups for C.

use std::ffi::{c_char, c_void};
use std::ptr;

use super::answer::mtasts_answer;
use super::context::{mtasts_context, patience};
use super::{
    Fault, MTASTS_E_CANCELLED, MTASTS_E_FORKED, MTASTS_E_SYSTEM, MTASTS_MESSAGE_SIZE, MTASTS_OK, copy_text, guard,
    handle, mtasts_error, name,
};
use crate::protocol::names::Domain;
use crate::sender::queue::{Outcome, Queue, QueueError};

/// A queue of lookups for an event loop. For any number of threads at once, but only in the process that made it.
pub struct mtasts_queue {
    queue: Queue<User>,
}

/// What C wants back with a completion. We only carry it.
struct User(*mut c_void);

// SAFETY: the pointer is never followed here; what it points to is between the caller's own threads.
unsafe impl Send for User {}

/// A lookup that is complete. The caller's own; set `size` to `sizeof(mtasts_completion)` before the call.
#[repr(C)]
pub struct mtasts_completion {
    /// `sizeof(mtasts_completion)`, set by the caller.
    pub size: usize,
    /// The number that `mtasts_queue_submit` or `mtasts_queue_recheck` gave.
    pub id: u64,
    /// What the caller gave with it.
    pub user: *mut c_void,
    /// The answer where `status` is `MTASTS_OK`, to be freed with `mtasts_answer_free`; else NULL.
    pub answer: *mut mtasts_answer,
    /// `MTASTS_OK`; `MTASTS_E_CANCELLED`; `MTASTS_E_SYSTEM`: nothing is known of the domain, let its mail wait.
    pub status: i32,
    /// Where `status` is `MTASTS_E_SYSTEM`, what is wrong in plain words; closed by a NUL.
    pub message: [c_char; MTASTS_MESSAGE_SIZE],
}

impl From<QueueError> for Fault {
    fn from(error: QueueError) -> Self {
        let code = match error {
            QueueError::Forked => MTASTS_E_FORKED,
            QueueError::System(_) => MTASTS_E_SYSTEM,
        };
        Self::new(code, error.to_string())
    }
}

/// Makes a queue of lookups with this context, which may be freed before the queue. It opens one descriptor, and starts
/// no thread before the first lookup that needs one.
///
/// `out` receives a queue to be freed with `mtasts_queue_free`.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SYSTEM`: no descriptor.
///
/// # Safety
/// `context` is NULL or alive; `out` is NULL or points to a pointer; `error` is NULL or points to an `mtasts_error` whose
/// size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_new(
    context: *const mtasts_context,
    out: *mut *mut mtasts_queue,
    error: *mut mtasts_error,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (context, out) = unsafe { (handle(context)?, out.as_mut()) };
        let out = out.ok_or_else(|| Fault::argument("out is NULL"))?;
        let queue = Queue::new(&context.context)?;
        *out = Box::into_raw(Box::new(mtasts_queue { queue }));
        Ok(MTASTS_OK)
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// The descriptor to wait for, with poll(2), epoll(7) or any event loop: it is readable as long as `mtasts_queue_next` has
/// something to do. It is not for reading or writing, and the queue closes it; take it out of an epoll before that.
///
/// Returns the descriptor (0 or more), `MTASTS_E_ARGUMENT` or `MTASTS_E_FORKED`.
///
/// # Safety
/// `queue` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_fd(queue: *const mtasts_queue) -> i32 {
    // SAFETY: the caller's promise.
    let body = || Ok(unsafe { handle(queue) }?.queue.descriptor()?);
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Submits a lookup as `mtasts_lookup` does it: the same domain, the same time limit (from now on), the same answer. It
/// does not wait. A hit in the cache is complete when it returns; else a thread of the queue asks the network, one for
/// all lookups of a domain that are under way, and at most 256 for a queue.
///
/// Each lookup completes once, at most a second after its time limit; then the answer is what the cache knows.
/// `user` comes back with the completion and is not looked at. `id` receives the number of the lookup, never 0; NULL is
/// fine. A lookup under way takes less than 1 KiB of memory and the text of its domain, beside what the 256 threads use.
///
/// In a process of root a lookup whose time is over before anything was learnt completes with `MTASTS_E_SYSTEM`, because
/// root does not read the cache itself. So does, in any process, one that was never begun because all threads that its
/// parent domain may have are busy with silent names, unless a policy of the domain is in the cache.
///
/// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` (no such name can have a policy),
/// `MTASTS_E_SYSTEM` (no thread), `MTASTS_E_FORKED` or `MTASTS_E_PANIC`. Only after `MTASTS_OK` there is a completion.
///
/// # Safety
/// `queue` is NULL or alive; `domain` is NULL or has `length` octets; `id` is NULL or points to a number; `error` is NULL or
/// points to an `mtasts_error` whose size is set.
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
    let submit = |queue: &Queue<User>, domain: &Domain| queue.submit(domain, patience(timeout_ms), User(user));
    // SAFETY: all are the caller's.
    unsafe { guard(error, || begin(queue, domain, length, id, submit)) }
}

/// Submits a recheck as `mtasts_recheck` does it: whether there is a newer policy is asked now, whatever the cache says.
/// Time limit, completion, arguments and return values are those of `mtasts_queue_submit`.
///
/// # Safety
/// As `mtasts_queue_submit`.
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
    let recheck = |queue: &Queue<User>, domain: &Domain| queue.recheck(domain, patience(timeout_ms), User(user));
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
    submit: impl FnOnce(&Queue<User>, &Domain) -> Result<u64, QueueError>,
) -> Result<i32, Fault> {
    // SAFETY: the caller's promises.
    let (queue, domain, id) = unsafe { (handle(queue)?, name(domain, length)?, id.as_mut()) };
    let given = submit(&queue.queue, &domain)?;
    if let Some(id) = id {
        *id = given;
    }
    Ok(MTASTS_OK)
}

/// Takes the next completion. When the descriptor is readable, call this until it returns 0. The log function of the
/// settings is called in here, and on no thread of the queue.
///
/// Returns 1 and writes `completion`, 0 when there is none now, `MTASTS_E_ARGUMENT` (also where its size is not set) or
/// `MTASTS_E_FORKED`.
///
/// # Safety
/// `queue` is NULL or alive; `completion` is NULL or points to an `mtasts_completion` whose size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_next(queue: *const mtasts_queue, completion: *mut mtasts_completion) -> i32 {
    let body = || {
        // SAFETY: the caller's promises.
        let (queue, place) = unsafe { (handle(queue)?, completion.as_mut()) };
        let place = place.filter(|place| place.size == size_of::<mtasts_completion>());
        let place = place.ok_or_else(|| Fault::argument("completion is NULL or of another size"))?;
        let Some(done) = queue.queue.next()? else {
            return Ok(0);
        };
        (place.id, place.user) = (done.id, done.user.0);
        let mut message = String::new();
        (place.status, place.answer) = match done.outcome {
            Outcome::Answer(answer) => (MTASTS_OK, mtasts_answer::give(answer)),
            Outcome::Cancelled => (MTASTS_E_CANCELLED, ptr::null_mut()),
            Outcome::Failed(error) => {
                message = error.to_string();
                (MTASTS_E_SYSTEM, ptr::null_mut())
            }
        };
        copy_text(&mut place.message, &message);
        Ok(1)
    };
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Cancels a lookup: it completes at once with `MTASTS_E_CANCELLED`, and `mtasts_queue_next` gives that completion. What
/// its thread still learns goes to the cache.
///
/// Returns 1, or 0 where no such lookup is under way: it is complete, and its completion waits or was taken. Else
/// `MTASTS_E_ARGUMENT` or `MTASTS_E_FORKED`.
///
/// # Safety
/// `queue` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_cancel(queue: *const mtasts_queue, id: u64) -> i32 {
    // SAFETY: the caller's promise.
    let body = || Ok(i32::from(unsafe { handle(queue) }?.queue.cancel(id)?));
    // SAFETY: there is no error struct.
    unsafe { guard(ptr::null_mut(), body) }
}

/// Frees a queue and closes its descriptor, without waiting for anything. Lookups under way and completions that were not
/// taken are dropped; their `user` does not come back. Threads that still ask the network finish for the cache and end,
/// at the latest at the time limit, and touch nothing of the caller's. No thread may be inside a call with the queue.
/// NULL is fine. In a child process it frees the child's copy alone.
///
/// # Safety
/// `queue` is NULL or alive, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_queue_free(queue: *mut mtasts_queue) {
    if !queue.is_null() {
        // SAFETY: it came from Box::into_raw, and the caller gives it up.
        let queue = unsafe { Box::from_raw(queue) };
        super::quietly(|| drop(queue));
    }
}
