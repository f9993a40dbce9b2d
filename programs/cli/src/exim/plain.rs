//! A configuration in one file: where our parts belong in it, and what they take over from it.
//!
//! Our routers are placed before the last `dnslookup` router. They route the same domains and ignore the same addresses as
//! that one, and our transports have the options of its transport: what it signs, which address it sends from.

use std::ops::Range;

use super::block;

const SHIPPED: &str = include_str!("../../../../examples/exim/exim.conf");
/// The three parts, by the names of their blocks.
pub(super) const NAMES: [&str; 3] = ["router/mtasts", "transport/mtasts", "retry/mtasts"];
/// The line of a shipped transport that the options of the operator's follow.
const AS_IN: &str = "  # From here on as in remote_smtp.\n";
/// Options of a router that change nothing for ours. Any other does, and then a person has to place ours.
const HARMLESS: [&str; 9] = [
    "driver",
    "domains",
    "transport",
    "ignore_target_hosts",
    "more",
    "same_domain_copy_routing",
    "debug_print",
    "dnssec_request_domains",
    "cannot_route_message",
];
/// Options of a transport that ours does not take over, because it has its own.
const OURS: [&str; 14] = [
    "driver",
    "event_action",
    "debug_print",
    "multi_domain",
    "connection_max_messages",
    "hosts_require_tls",
    "hosts_avoid_tls",
    "tls_verify_hosts",
    "tls_verify_cert_hostnames",
    "tls_verify_certificates",
    "tls_sni",
    "tls_resumption_hosts",
    "tls_require_ciphers",
    "hosts_try_dane",
];
const OURS_TOO: [&str; 3] = [
    "dnssec_request_domains",
    "tls_try_verify_hosts",
    "tls_tempfail_tryclear",
];

/// The text of a part as it is shipped, before it takes anything over.
pub(super) fn shipped(name: &str) -> &'static str {
    block::find(SHIPPED, name).map_or("", |block| block.content)
}

/// The file without our parts.
pub(super) fn without(text: &str) -> String {
    NAMES
        .iter()
        .fold(text.to_owned(), |text, name| block::without(&text, name))
}

/// The text of each part, in the sequence of [`NAMES`], and where it belongs. `text` has none of them.
pub(super) fn parts(text: &str) -> Result<[(String, usize); 3], String> {
    let lines = lines(text);
    let begin = |name: &str| {
        let (start, inside) = section(&lines, name).ok_or_else(|| format!("it has no line \"begin {name}\""))?;
        match lines[start].depth {
            0 => Ok((lines[start].range.end, inside)),
            _ => Err(format!("its line \"begin {name}\" is below an .ifdef")),
        }
    };
    let ((start, routers), (transports_begin, transports), (retry, _)) =
        (begin("routers")?, begin("transports")?, begin("retry")?);
    if transports_begin < start {
        return Err("its transports come before its routers".to_owned());
    }
    let (routers, transports) = (drivers(routers), drivers(transports));
    let is_dns = |driver: &&Driver<'_>| driver.value("driver") == Some("dnslookup");
    let router = routers.iter().rfind(is_dns);
    let router = router.ok_or("it has no router with driver = dnslookup")?;
    router.check()?;
    let name = router.value("transport").unwrap_or_default();
    let transport = transports
        .iter()
        .find(|driver| driver.name == name)
        .filter(|transport| transport.value("driver") == Some("smtp"))
        .ok_or_else(|| {
            format!(
                "the router {} has no transport with driver = smtp that could be found",
                router.name
            )
        })?;
    if transport
        .value("event_action")
        .is_some_and(|action| action != "MTASTS_EVENT")
    {
        return Err(format!("the transport {name} has an event_action"));
    }
    let routers_text = shipped(NAMES[0])
        .replace(
            "MTASTS_DOMAINS = ! +local_domains\n",
            &format!("MTASTS_DOMAINS = {}\n", router.value("domains").unwrap_or("*")),
        )
        .replace(
            "MTASTS_PRIVATE = <; 0.0.0.0 ; 127.0.0.0/8 ; ::1\n",
            &format!(
                "MTASTS_PRIVATE = {}\n",
                router.value("ignore_target_hosts").unwrap_or_default()
            ),
        );
    let mut pieces = shipped(NAMES[1]).split(AS_IN);
    let as_in = AS_IN.replace("remote_smtp", name);
    let mut transports_text = pieces.next().unwrap_or_default().to_owned();
    for (piece, enforced) in pieces.zip([true, false]) {
        transports_text += &as_in;
        transports_text += &transport.options(text, enforced);
        transports_text += piece;
    }
    Ok([
        (routers_text, above_comments(text, router.start)),
        (transports_text, transports_begin),
        (shipped(NAMES[2]).to_owned(), retry),
    ])
}

/// The file with our parts. `text` has none of them.
pub(super) fn with(text: &str) -> Result<String, String> {
    let mut places: Vec<_> = NAMES.into_iter().zip(parts(text)?).collect();
    places.sort_by_key(|(_, (_, place))| *place);
    let (mut whole, mut done) = (String::new(), 0);
    for (name, (part, place)) in places {
        whole += &text[done..place];
        // Only the last line of a file may have no end.
        if !whole.ends_with('\n') {
            return Err("its last line has no end".to_owned());
        }
        whole += &block::of(name, &block::sealed(&part));
        done = place;
    }
    Ok(whole + &text[done..])
}

/// The routers with driver = dnslookup before the last: what they route does not reach ours.
pub(super) fn exempt(text: &str) -> Vec<String> {
    let lines = lines(text);
    let routers = section(&lines, "routers").map_or_else(Vec::new, |(_, inside)| drivers(inside));
    let dns = routers
        .iter()
        .filter(|router| router.value("driver") == Some("dnslookup"));
    let mut names: Vec<_> = dns.map(|router| router.name.to_owned()).collect();
    names.pop();
    names
}

/// A line as Exim reads it: those that end with a backslash are one with the next.
struct Line {
    range: Range<usize>,
    text: String,
    /// How many .ifdef are open.
    depth: usize,
}

fn lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let (mut start, mut depth, mut continued) = (0, 0_usize, false);
    for piece in text.split_inclusive('\n') {
        let end = start + piece.len();
        let line = piece.trim();
        let (body, more) = line.strip_suffix('\\').map_or((line, false), |body| (body, true));
        match lines.last_mut().filter(|_| continued) {
            // A comment among continued lines is none of them.
            Some(last) if line.starts_with('#') => last.range.end = end,
            Some(last) => {
                last.text += body;
                last.range.end = end;
                continued = more;
            }
            None => {
                continued = more && !line.starts_with('#');
                let text = if continued { body } else { line }.to_owned();
                if text.starts_with(".endif") {
                    depth = depth.saturating_sub(1);
                }
                let at = depth;
                if text.starts_with(".if") {
                    depth += 1;
                }
                lines.push(Line {
                    range: start..end,
                    text,
                    depth: at,
                });
            }
        }
        start = end;
    }
    lines
}

/// A router or a transport.
struct Driver<'a> {
    name: &'a str,
    start: usize,
    lines: Vec<&'a Line>,
}

/// The number of the line that begins a section, and the lines behind it.
fn section<'a>(lines: &'a [Line], name: &str) -> Option<(usize, &'a [Line])> {
    let begins = |line: &Line| line.text.split_whitespace().next() == Some("begin");
    let start = lines
        .iter()
        .position(|line| begins(line) && line.text.split_whitespace().nth(1) == Some(name))?;
    let rest = &lines[start + 1..];
    let length = rest.iter().position(begins).unwrap_or(rest.len());
    Some((start, &rest[..length]))
}

/// Those of a section.
fn drivers(section: &[Line]) -> Vec<Driver<'_>> {
    let mut drivers: Vec<Driver<'_>> = Vec::new();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    for line in section {
        match line.text.split_once(':') {
            Some((name, "")) if !name.is_empty() && name.chars().all(word) => drivers.push(Driver {
                name,
                start: line.range.start,
                lines: Vec::new(),
            }),
            _ => drivers
                .last_mut()
                .into_iter()
                .for_each(|driver| driver.lines.push(line)),
        }
    }
    drivers
}

/// The option that a line sets, and its value. Neither a comment, nor a directive, nor a macro.
fn option(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line
        .split_once('=')
        .map_or((line, ""), |(name, value)| (name.trim(), value.trim()));
    let name = name.strip_prefix("hide ").unwrap_or(name).trim();
    let name = ["no_", "not_"]
        .iter()
        .find_map(|no| name.strip_prefix(no))
        .unwrap_or(name);
    name.starts_with(|c: char| c.is_ascii_lowercase())
        .then_some((name, value))
}

impl Driver<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|line| option(&line.text).filter(|(option, _)| *option == name))
            .map(|(_, value)| value)
    }

    /// Whether mail that this router routes may be routed by ours before.
    fn check(&self) -> Result<(), String> {
        let mut seen: Vec<&str> = Vec::new();
        for (option, _) in self.lines.iter().filter_map(|line| option(&line.text)) {
            if !HARMLESS.contains(&option) {
                return Err(format!("its router {} has the option {option}", self.name));
            }
            if seen.contains(&option) {
                return Err(format!("its router {} has the option {option} twice", self.name));
            }
            seen.push(option);
        }
        Ok(())
    }

    /// The lines of this transport that ours has too. One under a policy in force has options of its own; one in testing
    /// differs in two alone.
    fn options(&self, text: &str, enforced: bool) -> String {
        // With MTASTS_REPORTS ours runs as Exim's user, too.
        let as_exim = self.value("user") == Some("$exim_uid");
        let ours = |option: &str| match option {
            "user" | "group" | "initgroups" if as_exim => true,
            _ if enforced => OURS.contains(&option) || OURS_TOO.contains(&option),
            _ => ["driver", "event_action", "multi_domain"].contains(&option),
        };
        // Until the .ifdef ends in which the transport is, and no further than the last option and the .endif of that.
        let base = self.lines.first().map_or(0, |line| line.depth);
        let outside = |line: &Line| line.depth < base || (line.depth == base && line.text.starts_with(".else"));
        let own = self.lines.iter().take_while(|line| !outside(line));
        let own: Vec<_> = own.collect();
        let last = own.iter().rposition(|line| option(&line.text).is_some()).unwrap_or(0);
        let open = own.get(last).is_some_and(|line| line.depth > base);
        let closing = own.iter().skip(last).position(|line| line.depth == base);
        let end = last + closing.filter(|_| open).unwrap_or(0);
        let kept = own.iter().take(end + 1).filter(|line| match option(&line.text) {
            Some((option, _)) => !ours(option),
            None => line.text.starts_with('.'),
        });
        kept.map(|line| &text[line.range.clone()]).collect()
    }
}

/// The start of the comment directly above.
fn above_comments(text: &str, mut place: usize) -> usize {
    while let Some(before) = text[..place].strip_suffix('\n') {
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        if !before[start..].trim_start().starts_with('#') {
            break;
        }
        place = start;
    }
    place
}
