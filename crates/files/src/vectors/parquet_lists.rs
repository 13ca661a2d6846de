//! Vectors as Parquet: columns `id`, texts if there are any, and `embedding`.
//!
//! The embedding is the standard three-level list. Its levels are plain: every row holds a list, every list
//! `width` elements, so a definition level is always 1 and a repetition level 0 at the start of a row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::{Block, Element};
use crate::atomic::AtomicFile;
use crate::{Error, Result};

/// Numbers in a row group: 16 MiB of floats.
const GROUP_NUMBERS: usize = if cfg!(test) { 1 << 10 } else { 4 << 20 };

pub(super) struct ParquetLists {
    path: PathBuf,
    writer: SerializedFileWriter<AtomicFile>,
    width: usize,
    ids: Vec<Option<String>>,
    /// One list for each column of texts.
    texts: Vec<Vec<ByteArray>>,
    numbers: Numbers,
}

/// Parquet stores small integers as int32, so the rows of a group are kept as what is handed to the encoder.
enum Numbers {
    Float(Vec<f32>),
    Int(Vec<i32>),
}

impl ParquetLists {
    pub(super) fn new(
        path: &Path,
        file: AtomicFile,
        element: Element,
        width: usize,
        texts: &[&str],
    ) -> Result<Self> {
        let writer = new_writer(file, element, texts).map_err(|e| cannot_write(path, e))?;
        let numbers = match element {
            Element::Float32 => Numbers::Float(Vec::new()),
            Element::Int8 | Element::UInt8 => Numbers::Int(Vec::new()),
        };
        let texts = vec![Vec::new(); texts.len()];
        Ok(Self { path: path.to_owned(), writer, width, ids: Vec::new(), texts, numbers })
    }

    pub(super) fn write(&mut self, ids: &[Option<String>], block: &Block) -> Result<()> {
        self.write_with(ids, &[], block)
    }

    /// Takes rows with their texts, those of a row one after another.
    pub(super) fn write_with(
        &mut self,
        ids: &[Option<String>],
        texts: &[String],
        block: &Block,
    ) -> Result<()> {
        self.ids.extend_from_slice(ids);
        for row in texts.chunks_exact(self.texts.len().max(1)) {
            let columns = self.texts.iter_mut().zip(row);
            columns.for_each(|(column, text)| column.push(text.as_str().into()));
        }
        match (&mut self.numbers, block) {
            (Numbers::Float(all), Block::Float32(new)) => all.extend(new),
            (Numbers::Int(all), Block::Int8(new)) => all.extend(new.iter().map(|&n| i32::from(n))),
            (Numbers::Int(all), Block::UInt8(new)) => all.extend(new.iter().map(|&n| i32::from(n))),
            // `VectorWriter::write` has compared the types.
            _ => {}
        }
        if self.ids.len() * self.width >= GROUP_NUMBERS { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<()> {
        let ids = std::mem::take(&mut self.ids);
        let levels = Levels::new(ids.len(), self.width);
        let write = |writer: &mut SerializedFileWriter<AtomicFile>| {
            let mut group = writer.next_row_group()?;
            write_ids(&mut group, ids)?;
            for texts in &mut self.texts {
                write_column::<ByteArrayType>(&mut group, &std::mem::take(texts), None, None)?;
            }
            match &mut self.numbers {
                Numbers::Float(numbers) => {
                    write_numbers::<FloatType>(&mut group, &std::mem::take(numbers), &levels)?;
                }
                Numbers::Int(numbers) => {
                    write_numbers::<Int32Type>(&mut group, &std::mem::take(numbers), &levels)?;
                }
            }
            group.close().map(|_| ())
        };
        write(&mut self.writer).map_err(|e| cannot_write(&self.path, e))
    }

    pub(super) fn finish(mut self) -> Result<AtomicFile> {
        if !self.ids.is_empty() {
            self.write_group()?;
        }
        self.writer.into_inner().map_err(|e| cannot_write(&self.path, e))
    }
}

fn new_writer(
    file: AtomicFile,
    element: Element,
    texts: &[&str],
) -> ParquetResult<SerializedFileWriter<AtomicFile>> {
    let number = match element {
        Element::Float32 => "float element",
        Element::Int8 => "int32 element (INTEGER(8,true))",
        Element::UInt8 => "int32 element (INTEGER(8,false))",
    };
    let columns: String =
        texts.iter().map(|name| format!("required binary {name} (STRING); ")).collect();
    let schema = parse_message_type(&format!(
        "message schema {{
            optional binary id (STRING); {columns}
            required group embedding (LIST) {{ repeated group list {{ required {number}; }} }}
        }}"
    ))?;
    let id = ColumnPath::from("id");
    let numbers = ColumnPath::from(vec!["embedding".into(), "list".into(), "element".into()]);
    // Floats hardly repeat and hardly shrink. Small integers have 256 values, a byte each by dictionary.
    let mut properties = WriterProperties::builder();
    for name in texts {
        let compression = Compression::ZSTD(ZstdLevel::default());
        properties = properties.set_column_compression(ColumnPath::from(*name), compression);
    }
    let properties = properties
        .set_column_compression(id, Compression::ZSTD(ZstdLevel::default()))
        .set_column_dictionary_enabled(numbers.clone(), element != Element::Float32)
        .set_column_statistics_enabled(numbers, EnabledStatistics::None)
        .set_created_by(concat!("hpd ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
}

/// Definition and repetition levels of a group of rows.
struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Levels {
    fn new(rows: usize, width: usize) -> Self {
        let repetition = (0..rows * width).map(|at| i16::from(at % width != 0)).collect();
        Self { definition: vec![1; rows * width], repetition }
    }
}

fn write_ids(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    ids: Vec<Option<String>>,
) -> ParquetResult<()> {
    let levels: Vec<i16> = ids.iter().map(|id| i16::from(id.is_some())).collect();
    let ids: Vec<ByteArray> = ids.into_iter().flatten().map(|id| id.as_str().into()).collect();
    write_column::<ByteArrayType>(group, &ids, Some(&levels), None)
}

fn write_numbers<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    numbers: &[T::T],
    levels: &Levels,
) -> ParquetResult<()> {
    write_column::<T>(group, numbers, Some(&levels.definition), Some(&levels.repetition))
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    values: &[T::T],
    definition: Option<&[i16]>,
    repetition: Option<&[i16]>,
) -> ParquetResult<()> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("the schema has no more columns".to_owned()));
    };
    column.typed::<T>().write_batch(values, definition, repetition)?;
    column.close()
}

fn cannot_write(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => Error::io("write", path, *error),
            Err(other) => Error::io("write", path, std::io::Error::other(other)),
        },
        other => Error::io("write", path, std::io::Error::other(other)),
    }
}
