//! As much of HTTP/1.1 as is needed: one request a connection, no bodies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request's head is no longer.
const HEAD: usize = 8 << 10;
/// Nor has it more headers.
const HEADERS: usize = 64;
/// What else a client sent is read, up to here, so that closing does not take the answer away from it.
const REST: u64 = 64 << 10;

/// What matters of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub method: String,
    pub path: String,
    /// The one `Host`; `None` also where there are several.
    pub host: Option<String>,
    pub if_none_match: Option<String>,
}

/// Reads a request's head; the inner error is the status to answer with.
pub(super) fn read(stream: &mut TcpStream, end: Instant) -> std::io::Result<Result<Head, u16>> {
    let mut bytes = Vec::with_capacity(1024);
    let mut chunk = [0; 1024];
    loop {
        let Some(left) = left(end) else { return Ok(Err(408)) };
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut chunk) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if is_timeout(&error) => return Ok(Err(408)),
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        match parse(&bytes) {
            Ok(Some(head)) => return Ok(Ok(head)),
            Ok(None) if bytes.len() >= HEAD => return Ok(Err(431)),
            Ok(None) => {}
            Err(status) => return Ok(Err(status)),
        }
    }
}

/// The head in `bytes`; `None` where it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<Head>, u16> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    }
    let only = |name: &str| {
        let mut found = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let value = found.next().and_then(|header| std::str::from_utf8(header.value).ok()).map(str::to_owned);
        value.filter(|_| found.next().is_none())
    };
    Ok(Some(Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        host: only("host"),
        if_none_match: only("if-none-match"),
    }))
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Arc<[u8]>,
    pub is_head: bool,
}

impl Reply {
    pub(super) fn ok(kind: &str, body: Arc<[u8]>) -> Reply {
        Reply { status: 200, headers: vec![("Content-Type", kind.to_owned())], body, is_head: false }
    }

    pub(super) fn unchanged() -> Reply {
        Reply { status: 304, headers: Vec::new(), body: Arc::from([]), is_head: false }
    }

    pub(super) fn error(status: u16) -> Reply {
        let text = format!("{status} {}\n", reason(status));
        Reply { status, ..Reply::ok("text/plain; charset=utf-8", text.into_bytes().into()) }
    }

    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: String) -> Reply {
        self.headers.push((name, value));
        self
    }

    pub(super) fn write(&self, stream: &mut TcpStream, end: Instant) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status != 304 {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        // The token is in the URL: it must go nowhere else, and nothing be kept.
        head.push_str(
            "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n\r\n",
        );
        send(stream, head.as_bytes(), end)?;
        if !self.is_head {
            send(stream, &self.body, end)?;
        }
        stream.shutdown(std::net::Shutdown::Write)?;
        if let Some(left) = left(end) {
            stream.set_read_timeout(Some(left.min(Duration::from_secs(1))))?;
            let _ = std::io::copy(&mut stream.take(REST), &mut std::io::sink());
        }
        Ok(())
    }
}

/// As `write_all`, but not for longer than to `end`, however slowly the other side reads.
fn send(stream: &mut TcpStream, mut bytes: &[u8], end: Instant) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let left = left(end).ok_or(std::io::ErrorKind::TimedOut)?;
        stream.set_write_timeout(Some(left))?;
        let count = stream.write(bytes)?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

fn left(end: Instant) -> Option<Duration> {
    Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let text = b"GET /t/ HTTP/1.1\r\nhost: localhost:1\r\nIf-None-Match: \"0-1\"\r\n\r\n";
        for cut in 0..text.len() {
            assert!(matches!(parse(&text[..cut]), Ok(None)), "{cut}");
        }
        let head = parse(text).unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.path.as_str()), ("GET", "/t/"));
        assert_eq!(
            (head.host.as_deref(), head.if_none_match.as_deref()),
            (Some("localhost:1"), Some("\"0-1\""))
        );
    }

    #[test]
    fn two_hosts_are_none_and_rubbish_is_an_error() {
        let two = parse(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").unwrap().unwrap();
        assert_eq!(two.host, None);
        assert!(matches!(parse(b"\x16\x03\x01\x02\x00"), Err(400)));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        assert!(matches!(parse(many.as_bytes()), Err(431)));
    }
}
