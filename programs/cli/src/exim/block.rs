//! A named block in a configuration, with the lines around it that Debian's update-exim4.conf.template writes; and the seal
//! in it, which says which version wrote it and whether it was edited since.

use std::ops::Range;

const RULE: &str = "#####################################################\n";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A block as it is found in a text.
pub(super) struct Block<'a> {
    /// The whole of it, with the lines around it.
    pub(super) range: Range<usize>,
    pub(super) content: &'a str,
}

fn around(name: &str) -> (String, String) {
    (
        format!("{RULE}### {name}\n{RULE}"),
        format!("{RULE}### end {name}\n{RULE}"),
    )
}

pub(super) fn find<'a>(text: &'a str, name: &str) -> Option<Block<'a>> {
    let (begin, end) = around(name);
    let start = text.find(&begin)?;
    let inside = start + begin.len();
    let length = text.get(inside..)?.find(&end)?;
    Some(Block {
        range: start..inside + length + end.len(),
        content: text.get(inside..inside + length)?,
    })
}

/// The block that has this content.
pub(super) fn of(name: &str, content: &str) -> String {
    let (begin, end) = around(name);
    format!("{begin}{content}{end}")
}

/// The names of the blocks, in their sequence.
pub(super) fn names(text: &str) -> Vec<&str> {
    let begins = text.match_indices(RULE).filter_map(|(place, rule)| {
        let name = text[place + rule.len()..].strip_prefix("### ")?.split('\n').next()?;
        find(text, name)
            .filter(|block| block.range.start == place)
            .map(|_| name)
    });
    begins.collect()
}

/// The text without the block.
pub(super) fn without(text: &str, name: &str) -> String {
    let mut rest = text.to_owned();
    while let Some(block) = find(&rest, name) {
        let range = block.range;
        rest.replace_range(range, "");
    }
    rest
}

/// What a part of ours in a configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Absent,
    /// As this version ships it.
    Current,
    /// As `mtasts exim install` wrote it, and not as it would write it now: that version is another, or the configuration
    /// around it has changed.
    Outdated {
        version: String,
    },
    /// By hand, or copied from another version.
    Edited,
}

impl State {
    /// What `content` is if `shipped` belongs there.
    pub(super) fn of(content: Option<&str>, shipped: &str) -> Self {
        let Some(content) = content else {
            return Self::Absent;
        };
        let content = of_package(content).unwrap_or(content);
        match opened(content) {
            _ if content == shipped => Self::Current,
            Some((_, true, text)) if text == shipped => Self::Current,
            Some((version, true, _)) => Self::Outdated {
                version: version.to_owned(),
            },
            Some((_, false, _)) | None => Self::Edited,
        }
    }
}

/// The text in what the Debian package exim4-mtasts ships, which applies only while the package is installed.
fn of_package(content: &str) -> Option<&str> {
    content
        .strip_prefix(".ifdef MTASTS_INSTALLED\n")?
        .strip_suffix(".endif\n")
}

/// A shipped text behind a seal of this version.
pub(super) fn sealed(text: &str) -> String {
    format!(
        "# libmtasts {VERSION} {:016x} (mtasts exim install)\n{text}",
        checksum(text)
    )
}

/// The version of a seal, whether the text is still the one that was sealed, and the text.
fn opened(content: &str) -> Option<(&str, bool, &str)> {
    let (seal, text) = content.split_once('\n')?;
    let mut words = seal.strip_prefix("# libmtasts ")?.split(' ');
    let (version, sum) = (words.next()?, words.next()?);
    Some((version, sum == format!("{:016x}", checksum(text)), text))
}

/// FNV-1a: it finds edits, and is no protection against those who hide them.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_as_it_came() {
        let text = format!("a\n{}b\n", of("router/x", "content\n"));
        assert_eq!(find(&text, "router/x").unwrap().content, "content\n");
        assert_eq!(without(&text, "router/x"), "a\nb\n");
        assert_eq!(without(&text, "router/y"), text);
    }

    #[test]
    fn a_seal_shows_edits_and_versions() {
        let state = |content: &str| State::of(Some(content), "now\n");
        let other = sealed("then\n").replace(VERSION, "0.0.1");
        assert_eq!(State::of(None, "now\n"), State::Absent);
        assert_eq!(state("now\n"), State::Current);
        assert_eq!(state(&sealed("now\n")), State::Current);
        assert_eq!(
            state(&other),
            State::Outdated {
                version: "0.0.1".to_owned()
            }
        );
        assert_eq!(state(&other.replace("then", "when")), State::Edited);
        assert_eq!(state(&sealed("now\n").replace("now", "not")), State::Edited);
        assert_eq!(state("then\n"), State::Edited);
        assert_eq!(state(".ifdef MTASTS_INSTALLED\nnow\n.endif\n"), State::Current);
        assert_eq!(state(".ifdef MTASTS_INSTALLED\nthen\n.endif\n"), State::Edited);
    }
}
