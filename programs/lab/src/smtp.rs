//! The MX hosts: SMTP with STARTTLS (RFC 5321, RFC 3207), and the ways to get it wrong.

use super::behaviour::Mx;
use super::handshake::{self, Refusal, describe, drain};
use super::log::{Mail, Session, Tls, count};
use super::world::{MxHost, World};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// More than any mail of a test; a client that sends more is cut off.
const LONGEST_INPUT: usize = 64 << 20;

/// One connection to port 25.
pub(super) async fn serve(world: Arc<World>, mut stream: TcpStream) -> io::Result<()> {
    let address = stream.local_addr()?.ip().to_canonical();
    let Some(host) = world.mx_host(address) else {
        return Ok(());
    };
    stream.set_nodelay(true)?;
    let session = {
        let mut log = world.log();
        count(&mut log.counters.smtp_connections, &host.subject.host);
        log.sessions.push(Session {
            host: host.subject.host.clone(),
            address,
            helo: None,
            tls: None,
            tls_error: None,
            reached: "connect".to_owned(),
            commands: vec![],
            delivered: 0,
        });
        log.sessions.len() - 1
    };
    match host.mx {
        Mx::BlackHole => return drain(&mut stream).await,
        Mx::Greeting421 => {
            stream
                .write_all(format!("421 {} too busy\r\n", host.subject.host).as_bytes())
                .await?;
            stream.shutdown().await?;
            return drain(&mut stream).await;
        }
        _ => {}
    }
    let code = if host.mx == Mx::Greeting554 { 554 } else { 220 };
    stream
        .write_all(format!("{code} {} ESMTP\r\n", host.subject.host).as_bytes())
        .await?;
    let mut talk = Talk {
        world: &world,
        host: &host,
        address,
        session,
        tls: None,
        buffer: vec![],
        helo: None,
    };
    if talk.run(&mut stream).await? == End::Hangup {
        stream.shutdown().await?;
        return drain(&mut stream).await;
    }

    // RFC 3207 4.2: what the client said before TLS is forgotten, pipelined commands too.
    talk.buffer.clear();
    talk.helo = None;
    let refusal = match host.mx {
        Mx::TlsAlert => Some(Refusal::Alert(70)),
        Mx::Alert40 => Some(Refusal::Alert(40)),
        Mx::TlsReset => Some(Refusal::Reset),
        Mx::TlsClose => Some(Refusal::Close),
        Mx::NotTls => Some(Refusal::Clear(b"500 5.5.1 what was that?\r\n")),
        Mx::TlsSilent => Some(Refusal::Silence),
        _ => None,
    };
    if let Some(refusal) = refusal {
        return handshake::refuse(stream, refusal).await;
    }
    let config = world
        .authority
        .server_config(&host.subject, host.certificate, host.mx == Mx::Tls12)?;
    let mut stream = match TlsAcceptor::from(config).accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            talk.note(|session| session.tls_error = Some(error.to_string()));
            return Ok(());
        }
    };
    talk.tls = Some(describe(stream.get_ref().1));
    let tls = talk.tls.clone();
    talk.note(|session| {
        session.tls = tls;
        session.reached = "tls".to_owned();
    });
    if host.mx != Mx::ClosedAfterTls {
        talk.run(&mut stream).await?;
    }
    stream.shutdown().await?;
    drain(&mut stream).await
}

#[derive(PartialEq, Eq)]
enum End {
    StartTls,
    Hangup,
}

/// The state of a session.
struct Talk<'a> {
    world: &'a World,
    host: &'a MxHost,
    address: IpAddr,
    session: usize,
    tls: Option<Tls>,
    buffer: Vec<u8>,
    helo: Option<String>,
}

impl Talk<'_> {
    /// Changes what the log says about it.
    fn note(&self, change: impl FnOnce(&mut Session)) {
        // `reset` may have emptied the log under us.
        if let Some(session) = self.world.log().sessions.get_mut(self.session) {
            change(session);
        }
    }

    fn reached(&self, stage: &str) {
        self.note(|session| session.reached = stage.to_owned());
    }

    /// Answers commands until the client leaves or TLS is to begin. Replies go out when no command is left in the buffer
    /// (RFC 2920 3.2).
    async fn run(&mut self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<End> {
        let mut sender: Option<String> = None;
        let mut recipients: Vec<String> = vec![];
        let mut replies = String::new();
        while let Some(line) = self.line(stream).await? {
            let secret = if self.tls.is_some() { "tls: " } else { "" };
            self.note(|session| session.commands.push(format!("{secret}{line}")));
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let reply = match verb.to_ascii_uppercase().as_str() {
                "EHLO" if self.host.mx == Mx::Ehlo502 => "502 5.5.1 unknown command\r\n".to_owned(),
                verb @ ("EHLO" | "HELO") => {
                    self.helo = Some(rest.to_owned());
                    self.note(|session| session.helo = Some(rest.to_owned()));
                    self.reached("ehlo");
                    (sender, recipients) = (None, vec![]);
                    if self.host.mx == Mx::CloseAfterEhlo {
                        return Ok(End::Hangup);
                    }
                    if verb == "EHLO" {
                        self.capabilities()
                    } else {
                        format!("250 {}\r\n", self.host.subject.host)
                    }
                }
                "STARTTLS" if self.tls.is_none() => match self.starttls() {
                    Ok(reply) => {
                        stream.write_all((replies + &reply).as_bytes()).await?;
                        self.reached("starttls");
                        return Ok(End::StartTls);
                    }
                    Err(reply) => reply.to_owned(),
                },
                "MAIL" if self.helo.is_none() => "503 5.5.1 EHLO first\r\n".to_owned(),
                "MAIL" => {
                    sender = Some(path(rest));
                    recipients.clear();
                    self.reached("mail");
                    "250 2.1.0 ok\r\n".to_owned()
                }
                "RCPT" if sender.is_none() => "503 5.5.1 MAIL first\r\n".to_owned(),
                "RCPT" if self.host.mx == Mx::Rcpt550 => "550 5.1.1 nobody of this name\r\n".to_owned(),
                "RCPT" => {
                    let recipient = path(rest);
                    if self.world.takes_mail(self.address, domain_of(&recipient)) {
                        recipients.push(recipient);
                        self.reached("rcpt");
                        "250 2.1.5 ok\r\n".to_owned()
                    } else {
                        "550 5.7.1 not a domain of mine\r\n".to_owned()
                    }
                }
                "DATA" if recipients.is_empty() => "503 5.5.1 RCPT first\r\n".to_owned(),
                "DATA" => {
                    replies += "354 go ahead\r\n";
                    stream.write_all(replies.as_bytes()).await?;
                    replies.clear();
                    self.reached("data");
                    let Some(body) = self.data(stream).await? else {
                        return Ok(End::Hangup);
                    };
                    self.deliver(sender.take().unwrap_or_default(), std::mem::take(&mut recipients), body);
                    "250 2.0.0 delivered\r\n".to_owned()
                }
                "RSET" => {
                    (sender, recipients) = (None, vec![]);
                    "250 2.0.0 ok\r\n".to_owned()
                }
                "NOOP" => "250 2.0.0 ok\r\n".to_owned(),
                "QUIT" => {
                    stream.write_all((replies + "221 2.0.0 bye\r\n").as_bytes()).await?;
                    return Ok(End::Hangup);
                }
                _ => "500 5.5.1 unknown command\r\n".to_owned(),
            };
            replies += &reply;
            if !self.buffer.contains(&b'\n') {
                stream.write_all(replies.as_bytes()).await?;
                stream.flush().await?;
                replies.clear();
            }
        }
        Ok(End::Hangup)
    }

    /// The answer to EHLO.
    fn capabilities(&self) -> String {
        let starttls = match self.host.mx {
            _ if self.tls.is_some() => "",
            Mx::NoStarttls => "",
            Mx::Stripped => "250-XXXXXXXA\r\n",
            _ => "250-STARTTLS\r\n",
        };
        format!(
            "250-{}\r\n{starttls}250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
            self.host.subject.host
        )
    }

    /// The answer to STARTTLS; in `Err` one that leads to no handshake.
    fn starttls(&self) -> Result<String, &'static str> {
        match self.host.mx {
            Mx::NoStarttls | Mx::Stripped => Err("500 5.5.1 unknown command\r\n"),
            Mx::Starttls454 => Err("454 4.7.0 TLS not available\r\n"),
            Mx::Starttls554 => Err("554 5.7.3 unable to start TLS\r\n"),
            // Who takes this for the answer to the EHLO inside TLS will announce a SIZE, which we never offer.
            Mx::Injected => Ok("220 2.0.0 go ahead\r\n250-injected\r\n250 SIZE 1000000\r\n".to_owned()),
            _ => Ok("220 2.0.0 go ahead\r\n".to_owned()),
        }
    }

    fn deliver(&self, sender: String, recipients: Vec<String>, body: String) {
        let mail = Mail {
            domain: recipients
                .first()
                .map(|first| domain_of(first).to_owned())
                .unwrap_or_default(),
            host: self.host.subject.host.clone(),
            address: self.address,
            sender,
            recipients,
            helo: self.helo.clone().unwrap_or_default(),
            tls: self.tls.clone(),
            body,
            session: self.session,
        };
        self.world.log().mail.push(mail);
        self.note(|session| {
            session.delivered += 1;
            session.reached = "delivered".to_owned();
        });
    }

    /// One line without its end; `None` at the end of the connection.
    async fn line(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(
                    String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned(),
                ));
            }
            if self.buffer.len() > LONGEST_INPUT || stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The text after DATA (RFC 5321 4.5.2).
    async fn data(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
        let mut body = String::new();
        while let Some(line) = self.line(stream).await? {
            if line == "." {
                return Ok(Some(body));
            }
            body.push_str(line.strip_prefix('.').unwrap_or(&line));
            body.push_str("\r\n");
            if body.len() > LONGEST_INPUT {
                break;
            }
        }
        Ok(None)
    }
}

/// The address between the angle brackets of `FROM:<a@b> SIZE=1`.
fn path(argument: &str) -> String {
    let inside = argument.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(argument, |(inside, _)| inside).to_owned()
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}
