//! How a teacher's vectors become targets: by PCA, or by the map that MCR² trained.
//!
//! A run has one projection. It makes the targets, names the space that student and projected teacher share, and, when
//! it is a matrix, starts the student's head. Whoever needs one of these asks here and not which kind it is.

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use hpd_eval::pca::Origin;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Progress, Result};

use crate::card::ProjectionFacts;
use crate::mcr2::{self, Mcr2};
use crate::pca::{Center, Pca};
use crate::recipe::{ProjectionKind, Recipe};
use crate::sentences::Sentences;
use crate::shards::TeacherVectors;

/// Name of a fitted PCA in a run's folder.
pub const PCA_FILE: &str = "pca.safetensors";

/// How a teacher's vectors become targets.
#[derive(Clone, Debug, PartialEq)]
pub enum Projection {
    /// By principal components, from vectors as they are or centred.
    Pca(Pca, Center),
    /// By a network.
    Mcr2(Mcr2),
}

impl Projection {
    /// Makes the projection that `recipe` asks for of the teacher's vectors of training sentences, drawn by the seed,
    /// and keeps it in `folder`. A network that is there already, trained on the same, is taken as it is.
    ///
    /// # Errors
    /// As [`Pca::fit`] and [`Mcr2::train`], or when the disk is full.
    pub fn of(
        recipe: &Recipe,
        teacher: &str,
        sentences: &Sentences,
        vectors: &TeacherVectors,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let rows = sentences.sample(recipe.pca_rows, recipe.seed);
        let copy = |i: usize, numbers: &mut [f32]| vectors.copy_row(rows[i] as usize, numbers);
        match recipe.projection.kind {
            ProjectionKind::Pca => {
                progress.stage("fitting PCA", None);
                let pca = Pca::fit(rows.len(), vectors.dim(), recipe.dim, copy)?;
                progress.note(&format!(
                    "PCA of {} vectors: {} of {} dimensions explain {:.1} % of the variance",
                    rows.len(),
                    recipe.dim,
                    vectors.dim(),
                    pca.explained_ratio() * 100.0
                ));
                let pca = pca.of(teacher, sentences.fingerprint());
                pca.save(&folder.join(PCA_FILE))?;
                Ok(Self::Pca(pca, recipe.center))
            }
            ProjectionKind::Mcr2 => {
                let (teacher, sentences) =
                    (teacher.to_owned(), sentences.fingerprint().to_string());
                let origin = Origin { teacher, sentences, rows: rows.len() };
                let path = folder.join(mcr2::FILE);
                if path.exists() {
                    let map = Mcr2::load(&path)?;
                    if *map.origin() == origin {
                        return Ok(Self::Mcr2(map));
                    }
                }
                let widths = [vectors.dim(), recipe.dim];
                let map =
                    Mcr2::train(&recipe.projection, widths, recipe.seed, origin, copy, progress)?;
                map.save(&path)?;
                Ok(Self::Mcr2(map))
            }
        }
    }

    /// Reads the projection of the run in `folder`, whose recipe is `recipe`.
    ///
    /// # Errors
    /// When its file is missing or damaged.
    pub fn load(folder: &Path, recipe: &Recipe) -> Result<Self> {
        Ok(match recipe.projection.kind {
            ProjectionKind::Pca => Self::Pca(Pca::load(&folder.join(PCA_FILE))?, recipe.center),
            ProjectionKind::Mcr2 => Self::Mcr2(Mcr2::load(&folder.join(mcr2::FILE))?),
        })
    }

    /// What the projected teacher is called in a table of scores.
    pub fn row(&self) -> String {
        let name = match self {
            Self::Pca(..) => "PCA",
            Self::Mcr2(_) => "MCR²",
        };
        format!("teacher + {name}")
    }

    /// What it was made of.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Pca(pca, _) => pca.origin(),
            Self::Mcr2(map) => map.origin(),
        }
    }

    /// The targets of `vectors`, before they are brought to length 1 where the recipe does that.
    ///
    /// # Errors
    /// When the vectors have another width or hold NaN or infinity.
    pub fn project(&self, vectors: &Matrix) -> Result<Matrix> {
        match self {
            Self::Pca(pca, center) => pca.project(vectors, *center),
            Self::Mcr2(map) => map.project(vectors),
        }
    }

    /// The same from tensor to tensor, in f32 and on the device of the vectors.
    pub fn on_tensors(&self) -> Box<dyn Fn(Tensor<2>) -> Tensor<2> + '_> {
        match self {
            Self::Pca(pca, center) => {
                let (components, center) = (pca.components(), *center);
                let mean = Matrix { data: pca.mean(), dim: pca.width() };
                Box::new(move |vectors| {
                    let on_device = |matrix: &Matrix| {
                        let data = TensorData::new(matrix.data.clone(), [matrix.len(), matrix.dim]);
                        Tensor::<2>::from_data(data, &vectors.device())
                    };
                    let components = on_device(&components);
                    let vectors = match center {
                        Center::None => vectors,
                        Center::Mean => vectors.clone() - on_device(&mean),
                    };
                    vectors.matmul(components.transpose())
                })
            }
            Self::Mcr2(map) => Box::new(map.on_tensors()),
        }
    }

    /// The matrix that a student's head can start as, `[dim, teacher_dim]`.
    ///
    /// # Errors
    /// When the projection is a network.
    pub fn components(&self) -> Result<Matrix> {
        match self {
            Self::Pca(pca, _) => Ok(pca.components()),
            Self::Mcr2(_) => {
                Err(Error::input("a head cannot start as an MCR² map, which is no matrix")
                    .hint("--set head.start=random"))
            }
        }
    }

    /// Its numbers and what is subtracted before it, which name the space of the targets.
    pub fn numbers(&self) -> (Vec<f32>, Vec<f32>) {
        match self {
            Self::Pca(pca, Center::None) => (pca.components().data, Vec::new()),
            Self::Pca(pca, Center::Mean) => (pca.components().data, pca.mean()),
            Self::Mcr2(map) => (map.numbers(), Vec::new()),
        }
    }

    /// What a model card tells of it.
    pub fn facts(&self, recipe: &Recipe) -> ProjectionFacts {
        let rows = self.origin().rows;
        match self {
            Self::Pca(pca, center) => ProjectionFacts::Pca {
                rows,
                explained_variance: pca.explained_ratio(),
                centred: *center == Center::Mean,
            },
            Self::Mcr2(_) => ProjectionFacts::Mcr2 {
                rows,
                steps: recipe.projection.steps,
                clusters: recipe.projection.clusters,
            },
        }
    }
}
