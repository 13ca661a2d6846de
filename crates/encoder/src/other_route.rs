//! The second model of a folder that has one for queries and one for documents.
//!
//! It is described when the folder is opened, so that a folder that is not whole is refused at once, and its matrices are
//! packed when a text first needs it: who only searches does not wait for the larger model.

use std::path::Path;
use std::sync::OnceLock;

use hpd_files::{Error, Result};

use crate::{Folder, Model, OpenOptions, Side, Weights};

/// A model that is opened when it is needed.
pub(crate) struct OtherRoute {
    folder: Folder,
    weights: Vec<Weights>,
    options: OpenOptions,
    model: OnceLock<Box<Model>>,
}

impl OtherRoute {
    /// The one beside `own`, if there is one.
    pub(crate) fn beside(own: &Folder, options: &OpenOptions) -> Result<Option<Self>> {
        let Some(side) = own.side.map(Side::other) else { return Ok(None) };
        let folder = Folder::open_for(&own.path, Some(side))?;
        if folder.dim() != own.dim() {
            return Err(unequal(&own.path, [own, &folder]));
        }
        let weights = Weights::of_folder(&folder)?;
        let options = options.clone();
        Ok(Some(Self { folder, weights, options, model: OnceLock::new() }))
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn weights(&self) -> &[Weights] {
        &self.weights
    }

    pub(crate) fn model(&self) -> Result<&Model> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        let opened = Model::of_folder(self.folder.clone(), &self.options)?;
        // Another thread may have opened it meanwhile; they are alike.
        Ok(self.model.get_or_init(|| Box::new(opened)))
    }
}

fn unequal(path: &Path, routes: [&Folder; 2]) -> Error {
    let [one, other] = routes.map(|folder| {
        format!("{} numbers of a {}", folder.dim(), folder.side.map_or("text", Side::name))
    });
    Error::model(format!("`{}` makes {one} and {other}, expected as many", path.display()))
}
