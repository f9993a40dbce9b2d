//! A record or a policy before it is published: every mistake at once, what each was probably meant to be, and the
//! corrected text.
//!
//! Whether something is wrong is the library's to say: its strict parser is asked about each line by itself. Here it is
//! only guessed what was meant, and no guess reaches a sender.

pub mod policy;
pub mod record;
mod text;
mod value;

/// The names of the fields of a policy (RFC 8461 3.2).
const FIELDS: [&str; 4] = ["version", "mode", "mx", "max_age"];

/// What a policy without a usable max_age gets in the corrected text, in seconds: a week.
const MAX_AGE: &str = "604800";

/// The field that a name was probably meant to be, if it is nearly that of one.
fn near(name: &str) -> Option<&'static str> {
    let plain = |name: &str| {
        let letters = name.chars().filter(|c| c.is_alphabetic());
        letters.flat_map(char::to_lowercase).collect::<String>()
    };
    let name = plain(name);
    // Of two letters nearly everything is one letter away.
    let is_mx = matches!(
        &*name,
        "mx" | "nmx" | "mxs" | "mxx" | "mmx" | "mxhost" | "mxrecord" | "mxserver"
    );
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    FIELDS.into_iter().find(|field| match *field {
        "mx" => is_mx,
        // "more" and "node" are words of their own.
        "mode" if name.len() == 4 => letters(&name) == letters("mode"),
        _ => distance(&name, &plain(field)) <= 1 && name.len() > 2,
    })
}

/// In how many places two words differ: a letter more, less or another one, or two that have changed places.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().take(40).collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let changed = rows[i][j] + usize::from(a != b);
            let mut least = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

/// A character that is no plain space and looks like one, or like nothing.
const fn is_odd_space(c: char) -> bool {
    matches!(
        c,
        '\u{a0}' | '\u{ad}' | '\u{1680}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{2064}' | '\u{3000}' | '\u{feff}'
    )
}

/// The text with plain spaces, and without what has no width.
fn plain_spaces(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => None,
        c if is_odd_space(c) => Some(' '),
        c => Some(c),
    };
    text.chars().filter_map(plain).collect()
}

/// What people and word processors put around a text.
const QUOTES: [char; 11] = [
    '"', '\'', '`', '\u{ab}', '\u{bb}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201c}', '\u{201d}', '\u{201e}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_those_of_fields() {
        for (name, field) in [
            ("Mode", "mode"),
            ("mod", "mode"),
            ("moed", "mode"),
            ("max-age", "max_age"),
            ("MaxAge", "max_age"),
            ("max_aeg", "max_age"),
            ("maxage", "max_age"),
            ("MX", "mx"),
            ("nmx", "mx"),
            ("mx1", "mx"),
            ("Version", "version"),
            ("verison", "version"),
            ("mode ", "mode"),
            ("- mx", "mx"),
        ] {
            assert_eq!(near(name), Some(field), "{name}");
        }
        for name in [
            "", "x", "m", "md", "ext", "more", "node", "max", "age", "sts", "vision", "mta-sts", "\u{e4}",
        ] {
            assert_eq!(near(name), None, "{name}");
        }
    }
}
