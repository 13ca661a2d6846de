//! A checksum in every row, because SQLite checks the structure of its pages but not what stands in them.

use hpd_files::fingerprint::Fingerprinter;
use rusqlite::{Connection, Row};

/// Of the columns of a row, in order.
pub(crate) fn of(columns: &[&[u8]]) -> i64 {
    let mut contents = Fingerprinter::new();
    for column in columns {
        contents.add_part(column);
    }
    let [a, b, c, d, e, f, g, h, ..] = *contents.finish().as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Tables with a checksum, and the columns it is of.
const CHECKED: [(&str, &str); 3] =
    [("documents", "id, text"), ("metadata", "fields"), ("vectors", "vector")];

/// Every row that is not what was written.
pub(crate) fn mismatches(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    for (table, columns) in CHECKED {
        let sql = format!("SELECT row, checksum, {columns} FROM {table} ORDER BY row");
        let mut statement = connection.prepare(&sql)?;
        let width = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !is_as_written(row, width)? {
                let number: i64 = row.get(0)?;
                problems.push(format!("row {number} of `{table}` does not match its checksum"));
            }
        }
    }
    Ok(problems)
}

/// Whether the columns from the third on have the checksum that is the second.
fn is_as_written(row: &Row<'_>, width: usize) -> rusqlite::Result<bool> {
    let column = |i| Ok::<_, rusqlite::Error>(row.get_ref(i)?.as_bytes()?);
    let columns: Vec<&[u8]> = (2..width).map(column).collect::<Result<_, _>>()?;
    Ok(row.get::<_, i64>(1)? == of(&columns))
}
