//! A service on a fixture, and requests to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use hpd_encoder::Model;
use hpd_serve::{Keys, Limits, Searched, Service, Settings, app};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// What a request got.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The body of one that went well.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoder").join(name)
}

pub(crate) fn model(name: &str) -> Model {
    Model::open(&fixture(name)).unwrap()
}

pub(crate) fn served(fixture: &str) -> Router {
    served_with(fixture, Limits::default(), Keys::default(), None)
}

pub(crate) fn served_with(
    fixture: &str,
    limits: Limits,
    keys: Keys,
    searched: Option<Searched>,
) -> Router {
    let name = fixture.to_owned();
    let settings = Settings { name, limits, keys, searched, ..Settings::default() };
    app(Arc::new(Service::new(model(fixture), settings).unwrap()))
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}

pub(crate) async fn post(app: &Router, path: &str, body: &Value) -> Answer {
    let request = Request::post(path).header("content-type", "application/json");
    send(app, request.body(Body::from(body.to_string())).unwrap()).await
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

/// A vector or a list of cosines in an answer.
pub(crate) fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}
