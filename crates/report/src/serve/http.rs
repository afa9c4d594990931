//! As much of HTTP/1.1 as is needed: one request a connection, no bodies.

use std::sync::Arc;

/// A request's head is no longer.
pub(super) const HEAD: usize = 8 << 10;
/// Nor has it more headers.
const HEADERS: usize = 64;

/// What matters of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub method: String,
    pub path: String,
    /// The one `Host`; `None` also where there are several.
    pub host: Option<String>,
    pub if_none_match: Option<String>,
}

/// The head of the request that begins with `bytes`, or the status to answer with; `None` where
/// more is to come.
pub(super) fn head(bytes: &[u8]) -> Option<Result<Head, u16>> {
    match parse(bytes) {
        Ok(Some(head)) => Some(Ok(head)),
        Ok(None) if bytes.len() >= HEAD => Some(Err(431)),
        Ok(None) => None,
        Err(status) => Some(Err(status)),
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

    /// Its bytes: the head, and the body where it has one.
    pub(super) fn parts(&self) -> (Vec<u8>, Arc<[u8]>) {
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
        let body = if self.is_head { Arc::from([]) } else { Arc::clone(&self.body) };
        (head.into_bytes(), body)
    }
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
