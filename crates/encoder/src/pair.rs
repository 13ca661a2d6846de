//! Two models of one space in one folder: a small one for queries, which are asked in a hurry, and a larger one for
//! documents, which are embedded once.
//!
//! Written is a `Router` of sentence-transformers, whose `encode_query` and `encode_document` take one model each. Below it
//! `query` and `document` are whole model folders, so that each can be taken out and opened alone; the router names their
//! modules by their places in them.

use std::collections::BTreeMap;
use std::path::Path;

use hpd_files::{Error, Result};
use serde_json::{Map, Value, json};

use crate::convert::{Conversion, Source};
use crate::modules::{MODULES, Module, below};
use crate::writer::{
    Storage, about, begin, create_folder, module, prompts_config, write, write_json,
};
use crate::{Identity, Model, OpenOptions, Prompt, Side, json};

/// Writes `query` and `document`, both anew, as one folder, in 8 bits if `int8` is said.
///
/// # Errors
/// When the models are of two spaces, or as [`convert`](crate::convert::convert).
pub fn pair(
    query: &Path,
    document: &Path,
    output: &Path,
    replace: bool,
    int8: bool,
) -> Result<Conversion> {
    let storage = if int8 { Storage::Int8 } else { Storage::Float32 };
    let models = [(Side::Query, query), (Side::Document, document)];
    let [of_queries, of_documents] = models.map(|(_, path)| Source::read(path));
    let sources = [of_queries?, of_documents?];
    let space = shared_space(models, &sources)?;
    let prompts = prompts(&sources)?;
    let unfinished = begin(output, replace)?;
    let root = unfinished.unfinished();
    let mut dropped = Vec::new();
    for ((side, _), source) in models.into_iter().zip(sources) {
        let folder = root.join(side.name());
        create_folder(&folder)?;
        dropped.extend(source.write_into(&folder, storage)?.1);
        Model::open(&folder)?;
    }
    write_json(root, "router_config.json", &router(root)?)?;
    write_json(root, MODULES, &json!([module(0, "", "Router")]))?;
    write_json(root, "config_sentence_transformers.json", &prompts_config(&prompts, None))?;
    write(root, "README.md", card(models).as_bytes())?;
    // Both open alone; together by the smaller, which is quicker.
    let opening = OpenOptions { side: Some(Side::Query), ..OpenOptions::default() };
    let model = Model::open_with(root, &opening)?;
    let (dim, parameters) = (model.dim(), model.parameters());
    let identity = Identity { weights: model.fingerprint(), space };
    drop(model);
    write_json(root, "hpd.json", &about(Map::new(), &identity, dim))?;
    unfinished.commit()?;
    Ok(Conversion { identity, dim, parameters, dropped })
}

/// The space of both; a query's vector says nothing of a document's in another.
fn shared_space(models: [(Side, &Path); 2], sources: &[Source; 2]) -> Result<String> {
    let [query, document] = models.map(|(_, path)| path.display());
    match sources.each_ref().map(|source| source.space.as_deref()) {
        [Some(of_queries), Some(of_documents)] if of_queries == of_documents => {
            Ok(of_queries.to_owned())
        }
        [of_queries, of_documents] => Err(Error::mismatch(format!(
            "`{query}` has its vectors in the space {}, `{document}` in {}",
            of_queries.unwrap_or("unknown"),
            of_documents.unwrap_or("unknown")
        ))
        .hint("a teacher is put into its student's space by `hpd export TEACHER --project STUDENT.run`")),
    }
}

/// What stands in front of queries is the queries' model's, what in front of documents the documents'.
fn prompts(sources: &[Source; 2]) -> Result<BTreeMap<String, String>> {
    let mut prompts = BTreeMap::new();
    for (source, prompt) in sources.iter().zip([Prompt::Query, Prompt::Document]) {
        let words = prompt.words(&source.folder)?;
        if let Some(side) = prompt.side().filter(|_| !words.is_empty()) {
            prompts.insert(side.name().to_owned(), words.to_owned());
        }
    }
    Ok(prompts)
}

/// `router_config.json` for the two folders below `root`.
fn router(root: &Path) -> Result<Value> {
    let (mut types, mut structure) = (Map::new(), Map::new());
    for side in [Side::Query, Side::Document] {
        let listed: Vec<Module> = json::read(&root.join(side.name()).join(MODULES))?;
        let names = listed.iter().map(|module| {
            let name = below(side.name(), &module.path);
            let class = format!("sentence_transformers.models.{}", module.class());
            types.insert(name.clone(), class.into());
            name
        });
        structure.insert(side.name().to_owned(), names.collect());
    }
    Ok(json!({
        "types": types,
        "structure": structure,
        "parameters": { "default_route": Side::Document.name(), "allow_empty_key": true },
    }))
}

fn card(models: [(Side, &Path); 2]) -> String {
    let [query, document] = models.map(|(_, path)| {
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    });
    format!(
        "---
library_name: sentence-transformers
tags:
- sentence-transformers
- feature-extraction
- sentence-similarity
---

# {query} for queries, {document} for documents

Two sentence encoders whose vectors lie in one space. Queries are embedded by the one, documents by the other; what each is, where
it comes from and under which licence it is tell [query/README.md](query/README.md) and [document/README.md](document/README.md).

## Usage

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(\"FOLDER\")
queries = model.encode_query([\"the fear of spiders\"])
documents = model.encode_document([\"a morbid fear of spiders\"])
```

```sh
hpd index create --store notes.store --model FOLDER --input notes.jsonl
hpd search --store notes.store 'the fear of spiders'
```
"
    )
}
