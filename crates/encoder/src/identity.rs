//! Which vectors may be compared with which.

use hpd_files::Result;
use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::weights::Weights;
use crate::{json, tensor};

/// What `hpd.json` in a model folder says; a folder without it is a space of its own, named by its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Fingerprint of the tensors: names, shapes, types and bytes.
    pub weights: String,
    /// Names the space: vectors of models with the same `space` may be compared.
    pub space: String,
}

impl Identity {
    /// Of a folder's tensors: the Transformer's, then each Dense module's; of a folder with two models those of the one
    /// for documents first. It is what the writer puts into `hpd.json`, whether the tensors lie in one file or in shards.
    ///
    /// # Cost
    /// Reads all the bytes.
    pub fn of_tensors<'a>(modules: impl IntoIterator<Item = &'a Weights>) -> Self {
        let stored = modules.into_iter().flat_map(Weights::stored);
        let weights = tensor::fingerprint(stored).to_string();
        Self { space: weights.clone(), weights }
    }

    /// The one that the folder's `hpd.json` gives, if there is such a file.
    pub(crate) fn written(folder: &Folder) -> Result<Option<Self>> {
        json::read_if_present(&folder.path.join("hpd.json"))
    }
}
