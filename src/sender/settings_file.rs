//! How a file of the operator is read: the settings, and the exceptions.

use std::path::Path;

/// The longest file that is read, in octets.
const MAX_FILE: u64 = 1024 * 1024;

/// The text of a file of the operator. Only a regular file of limited size is read: a FIFO or a device would hold up
/// the process that asks.
///
/// # Errors
/// What is wrong with the file, in plain words.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    let about = std::fs::metadata(file).map_err(|e| e.to_string())?;
    if !about.is_file() {
        return Err("is not a regular file".into());
    }
    if about.len() > MAX_FILE {
        return Err(format!("longer than {MAX_FILE} octets"));
    }
    std::fs::read_to_string(file).map_err(|e| e.to_string())
}
