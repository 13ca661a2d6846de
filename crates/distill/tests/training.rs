//! Claims about whole training runs, on students small enough to train in a blink.
#![expect(clippy::unwrap_used, reason = "a test's panic is its message")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Tensor};
use hpd_distill::checkpoint::Checkpoint;
use hpd_distill::paraphrases::Paraphrase;
use hpd_distill::random::Random;
use hpd_distill::recipe::{Activation, Order, Recipe, SelectBy};
use hpd_distill::student::{HeadShape, Student};
use hpd_distill::train::{LAST, METRICS, Outcome, TeacherLayers, TrainingData, train};
use hpd_distill::triplets::Triplet;
use hpd_encoder::{EncoderConfig, ModelType, Tokens};
use hpd_files::{Result, Silent};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const TEACHER_DIM: usize = 12;
const SENTENCES: usize = 60;

/// Sentences of 3 to 12 tokens with teacher vectors that are a function of their words.
struct Data {
    config: EncoderConfig,
    tokens: Tokens,
    teacher: Vec<Vec<f32>>,
    held_back: Vec<u32>,
    triplets: Vec<Triplet>,
    paraphrases: Vec<Paraphrase>,
    layers: Option<TeacherLayers>,
}

impl Data {
    fn new() -> Self {
        Self::for_students_like(config())
    }

    fn for_students_like(config: EncoderConfig) -> Self {
        let mut random = Random::new(5, &[]);
        let words: Vec<Vec<f32>> =
            (0..50).map(|_| (0..TEACHER_DIM).map(|_| random.normal()).collect()).collect();
        let mut tokens = Tokens { offsets: vec![0], ..Tokens::default() };
        let mut teacher = Vec::new();
        for _ in 0..SENTENCES {
            let sentence: Vec<u32> =
                (0..3 + random.below(10)).map(|_| random.below(50) as u32).collect();
            let sum = |d: usize| sentence.iter().map(|&word| words[word as usize][d]).sum::<f32>();
            teacher.push((0..TEACHER_DIM).map(sum).collect());
            tokens.ids.extend(sentence);
            tokens.offsets.push(tokens.ids.len());
        }
        let held_back = (50..SENTENCES as u32).collect();
        Self {
            config,
            tokens,
            teacher,
            triplets: Vec::new(),
            paraphrases: Vec::new(),
            layers: None,
            held_back,
        }
    }

    fn run(
        &self,
        recipe: &Recipe,
        folder: &Path,
        teacher: &dyn Fn(usize, &mut [f32]),
    ) -> Result<Outcome> {
        let data = TrainingData {
            tokens: &self.tokens,
            teacher,
            sentences: self.tokens.len(),
            triplets: &self.triplets,
            paraphrases: &self.paraphrases,
            teacher_dim: TEACHER_DIM,
            layers: self.layers.as_ref(),
            centred: &|teacher| teacher,
            project: &|teacher: Tensor<2>| {
                let rows = teacher.dims()[0];
                teacher.slice([0..rows, 0..8])
            },
            epoch: &|_| (0..50).collect(),
            held_back: &self.held_back,
            dev_sts: None,
            fingerprints: BTreeMap::from([("sentences".to_owned(), "abc".to_owned())]),
        };
        train(recipe, student(&self.config, recipe), &data, folder, &Silent)
    }

    fn copy(&self, i: usize, numbers: &mut [f32]) {
        numbers.copy_from_slice(&self.teacher[i]);
    }
}

fn config() -> EncoderConfig {
    EncoderConfig {
        model_type: ModelType::Bert,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        vocab_size: 50,
        max_position_embeddings: 16,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_act: hpd_encoder::Activation::Gelu,
        pad_token_id: 0,
    }
}

/// A table of words and nothing else.
fn static_config() -> EncoderConfig {
    EncoderConfig {
        model_type: ModelType::StaticEmbedding,
        num_hidden_layers: 0,
        num_attention_heads: 0,
        max_position_embeddings: usize::MAX,
        type_vocab_size: 0,
        ..config()
    }
}

fn student(config: &EncoderConfig, recipe: &Recipe) -> Student {
    let head = HeadShape {
        dim: recipe.dim,
        bias: recipe.head.bias,
        activation: recipe.head.activation,
        normalize: recipe.normalize,
    };
    Student::fresh(config.clone(), head, recipe.seed, &Device::flex().autodiff()).unwrap()
}

fn recipe(name: &str) -> Recipe {
    let mut recipe = Recipe::load(name).unwrap();
    for (key, value) in [
        ("dim", "8"),
        ("batch_size", "8"),
        ("epochs", "2"),
        ("evaluate_every", "4"),
        ("checkpoint_every", "3"),
        ("schedule.warmup_steps", "2"),
        ("schedule.warmup_ratio", "0"),
        ("schedule.learning_rate", "1e-2"),
    ] {
        let _ = recipe.set(key, value);
    }
    recipe.schedule.warmup_ratio = 0.0;
    recipe.schedule.warmup_steps = 2;
    recipe
}

fn bits(student: &Student) -> Vec<(String, Vec<u32>)> {
    let bits = |data: Vec<f32>| data.into_iter().map(f32::to_bits).collect();
    student.tensors().into_iter().map(|tensor| (tensor.name, bits(tensor.data))).collect()
}

/// The last checkpoint: weights, moments and their mean after the last step, and which step was the best.
fn last(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join(LAST)).unwrap()
}

/// What the last evaluation found on the held-back sentences.
fn dev_cosine(folder: &Path) -> f64 {
    course(folder).iter().rev().find_map(|line| line["dev_cosine"].as_f64()).unwrap()
}

/// The metrics without the fields that are times.
fn course(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join(METRICS)).unwrap();
    let line = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("sentences_per_second");
        line.as_object_mut().unwrap().remove("seconds");
        // A mean over the steps since the last line restarts with the process.
        line.as_object_mut().unwrap().remove("loss");
        line
    };
    text.lines().map(line).collect()
}

fn in_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// Vectors that are asked for before the first step, to tell topics: those of the middles and then all.
fn asked_for_topics(data: &Data, recipe: &Recipe) -> usize {
    let sentences = data.tokens.len();
    // One more shows how wide the targets are.
    1 + if recipe.order == Order::Topics { (sentences / 64).max(1) + sentences } else { 0 }
}

/// Runs until the teacher is asked for the `limit`-th vector of a step, and dies there.
fn killed_after(data: &Data, recipe: &Recipe, folder: &Path, limit: usize) {
    let limit = limit + asked_for_topics(data, recipe);
    let asked = AtomicUsize::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let died = catch_unwind(AssertUnwindSafe(|| {
        data.run(recipe, folder, &|i, numbers| {
            assert!(asked.fetch_add(1, Ordering::SeqCst) < limit, "killed");
            data.copy(i, numbers);
        })
    }));
    std::panic::set_hook(hook);
    assert!(died.is_err());
}

#[test]
fn stopped_and_resumed_is_never_stopped() {
    for (name, threads) in [
        ("hpd", 1),
        ("hpd2022", 1),
        ("ibkd", 1),
        ("hpd", 2),
        ("static", 2),
        ("supervised", 1),
        ("hpd with paraphrases", 1),
        ("hpd with layers", 1),
        ("hpd with an average", 2),
        ("hpd with a corpus", 1),
        ("supervised with paraphrases", 1),
    ] {
        let (preset, with) = name.split_once(' ').unwrap_or((name, ""));
        let config = if name == "static" { static_config() } else { config() };
        let mut data = Data::for_students_like(config);
        if preset == "supervised" {
            data.triplets = triplets();
        }
        if with == "with paraphrases" {
            data.paraphrases = paraphrases();
        }
        let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut recipe = recipe(preset);
        recipe.dropout = 0.1;
        recipe.paraphrases_per_step = 3;
        if with == "with layers" {
            (recipe.loss.hidden, recipe.loss.ranking, recipe.loss.similarity) = (1.0, 2.0, 20.0);
            data.layers = Some(teacher_layers(&recipe));
        }
        if with == "with a corpus" {
            (recipe.loss.corpus, recipe.corpus_per_step) = (0.5, 9);
        }
        if with == "with an average" {
            recipe.optimizer.average = 0.9;
        }
        in_threads(threads, || {
            let teacher = |i: usize, numbers: &mut [f32]| data.copy(i, numbers);
            let expected = data.run(&recipe, whole.path(), &teacher).unwrap();
            for limit in [20, 70, 60] {
                killed_after(&data, &recipe, stopped.path(), limit);
            }
            let found = data.run(&recipe, stopped.path(), &teacher).unwrap();
            assert!(last(stopped.path()) == last(whole.path()), "{name}");
            assert_eq!(bits(&found.best), bits(&expected.best), "{name}");
        });
        assert_eq!(course(stopped.path()), course(whole.path()));
    }
}

#[test]
fn a_finished_run_is_finished_when_asked_again() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let recipe = recipe("hpd");
    let teacher = |i: usize, numbers: &mut [f32]| data.copy(i, numbers);
    let first = data.run(&recipe, folder.path(), &teacher).unwrap();
    let before = last(folder.path());
    let again = data.run(&recipe, folder.path(), &teacher).unwrap();
    assert!(last(folder.path()) == before);
    assert_eq!(bits(&first.best), bits(&again.best));
    assert!(again.seconds >= course_seconds(folder.path()) && course_seconds(folder.path()) > 0.0);
}

/// The seconds that the last line of the metrics counts.
fn course_seconds(folder: &Path) -> f64 {
    let text = std::fs::read_to_string(folder.join(METRICS)).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    last["seconds"].as_f64().unwrap()
}

/// Sentences that have nothing to do with each other, said to belong together.
fn triplets() -> Vec<Triplet> {
    let negative = |i| (i % 3 == 0).then_some(30 + i);
    (0..10).map(|i| Triplet { anchor: i, positive: 10 + i, negative: negative(i) }).collect()
}

#[test]
fn the_student_learns_what_people_say_belongs_together() {
    let (mut data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    data.triplets = triplets();
    let mut recipe = recipe("supervised");
    recipe.epochs = 40;
    recipe.schedule.learning_rate = 2e-3;
    data.run(&recipe, folder.path(), &|i, numbers| data.copy(i, numbers)).unwrap();
    let losses: Vec<f64> =
        course(folder.path()).iter().filter_map(|line| line["loss_contrast"].as_f64()).collect();
    assert!(losses[losses.len() - 1] < 0.5 * losses[0], "{losses:?}");
}

/// A teacher of three layers, of which the outer two are held up to a student.
fn teacher_layers(recipe: &Recipe) -> TeacherLayers {
    let deeper = EncoderConfig { num_hidden_layers: 3, ..config() };
    TeacherLayers { model: student(&deeper, recipe), numbers: vec![0, 2] }
}

#[test]
fn layers_learn_those_of_the_teacher() {
    let (mut data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let mut recipe = recipe("hpd");
    recipe.epochs = 20;
    recipe.loss.hidden = 1.0;
    data.layers = Some(teacher_layers(&recipe));
    data.run(&recipe, folder.path(), &|i, numbers| data.copy(i, numbers)).unwrap();
    let losses: Vec<f64> =
        course(folder.path()).iter().filter_map(|line| line["loss_hidden"].as_f64()).collect();
    assert!(losses[losses.len() - 1] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn the_mean_of_the_weights_is_kept_and_not_the_last() {
    let data = Data::new();
    let run = |average: f64| {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = recipe("hpd");
        recipe.optimizer.average = average;
        recipe.select_by = SelectBy::Latest;
        let outcome =
            data.run(&recipe, folder.path(), &|i, numbers| data.copy(i, numbers)).unwrap();
        let last = Checkpoint::open(&folder.path().join(LAST)).unwrap().unwrap();
        (bits(&last.student(&outcome.best).unwrap()), bits(&outcome.best))
    };
    let ((trained, kept), (alone, itself)) = (run(0.9), run(0.0));
    assert_eq!(trained, alone, "the mean does not touch the training");
    assert_eq!(alone, itself);
    assert_ne!(trained, kept);
}

/// Sentences that are taught the vectors of others.
fn paraphrases() -> Vec<Paraphrase> {
    (0..7).map(|i| Paraphrase { text: 50 + i, taught_by: 20 + i }).collect()
}

#[test]
fn a_paraphrase_learns_the_vector_of_its_sentence() {
    let (mut data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    data.paraphrases = paraphrases();
    // The texts are held back, so nothing else teaches them.
    let mut recipe = recipe("hpd");
    recipe.epochs = 40;
    recipe.paraphrases_per_step = 7;
    recipe.select_by = SelectBy::Latest;
    let outcome = data.run(&recipe, folder.path(), &|i, numbers| data.copy(i, numbers)).unwrap();
    let cosine = |text: u32, taught_by: u32| {
        let vector = outcome.best.embed(&[data.tokens.text(text as usize)]);
        let target = &data.teacher[taught_by as usize][..8];
        let length = |numbers: &[f32]| numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        let dot: f32 = vector.row(0).iter().zip(target).map(|(a, b)| a * b).sum();
        dot / (length(vector.row(0)) * length(target))
    };
    for Paraphrase { text, taught_by } in paraphrases() {
        let [taught, own] = [cosine(text, taught_by), cosine(text, text)];
        assert!(taught > 0.9 && taught > own + 0.2, "{taught} {own}");
    }
}

#[test]
fn the_student_learns_the_teacher() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let mut recipe = recipe("hpd");
    recipe.epochs = 40;
    recipe.matryoshka = vec![4];
    data.run(&recipe, folder.path(), &|i, numbers| data.copy(i, numbers)).unwrap();
    let course = course(folder.path());
    let cosine = |line: &serde_json::Value| line["loss_cosine"].as_f64();
    let losses: Vec<f64> = course.iter().filter_map(cosine).collect();
    assert!(losses[losses.len() - 1] < 0.25 * losses[0], "{losses:?}");
    assert!(dev_cosine(folder.path()) > 0.5);
}

#[test]
fn a_student_without_layers_learns_what_is_a_sum_over_words() {
    let data = Data::for_students_like(static_config());
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe("static");
    recipe.epochs = 60;
    data.run(&recipe, folder.path(), &|i, numbers| data.copy(i, numbers)).unwrap();
    // 50 sentences show each of 50 words about seven times, which is what bounds the sentences held back.
    assert!(dev_cosine(folder.path()) > 0.75, "{:?}", course(folder.path()));
}

#[test]
fn a_static_students_vector_is_the_mean_of_its_folded_rows() {
    let student = student(&static_config(), &recipe("static"));
    let table = student.folded_words();
    let (text, dim): (&[u32], usize) = (&[7, 3, 7, 49], student.head.dim);
    let mut mean = vec![0.0; dim];
    for &id in text {
        let row = &table[id as usize * dim..][..dim];
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
    let both = student.embed(&[&[], text]);
    assert!(both.row(0).iter().all(|x| *x == 0.0), "no tokens, no direction");
    for (found, sum) in both.row(1).iter().zip(mean) {
        assert!((found - sum / length).abs() < 1e-6);
    }
    assert!(student.embed(&[&[]]).data.iter().all(|x| *x == 0.0));
}

#[test]
fn the_released_recipe_learns_too() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let mut recipe = recipe("hpd2022");
    recipe.epochs = 60;
    recipe.dropout = 0.0;
    recipe.schedule.learning_rate = 2e-3;
    // Targets within tanh's range.
    let teacher = |i: usize, numbers: &mut [f32]| {
        data.copy(i, numbers);
        let norm = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        numbers.iter_mut().for_each(|x| *x /= norm);
    };
    data.run(&recipe, folder.path(), &teacher).unwrap();
    let mses: Vec<f64> =
        course(folder.path()).iter().filter_map(|line| line["loss_mse"].as_f64()).collect();
    assert!(mses[mses.len() - 1] < 0.7 * mses[0], "{mses:?}");
}

#[test]
fn another_recipe_or_other_data_are_not_resumed() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let mut recipe = recipe("hpd");
    killed_after(&data, &recipe, folder.path(), 40);
    recipe.seed = 2;
    let error = data.run(&recipe, folder.path(), &|i, numbers| data.copy(i, numbers)).unwrap_err();
    assert!(
        error.to_string().contains("its recipe has `seed = 1`, the one given has `seed = 2`"),
        "{error}"
    );
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let (asked, recipe) = (AtomicUsize::new(0), recipe("hpd"));
    let first = asked_for_topics(&data, &recipe);
    let error = data.run(&recipe, folder.path(), &|i, numbers| {
        data.copy(i, numbers);
        if asked.fetch_add(1, Ordering::SeqCst) == first + 44 {
            numbers[0] = f32::NAN;
        }
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("at step") && message.contains("stands"), "{message}");
}

#[test]
fn a_sentence_alone_is_itself_in_a_batch() {
    let (data, recipe) = (Data::new(), recipe("hpd"));
    let student = student(&config(), &recipe);
    let texts: Vec<&[u32]> = (0..SENTENCES).map(|i| data.tokens.text(i)).collect();
    let together = student.embed(&texts);
    for (i, text) in texts.iter().enumerate() {
        let alone = student.embed(&[text]);
        let off = alone.data.iter().zip(together.row(i)).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 1e-6);
    }
}

#[test]
fn layers_are_cut_from_a_folder_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let config = EncoderConfig { num_hidden_layers: 3, ..config() };
    let head = HeadShape { dim: 8, bias: false, activation: Activation::Identity, normalize: true };
    let device = Device::flex().autodiff();
    let teacher = Student::fresh(config.clone(), head, 4, &device).unwrap();
    let tensors = teacher.tensors();
    let named = tensors.iter().map(|tensor| {
        let bytes = bytemuck::cast_slice(&tensor.data);
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap();
        (tensor.name.as_str(), view)
    });
    let file = folder.path().join("model.safetensors");
    std::fs::write(file, safetensors::serialize(named, None).unwrap()).unwrap();
    let text = serde_json::to_string(&config).unwrap();
    std::fs::write(folder.path().join("config.json"), text).unwrap();

    let pca: Vec<f32> = (0..8 * 16).map(|i| i as f32).collect();
    let cut = Student::from_folder(folder.path(), &[0, 2], head, Some(&pca), 1, &device).unwrap();
    let old: BTreeMap<_, _> = bits(&teacher).into_iter().collect();
    for (name, numbers) in bits(&cut) {
        let from = name.replace("encoder.layer.1.", "encoder.layer.2.");
        if name == "head.weight" {
            assert_eq!(numbers, pca.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        } else {
            assert_eq!(&numbers, &old[&from], "{name}");
        }
    }
    let error = Student::from_folder(folder.path(), &[3], head, None, 1, &device).unwrap_err();
    assert_eq!(error.to_string(), "layer 3 cannot be kept, the model has layers 0 to 2");
    let error = Student::from_folder(folder.path(), &[1, 1], head, None, 1, &device).unwrap_err();
    assert_eq!(error.to_string(), "layer 1 cannot be kept twice");
}
