//! Messages of Milvus's protocol, with the fields that are used here and their numbers from `milvus.proto`, `schema.proto` and
//! `common.proto` of milvus-io/milvus-proto. What else the server sends is skipped, as protobuf has it.
//!
//! A choice between fields (`oneof`) is written as optional fields, which is the same on the wire.

use prost::Message;

/// A request, which method it is for, and what comes back.
pub(super) trait Request: Message + Clone + 'static {
    const METHOD: &'static str;
    type Answer: Answer;
}

/// What comes back, success or not.
pub(super) trait Answer: Message + Default + 'static {
    fn status(&self) -> Option<&Status>;
}

macro_rules! request {
    ($request:ty, $method:literal, $answer:ty) => {
        impl Request for $request {
            const METHOD: &'static str = concat!("/milvus.proto.milvus.MilvusService/", $method);
            type Answer = $answer;
        }
    };
}

macro_rules! answer {
    ($($answer:ty),*) => {
        $(impl Answer for $answer {
            fn status(&self) -> Option<&Status> {
                self.status.as_ref()
            }
        })*
    };
}

request!(CreateCollection, "CreateCollection", Status);
request!(DescribeCollection, "DescribeCollection", Collection);
request!(AlterCollection, "AlterCollection", Status);
request!(LoadCollection, "LoadCollection", Status);
request!(ReleaseCollection, "ReleaseCollection", Status);
request!(GetLoadState, "GetLoadState", LoadState);
request!(CreateIndex, "CreateIndex", Status);
request!(DropIndex, "DropIndex", Status);
request!(DescribeIndex, "DescribeIndex", Indexes);
request!(Flush, "Flush", Flushed);
request!(Upsert, "Upsert", Mutation);
request!(Delete, "Delete", Mutation);
request!(Query, "Query", QueryResults);
request!(Search, "Search", SearchResults);
answer!(Collection, LoadState, Indexes, Flushed, Mutation, QueryResults, SearchResults);

impl Answer for Status {
    fn status(&self) -> Option<&Status> {
        Some(self)
    }
}

/// Kinds of fields (`DataType`).
pub(super) mod kind {
    pub(crate) const INT64: i32 = 5;
    pub(crate) const VARCHAR: i32 = 21;
    pub(crate) const ARRAY: i32 = 22;
    pub(crate) const JSON: i32 = 23;
    pub(crate) const FLOAT_VECTOR: i32 = 101;
    pub(crate) const FLOAT16_VECTOR: i32 = 102;
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    /// What old servers say; 0 is success in both.
    #[prost(int32, tag = "1")]
    pub(super) error_code: i32,
    #[prost(string, tag = "2")]
    pub(super) reason: String,
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Schema {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) fields: Vec<Field>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Field {
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(bool, tag = "3")]
    pub(super) is_primary_key: bool,
    #[prost(string, tag = "4")]
    pub(super) description: String,
    #[prost(int32, tag = "5")]
    pub(super) data_type: i32,
    #[prost(message, repeated, tag = "6")]
    pub(super) type_params: Vec<KeyValue>,
    #[prost(int32, tag = "10")]
    pub(super) element_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateCollection {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    /// An encoded [`Schema`].
    #[prost(bytes = "vec", tag = "4")]
    pub(super) schema: Vec<u8>,
    #[prost(int32, tag = "5")]
    pub(super) shards_num: i32,
    /// 0 is strong: what was written is read.
    #[prost(int32, tag = "6")]
    pub(super) consistency_level: i32,
    #[prost(message, repeated, tag = "7")]
    pub(super) properties: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DescribeCollection {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Collection {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub(super) schema: Option<Schema>,
    #[prost(message, repeated, tag = "13")]
    pub(super) properties: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AlterCollection {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) properties: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LoadCollection {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(int32, tag = "4")]
    pub(super) replica_number: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReleaseCollection {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetLoadState {
    #[prost(string, tag = "2")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) db_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LoadState {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(int32, tag = "2")]
    pub(super) state: i32,
}

impl LoadState {
    pub(super) const LOADED: i32 = 3;
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateIndex {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) field_name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) extra_params: Vec<KeyValue>,
    #[prost(string, tag = "6")]
    pub(super) index_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DropIndex {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) field_name: String,
    #[prost(string, tag = "5")]
    pub(super) index_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DescribeIndex {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) field_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Indexes {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(super) descriptions: Vec<Index>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Index {
    #[prost(string, tag = "1")]
    pub(super) index_name: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) params: Vec<KeyValue>,
    #[prost(string, tag = "4")]
    pub(super) field_name: String,
    #[prost(int32, tag = "7")]
    pub(super) state: i32,
    #[prost(string, tag = "8")]
    pub(super) fail_reason: String,
}

impl Index {
    pub(super) const FINISHED: i32 = 3;
    pub(super) const FAILED: i32 = 4;
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Flush {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) collection_names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Flushed {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
}

/// A column: one field of many rows.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Column {
    #[prost(int32, tag = "1")]
    pub(super) data_type: i32,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, optional, tag = "3")]
    pub(super) scalars: Option<Scalars>,
    #[prost(message, optional, tag = "4")]
    pub(super) vectors: Option<Vectors>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scalars {
    #[prost(message, optional, tag = "3")]
    pub(super) longs: Option<Longs>,
    #[prost(message, optional, tag = "6")]
    pub(super) strings: Option<Strings>,
    #[prost(message, optional, tag = "8")]
    pub(super) arrays: Option<Arrays>,
    #[prost(message, optional, tag = "9")]
    pub(super) json: Option<Json>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Longs {
    #[prost(int64, repeated, tag = "1")]
    pub(super) data: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Strings {
    #[prost(string, repeated, tag = "1")]
    pub(super) data: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Json {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) data: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Arrays {
    #[prost(message, repeated, tag = "1")]
    pub(super) data: Vec<Scalars>,
    #[prost(int32, tag = "2")]
    pub(super) element_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Vectors {
    #[prost(int64, tag = "1")]
    pub(super) dim: i64,
    #[prost(message, optional, tag = "2")]
    pub(super) floats: Option<Floats>,
    /// Little-endian, all rows one after the other.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) halves: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Floats {
    #[prost(float, repeated, tag = "1")]
    pub(super) data: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Upsert {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) columns: Vec<Column>,
    #[prost(uint32, tag = "7")]
    pub(super) num_rows: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Delete {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "5")]
    pub(super) expr: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Mutation {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    /// Rows that were not taken, although the whole is a success.
    #[prost(uint32, repeated, tag = "4")]
    pub(super) refused: Vec<u32>,
}

/// Without `use_default_consistency` (12), and with `consistency_level` (11) at 0, a query sees all that was written before it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Query {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "4")]
    pub(super) expr: String,
    #[prost(string, repeated, tag = "5")]
    pub(super) output_fields: Vec<String>,
    #[prost(message, repeated, tag = "9")]
    pub(super) params: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct QueryResults {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(super) columns: Vec<Column>,
}

/// Sees all that was written before it, as [`Query`] does (fields 14 and 15).
#[derive(Clone, PartialEq, Message)]
pub(super) struct Search {
    #[prost(string, tag = "2")]
    pub(super) db_name: String,
    #[prost(string, tag = "3")]
    pub(super) collection_name: String,
    #[prost(string, tag = "5")]
    pub(super) expr: String,
    /// Encoded [`Placeholders`].
    #[prost(bytes = "vec", tag = "6")]
    pub(super) placeholders: Vec<u8>,
    /// 1: `expr` is an expression.
    #[prost(int32, tag = "7")]
    pub(super) expr_type: i32,
    #[prost(string, repeated, tag = "8")]
    pub(super) output_fields: Vec<String>,
    #[prost(message, repeated, tag = "9")]
    pub(super) params: Vec<KeyValue>,
    #[prost(int64, tag = "12")]
    pub(super) queries: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Placeholders {
    #[prost(message, repeated, tag = "1")]
    pub(super) placeholders: Vec<Placeholder>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Placeholder {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    /// A vector each, little-endian.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) values: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SearchResults {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub(super) results: Option<Found>,
}

/// Hits of all queries, one after the other.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Found {
    #[prost(message, repeated, tag = "3")]
    pub(super) columns: Vec<Column>,
    #[prost(float, repeated, tag = "4")]
    pub(super) scores: Vec<f32>,
    /// How many there are for each query.
    #[prost(int64, repeated, tag = "6")]
    pub(super) counts: Vec<i64>,
}
