//! A sentence-transformers folder small enough to make in a moment: BERT with two layers of 32 numbers, random
//! weights, and a vocabulary of the words `w0` to `w199`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// Numbers in a vector.
pub const WIDTH: usize = 32;
const INNER: usize = 64;
const LAYERS: usize = 2;
const POSITIONS: usize = 64;
const WORDS: usize = 200;
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// Writes the folder; other seeds are other weights, and so other spaces.
pub fn write(folder: &Path, seed: u64) {
    fs::create_dir_all(folder.join("1_Pooling")).expect("a writable folder");
    let put = |name: &str, value: Value| {
        fs::write(folder.join(name), value.to_string()).expect("a writable file")
    };
    put("config.json", config());
    put("tokenizer.json", tokenizer());
    put(
        "tokenizer_config.json",
        json!({"tokenizer_class": "BertTokenizer", "model_max_length": POSITIONS}),
    );
    put("sentence_bert_config.json", json!({"max_seq_length": POSITIONS, "do_lower_case": false}));
    put(
        "1_Pooling/config.json",
        json!({"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": true}),
    );
    put(
        "modules.json",
        json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ]),
    );
    fs::write(folder.join("model.safetensors"), safetensors(&tensors(), seed))
        .expect("a writable file");
}

fn config() -> Value {
    json!({
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": SPECIAL.len() + WORDS,
        "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": INNER,
        "hidden_act": "gelu", "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    })
}

fn tokenizer() -> Value {
    let words = (0..WORDS).map(|i| format!("w{i}"));
    let vocabulary: Map<String, Value> = SPECIAL
        .iter()
        .map(|&word| word.to_owned())
        .chain(words)
        .enumerate()
        .map(|(id, word)| (word, json!(id)))
        .collect();
    let special = |id: usize| json!({"id": id, "content": SPECIAL[id], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let piece = |id: usize| json!({"id": SPECIAL[id], "ids": [id], "tokens": [SPECIAL[id]]});
    let token = |id: usize| json!({"SpecialToken": {"id": SPECIAL[id], "type_id": 0}});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0..SPECIAL.len()).map(special).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token(2), {"Sequence": {"id": "A", "type_id": 0}}, token(3)],
            "pair": [token(2), {"Sequence": {"id": "A", "type_id": 0}}, token(3), {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": SPECIAL[3], "type_id": 1}}],
            "special_tokens": {SPECIAL[2]: piece(2), SPECIAL[3]: piece(3)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

/// Names and shapes of BERT's tensors.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![SPECIAL.len() + WORDS, WIDTH]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![POSITIONS, WIDTH]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, WIDTH]),
        ("embeddings.LayerNorm.weight".to_owned(), vec![WIDTH]),
        ("embeddings.LayerNorm.bias".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..LAYERS {
        let mut linear = |name: &str, rows, columns| {
            tensors.push((format!("encoder.layer.{layer}.{name}.weight"), vec![rows, columns]));
            tensors.push((format!("encoder.layer.{layer}.{name}.bias"), vec![rows]));
        };
        linear("attention.self.query", WIDTH, WIDTH);
        linear("attention.self.key", WIDTH, WIDTH);
        linear("attention.self.value", WIDTH, WIDTH);
        linear("attention.output.dense", WIDTH, WIDTH);
        linear("intermediate.dense", INNER, WIDTH);
        linear("output.dense", WIDTH, INNER);
        for norm in ["attention.output", "output"] {
            for part in ["weight", "bias"] {
                tensors
                    .push((format!("encoder.layer.{layer}.{norm}.LayerNorm.{part}"), vec![WIDTH]));
            }
        }
    }
    tensors
}

/// The file: length of the header, header, numbers.
fn safetensors(tensors: &[(String, Vec<usize>)], seed: u64) -> Vec<u8> {
    let (mut header, mut numbers) = (Map::new(), Vec::new());
    let mut state = seed;
    for (name, shape) in tensors {
        let begin = numbers.len();
        let around = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
        for _ in 0..shape.iter().product() {
            numbers.extend_from_slice(&(around + 0.35 * random(&mut state)).to_le_bytes());
        }
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, numbers.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let padded = format!("{header:width$}", width = header.len().next_multiple_of(8));
    [&(padded.len() as u64).to_le_bytes(), padded.as_bytes(), &numbers].concat()
}

/// Evenly spread over -1 to 1 (splitmix64).
fn random(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
}
