//! What encoding gives back.

use hpd_files::vectors::Matrix;

/// One vector per text, in the order of the texts.
#[derive(Clone, Debug)]
pub struct Embeddings {
    /// `[texts, dim]`.
    pub rows: Matrix,
    /// Texts that were longer than the model takes and lost their end.
    pub truncated: usize,
    /// Tokens that were encoded, special ones included.
    pub tokens: usize,
}
