//! Folders in 8 bits: written, opened, widened again, and damaged.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hpd_encoder::convert::{convert, quantize};
use hpd_encoder::{Arithmetic, EncodeOptions, Model, OpenOptions, QuantizedMatrix, Weights};
use hpd_files::Error;
use proptest::prelude::*;
use safetensors::tensor::{TensorView, View};
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

use crate::golden::{Golden, copy, fixtures};

const MODELS: [&str; 4] = ["bert_mean", "bert_heads", "roberta_new", "xlm_roberta_max"];
const STATIC: &str = "static_embedding";
const FILE: &str = "model.int8.safetensors";
const WORDS: &str = "embeddings.word_embeddings.weight";

/// A fixture in 8 bits, as `int8` in a folder of its own.
fn in_8_bits(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    quantize(&fixtures().join(name), &dir.path().join("int8"), false).unwrap();
    dir
}

fn rows(folder: &Path) -> Vec<f32> {
    let texts = Golden::read(&fixtures().join("bert_mean/golden.json")).texts;
    // What is stored is the subject here, so both multiply in f32.
    let options = OpenOptions { arithmetic: Some(Arithmetic::Float32), ..OpenOptions::default() };
    let model = Model::open_with(folder, &options).unwrap();
    model.encode(&texts, &EncodeOptions::default()).unwrap().rows.data
}

fn numbers(weights: &Weights, name: &str) -> Vec<f32> {
    weights.tensor(name, weights.shape(name).unwrap()).unwrap()
}

#[test]
fn linear_layers_and_words_are_rounded_and_nothing_else() {
    for model in MODELS {
        let dir = tempfile::tempdir().unwrap();
        let (float, int8) = (dir.path().join("float"), dir.path().join("int8"));
        convert(&fixtures().join(model), &float, false).unwrap();
        quantize(&fixtures().join(model), &int8, false).unwrap();
        assert!(!int8.join("model.safetensors").exists());
        let (float, int8) = (Weights::open(&float).unwrap(), Weights::open(&int8).unwrap());
        assert!(int8.is_int8() && !float.is_int8());
        assert_eq!(int8.parameters(), float.parameters());
        let names = |weights: &Weights| weights.names().collect::<BTreeSet<_>>();
        assert_eq!(names(&int8), names(&float), "{model}");
        let mut rounded = 0;
        for name in float.names() {
            let shape = float.shape(&name).unwrap();
            let kept = name.contains("position") || name.contains("token_type");
            let [_, columns] = shape else {
                assert_eq!(numbers(&int8, &name), numbers(&float, &name), "{model}: {name}");
                continue;
            };
            assert_eq!(int8.is_quantized(&name), !kept, "{model}: {name}");
            if kept {
                assert_eq!(numbers(&int8, &name), numbers(&float, &name), "{model}: {name}");
                continue;
            }
            let expected = QuantizedMatrix::quantize(&numbers(&float, &name), *columns);
            let shape = [expected.scales.len(), *columns];
            assert_eq!(int8.quantized(&name, shape).unwrap(), expected, "{model}: {name}");
            assert_eq!(float.quantized(&name, shape).unwrap(), expected, "{model}: {name}");
            assert_eq!(numbers(&int8, &name), expected.dequantize(), "{model}: {name}");
            rounded += 1;
        }
        assert!(rounded >= 7, "{model}: {rounded} matrices in 8 bits");
    }
}

#[test]
fn the_table_of_a_static_model_is_rounded_row_by_row() {
    let dir = in_8_bits(STATIC);
    let table = "embedding.weight";
    let float = Weights::open(&fixtures().join(STATIC)).unwrap();
    let int8 = Weights::open(&dir.path().join("int8/0_StaticEmbedding")).unwrap();
    let shape = float.shape(table).unwrap();
    let expected = QuantizedMatrix::quantize(&numbers(&float, table), shape[1]);
    assert!(int8.is_quantized(table));
    assert_eq!(int8.quantized(table, [shape[0], shape[1]]).unwrap(), expected);

    let (int8, wide) = (dir.path().join("int8"), dir.path().join("float"));
    convert(&int8, &wide, false).unwrap();
    assert!(rows(&int8) == rows(&wide));
    assert!(rows(&int8) != rows(&fixtures().join(STATIC)), "nothing was rounded");
}

#[test]
fn a_folder_in_8_bits_gives_the_bits_of_the_float_folder_made_of_it() {
    for name in MODELS {
        let dir = in_8_bits(name);
        let (int8, float) = (dir.path().join("int8"), dir.path().join("float"));
        convert(&int8, &float, false).unwrap();
        let (narrow, wide) = (Weights::open(&int8).unwrap(), Weights::open(&float).unwrap());
        for tensor in wide.names() {
            assert_eq!(numbers(&wide, &tensor), numbers(&narrow, &tensor), "{name}: {tensor}");
        }
        assert!(rows(&int8) == rows(&float), "{name}");
        assert!(rows(&int8) != rows(&fixtures().join(name)), "{name}: nothing was rounded");
    }
}

#[test]
fn the_space_stays_and_each_has_weights_of_its_own() {
    for name in MODELS.into_iter().chain([STATIC]) {
        let dir = in_8_bits(name);
        let (int8, float) = (dir.path().join("int8"), dir.path().join("float"));
        let widened = convert(&int8, &float, false).unwrap().identity;
        let source = Model::open(&fixtures().join(name)).unwrap();
        let model = Model::open(&int8).unwrap();
        assert!(model.is_int8() && !source.is_int8());
        assert_eq!(model.identity().space, source.identity().space);
        assert_eq!(widened.space, source.identity().space);
        assert_eq!(model.identity().weights, model.fingerprint());
        assert_eq!(widened.weights, Model::open(&float).unwrap().fingerprint());
        let weights = [&source.identity().weights, &model.identity().weights, &widened.weights];
        assert!(weights[0] != weights[1] && weights[1] != weights[2], "{weights:?}");
    }
}

#[test]
fn vectors_stay_near_those_of_the_floats() {
    let Some(teacher) = std::env::var_os("HPD_TEACHER") else {
        eprintln!("skipped: HPD_TEACHER does not name the folder of all-MiniLM-L6-v2");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let int8 = dir.path().join("int8");
    quantize(Path::new(&teacher), &int8, false).unwrap();
    let (expected, found) = (rows(Path::new(&teacher)), rows(&int8));
    let pairs = expected.chunks_exact(384).zip(found.chunks_exact(384));
    let cosines = pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>());
    let count = expected.len() / 384;
    let mean = cosines.sum::<f32>() / count as f32;
    assert!(mean >= 0.999, "mean cosine {mean} over {count} texts");
}

#[test]
fn a_name_is_that_of_the_tensors_whatever_files_they_lie_in() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let written = convert(&fixtures().join("bert_heads"), &folder, false).unwrap().identity;
    fs::remove_file(folder.join("hpd.json")).unwrap();
    let bare = || Model::open(&folder).unwrap().identity().weights.clone();
    assert_eq!(bare(), written.weights);

    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let (first, second): (Vec<_>, Vec<_>) =
        whole.tensors().into_iter().partition(|(name, _)| name.len() % 2 == 0);
    let mut map = serde_json::Map::new();
    for (file, tensors) in [("z.safetensors", first), ("a.safetensors", second)] {
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), file.into())));
        safetensors::serialize_to_file(tensors, None, &folder.join(file)).unwrap();
    }
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    assert_eq!(bare(), written.weights);
}

#[test]
fn what_is_in_8_bits_is_not_rounded_again() {
    let dir = in_8_bits("bert_mean");
    let int8 = dir.path().join("int8");
    let error = quantize(&int8, &dir.path().join("again"), false).unwrap_err();
    assert_says(&error, &["`", "int8` is in 8 bits already", "hint"]);
    assert!(!dir.path().join("again").exists());
}

/// A tensor that a test may change.
struct Owned {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Owned {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

type Tensors = BTreeMap<String, Owned>;

/// Opens `bert_mean` in 8 bits after `damage` to its tensors; it must fail.
fn refused(damage: impl FnOnce(&mut Tensors)) -> Error {
    let dir = in_8_bits("bert_mean");
    let path = dir.path().join("int8").join(FILE);
    let bytes = fs::read(&path).unwrap();
    let owned = |(name, view): (String, TensorView<'_>)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        (name, Owned { dtype, shape, bytes: view.data().to_vec() })
    };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Tensors = file.tensors().into_iter().map(owned).collect();
    damage(&mut tensors);
    fs::remove_file(&path).unwrap();
    safetensors::serialize_to_file(&tensors, None, &path).unwrap();
    let folder = dir.path().join("int8");
    // What does not open must not be exported either.
    assert!(convert(&folder, &dir.path().join("float"), false).is_err());
    Model::open(&folder).err().expect("a damaged folder must not open")
}

/// The message, its causes and its hint hold all of `expected`.
fn assert_says(error: &Error, expected: &[&str]) {
    let story = format!("{error:?}");
    for words in expected {
        assert!(story.contains(words), "{words:?} is not in: {story}");
    }
}

fn scales(tensors: &mut Tensors) -> &mut Owned {
    tensors.get_mut(&format!("{WORDS}.scales")).unwrap()
}

fn set_scale(number: f32) -> impl FnOnce(&mut Tensors) {
    move |tensors| scales(tensors).bytes[8..12].copy_from_slice(&number.to_le_bytes())
}

#[test]
fn scales_that_are_missing_or_do_not_fit() {
    assert_says(
        &refused(|tensors| drop(tensors.remove(&format!("{WORDS}.scales")))),
        &[
            WORDS,
            FILE,
            "is in 8 bits, but there is no tensor",
            ".scales`",
            "hint: export the model again",
        ],
    );
    let shorter = |tensors: &mut Tensors| {
        let scales = scales(tensors);
        scales.bytes.truncate(scales.bytes.len() - 4);
        scales.shape[0] -= 1;
    };
    assert_says(&refused(shorter), &[WORDS, "has 300 rows but 299 scales, expected one each"]);
    let square = |tensors: &mut Tensors| scales(tensors).shape = vec![30, 10];
    assert_says(&refused(square), &["type F32 and shape [30, 10], expected F32 and one dimension"]);
    let halves = |tensors: &mut Tensors| {
        let scales = scales(tensors);
        scales.bytes.truncate(600);
        scales.dtype = Dtype::F16;
    };
    assert_says(&refused(halves), &["is of type F16"]);
}

#[test]
fn scales_that_are_no_scales() {
    for (number, words) in [
        (f32::NAN, "has the scale NaN in row 2"),
        (f32::INFINITY, "has the scale inf in row 2"),
        (-0.5, "has the scale -0.5 in row 2, expected 0 or more"),
        // 127 times as much is not finite.
        (1e37, "in row 2, expected 0 or more and finite numbers"),
    ] {
        assert_says(&refused(set_scale(number)), &[WORDS, FILE, words]);
    }
}

#[test]
fn matrices_that_are_none() {
    let least = |tensors: &mut Tensors| tensors.get_mut(WORDS).unwrap().bytes[7] = 0x80;
    assert_says(&refused(least), &["holds -128 at position 7, expected -127 to 127"]);
    let turned = |tensors: &mut Tensors| tensors.get_mut(WORDS).unwrap().shape.reverse();
    assert_says(&refused(turned), &[WORDS, "has shape [36, 300], expected [300, 36]"]);
    let bias = "encoder.layer.0.output.dense.bias";
    let vector = |tensors: &mut Tensors| {
        let bias = tensors.get_mut(bias).unwrap();
        bias.bytes.truncate(bias.bytes.len() / 4);
        bias.dtype = Dtype::I8;
        let scales =
            Owned { dtype: Dtype::F32, shape: vec![36], bytes: [0, 0, 0x80, 0x3f].repeat(36) };
        tensors.insert("encoder.layer.0.output.dense.bias.scales".to_owned(), scales);
    };
    assert_says(&refused(vector), &[bias, "with the shape [36], expected rows and columns"]);
    let other = |tensors: &mut Tensors| tensors.get_mut(WORDS).unwrap().dtype = Dtype::U8;
    assert_says(&refused(other), &[WORDS, "is of type U8, expected F64, F32, F16 or BF16"]);
}

#[test]
fn a_matrix_without_columns_is_refused_and_not_divided_by() {
    let dir = tempfile::tempdir().unwrap();
    let empty = Owned { dtype: Dtype::I8, shape: vec![3, 0], bytes: Vec::new() };
    let scales = Owned { dtype: Dtype::F32, shape: vec![3], bytes: vec![0; 12] };
    let floats = Owned { dtype: Dtype::F32, shape: vec![3, 0], bytes: Vec::new() };
    let tensors = [("a", &empty), ("a.scales", &scales), ("b", &floats)];
    safetensors::serialize_to_file(tensors, None, &dir.path().join(FILE)).unwrap();
    let weights = Weights::open(dir.path()).unwrap();
    assert_says(&weights.tensor("a", &[3, 0]).unwrap_err(), &["`a`", "expected rows and columns"]);
    assert!(weights.quantized("a", [3, 0]).is_err());
    assert!(weights.quantized("b", [3, 0]).is_err());
    assert_eq!(weights.names().count(), 2);
    assert_eq!(weights.parameters(), 0);
}

#[test]
fn floats_and_8_bits_side_by_side_are_refused() {
    let dir = in_8_bits("bert_mean");
    for (name, file) in
        [("bert_mean", "model.safetensors"), ("xlm_roberta_max", "model.safetensors.index.json")]
    {
        let folder = copy(name);
        fs::copy(dir.path().join("int8").join(FILE), folder.path().join(FILE)).unwrap();
        let error = Model::open(folder.path()).err().unwrap();
        assert_says(&error, &["holds both", file, FILE, "different vectors", "hint: move one"]);
        assert!(convert(folder.path(), &dir.path().join("float"), false).is_err());
    }
}

#[test]
fn a_file_cut_short() {
    let dir = in_8_bits("bert_mean");
    let path = dir.path().join("int8").join(FILE);
    for length in [5000, 100, 5, 0] {
        fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        let error = Model::open(&dir.path().join("int8")).err().unwrap();
        assert_says(&error, &[FILE, "is not a whole safetensors file"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Any byte may be wrong: the folder opens and encodes, or it is an error.
    #[test]
    fn a_wrong_byte_is_never_a_panic(place in 0.0_f64..1.0, in_header: bool, byte: u8) {
        let dir = in_8_bits("bert_mean");
        let folder = dir.path().join("int8");
        let mut bytes = fs::read(folder.join(FILE)).unwrap();
        let end = if in_header { 2000 } else { bytes.len() };
        bytes[(place * end as f64) as usize] = byte;
        fs::write(folder.join(FILE), bytes).unwrap();
        if let Ok(model) = Model::open(&folder) {
            let _ = model.encode(&["", "bread rises"], &EncodeOptions::default());
            let _ = model.fingerprint();
        }
    }
}
