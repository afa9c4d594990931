//! The server, asked over real sockets.

mod common;

use common::Sample;
use offheap_report::Report;
use offheap_report::serve::{Board, Server, Token};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TOKEN: &str = "a-token-for-the-tests";

fn server() -> Server {
    let sample = Sample::read();
    let diagnosis = sample.diagnosis();
    let board = Board::new();
    let report = Report {
        snapshots: &sample.snapshots,
        instants: &sample.profiles,
        marks: &sample.marks,
        ..Report::of(&diagnosis)
    };
    assert_eq!(board.put(7, "codec \"x\"", &report), Some(0), "the next free place");
    Server::start(0, Token::given(TOKEN).unwrap(), board).unwrap()
}

/// Sends `request` as it is; returns the status and the whole answer.
fn ask(server: &Server, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    (answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
}

fn get(server: &Server, path: &str, more: &str) -> (u16, String) {
    let host = server.address();
    ask(server, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").as_bytes())
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn the_page_the_data_and_nothing_else() {
    let server = server();
    assert_eq!(server.url(), format!("http://{}/{TOKEN}/", server.address()));
    let (status, page) = get(&server, &format!("/{TOKEN}/"), "");
    assert_eq!(status, 200);
    for header in ["frame-ancestors 'none'", "no-store", "no-referrer", "nosniff"] {
        assert!(page.contains(header), "{header}");
    }
    assert!(body(&page).starts_with("<!DOCTYPE html>") && page.contains("connect-src 'self'"));

    let (_, list) = get(&server, &format!("/{TOKEN}/views.json"), "");
    let list: serde_json::Value = serde_json::from_str(body(&list)).unwrap();
    assert_eq!(
        (list["views"][0]["id"].as_str(), list["views"][0]["name"].as_str()),
        (Some("0"), Some("codec \"x\""))
    );

    let path = format!("/{TOKEN}/views/0.json");
    let (status, view) = get(&server, &path, "");
    let data: serde_json::Value = serde_json::from_str(body(&view)).unwrap();
    assert_eq!((status, data["schema"].as_str()), (200, Some("offheap/report/v1")));
    let (status, same) = get(&server, &path, "If-None-Match: \"0-1\"\r\n");
    assert_eq!((status, body(&same)), (304, ""));

    for path in [
        "/",
        "/metrics",
        "/favicon.ico",
        &format!("/{TOKEN}"),
        &format!("/{TOKEN}/../{TOKEN}/"),
        &format!("/{TOKEN}/../../etc/passwd"),
        &format!("/{TOKEN}/%2e%2e/%2e%2e/etc/passwd"),
        &format!("/{TOKEN}//etc/passwd"),
        &format!("/{TOKEN}/views/1.json"),
        &format!("/{TOKEN}/views/-1.json"),
        &format!("/{TOKEN}/views/../views.json"),
        &format!("/{}/", &TOKEN[1..]),
        &format!("/{TOKEN}x/"),
        "/0123456789abcdef0123456789abcdef/metrics",
    ] {
        let (status, answer) = get(&server, path, "");
        assert_eq!(status, 404, "{path}: {answer}");
    }
}

#[test]
fn only_reading_only_by_a_loopback_name() {
    let server = server();
    let (port, host) = (server.address().port(), server.address());
    let with = |line: String| ask(&server, format!("{line}\r\n\r\n").as_bytes()).0;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"] {
        let (status, answer) = ask(
            &server,
            format!("{method} /{TOKEN}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc").as_bytes(),
        );
        assert_eq!(status, 405, "{method}");
        assert!(answer.contains("Allow: GET, HEAD\r\n"));
    }
    let hosts = [
        format!("\r\nHost: evil.example:{port}"),
        format!("\r\nHost: 127.0.0.1.evil.example:{port}"),
        format!("\r\nHost: localhost:{}", port ^ 1),
        "\r\nHost: localhost".to_owned(),
        format!("\r\nHost: {host}\r\nHost: evil.example"),
        String::new(),
    ];
    for line in hosts {
        assert_eq!(with(format!("GET /{TOKEN}/ HTTP/1.1{line}")), 421, "{line:?}");
    }
    assert_eq!(with(format!("GET /{TOKEN}/ HTTP/1.1\r\nHost: localhost:{port}")), 200);
    let (status, head) = ask(&server, format!("HEAD /{TOKEN}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    assert_eq!((status, body(&head)), (200, ""));
}

#[test]
fn rubbish_is_answered_or_closed_and_does_no_harm() {
    let server = server();
    assert_eq!(ask(&server, b"\x16\x03\x01\x02\x00\x01\r\n\r\n").0, 400);
    assert_eq!(ask(&server, format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000)).as_bytes()).0, 431);
    assert_eq!(ask(&server, format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100)).as_bytes()).0, 431);
    // Ones that say nothing hold no more than their bounded number of places, and only for a while.
    let idle: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(server.address()).ok()).collect();
    drop(idle);
    let answered = (0..200).any(|_| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!("GET /{TOKEN}/views.json HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    });
    assert!(answered);
}

/// Sends a byte of a request now and then, for as long as the test lasts, on many connections.
fn drip(server: &Server, count: usize) -> Vec<TcpStream> {
    let mut slow: Vec<TcpStream> =
        (0..count).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    }
    slow
}

#[test]
fn slow_clients_shut_nobody_out() {
    let server = server();
    // More than there are places, so that some have to go; each sends a byte before each request.
    for count in [64, 600] {
        let mut slow = drip(&server, count);
        for _ in 0..20 {
            for stream in &mut slow {
                // Those that were dropped can't be written to.
                let _ = stream.write(b"x");
            }
            let begun = Instant::now();
            assert_eq!(get(&server, &format!("/{TOKEN}/views.json"), "").0, 200);
            // It takes a millisecond; a busy machine takes its time.
            assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        }
    }
    // Who asks and does not read its answer holds up nobody either.
    let request = format!("GET /{TOKEN}/ HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    let deaf: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(get(&server, &format!("/{TOKEN}/views/0.json"), "").0, 200);
    drop(deaf);
}

#[test]
fn a_request_that_drips_is_over_after_a_while() {
    let server = server();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    // Each byte is well within any time between two of them.
    while begun.elapsed() < Duration::from_secs(60) {
        if stream.write(b"G").is_err() {
            break;
        }
        let mut chunk = [0; 1000];
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(_) => {}
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") || answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn an_answer_goes_whole_to_who_reads_it_slowly() {
    let server = server();
    let whole = get(&server, &format!("/{TOKEN}/"), "").1;
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let request = format!("GET /{TOKEN}/ HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 20_000];
    loop {
        std::thread::sleep(Duration::from_millis(5));
        match stream.read(&mut chunk).unwrap() {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    assert_eq!(String::from_utf8(answer).unwrap(), whole);
}

#[test]
fn the_metrics_are_what_prometheus_reads() {
    let server = server();
    let (status, answer) = get(&server, &format!("/{TOKEN}/metrics"), "");
    assert_eq!(status, 200);
    assert!(answer.contains("Content-Type: text/plain; version=0.0.4"));
    let mut typed = std::collections::HashSet::new();
    let mut sums = std::collections::HashMap::<&str, f64>::new();
    let mut series = std::collections::HashSet::new();
    for line in body(&answer).lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            if words[0] == "TYPE" {
                assert!(matches!(words[2], "gauge" | "counter"));
                assert!(typed.insert(words[1]), "{line}: each metric once");
            }
            continue;
        }
        let (labelled, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = labelled.split_once('{').unwrap();
        assert!(typed.contains(name) && labels.ends_with("\"}"), "{line}");
        assert!(labels.starts_with("process=\"codec \\\"x\\\"\",pid=\""), "{line}");
        assert!(series.insert(labelled), "{line}: each series once");
        *sums.entry(name).or_default() += value.parse::<f64>().unwrap();
    }
    assert_eq!(sums["offheap_domain_rss_bytes"], sums["offheap_rss_bytes"], "the domains sum to the RSS");
    assert_eq!((sums["offheap_verdict"], sums["offheap_up"]), (1.0, 1.0));
    assert!(
        body(&answer).contains("status=\"leak\"} 1\n") && sums["offheap_rss_slope_bytes_per_second"] > 5e5
    );
    assert!(sums.contains_key("offheap_agent_dropped_samples"));
    assert!(series.len() < 60, "never one series a site");
}
