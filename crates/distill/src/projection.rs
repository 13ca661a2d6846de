//! How a teacher's vectors become targets: by PCA, by PCA refined to keep neighbours, or by the map that MCR² trained.
//!
//! A run has one projection. It makes the targets, names the space that student and projected teacher share, and, when
//! it is a matrix, starts the student's head. Whoever needs one of these asks here and not which kind it is.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use hpd_eval::pca::Origin;
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Fingerprint, Progress, Result};

use crate::card::ProjectionFacts;
use crate::mcr2::{self, Mcr2};
use crate::neighbours::{self, Examples};
use crate::pca::{Center, Pca};
use crate::recipe::{ProjectionKind, Recipe};
use crate::sentences::Sentences;
use crate::shards::{TeacherCard, TeacherVectors};

/// Name of a fitted PCA in a run's folder.
const PCA_FILE: &str = "pca.safetensors";

/// How a teacher's vectors become targets.
#[derive(Clone, Debug, PartialEq)]
pub enum Projection {
    /// By principal components, from vectors as they are or centred.
    Pca(Pca, Center),
    /// By a matrix that was principal components and was trained to keep neighbours.
    Neighbours(Pca, Center),
    /// By a network.
    Mcr2(Mcr2),
}

fn on_device(matrix: &Matrix, device: &Device) -> Tensor<2> {
    let data = TensorData::new(matrix.data.clone(), [matrix.len(), matrix.dim]);
    Tensor::from_data(data, device)
}

impl Projection {
    /// Makes the projection that `recipe` asks for of the teacher's vectors of training sentences, drawn by the seed. A
    /// network that is in `folder` already, trained on the same, is taken as it is.
    ///
    /// # Errors
    /// As [`Pca::fit`] and [`Mcr2::train`], or when what is there is damaged.
    pub fn of(
        recipe: &Recipe,
        teacher: &TeacherCard,
        sentences: &Sentences,
        vectors: &TeacherVectors,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let rows = sentences.sample(recipe.pca_rows, recipe.seed);
        let copy = |i: usize, numbers: &mut [f32]| vectors.copy_row(rows[i] as usize, numbers);
        match recipe.projection.kind {
            ProjectionKind::Pca | ProjectionKind::Neighbours => {
                progress.stage("fitting PCA", None);
                let pca = Pca::fit(rows.len(), vectors.dim(), recipe.dim, copy)?;
                progress.note(&format!(
                    "PCA of {} vectors: {} of {} dimensions explain {:.1} % of the variance",
                    rows.len(),
                    recipe.dim,
                    vectors.dim(),
                    pca.explained_ratio() * 100.0
                ));
                let pca = pca.of(&teacher.fingerprint, sentences.fingerprint());
                if recipe.projection.kind == ProjectionKind::Pca {
                    return Ok(Self::Pca(pca, recipe.center));
                }
                let path = folder.join(PCA_FILE);
                if path.exists() {
                    let refined = Pca::load(&path)?;
                    if refined.origin() == pca.origin() {
                        return Ok(Self::Neighbours(refined, recipe.center));
                    }
                }
                let components = refined(recipe, &pca, sentences, vectors, progress)?;
                Ok(Self::Neighbours(pca.with_components(&components), recipe.center))
            }
            ProjectionKind::Mcr2 => {
                let origin = Origin {
                    teacher: teacher.fingerprint.clone(),
                    sentences: sentences.fingerprint().to_string(),
                    rows: rows.len(),
                };
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
                Ok(Self::Mcr2(map))
            }
        }
    }

    /// Keeps it in a run's folder.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn save(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Pca(pca, _) | Self::Neighbours(pca, _) => pca.save(&folder.join(PCA_FILE)),
            Self::Mcr2(map) => map.save(&folder.join(mcr2::FILE)),
        }
    }

    /// Reads a projection of the kind that `recipe` asks for: that of a run's folder, or a file of one.
    ///
    /// # Errors
    /// When the file is missing, damaged or of another kind.
    pub fn load(path: &Path, recipe: &Recipe) -> Result<Self> {
        let file = |name| if path.is_dir() { path.join(name) } else { path.to_owned() };
        Ok(match recipe.projection.kind {
            ProjectionKind::Pca => Self::Pca(Pca::load(&file(PCA_FILE))?, recipe.center),
            ProjectionKind::Neighbours => {
                Self::Neighbours(Pca::load(&file(PCA_FILE))?, recipe.center)
            }
            ProjectionKind::Mcr2 => Self::Mcr2(Mcr2::load(&file(mcr2::FILE))?),
        })
    }

    /// Numbers in a target.
    pub fn dimensions(&self) -> usize {
        match self {
            Self::Pca(pca, _) | Self::Neighbours(pca, _) => pca.dimensions(),
            Self::Mcr2(map) => map.dimensions(),
        }
    }

    /// Names it, bit by bit.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Pca(pca, _) | Self::Neighbours(pca, _) => pca.fingerprint(),
            Self::Mcr2(map) => Fingerprint::of(bytemuck::cast_slice(&map.numbers())),
        }
    }

    /// What the projected teacher is called in a table of scores.
    pub fn row(&self) -> String {
        let name = match self {
            Self::Pca(..) => "PCA",
            Self::Neighbours(..) => "matrix",
            Self::Mcr2(_) => "MCR²",
        };
        format!("teacher + {name}")
    }

    /// What it was made of.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Pca(pca, _) | Self::Neighbours(pca, _) => pca.origin(),
            Self::Mcr2(map) => map.origin(),
        }
    }

    /// The targets of `vectors`, before they are brought to length 1 where the recipe does that.
    ///
    /// # Errors
    /// When the vectors have another width or hold NaN or infinity.
    pub fn project(&self, vectors: &Matrix) -> Result<Matrix> {
        match self {
            Self::Pca(pca, center) | Self::Neighbours(pca, center) => pca.project(vectors, *center),
            Self::Mcr2(map) => map.project(vectors),
        }
    }

    /// The same from tensor to tensor, in f32 and on the device of the vectors, which come [centred](Self::centred).
    pub fn on_tensors(&self) -> Box<dyn Fn(Tensor<2>) -> Tensor<2> + '_> {
        match self {
            Self::Pca(pca, _) | Self::Neighbours(pca, _) => {
                let components = pca.components();
                Box::new(move |vectors| {
                    let components = on_device(&components, &vectors.device());
                    vectors.matmul(components.transpose())
                })
            }
            Self::Mcr2(map) => Box::new(map.on_tensors()),
        }
    }

    /// What is taken from the teacher's vectors before they are projected and before their neighbours are looked at:
    /// from tensor to tensor, on the device of the vectors.
    pub fn centred(&self) -> Box<dyn Fn(Tensor<2>) -> Tensor<2>> {
        match self {
            Self::Pca(pca, Center::Mean) | Self::Neighbours(pca, Center::Mean) => {
                let mean = Matrix { data: pca.mean(), dim: pca.width() };
                Box::new(move |vectors| {
                    let mean = on_device(&mean, &vectors.device());
                    vectors - mean
                })
            }
            Self::Pca(_, Center::None) | Self::Neighbours(_, Center::None) | Self::Mcr2(_) => {
                Box::new(|vectors| vectors)
            }
        }
    }

    /// The matrix that a student's head can start as, `[dim, teacher_dim]`.
    ///
    /// # Errors
    /// When the projection is a network.
    pub fn components(&self) -> Result<Matrix> {
        match self {
            Self::Pca(pca, _) | Self::Neighbours(pca, _) => Ok(pca.components()),
            Self::Mcr2(_) => {
                Err(Error::input("a head cannot start as an MCR² map, which is no matrix")
                    .hint("--set head.start=random"))
            }
        }
    }

    /// Its numbers and what is subtracted before it, which name the space of the targets.
    pub fn numbers(&self) -> (Vec<f32>, Vec<f32>) {
        match self {
            Self::Pca(pca, center) | Self::Neighbours(pca, center) => {
                let mean = if *center == Center::Mean { pca.mean() } else { Vec::new() };
                (pca.components().data, mean)
            }
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
            Self::Neighbours(_, center) => ProjectionFacts::Neighbours {
                rows,
                prefixes: recipe.projection.prefixes(recipe.dim).collect(),
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

/// The components of `pca`, trained to keep neighbours on as many of the teacher's vectors as the steps can see. As in fitting
/// PCA, the mean is taken away here whatever is done with it later: no direction is spent on it.
fn refined(
    recipe: &Recipe,
    pca: &Pca,
    sentences: &Sentences,
    vectors: &TeacherVectors,
    progress: &dyn Progress,
) -> Result<Vec<f32>> {
    let most = recipe.projection.steps.saturating_mul(recipe.projection.batch_size);
    let rows = sentences.sample(most, recipe.seed);
    let mean = pca.mean();
    let row = |i: usize, numbers: &mut [f32]| {
        vectors.copy_row(rows[i] as usize, numbers);
        numbers.iter_mut().zip(&mean).for_each(|(number, mean)| *number -= mean);
    };
    let examples = Examples { count: rows.len(), width: vectors.dim(), row: &row };
    neighbours::refine(recipe, pca.components().data, &examples, progress)
}
