//! Files that the operator names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Trouble;

/// Reads a file, or stdin if its name is `-`, and no more than `longest` octets of it: a caller that needs to know
/// whether there is more asks for one octet more.
pub(super) fn read(file: &Path, longest: usize) -> Result<Vec<u8>, Trouble> {
    let mut content = Vec::new();
    let mut read = |source: &mut dyn Read| source.take(longest as u64).read_to_end(&mut content);
    let (name, result) = if file == Path::new("-") {
        ("stdin".to_owned(), read(&mut io::stdin().lock()))
    } else {
        let name = file.to_string_lossy().into_owned();
        (name, File::open(file).and_then(|mut file| read(&mut file)))
    };
    match result {
        Ok(_) => Ok(content),
        Err(error) => Err(Trouble(format!("{name}: {error}"))),
    }
}
