//! The routes of text-embeddings-inference that a model of sentences can answer: `/embed`, `/similarity`, `/tokenize`, `/info`,
//! `/health`, `/metrics`.
//!
//! Bodies as in its OpenAPI description. `normalize: false` gives what the model folder's own modules give, which with a Normalize at
//! their end is of length 1 all the same.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::IntoResponse;
use hpd_encoder::EncodeOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::{Body, Place};
use crate::embedding::{Embedded, Inputs};
use crate::failure::Failure;
use crate::service::Service;

/// How many texts of a request lost their end.
const TRUNCATED: HeaderName = HeaderName::from_static("x-truncated-inputs");

/// Body of `POST /embed`.
#[derive(Deserialize)]
pub(crate) struct EmbedRequest {
    inputs: Inputs,
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
    prompt_name: Option<String>,
    #[serde(default = "yes")]
    normalize: bool,
    dimensions: Option<usize>,
}

/// Which end a text that is too long loses.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    #[serde(alias = "Left")]
    Left,
    #[serde(alias = "Right")]
    Right,
}

/// Body of `POST /similarity`.
#[derive(Deserialize)]
pub(crate) struct SimilarityRequest {
    inputs: SimilarityInputs,
    #[serde(default)]
    parameters: SimilarityParameters,
}

#[derive(Deserialize)]
struct SimilarityInputs {
    source_sentence: String,
    sentences: Vec<String>,
}

#[derive(Default, Deserialize)]
struct SimilarityParameters {
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
    prompt_name: Option<String>,
}

/// Body of `POST /tokenize`.
#[derive(Deserialize)]
pub(crate) struct TokenizeRequest {
    inputs: Inputs,
    #[serde(default = "yes")]
    add_special_tokens: bool,
    prompt_name: Option<String>,
}

/// One token of an answer. Where in the text it stood is not known.
#[derive(Serialize)]
pub(crate) struct Token {
    id: u32,
    text: String,
    special: bool,
    start: Option<usize>,
    stop: Option<usize>,
}

fn yes() -> bool {
    true
}

/// Which end goes is the model folder's choice; to ask for the other one is not passed over in silence.
fn check_direction(asked: Option<Direction>) -> Result<(), Failure> {
    match asked {
        None | Some(Direction::Right) => Ok(()),
        Some(Direction::Left) => Err(Failure::invalid(
            "`truncation_direction` is left, but texts lose their end; send the part that matters",
        )),
    }
}

/// `POST /embed`
pub(crate) async fn embed(
    State(service): State<Arc<Service>>,
    _place: Place,
    Body(request): Body<EmbedRequest>,
) -> Result<impl IntoResponse, Failure> {
    check_direction(request.truncation_direction)?;
    let EmbedRequest { normalize, dimensions, .. } = request;
    let options = EncodeOptions { normalize, dimensions, ..service.options(request.prompt_name)? };
    let Embedded { rows, truncated, .. } =
        service.embed(request.inputs, &options, request.truncate).await?;
    let rows: Vec<Vec<f32>> = rows.data.chunks_exact(rows.dim).map(<[f32]>::to_vec).collect();
    Ok(([(TRUNCATED, truncated.to_string())], Json(rows)))
}

/// `POST /similarity`: the cosine of one sentence with each of the others.
pub(crate) async fn similarity(
    State(service): State<Arc<Service>>,
    _place: Place,
    Body(request): Body<SimilarityRequest>,
) -> Result<Json<Vec<f32>>, Failure> {
    let SimilarityInputs { source_sentence, sentences } = request.inputs;
    if sentences.is_empty() {
        return Err(Failure::invalid("`sentences` is empty, expected at least one"));
    }
    let SimilarityParameters { truncate, truncation_direction, prompt_name } = request.parameters;
    check_direction(truncation_direction)?;
    let texts = [vec![source_sentence], sentences].concat();
    let options = EncodeOptions { normalize: true, ..service.options(prompt_name)? };
    let Embedded { rows, .. } = service.embed(Inputs::Texts(texts), &options, truncate).await?;
    let mut rows = rows.data.chunks_exact(rows.dim);
    let source = rows.next().unwrap_or_default();
    // Rounding must not make more than a cosine of it.
    let cosine =
        |row: &[f32]| source.iter().zip(row).map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0);
    Ok(Json(rows.map(cosine).collect()))
}

/// `POST /tokenize`: the ids that `/embed` would encode.
pub(crate) async fn tokenize(
    State(service): State<Arc<Service>>,
    _place: Place,
    Body(request): Body<TokenizeRequest>,
) -> Result<Json<Vec<Vec<Token>>>, Failure> {
    let options = service.options(request.prompt_name)?;
    let tokens = service.tokenize(request.inputs, &options, true).await?;
    let tokenizer = service.model.route(&options)?.tokenizer();
    let frame = tokenizer.tokenize(&[""])?.ids;
    let special: HashSet<u32> = frame.into_iter().collect();
    let vocabulary = tokenizer.vocabulary()?;
    let token = |&id: &u32| Token {
        id,
        text: vocabulary.get(id as usize).cloned().unwrap_or_default(),
        special: special.contains(&id),
        start: None,
        stop: None,
    };
    let is_wanted = |token: &Token| request.add_special_tokens || !token.special;
    let texts = (0..tokens.len())
        .map(|text| tokens.text(text).iter().map(token).filter(is_wanted).collect())
        .collect();
    Ok(Json(texts))
}

/// `GET /info`
pub(crate) async fn info(State(service): State<Arc<Service>>) -> Result<Json<Value>, Failure> {
    let (model, limits) = (&service.model, &service.limits);
    let folder = model.folder();
    let pooling: Vec<&str> = folder.pooling.modes.iter().map(|mode| mode.name()).collect();
    let store = match &service.searched {
        Some(searched) => Some(searched.describe().await?),
        None => None,
    };
    Ok(Json(json!({
        "model_id": service.name,
        "model_sha": model.identity().weights,
        "model_dtype": model.arithmetic().to_string(),
        "model_type": {"embedding": {"pooling": pooling.join(" and ")}},
        "space": model.identity().space,
        "dimensions": model.dim(),
        "prompts": folder.prompts.keys().collect::<Vec<_>>(),
        "max_input_length": Some(model.max_seq_length()).filter(|tokens| *tokens < usize::MAX),
        "max_concurrent_requests": limits.max_concurrent_requests,
        "max_batch_tokens": service.batch_tokens,
        "max_client_batch_size": limits.max_client_batch_size,
        "auto_truncate": limits.auto_truncate,
        "version": env!("CARGO_PKG_VERSION"),
        "store": store,
    })))
}

/// `GET /health`: empty, for who only wants to know that the server is there.
pub(crate) async fn health() {}

/// `GET /metrics`
pub(crate) async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    service.metrics.exposition()
}
