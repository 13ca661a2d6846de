//! The whole chain on a small teacher: what the trainer says of its student is what the exported folder does.
#![expect(clippy::unwrap_used, reason = "a test's panic is its message")]

mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hpd_distill::inspection::{Questions, inspect};
use hpd_distill::pca::Pca;
use hpd_distill::plan::plan;
use hpd_distill::projected;
use hpd_distill::recipe::Recipe;
use hpd_distill::run::{DeviceChoice, Settings, TeacherArgument, run};
use hpd_distill::scores::Scores;
use hpd_distill::sentences::SentenceFile;
use hpd_distill::start::{KeptLayers, StudentStart};
use hpd_encoder::{EncodeOptions, Model, ModelType};
use hpd_files::{Progress, Silent};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use support::{settings, teacher};

/// The best cosine to the targets that the trainer saw on the held-back sentences.
fn best_dev_cosine(folder: &Path) -> f64 {
    let metrics = fs::read_to_string(folder.join("student.run/metrics.jsonl")).unwrap();
    let lines =
        metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line["dev_cosine"].as_f64()).fold(f64::MIN, f64::max)
}

fn cosine_of(scores: &Scores, row: usize) -> f64 {
    scores.rows[row].held_back.unwrap().cosine.unwrap()
}

#[test]
fn the_exported_student_is_the_one_that_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let scores = run(&settings(folder.path(), "hpd"), &Silent).unwrap();
    assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5);
    assert!((cosine_of(&scores, 1) - 1.0).abs() < 1e-9, "the projection is its own target");
    let student = Model::open(&folder.path().join("student")).unwrap();
    assert_eq!((student.dim(), student.folder().config.num_hidden_layers), (8, 1));
    assert!(
        fs::read_to_string(folder.path().join("student/README.md")).unwrap().contains("student")
    );
}

/// The small run with a map that is trained in a blink.
fn mcr2_settings(folder: &Path) -> Settings {
    let mut settings = settings(folder, "mcr2");
    for (key, value) in [("clusters", "20"), ("steps", "40"), ("batch_size", "64")] {
        settings.recipe.set(&format!("projection.{key}"), value).unwrap();
    }
    settings.recipe.set("select_by", "dev_cosine").unwrap();
    settings
}

#[test]
fn a_student_of_a_trained_map_is_the_one_that_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let scores = run(&mcr2_settings(folder.path()), &Silent).unwrap();
    assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5, "{scores}");
    assert_eq!(scores.rows[1].name, "teacher + MCR²");
    assert!((cosine_of(&scores, 1) - 1.0).abs() < 1e-9, "the map is its own target");
    let card = fs::read_to_string(folder.path().join("student/README.md")).unwrap();
    assert!(card.contains("maximal coding rate reduction") && card.contains("40 steps"), "{card}");
    let output = folder.path().join("projected");
    let run_folder = folder.path().join("student.run");
    let error = projected::export(&teacher(), &run_folder, &output, false).unwrap_err();
    assert!(error.to_string().contains("no model folder can hold"), "{error}");
}

#[test]
fn a_map_that_is_there_is_not_trained_again() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut settings = mcr2_settings(folder.path());
    run(&settings, &Silent).unwrap();
    let mut second = mcr2_settings(other.path());
    second.recipe.set("seed", "2").unwrap();
    run(&second, &Silent).unwrap();
    // As if the run had been stopped when a map was there, known by its numbers, and the training was not.
    let place = |folder: &Path, name: &str| folder.join("student.run").join(name);
    let map = fs::read(place(other.path(), "mcr2.safetensors")).unwrap();
    let path = place(folder.path(), "mcr2.safetensors");
    assert_ne!(fs::read(&path).unwrap(), map);
    let stopped = |map: &[u8]| {
        fs::write(&path, map).unwrap();
        for name in ["last.safetensors", "best.safetensors"] {
            fs::remove_file(place(folder.path(), name)).unwrap();
        }
        let file = place(folder.path(), "run.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, text.replace("\"done\"", "\"running\"")).unwrap();
    };
    stopped(&map);
    settings.resume = true;
    run(&settings, &Silent).unwrap();
    assert_eq!(fs::read(&path).unwrap(), map);
    stopped(b"torn");
    let error = run(&settings, &Silent).unwrap_err();
    assert_eq!(error.hint_text(), Some("delete it to train the map again"));
}

#[test]
fn a_student_taught_by_contrast_is_the_one_that_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let scores = run(&settings(folder.path(), "ibkd"), &Silent).unwrap();
    assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5, "{scores}");
    let metrics = fs::read_to_string(folder.path().join("student.run/metrics.jsonl")).unwrap();
    assert!(metrics.contains("loss_contrast_teacher") && metrics.contains("loss_hsic"));
}

#[test]
fn what_contrast_taught_goes_on_with_triplets() {
    let folder = tempfile::tempdir().unwrap();
    let first = settings(folder.path(), "ibkd");
    run(&first, &Silent).unwrap();
    let mut second = second_stage(&first, folder.path());
    second.recipe = Recipe::load("ibkd-2").unwrap();
    for (key, value) in [("dim", "8"), ("epochs", "1"), ("max_tokens", "32")] {
        second.recipe.set(key, value).unwrap();
    }
    run(&second, &Silent).unwrap();
    let metrics = fs::read_to_string(folder.path().join("better.run/metrics.jsonl")).unwrap();
    assert!(metrics.contains("loss_contrast") && metrics.contains("loss_hsic"), "{metrics}");
    assert!(!metrics.contains("loss_contrast_teacher"), "{metrics}");
}

#[test]
fn a_static_student_is_exported_as_it_was_trained_from_whatever_starts_it() {
    let fixtures = teacher().parent().unwrap().to_owned();
    let starts = [
        ("the teacher's vocabulary", StudentStart::Static { model: None }),
        ("another's", StudentStart::Static { model: Some(fixtures.join("modernbert_new")) }),
        ("model2vec's", StudentStart::Static { model: Some(fixtures.join("model2vec_plain")) }),
        ("none", StudentStart::Fresh { width: 6, layers: 0, vocabulary: None }),
    ];
    for (name, start) in starts {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path(), "static");
        settings.recipe.set("head.start", "random").unwrap();
        settings.recipe.set("matryoshka", "[4]").unwrap();
        settings.start = start;
        let scores = run(&settings, &Silent).unwrap();
        assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5, "{name}");
        let student = Model::open(&folder.path().join("student")).unwrap();
        assert_eq!(student.folder().config.model_type, ModelType::StaticEmbedding, "{name}");
        assert_eq!((student.dim(), student.max_seq_length()), (8, usize::MAX), "{name}");
        let card = fs::read_to_string(folder.path().join("student/README.md")).unwrap();
        assert!(
            card.contains("(0): StaticEmbedding(") && card.contains("(1): Normalize()"),
            "{card}"
        );
    }
}

#[test]
fn a_static_student_starts_near_its_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "static");
    settings.start = StudentStart::Static { model: None };
    settings.recipe.set("schedule.learning_rate", "1e-12").unwrap();
    let started = run(&settings, &Silent).unwrap();
    settings.start = StudentStart::Fresh { width: 32, layers: 0, vocabulary: None };
    settings.overwrite = true;
    let random = run(&settings, &Silent).unwrap();
    assert!(cosine_of(&started, 2) > cosine_of(&random, 2) + 0.3, "{started}{random}");
}

#[test]
fn a_head_that_no_table_can_hold_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd2022");
    settings.start = StudentStart::Static { model: None };
    let error = run(&settings, &Silent).unwrap_err();
    assert!(error.to_string().contains("`head.bias` is true, but the head"), "{error}");
    assert_eq!(error.hint_text(), Some("--set head.bias=false"));
    settings.recipe.set("head.bias", "false").unwrap();
    let error = run(&settings, &Silent).unwrap_err();
    assert_eq!(error.hint_text(), Some("--set head.activation=identity"));
    settings.recipe = Recipe::load("ibkd").unwrap();
    let error = run(&settings, &Silent).unwrap_err();
    assert_eq!(error.hint_text(), Some("--set loss.hsic=0"));
}

/// A student that keeps so much of the vocabulary, exported as it was trained; gives the model and the run's settings.
fn narrow(folder: &Path, recipe: &str, start: StudentStart) -> (Model, Settings) {
    let mut settings = settings(folder, recipe);
    settings.vocabulary = Some(150);
    settings.start = start;
    if recipe == "static" {
        settings.recipe.set("head.start", "random").unwrap();
    }
    let scores = run(&settings, &Silent).unwrap();
    assert!((cosine_of(&scores, 2) - best_dev_cosine(folder)).abs() < 1e-5, "{scores}");
    let student = Model::open(&folder.join("student")).unwrap();
    assert_eq!(student.folder().config.vocab_size, 150);
    let card = fs::read_to_string(folder.join("student/README.md")).unwrap();
    assert!(card.contains("| vocabulary | 150 of 300 tokens, which make up"), "{card}");
    (student, settings)
}

fn one_layer() -> StudentStart {
    StudentStart::Cut { model: None, kept: KeptLayers::Spread(1) }
}

#[test]
fn a_student_of_fewer_tokens_is_exported_as_it_was_trained_in_the_space_of_one_with_all() {
    let fresh = |layers| StudentStart::Fresh { width: 32, layers, vocabulary: None };
    for (recipe, start) in [
        ("hpd", one_layer()),
        ("hpd", fresh(1)),
        ("static", StudentStart::Static { model: None }),
        ("static", fresh(0)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (student, mut settings) = narrow(folder.path(), recipe, start.clone());
        let texts = ["one two three", "the spider", "", "seven of nine 7", "zzz"];
        let together = student.encode(&texts, &EncodeOptions::default()).unwrap().rows;
        for (text, row) in texts.iter().zip(together.data.chunks_exact(8)) {
            let alone = student.encode(&[text], &EncodeOptions::default()).unwrap().rows;
            assert_eq!(alone.data, row, "{recipe}, {start:?}: {text}");
        }
        let small = folder.path().join("int8");
        hpd_encoder::convert::quantize(&folder.path().join("student"), &small, false).unwrap();
        assert_eq!(Model::open(&small).unwrap().identity().space, student.identity().space);
        settings.vocabulary = None;
        settings.output = folder.path().join("whole");
        run(&settings, &Silent).unwrap();
        let whole = Model::open(&settings.output).unwrap();
        assert_eq!(whole.identity().space, student.identity().space);
        assert!(whole.parameters() > student.parameters());
    }
}

#[test]
fn tokens_of_unigram_can_be_taken_out_too() {
    let fixtures = teacher().parent().unwrap().to_owned();
    let xlm = Some(fixtures.join("xlm_roberta_max"));
    // As long as the exported student takes texts.
    for (recipe, longest, start) in [
        ("hpd", "28", StudentStart::Cut { model: xlm.clone(), kept: KeptLayers::Spread(1) }),
        ("static", "256", StudentStart::Static { model: Some(fixtures.join("model2vec_plain")) }),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path(), recipe);
        settings.recipe.set("head.start", "random").unwrap();
        settings.recipe.set("max_tokens", longest).unwrap();
        settings.vocabulary = Some(110);
        settings.start = start;
        let scores = run(&settings, &Silent).unwrap();
        let (exported, trained) = (cosine_of(&scores, 2), best_dev_cosine(folder.path()));
        assert!((exported - trained).abs() < 1e-5, "{recipe}: {exported} {trained}");
        let student = Model::open(&folder.path().join("student")).unwrap();
        assert_eq!(student.folder().config.vocab_size, 110, "{recipe}");
    }
}

#[test]
fn a_run_of_fewer_tokens_goes_on_with_the_same_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (student, mut settings) = narrow(folder.path(), "hpd", one_layer());
    let place = |name: &str| folder.path().join("student.run").join(name);
    let tokenizer = fs::read(place("tokenizer/tokenizer.json")).unwrap();
    let file = fs::read_to_string(place("run.json")).unwrap();
    assert!(file.contains("\"vocabulary\""), "{file}");
    fs::write(place("run.json"), file.replace("\"done\"", "\"running\"")).unwrap();
    fs::remove_dir_all(place("tokenizer")).unwrap();
    settings.resume = true;
    run(&settings, &Silent).unwrap();
    assert_eq!(fs::read(place("tokenizer/tokenizer.json")).unwrap(), tokenizer);
    let again = Model::open(&folder.path().join("student")).unwrap();
    assert_eq!(again.identity(), student.identity());
    let questions = Questions { worst: 3, tasks: &[] };
    let found = inspect(&folder.path().join("student.run"), &questions, &Silent).unwrap();
    assert_eq!(found.worst.len(), 3);
    for (vocabulary, words) in [(Some(149), "150"), (None, "its shape.vocab_size was 150")] {
        settings.vocabulary = vocabulary;
        let error = run(&settings, &Silent).unwrap_err().to_string();
        assert!(error.contains("cannot go on") && error.contains(words), "{error}");
    }
}

#[test]
fn a_student_of_fewer_tokens_is_a_start_for_one_of_fewer_still() {
    let folder = tempfile::tempdir().unwrap();
    let (_, first) = narrow(folder.path(), "hpd", one_layer());
    let mut second = second_stage(&first, folder.path());
    run(&second, &Silent).unwrap();
    let better = Model::open(&second.output).unwrap();
    assert_eq!(better.folder().config.vocab_size, 150);
    second.vocabulary = Some(140);
    second.overwrite = true;
    run(&second, &Silent).unwrap();
    let fewer = Model::open(&second.output).unwrap();
    assert_eq!(fewer.folder().config.vocab_size, 140);
    assert_eq!(fewer.identity().space, better.identity().space);
}

#[test]
fn a_plan_counts_the_tokens_that_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd");
    let whole = plan(&settings, &Silent).unwrap();
    settings.vocabulary = Some(150);
    let narrow = plan(&settings, &Silent).unwrap();
    assert_eq!(whole.parameters - narrow.parameters, 150 * 36);
    settings.vocabulary = Some(301);
    let error = plan(&settings, &Silent).unwrap_err();
    assert!(error.to_string().contains("has 300 tokens"), "{error}");
    assert!(!folder.path().join("student.run").exists());
}

#[test]
fn a_recipe_lowers_and_raises_the_length_of_sentences_and_0_leaves_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd");
    settings.recipe.set("max_tokens", "16").unwrap();
    let path = folder.path().join("long.txt");
    fs::write(&path, format!("{}\n{}\n", "short ".repeat(300), "longer ".repeat(300))).unwrap();
    settings.sentences.push(SentenceFile { path, weight: 1.0 });
    let mut sentences = |longest: &str| {
        settings.recipe.set("max_characters", longest).unwrap();
        plan(&settings, &Silent).unwrap().sentences + settings.sentence_options.dev
    };
    assert_eq!(["0", "100", "1900", "3000"].map(&mut sentences), [401, 400, 401, 402]);
}

/// Runs `settings` to its end, killed twice on the way, and gives the checkpoints' bytes.
fn killed_twice(settings: &mut Settings) -> Vec<Vec<u8>> {
    for steps in [3, 9] {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let dies = DiesInTraining { left: AtomicUsize::new(usize::MAX), steps };
        let died = catch_unwind(AssertUnwindSafe(|| run(settings, &dies)));
        std::panic::set_hook(hook);
        assert!(died.is_err());
        settings.resume = true;
    }
    run(settings, &Silent).unwrap();
    checkpoints(settings)
}

fn checkpoints(settings: &Settings) -> Vec<Vec<u8>> {
    let folder = settings.output.with_extension("run");
    ["last.safetensors", "best.safetensors"].map(|name| fs::read(folder.join(name)).unwrap()).into()
}

#[test]
fn a_student_of_any_number_of_neurons_is_exported_as_it_was_trained() {
    let fresh = StudentStart::Fresh { width: 32, layers: 1, vocabulary: None };
    for (start, count) in [(one_layer(), 1), (one_layer(), 37), (fresh.clone(), 5), (fresh, 201)] {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path(), "hpd");
        settings.start = start;
        settings.feed_forward = Some(count);
        let scores = run(&settings, &Silent).unwrap();
        let apart = cosine_of(&scores, 2) - best_dev_cosine(folder.path());
        assert!(apart.abs() < 1e-5, "{count}: {scores}");
        let student = Model::open(&settings.output).unwrap();
        assert_eq!(student.folder().config.intermediate_size, count);
        let small = folder.path().join("int8");
        hpd_encoder::convert::quantize(&settings.output, &small, false).unwrap();
        let small = Model::open(&small).unwrap();
        let texts = ["one two three", "the spider", "", "seven of nine 7", "zzz"];
        for model in [&student, &small] {
            let together = model.encode(&texts, &EncodeOptions::default()).unwrap().rows;
            for (text, row) in texts.iter().zip(together.data.chunks_exact(8)) {
                let alone = model.encode(&[text], &EncodeOptions::default()).unwrap().rows;
                assert_eq!(alone.data, row, "{count}: {text}");
            }
        }
    }
}

#[test]
fn a_run_of_fewer_neurons_goes_on_with_them_and_stopping_changes_no_bit() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let narrow = |folder: &Path| {
        let mut settings = settings(folder, "hpd");
        settings.feed_forward = Some(37);
        settings.recipe.set("checkpoint_every", "1").unwrap();
        settings
    };
    let mut whole = narrow(folder.path());
    run(&whole, &Silent).unwrap();
    assert!(killed_twice(&mut narrow(other.path())) == checkpoints(&whole));
    let card = fs::read_to_string(whole.output.join("README.md")).unwrap();
    assert!(card.contains("| feed-forward | 37 of 78 neurons in each layer |"), "{card}");
    let questions = Questions { worst: 3, tasks: &[] };
    let found = inspect(&folder.path().join("student.run"), &questions, &Silent).unwrap();
    assert_eq!(found.worst.len(), 3);
    whole.resume = true;
    for (count, words) in [(Some(36), "this command has 36"), (None, "this command has 78")] {
        whole.feed_forward = count;
        let error = run(&whole, &Silent).unwrap_err().to_string();
        assert!(error.contains("its shape.intermediate_size was 37"), "{error}");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_run_that_keeps_all_neurons_is_one_that_does_not_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd");
    run(&settings, &Silent).unwrap();
    let before = checkpoints(&settings);
    (settings.feed_forward, settings.resume) = (Some(78), true);
    run(&settings, &Silent).unwrap();
    (settings.resume, settings.overwrite) = (false, true);
    run(&settings, &Silent).unwrap();
    assert!(checkpoints(&settings) == before);
}

#[test]
fn a_student_of_fewer_neurons_is_a_start_for_one_of_fewer_tokens_and_neurons_still() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = settings(folder.path(), "hpd");
    first.feed_forward = Some(37);
    run(&first, &Silent).unwrap();
    let mut second = second_stage(&first, folder.path());
    (second.feed_forward, second.vocabulary) = (Some(20), Some(150));
    run(&second, &Silent).unwrap();
    let narrower = Model::open(&second.output).unwrap();
    let config = &narrower.folder().config;
    assert_eq!((config.intermediate_size, config.vocab_size), (20, 150));
    let card = fs::read_to_string(second.output.join("README.md")).unwrap();
    assert!(card.contains("| feed-forward | 20 of 37 neurons in each layer |"), "{card}");
}

#[test]
fn a_plan_counts_the_neurons_that_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd");
    let whole = plan(&settings, &Silent).unwrap();
    settings.feed_forward = Some(30);
    let narrow = plan(&settings, &Silent).unwrap();
    // A neuron has a row, a bias and a column.
    assert_eq!(whole.parameters - narrow.parameters, 48 * (36 + 1 + 36));
    settings.feed_forward = Some(79);
    let error = plan(&settings, &Silent).unwrap_err();
    assert!(error.to_string().contains("have 78 neurons"), "{error}");
}

/// The settings of a second stage behind the run of `first`, which is done.
fn second_stage(first: &Settings, folder: &Path) -> Settings {
    let triplets = folder.join("triplets.tsv");
    let line = |i: usize| format!("one two {i}\ttwo one {i}\tthree {i}\n");
    let lines: String = (0..20).map(line).collect();
    fs::write(&triplets, format!("anchor\tpositive\tnegative\n{lines}")).unwrap();
    let mut settings = settings(folder, "supervised");
    settings.start = StudentStart::Cut { model: Some(first.output.clone()), kept: KeptLayers::All };
    settings.projection = Some(folder.join("student.run"));
    settings.triplets = vec![triplets];
    settings.output = folder.join("better");
    settings
}

#[test]
fn a_second_stage_goes_on_with_the_student_in_its_space() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = settings(folder.path(), "hpd");
    first.recipe.set("schedule.learning_rate", "1e-3").unwrap();
    let before = run(&first, &Silent).unwrap();
    let mut second = second_stage(&first, folder.path());
    second.recipe.set("schedule.learning_rate", "1e-12").unwrap();
    let untouched = run(&second, &Silent).unwrap();
    let close = (cosine_of(&untouched, 2) - cosine_of(&before, 2)).abs();
    assert!(close < 1e-6, "the second stage starts elsewhere than the first one ended: {close}");

    second.recipe.set("schedule.learning_rate", "1e-3").unwrap();
    second.overwrite = true;
    run(&second, &Silent).unwrap();
    let open = |name: &str| Model::open(&folder.path().join(name)).unwrap();
    assert_eq!(open("better").identity().space, open("student").identity().space);
    assert_ne!(open("better").identity().weights, open("student").identity().weights);
    let card = fs::read_to_string(folder.path().join("better/README.md")).unwrap();
    assert!(card.contains("Supervised: 20 pairs and triplets that people made"), "{card}");
}

/// The settings of a run with paraphrases of its first sentences and of one that is not among them.
fn paraphrased(folder: &Path) -> Settings {
    let mut settings = settings(folder, "hpd");
    let sentences = fs::read_to_string(&settings.sentences[0].path).unwrap();
    let pair = |line: &str| format!("{line}\t{} again\t{} thrice\n", line.to_uppercase(), line);
    let pairs: String = sentences.lines().take(60).map(pair).collect();
    let path = folder.join("paraphrases.tsv");
    fs::write(&path, format!("a\tb\tc\n{pairs}an unknown one\tone that nobody knows\t\n")).unwrap();
    settings.paraphrases = vec![path];
    settings.recipe.set("paraphrases_per_step", "8").unwrap();
    settings
}

#[test]
fn a_student_of_paraphrases_is_the_one_that_was_trained_and_stopping_changes_no_bit() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let scores = run(&paraphrased(folder.path()), &Silent).unwrap();
    assert!((cosine_of(&scores, 2) - best_dev_cosine(folder.path())).abs() < 1e-5, "{scores}");
    let card = fs::read_to_string(folder.path().join("student/README.md")).unwrap();
    assert!(card.contains("paraphrases, each of which learnt the teacher's vector"), "{card}");

    let mut settings = paraphrased(other.path());
    settings.recipe.set("checkpoint_every", "1").unwrap();
    let mut whole = paraphrased(folder.path());
    (whole.recipe, whole.overwrite) = (settings.recipe.clone(), true);
    run(&whole, &Silent).unwrap();
    assert!(killed_twice(&mut settings) == checkpoints(&whole));
}

#[test]
fn a_plan_counts_triplets_and_refuses_what_the_run_would() {
    let folder = tempfile::tempdir().unwrap();
    let first = settings(folder.path(), "hpd");
    run(&first, &Silent).unwrap();
    let second = second_stage(&first, folder.path());
    let found = plan(&second, &Silent).unwrap();
    assert!(found.to_string().contains("triplets      20\n"), "{found}");
    // 400 sentences and three texts of each triplet, 36 numbers in 16 bits each.
    assert_eq!(found.teacher_bytes, 2 * 36 * (400 + 60));
    let pairs = folder.path().join("pairs.tsv");
    fs::write(&pairs, "score\tsentence1\tsentence2\n").unwrap();
    let changes: [&dyn Fn(&mut Settings); 5] = [
        &|it| it.triplets.clear(),
        &|it| it.dev_sts = Some(pairs.clone()),
        &|it| it.projection = Some(folder.path().join("none.run")),
        &|it| it.recipe.dim = 7,
        &|it| it.recipe.dim = 4096,
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut mistaken = second.clone();
        change(&mut mistaken);
        let planned = plan(&mistaken, &Silent).unwrap_err().to_string();
        assert_eq!(planned, run(&mistaken, &Silent).unwrap_err().to_string(), "change {i}");
        assert!(!folder.path().join("better.run/teacher").exists(), "change {i}");
    }
}

/// Progress that panics when so many steps are taken.
struct DiesInTraining {
    left: AtomicUsize,
    steps: usize,
}

impl Progress for DiesInTraining {
    fn stage(&self, name: &str, _: Option<u64>) {
        self.left.store(if name == "training" { self.steps } else { usize::MAX }, Ordering::SeqCst);
    }

    fn advance(&self, units: u64) {
        let left = self.left.load(Ordering::SeqCst);
        assert!(left == usize::MAX || units < left as u64, "killed");
        if left != usize::MAX {
            self.left.store(left - units as usize, Ordering::SeqCst);
        }
    }

    fn message(&self, _: &str) {}
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}

#[test]
fn a_run_is_bound_to_its_paraphrases_and_does_without_when_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = paraphrased(folder.path());
    run(&settings, &Silent).unwrap();
    settings.resume = true;
    let text = fs::read_to_string(&settings.paraphrases[0]).unwrap();
    fs::write(&settings.paraphrases[0], text.replace("again", "once more")).unwrap();
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(error.contains("paraphrases"), "{error}");
    let none = tempfile::tempdir().unwrap();
    run(&self::settings(none.path(), "hpd"), &Silent).unwrap();
    let binding = fs::read_to_string(none.path().join("student.run/run.json")).unwrap();
    assert!(!binding.contains("\"paraphrases\""), "{binding}");
}

#[test]
fn a_run_is_bound_to_how_often_it_takes_its_files_and_to_what_comes_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd");
    run(&settings, &Silent).unwrap();
    let file = folder.path().join("student.run/run.json");
    assert!(!fs::read_to_string(&file).unwrap().contains("weights of files"));
    settings.resume = true;
    settings.paraphrases = paraphrased(folder.path()).paraphrases;
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(error.contains("it had no paraphrases"), "{error}");
    settings.paraphrases.clear();
    settings.projection = Some(folder.path().join("student.run"));
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(error.contains("it had no projection"), "{error}");
    settings.projection = None;
    settings.sentences[0].weight = 2.0;
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(error.contains("it had no weights of files"), "{error}");
    (settings.resume, settings.overwrite) = (false, true);
    run(&settings, &Silent).unwrap();
    (settings.resume, settings.overwrite) = (true, false);
    let of_no_step = run(&settings, &Silent).unwrap();
    assert!(of_no_step.sentences_per_second > 0.0, "the speed is that of the steps before");
    settings.sentences[0].weight = 5.0;
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(error.contains("its weights of files was [[400,2.0]]"), "{error}");
}

#[test]
fn a_plan_counts_paraphrases() {
    let folder = tempfile::tempdir().unwrap();
    let with = plan(&paraphrased(folder.path()), &Silent).unwrap();
    let without = plan(&settings(folder.path(), "hpd"), &Silent).unwrap();
    assert!(with.to_string().contains("paraphrases   1"), "{with}");
    assert!(!without.to_string().contains("paraphrases  "), "{without}");
    // The unknown sentence has a vector of 36 numbers in 16 bits.
    assert_eq!(with.teacher_bytes, without.teacher_bytes + 72);
}

#[test]
fn a_file_of_vectors_teaches_paraphrases_of_its_own_sentences_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = paraphrased(folder.path());
    let numbers: Vec<f32> = (0..400 * 16).map(|i| ((i * i) as f32).sin()).collect();
    let view = TensorView::new(Dtype::F32, vec![400, 16], bytemuck::cast_slice(&numbers)).unwrap();
    let vectors = folder.path().join("vectors.safetensors");
    fs::write(&vectors, safetensors::serialize([("vectors", view)], None).unwrap()).unwrap();
    settings.teacher = TeacherArgument::Vectors(vectors);
    settings.recipe.set("head.start", "random").unwrap();
    settings.start = StudentStart::Cut { model: Some(teacher()), kept: KeptLayers::Spread(1) };
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(
        error.contains("no vectors for 1 sentences of the paraphrases, such as `an unknown one`")
    );
    let text = fs::read_to_string(&settings.paraphrases[0]).unwrap();
    let known: Vec<&str> = text.lines().filter(|line| !line.contains("unknown")).collect();
    fs::write(&settings.paraphrases[0], known.join("\n")).unwrap();
    settings.overwrite = true;
    run(&settings, &Silent).unwrap();
}

#[test]
fn a_second_stage_refuses_what_it_cannot_go_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let first = settings(folder.path(), "hpd");
    run(&first, &Silent).unwrap();
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut second = second_stage(&first, folder.path());
        change(&mut second);
        let error = run(&second, &Silent).unwrap_err();
        format!("{error} ({})", error.hint_text().unwrap_or_default())
    };
    for (found, expected) in [
        (refused(&|it| it.triplets.clear()), "there are no triplets (--triplets FILE"),
        (
            refused(&|it| it.recipe.loss.contrast = 0.0),
            "nothing would be learnt from them (--recipe",
        ),
        (refused(&|it| it.recipe.dim = 7), "gives 8 numbers, expected `dim` 7 (--dim 8)"),
        (
            refused(&|it| {
                it.start = StudentStart::Cut { model: None, kept: KeptLayers::Spread(1) }
            }),
            "has 0 heads to go on with, expected one",
        ),
        (refused(&|it| it.recipe.head.bias = true), "a bias or another activation"),
        (
            refused(&|it| match &mut it.teacher {
                TeacherArgument::Model { opening, .. } => opening.max_seq_length = Some(9),
                _ => unreachable!(),
            }),
            "vectors of another teacher than `bert`, or on texts cut at another length",
        ),
    ] {
        assert!(found.contains(expected), "expected {expected:?} in {found:?}");
    }
}

#[test]
fn a_run_that_is_done_is_not_repeated_and_another_recipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd");
    let first = run(&settings, &Silent).unwrap();
    assert!(run(&settings, &Silent).unwrap_err().hint_text().unwrap().contains("--overwrite"));
    settings.resume = true;
    assert_eq!(run(&settings, &Silent).unwrap().to_string(), first.to_string());
    settings.recipe.set("batch_size", "16").unwrap();
    assert!(run(&settings, &Silent).unwrap_err().to_string().contains("its recipe.batch_size was"));
}

#[test]
fn an_earlier_run_is_replaced_only_when_all_that_was_typed_is_usable() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd");
    run(&settings, &Silent).unwrap();
    settings.overwrite = true;
    let before = checkpoints(&settings);
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut mistaken = settings.clone();
        change(&mut mistaken);
        run(&mistaken, &Silent).unwrap_err();
        assert!(checkpoints(&settings) == before);
        assert!(folder.path().join("student.run/teacher").exists());
    };
    refused(&|it| it.sentences[0].path = folder.path().join("sentence.txt"));
    refused(&|it| it.triplets = vec![folder.path().join("sentence.txt")]);
    refused(&|it| it.projection = Some(folder.path().join("other.run")));
    refused(&|it| it.recipe.dim = 4096);
    if !cfg!(feature = "metal") {
        refused(&|it| it.device = DeviceChoice::Metal);
    }
}

#[test]
fn more_dimensions_than_the_teacher_has_are_refused_before_anything_is_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "hpd2022");
    settings.recipe.set("dim", "4096").unwrap();
    let error = run(&settings, &Silent).unwrap_err();
    assert!(error.to_string().contains("`--dim 4096` is more than"), "{error}");
    assert!(!folder.path().join("student.run/run.json").exists());
}

#[test]
fn the_projected_teacher_gives_the_targets_and_shares_the_students_space() {
    let folder = tempfile::tempdir().unwrap();
    for center in ["none", "mean"] {
        let mut settings = settings(folder.path(), "hpd");
        settings.recipe.set("center", center).unwrap();
        settings.recipe.set("epochs", "1").unwrap();
        settings.overwrite = true;
        run(&settings, &Silent).unwrap();
        let run_folder = folder.path().join("student.run");
        let output = folder.path().join(center);
        projected::export(&teacher(), &run_folder, &output, false).unwrap();
        let projected = Model::open(&output).unwrap();
        let student = Model::open(&folder.path().join("student")).unwrap();
        assert_eq!(projected.identity().space, student.identity().space);

        let texts = ["three four five", "nine", "two words that are rare"];
        let full =
            Model::open(&teacher()).unwrap().encode(&texts, &EncodeOptions::default()).unwrap();
        let pca = Pca::load(&run_folder.join("pca.safetensors")).unwrap();
        let mut expected = pca.project(&full.rows, settings.recipe.center).unwrap();
        for row in expected.data.chunks_exact_mut(8) {
            let length = row.iter().map(|number| number * number).sum::<f32>().sqrt();
            row.iter_mut().for_each(|number| *number /= length);
        }
        let found = projected.encode(&texts, &EncodeOptions::default()).unwrap().rows;
        let apart = found.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5);
    }
}

#[test]
fn another_model_than_the_teacher_is_not_projected() {
    let folder = tempfile::tempdir().unwrap();
    run(&settings(folder.path(), "hpd"), &Silent).unwrap();
    let student = folder.path().join("student");
    let output = folder.path().join("projected");
    let error = projected::export(&student, &folder.path().join("student.run"), &output, false);
    assert!(error.unwrap_err().to_string().contains("another teacher"));
    assert!(!output.exists());
}
