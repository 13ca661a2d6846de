//! Parquet as a stream of rows, one row group after another.
//!
//! Only top-level columns of one value a row are read; lists and groups are never decoded.

use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use parquet::basic::{ConvertedType, Repetition, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use serde_json::{Map, Number, Value};

use super::{Record, RecordOptions, Source, fields};
use crate::fingerprint::Fingerprinter;
use crate::{Error, ErrorKind, Result};

pub(super) struct ParquetRows {
    source: Source,
    file: SerializedFileReader<File>,
    columns: SchemaDescPtr,
    next_group: usize,
    rows: Option<ReaderIter>,
    fields: Map<String, Value>,
    number: u64,
}

impl ParquetRows {
    pub(super) fn open(source: &Source, options: &RecordOptions) -> Result<Self> {
        let Source::File(path) = source else {
            return Err(Error::input(
                "cannot read Parquet from standard input: its index stands at the end",
            )
            .hint("name the file with `--input FILE`"));
        };
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let (file, columns) = guarded(|| {
            let file = SerializedFileReader::new(file)?;
            let columns = readable_columns(file.metadata().file_metadata().schema_descr())?;
            Ok((file, columns))
        })
        .map_err(|e| damaged(source, 0, e))?;
        let rows = Self {
            source: source.clone(),
            file,
            columns: Arc::new(columns),
            next_group: 0,
            rows: None,
            fields: Map::new(),
            number: 0,
        };
        rows.check_columns(options)?;
        Ok(rows)
    }

    fn check_columns(&self, options: &RecordOptions) -> Result<()> {
        let present: Vec<String> =
            self.columns.root_schema().get_fields().iter().map(|c| c.name().to_owned()).collect();
        let wanted = [
            ("--text-field", Some(&options.text_field)),
            ("--id-field", options.id_field.as_ref()),
        ];
        for (flag, name) in wanted {
            if let Some(name) = name.filter(|name| !present.contains(name)) {
                return Err(fields::no_field(&self.source.to_string(), flag, name, present.iter()));
            }
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, seen: &mut Fingerprinter) -> Result<bool> {
        let Some(row) =
            guarded(|| self.next_row()).map_err(|e| damaged(&self.source, self.number, e))?
        else {
            return Ok(false);
        };
        self.number += 1;
        self.fields =
            row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect();
        for value in self.fields.values() {
            match value {
                Value::String(text) => seen.add_part(text.as_bytes()),
                other => seen.add_part(other.to_string().as_bytes()),
            };
        }
        Ok(true)
    }

    fn next_row(&mut self) -> Result<Option<Row>, ParquetError> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return row.map(Some);
            }
            if self.next_group == self.file.num_row_groups() {
                return Ok(None);
            }
            let group = self.file.get_row_group(self.next_group)?;
            self.rows = Some(TreeBuilder::new().as_iter(self.columns.clone(), &*group)?);
            self.next_group += 1;
        }
    }

    pub(super) fn record(&mut self, options: &RecordOptions) -> Result<Record> {
        let place = || format!("row {} of {}", self.number, self.source);
        fields::into_record(std::mem::take(&mut self.fields), options, place)
    }
}

/// Makes an error of a panic: the library asserts some things of a file that a damaged one does not keep.
/// Whatever it leaves behind is dropped, as a stream ends with its first error.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    panic::catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ParquetError::General("the file is damaged".to_owned())))
}

fn damaged(source: &Source, row: u64, error: ParquetError) -> Error {
    let past = if row == 0 { String::new() } else { format!(" past row {row}") };
    Error::new(ErrorKind::Io, format!("cannot read {source}{past} as Parquet")).caused_by(error)
}

/// The columns whose values the record reader knows; it panics on the others.
fn readable_columns(schema: &SchemaDescriptor) -> Result<SchemaDescriptor, ParquetError> {
    let root = schema.root_schema();
    let columns = root.get_fields().iter().filter(|column| is_readable(column)).cloned().collect();
    let projected = Type::group_type_builder(root.name()).with_fields(columns).build()?;
    Ok(SchemaDescriptor::new(Arc::new(projected)))
}

fn is_readable(column: &TypePtr) -> bool {
    use ConvertedType as As;
    let about = column.get_basic_info();
    if !column.is_primitive() || about.repetition() == Repetition::REPEATED {
        return false;
    }
    let converted = about.converted_type();
    match column.get_physical_type() {
        PhysicalType::BOOLEAN | PhysicalType::FLOAT | PhysicalType::DOUBLE => true,
        PhysicalType::INT32 => matches!(
            converted,
            As::NONE | As::INT_8 | As::INT_16 | As::INT_32 | As::UINT_8 | As::UINT_16 | As::UINT_32
        ),
        PhysicalType::INT64 => matches!(
            converted,
            As::NONE | As::INT_64 | As::UINT_64 | As::TIMESTAMP_MILLIS | As::TIMESTAMP_MICROS
        ),
        PhysicalType::BYTE_ARRAY => {
            matches!(converted, As::NONE | As::UTF8 | As::ENUM | As::JSON)
        }
        PhysicalType::INT96 | PhysicalType::FIXED_LEN_BYTE_ARRAY => false,
    }
}

/// A value as JSON. Binary columns that hold UTF-8 are strings, as old writers never said which they meant.
fn value(field: Field) -> Value {
    match field {
        Field::Bool(flag) => flag.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) | Field::TimestampMillis(n) | Field::TimestampMicros(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float(x) => float(x.into()),
        Field::Double(x) => float(x),
        Field::Str(text) => text.into(),
        Field::Bytes(bytes) => bytes.as_utf8().map_or(Value::Null, Value::from),
        _ => Value::Null,
    }
}

fn float(x: f64) -> Value {
    Number::from_f64(x).map_or(Value::Null, Value::Number)
}
