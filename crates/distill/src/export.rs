//! From a trained student to the model folder that carries it out of this room.
//!
//! Training and inference meet only in that folder. What is decided here is its identity: which space the
//! vectors belong to, and what `hpd.json` tells of the student's making.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hpd_encoder::Identity;
use hpd_encoder::tensor::Tensor;
use hpd_encoder::writer::{Encoder, ModelFolder, Module};
use hpd_files::fingerprint::Fingerprinter;
use hpd_files::{Fingerprint, Result};
use serde_json::{Map, Value, json};

use crate::card::{Card, TeacherFacts, front_matter_value};

/// A trained student, out of the training backend.
#[derive(Clone, Debug)]
pub struct TrainedStudent {
    /// What stands in front of the head.
    pub encoder: Encoder,
    /// Its tensors by their Hugging Face names.
    pub tensors: Vec<Tensor>,
    /// What follows, as far as it is no part of the table of a static student.
    pub head: Vec<Module>,
    /// Folder whose tokenizer files the student takes over.
    pub tokenizer_from: PathBuf,
    /// Words in front of texts, by name, as the student was trained with them.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is used when none is named.
    pub default_prompt_name: Option<String>,
}

/// The space that the targets span: two students with equal spaces give comparable vectors.
#[derive(Clone, Copy, Debug)]
pub struct Space<'a> {
    /// Fingerprint of the teacher: its weights, or the file of its vectors, or its endpoint and model name.
    pub teacher: &'a str,
    /// Components of the PCA, `[dim, teacher dim]`, row-major, or all numbers of another map.
    pub projection: &'a [f32],
    /// Numbers in a target.
    pub dim: usize,
    /// What is subtracted before the projection, `[teacher dim]`; empty when nothing is.
    pub center: &'a [f32],
}

impl Space<'_> {
    /// The name of the space.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprinter::new()
            .add_part(self.teacher.as_bytes())
            .add_part(bytemuck::cast_slice(self.projection))
            .add_part(&(self.dim as u64).to_le_bytes())
            .add_part(bytemuck::cast_slice(self.center))
            .finish()
    }
}

/// Writes the student's folder with its card and tells its identity. Its Matryoshka prefixes are taken from the
/// card.
///
/// # Errors
/// When shapes disagree, a number is not finite, the tokenizer is missing, `output` is there already and
/// `replace` is off, or the disk is full.
pub fn write(
    student: TrainedStudent,
    space: &Space<'_>,
    card: &Card,
    output: &Path,
    replace: bool,
) -> Result<Identity> {
    let mut encoder = student.encoder;
    let mut about = about(card);
    if !card.student.matryoshka_dimensions.is_empty() {
        let dimensions = json!(card.student.matryoshka_dimensions);
        if let Encoder::Transformer(modules) = &mut encoder {
            // vLLM and SGLang look for it in the config.
            modules.config.insert("matryoshka_dimensions".to_owned(), dimensions.clone());
        }
        about.insert("matryoshka_dimensions".to_owned(), dimensions);
    }
    let folder = ModelFolder {
        encoder,
        tensors: student.tensors,
        head: student.head,
        prompts: student.prompts,
        default_prompt_name: student.default_prompt_name,
        tokenizer_from: student.tokenizer_from,
        space: Some(space.fingerprint().to_string()),
        about,
        readme: card.to_markdown(),
    };
    folder.write(output, replace)
}

/// What `hpd.json` says besides the identity.
fn about(card: &Card) -> Map<String, Value> {
    let mut about = Map::new();
    about.insert("teacher".to_owned(), card.teacher.name.clone().into());
    about.insert("recipe".to_owned(), card.training.recipe.clone().into());
    about
}

/// What the card tells of a teacher that is a model folder: licence and base model are carried over from its
/// README.md. `id` is its Hugging Face id, when it was named by one.
pub fn teacher_facts(folder: &Path, id: Option<&str>, dim: usize) -> TeacherFacts {
    // A teacher without a readable card is no reason to lose a trained student.
    let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    let folder_name = || folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into();
    TeacherFacts {
        name: id.map_or_else(folder_name, str::to_owned),
        dim,
        license: front_matter_value(&readme, "license"),
        base_model: id.map(str::to_owned).or_else(|| front_matter_value(&readme, "base_model")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::tests::card;
    use hpd_encoder::writer::{Dense, TransformerModules};
    use hpd_encoder::{DenseActivation, Pooling};

    const SPACE: Space<'_> =
        Space { teacher: "a teacher", projection: &[1.0, 0.0], dim: 1, center: &[] };

    fn student(source: &Path) -> TrainedStudent {
        fs::write(source.join("tokenizer.json"), "{}").unwrap();
        TrainedStudent {
            encoder: Encoder::Transformer(TransformerModules {
                config: json!({ "hidden_size": 2 }).as_object().unwrap().clone(),
                pooling: Pooling::mean(),
                max_seq_length: 64,
                do_lower_case: false,
            }),
            tensors: vec![],
            head: vec![Module::Dense(Dense {
                weight: vec![0.5, 0.5],
                bias: None,
                in_features: 2,
                out_features: 1,
                activation: DenseActivation::Identity,
            })],
            tokenizer_from: source.to_owned(),
            prompts: BTreeMap::new(),
            default_prompt_name: None,
        }
    }

    #[test]
    fn folder_tells_teacher_recipe_space_and_prefixes() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("student");
        let identity = write(student(dir.path()), &SPACE, &card(), &output, false).unwrap();
        assert_eq!(identity.space, SPACE.fingerprint().to_string());
        let read = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(output.join(name)).unwrap()).unwrap()
        };
        let about = read("hpd.json");
        assert_eq!(about["format"], 1);
        assert_eq!(about["dim"], 1);
        assert_eq!(about["space"], identity.space);
        assert_eq!(about["teacher"], "sentence-transformers/all-MiniLM-L6-v2");
        assert_eq!(about["recipe"], "hpd");
        assert_eq!(about["matryoshka_dimensions"], json!([32, 64]));
        assert_eq!(read("config.json")["matryoshka_dimensions"], json!([32, 64]));
        assert!(fs::read_to_string(output.join("README.md")).unwrap().contains("# small"));
    }

    #[test]
    fn space_depends_on_teacher_projection_and_centre_alone() {
        let space = SPACE.fingerprint();
        assert_eq!(space, Space { ..SPACE }.fingerprint());
        for other in [
            Space { teacher: "another", ..SPACE },
            Space { projection: &[0.0, 1.0], ..SPACE },
            Space { center: &[0.0, 0.0], ..SPACE },
            Space { dim: 2, ..SPACE },
        ] {
            assert_ne!(space, other.fingerprint());
        }
    }

    #[test]
    fn licence_and_base_model_come_from_the_teachers_card() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(teacher_facts(dir.path(), None, 8).license, None);
        let readme = "---\nlicense: mit\nbase_model: org/base\n---\n# Teacher\n";
        fs::write(dir.path().join("README.md"), readme).unwrap();
        let facts = teacher_facts(dir.path(), None, 8);
        assert_eq!(facts.license.as_deref(), Some("mit"));
        assert_eq!(facts.base_model.as_deref(), Some("org/base"));
        let facts = teacher_facts(dir.path(), Some("org/teacher"), 8);
        assert_eq!(
            (facts.name.as_str(), facts.base_model.as_deref()),
            ("org/teacher", Some("org/teacher"))
        );
    }
}
