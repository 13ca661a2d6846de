//! What is described is what is answered.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::search::searched;
use crate::support::{get, post, send};

async fn description(app: &Router) -> Value {
    get(app, "/openapi.json").await.ok()
}

/// The schema of what a route answers to a request that goes well.
fn answer_of<'a>(description: &'a Value, path: &str, method: &str) -> &'a Value {
    &description["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
}

/// What of `value` is not as `schema` says, by the words that the description uses.
fn misfit(description: &Value, schema: &Value, value: &Value) -> Option<String> {
    let fits = |schema: &Value| misfit(description, schema, value).is_none();
    if let Some(place) = schema["$ref"].as_str() {
        let place = place.strip_prefix('#').unwrap();
        return misfit(description, description.pointer(place).expect(place), value);
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return Some(format!("{value} is not {}", schema["const"]));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let count = choices.iter().filter(|choice| fits(choice)).count();
        if count != 1 {
            return Some(format!("{value} fits {count} of {choices:?}"));
        }
    }
    let is_a = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => panic!("{kind} is no type"),
    };
    let is_one = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(is_a),
        Value::Null => true,
        kind => is_a(kind),
    };
    if !is_one {
        return Some(format!("{value} is no {}", schema["type"]));
    }
    if let Some(members) = value.as_object() {
        let required = schema["required"].as_array().into_iter().flatten();
        let missing = required.filter_map(Value::as_str).find(|name| !members.contains_key(*name));
        if let Some(name) = missing {
            return Some(format!("{value} lacks `{name}`"));
        }
        let of = |(name, member)| match schema["properties"].get(name) {
            Some(schema) => misfit(description, schema, member),
            // One of several choices that only says what is required.
            None if schema["type"].is_null() || schema["additionalProperties"] == true => None,
            None => Some(format!("`{name}` is not described")),
        };
        return members.iter().find_map(of);
    }
    let mut items = value.as_array().into_iter().flatten();
    items.find_map(|item| misfit(description, &schema["items"], item))
}

#[tokio::test]
async fn answers_are_as_described() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _) = searched(folder.path());
    let description = description(&app).await;
    for (path, body) in [
        ("/embed", json!({"inputs": "a"})),
        ("/", json!({"inputs": ["a", "b"]})),
        ("/similarity", json!({"inputs": {"source_sentence": "a", "sentences": ["b"]}})),
        ("/tokenize", json!({"inputs": "a spider"})),
        ("/v1/embeddings", json!({"input": "a", "user": "me"})),
        ("/embeddings", json!({"input": ["a"], "encoding_format": "base64", "dimensions": 2})),
        ("/search", json!({"query": "a"})),
        ("/search", json!({"queries": ["a", "b"], "hybrid": true})),
    ] {
        let content = &description["paths"][path]["post"]["requestBody"]["content"];
        let asked = &content["application/json"]["schema"];
        assert_eq!(misfit(&description, asked, &body), None, "{path}");
        let answer = post(&app, path, &body).await.ok();
        assert_eq!(misfit(&description, answer_of(&description, path, "post"), &answer), None);
    }
    for path in ["/v1/models", "/info", "/search", "/similar", "/openapi.json"] {
        let asked = match path {
            "/search" => "/search?query=a&limit=1",
            "/similar" => "/similar?id=d0",
            _ => path,
        };
        let answer = get(&app, asked).await.ok();
        assert_eq!(misfit(&description, answer_of(&description, path, "get"), &answer), None);
    }
    for (path, body, status) in [
        ("/embed", json!({"inputs": 1}), "422"),
        ("/v1/embeddings", json!({"input": 1}), "400"),
        ("/v1/embeddings", json!({"input": "a", "model": "another"}), "404"),
    ] {
        let answer = post(&app, path, &body).await;
        assert_eq!(answer.status.as_str(), status);
        let described = &description["paths"][path]["post"]["responses"][status]["$ref"];
        let described = description.pointer(&described.as_str().unwrap()[1..]).unwrap();
        let schema = &described["content"]["application/json"]["schema"];
        assert_eq!(misfit(&description, schema, &answer.json()), None);
    }
}

#[tokio::test]
async fn what_is_described_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _) = searched(folder.path());
    let description = description(&app).await;
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = description["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 14);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = Request::builder().method(&method).uri(path).body(Body::empty()).unwrap();
            let status = send(&app, request).await.status;
            let absent = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            assert!(!absent.contains(&status), "{method} {path}: {status}");
        }
    }
}
