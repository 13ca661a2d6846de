//! Which vectors may be compared with which.

use hpd_files::Result;
use hpd_files::fingerprint::Fingerprinter;
use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::json;
use crate::weights::Weights;

/// What `hpd.json` in a model folder says; a folder without it is a space of its own, named by its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Fingerprint of the tensors.
    pub weights: String,
    /// Names the space: vectors of models with the same `space` may be compared.
    pub space: String,
}

impl Identity {
    /// Of a folder's tensor files: the Transformer's, then each Dense module's, each with its length in front.
    ///
    /// # Cost
    /// Reads all the bytes.
    pub fn of_tensors(files: &[Weights]) -> Self {
        let mut fingerprinter = Fingerprinter::new();
        files.iter().for_each(|file| file.add_to(&mut fingerprinter));
        let weights = fingerprinter.finish().to_string();
        Self { space: weights.clone(), weights }
    }

    /// The one that the folder's `hpd.json` gives, if there is such a file.
    pub(crate) fn written(folder: &Folder) -> Result<Option<Self>> {
        json::read_if_present(&folder.path.join("hpd.json"))
    }
}
