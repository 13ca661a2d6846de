//! How fast students train here: `cargo run --release -p hpd-distill --example measure -- TEACHER SENTENCES.txt`,
//! then, if wanted, how many sentences (6400) and which recipe (`hpd`).
//!
//! Cuts three layers from the teacher, trains on the first lines of the file and prints the course of the run.
//! Without PCA, which is another room's business: targets are the teacher's first numbers.
#![expect(clippy::print_stdout, reason = "printing is what an example is for")]

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use hpd_distill::recipe::Recipe;
use hpd_distill::student::{HeadShape, Student, spread_layers};
use hpd_distill::train::{METRICS, TrainingData, train};
use hpd_encoder::{EncodeOptions, Model, Tokenizer};
use hpd_files::{Error, Result, Silent};

fn main() -> Result<()> {
    hpd_distill::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [teacher, sentences, rest @ ..] = &arguments[..] else {
        return Err(Error::input("usage: measure TEACHER SENTENCES.txt [COUNT] [RECIPE]"));
    };
    let count = rest.first().and_then(|count| count.parse().ok()).unwrap_or(6400);
    let mut recipe = Recipe::load(rest.get(1).map_or("hpd", String::as_str))?;
    recipe.epochs = 1;

    let text = std::fs::read_to_string(sentences).map_err(|e| Error::io("read", sentences, e))?;
    let texts: Vec<&str> = text.lines().take(count).collect();
    let model = Model::open(Path::new(teacher))?;
    let vectors = model.encode(&texts, &EncodeOptions::default())?.rows;
    let tokens = Tokenizer::open(Path::new(teacher), Some(recipe.max_tokens))?.tokenize(&texts)?;
    let mut components = vec![0.0; recipe.dim * vectors.dim];
    (0..recipe.dim).for_each(|d| components[d * vectors.dim + d] = 1.0);

    let head = HeadShape {
        dim: recipe.dim,
        bias: recipe.head.bias,
        activation: recipe.head.activation,
        normalize: recipe.normalize,
    };
    let layers = spread_layers(3, model.folder().config.num_hidden_layers);
    let device = Device::flex().autodiff();
    let folder = Path::new(teacher);
    let student = Student::from_folder(folder, &layers, head, Some(&components), 1, &device)?;
    let rows: Vec<u32> = (0..texts.len() as u32).collect();
    let (held_back, training) = rows.split_at(texts.len() / 20);
    let data = TrainingData {
        tokens: &tokens,
        teacher: &|i, numbers| numbers.copy_from_slice(vectors.row(i)),
        sentences: texts.len(),
        triplets: &[],
        paraphrases: &[],
        teacher_dim: vectors.dim,
        layers: None,
        centred: &|teacher| teacher,
        project: &|teacher: Tensor<2>| {
            let rows = teacher.dims()[0];
            teacher.slice([0..rows, 0..recipe.dim])
        },
        epoch: &|_| training.to_vec(),
        held_back,
        dev_sts: None,
        fingerprints: BTreeMap::new(),
    };
    let output = std::env::temp_dir().join(format!("hpd-measure-{}", std::process::id()));
    let outcome = train(&recipe, student, &data, &output, &Silent)?;
    let course = output.join(METRICS);
    print!("{}", std::fs::read_to_string(&course).map_err(|e| Error::io("read", &course, e))?);
    println!("{} tokens in {} sentences", tokens.ids.len(), tokens.len());
    println!("{:.0} sentences a second", outcome.sentences_per_second);
    std::fs::remove_dir_all(&output).map_err(|e| Error::io("remove", &output, e))
}
