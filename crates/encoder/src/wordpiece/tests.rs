//! The same ids as `tokenizers` gives, on real and on hostile text.
//!
//! `HPD_WORDPIECE_ROUNDS` sets how many random tokenizers are tried, `HPD_WORDPIECE_TEXT` names files of text
//! (separated by spaces) whose lines are tried with the tokenizer of the folder `HPD_TEACHER`.

use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::normalizers::{BertNormalizer, Lowercase};
use tokenizers::{NormalizedString, Normalizer as _};

use super::normalizer::{Normalizer, Switches};
use super::{Scratch, WordPiece};
use crate::tokenizer::Side;
use crate::tokenizer::library::Library;

/// Both tokenizers of one file.
struct Twins {
    fast: WordPiece,
    slow: Library,
    /// The same without a limit: of texts without special tokens `slow` does not say whether it cut them.
    whole: Library,
    limits: (usize, Side),
}

impl Twins {
    fn new(file: &[u8], lower_case: bool, frames: bool, limits: (usize, Side)) -> Self {
        let fast = WordPiece::read(file, lower_case, frames).expect("a file that is ours");
        let [mut slow, whole] = [(); 2].map(|()| Library::read(file, lower_case, frames).unwrap());
        slow.truncate(limits.0, limits.1).unwrap();
        assert_eq!(fast.special_tokens(), slow.special_tokens());
        assert_eq!(fast.last_token().1, slow.last_token().unwrap().1);
        Self { fast, slow, whole, limits }
    }

    /// Checks a text, and says how many tokens it has.
    fn check(&self, text: &str, scratch: &mut Scratch) -> usize {
        let (mut fast, mut slow) = (vec![7], vec![7]);
        let is_cut = self.fast.tokenize(text, self.limits, scratch, &mut fast);
        let mut whole = Vec::new();
        self.slow.tokenize(text, &mut slow).unwrap();
        self.whole.tokenize(text, &mut whole).unwrap();
        assert_eq!(fast, slow, "{text:?} {:?}", self.limits);
        assert_eq!(is_cut, whole.len() > self.limits.0, "{text:?} {:?}", self.limits);
        fast.len() - 1
    }
}

/// Random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn pick_char(&mut self, from: &str) -> char {
        let place = self.below(from.chars().count());
        from.chars().nth(place).unwrap()
    }

    fn char_in(&mut self, first: u32, end: u32) -> char {
        char::from_u32(first + self.below((end - first) as usize) as u32).unwrap_or('\u{fffd}')
    }
}

const LETTERS: &str = "abcdeABCDE09éÉüßẞİıIiςσΣÅÅKﬁŉǆǅ각가힣각一中文豈𠀀あアяЯ";
const MARKS: &str = "\u{300}\u{301}\u{307}\u{308}\u{315}\u{323}\u{327}\u{344}\u{345}\u{34f}\u{591}\u{5b0}\u{64b}\u{94d}\u{e38}\u{f71}\u{302e}\u{302a}\u{3099}\u{1d165}\u{1d16d}\u{1dc0}\u{1ab0}\u{1e8d0}\u{1df6}\u{20d0}\u{8d4}\u{11241}";
const SPACES: &str =
    "    \t\n\r\u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{2029}\u{202f}\u{3000}";
const INVISIBLE: &str = "\0\u{1}\u{1b}\u{7f}\u{80}\u{9f}\u{ad}\u{600}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{202a}\u{2060}\u{feff}\u{fffd}\u{fffe}\u{ffff}\u{d7ff}\u{e000}\u{f8ff}\u{e0001}\u{10ffff}";
const PUNCTUATION: &str = "!'(),-./:;?@[]_`{|}~#$%&*+<=>^\u{2019}\u{201c}\u{2013}«»¿§。、！…‽⸘٪¨˘€";
const EMOJI: [&str; 6] = ["😀", "👩‍👩‍👧", "🇩🇪", "❤️", "👍🏽", "1️⃣"];
const ADDED: [&str; 10] =
    ["[MASK]", "[mask]", "<mask>", "[M", "zz", "Ab", "éa", "中a", "[CLS]", "a b"];

/// A text made to be trouble.
fn hostile(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(30) {
        match random.below(16) {
            0..=3 => (0..random.below(6)).for_each(|_| text.push(random.pick_char(LETTERS))),
            4 | 5 => (0..random.below(4)).for_each(|_| text.push(random.pick_char(MARKS))),
            6 => text.push(random.char_in(0x300, 0x36f)),
            7 => text.push(random.pick_char(SPACES)),
            8 => text.push(' '),
            9 => text.push(random.pick_char(INVISIBLE)),
            10 => text.push(random.pick_char(PUNCTUATION)),
            11 => text.push_str(random.pick(&EMOJI)),
            12 => text.push(random.char_in(0, 0x11_0000)),
            13 => text.push(random.char_in(0, 0x3100)),
            14 => text.push_str(random.pick(&ADDED)),
            _ => (0..random.below(130)).for_each(|_| text.push(random.pick_char("ab"))),
        }
    }
    text
}

/// A `tokenizer.json` with random switches, vocabulary, added tokens and frame.
fn random_file(random: &mut Random) -> Value {
    let prefix = random.pick(&["##", "##", "##", "", "a", "▁"]);
    let mut tokens: Vec<String> = vec!["[UNK]".into(), "[CLS]".into(), "[SEP]".into()];
    for _ in 0..random.below(120) {
        let start = if random.flip() { prefix } else { "" };
        let from = if random.flip() {
            "abcde"
        } else {
            "abeéß中iı\u{307}\u{301}ςσ가가.-'一09😀"
        };
        let letters: String = (0..1 + random.below(4)).map(|_| random.pick_char(from)).collect();
        tokens.push(format!("{start}{letters}"));
    }
    tokens.sort();
    tokens.dedup();
    let vocabulary: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let mut next = tokens.len();
    let mut added: Vec<Value> = Vec::new();
    let strips = random.flip();
    for content in ADDED {
        let takes_space = strips && !content.contains(' ');
        // Two that become the same when normalised are left to the crate.
        if random.flip()
            || (strips && content.contains(' '))
            || content == "[mask]" && random.flip()
        {
            continue;
        }
        let id = vocabulary.get(content).cloned().unwrap_or_else(|| {
            next += 1;
            json!(next - 1)
        });
        added.push(json!({
            "id": id, "content": content, "single_word": false, "special": random.flip(),
            "lstrip": takes_space && random.flip(), "rstrip": takes_space && random.flip(),
            "normalized": content != "[mask]" && random.below(3) == 0,
        }));
    }
    let (cls, sep) = (vocabulary["[CLS]"].clone(), vocabulary["[SEP]"].clone());
    let strip = [json!(null), json!(true), json!(false)][random.below(3)].clone();
    let longest_word = [1, 5, 100][random.below(3)];
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": random.below(4) > 0, "handle_chinese_chars": random.flip(),
            "strip_accents": strip, "lowercase": random.flip(),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": frame(random, &cls, &sep),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix,
            "max_input_chars_per_word": longest_word, "vocab": vocabulary,
        },
    })
}

fn frame(random: &mut Random, cls: &Value, sep: &Value) -> Value {
    let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let special = json!({
        "[CLS]": {"id": "[CLS]", "ids": [cls], "tokens": ["[CLS]"]},
        "[SEP]": {"id": "[SEP]", "ids": [sep, cls], "tokens": ["[SEP]", "[CLS]"]},
    });
    let template = |single: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special});
    match random.below(5) {
        0 => json!({"type": "BertProcessing", "sep": ["[SEP]", sep], "cls": ["[CLS]", cls]}),
        1 => json!({
            "type": "RobertaProcessing", "sep": ["[SEP]", sep], "cls": ["[CLS]", cls],
            "trim_offsets": true, "add_prefix_space": false,
        }),
        2 => template(json!([token("[CLS]"), text])),
        3 => template(json!([text, token("[SEP]")])),
        _ => template(json!([token("[CLS]"), text, token("[SEP]")])),
    }
}

#[test]
fn hostile_text_and_random_tokenizers_give_the_ids_of_tokenizers() {
    let rounds = std::env::var("HPD_WORDPIECE_ROUNDS").ok().and_then(|n| n.parse().ok());
    let mut scratch = Scratch::default();
    let (mut ours, mut tokens) = (0, 0);
    for seed in 0..rounds.unwrap_or(300_u64) {
        let mut random = Random(seed << 32);
        let file = random_file(&mut random).to_string();
        let lower_case = random.below(4) == 0;
        if WordPiece::read(file.as_bytes(), lower_case, true).is_none() {
            continue;
        }
        ours += 1;
        let side = if random.flip() { Side::Left } else { Side::Right };
        let longest = [4, 5, 8, 30, 512, usize::MAX][random.below(6)];
        let twins = Twins::new(file.as_bytes(), lower_case, random.flip(), (longest, side));
        for _ in 0..40 {
            let text = hostile(&mut random);
            tokens += twins.check(&text, &mut scratch);
            // Windows are cut only in texts longer than those.
            if random.below(50) == 0 {
                let long: String = (0..60).map(|_| hostile(&mut random)).collect();
                tokens += twins.check(&long, &mut scratch);
            }
        }
    }
    assert!(ours * 10 > rounds.unwrap_or(300) * 6, "only {ours} files were ours");
    assert!(tokens > 0);
}

#[test]
fn every_character_is_normalised_as_tokenizers_does() {
    for bits in 0..32_usize {
        let on = |bit: usize| bits >> bit & 1 == 1;
        let switches = Switches {
            lower_first: on(4),
            clean: on(0),
            chinese: on(1),
            strip: on(2),
            lower: on(3),
        };
        let fast = Normalizer::new(switches);
        let slow = BertNormalizer::new(on(0), on(1), Some(on(2)), on(3));
        let check = |text: &str| {
            let (mut cleaned, mut found) = (String::new(), String::new());
            fast.apply(text, &mut cleaned, &mut found);
            let mut expected = NormalizedString::from(text);
            if switches.lower_first {
                Lowercase.normalize(&mut expected).unwrap();
            }
            slow.normalize(&mut expected).unwrap();
            assert_eq!(found, expected.get(), "{text:?} {switches:?}");
        };
        // Every switch sees some of the characters, BERT's own setting all of them.
        let step = if bits == 0b1111 { 1 } else { 17 };
        let all = (0..=0x10_ffff).skip(bits).step_by(step).filter_map(char::from_u32);
        let mut text = String::new();
        for c in all {
            // Between letters, so that one does not send another the slow way.
            text.extend([c, 'a']);
            if text.len() > 200 {
                check(&text);
                text.clear();
            }
        }
        let mut random = Random(bits as u64);
        (0..300).for_each(|_| check(&hostile(&mut random)));
    }
}

#[test]
fn the_vocabularies_of_the_fixtures_give_the_ids_of_tokenizers() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let texts = "Seven bridges cross the river; naïve cafés, déjà vu. [MASK] it!\u{a0}東京 x[SEP]y";
    for name in ["encoder/bert_mean", "encoder/bert_heads", "old_model/model"] {
        let file = std::fs::read(fixtures.join(name).join("tokenizer.json")).unwrap();
        for (length, side) in
            [(3, Side::Left), (7, Side::Right), (9, Side::Left), (64, Side::Right)]
        {
            let twins = Twins::new(&file, false, true, (length, side));
            let mut scratch = Scratch::default();
            for end in (0..=texts.len()).filter(|end| texts.is_char_boundary(*end)) {
                twins.check(&texts[..end], &mut scratch);
            }
        }
    }
}

#[test]
fn real_text_gives_the_ids_of_tokenizers() {
    let (Some(teacher), Ok(files)) =
        (std::env::var_os("HPD_TEACHER"), std::env::var("HPD_WORDPIECE_TEXT"))
    else {
        eprintln!(
            "skipped: HPD_TEACHER and HPD_WORDPIECE_TEXT do not name a model folder and files of text"
        );
        return;
    };
    let file = std::fs::read(Path::new(&teacher).join("tokenizer.json")).unwrap();
    let twins = Twins::new(&file, false, true, (128, Side::Right));
    let mut scratch = Scratch::default();
    for file in files.split(' ') {
        let text = std::fs::read_to_string(file).unwrap();
        let tokens: usize = text.lines().map(|line| twins.check(line, &mut scratch)).sum();
        eprintln!("{file}: {} lines, {tokens} tokens", text.lines().count());
    }
}

#[test]
fn a_text_is_not_read_past_its_last_token() {
    let mut random = Random(1);
    let file = random_file(&mut random).to_string();
    let twins = Twins::new(file.as_bytes(), false, true, (5, Side::Right));
    let mut scratch = Scratch::default();
    twins.fast.tokenize(
        &"ab cd ".repeat(1_000_000),
        (5, Side::Right),
        &mut scratch,
        &mut Vec::new(),
    );
    assert!(scratch.normalized.capacity() < 100_000);
}

#[test]
fn files_that_are_not_ours_are_left_to_tokenizers() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoder/bert_mean");
    let file = std::fs::read(fixture.join("tokenizer.json")).unwrap();
    let is_ours = |change: &dyn Fn(&mut Value)| {
        let mut json: Value = serde_json::from_slice(&file).unwrap();
        change(&mut json);
        WordPiece::read(json.to_string().as_bytes(), false, true).is_some()
    };
    assert!(is_ours(&|_| {}));
    assert!(is_ours(&|json| json["padding"] = Value::Null));
    let changes: [&dyn Fn(&mut Value); 14] = [
        &|json| json["version"] = json!("2.0"),
        &|json| json["more"] = json!(1),
        &|json| json["normalizer"] = Value::Null,
        &|json| json["normalizer"]["more"] = json!(true),
        &|json| json["normalizer"]["type"] = json!("NFC"),
        &|json| json["pre_tokenizer"] = json!({"type": "Whitespace"}),
        &|json| json["post_processor"] = Value::Null,
        &|json| json["post_processor"]["single"][1]["Sequence"]["id"] = json!("B"),
        &|json| json["post_processor"]["single"] = json!([{"Sequence": {"id": "A", "type_id": 0}}]),
        &|json| json["post_processor"]["special_tokens"] = json!({}),
        &|json| json["model"]["type"] = json!("BPE"),
        &|json| json["model"]["unk_token"] = json!("[GONE]"),
        &|json| json["added_tokens"][4]["single_word"] = json!(true),
        &|json| json["added_tokens"][4]["id"] = json!(9),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        assert!(!is_ours(change), "change {i}");
    }
    for bytes in [&b""[..], b"{", b"[]", b"\xff", &file[..file.len() / 2]] {
        assert!(WordPiece::read(bytes, false, true).is_none());
    }
}
