//! The endpoint against a server on loopback that misbehaves in every way seen or feared.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::*;

/// One request as the server saw it.
pub(crate) struct Asked {
    pub(crate) number: usize,
    headers: String,
    body: Value,
}

/// What a server writes back: status, more header lines, body. `None` cuts the connection.
pub(crate) type Said = Option<(u16, String, String)>;

/// A server on loopback that lives as long as the test process.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers each request with what `say` makes of it.
    pub(crate) fn start(say: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, say) = (asked.clone(), Arc::new(say));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (seen, say) = (seen.clone(), say.clone());
                thread::spawn(move || answer(number, stream.unwrap(), &*say, &seen));
            }
        });
        Self { url, asked }
    }

    /// Requests so far.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn answer(
    number: usize,
    stream: TcpStream,
    say: &dyn Fn(&Asked) -> Said,
    seen: &Mutex<Vec<Asked>>,
) {
    let mut reader = BufReader::new(stream);
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") {
        if reader.read_line(&mut headers).unwrap() == 0 {
            return;
        }
    }
    let headers = headers.to_lowercase();
    let length = headers.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let asked = Asked { number, headers, body: serde_json::from_slice(&body).unwrap() };
    let said = say(&asked);
    seen.lock().unwrap().push(asked);
    if let Some((status, more, body)) = said {
        // A case that gives a length of its own lies about it.
        let length = match more.contains("content-length") {
            true => String::new(),
            false => format!("content-length: {}\r\n", body.len()),
        };
        let head = format!("HTTP/1.1 {status} So\r\nconnection: close\r\n{length}{more}\r\n");
        let _ = reader.get_mut().write_all(format!("{head}{body}").as_bytes());
    }
}

/// What a sentence's vector is here: its length, its first byte, one.
pub(crate) fn vector(text: &str) -> [f32; 3] {
    [text.len() as f32, f32::from(text.as_bytes()[0]), 1.0]
}

fn inputs(asked: &Asked) -> Vec<String> {
    serde_json::from_value(asked.body["input"].clone()).unwrap()
}

fn json_vector(numbers: &[f32], asked: &Asked) -> Value {
    if asked.body["encoding_format"] == "base64" {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        return json!(STANDARD.encode(bytes));
    }
    json!(numbers)
}

/// The vectors that `asked` asks for, as OpenAI would answer.
fn items(asked: &Asked) -> Vec<Value> {
    let items = inputs(asked).into_iter().enumerate();
    items
        .map(|(i, text)| json!({ "index": i, "embedding": json_vector(&vector(&text), asked) }))
        .collect()
}

/// An answer with these vectors.
pub(crate) fn ok(items: Vec<Value>) -> Said {
    Some((200, String::new(), json!({ "object": "list", "data": items }).to_string()))
}

fn refuse(status: u16, words: &str) -> Said {
    Some((status, String::new(), json!({ "error": { "message": words } }).to_string()))
}

/// The answer of a server that has nothing to hide.
pub(crate) fn good(asked: &Asked) -> Said {
    ok(items(asked))
}

pub(crate) fn quick() -> EndpointOptions {
    EndpointOptions {
        batch: 4,
        in_flight: 1,
        tries: 4,
        first_pause: Duration::from_millis(2),
        timeout: Duration::from_secs(5),
        ..EndpointOptions::default()
    }
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| "x".repeat(i + 1)).collect()
}

fn ask(server: &Server, options: EndpointOptions, count: usize) -> Result<Matrix> {
    let texts = texts(count);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Endpoint::new(&server.url, options)?.embed(&texts, |_| ())
}

fn check(vectors: &Matrix, count: usize) {
    assert_eq!((vectors.len(), vectors.dim), (count, 3));
    for (i, text) in texts(count).iter().enumerate() {
        assert_eq!(vectors.row(i), vector(text));
    }
}

fn refused(server: &Server, options: EndpointOptions) -> String {
    let error = ask(server, options, 9).unwrap_err();
    format!("{error}; hint: {}", error.hint_text().unwrap_or("none"))
}

#[test]
fn vectors_come_in_order_from_several_requests_at_once() {
    let server = Server::start(good);
    let options = EndpointOptions { in_flight: 5, model: Some("m".to_owned()), ..quick() };
    check(&ask(&server, options, 30).unwrap(), 30);
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.len(), 8);
    assert!(asked.iter().all(|asked| asked.body["model"] == "m"));
    assert!(asked.iter().all(|asked| asked.headers.starts_with("post /v1/embeddings ")));
    assert!(asked.iter().all(|asked| !asked.headers.contains("authorization")));
}

#[test]
fn shuffled_indices_are_put_right() {
    let server = Server::start(|asked| {
        let mut items = items(asked);
        items.reverse();
        ok(items)
    });
    check(&ask(&server, quick(), 9).unwrap(), 9);
}

#[test]
fn a_server_that_knows_no_base64_is_asked_for_numbers_from_then_on() {
    let server = Server::start(|asked| match asked.body["encoding_format"] == "float" {
        true => good(asked),
        false => refuse(400, "unknown encoding_format"),
    });
    check(&ask(&server, quick(), 12).unwrap(), 12);
    assert_eq!(server.count(), 4);
}

#[test]
fn busy_and_broken_servers_are_asked_again() {
    for status in [408, 429, 500, 502, 503] {
        let server = Server::start(move |asked| match asked.number {
            0 | 2 => refuse(status, "later"),
            _ => good(asked),
        });
        check(&ask(&server, quick(), 9).unwrap(), 9);
        assert_eq!(server.count(), 5);
    }
}

#[test]
fn cut_connections_are_tried_again() {
    let server = Server::start(|asked| match asked.number {
        0 => None,
        1 => Some((200, "content-length: 5000\r\n".to_owned(), "{".to_owned())),
        _ => good(asked),
    });
    check(&ask(&server, quick(), 3).unwrap(), 3);
}

#[test]
fn slow_answers_are_given_up_and_asked_for_again() {
    let server = Server::start(|asked| {
        if asked.number == 0 {
            thread::sleep(Duration::from_secs(2));
        }
        good(asked)
    });
    let options = EndpointOptions { timeout: Duration::from_millis(300), ..quick() };
    check(&ask(&server, options, 3).unwrap(), 3);
}

#[test]
fn retry_after_is_honoured() {
    let server = Server::start(|asked| match asked.number {
        0 => Some((429, "retry-after: 0.4\r\n".to_owned(), String::new())),
        _ => good(asked),
    });
    let start = Instant::now();
    check(&ask(&server, quick(), 3).unwrap(), 3);
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_wait_of_hours_is_an_error_at_once() {
    let server = Server::start(|_| Some((429, "retry-after: 7200\r\n".to_owned(), String::new())));
    assert!(refused(&server, quick()).contains("asks to wait 7200 seconds"));
    assert_eq!(server.count(), 1);
}

#[test]
fn a_server_that_stays_busy_is_given_up_with_its_last_words() {
    let server = Server::start(|_| refuse(503, "model is\nloading"));
    let message = refused(&server, quick());
    assert!(message.contains("gave up after 4 tries; last: 503 model is loading"), "{message}");
    assert!(message.contains("run the same command again"), "{message}");
    assert_eq!(server.count(), 4);
}

#[test]
fn nobody_there_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Endpoint::new(&url, quick()).unwrap().embed(&["x"], |_| ()).unwrap_err();
    assert!(error.to_string().contains("gave up after 4 tries"), "{error}");
}

#[test]
fn an_empty_purse_is_an_error_at_once() {
    let server = Server::start(|_| {
        let error = json!({ "error": { "code": "insufficient_quota", "message": "pay" } });
        Some((429, String::new(), error.to_string()))
    });
    assert!(refused(&server, quick()).contains("429 pay"));
    assert_eq!(server.count(), 1);
}

#[test]
fn the_key_is_sent_and_never_shown() {
    let server = Server::start(|asked| {
        assert!(asked.headers.contains("authorization: bearer sk-secret\r\n"));
        refuse(401, "no such key: sk-secret")
    });
    let message =
        refused(&server, EndpointOptions { key: Some("sk-secret".to_owned()), ..quick() });
    assert!(message.contains("refused the key: 401 no such key: (the key)"), "{message}");
    assert!(message.contains("check the key in the environment variable OPENAI_API_KEY"));
    assert_eq!(server.count(), 1);
    assert!(refused(&Server::start(|_| refuse(403, "")), quick()).contains("put the key into"));
}

#[test]
fn the_server_explains_what_it_does_not_take() {
    for (status, tries) in [(400, 2), (404, 1), (413, 1), (422, 2)] {
        let server = Server::start(move |_| refuse(status, "no model `m`"));
        let message = refused(&server, quick());
        assert!(message.contains(&format!("{status} no model `m`")), "{message}");
        assert_eq!(server.count(), tries);
    }
    let server = Server::start(|_| Some((404, String::new(), "<p>not\n found</p>".to_owned())));
    assert!(refused(&server, quick()).contains("404 <p>not found</p>"));
}

#[test]
fn another_width_in_a_later_batch_is_refused() {
    let server = Server::start(|asked| match asked.number {
        0 => good(asked),
        _ => ok((0..4).map(|i| json!({ "index": i, "embedding": [1.0, 2.0] })).collect()),
    });
    let error = ask(&server, quick(), 8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().ends_with("3 at first, now 2"), "{error}");
}

#[test]
fn answers_that_cannot_be_right_are_refused() {
    let one = |embedding: Value| json!({ "index": 0, "embedding": embedding });
    let list = |items: Vec<Value>| json!({ "data": items }).to_string();
    let base64_nan = STANDARD.encode([1.0_f32, f32::NAN].map(f32::to_le_bytes).concat());
    let cases = [
        (list(vec![]), "asked for 1 vectors, got 0"),
        (list(vec![one(json!([1.0])); 2]), "asked for 1 vectors, got 2"),
        (list(vec![one(json!([1.0, null]))]), "number 1 of vector 0 is not finite"),
        (list(vec![one(json!([1.0, "NaN"]))]), "number 1 of vector 0 is not finite"),
        (list(vec![one(json!(base64_nan))]), "number 1 of vector 0 is not finite"),
        (list(vec![one(json!([1e39]))]), "number 0 of vector 0 is not finite"),
        (list(vec![one(json!("AAAA"))]), "no 32-bit floats in base64"),
        (list(vec![one(json!("?!"))]), "no 32-bit floats in base64"),
        (list(vec![one(json!([]))]), "the vectors are empty"),
        (list(vec![json!({ "index": 3, "embedding": [1.0] })]), "index 3, but only 1"),
        (r#"{"data": [{"index": 0, "embedding": [NaN]}]}"#.to_owned(), "no list of embeddings"),
        (r#"{"error": "no GPU"}"#.to_owned(), "no GPU"),
        ("<html>".to_owned(), "no list of embeddings"),
        (String::new(), "no list of embeddings"),
    ];
    for (body, expected) in cases {
        let message = crate::answer::read(body.as_bytes(), 1).unwrap_err();
        assert!(message.contains(expected), "{body}: {message}");
    }
    let twice = list(vec![one(json!([1.0])); 2]);
    assert!(
        crate::answer::read(twice.as_bytes(), 2).unwrap_err().contains("two vectors with index 0")
    );
    let widths = list(vec![one(json!([1.0])), json!({ "index": 1, "embedding": [1.0, 2.0] })]);
    assert!(
        crate::answer::read(widths.as_bytes(), 2).unwrap_err().contains("of 1 and of 2 numbers")
    );
}

#[test]
fn addresses_are_completed_to_the_embedding_route() {
    for (given, expected) in [
        ("http://h:8080", "http://h:8080/v1/embeddings"),
        ("http://h:8080/", "http://h:8080/v1/embeddings"),
        ("https://h/v1", "https://h/v1/embeddings"),
        ("https://h/api/v1/", "https://h/api/v1/embeddings"),
        ("https://h/api", "https://h/api/v1/embeddings"),
        ("https://h/v1/embeddings", "https://h/v1/embeddings"),
        ("https://h/e?api-version=1", "https://h/e?api-version=1"),
    ] {
        assert_eq!(Endpoint::new(given, quick()).unwrap().address, expected);
    }
    assert_eq!(Endpoint::new("https://h/e?key=1", quick()).unwrap().name(), "https://h/e");
}

#[test]
fn addresses_with_a_password_or_without_a_host_are_refused_without_repeating_it() {
    for bad in ["http://user:secret@h/v1", "http://", "https:///v1", "http://h /v1?secret"] {
        let error = Endpoint::new(bad, quick()).err().unwrap();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
