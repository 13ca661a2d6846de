//! OpenAI's routes: `POST /v1/embeddings`, `GET /v1/models`.
//!
//! As in OpenAI's reference of its API, with `prompt_name` and `truncate` beside, which text-embeddings-inference has.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpd_encoder::EncodeOptions;
use serde::{Deserialize, Serialize};

use crate::app::{Body, Place};
use crate::embedding::{Embedded, Inputs};
use crate::failure::{Failure, FailureKind};
use crate::service::Service;

/// Body of `POST /v1/embeddings`.
#[derive(Deserialize)]
pub(crate) struct Request {
    input: Inputs,
    model: Option<String>,
    dimensions: Option<usize>,
    encoding_format: Option<Encoding>,
    prompt_name: Option<String>,
    truncate: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    /// The numbers as little-endian f32.
    Base64,
}

/// What is answered.
#[derive(Serialize)]
pub(crate) struct List<T> {
    object: &'static str,
    data: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
pub(crate) struct Item {
    object: &'static str,
    embedding: Vector,
    index: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A model as it is listed.
#[derive(Serialize)]
pub(crate) struct Listed {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

/// `POST /v1/embeddings`
pub(crate) async fn embeddings(
    State(service): State<Arc<Service>>,
    _place: Place,
    Body(request): Body<Request>,
) -> Result<Json<List<Item>>, Failure> {
    check_model(&service, request.model.as_deref())?;
    let options =
        EncodeOptions { dimensions: request.dimensions, ..service.options(request.prompt_name)? };
    let Embedded { rows, tokens, .. } =
        service.embed(request.input, &options, request.truncate).await?;
    let item = |(index, row): (usize, &[f32])| {
        let embedding = match request.encoding_format {
            None | Some(Encoding::Float) => Vector::Float(row.to_vec()),
            Some(Encoding::Base64) => Vector::Base64(base64(row)),
        };
        Item { object: "embedding", embedding, index }
    };
    Ok(Json(List {
        object: "list",
        data: rows.data.chunks_exact(rows.dim).enumerate().map(item).collect(),
        model: Some(service.name.clone()),
        usage: Some(Usage { prompt_tokens: tokens, total_tokens: tokens }),
    }))
}

/// `GET /v1/models`
pub(crate) async fn models(State(service): State<Arc<Service>>) -> Json<List<Listed>> {
    let listed = Listed { id: service.name.clone(), object: "model", created: 0, owned_by: "hpd" };
    Json(List { object: "list", data: vec![listed], model: None, usage: None })
}

/// Failures on these routes in OpenAI's shape, whoever found them.
pub(crate) async fn in_openai_shape(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Failure>() {
        Some(failure) => failure.into_openai_response(),
        None => response,
    }
}

/// Vectors of two models cannot be compared, so another model's name is never taken for this one's.
fn check_model(service: &Service, asked: Option<&str>) -> Result<(), Failure> {
    match asked {
        // Some clients send an empty name for "whichever there is".
        Some(asked) if !asked.is_empty() && asked != service.name => Err(Failure::new(
            FailureKind::NotFound,
            format!(
                "there is no model `{asked}` here, only `{0}`; ask for `{0}`, or start the server with `--served-model-name {asked}`",
                service.name
            ),
        )),
        _ => Ok(()),
    }
}

fn base64(row: &[f32]) -> String {
    let bytes: Vec<u8> = row.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
