//! `hpd serve` as a process: a port, requests, and its end. What the routes answer is tested in `hpd-serve`.
#![cfg(all(unix, feature = "serve"))]
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Workshop, assert_refused, command, hpd};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is stopped when the test ends.
struct Server {
    process: Child,
    address: String,
    model: String,
}

impl Server {
    /// Starts one at a free port and waits until it listens.
    fn start(arguments: &[&str], key: Option<&str>) -> Self {
        let arguments = [&["serve", "--json", "--port", "0"], arguments].concat();
        let mut command = command(&arguments);
        command.env_remove("HPD_API_KEY").stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(key) = key {
            command.env("HPD_API_KEY", key);
        }
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let served: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut said = String::new();
            process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("no address was printed: {said}")
        });
        let text = |field: &str| served[field].as_str().unwrap().to_owned();
        let address = text("url").trim_start_matches("http://").to_owned();
        Self { process, address, model: text("model") }
    }

    /// The whole response to a request that is written as it goes over the wire.
    fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}", self.address)
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status().unwrap();
        assert!(sent.success());
    }

    /// The exit code, once it has ended by itself.
    fn end(&mut self) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(since.elapsed() < PATIENCE, "the server is still running");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_store_is_searched_until_a_signal_comes() {
    let shop = Workshop::new();
    let store = shop.store(40);
    let mut server = Server::start(&["--store", &store], None);
    let answer = server.ask("GET /search?query=w1&limit=3 HTTP/1.1", "");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(answer.matches("\"rank\":").count(), 3, "{answer}");
    let by_hand = hpd(&["search", "--json", "--store", &store, "--limit", "1", "w1"]).stdout();
    let best: Value = serde_json::from_str(by_hand.lines().next().unwrap()).unwrap();
    assert!(answer.contains(&format!("\"id\":{}", best["id"])), "{answer}\n{best}");
    // A connection that says nothing more does not keep it.
    let _idle = TcpStream::connect(&server.address).unwrap();
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn many_ask_at_once_and_each_gets_its_own() {
    let shop = Workshop::new();
    let server = Server::start(&["--model", &shop.name("model"), "--max-batch-tokens", "32"], None);
    assert_eq!(server.model, "model");
    let ask = |i: usize| {
        let body = format!("{{\"input\": \"w{i} w{}\", \"encoding_format\": \"base64\"}}", i * 2);
        let answer = server.ask("POST /v1/embeddings HTTP/1.1", &body);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        answer.split("\r\n\r\n").nth(1).unwrap().to_owned()
    };
    let alone: Vec<String> = (0..24).map(ask).collect();
    let ask = &ask;
    let together: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..24).map(|i| scope.spawn(move || ask(i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert!(alone[1] != alone[2]);
}

#[test]
fn a_key_is_taken_from_the_environment_or_a_file() {
    let shop = Workshop::new();
    let (model, file) = (shop.name("model"), shop.write("keys", b"\nfirst\nsecond \n"));
    let server = Server::start(&["--model", &model, "--api-key-file", &file], Some("third"));
    for (key, status) in [("first", 200), ("second", 200), ("third", 200), ("fourth", 401)] {
        let head = format!("GET /info HTTP/1.1\r\nAuthorization: Bearer {key}");
        let answer = server.ask(&head, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{key}: {answer}");
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let shop = Workshop::new();
    let model = shop.name("model");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let empty = shop.write("no-keys", b"\n");
    let store = shop.store(3);
    let refused = |arguments: &[&str], words: &[&str]| {
        let mut command = command(&[&["serve"], arguments].concat());
        let answer = support::Answer(command.env_remove("HPD_API_KEY").output().unwrap());
        assert_refused(&answer, words);
    };
    refused(&["--model", &model, "--port", &port], &["cannot listen", "--port"]);
    refused(
        &["--model", &model, "--port", "0", "--hostname", "0.0.0.0"],
        &["no key is set", "--allow-anonymous"],
    );
    refused(
        &["--model", &model, "--port", "0", "--hostname", "no.such.host.invalid"],
        &["no.such"],
    );
    refused(&["--model", &model, "--port", "0", "--api-key-file", &empty], &["has no keys"]);
    refused(&["--model", &model, "--port", "0", "--max-batch-tokens", "0"], &["is 0"]);
    refused(&["--model", &model, "--port", "0", "--default-prompt-name", "poem"], &["poem"]);
    refused(&["--store", &shop.name("nothing"), "--port", "0"], &["nothing"]);
    refused(&["--store", &store, "--port", "0", "--max-seq-length", "9"], &["--store"]);
}
