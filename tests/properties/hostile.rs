//! The most hostile policy texts that fit into 64 KiB, for tests and benchmarks.

use mtasts::protocol::policy::MAX_POLICY;

/// The texts, by name.
pub(crate) fn policies() -> Vec<(&'static str, String)> {
    let fill = |line: &dyn Fn(usize) -> String| {
        let mut text = String::from("version: STSv1\nmode: enforce\nmax_age: 1\nmx: a\n");
        for i in 0.. {
            let line = line(i);
            if text.len() + line.len() > MAX_POLICY {
                return text;
            }
            text.push_str(&line);
        }
        text
    };
    vec![
        ("all mx distinct", fill(&|i| format!("mx:{i:x}\n"))),
        (
            "all mx distinct and long",
            fill(&|i| format!("mx:{}{i:x}\n", "a.".repeat(120))),
        ),
        ("all mx equal", fill(&|_| "mx:a\n".into())),
        (
            "mx that share a long end",
            fill(&|i| format!("mx:*.{i:x}.{}\n", "a".repeat(60))),
        ),
        ("blank lines", fill(&|_| "\n".into())),
        ("duplicate fields", fill(&|_| "mode:x\n".into())),
        ("extension fields", fill(&|i| format!("{i:x}:1\n"))),
        (
            "one long value",
            format!("version: STSv1\nmode: none\nmax_age: 1\nx:{}", "y".repeat(65_000)),
        ),
        ("many colons", fill(&|_| "x:::::::::::::::::::::::::::::::\n".into())),
        ("one long name", "x".repeat(MAX_POLICY)),
        ("white space", fill(&|_| "x:               y               \n".into())),
    ]
}
