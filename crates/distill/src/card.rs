//! The model card: a README.md that tells people what a student is, how to use it and how it was made.
//!
//! Text only, and all of it: the run hands over facts as a [`Card`], nothing here computes or looks anything up.
//! The YAML front matter on top is what Hugging Face reads.

use std::fmt::{self, Write};

use hpd_encoder::DenseActivation;

use crate::feed_forward::KeptNeurons;
use crate::vocabulary::KeptFacts;

/// What a model card tells.
#[derive(Clone, Debug)]
pub struct Card {
    /// Title, mostly the name of the output folder.
    pub name: String,
    /// Whose vectors the student learnt.
    pub teacher: TeacherFacts,
    /// What the student is.
    pub student: StudentFacts,
    /// How the targets were made of the teacher's vectors.
    pub projection: ProjectionFacts,
    /// What it was trained on.
    pub data: DataFacts,
    /// How it was trained.
    pub training: TrainingFacts,
    /// Scores of teacher, teacher + PCA and student; empty when nothing was measured.
    pub results: Results,
    /// Encoding speed, when it was measured.
    pub speed: Option<Speed>,
}

/// Whose vectors the student learnt.
#[derive(Clone, Debug, Default)]
pub struct TeacherFacts {
    /// Folder name, Hugging Face id, endpoint model or file of vectors.
    pub name: String,
    /// Numbers in its vectors.
    pub dim: usize,
    /// Licence identifier, such as `apache-2.0`, when its own card tells it.
    pub license: Option<String>,
    /// Hugging Face id to name as the base model.
    pub base_model: Option<String>,
}

/// What the student is.
#[derive(Clone, Debug)]
pub struct StudentFacts {
    /// Numbers in its vectors.
    pub dim: usize,
    /// What makes them.
    pub body: StudentBody,
    /// Parameters, embeddings and head included.
    pub parameters: usize,
    /// How much of its start's vocabulary it keeps, when not all.
    pub vocabulary: Option<KeptFacts>,
    /// How much of the feed-forward of its start's layers it keeps, when not all.
    pub feed_forward: Option<KeptNeurons>,
    /// Whether vectors come out with length 1.
    pub normalize: bool,
    /// Shorter prefixes of the vectors that were trained too.
    pub matryoshka_dimensions: Vec<usize>,
}

/// What makes a student's vectors.
#[derive(Clone, Copy, Debug)]
pub enum StudentBody {
    /// A Transformer with a head.
    Transformer {
        /// Its layers.
        layers: usize,
        /// Its width.
        hidden: usize,
        /// Longest text in tokens.
        max_seq_length: usize,
        /// What stands behind the linear map of the head.
        activation: DenseActivation,
    },
    /// A table of vectors, one a token.
    Static {
        /// Rows of the table.
        tokens: usize,
    },
}

/// How the targets were made of the teacher's vectors.
#[derive(Clone, Debug)]
pub enum ProjectionFacts {
    /// By principal components.
    Pca {
        /// Vectors that the PCA was fitted on.
        rows: usize,
        /// Part of the variance that the kept components explain, 0 to 1.
        explained_variance: f64,
        /// Whether the mean is subtracted before the components are applied.
        centred: bool,
    },
    /// By a matrix that started as principal components and was trained to keep neighbours.
    Neighbours {
        /// Vectors that the PCA was fitted on.
        rows: usize,
        /// Shorter vectors that were trained along.
        prefixes: Vec<usize>,
        /// Whether the mean is subtracted before the matrix is applied.
        centred: bool,
    },
    /// By a network that was trained for it.
    Mcr2 {
        /// Vectors that it was trained on.
        rows: usize,
        /// Steps of that training.
        steps: usize,
        /// Clusters that it divided the vectors into.
        clusters: usize,
    },
}

/// What it was trained on.
#[derive(Clone, Debug, Default)]
pub struct DataFacts {
    /// Each source and how many sentences it gave.
    pub sources: Vec<(String, usize)>,
    /// Sentences after cleaning and deduplication.
    pub sentences: usize,
    /// Each source of texts that people say belong together, and how many triplets it gave.
    pub triplets: Vec<(String, usize)>,
    /// Each source of other words for sentences, and how many it gave.
    pub paraphrases: Vec<(String, usize)>,
}

/// How it was trained.
#[derive(Clone, Debug, Default)]
pub struct TrainingFacts {
    /// Name of the recipe.
    pub recipe: String,
    /// The resolved recipe, TOML.
    pub recipe_toml: String,
    /// The loss in one word for the tags, such as `cosine+kl` or `mse`.
    pub loss: String,
    /// Optimiser steps.
    pub steps: usize,
    /// Wall time of the training alone, in seconds.
    pub seconds: f64,
    /// The machine, in words.
    pub machine: String,
}

/// Scores side by side.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// What was measured, one name a column.
    pub columns: Vec<String>,
    /// Model and its scores; `None` where one was not measured.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// Encoding speed.
#[derive(Clone, Debug)]
pub struct Speed {
    /// Sentences encoded in a second.
    pub sentences_per_second: f64,
    /// What was encoded, on which machine, with how many threads.
    pub conditions: String,
}

impl Card {
    /// The README.md.
    pub fn to_markdown(&self) -> String {
        let sections = [
            self.front_matter(),
            self.introduction(),
            self.usage(),
            self.evaluation(),
            self.model_details(),
            self.training_details(),
            CITATION.to_owned(),
        ];
        let sections: Vec<_> = sections.into_iter().filter(|section| !section.is_empty()).collect();
        sections.join("\n")
    }

    fn front_matter(&self) -> String {
        let mut yaml = String::from("---\n");
        for (key, value) in
            [("license", &self.teacher.license), ("base_model", &self.teacher.base_model)]
        {
            if let Some(value) = value {
                yaml += &format!("{key}: {}\n", yaml_text(value));
            }
        }
        yaml += "library_name: sentence-transformers\npipeline_tag: sentence-similarity\ntags:\n";
        for tag in TAGS {
            yaml += &format!("- {tag}\n");
        }
        yaml += &format!("- {}\n", self.student.body.tag());
        yaml += &format!("- dataset_size:{}\n", self.data.sentences);
        yaml += &format!("- {}\n---\n", yaml_text(&format!("loss:{}", self.training.loss)));
        yaml
    }

    fn introduction(&self) -> String {
        let Self { name, teacher, student, .. } = self;
        format!(
            "# {name}\n\n\
             A sentence encoder of {parameters} parameters that gives {dim} numbers per text: a student of \
             `{teacher}` ({teacher_dim} numbers), made with [hpd]({HOMEPAGE}) by Homomorphic Projective \
             Distillation. Its vectors lie in the space of the teacher's, projected to {dim} dimensions, so \
             that documents embedded by the projected teacher can be searched with queries embedded by the \
             student. Compare vectors by their cosine.\n",
            parameters = in_millions(student.parameters),
            dim = student.dim,
            teacher = teacher.name,
            teacher_dim = teacher.dim,
        )
    }

    fn usage(&self) -> String {
        let name = &self.name;
        format!(
            "## Usage\n\n\
             With `hpd`:\n\n\
             ```sh\n\
             hpd embed --model {name} --input sentences.txt --output vectors.npy\n\
             hpd index create --store notes.hpd --model {name} --input notes.jsonl\n\
             hpd search --store notes.hpd 'the fear of spiders'\n\
             ```\n\n\
             With [sentence-transformers](https://www.sbert.net):\n\n\
             ```python\n\
             from sentence_transformers import SentenceTransformer\n\n\
             model = SentenceTransformer(\"{name}\")\n\
             vectors = model.encode([\"A man plays the guitar.\", \"Someone makes music.\"])\n\
             print(vectors.shape)  # (2, {dim})\n\
             print(model.similarity(vectors, vectors))\n\
             ```\n",
            dim = self.student.dim,
        )
    }

    fn evaluation(&self) -> String {
        let mut text = String::new();
        if !self.results.rows.is_empty() {
            text += &format!("## Evaluation\n\n{}", self.results.to_markdown());
        }
        if let Some(speed) = &self.speed {
            let rate = speed.sentences_per_second;
            text += &format!("\nSpeed: {rate:.0} sentences per second ({}).\n", speed.conditions);
        }
        text
    }

    fn model_details(&self) -> String {
        let Self { student, .. } = self;
        let mut text = format!(
            "## Model\n\n```\n{}```\n\n\
             | | |\n|---|---|\n\
             | parameters | {} |\n\
             {}\
             | output dimensions | {} |\n\
             | similarity | cosine |\n",
            self.architecture(),
            in_millions(student.parameters),
            student.body.table_rows(),
            student.dim,
        );
        if let Some(KeptFacts { tokens, of, share }) = student.vocabulary {
            text += &format!(
                "| vocabulary | {tokens} of {of} tokens, which make up {:.2} % of the training text |\n",
                share * 100.0
            );
        }
        if let Some(KeptNeurons { neurons, of }) = student.feed_forward {
            text += &format!("| feed-forward | {neurons} of {of} neurons in each layer |\n");
        }
        if !student.matryoshka_dimensions.is_empty() {
            let prefixes: Vec<_> =
                student.matryoshka_dimensions.iter().map(ToString::to_string).collect();
            text += &format!("| shorter prefixes trained | {} |\n", prefixes.join(", "));
        }
        text
    }

    /// The modules in the order in which a text passes them.
    fn architecture(&self) -> String {
        let mut modules = self.student.body.modules(self.student.dim);
        modules.extend(self.student.normalize.then(|| "Normalize()".to_owned()));
        let lines = modules.iter().enumerate();
        lines.map(|(index, module)| format!("({index}): {module}\n")).collect()
    }

    fn training_details(&self) -> String {
        let Self { projection, data, training, .. } = self;
        let mut text = format!("## Training\n\n{} sentences, without labels", data.sentences);
        list(&mut text, &data.sources);
        if !data.triplets.is_empty() {
            let count: usize = data.triplets.iter().map(|source| source.1).sum();
            let _ = write!(
                text,
                ".\n\nSupervised: {count} pairs and triplets that people made, which the student also learnt to tell \
                 apart"
            );
            list(&mut text, &data.triplets);
        }
        if !data.paraphrases.is_empty() {
            let count: usize = data.paraphrases.iter().map(|source| source.1).sum();
            let _ = write!(
                text,
                ".\n\n{count} paraphrases, each of which learnt the teacher's vector of its sentence"
            );
            list(&mut text, &data.paraphrases);
        }
        let _ = write!(
            text,
            ".\n\nTargets: the teacher's vectors, {projection}.\n\n\
             Recipe `{}`, {} steps in {} on {}:\n\n```toml\n{}\n```\n",
            training.recipe,
            training.steps,
            duration(training.seconds),
            training.machine,
            training.recipe_toml.trim_end(),
        );
        text
    }
}

/// Appends sources with their counts.
fn list(text: &mut String, sources: &[(String, usize)]) {
    for (index, (source, count)) in sources.iter().enumerate() {
        let joint = if index == 0 { ": " } else { ", " };
        let _ = write!(text, "{joint}{source} ({count})");
    }
}

impl StudentBody {
    /// The modules in front of Normalize.
    fn modules(self, dim: usize) -> Vec<String> {
        match self {
            Self::Transformer { layers, hidden, max_seq_length, activation } => vec![
                format!(
                    "Transformer({layers} layers, width {hidden}, at most {max_seq_length} tokens)"
                ),
                "Pooling(mean)".to_owned(),
                format!("Dense({hidden} -> {dim}, {activation:?})"),
            ],
            Self::Static { tokens } => {
                vec![format!("StaticEmbedding({tokens} tokens, width {dim})")]
            }
        }
    }

    /// Rows of the table of facts that only such a student has.
    fn table_rows(self) -> String {
        match self {
            Self::Transformer { layers, hidden, max_seq_length, .. } => format!(
                "| layers × width | {layers} × {hidden} |\n| longest text | {max_seq_length} tokens |\n"
            ),
            Self::Static { tokens } => {
                format!(
                    "| layers | none: the mean of {tokens} tokens' learnt vectors |\n| longest text | any |\n"
                )
            }
        }
    }

    /// What else can serve it, or what it is.
    fn tag(self) -> &'static str {
        match self {
            Self::Transformer { .. } => "text-embeddings-inference",
            Self::Static { .. } => "static-embeddings",
        }
    }
}

impl fmt::Display for ProjectionFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subtracted = |centred| if centred { "subtracted" } else { "not subtracted" };
        match self {
            &Self::Pca { rows, explained_variance, centred } => write!(
                f,
                "projected by a PCA fitted on {rows} of them, which keeps {:.2} % of the variance; the mean is {}",
                explained_variance * 100.0,
                subtracted(centred),
            ),
            Self::Neighbours { rows, prefixes, centred } => {
                let and = |prefix: &usize| format!(" and their first {prefix} numbers");
                let prefixes: String = prefixes.iter().map(and).collect();
                write!(
                    f,
                    "projected by a matrix that was a PCA fitted on {rows} of them and then trained so that vectors{prefixes} \
                     keep their neighbours; the mean is {}",
                    subtracted(*centred),
                )
            }
            Self::Mcr2 { rows, steps, clusters } => write!(
                f,
                "mapped by a network of three layers that was trained on {rows} of them by maximal coding rate \
                 reduction ([Severdija et al. 2023](https://arxiv.org/abs/2304.12674)), {steps} steps, {clusters} clusters"
            ),
        }
    }
}

impl Results {
    fn to_markdown(&self) -> String {
        let mut table = format!("| model | {} |\n|---|", self.columns.join(" | "));
        table += &"---:|".repeat(self.columns.len());
        table.push('\n');
        for (model, scores) in &self.rows {
            let scores: Vec<_> = scores.iter().map(|score| score_text(*score)).collect();
            table += &format!("| {model} | {} |\n", scores.join(" | "));
        }
        table
    }
}

fn score_text(score: Option<f64>) -> String {
    score.map_or_else(|| "–".to_owned(), |score| format!("{score:.2}"))
}

fn in_millions(count: usize) -> String {
    format!("{:.1}M", count as f64 / 1e6)
}

fn duration(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} seconds"),
        ..5400.0 => format!("{:.0} minutes", seconds / 60.0),
        _ => format!("{:.1} hours", seconds / 3600.0),
    }
}

/// A YAML scalar: JSON strings are YAML strings.
fn yaml_text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    if text.starts_with(char::is_alphanumeric) && text.chars().all(plain) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

const HOMEPAGE: &str = env!("CARGO_PKG_REPOSITORY");

const TAGS: [&str; 5] = [
    "sentence-transformers",
    "sentence-similarity",
    "feature-extraction",
    "dense",
    "knowledge-distillation",
];

const CITATION: &str = "\
## Citation

The method:

```bibtex
@inproceedings{zhao2022hpd,
  title     = {Compressing Sentence Representation for Semantic Retrieval via Homomorphic Projective Distillation},
  author    = {Zhao, Xuandong and Yu, Zhiguo and Wu, Ming and Li, Lei},
  booktitle = {Findings of the Association for Computational Linguistics: ACL 2022},
  pages     = {774--781},
  year      = {2022},
  eprint    = {2203.07687},
  eprinttype = {arXiv}
}
```
";

/// What the YAML front matter of a README.md says under `key`, when it says it on one line.
pub fn front_matter_value(readme: &str, key: &str) -> Option<String> {
    let yaml = readme.strip_prefix("---")?.split("\n---").next()?;
    let value = yaml.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty() && !value.starts_with(['[', '{', '|', '>'])).then(|| value.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn card() -> Card {
        Card {
            name: "small".to_owned(),
            teacher: TeacherFacts {
                name: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
                dim: 384,
                license: Some("apache-2.0".to_owned()),
                base_model: Some("sentence-transformers/all-MiniLM-L6-v2".to_owned()),
            },
            student: StudentFacts {
                dim: 128,
                body: StudentBody::Transformer {
                    layers: 3,
                    hidden: 384,
                    max_seq_length: 256,
                    activation: DenseActivation::Identity,
                },
                parameters: 17_300_000,
                vocabulary: None,
                feed_forward: None,
                normalize: true,
                matryoshka_dimensions: vec![32, 64],
            },
            projection: ProjectionFacts::Pca {
                rows: 40_000,
                explained_variance: 0.8125,
                centred: false,
            },
            data: DataFacts {
                sources: vec![("nli.txt".to_owned(), 300), ("wiki.txt".to_owned(), 100)],
                sentences: 400,
                triplets: Vec::new(),
                paraphrases: Vec::new(),
            },
            training: TrainingFacts {
                recipe: "hpd".to_owned(),
                recipe_toml: "epochs = 1\n".to_owned(),
                loss: "cosine+kl".to_owned(),
                steps: 4,
                seconds: 960.0,
                machine: "2 cores".to_owned(),
            },
            results: Results {
                columns: vec!["STS-B".to_owned(), "quora".to_owned()],
                rows: vec![
                    ("teacher".to_owned(), vec![Some(82.03), Some(94.49)]),
                    ("student".to_owned(), vec![Some(81.5), None]),
                ],
            },
            speed: None,
        }
    }

    #[test]
    fn front_matter_is_what_hugging_face_reads() {
        let markdown = card().to_markdown();
        assert!(
            markdown.starts_with("---\nlicense: apache-2.0\nbase_model: sentence-transformers/")
        );
        assert_eq!(front_matter_value(&markdown, "license").as_deref(), Some("apache-2.0"));
        assert_eq!(
            front_matter_value(&markdown, "library_name").as_deref(),
            Some("sentence-transformers")
        );
        assert!(markdown.contains("- dataset_size:400\n- \"loss:cosine+kl\"\n---\n"));
    }

    #[test]
    fn scores_stand_in_one_table_and_gaps_show() {
        let markdown = card().to_markdown();
        let table = "| model | STS-B | quora |\n|---|---:|---:|\n\
                     | teacher | 82.03 | 94.49 |\n| student | 81.50 | – |\n";
        assert!(markdown.contains(table), "{markdown}");
    }

    #[test]
    fn card_tells_data_targets_recipe_and_time() {
        let markdown = card().to_markdown();
        for words in [
            "400 sentences, without labels: nli.txt (300), wiki.txt (100).",
            "fitted on 40000 of them, which keeps 81.25 % of the variance; the mean is not subtracted",
            "Recipe `hpd`, 4 steps in 16 minutes on 2 cores:\n\n```toml\nepochs = 1\n```\n",
            "(2): Dense(384 -> 128, Identity)\n(3): Normalize()\n",
            "| shorter prefixes trained | 32, 64 |",
        ] {
            assert!(markdown.contains(words), "{words} is missing in\n{markdown}");
        }
    }

    #[test]
    fn card_tells_of_a_trained_map_what_it_was_trained_on() {
        let projection = ProjectionFacts::Mcr2 { rows: 400, steps: 30, clusters: 8 };
        let markdown = Card { projection, ..card() }.to_markdown();
        let words = "trained on 400 of them by maximal coding rate reduction ([Severdija et al. 2023]\
                     (https://arxiv.org/abs/2304.12674)), 30 steps, 8 clusters.\n";
        assert!(markdown.contains(words), "{markdown}");
    }

    #[test]
    fn card_tells_how_much_of_the_vocabulary_is_kept() {
        assert!(!card().to_markdown().contains("| vocabulary |"));
        let mut card = card();
        card.student.vocabulary = Some(KeptFacts { tokens: 8000, of: 30_522, share: 0.97853 });
        let row =
            "| vocabulary | 8000 of 30522 tokens, which make up 97.85 % of the training text |\n";
        assert!(card.to_markdown().contains(row), "{}", card.to_markdown());
    }

    #[test]
    fn card_tells_how_much_of_the_feed_forward_is_kept() {
        assert!(!card().to_markdown().contains("| feed-forward |"));
        let mut card = card();
        card.student.feed_forward = Some(KeptNeurons { neurons: 768, of: 1536 });
        let row = "| feed-forward | 768 of 1536 neurons in each layer |\n";
        assert!(card.to_markdown().contains(row), "{}", card.to_markdown());
    }

    #[test]
    fn a_card_without_results_has_no_empty_table() {
        let mut card = card();
        card.results = Results::default();
        assert!(!card.to_markdown().contains("## Evaluation"));
    }

    #[test]
    fn front_matter_values_are_read_only_from_the_front() {
        let readme = "---\nlicense: mit\ntags:\n- a\nlanguage: [en]\n---\nbase_model: no\n";
        assert_eq!(front_matter_value(readme, "license").as_deref(), Some("mit"));
        assert_eq!(front_matter_value(readme, "language"), None);
        assert_eq!(front_matter_value(readme, "tags"), None);
        assert_eq!(front_matter_value(readme, "base_model"), None);
        assert_eq!(front_matter_value("license: mit", "license"), None);
    }

    #[test]
    fn yaml_quotes_what_is_not_plain() {
        assert_eq!(yaml_text("apache-2.0"), "apache-2.0");
        assert_eq!(yaml_text("a: b\"c"), "\"a: b\\\"c\"");
        assert_eq!(yaml_text("- x"), "\"- x\"");
    }
}
