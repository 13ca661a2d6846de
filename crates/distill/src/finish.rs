//! The end of a run: the student as a model folder, measured by opening that folder as any user would.
//!
//! The folder is written twice: once into the run, to be opened and scored, and once to its place with the
//! scores in its model card. So the numbers on the card are those of the exported files, not of the trainer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hpd_encoder::tensor::Tensor;
use hpd_encoder::writer::{Dense, Encoder, Module, STATIC_TABLE, TransformerModules};
use hpd_encoder::{DenseActivation, EncodeOptions, Folder, Model, Pooling};
use hpd_eval::provenance::Machine;
use hpd_eval::sts::Pairs;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result};

use crate::agreement::View;
use crate::beginning::DevSts;
use crate::card::{
    Card, DataFacts, Results, Speed, StudentBody, StudentFacts, TeacherFacts, TrainingFacts,
};
use crate::export::{self, Space, TrainedStudent};
use crate::paraphrases::Paraphrases;
use crate::projection::Projection;
use crate::recipe::{self, Recipe};
use crate::run::{Settings, TeacherArgument, spearman};
use crate::scores::{Row, Scores};
use crate::sentences::Sentences;
use crate::shards::{TeacherCard, TeacherVectors};
use crate::start::Start;
use crate::student::{HEAD_BIAS, HEAD_WEIGHT};
use crate::train::Outcome;
use crate::triplets::Triplets;

/// What a run works with.
#[derive(Clone, Copy)]
pub(crate) struct Material<'a> {
    pub(crate) sentences: &'a Sentences,
    pub(crate) vectors: &'a TeacherVectors,
    pub(crate) together: Option<&'a Together<'a>>,
    pub(crate) paraphrased: Option<&'a Paraphrased<'a>>,
    pub(crate) projection: &'a Projection,
    pub(crate) pairs: Option<&'a Pairs>,
}

/// Texts that belong together, and the teacher's vectors of them.
pub(crate) struct Together<'a> {
    pub(crate) triplets: &'a Triplets,
    pub(crate) vectors: TeacherVectors,
}

/// Other words for sentences, and the teacher's vectors of those sentences that are not trained on otherwise.
pub(crate) struct Paraphrased<'a> {
    pub(crate) paraphrases: &'a Paraphrases,
    pub(crate) vectors: Option<TeacherVectors>,
}

/// A trained student and all that its card tells.
pub(crate) struct Finish<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) start: &'a Start,
    pub(crate) card: &'a TeacherCard,
    pub(crate) outcome: &'a Outcome,
    /// What the teacher reached on the scored pairs, measured when the run began.
    pub(crate) judged: Option<&'a DevSts>,
    pub(crate) material: Material<'a>,
}

impl Finish<'_> {
    /// Writes the model folder.
    pub(crate) fn export(
        &self,
        output: &Path,
        scores: Option<&Scores>,
        replace: bool,
    ) -> Result<()> {
        let (student, card) = (self.student()?, self.model_card(scores));
        let (projection, center) = self.material.projection.numbers();
        let space = Space {
            // The one the projection was fitted for, which may have computed in other numbers than this run's.
            teacher: &self.material.projection.origin().teacher,
            projection: &projection,
            dim: self.recipe().dim,
            center: &center,
        };
        export::write(student, &space, &card, output, replace).map(drop)
    }

    /// Writes the student to `trial`, opens it and sets it beside the teacher and the teacher's projection.
    pub(crate) fn score(&self, trial: &Path, progress: &dyn Progress) -> Result<Scores> {
        self.export(trial, None, true)?;
        let student = Model::open(trial)?;
        let sentences = self.material.sentences;
        let texts: Vec<&str> =
            sentences.held_back().iter().map(|&row| sentences.get(row as usize)).collect();
        progress.stage("scoring", None);
        let began = Instant::now();
        let encoded = student.encode(&texts, &EncodeOptions::default())?.rows;
        let encode_seconds = began.elapsed().as_secs_f64();

        let full = self.material.vectors.gather(sentences.held_back());
        let projected = self.material.projection.project(&full)?;
        let teacher_sts = self.judged.and_then(|judged| judged.teacher);
        let projected_sts = self.judged.and_then(|judged| judged.projected);
        let student_sts = self.student_sts(&student)?;
        // It maps files of the folder, which Windows does not remove then.
        drop(student);
        fs::remove_dir_all(trial).map_err(|e| Error::io("remove", trial, e))?;
        let view = (!texts.is_empty()).then(|| View::of(&full));
        let line = |name: &str, rows: &Matrix, target: Option<&Matrix>, dev_sts| Row {
            name: name.to_owned(),
            dim: rows.dim,
            held_back: view.as_ref().map(|teacher| teacher.agreement(rows, target)),
            dev_sts,
        };
        Ok(Scores {
            output: self.settings.output.display().to_string(),
            held_back: texts.len(),
            rows: vec![
                line("teacher", &full, None, teacher_sts),
                line(&self.material.projection.row(), &projected, Some(&projected), projected_sts),
                line("student", &encoded, Some(&projected), student_sts),
            ],
            steps: self.outcome.steps as usize,
            training_seconds: self.outcome.seconds,
            sentences_per_second: self.outcome.sentences_per_second,
            encoded_per_second: texts.len() as f64 / encode_seconds.max(1e-9),
        })
    }

    fn recipe(&self) -> &Recipe {
        &self.settings.recipe
    }

    fn student_sts(&self, student: &Model) -> Result<Option<f64>> {
        let Some(pairs) = self.material.pairs else { return Ok(None) };
        let rows = student.encode(&pairs.sentences, &EncodeOptions::default())?.rows;
        Ok(spearman(Some(pairs), &rows))
    }

    /// The student as its folder has it.
    fn student(&self) -> Result<TrainedStudent> {
        let (encoder, tensors, mut head) = if self.start.is_static() {
            (Encoder::Static { max_tokens: None }, vec![self.folded_table()], Vec::new())
        } else {
            let (tensors, dense) = self.tensors_and_head();
            (self.transformer()?, tensors, vec![Module::Dense(dense)])
        };
        head.extend(self.recipe().normalize.then_some(Module::Normalize));
        let folder = &self.start.folder;
        Ok(TrainedStudent {
            encoder,
            tensors,
            head,
            tokenizer_from: self.start.tokenizer_folder().to_owned(),
            prompts: folder.prompts.clone(),
            default_prompt_name: folder.default_prompt_name.clone(),
        })
    }

    fn transformer(&self) -> Result<Encoder> {
        let Folder { max_seq_length, do_lower_case, .. } = self.start.folder;
        Ok(Encoder::Transformer(TransformerModules {
            config: self.start.config_json()?,
            pooling: Pooling::mean(),
            max_seq_length,
            do_lower_case,
        }))
    }

    /// The table of a static student, its head within.
    fn folded_table(&self) -> Tensor {
        let shape = vec![self.start.config.vocab_size, self.recipe().dim];
        Tensor { name: STATIC_TABLE.to_owned(), shape, data: self.outcome.best.folded_words() }
    }

    /// The student's tensors, the head apart.
    fn tensors_and_head(&self) -> (Vec<Tensor>, Dense) {
        let (mut head_weight, mut head_bias) = (Vec::new(), None);
        let mut tensors: Vec<Tensor> = Vec::new();
        for tensor in self.outcome.best.tensors() {
            match tensor.name.as_str() {
                HEAD_WEIGHT => head_weight = tensor.data,
                HEAD_BIAS => head_bias = Some(tensor.data),
                _ => tensors.push(tensor),
            }
        }
        let head = Dense {
            weight: head_weight,
            bias: head_bias,
            in_features: self.start.config.hidden_size,
            out_features: self.recipe().dim,
            activation: self.activation(),
        };
        (tensors, head)
    }

    fn activation(&self) -> DenseActivation {
        match self.recipe().head.activation {
            recipe::Activation::Identity => DenseActivation::Identity,
            recipe::Activation::Tanh => DenseActivation::Tanh,
        }
    }

    fn model_card(&self, scores: Option<&Scores>) -> Card {
        let name =
            self.settings.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let machine = Machine::current();
        Card {
            name,
            teacher: self.teacher_facts(),
            student: self.student_facts(),
            projection: self.material.projection.facts(self.recipe()),
            data: self.data_facts(),
            training: TrainingFacts {
                recipe: self.settings.recipe_name.clone(),
                recipe_toml: self.recipe().to_toml(),
                loss: self.recipe().loss_names(),
                steps: self.outcome.steps as usize,
                seconds: self.outcome.seconds,
                machine: format!("{}, {} threads", machine.cpu, machine.threads),
            },
            results: scores.map(results).unwrap_or_default(),
            speed: scores.map(|scores| Speed {
                sentences_per_second: scores.encoded_per_second,
                conditions: format!(
                    "{} held-back sentences, {}, {} threads",
                    scores.held_back, machine.cpu, machine.threads
                ),
            }),
        }
    }

    fn teacher_facts(&self) -> TeacherFacts {
        let dim = self.material.vectors.dim();
        match &self.settings.teacher {
            TeacherArgument::Model { folder, name, .. } => {
                // A bare name is a folder's or of a model that comes with hpd.
                let is_id = name.contains('/') && !Path::new(name).exists();
                let id = is_id.then_some(name.as_str());
                export::teacher_facts(folder, id, dim)
            }
            _ => {
                TeacherFacts { name: self.card.name.clone(), dim, license: None, base_model: None }
            }
        }
    }

    fn student_facts(&self) -> StudentFacts {
        let config = &self.start.config;
        let (body, parameters) = if self.start.is_static() {
            let parameters = config.vocab_size * self.recipe().dim;
            (StudentBody::Static { tokens: config.vocab_size }, parameters)
        } else {
            let tensors = self.outcome.best.tensors();
            let body = StudentBody::Transformer {
                layers: config.num_hidden_layers,
                hidden: config.hidden_size,
                max_seq_length: self.start.folder.max_seq_length,
                activation: self.activation(),
            };
            (body, tensors.iter().map(|tensor| tensor.data.len()).sum())
        };
        StudentFacts {
            dim: self.recipe().dim,
            body,
            parameters,
            vocabulary: self.start.kept.as_ref().map(|kept| kept.facts),
            feed_forward: self.start.kept_neurons(),
            normalize: self.recipe().normalize,
            matryoshka_dimensions: self.recipe().matryoshka.clone(),
        }
    }

    fn data_facts(&self) -> DataFacts {
        let sentences = self.material.sentences;
        let source =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = sentences.files().iter();
        let counts = |files: Option<&[(PathBuf, usize)]>| {
            let files = files.unwrap_or_default().iter();
            files.map(|(path, count)| (source(path), *count)).collect()
        };
        DataFacts {
            sources: files
                .map(|file| (source(&file.path), file.kept - file.beyond_limit))
                .collect(),
            sentences: sentences.len(),
            triplets: counts(self.material.together.map(|together| together.triplets.files())),
            paraphrases: counts(self.material.paraphrased.map(|it| it.paraphrases.files())),
        }
    }
}

/// The scores as the card's table, ×100.
fn results(scores: &Scores) -> Results {
    let columns = ["similarities", "neighbours", "cosine to target", "dev STS"];
    let hundred = |score: Option<f64>| score.map(|score| score * 100.0);
    let line = |row: &Row| {
        let held_back = row.held_back;
        vec![
            hundred(held_back.map(|agreement| agreement.spearman)),
            hundred(held_back.map(|agreement| agreement.recall_at_10)),
            hundred(held_back.and_then(|agreement| agreement.cosine)),
            hundred(row.dev_sts),
        ]
    };
    Results {
        columns: columns.map(str::to_owned).to_vec(),
        rows: scores.rows.iter().map(|row| (row.name.clone(), line(row))).collect(),
    }
}
