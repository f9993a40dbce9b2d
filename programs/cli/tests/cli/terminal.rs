//! What the command does on a terminal, and only there. `script` (util-linux) makes one.

use std::path::Path;
use std::process::Command;

use mtasts_kit::pki;

/// Runs the command on a terminal, with these variables set. What comes is stdout and stderr as the terminal gets them.
pub(crate) fn on_a_terminal(arguments: &str, variables: &[(&str, &str)]) -> (i32, String) {
    let mut command: Command = pki::command("script", "bsdutils", Path::new("/"));
    let binary = env!("CARGO_BIN_EXE_mtasts");
    command.args(["-q", "-e", "-c", &format!("'{binary}' {arguments}"), "/dev/null"]);
    command
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied());
    command.stdin(std::process::Stdio::null());
    let output = command.output().expect("script");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code().expect("an exit status"), text)
}

#[test]
fn colours_only_where_they_are_wanted() {
    let record = "lint record 'v=STSv1; id=a'";
    let coloured = "  \x1b[1m\x1b[32mok\x1b[0m      id a\r\n            v=STSv1; id=a\r\n".to_owned();
    let plain = "  ok      id a\r\n            v=STSv1; id=a\r\n".to_owned();
    assert_eq!(on_a_terminal(record, &[]), (0, coloured.clone()));
    assert_eq!(on_a_terminal(record, &[("NO_COLOR", "")]), (0, coloured));
    assert_eq!(on_a_terminal(record, &[("NO_COLOR", "1")]), (0, plain.clone()));
    assert_eq!(on_a_terminal(record, &[("TERM", "dumb")]), (0, plain.clone()));
    let piped = on_a_terminal(&format!("{record} | cat"), &[]);
    assert_eq!(piped, (0, plain));
    let (status, json) = on_a_terminal(&format!("{record} --json"), &[]);
    assert_eq!(
        (status, json.as_str()),
        (
            0,
            "{\"corrected\":\"v=STSv1; id=a;\",\"findings\":[],\"id\":\"a\",\"outcome\":\"valid\"}\r\n"
        )
    );
    assert!(on_a_terminal("lint record x", &[]).1.contains("\x1b[31mbad\x1b[0m"));
}

/// Escape sequences of strangers do not come through; those that are there are our own.
#[test]
fn strangers_do_not_steer_the_terminal() {
    let (status, text) = on_a_terminal("lint record \"$(printf 'v=STSv1; id=a; \\033]0;x\\007\\033[2J')\"", &[]);
    assert_eq!(status, 1);
    assert!(text.contains("\\u{1b}]0;x\\u{7}\\u{1b}[2J"), "{text:?}");
    assert!(!text.contains("\x1b]") && !text.contains("\x1b[2J"), "{text:?}");
}
