//! One client: queries in, replies out, in order. Who holds it up is noted here, and the server cuts it off. An Exim sends a
//! line in place of queries, and one alone.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use mtasts::sender::mta::exim_line;

use crate::asked;
use crate::lookups::Step;
use crate::netstring;
use crate::server::Server;

/// How much is read at a time, and how much of replies is collected before it is written.
const READ: usize = 4096;
const WRITE: usize = 64 << 10;
/// The longest line of Exim. It may have a certificate.
const LINE: usize = 64 << 10;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// The client asks nothing.
    Idle,
    /// The rest of a query is to come.
    Reading,
    /// A lookup, which ends by itself.
    LookingUp,
    /// The client is to read.
    Writing,
}

/// What a connection waits for, and since when.
pub(crate) struct Activity(Cell<(Doing, Instant)>);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Cell::new((Doing::Idle, Instant::now())))
    }

    pub(crate) fn get(&self) -> (Doing, Instant) {
        self.0.get()
    }

    /// The time is that of the change: a client that sends an octet at a time gets no more.
    fn set(&self, doing: Doing, now: Instant) {
        if self.0.get().0 != doing || doing == Doing::Idle {
            self.0.set((doing, now));
        }
    }
}

/// Why a connection ends.
pub(crate) enum End {
    /// The client has closed it, or the server stops.
    Closed,
    /// What came is not a netstring.
    Malformed,
}

/// Serves one client until it leaves, the server stops, or it cannot be understood.
pub(crate) async fn serve<S>(mut stream: S, server: &Server, activity: &Rc<Activity>) -> io::Result<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut input, mut output) = (Vec::with_capacity(READ), Vec::new());
    loop {
        if input.first() == exim_line::FIRST.as_bytes().first() {
            return line(stream, input, server, activity).await;
        }
        let mut begin = 0;
        loop {
            let (query, frame) = match netstring::first(&input[begin..]) {
                Ok(Some(first)) => first,
                Ok(None) => break,
                Err(netstring::Malformed) => {
                    // Replies to what came before are the client's.
                    stream.write_all(&output).await?;
                    return Ok(End::Malformed);
                }
            };
            if query == asked::QUESTION.as_bytes() {
                netstring::put(&asked::reply(), &mut output);
                begin += frame;
                continue;
            }
            let lookups = server.lookups();
            let reply = match lookups.step(query) {
                Step::Reply(reply) => reply,
                Step::Wait(query) => {
                    write(&mut stream, &mut output, activity).await?;
                    activity.set(Doing::LookingUp, Instant::now());
                    lookups.wait(query).await
                }
            };
            netstring::put(&reply.to_string(), &mut output);
            begin += frame;
            if output.len() >= WRITE {
                write(&mut stream, &mut output, activity).await?;
            }
        }
        input.drain(..begin);
        write(&mut stream, &mut output, activity).await?;
        if server.is_stopping() {
            return Ok(End::Closed);
        }
        let doing = if input.is_empty() { Doing::Idle } else { Doing::Reading };
        activity.set(doing, server.now());
        // A query that has not come yet fits; another one waits in the socket.
        let room = netstring::FRAME - input.len();
        let before = input.len();
        input.resize(before + room.min(READ), 0);
        let read = stream.read(&mut input[before..]).await?;
        input.truncate(before + read);
        if read == 0 {
            return Ok(End::Closed);
        }
    }
}

/// Answers one line, of which a part has come. The client then takes the end of the connection for that of the answer.
async fn line<S>(mut stream: S, mut input: Vec<u8>, server: &Server, activity: &Rc<Activity>) -> io::Result<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    activity.set(Doing::Reading, Instant::now());
    let first = exim_line::FIRST.as_bytes();
    let end = loop {
        if !first.starts_with(&input[..first.len().min(input.len())]) {
            return Ok(End::Malformed);
        }
        if let Some(end) = input.iter().position(|octet| *octet == b'\n') {
            break end;
        }
        if input.len() > LINE {
            return Ok(End::Malformed);
        }
        let before = input.len();
        input.resize(before + READ, 0);
        let read = stream.read(&mut input[before..]).await?;
        input.truncate(before + read);
        if read == 0 {
            return Ok(End::Closed);
        }
    };
    activity.set(Doing::LookingUp, Instant::now());
    let mut answer = server.lookups().exim(&input[..end]).await.into_bytes();
    write(&mut stream, &mut answer, activity).await?;
    stream.shutdown().await?;
    Ok(End::Closed)
}

async fn write<S>(stream: &mut S, output: &mut Vec<u8>, activity: &Activity) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    if output.is_empty() {
        return Ok(());
    }
    activity.set(Doing::Writing, Instant::now());
    stream.write_all(output).await?;
    output.clear();
    // One large reply does not stay for the life of the connection.
    output.shrink_to(READ);
    Ok(())
}
