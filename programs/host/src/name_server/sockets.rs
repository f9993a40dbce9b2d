//! The sockets of the name server. A resolver asks over UDP, and over TCP what is too long for that; a secondary copies the zone over TCP.
//! Who holds a connection without a use for it is sent away, as in the crowd of those who fetch policies.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mtasts::sender::resolver::unix_now;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::{Client, Zone};
use crate::crowd::Crowd;

/// How long the next message of a client may take to come, and each answer to go.
const IDLE: Duration = Duration::from_secs(5);
/// How many connections there are at a time: if one more comes, the oldest one goes.
const MOST: usize = 256;
/// How many of them one address may have, or one network of IPv6 (a /64 is one customer's). The next one is not taken.
const EACH: u32 = 16;
/// The largest request over UDP that is read, in octets.
const LARGEST: usize = 4096;

/// A socket for each transport at an address.
pub(crate) type Sockets = Vec<(std::net::UdpSocket, std::net::TcpListener)>;

/// Sockets for UDP and TCP at these addresses.
///
/// # Errors
/// A sentence.
pub(crate) fn open(addresses: &[SocketAddr]) -> Result<Sockets, String> {
    let open = |address: &SocketAddr| -> io::Result<_> {
        let (udp, tcp) = (
            std::net::UdpSocket::bind(address)?,
            std::net::TcpListener::bind(address)?,
        );
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok((udp, tcp))
    };
    let opened = addresses
        .iter()
        .map(|address| open(address).map_err(|error| format!("cannot listen at {address} for DNS: {error}")));
    opened.collect()
}

/// Answers at these sockets from then on, in tasks of this thread.
///
/// # Errors
/// If the system does not allow it.
pub(crate) fn serve(sockets: Sockets, zone: &Zone) -> io::Result<()> {
    let clients = Rc::new(Clients {
        crowd: Crowd::new(MOST),
        places: Rc::default(),
    });
    for (udp, tcp) in sockets {
        spawn_local(datagrams(UdpSocket::from_std(udp)?, zone.clone()));
        spawn_local(connections(
            TcpListener::from_std(tcp)?,
            zone.clone(),
            Rc::clone(&clients),
        ));
    }
    Ok(())
}

/// Those who are connected, over all sockets.
struct Clients {
    crowd: Crowd,
    places: Rc<RefCell<HashMap<IpAddr, u32>>>,
}

/// A place of an address, which is free again when this is dropped.
struct Place {
    address: IpAddr,
    places: Rc<RefCell<HashMap<IpAddr, u32>>>,
}

impl Clients {
    fn place(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut places = self.places.borrow_mut();
        let taken = places.entry(address).or_default();
        if *taken >= EACH {
            return None;
        }
        *taken += 1;
        let places = Rc::clone(&self.places);
        Some(Place { address, places })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.borrow_mut();
        if let Some(taken) = places.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                places.remove(&self.address);
            }
        }
    }
}

/// What one customer has many of counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

async fn datagrams(socket: UdpSocket, zone: Zone) {
    let mut octets = [0; LARGEST];
    loop {
        // An error is that of an answer before, whose client is gone.
        let Ok((length, from)) = socket.recv_from(&mut octets).await else {
            continue;
        };
        let client = Client {
            address: from.ip().to_canonical(),
            is_tcp: false,
        };
        // Nobody asks from port 0, and what is lost is asked again.
        for answer in zone.answers(&octets[..length], client, unix_now()) {
            if from.port() != 0 {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }
}

async fn connections(listener: TcpListener, zone: Zone, clients: Rc<Clients>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // No descriptor, as a rule.
            clients.crowd.sends_away_the_oldest();
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Some(place) = clients.place(from.ip()) else {
            continue;
        };
        let (seat, zone) = (clients.crowd.seat(), zone.clone());
        let task = spawn_local(async move {
            let address = from.ip().to_canonical();
            let _ = talk(stream, Client { address, is_tcp: true }, &zone).await;
            drop((seat, place));
        });
        clients.crowd.add(task.abort_handle());
    }
}

/// Answers a client until it leaves or is too slow (RFC 7766).
async fn talk(mut stream: TcpStream, client: Client, zone: &Zone) -> io::Result<()> {
    loop {
        let request = timeout(IDLE, read(&mut stream)).await??;
        let answers = zone.answers(&request, client, unix_now());
        if answers.is_empty() {
            return Ok(());
        }
        for answer in answers {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            // RFC 7766 8: the length and the message in one segment.
            let whole = [&length.to_be_bytes(), &answer[..]].concat();
            timeout(IDLE, stream.write_all(&whole)).await??;
        }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut message = Vec::new();
    // No more memory than has come.
    let length = u64::from(u16::from_be_bytes(length));
    let read = stream.take(length).read_to_end(&mut message).await?;
    match read as u64 == length {
        true => Ok(message),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
