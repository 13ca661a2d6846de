//! `/search`: the documents of the store nearest to a query, and `/similar`: those nearest to one of them.
//!
//! Fields are the flags of `hpd search`, hits the lines of its `--json`. `GET /search?query=…` is for a browser and for trying;
//! `POST /search` takes many queries.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use hpd_index::{DEFAULT_LIMIT, Filter, Hit};
use hpd_texts::{TextSearch, query_options};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::{Body, Parameters, Place};
use crate::embedding::{Embedded, Inputs};
use crate::failure::{Failure, FailureKind};
use crate::searched::Searched;
use crate::service::Service;

/// Most hits of a query: each is read from the disk and written out with its text.
const MOST_HITS: usize = 10_000;

/// Most hits of all queries of a request together: they are in memory at once.
const MOST_HITS_IN_ALL: usize = 100_000;

/// Body of `POST /search`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchRequest {
    queries: Option<Vec<String>>,
    query: Option<String>,
    #[serde(default)]
    hybrid: bool,
    #[serde(default = "default_limit")]
    limit: usize,
    min_score: Option<f32>,
    exactness: Option<String>,
    filter: Option<String>,
}

/// Parameters of `GET /similar`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimilarRequest {
    id: String,
    #[serde(default = "default_limit")]
    limit: usize,
    min_score: Option<f32>,
    exactness: Option<String>,
    filter: Option<String>,
}

/// What `/search` answers: `hits` for one query, `results` for many.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Found {
    Hits(Vec<Ranked>),
    Results(Vec<Answer>),
}

/// The hits of one of many queries.
#[derive(Serialize)]
pub(crate) struct Answer {
    query: String,
    hits: Vec<Ranked>,
}

/// A hit as it is answered.
#[derive(Serialize)]
pub(crate) struct Ranked {
    rank: usize,
    score: f32,
    id: String,
    text: String,
    metadata: Map<String, Value>,
}

fn default_limit() -> usize {
    DEFAULT_LIMIT
}

/// `POST /search`
pub(crate) async fn search(
    State(service): State<Arc<Service>>,
    _place: Place,
    Body(request): Body<SearchRequest>,
) -> Result<Json<Found>, Failure> {
    let searched = store_of(&service)?.clone();
    let (queries, is_one) = match (request.query, request.queries) {
        (Some(query), None) => (vec![query], true),
        (None, Some(queries)) => (queries, false),
        _ => return Err(Failure::invalid("expected either `query`, a text, or `queries`, a list")),
    };
    if queries.iter().any(|query| query.trim().is_empty()) {
        return Err(Failure::invalid("a query is empty, expected some words"));
    }
    let hits = request.limit.saturating_mul(queries.len());
    if queries.len() > 1 && hits > MOST_HITS_IN_ALL {
        return Err(Failure::invalid(format!(
            "{} queries with a `limit` of {} are {hits} hits, but the server gives {MOST_HITS_IN_ALL} at a time; split the request",
            queries.len(),
            request.limit
        )));
    }
    let search = asked(request.limit, request.min_score, request.exactness, request.filter)?;
    let search = TextSearch { hybrid: request.hybrid, ..search };
    let options = query_options(searched.settings());
    let Embedded { rows, .. } =
        service.embed(Inputs::Texts(queries.clone()), &options, Some(true)).await?;
    let mut found = searched.search(queries.clone(), rows, search).await?;
    if is_one {
        return Ok(Json(Found::Hits(ranked(found.pop().unwrap_or_default()))));
    }
    let answer = |(query, hits)| Answer { query, hits: ranked(hits) };
    Ok(Json(Found::Results(queries.into_iter().zip(found).map(answer).collect())))
}

/// `GET /search`
pub(crate) async fn search_by_address(
    state: State<Arc<Service>>,
    place: Place,
    Parameters(request): Parameters<SearchRequest>,
) -> Result<Json<Found>, Failure> {
    search(state, place, Body(request)).await
}

/// `GET /similar`
pub(crate) async fn similar(
    State(service): State<Arc<Service>>,
    _place: Place,
    Parameters(request): Parameters<SimilarRequest>,
) -> Result<Json<Found>, Failure> {
    let searched = store_of(&service)?.clone();
    let search = asked(request.limit, request.min_score, request.exactness, request.filter)?;
    match searched.similar(request.id.clone(), search).await? {
        Some(hits) => Ok(Json(Found::Hits(ranked(hits)))),
        None => Err(Failure::new(
            FailureKind::NotFound,
            format!("there is no document `{}` in the store", request.id),
        )),
    }
}

fn store_of(service: &Service) -> Result<&Searched, Failure> {
    service.searched.as_ref().ok_or_else(|| {
        Failure::new(
            FailureKind::NotFound,
            "there is no store to search; start the server with `--store DIR`",
        )
    })
}

fn asked(
    limit: usize,
    min_score: Option<f32>,
    exactness: Option<String>,
    filter: Option<String>,
) -> Result<TextSearch, Failure> {
    if !(1..=MOST_HITS).contains(&limit) {
        return Err(Failure::invalid(format!("`limit` is {limit}, expected 1 to {MOST_HITS}")));
    }
    let exactness = exactness.as_deref().map(str::parse).transpose()?.unwrap_or_default();
    let filter = filter.as_deref().map(str::parse::<Filter>).transpose()?;
    Ok(TextSearch { limit, min_score, exactness, filter, hybrid: false })
}

fn ranked(hits: Vec<Hit>) -> Vec<Ranked> {
    let ranked =
        |(rank, Hit { score, id, text, metadata })| Ranked { rank, score, id, text, metadata };
    (1..).zip(hits).map(ranked).collect()
}
