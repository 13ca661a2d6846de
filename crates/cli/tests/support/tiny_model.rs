//! A sentence encoder of some 40,000 random numbers, valid in every file, made in milliseconds.
//!
//! Its vectors mean nothing, but they are steady: the same seed gives the same folder, and texts that share no word
//! differ. The vocabulary has common English words, endings, letters and digits, so any English text has tokens.

use std::fs;
use std::path::Path;

use hpd_encoder::tensor::Tensor;
use hpd_encoder::writer::{ModelFolder, Module, Pooling};
use serde_json::{Map, Value, json};

pub const DIM: usize = 32;
pub const LAYERS: usize = 2;
pub const MAX_SEQ_LENGTH: usize = 64;
const INNER: usize = 64;

const WORDS: &str = "the of and to in a is that it was for on with as be by he at this had not are but from or have an \
they which one you were all her she there would their we him been has when who will no more if out so up said what its \
about than into them can only other time new some could these two may first then do any like my now over such our man \
me even most made after also well before must through years where much way down should because long each just state \
people those too world life day good very little year old work great fear spider dog cat house city water fire night \
light music river tree child woman king war peace love death food bread wine horse bird fish stone gold money law book \
word name number animal plant sea ship road town church school doctor heart hand eye head body small large high low";

const ENDINGS: &str =
    "ing ed er est ly ion tion ment ness ful less able al ous ive ity ism ist s es en ize ate y";

/// Writes the folder; `seed` decides its numbers.
pub fn write(folder: &Path, seed: u64) {
    let vocabulary = vocabulary();
    let tokenizer = tempfile::tempdir().unwrap();
    let text = serde_json::to_string(&tokenizer_json(&vocabulary)).unwrap();
    fs::write(tokenizer.path().join("tokenizer.json"), text).unwrap();
    let model = ModelFolder {
        config: config(vocabulary.len()),
        tensors: tensors(vocabulary.len(), seed),
        pooling: Pooling::mean(),
        head: vec![Module::Normalize],
        max_seq_length: MAX_SEQ_LENGTH,
        do_lower_case: false,
        prompts: [("query", "query "), ("document", "")]
            .map(|(name, words)| (name.to_owned(), words.to_owned()))
            .into(),
        default_prompt_name: None,
        tokenizer_from: tokenizer.path().to_owned(),
        space: None,
        about: Map::new(),
        readme: "A random model for tests.\n".to_owned(),
    };
    model.write(folder, true).unwrap();
}

fn vocabulary() -> Vec<String> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let characters = ('a'..='z').chain('0'..='9');
    let pieces = characters.clone().map(|c| format!("##{c}"));
    let endings = ENDINGS.split(' ').filter(|ending| ending.len() > 1);
    let mut all: Vec<String> = special.into();
    all.extend(".,;:!?'\"()-".chars().map(String::from));
    all.extend(characters.map(String::from).chain(pieces));
    all.extend(endings.map(|ending| format!("##{ending}")));
    all.extend(WORDS.split(' ').filter(|word| word.len() > 1).map(str::to_owned));
    all
}

fn tokenizer_json(vocabulary: &[String]) -> Value {
    let ids: Map<String, Value> =
        (0..).zip(vocabulary).map(|(id, token)| (token.clone(), Value::from(id))).collect();
    let added: Vec<Value> = (0..5)
        .map(|id| {
            json!({ "id": id, "content": vocabulary[id], "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": ids },
    })
}

fn config(vocabulary: usize) -> Map<String, Value> {
    let config = json!({
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": DIM,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": INNER,
        "hidden_act": "gelu",
        "vocab_size": vocabulary,
        "max_position_embeddings": MAX_SEQ_LENGTH,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": 0,
    });
    config.as_object().unwrap().clone()
}

/// BERT's tensors by their Hugging Face names.
fn tensors(vocabulary: usize, seed: u64) -> Vec<Tensor> {
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![vocabulary, DIM]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![MAX_SEQ_LENGTH, DIM]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, DIM]),
    ];
    let mut linear = |name: &str, out: usize, into: usize| {
        shapes.push((format!("{name}.weight"), vec![out, into]));
        shapes.push((format!("{name}.bias"), vec![out]));
    };
    for layer in (0..LAYERS).map(|layer| format!("encoder.layer.{layer}")) {
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            linear(&format!("{layer}.attention.{part}"), DIM, DIM);
        }
        linear(&format!("{layer}.intermediate.dense"), INNER, DIM);
        linear(&format!("{layer}.output.dense"), DIM, INNER);
    }
    let norms = (0..LAYERS).flat_map(|layer| {
        [format!("encoder.layer.{layer}.attention.output"), format!("encoder.layer.{layer}.output")]
    });
    for place in std::iter::once("embeddings".to_owned()).chain(norms) {
        shapes.push((format!("{place}.LayerNorm.weight"), vec![DIM]));
        shapes.push((format!("{place}.LayerNorm.bias"), vec![DIM]));
    }
    let mut random = Random(seed);
    shapes.into_iter().map(|(name, shape)| tensor(name, shape, &mut random)).collect()
}

fn tensor(name: String, shape: Vec<usize>, random: &mut Random) -> Tensor {
    let middle = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
    let data = (0..shape.iter().product()).map(|_| middle + 0.4 * random.next()).collect();
    Tensor { name, shape, data }
}

/// SplitMix64, from -1 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
