use std::path::Path;

use axum::Router;
use axum::http::StatusCode;
use hpd_encoder::{EncodeOptions, Model, Prompt};
use hpd_index::{Document, Store, StoreModel, StoreSettings};
use hpd_serve::{Keys, Limits, Searched};
use serde_json::{Map, Value, json};

use crate::support::{get, model, post, served, served_with};

const TEXTS: [&str; 4] = [
    "The spider spins its web before dawn.",
    "What is the capital of Mongolia?",
    "A fear of spiders is called arachnophobia.",
    "<script>alert('no')</script>",
];

fn settings(model: &Model) -> StoreSettings {
    let identity = model.identity();
    StoreSettings {
        model: StoreModel {
            name: "bert_heads".to_owned(),
            weights: identity.weights.clone(),
            space: identity.space.clone(),
            dim: model.dim(),
            revision: None,
        },
        ..StoreSettings::default()
    }
}

fn add(store: &mut Store, model: &Model, texts: &[&str], first: usize) {
    let options =
        EncodeOptions { prompt: Prompt::Document, normalize: true, ..EncodeOptions::default() };
    let vectors = model.encode(texts, &options).unwrap().rows;
    let document = |(i, text): (usize, &&str)| Document {
        id: format!("d{i}"),
        text: (*text).to_owned(),
        metadata: Map::from_iter([("place".to_owned(), json!(i))]),
    };
    let documents: Vec<Document> = (first..).zip(texts).map(document).collect();
    store.add(&documents, &vectors).unwrap();
}

pub(crate) fn searched(folder: &Path) -> (Router, Store) {
    let (folder, model) = (folder.join("store"), model("bert_heads"));
    let mut store = Store::create(&folder, &settings(&model)).unwrap();
    add(&mut store, &model, &TEXTS, 0);
    let searched = Searched::open(&folder, settings(&model), 2).unwrap();
    (served_with("bert_heads", Limits::default(), Keys::default(), Some(searched)), store)
}

fn ids(hits: &Value) -> Vec<String> {
    hits.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn hits_are_those_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (app, store) = searched(folder.path());
    let options =
        EncodeOptions { prompt: Prompt::Query, normalize: true, ..EncodeOptions::default() };
    let query = model("bert_heads").encode(&["spider web"], &options).unwrap().rows;
    let expected = store.search(&query.data, 4).unwrap();
    let found = get(&app, "/search?query=spider+web").await.ok();
    assert_eq!(ids(&found["hits"]), expected.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>());
    assert_eq!(found["hits"][0]["score"].as_f64().unwrap() as f32, expected[0].score);
    assert_eq!((&found["hits"][0]["rank"], &found["hits"][3]["rank"]), (&json!(1), &json!(4)));
    assert_eq!(found["hits"][0]["text"], expected[0].text);
    assert_eq!(found, post(&app, "/search", &json!({"query": "spider web"})).await.ok());
    let body = json!({"queries": ["spider web", "Mongolia"], "limit": 1});
    let many = post(&app, "/search", &body).await.ok();
    assert_eq!(many["results"][0]["hits"][0], found["hits"][0]);
    assert_eq!(many["results"][1]["query"], "Mongolia");
}

#[tokio::test]
async fn a_request_gets_so_many_hits_in_all() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _) = searched(folder.path());
    let ask = async |limit: usize| {
        post(&app, "/search", &json!({"queries": vec!["web"; 11], "limit": limit})).await
    };
    assert_eq!(ask(9_090).await.status, StatusCode::OK);
    let refused = ask(9_091).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("split the request"), "{}", refused.text);
}

#[tokio::test]
async fn filters_words_and_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = searched(folder.path());
    let body = json!({"query": "spider", "filter": "place >= 2", "exactness": "exact"});
    let mut found = ids(&post(&app, "/search", &body).await.ok()["hits"]);
    found.sort();
    assert_eq!(found, ["d2", "d3"]);
    let body = json!({"query": "arachnophobia", "hybrid": true, "limit": 1});
    assert_eq!(ids(&post(&app, "/search", &body).await.ok()["hits"]), ["d2"]);
    let neighbours = get(&app, "/similar?id=d0&limit=2").await.ok();
    let neighbours = ids(&neighbours["hits"]);
    assert!(neighbours.len() == 2 && !neighbours.contains(&"d0".to_owned()), "{neighbours:?}");
    assert_eq!(get(&app, "/similar?id=d9").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_added_meanwhile_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut store) = searched(folder.path());
    get(&app, "/search?query=spider").await.ok();
    add(&mut store, &model("bert_heads"), &["Ulaanbaatar"], 9);
    let found = get(&app, "/search?query=Ulaanbaatar&limit=5").await.ok();
    assert!(ids(&found["hits"]).contains(&"d9".to_owned()), "{found}");
    assert_eq!(get(&app, "/info").await.ok()["store"]["documents"], 5);
}

#[tokio::test]
async fn a_store_of_another_model_by_now_is_not_searched() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut store) = searched(folder.path());
    let other = StoreModel { space: "another".to_owned(), ..settings(&model("bert_heads")).model };
    let other = StoreSettings { model: other, ..StoreSettings::default() };
    let encode =
        |texts: &[&str]| Ok(model("bert_heads").encode(texts, &EncodeOptions::default())?.rows);
    store.re_embed(&other, encode, &hpd_files::Silent).unwrap();
    // Again and again: the store that has failed is closed, and the next one opened is of the other model.
    for _ in 0..3 {
        let answer = get(&app, "/search?query=spider").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.text.contains("started again"), "{}", answer.text);
    }
}

#[tokio::test]
async fn what_cannot_be_searched_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = searched(folder.path());
    let bad = [
        (json!({}), "either `query`"),
        (json!({"query": "a", "queries": ["b"]}), "either `query`"),
        (json!({"query": " "}), "a query is empty"),
        (json!({"query": "a", "limit": 0}), "`limit` is 0"),
        (json!({"query": "a", "limit": 1_000_000}), "`limit` is 1000000"),
        (json!({"query": "a", "filter": "place >"}), "filter"),
        (json!({"query": "a", "exactness": "rough"}), "rough"),
        (json!({"query": "a", "top_k": 3}), "top_k"),
        (json!({"queries": []}), "no text"),
    ];
    for (body, words) in bad {
        let answer = post(&app, "/search", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        assert!(answer.text.contains(words), "{body}: {}", answer.text);
    }
    let answer = get(&served("bert_heads"), "/search?query=a").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.text.contains("--store DIR"), "{}", answer.text);
}
