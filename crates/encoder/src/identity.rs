//! Which vectors may be compared with which.

use serde::{Deserialize, Serialize};

/// What `hpd.json` in a model folder says; a folder without it is a space of its own, named by its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Fingerprint of the tensors.
    pub weights: String,
    /// Names the space: vectors of models with the same `space` may be compared.
    pub space: String,
}
