//! What goes wrong with a request, and the only table of status codes.
//!
//! A failure is answered in the words of the routes it happened on: [`Failure`] makes the body of text-embeddings-inference and
//! travels along in the response, so that OpenAI's routes can say the same in theirs.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hpd_files::{Error, ErrorKind};
use serde_json::json;

/// What sort of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The request says what cannot be.
    Invalid,
    /// Its body is larger than is taken.
    TooLarge,
    /// Its body did not come in time.
    TooSlow,
    /// No key, or not one of those that are taken.
    Unauthorized,
    /// No such route, model or store.
    NotFound,
    /// The route takes another method.
    WrongMethod,
    /// The body is not said to be JSON.
    NotJson,
    /// So many requests wait already that no more are taken.
    Overloaded,
    /// The server is stopping, or the store cannot be read now.
    Unavailable,
    /// Nothing the request could help.
    Internal,
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

impl FailureKind {
    /// The status, and the names of the kind in text-embeddings-inference's words and in OpenAI's.
    fn described(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Invalid => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Validation", "invalid_request_error")
            }
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "Validation", "invalid_request_error")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "Validation", "invalid_request_error"),
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "Unauthorized", "authentication_error")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "NotFound", "invalid_request_error"),
            Self::WrongMethod => {
                (StatusCode::METHOD_NOT_ALLOWED, "Validation", "invalid_request_error")
            }
            Self::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Validation", "invalid_request_error")
            }
            Self::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "Overloaded", "rate_limit_error"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy", "server_error"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Backend", "server_error"),
        }
    }

    /// What text-embeddings-inference calls it, which is also the label of a metric.
    pub(crate) fn name(self) -> &'static str {
        self.described().1
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, message)
    }

    /// The same in the shape of OpenAI's API, where what is invalid is a "bad request".
    pub(crate) fn into_openai_response(self) -> Response {
        let (status, _, kind) = self.kind.described();
        let status = match self.kind {
            FailureKind::Invalid => StatusCode::BAD_REQUEST,
            _ => status,
        };
        let error = json!({"message": self.message, "type": kind, "param": null, "code": null});
        self.answer(status, Json(json!({ "error": error })))
    }

    fn answer(self, status: StatusCode, body: Json<serde_json::Value>) -> Response {
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        match self.kind {
            FailureKind::Overloaded => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            FailureKind::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, kind, _) = self.kind.described();
        let body = Json(json!({"error": self.message, "error_type": kind}));
        self.answer(status, body)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Input => FailureKind::Invalid,
            ErrorKind::Mismatch | ErrorKind::Interrupted => FailureKind::Unavailable,
            _ => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        let text = rejection.body_text();
        match rejection.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                FailureKind::NotJson,
                "the body is not said to be JSON; send it with `Content-Type: application/json`",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                FailureKind::TooLarge,
                "the body is larger than the server takes; split the request, or start the server with a larger `--payload-limit`",
            ),
            _ => Self::invalid(text),
        }
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}
