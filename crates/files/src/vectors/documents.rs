//! Documents with their vectors, one after another, into one file that other programs read.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::parquet_lists::ParquetLists;
use super::{Block, Element, VectorFormat};
use crate::atomic::AtomicFile;
use crate::{Error, Result};

/// Writes documents and vectors, whole or not at all; dropped without [`DocumentWriter::finish`], it leaves nothing.
///
/// In `.jsonl` a line is `{"id": …, "text": …, "metadata": {…}, "embedding": […]}`; in `.parquet` these are columns, the
/// metadata a string of JSON.
///
/// # Cost
/// Memory for one document, for Parquet one row group of about 16 MiB.
pub struct DocumentWriter {
    path: PathBuf,
    sink: Sink,
}

enum Sink {
    JsonLines(AtomicFile),
    Parquet(Box<ParquetLists>),
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    text: &'a str,
    metadata: &'a Map<String, Value>,
    embedding: &'a [f32],
}

impl DocumentWriter {
    /// Starts `path`, whose ending tells the format, for vectors of `width` numbers.
    ///
    /// # Errors
    /// When the name ends in neither `.jsonl` nor `.parquet`, or the file cannot be created.
    pub fn create(path: &Path, width: usize) -> Result<Self> {
        let format = VectorFormat::of(path)?;
        if format == VectorFormat::Npy {
            let name = path.display();
            return Err(Error::input(format!("`{name}` has no place for texts"))
                .hint("end the name in `.jsonl` or `.parquet`"));
        }
        let file = AtomicFile::create(path)?;
        let sink = match format {
            VectorFormat::Parquet => {
                let texts = &["text", "metadata"];
                let lists = ParquetLists::new(path, file, Element::Float32, width, texts)?;
                Sink::Parquet(Box::new(lists))
            }
            _ => Sink::JsonLines(file),
        };
        Ok(Self { path: path.to_owned(), sink })
    }

    /// Appends a document with its vector.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(
        &mut self,
        id: &str,
        text: &str,
        metadata: &Map<String, Value>,
        vector: &[f32],
    ) -> Result<()> {
        let fail = |error| Error::io("write", &self.path, error);
        match &mut self.sink {
            Sink::JsonLines(file) => {
                let line = Line { id, text, metadata, embedding: vector };
                serde_json::to_writer(&mut *file, &line).map_err(|e| fail(e.into()))?;
                file.write_all(b"\n").map_err(fail)
            }
            Sink::Parquet(lists) => {
                let metadata = Value::Object(metadata.clone()).to_string();
                let texts = [text.to_owned(), metadata];
                lists.write_with(&[Some(id.to_owned())], &texts, &Block::Float32(vector.to_vec()))
            }
        }
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// When the disk is full; a file that had the name before is then untouched.
    pub fn finish(self) -> Result<()> {
        match self.sink {
            Sink::JsonLines(file) => file.commit(),
            Sink::Parquet(lists) => lists.finish()?.commit(),
        }
    }
}
