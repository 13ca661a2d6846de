//! Vectors as JSON lines.

use std::io::{self, Write};

use serde::Serialize;

use super::Block;

#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    embedding: &'a [T],
}

/// Writes one `{"id": …, "embedding": […]}` a line for rows of `width` numbers, to a file or a pipe.
///
/// # Errors
/// When `out` takes no more.
pub fn write_json_lines(
    out: &mut impl Write,
    ids: &[Option<String>],
    block: &Block,
    width: usize,
) -> io::Result<()> {
    match block {
        Block::Float32(numbers) => write_rows(out, ids, numbers, width),
        Block::Int8(numbers) => write_rows(out, ids, numbers, width),
        Block::UInt8(numbers) => write_rows(out, ids, numbers, width),
    }
}

fn write_rows<T: Serialize>(
    out: &mut impl Write,
    ids: &[Option<String>],
    numbers: &[T],
    width: usize,
) -> io::Result<()> {
    for (id, embedding) in ids.iter().zip(numbers.chunks_exact(width)) {
        serde_json::to_writer(&mut *out, &Line { id: id.as_deref(), embedding })?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
