//! A vector as pgvector's type `vector` reads it from the wire.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A row of numbers for a parameter of type `vector`.
#[derive(Debug)]
pub(super) struct Vector<'a>(pub(super) &'a [f32]);

impl ToSql for Vector<'_> {
    /// The number of numbers, two bytes of nothing, then the numbers, all big-endian (pgvector's `vector_recv`).
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_u16(self.0.len().try_into()?);
        out.put_u16(0);
        self.0.iter().for_each(|number| out.put_f32(*number));
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        of.name() == "vector"
    }

    to_sql_checked!();
}
