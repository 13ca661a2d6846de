use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, StatusCode, header};
use hpd_serve::{Keys, Limits};
use hyper::body::Frame;
use serde_json::json;

use crate::support::{get, post, send, served_with};

#[tokio::test]
async fn without_its_key_nothing_is_answered_but_that_it_is_there() {
    let keys = Keys::new(&["secret", "another"]).unwrap();
    let app = served_with("bert_mean", Limits::default(), keys, None);
    for open in ["/", "/health", "/ping", "/openapi.json"] {
        assert_eq!(get(&app, open).await.status, StatusCode::OK, "{open}");
    }
    for guarded in ["/info", "/metrics", "/search?query=a", "/similar?id=a", "/v1/models"] {
        let answer = get(&app, guarded).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{guarded}");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
    for guarded in ["/", "/embed", "/similarity", "/tokenize", "/v1/embeddings", "/search"] {
        let answer = post(&app, guarded, &json!({})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{guarded}");
    }
    let of_openai = get(&app, "/v1/models").await.json();
    assert_eq!(of_openai["error"]["type"], "authentication_error");
    for (key, status) in [("secret", 200), ("another", 200), ("secre", 401), ("", 401)] {
        let request = Request::get("/info").header("authorization", format!("Bearer {key}"));
        let answer = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{key}");
    }
}

#[tokio::test]
async fn too_many_requests_are_refused_at_once() {
    let limits = Limits { max_concurrent_requests: 0, ..Limits::default() };
    let app = served_with("bert_mean", limits, Keys::default(), None);
    for (path, body) in
        [("/embed", json!({"inputs": "a"})), ("/v1/embeddings", json!({"input": "a"}))]
    {
        let answer = post(&app, path, &body).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    }
    assert_eq!(get(&app, "/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_is_not_larger_than_is_taken() {
    let limits = Limits { max_client_batch_size: 2, payload_limit: 200, ..Limits::default() };
    let app = served_with("bert_mean", limits, Keys::default(), None);
    assert_eq!(post(&app, "/embed", &json!({"inputs": ["a", "b"]})).await.status, StatusCode::OK);
    let many = post(&app, "/embed", &json!({"inputs": ["a", "b", "c"]})).await;
    assert_eq!(many.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(many.text.contains("--max-client-batch-size"), "{}", many.text);
    let large = post(&app, "/embed", &json!({"inputs": "a".repeat(300)})).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(large.text.contains("--payload-limit"), "{}", large.text);
}

/// A body that never comes.
struct Never;

impl HttpBody for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let patience = Duration::from_millis(20);
    let limits = Limits { patience, max_concurrent_requests: 1, ..Limits::default() };
    let app = served_with("bert_mean", limits, Keys::default(), None);
    for _ in 0..2 {
        let request = Request::post("/embed").header("content-type", "application/json");
        let answer = send(&app, request.body(Body::new(Never)).unwrap()).await;
        assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer.json()["error"], "the body was not there after 0.02 seconds");
    }
    assert_eq!(post(&app, "/embed", &json!({"inputs": "a"})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let app = served_with("bert_mean", Limits::default(), Keys::default(), None);
    let answer = get(&app, "/v2/embeddings").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.json()["error_type"], "NotFound");
    let answer = get(&app, "/embed").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.json()["error"], "`/embed` does not take GET");
}
