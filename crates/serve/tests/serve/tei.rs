use std::sync::Arc;

use axum::http::StatusCode;
use hpd_encoder::{EncodeOptions, Prompt, Side};
use hpd_serve::{Keys, Limits};
use serde_json::{Value, json};

use crate::support::{get, model, numbers, post, served, served_with};

const TEXTS: [&str; 3] = ["a fear of spiders", "what is the capital of Mongolia?", ""];

fn rows(answer: &Value) -> Vec<Vec<f32>> {
    answer.as_array().unwrap().iter().map(numbers).collect()
}

fn expected(fixture: &str, texts: &[&str], options: &EncodeOptions) -> Vec<Vec<f32>> {
    let rows = model(fixture).encode(texts, options).unwrap().rows;
    rows.data.chunks_exact(rows.dim).map(<[f32]>::to_vec).collect()
}

#[tokio::test]
async fn embedding_normalises_unless_told_otherwise() {
    let app = served("distilbert_cls");
    for normalize in [true, false] {
        let body = json!({"inputs": TEXTS, "normalize": normalize});
        let options = EncodeOptions { normalize, ..EncodeOptions::default() };
        let answer = post(&app, "/embed", &body).await.ok();
        assert_eq!(rows(&answer), expected("distilbert_cls", &TEXTS, &options));
        assert_eq!(answer, post(&app, "/", &body).await.ok());
    }
    let by_default = rows(&post(&app, "/embed", &json!({"inputs": TEXTS[0]})).await.ok());
    let length: f32 = by_default[0].iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
}

#[tokio::test]
async fn a_prompt_is_named() {
    let app = served("bert_heads");
    for name in ["query", "document"] {
        let prompt = Prompt::Named(name.to_owned());
        let options = EncodeOptions { prompt, normalize: true, ..EncodeOptions::default() };
        let answer = post(&app, "/embed", &json!({"inputs": TEXTS, "prompt_name": name})).await;
        assert_eq!(rows(&answer.ok()), expected("bert_heads", &TEXTS, &options));
    }
    let answer = post(&app, "/embed", &json!({"inputs": "a", "prompt_name": "poem"})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json()["error_type"], "Validation");
    assert!(!answer.text.contains('/'), "a path of the server is told: {}", answer.text);
}

#[tokio::test]
async fn queries_and_documents_take_a_model_each_where_there_are_two() {
    let app = served("router");
    for (name, prompt, side) in
        [("query", Prompt::Query, Side::Query), ("document", Prompt::Document, Side::Document)]
    {
        let options =
            EncodeOptions { prompt, side: Some(side), normalize: true, ..EncodeOptions::default() };
        let answer = post(&app, "/embed", &json!({"inputs": TEXTS, "prompt_name": name})).await;
        assert_eq!(rows(&answer.ok()), expected("router", &TEXTS, &options));
    }
}

#[tokio::test]
async fn a_vector_is_the_same_in_any_company() {
    let limits = Limits { max_batch_tokens: Some(64), ..Limits::default() };
    let app = Arc::new(served_with("bert_heads", limits, Keys::default(), None));
    let texts = |i: usize| -> Vec<String> {
        (0..=i % 7)
            .map(|j| format!("sentence {j} of request {i}, {}", "word ".repeat(j * 3)))
            .collect()
    };
    let requests: Vec<_> = (0..60)
        .map(|i| {
            let app = app.clone();
            tokio::spawn(async move {
                let prompt = ["query", "document"][i % 2];
                let body = json!({"inputs": texts(i), "prompt_name": prompt});
                rows(&post(&app, "/embed", &body).await.ok())
            })
        })
        .collect();
    let model = model("bert_heads");
    for (i, request) in requests.into_iter().enumerate() {
        let found = request.await.unwrap();
        let prompt = Prompt::Named(["query", "document"][i % 2].to_owned());
        let options = EncodeOptions { prompt, normalize: true, ..EncodeOptions::default() };
        for (text, row) in texts(i).iter().zip(&found) {
            assert_eq!(row, model.encode(&[text], &options).unwrap().rows.row(0));
        }
    }
}

#[tokio::test]
async fn similarity_is_the_cosine() {
    let app = served("bert_mean");
    let body = json!({"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS}});
    let cosines = numbers(&post(&app, "/similarity", &body).await.ok());
    assert!((cosines[0] - 1.0).abs() < 1e-5 && cosines[1] < 0.9999, "{cosines:?}");
    let body = json!({"inputs": {"source_sentence": "a", "sentences": []}});
    assert_eq!(post(&app, "/similarity", &body).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn tokens_of_a_text_can_be_seen_and_sent_back() {
    let app = served("bert_mean");
    let tokens = post(&app, "/tokenize", &json!({"inputs": TEXTS[0]})).await.ok();
    let tokens = tokens[0].as_array().unwrap();
    assert_eq!((&tokens[0]["text"], &tokens[0]["special"]), (&json!("[CLS]"), &json!(true)));
    let ids: Vec<&Value> = tokens.iter().map(|token| &token["id"]).collect();
    let by_ids = post(&app, "/embed", &json!({"inputs": [ids]})).await.ok();
    assert_eq!(by_ids, post(&app, "/embed", &json!({"inputs": TEXTS[0]})).await.ok());
    let body = json!({"inputs": TEXTS[0], "add_special_tokens": false});
    let without = post(&app, "/tokenize", &body).await.ok();
    assert_eq!(without[0].as_array().unwrap().len(), tokens.len() - 2);
}

#[tokio::test]
async fn tokens_are_those_of_the_side_that_is_asked_for() {
    let app = served("router");
    for side in ["query", "document"] {
        let body = json!({"inputs": TEXTS[0], "prompt_name": side});
        let tokens = post(&app, "/tokenize", &body).await.ok();
        let tokens = tokens[0].as_array().unwrap();
        assert!(tokens.iter().all(|token| token["text"] != ""), "{side}: {tokens:?}");
        let prompt = Prompt::Named(side.to_owned());
        let side = if side == "query" { Side::Query } else { Side::Document };
        let options = EncodeOptions { prompt, side: Some(side), ..EncodeOptions::default() };
        let expected = model("router").tokenize(&[TEXTS[0]], &options).unwrap();
        let ids: Vec<u64> = tokens.iter().map(|token| token["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, expected.ids.iter().map(|&id| u64::from(id)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_is_too_long_is_cut_and_said_or_refused() {
    let app = served("bert_mean");
    let longest = model("bert_mean").max_seq_length();
    let body = json!({"inputs": ["word ".repeat(longest), "short".to_owned()]});
    let answer = post(&app, "/embed", &body).await;
    assert_eq!(answer.headers["x-truncated-inputs"], "1");
    for (direction, status) in [("Right", 200), ("right", 200), ("Left", 422)] {
        let body = json!({"inputs": "a", "truncation_direction": direction});
        assert_eq!(post(&app, "/embed", &body).await.status.as_u16(), status, "{direction}");
    }
    let mut refusing = body.clone();
    refusing["truncate"] = json!(false);
    let limits = Limits { auto_truncate: false, ..Limits::default() };
    let strict = served_with("bert_mean", limits, Keys::default(), None);
    for answer in [post(&app, "/embed", &refusing).await, post(&strict, "/embed", &body).await] {
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text.contains("1 of 2 texts are longer"), "{}", answer.text);
    }
}

#[tokio::test]
async fn it_says_what_it_is_and_counts() {
    let app = served("bert_mean");
    assert_eq!(get(&app, "/health").await.status, StatusCode::OK);
    let info = get(&app, "/info").await.ok();
    assert_eq!(info["model_id"], "bert_mean");
    assert_eq!(info["model_type"]["embedding"]["pooling"], "mean");
    assert_eq!(info["dimensions"], model("bert_mean").dim());
    assert!(info["store"].is_null());
    post(&app, "/embed", &json!({"inputs": TEXTS})).await.ok();
    post(&app, "/embed", &json!({"inputs": []})).await;
    get(&app, "/no/such/route").await;
    let metrics = get(&app, "/metrics").await.text;
    for line in [
        "te_request_count{method=\"/embed\"} 2",
        "te_request_count{method=\"other\"} 1",
        "te_request_success{method=\"/embed\"} 1",
        "te_request_failure{err=\"Validation\"} 1",
        "te_request_failure{err=\"NotFound\"} 1",
        "te_batch_next_size_sum 3",
        "te_queue_size 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let page = get(&served("bert_mean"), "/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(!page.text.contains("http://") && !page.text.contains("https://"));
    assert!(!page.text.contains("innerHTML"));
}
