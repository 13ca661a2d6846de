use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpd_encoder::EncodeOptions;
use serde_json::{Value, json};

use crate::support::{get, model, numbers, post, send, served};

fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    answer["data"].as_array().unwrap().iter().map(|item| numbers(&item["embedding"])).collect()
}

#[tokio::test]
async fn vectors_are_those_of_the_encoder() {
    let app = served("bert_heads");
    let texts = ["a fear of spiders", "", "what is the capital of Mongolia?"];
    let answer =
        post(&app, "/v1/embeddings", &json!({"input": texts, "model": "bert_heads"})).await;
    let answer = answer.ok();
    let expected = model("bert_heads").encode(&texts, &EncodeOptions::default()).unwrap();
    let found = vectors(&answer);
    assert_eq!(found.len(), 3);
    for (i, row) in found.iter().enumerate() {
        assert_eq!(row, expected.rows.row(i));
    }
    assert_eq!(answer["usage"]["prompt_tokens"], expected.tokens);
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("bert_heads")));
    assert_eq!(answer["data"][2]["index"], 2);
}

#[tokio::test]
async fn one_text_is_a_list_of_one_under_either_name_of_the_route() {
    let app = served("bert_mean");
    for path in ["/v1/embeddings", "/embeddings"] {
        let answer = post(&app, path, &json!({"input": "a text"})).await.ok();
        assert_eq!(answer["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_is_null_or_empty_was_not_said() {
    let app = served("bert_mean");
    let body = json!({"input": "a text", "model": "", "encoding_format": null, "dimensions": null, "user": "me"});
    let answer = post(&app, "/v1/embeddings", &body).await.ok();
    assert_eq!(answer, post(&app, "/v1/embeddings", &json!({"input": "a text"})).await.ok());
}

#[tokio::test]
async fn base64_holds_the_same_numbers() {
    let app = served("bert_mean");
    let floats = post(&app, "/v1/embeddings", &json!({"input": "a text"})).await.ok();
    let body = json!({"input": "a text", "encoding_format": "base64"});
    let coded = post(&app, "/v1/embeddings", &body).await.ok();
    let bytes = STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(numbers, vectors(&floats)[0]);
}

#[tokio::test]
async fn fewer_dimensions_are_a_prefix_of_length_one() {
    let app = served("bert_heads");
    let whole = vectors(&post(&app, "/v1/embeddings", &json!({"input": "a text"})).await.ok());
    let body = json!({"input": "a text", "dimensions": 4});
    let short = vectors(&post(&app, "/v1/embeddings", &body).await.ok()).remove(0);
    let options = EncodeOptions { dimensions: Some(4), ..EncodeOptions::default() };
    assert_eq!(short, model("bert_heads").encode(&["a text"], &options).unwrap().rows.row(0));
    assert_eq!(short.len(), 4);
    for asked in [0, whole[0].len() + 1] {
        let answer =
            post(&app, "/v1/embeddings", &json!({"input": "a", "dimensions": asked})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("`dimensions` is {asked}")), "{message}");
    }
}

#[tokio::test]
async fn ids_of_the_models_own_tokenizer_are_texts_too() {
    let app = served("bert_mean");
    let model = model("bert_mean");
    let texts = ["the spider spins its web", "hello"];
    let tokens = model.tokenize(&texts, &EncodeOptions::default()).unwrap();
    let ids = [tokens.text(0), tokens.text(1)];
    let by_words = vectors(&post(&app, "/v1/embeddings", &json!({"input": texts})).await.ok());
    let by_ids = vectors(&post(&app, "/v1/embeddings", &json!({"input": ids})).await.ok());
    assert_eq!(by_words, by_ids);
    let one = vectors(&post(&app, "/v1/embeddings", &json!({"input": ids[0]})).await.ok());
    assert_eq!(one[0], by_ids[0]);
    for (ids, words) in [
        (json!([3_000_000]), "the model's own tokenizer"),
        (json!([[1], []]), "text 1 has no token ids"),
    ] {
        let answer = post(&app, "/v1/embeddings", &json!({"input": ids})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text.contains(words), "{}", answer.text);
    }
}

#[tokio::test]
async fn failures_have_openais_shape() {
    let app = served("bert_mean");
    let bad = [
        (json!({"input": []}), 400, "no text"),
        (json!({"input": 3}), 400, "a text, a list of texts"),
        (json!({"model": "bert_mean"}), 400, "input"),
        (json!({"input": "a", "encoding_format": "hex"}), 400, "hex"),
        (json!({"input": "a", "prompt_name": "poem"}), 400, "poem"),
        (json!({"input": "a", "model": "text-embedding-3-small"}), 404, "--served-model-name"),
    ];
    for (body, status, words) in bad {
        let answer = post(&app, "/v1/embeddings", &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
        let error = answer.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    let request = Request::post("/v1/embeddings").body(Body::from("{\"input\": \"a\"}")).unwrap();
    let answer = send(&app, request).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(answer.text.contains("Content-Type: application/json"), "{}", answer.text);
    let request = Request::post("/v1/embeddings").header("content-type", "application/json");
    let answer = send(&app, request.body(Body::from("{\"input\": ")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    let answer = get(&app, "/v1/embeddings").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn the_model_is_listed() {
    let listed = get(&served("bert_mean"), "/v1/models").await.ok();
    assert_eq!(listed["data"][0]["id"], "bert_mean");
    assert_eq!(listed["object"], "list");
}
