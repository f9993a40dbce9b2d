//! The questions of an Exim without `dlfunc`, one line each by `${readsocket}`, and the answers: `OK TEXT` with the text that
//! the function of the same name yields (`mtasts_exim_lookup` and so on), or `FAIL SENTENCE` if that would fail.
//!
//! The end of the line belongs to both: a piece of a line is not a question, and Exim takes no piece for an answer.

use std::sync::Arc;

use super::exim::{Facts, may_be_yielded, plain, refusal};
use super::exim_answer;
use crate::sender::answer::Answer;
use crate::sender::notice::{Notice, Token};

/// A line begins with this word, and no query of a socketmap does.
pub const FIRST: &str = "exim ";

/// What Exim asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The mail domain as Exim has it.
    pub domain: &'a str,
    /// What of it.
    pub about: About<'a>,
}

/// What Exim asks of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// `lookup DOMAIN [HOSTS]`: the policy, and the names of the MX hosts if they are known.
    Policy(Option<&'a str>),
    /// `mode DOMAIN`.
    Mode,
    /// `check_mx DOMAIN HOST`: an MX host by its name.
    Host(&'a str),
    /// `certificate DOMAIN HOST FACTS`: whether a host's certificate is refused, as `mtasts_exim_event` does it at
    /// `tls:cert`. No policy is looked up for it.
    Certificate(&'a str, &'a str),
}

impl<'a> Question<'a> {
    /// Reads a line without its end.
    ///
    /// # Errors
    /// It is not a question.
    pub fn parse(line: &'a [u8]) -> Result<Self, Notice> {
        let usage = || {
            let sentence = "a line is exim lookup DOMAIN [HOSTS], exim mode DOMAIN, exim check_mx DOMAIN HOST or exim \
                            certificate DOMAIN HOST FACTS";
            Notice::new(Token::Usage, sentence)
        };
        let line = std::str::from_utf8(line).map_err(|_| usage())?;
        let words = line.strip_prefix(FIRST).ok_or_else(usage)?;
        let (function, rest) = words.split_once(' ').ok_or_else(usage)?;
        let (domain, more) = match rest.split_once(' ') {
            Some((domain, more)) => (domain, Some(more)),
            None => (rest, None),
        };
        let about = match (function, more) {
            ("lookup", hosts) => About::Policy(hosts),
            ("mode", None) => About::Mode,
            ("check_mx", Some(host)) => About::Host(host),
            ("certificate", Some(more)) => {
                let (host, facts) = more.split_once(' ').ok_or_else(usage)?;
                About::Certificate(host, facts)
            }
            _ => return Err(usage()),
        };
        Ok(Self { domain, about })
    }

    /// The answer for which nothing has to be looked up.
    #[must_use]
    pub fn at_once(&self) -> Option<String> {
        match self.about {
            About::Certificate(host, facts) => Some(refusal(self.domain, host, &Facts(facts)).unwrap_or_default()),
            _ => None,
        }
    }

    /// The answer after the lookup of the domain.
    ///
    /// # Errors
    /// Mail for the domain waits; why.
    pub fn answer(&self, answer: &Arc<Answer>) -> Result<String, Notice> {
        if let Some(notice) = exim_answer::waits(answer) {
            return Err(notice);
        }
        Ok(match self.about {
            About::Policy(hosts) => {
                let told = answer.to_tell().map(|notice| notice.to_string()).collect();
                exim_answer::lookup(answer, hosts) + &exim_answer::warning(told)
            }
            About::Mode => answer.mode().name().to_owned(),
            About::Host(host) => exim_answer::check_mx(answer, host).to_owned(),
            About::Certificate(..) => self.at_once().unwrap_or_default(),
        })
    }
}

/// The line that Exim gets.
#[must_use]
pub fn line(answer: Result<String, Notice>) -> String {
    match answer {
        Ok(text) if text.bytes().all(may_be_yielded) => format!("OK {text}\n"),
        Ok(_) => "FAIL libmtasts has a defect (a character that must not reach Exim). Please report it.\n".into(),
        Err(notice) => format!("FAIL {}\n", plain(&notice.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_lines_that_are_none() {
        let of = |about| Question {
            domain: "ok.test",
            about,
        };
        for (line, question) in [
            ("exim lookup ok.test", of(About::Policy(None))),
            (
                "exim lookup ok.test a.test;b.test",
                of(About::Policy(Some("a.test;b.test"))),
            ),
            ("exim lookup ok.test ", of(About::Policy(Some("")))),
            ("exim mode ok.test", of(About::Mode)),
            ("exim check_mx ok.test mx.ok.test", of(About::Host("mx.ok.test"))),
            (
                "exim certificate ok.test mx.ok.test tlsa=0 cert=AA",
                of(About::Certificate("mx.ok.test", "tlsa=0 cert=AA")),
            ),
        ] {
            assert_eq!(Question::parse(line.as_bytes()).unwrap(), question, "{line}");
        }
        for line in [
            &b""[..],
            b"exim",
            b"exim ",
            b"exim lookup",
            b"exim mode ok.test more",
            b"exim check_mx ok.test",
            b"exim certificate ok.test mx.ok.test",
            b"exim event ok.test a",
            b"EXIM lookup ok.test",
            b"exim lookup \xff.test",
        ] {
            assert!(Question::parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_certificate_needs_no_lookup() {
        let at_once = |line: &str| Question::parse(line.as_bytes()).unwrap().at_once();
        let facts = "tlsa=0 transport=remote_smtp_mtasts cert";
        let refused = at_once(&format!("exim certificate ok.test mx.ok.test {facts}=AAAA")).unwrap();
        assert!(refused.contains("mx.ok.test has no DNS name"), "{refused}");
        let none = at_once(&format!("exim certificate ok.test mx.ok.test {facts}="));
        assert_eq!(none.as_deref(), Some(""));
        assert_eq!(at_once("exim mode ok.test"), None);
    }

    #[test]
    fn no_octet_that_quotes_or_expands_anything() {
        assert_eq!(line(Ok("mode=none".into())), "OK mode=none\n");
        assert!(line(Ok("a\nOK b".into())).starts_with("FAIL "));
        let notice = Notice::new(Token::Usage, "${run\n{a}}");
        assert_eq!(line(Err(notice)), "FAIL mtasts[usage]: $?run ?a??\n");
    }
}
