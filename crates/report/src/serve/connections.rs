//! All connections, by one thread that never waits for one of them: whoever is slow only holds a
//! small place, for a while, and the slowest gives way to whoever comes.

use super::http::{self, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections at one time, each with at most [`http::HEAD`] bytes of its own.
const CONNECTIONS: usize = 256;
/// Of one address.
const PER_PEER: usize = 128;
/// A request must be here in this time, all of it, however its bytes drip.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer must be gone in this time.
const ANSWERING: Duration = Duration::from_secs(30);
/// Where the other side has been answered, it has so long to close.
const LEAVING: Duration = Duration::from_secs(1);
/// Of what it still sends then, this much is read, so that closing does not take the answer away
/// from it.
const REST: usize = 64 << 10;
/// New connections that are taken between two looks at the others.
const AT_ONCE: usize = 64;
/// Without a place for another connection (file descriptors, memory) the next try is after this.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers for as long as the process lives; `reply` is asked for each request.
pub(super) fn run(listener: &TcpListener, mut reply: impl FnMut(&http::Head) -> Reply) {
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    let mut connections: Vec<Connection> = Vec::new();
    let mut deaf_until = None;
    loop {
        let now = Instant::now();
        if deaf_until.is_some_and(|until| until <= now) {
            deaf_until = None;
        }
        wait(listener, deaf_until, &connections, now);
        let now = Instant::now();
        for connection in &mut connections {
            connection.go_on(now, &mut reply);
        }
        connections.retain(|connection| !matches!(connection.state, State::Gone));
        for _ in 0..AT_ONCE {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let Some(mut connection) = Connection::new(stream, peer.ip(), now) else { continue };
                    // Most requests are here already, and are done at once.
                    connection.go_on(now, &mut reply);
                    if !matches!(connection.state, State::Gone) {
                        make_room(&mut connections, connection.peer);
                        connections.push(connection);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(_) => {
                    deaf_until = Some(now + PAUSE);
                    break;
                }
            }
        }
    }
}

/// Until there is something to do, or a time is over.
fn wait(listener: &TcpListener, deaf_until: Option<Instant>, connections: &[Connection], now: Instant) {
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(connections.len() + 1);
    for connection in connections {
        let wanted =
            if let State::Writing { .. } = connection.state { PollFlags::OUT } else { PollFlags::IN };
        fds.push(PollFd::new(&connection.stream, wanted));
    }
    if deaf_until.is_none() {
        fds.push(PollFd::new(listener, PollFlags::IN));
    }
    let ends = connections.iter().map(|connection| connection.end);
    let timeout = ends.chain(deaf_until).min().map(|end| {
        let left = end.saturating_duration_since(now) + Duration::from_millis(1);
        Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(60), tv_nsec: left.subsec_nanos().into() }
    });
    // Interrupted or not, all are looked at.
    if poll(&mut fds, timeout.as_ref()).is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Where there is no place for one more of `peer`, the one that has been slowest for longest goes:
/// first of those that have not even asked.
fn make_room(connections: &mut Vec<Connection>, peer: IpAddr) {
    let of_peer = connections.iter().filter(|connection| connection.peer == peer).count();
    if of_peer < PER_PEER && connections.len() < CONNECTIONS {
        return;
    }
    let is_meant = |connection: &Connection| of_peer < PER_PEER || connection.peer == peer;
    let candidates = connections.iter().enumerate().filter(|(_, connection)| is_meant(connection));
    let slowest = candidates.min_by_key(|(_, connection)| {
        let has_asked = matches!(connection.state, State::Writing { .. });
        (has_asked, connection.since)
    });
    if let Some((place, _)) = slowest {
        connections.swap_remove(place);
    }
}

enum State {
    /// A request, as far as it is here.
    Reading(Vec<u8>),
    /// An answer, and how much of both is gone.
    Writing {
        head: Vec<u8>,
        body: Arc<[u8]>,
        sent: usize,
    },
    /// Waiting for the other side to close; what is still read of it.
    Leaving(usize),
    Gone,
}

struct Connection {
    stream: TcpStream,
    peer: IpAddr,
    state: State,
    /// Since when it is slow: of a request since its begin, of an answer since bytes went.
    since: Instant,
    /// When it is over at the latest.
    end: Instant,
}

impl Connection {
    fn new(stream: TcpStream, peer: IpAddr, now: Instant) -> Option<Connection> {
        stream.set_nonblocking(true).ok()?;
        Some(Connection { stream, peer, state: State::Reading(Vec::new()), since: now, end: now + PATIENCE })
    }

    /// Does what can be done without waiting.
    fn go_on(&mut self, now: Instant, reply: &mut impl FnMut(&http::Head) -> Reply) {
        if self.end <= now {
            if let State::Reading(_) = self.state {
                self.answer(&Reply::error(408), now);
                self.end = now + LEAVING;
            } else {
                self.state = State::Gone;
            }
        }
        if let State::Reading(_) = self.state
            && let Some(answer) = self.read(reply)
        {
            self.answer(&answer, now);
        }
        self.write(now);
        self.leave();
    }

    fn answer(&mut self, answer: &Reply, now: Instant) {
        let (head, body) = answer.parts();
        self.state = State::Writing { head, body, sent: 0 };
        (self.since, self.end) = (now, now + ANSWERING);
    }

    /// The answer, once the request is whole or can't become one.
    fn read(&mut self, reply: &mut impl FnMut(&http::Head) -> Reply) -> Option<Reply> {
        let mut chunk = [0; 2048];
        loop {
            let State::Reading(bytes) = &mut self.state else { return None };
            let room = (http::HEAD - bytes.len().min(http::HEAD)).clamp(1, chunk.len());
            match self.stream.read(chunk.get_mut(..room).unwrap_or_default()) {
                Ok(0) => self.state = State::Gone,
                Ok(count) => {
                    bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    // Where bytes drip, not each is worth a look at all before it.
                    let is_worth =
                        bytes.len() == count || bytes.len() >= http::HEAD || ends_a_line(bytes, count);
                    if let Some(head) = is_worth.then(|| http::head(bytes)).flatten() {
                        return Some(head.map_or_else(Reply::error, |head| reply(&head)));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.state = State::Gone,
            }
        }
    }

    fn write(&mut self, now: Instant) {
        while let State::Writing { head, body, sent } = &mut self.state {
            let rest = match head.get(*sent..).filter(|rest| !rest.is_empty()) {
                Some(rest) => rest,
                None => body.get(*sent - head.len()..).unwrap_or_default(),
            };
            if rest.is_empty() {
                let closed = self.stream.shutdown(Shutdown::Write);
                self.state = if closed.is_ok() { State::Leaving(REST) } else { State::Gone };
                (self.since, self.end) = (now, now + LEAVING);
                return;
            }
            match self.stream.write(rest) {
                Ok(0) => self.state = State::Gone,
                Ok(count) => {
                    *sent += count;
                    self.since = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.state = State::Gone,
            }
        }
    }

    fn leave(&mut self) {
        let mut chunk = [0; 4096];
        while let State::Leaving(left) = &mut self.state {
            match self.stream.read(&mut chunk) {
                Ok(count) if count > 0 && *left > 0 => *left = left.saturating_sub(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.state = State::Gone,
            }
        }
    }
}

/// Whether the last `count` of `bytes` end a line.
fn ends_a_line(bytes: &[u8], count: usize) -> bool {
    bytes.get(bytes.len().saturating_sub(count)..).is_some_and(|new| new.contains(&b'\n'))
}
