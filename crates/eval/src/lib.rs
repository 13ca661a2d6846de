//! How good is a model: sentence similarity, retrieval, classification and speed, with provenance.
//!
//! `folder ─tasks─> Pairs | Collection | Set ─texts─> Model ─vectors─> Scores ─report─> table, JSON`
//!
//! Everything that scores takes vectors, not models: [`sts::score`], [`retrieval::score`] and [`classification::score`] serve a student in
//! the middle of its training as well as an opened folder. Only [`evaluation`] and [`speed`] know of models;
//! [`search_speed`] searches the vectors that they gave. The room is apart
//! from training, so that a build for search can still measure what it serves.

pub mod classification;
pub mod correlation;
pub mod course;
pub mod evaluation;
mod files;
mod lbfgs;
pub mod page;
pub mod pca;
pub mod probe;
pub mod provenance;
pub mod ranking;
pub mod report;
pub mod retrieval;
mod scan;
pub mod search_speed;
pub mod speed;
pub mod sts;
pub mod tasks;
pub mod tsv;
