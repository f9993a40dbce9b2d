//! Structs of the caller that may grow, as those of openat2(2) and of libpathrs.
//!
//! Each begins with `size`, which the caller sets to the `sizeof` that it was compiled with. A later version of the
//! library appends fields and nothing else, so the size says which fields the caller has:
//!
//! * An older caller's struct is shorter than ours. What it does not have is taken as zero, and is not written.
//! * A newer caller's struct is longer. A field that we do not know has to be zero when we read it: a field that is set
//!   asks for something that we cannot do, and it must not be ignored. When we write, such a field becomes zero.
//!
//! A struct that is shorter than the first released layout, or longer than any will be, has no valid size.

use std::ptr;

use super::fault::Fault;

/// The largest size that is believed. A size beyond it is memory that was never set.
const LARGEST: usize = 8192;

/// A struct of the caller.
///
/// # Safety
/// The type is `repr(C)`, begins with `size: usize`, has no padding at its end (the next field would lie in what older
/// callers never set; `tests/capi/abi.rs` sees to it), and is valid when all its octets are zero.
pub(super) unsafe trait Extensible: Sized {
    /// The size of the first released layout. It never changes.
    const FIRST: usize;
}

/// The layout that this library knows. `tests/capi/extensible.rs` builds a library that knows a field more: that is
/// what each later version is for today's programs.
#[repr(C)]
struct Known<T> {
    value: T,
    #[cfg(mtasts_grown)]
    grown: u64,
}

/// What the longer library of the tests writes into its additional field.
#[cfg(mtasts_grown)]
const GROWN: u64 = 0x6772_6f77_6e21;

/// A struct of zeros, to be filled and written.
pub(super) fn zeroed<T: Extensible>() -> T {
    // SAFETY: the trait's promise.
    unsafe { std::mem::zeroed() }
}

/// The size that the caller has set.
///
/// # Safety
/// `place` is NULL or points to a struct whose `size` is set.
unsafe fn size_at<T: Extensible>(place: *const T, what: &str) -> Result<usize, Fault> {
    const { assert!(T::FIRST <= size_of::<T>(), "a struct never shrinks") };
    if place.is_null() {
        return Err(Fault::argument(&format!("{what} is NULL")));
    }
    // SAFETY: the caller's promise; each such struct begins with it.
    let size = unsafe { place.cast::<usize>().read_unaligned() };
    if (T::FIRST..=LARGEST).contains(&size) {
        return Ok(size);
    }
    Err(Fault::argument(&format!(
        "{what}.size is {size}: set it to the size of the struct, which is {} or more",
        T::FIRST
    )))
}

/// Reads a struct of the caller.
///
/// # Safety
/// `place` is NULL or points to a struct whose `size` is set and true, unchanged during the call.
pub(super) unsafe fn read<T: Extensible>(place: *const T, what: &str) -> Result<T, Fault> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_at(place, what)? };
    let known = size.min(size_of::<Known<T>>());
    // SAFETY: the caller's struct has `size` octets.
    let tail = unsafe { std::slice::from_raw_parts(place.cast::<u8>().add(known), size - known) };
    if tail.iter().any(|octet| *octet != 0) {
        return Err(Fault::argument(&format!(
            "{what} has a field set that version {} of libmtasts does not know",
            env!("CARGO_PKG_VERSION")
        )));
    }
    // SAFETY: valid when zero, by the trait's promise.
    let mut read: Known<T> = unsafe { std::mem::zeroed() };
    // SAFETY: both have so many octets, and one of them is ours.
    unsafe { ptr::copy_nonoverlapping(place.cast::<u8>(), (&raw mut read).cast::<u8>(), known) };
    Ok(read.value)
}

/// A struct of the caller that a result goes to.
pub(super) struct Place<T> {
    at: *mut T,
    size: usize,
}

impl<T: Extensible> Place<T> {
    /// Looks at the size.
    ///
    /// # Safety
    /// `at` is NULL or points to a struct whose `size` is set and true, and which is the library's until the value is
    /// written.
    pub(super) unsafe fn new(at: *mut T, what: &str) -> Result<Self, Fault> {
        // SAFETY: the caller's promise.
        let size = unsafe { size_at(at, what)? };
        Ok(Self { at, size })
    }

    /// Writes all that follows `size`, and no octet more than the caller has.
    pub(super) fn write(self, value: &T) {
        let (from, to) = (ptr::from_ref(value).cast::<u8>(), self.at.cast::<u8>());
        let (head, known) = (size_of::<usize>(), self.size.min(size_of::<T>()));
        // SAFETY: the caller's struct has `self.size` octets, by the promise of `new`; ours has `known`.
        unsafe {
            ptr::copy_nonoverlapping(from.add(head), to.add(head), known - head);
            ptr::write_bytes(to.add(known), 0, self.size - known);
        }
        #[cfg(mtasts_grown)]
        if self.size >= size_of::<Known<T>>() {
            // SAFETY: the caller's struct has so many octets.
            unsafe {
                to.add(std::mem::offset_of!(Known<T>, grown))
                    .cast::<u64>()
                    .write_unaligned(GROWN)
            };
        }
    }
}
