//! The documents of a store as they were added: one of them, or all with their vectors, for other programs.

use hpd_files::{Result, interrupt};
use rusqlite::{OptionalExtension, Row};

use crate::explain::{damaged, explain};
use crate::{Document, Store, checksum, schema};

/// What a document is read from.
const COLUMNS: &str =
    "SELECT id, text, fields, vector, documents.checksum, metadata.checksum, vectors.checksum
     FROM documents JOIN metadata USING (row) JOIN vectors USING (row)";

impl Store {
    /// The document of this id with its vector, `None` when there is none.
    ///
    /// # Errors
    /// When the database cannot be read or is damaged.
    pub fn get(&self, id: &str) -> Result<Option<(Document, Vec<f32>)>> {
        let mut find = self
            .connection
            .prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))
            .map_err(|e| explain("read", &self.folder, e))?;
        let found = find.query_row([id], |row| Ok(self.whole(row))).optional();
        found.map_err(|e| explain("read", &self.folder, e))?.transpose()
    }

    /// Hands over every document with its vector, in the order of insertion, as they are at this moment.
    ///
    /// # Errors
    /// The first error of `take`, or when the database cannot be read or is damaged, or holds another model's vectors by now.
    pub fn for_each_document(
        &self,
        mut take: impl FnMut(Document, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let fail = |e| explain("read", &self.folder, e);
        let snapshot = self.connection.unchecked_transaction().map_err(fail)?;
        if schema::identity(&snapshot).map_err(fail)? != self.identity() {
            return Err(self.not_as_opened());
        }
        let mut statement =
            snapshot.prepare_cached(&format!("{COLUMNS} ORDER BY row")).map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let (document, vector) = self.whole(row)?;
            take(document, &vector)?;
            interrupt::check("nothing was changed")?;
        }
        Ok(())
    }

    fn whole(&self, row: &Row<'_>) -> Result<(Document, Vec<f32>)> {
        let strings = || Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let (id, text, fields): (String, String, String) =
            strings().map_err(|e| explain("read", &self.folder, e))?;
        let rest = || Ok((row.get(3)?, [row.get(4)?, row.get(5)?, row.get(6)?]));
        let (bytes, checksums): (Vec<u8>, [i64; 3]) =
            rest().map_err(|e| explain("read", &self.folder, e))?;
        let contents = [
            checksum::of(&[id.as_bytes(), text.as_bytes()]),
            checksum::of(&[fields.as_bytes()]),
            checksum::of(&[&bytes]),
        ];
        if contents != checksums {
            let why = format!("document `{id}` does not match its checksums");
            return Err(damaged(&self.folder, &why));
        }
        let metadata = serde_json::from_str(&fields).map_err(|e| {
            damaged(&self.folder, &format!("the metadata of `{id}` is not a JSON object"))
                .caused_by(e)
        })?;
        let numbers = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x));
        Ok((Document { id, text, metadata }, numbers.collect()))
    }
}
