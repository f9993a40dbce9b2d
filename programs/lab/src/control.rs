//! The control socket: one JSON object per line asks, one answers.
//!
//! `{"op":"set","domain":"good.test","https":"404"}`, `{"op":"reset"}`, `{"op":"counters"}`, `{"op":"requests"}`, `{"op":"mail"}`.

use super::Internet;
use super::change::{Change, invalid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(super) enum Operation {
    Set {
        domain: String,
        #[serde(flatten)]
        change: Value,
    },
    Reset,
    Counters,
    Requests,
    Mail,
}

/// Answers everyone who comes to the socket.
pub(super) async fn serve(internet: Arc<Internet>, listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let internet = internet.clone();
        tokio::spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut lines = tokio::io::BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = match perform(&internet, &line).await {
                    Ok(answer) => answer,
                    Err(error) => json!({ "error": error.to_string() }),
                };
                if write.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn perform(internet: &Internet, line: &str) -> io::Result<Value> {
    match serde_json::from_str(line)? {
        Operation::Set { domain, change } => {
            let change: Change = serde_json::from_value(one_or_many(change))?;
            internet.change(&domain, change).await?;
        }
        Operation::Reset => internet.reset().await?,
        Operation::Counters => return Ok(json!({ "counters": internet.world.log().counters })),
        Operation::Requests => return Ok(json!({ "requests": internet.world.log().requests })),
        Operation::Mail => {
            let (mail, sessions) = {
                let log = internet.world.log();
                (log.mail.clone(), log.sessions.clone())
            };
            return Ok(json!({ "mail": mail, "sessions": sessions }));
        }
    }
    Ok(json!({ "ok": true }))
}

/// A list of one may be written without its brackets.
fn one_or_many(mut change: Value) -> Value {
    for key in ["txt", "hosts", "addresses"] {
        if let Some(value) = change.get_mut(key).filter(|value| value.is_string()) {
            *value = json!([value.take()]);
        }
    }
    change
}

/// Asks the lab whose socket this is.
///
/// # Errors
/// The socket cannot be reached, or the lab refuses; then the message is the lab's.
pub(super) fn ask(socket: &Path, question: &Operation) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("{}\n", serde_json::to_string(question)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: Value = serde_json::from_str(&line)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(invalid(error.to_owned())),
        None => Ok(answer),
    }
}
