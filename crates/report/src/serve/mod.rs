//! The report, live: a small HTTP server on the loopback address.
//!
//! What it serves is on a [`Board`], which somebody else keeps fresh; the server itself reads
//! nothing, so there is nothing a request could reach but the page, the views' data and the
//! metrics. Whoever asks must know the token in the path, and must have asked for this server by a
//! loopback name: a page of another site whose name was made to point here (DNS rebinding) sends
//! its own name as the `Host`. Only GET and HEAD; requests, their size, their time and their number
//! are bounded.

mod connections;
mod http;
mod metrics;

use crate::{LIVE_POLICY, Report, data, live_page};
use http::{Head, Reply};
use serde_json::json;
use std::fmt::Write;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Processes shown.
const VIEWS: usize = 64;

/// What is shown: one view a process, each with its own data.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Vec<View>>>);

#[derive(Debug, Clone)]
struct View {
    name: String,
    ended: Option<String>,
    /// The report's data as JSON, and which state of it this is.
    json: Arc<[u8]>,
    version: u64,
    metrics: metrics::Figures,
}

impl Board {
    /// An empty board.
    pub fn new() -> Board {
        Board::default()
    }

    /// Puts `report` under `name` into the place `index`; what was there is replaced. Places are
    /// taken in order: an index beyond the next free one is the next free one. Returns the place;
    /// `None` where the board is full.
    pub fn put(&self, index: usize, name: &str, report: &Report<'_>) -> Option<usize> {
        // Made before the lock is taken: it takes a while.
        let json: Arc<[u8]> = serde_json::to_vec(&data(report)).unwrap_or_default().into();
        let metrics = metrics::Figures::of(name, report);
        let ended = report.ended.map(str::to_owned);
        let mut views = self.views();
        let index = index.min(views.len());
        let version = views.get(index).map_or(1, |view| view.version + 1);
        let view = View { name: name.to_owned(), ended, json, version, metrics };
        match views.get_mut(index) {
            Some(place) => *place = view,
            None if index < VIEWS => views.push(view),
            None => return None,
        }
        Some(index)
    }

    fn views(&self) -> MutexGuard<'_, Vec<View>> {
        // Whoever panicked with the lock had changed nothing by halves.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is, for the page.
    fn list(&self) -> Vec<u8> {
        let views: Vec<serde_json::Value> = self
            .views()
            .iter()
            .enumerate()
            .map(|(id, view)| json!({ "id": id.to_string(), "name": view.name, "ended": view.ended }))
            .collect();
        json!({ "schema": "offheap/serve/v1", "views": views }).to_string().into_bytes()
    }

    fn metrics(&self) -> String {
        metrics::render(self.views().iter().map(|view| &view.metrics))
    }
}

/// What whoever asks must know.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// 128 random bits, from the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn random() -> std::io::Result<Token> {
        let mut bytes = [0u8; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Token(text))
    }

    /// A token that was chosen elsewhere, so that it stays the same over restarts; `None` where it
    /// is not of 16 to 128 letters, digits, `-` or `_`.
    pub fn given(text: &str) -> Option<Token> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        ((16..=128).contains(&text.len()) && text.bytes().all(fits)).then(|| Token(text.to_owned()))
    }

    /// Whether `guess` is it; how long this takes tells nothing of where they differ.
    fn is(&self, guess: &str) -> bool {
        let (known, guess) = (self.0.as_bytes(), guess.as_bytes());
        let differ = known.iter().zip(guess).fold(0, |differ, (a, b)| differ | (a ^ b));
        std::hint::black_box(differ) == 0 && known.len() == guess.len()
    }
}

/// A server that answers in a thread of its own for as long as the process lives.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    url: String,
}

impl Server {
    /// Serves `board` on 127.0.0.1 at `port`, or at any free one where that is 0.
    ///
    /// # Errors
    /// The port is taken, or what else the kernel says.
    pub fn start(port: u16, token: Token, board: Board) -> std::io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let url = format!("http://{address}/{}/", token.0);
        let site = Site { token, board, port: address.port(), page: live_page().into_bytes().into() };
        std::thread::Builder::new()
            .name("serve".to_owned())
            .spawn(move || connections::run(&listener, |head| site.reply(head)))?;
        Ok(Server { address, url })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page's URL, token included.
    pub fn url(&self) -> &str {
        &self.url
    }
}

struct Site {
    token: Token,
    board: Board,
    port: u16,
    page: Arc<[u8]>,
}

impl Site {
    fn reply(&self, head: &Head) -> Reply {
        if !self.is_ours(head.host.as_deref()) {
            return Reply::error(421);
        }
        if !matches!(head.method.as_str(), "GET" | "HEAD") {
            return Reply::error(405).header("Allow", "GET, HEAD".to_owned());
        }
        let mut reply = self.route(head);
        reply.is_head = head.method == "HEAD";
        reply
    }

    /// Paths are compared as they are: nothing is decoded, joined or normalised, so there is
    /// nothing to walk.
    fn route(&self, head: &Head) -> Reply {
        let path = head.path.split('?').next().unwrap_or_default();
        let Some((token, rest)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
            return Reply::error(404);
        };
        if !self.token.is(token) {
            return Reply::error(404);
        }
        match rest {
            "" => Reply::ok("text/html; charset=utf-8", Arc::clone(&self.page))
                .header("Content-Security-Policy", LIVE_POLICY.to_owned()),
            "views.json" => Reply::ok("application/json", self.board.list().into()),
            "metrics" => Reply::ok(metrics::TYPE, self.board.metrics().into_bytes().into()),
            _ => self.view(rest, head).unwrap_or_else(|| Reply::error(404)),
        }
    }

    fn view(&self, rest: &str, head: &Head) -> Option<Reply> {
        let id: usize = rest.strip_prefix("views/")?.strip_suffix(".json")?.parse().ok()?;
        let (json, tag) = {
            let views = self.board.views();
            let view = views.get(id)?;
            (Arc::clone(&view.json), format!("\"{id}-{}\"", view.version))
        };
        let is_known = head.if_none_match.as_deref() == Some(tag.as_str());
        let reply = if is_known { Reply::unchanged() } else { Reply::ok("application/json", json) };
        Some(reply.header("ETag", tag))
    }

    fn is_ours(&self, host: Option<&str>) -> bool {
        let names = ["127.0.0.1", "localhost"];
        names.iter().any(|name| {
            host == Some(format!("{name}:{}", self.port).as_str()) || self.port == 80 && host == Some(name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_whole_or_nothing() {
        let token = Token::random().unwrap();
        assert!(token.is(&token.0.clone()) && token.0.len() == 32);
        assert!(!token.is("") && !token.is(&token.0[..31]) && !token.is(&format!("{}0", token.0)));
        assert_ne!(token.0, Token::random().unwrap().0);
        assert!(Token::given("short").is_none() && Token::given("with/a/slash/in/it").is_none());
        assert!(Token::given("letters-and_digits-0").is_some());
    }
}
