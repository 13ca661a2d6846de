//! All routes put together, with what holds for each: keys, limits, counts, and failures in one shape.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{
    DefaultBodyLimit, FromRequest, FromRequestParts, Json, MatchedPath, Query, Request, State,
};
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::failure::{Failure, FailureKind};
use crate::service::Service;
use crate::{openai, openapi, page, search, tei};

/// The routes of a service, to be served or called in a test.
pub fn app(service: Arc<Service>) -> Router {
    let in_openai_shape = || middleware::map_response(openai::in_openai_shape);
    let guarded = || middleware::from_fn_with_state(service.clone(), check_key);
    let openai = Router::new()
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/v1/models", get(openai::models))
        // text-embeddings-inference has it under this name too.
        .route("/embeddings", post(openai::embeddings))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(guarded())
        .layer(in_openai_shape());
    let own = Router::new()
        .route("/embed", post(tei::embed))
        .route("/similarity", post(tei::similarity))
        .route("/tokenize", post(tei::tokenize))
        .route("/info", get(tei::info))
        .route("/metrics", get(tei::metrics))
        .route("/search", post(search::search).get(search::search_by_address))
        .route("/similar", get(search::similar))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(guarded());
    // What says nothing of the model or the store is there for everyone.
    let open = Router::new()
        // Clients that know no routes, huggingface_hub's among them, embed where text-embeddings-inference has it too.
        .route("/", post(tei::embed).route_layer(guarded()).get(page::page))
        .route("/health", get(tei::health))
        .route("/ping", get(tei::health))
        .route("/openapi.json", get(openapi::openapi))
        .method_not_allowed_fallback(wrong_method);
    openai
        .merge(own)
        .merge(open)
        .fallback(no_such_route)
        .layer(DefaultBodyLimit::max(service.limits.payload_limit))
        .layer(middleware::from_fn_with_state(service.clone(), count))
        .with_state(service)
}

/// A place among the requests that may wait, until it is dropped. Handlers take it before the body, so that no more bodies are in
/// memory than there are places.
pub(crate) struct Place(#[expect(dead_code, reason = "it is only held")] OwnedSemaphorePermit);

impl FromRequestParts<Arc<Service>> for Place {
    type Rejection = Failure;

    async fn from_request_parts(_: &mut Parts, service: &Arc<Service>) -> Result<Self, Failure> {
        service.enter().map(Self)
    }
}

/// A JSON body, or a failure in our words.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, Failure> {
        let patience = service.limits.patience;
        match timeout(patience, Json::from_request(request, service)).await {
            Ok(body) => Ok(Self(body?.0)),
            Err(_) => Err(Failure::new(
                FailureKind::TooSlow,
                format!("the body was not there after {} seconds", patience.as_secs_f32()),
            )),
        }
    }
}

/// The parameters behind a `?`, or a failure in our words.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(parameters) = Query::from_request_parts(parts, state).await?;
        Ok(Self(parameters))
    }
}

async fn check_key(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    if service.keys.admit(request.headers()) {
        return next.run(request).await;
    }
    let message = "no key, or not one that is taken here; send it as `Authorization: Bearer KEY`";
    Failure::new(FailureKind::Unauthorized, message).into_response()
}

async fn count(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let metrics = &service.metrics;
    // Only routes there are, or whoever asks for many others would make as many series.
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    let labels = &[route.to_owned()];
    metrics.requests.with_label_values(labels).inc();
    let began = Instant::now();
    let response = next.run(request).await;
    metrics.seconds.with_label_values(labels).observe(began.elapsed().as_secs_f64());
    match response.extensions().get::<Failure>() {
        Some(failure) => metrics.failures.with_label_values(&[failure.kind.name()]).inc(),
        None => metrics.successes.with_label_values(labels).inc(),
    }
    response
}

async fn no_such_route(request: Request) -> Failure {
    let path = request.uri().path();
    Failure::new(FailureKind::NotFound, format!("there is no route `{path}`"))
}

async fn wrong_method(request: Request) -> Failure {
    let (method, path) = (request.method(), request.uri().path());
    Failure::new(FailureKind::WrongMethod, format!("`{path}` does not take {method}"))
}
