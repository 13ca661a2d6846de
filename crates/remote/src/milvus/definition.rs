//! The collection in Milvus: how it is made, indexed and loaded, and how it is known again.
//!
//! What a store would have in its header stands as JSON in the collection's property `hpd`. A collection without it is
//! somebody else's and is left alone.

use std::thread;

use hpd_files::{Error, Result, interrupt};
use hpd_index::StoreSettings;
use prost::Message as _;

use super::client::{Client, GLANCE};
use super::messages::{
    AlterCollection, CreateCollection, CreateIndex, DescribeCollection, DescribeIndex, DropIndex,
    Field, Flush, GetLoadState, Index, KeyValue, LoadCollection, LoadState, ReleaseCollection,
    Schema, kind,
};
use super::rows::{LONGEST_TEXT, numbers_of};
use super::terms::MOST_TERMS;
use crate::Layout;
use crate::description::{Description, check_width};

/// Version of the collection and its property; every version ever released stays readable.
const FORMAT: u32 = 1;

/// The property.
const PROPERTY: &str = "hpd";

/// Numbers that a vector in Milvus may have.
const LARGEST: usize = 32_768;

/// The column of vectors, and its index.
pub(super) const VECTOR: &str = "vector";

/// What searches go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexKind {
    /// All vectors are read.
    Flat,
    /// A graph of near neighbours.
    Hnsw,
    /// Another that somebody made there; it is kept and searched as it is.
    Other,
}

/// A collection that a push made, ready to be asked.
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) description: Description,
    pub(super) index: IndexKind,
}

impl Definition {
    /// The collection of the address, if it is there. Who searches changes nothing there.
    ///
    /// # Errors
    /// When one is there that no push made or finished, or the server does not answer.
    pub(super) fn open(client: &mut Client) -> Result<Option<Self>> {
        let Some(mut found) = Self::read(client)? else { return Ok(None) };
        let index = found.described_index(client)?;
        if index.is_none() || !found.is_loaded(client)? {
            let address = &client.address;
            return Err(Error::input(format!(
                "the collection at `{address}` is not loaded: it is being indexed, its push was stopped, or somebody released it"
            ))
            .hint(format!("push again, which loads it: hpd push --store DIR --to '{address}'")));
        }
        found.index = index.as_ref().map_or(IndexKind::Other, kind_of);
        Ok(Some(found))
    }

    fn read(client: &mut Client) -> Result<Option<Self>> {
        let name = client.address.collection()?.to_owned();
        let describe =
            DescribeCollection { db_name: client.database.clone(), collection_name: name.clone() };
        let Some(found) = client.look("read", &describe)? else { return Ok(None) };
        let property = found.properties.iter().find(|property| property.key == PROPERTY);
        let json = property.map_or("", |property| &property.value);
        let description = Description::read(json, FORMAT, &place(client))?;
        Ok(Some(Self { name, description, index: IndexKind::Flat }))
    }

    /// The collection for what a store of these settings holds; made where it is not there.
    ///
    /// # Errors
    /// As [`Definition::open`]; also when it is for another space or layout, or may not be made.
    pub(super) fn open_or_create(
        client: &mut Client,
        settings: &StoreSettings,
        layout: Layout,
    ) -> Result<Self> {
        let wanted = Description::new(FORMAT, layout, settings);
        let Some(mut found) = Self::read(client)? else {
            return Self::create(client, wanted);
        };
        found.description.check(&wanted, &place(client))?;
        if found.description != wanted {
            found.description = wanted;
            let alter = AlterCollection {
                db_name: client.database.clone(),
                collection_name: found.name.clone(),
                properties: vec![found.property()],
            };
            client.ask("change the settings of", &alter)?;
        }
        found.make_ready(client)?;
        Ok(found)
    }

    fn create(client: &mut Client, description: Description) -> Result<Self> {
        check_width(description.settings.model.dim, "Milvus", LARGEST)?;
        let name = client.address.collection()?.to_owned();
        let mut definition = Self { name, description, index: IndexKind::Flat };
        let create = CreateCollection {
            db_name: client.database.clone(),
            collection_name: definition.name.clone(),
            schema: definition.schema().encode_to_vec(),
            shards_num: 1,
            // Strong: whoever asks sees what was pushed before.
            consistency_level: 0,
            properties: vec![definition.property()],
        };
        client.ask("push to", &create).map_err(|error| match definition.description.half {
            true => {
                error.hint("this server may not hold numbers in 16 bits: push without `--half`")
            }
            false => error,
        })?;
        definition.make_ready(client)?;
        Ok(definition)
    }

    fn property(&self) -> KeyValue {
        pair(PROPERTY, self.description.to_json())
    }

    fn schema(&self) -> Schema {
        let field = |name: &str, data_type, description: &str, type_params| Field {
            name: name.to_owned(),
            is_primary_key: name == "key",
            description: description.to_owned(),
            data_type,
            type_params,
            element_type: if data_type == kind::ARRAY { kind::INT64 } else { 0 },
        };
        let string = |name, description, length: usize| {
            field(name, kind::VARCHAR, description, vec![pair("max_length", length)])
        };
        let fields = vec![
            string("key", "hash of the id", 32),
            string("id", "of the document", LONGEST_TEXT),
            string("text", "of the document", LONGEST_TEXT),
            field("metadata", kind::JSON, "of the document", Vec::new()),
            string("checksum", "of text, metadata and vector", 32),
            field(
                "terms",
                kind::ARRAY,
                "hashes of fields and values, for filters",
                vec![pair("max_capacity", MOST_TERMS)],
            ),
            field("ordered", kind::JSON, "values of fields by their hash, for ranges", Vec::new()),
            field(
                VECTOR,
                numbers_of(self.description.half),
                "of the text",
                vec![pair("dim", self.description.settings.model.dim)],
            ),
        ];
        let description = format!("sentences and their vectors, pushed by hpd (format {FORMAT})");
        Schema { name: self.name.clone(), description, fields }
    }

    /// Sees to it that the vectors have an index and are loaded; without, nothing can be asked.
    fn make_ready(&mut self, client: &mut Client) -> Result<()> {
        match self.described_index(client)? {
            Some(index) => self.index = kind_of(&index),
            None => {
                self.create_index(client, IndexKind::Flat)?;
                self.index = IndexKind::Flat;
            }
        }
        self.load(client)
    }

    /// Puts a graph in the place of [`IndexKind::Flat`] and waits for it. Until then nobody can search: Milvus changes the
    /// index of what is not loaded only.
    ///
    /// # Errors
    /// When the server refuses or a stop was asked for; repeated, it goes on.
    pub(super) fn build_graph(&mut self, client: &mut Client) -> Result<()> {
        if self.index == IndexKind::Flat {
            let (db_name, collection_name) = (client.database.clone(), self.name.clone());
            let collection_names = vec![collection_name.clone()];
            client.ask("index", &Flush { db_name: db_name.clone(), collection_names })?;
            client.ask(
                "index",
                &ReleaseCollection {
                    db_name: db_name.clone(),
                    collection_name: collection_name.clone(),
                },
            )?;
            let index_name =
                self.described_index(client)?.map_or_else(String::new, |i| i.index_name);
            let field_name = VECTOR.to_owned();
            client.ask("index", &DropIndex { db_name, collection_name, field_name, index_name })?;
            self.create_index(client, IndexKind::Hnsw)?;
            self.index = IndexKind::Hnsw;
        }
        self.wait_for_index(client)?;
        self.load(client)
    }

    fn create_index(&self, client: &mut Client, kind: IndexKind) -> Result<()> {
        let (index_type, params) = match kind {
            IndexKind::Hnsw => ("HNSW", r#"{"M": 16, "efConstruction": 200}"#),
            _ => ("FLAT", "{}"),
        };
        let create = CreateIndex {
            db_name: client.database.clone(),
            collection_name: self.name.clone(),
            field_name: VECTOR.to_owned(),
            extra_params: vec![
                pair("index_type", index_type),
                pair("metric_type", "IP"),
                pair("params", params),
            ],
            index_name: VECTOR.to_owned(),
        };
        client.ask("index", &create).map(drop)
    }

    fn described_index(&self, client: &mut Client) -> Result<Option<Index>> {
        let describe = DescribeIndex {
            db_name: client.database.clone(),
            collection_name: self.name.clone(),
            field_name: VECTOR.to_owned(),
        };
        let found = client.look("read the index of", &describe)?;
        let descriptions = found.map(|found| found.descriptions).unwrap_or_default();
        Ok(descriptions.into_iter().find(|index| index.field_name == VECTOR))
    }

    fn wait_for_index(&self, client: &mut Client) -> Result<()> {
        loop {
            let index = self.described_index(client)?.unwrap_or_default();
            if index.state == Index::FINISHED {
                return Ok(());
            }
            if index.state == Index::FAILED {
                return Err(Error::input(format!(
                    "the server at `{}` could not build the index",
                    client.address
                ))
                .caused_by(index.fail_reason));
            }
            interrupt::check("all documents are pushed, run the command again for their index")?;
            thread::sleep(GLANCE);
        }
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        if self.is_loaded(client)? {
            return Ok(());
        }
        let (db_name, collection_name) = (client.database.clone(), self.name.clone());
        client.ask("load", &LoadCollection { db_name, collection_name, replica_number: 1 })?;
        while !self.is_loaded(client)? {
            interrupt::check("the server goes on loading the collection, run the command again")?;
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn is_loaded(&self, client: &mut Client) -> Result<bool> {
        let (db_name, collection_name) = (client.database.clone(), self.name.clone());
        let state = client.ask("read", &GetLoadState { db_name, collection_name })?.state;
        Ok(state == LoadState::LOADED)
    }
}

fn place(client: &Client) -> String {
    format!("the collection at `{}`", client.address)
}

fn kind_of(index: &Index) -> IndexKind {
    let kind = index.params.iter().find(|pair| pair.key == "index_type");
    match kind.map(|pair| pair.value.as_str()) {
        Some("FLAT") => IndexKind::Flat,
        Some("HNSW") => IndexKind::Hnsw,
        _ => IndexKind::Other,
    }
}

/// A name and its value, as Milvus takes whatever has no field of its own.
pub(super) fn pair(key: &str, value: impl ToString) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_string() }
}

#[cfg(test)]
mod on_milvus {
    use hpd_index::StoreModel;

    use super::*;

    fn client(test: &str) -> Client {
        let server = std::env::var("HPD_TEST_MILVUS").expect(
            "HPD_TEST_MILVUS is the address of a server; scripts/remote-round-trip.sh starts one",
        );
        let name = format!("Round_trip_{}_{test}", std::process::id());
        let address = server.parse::<crate::Address>().and_then(|a| a.with_collection(&name));
        Client::connect(&address.expect("an address")).expect("a server")
    }

    fn settings() -> StoreSettings {
        let model = StoreModel { dim: 8, ..StoreModel::default() };
        StoreSettings { model, ..StoreSettings::default() }
    }

    fn open_or_create(client: &mut Client) -> Result<Definition> {
        Definition::open_or_create(client, &settings(), Layout::default())
    }

    #[test]
    #[ignore = "needs a server"]
    fn somebody_elses_collection_is_left_alone() {
        let mut client = client("foreign");
        let name = client.address.collection().expect("a name").to_owned();
        let description = Description::new(FORMAT, Layout::default(), &settings());
        let theirs = Definition { name: name.clone(), description, index: IndexKind::Flat };
        let create = CreateCollection {
            collection_name: name,
            schema: theirs.schema().encode_to_vec(),
            ..CreateCollection::default()
        };
        client.ask("make", &create).expect("a collection");
        for refused in [Definition::open(&mut client).err(), open_or_create(&mut client).err()] {
            let refused = refused.expect("it is not ours");
            assert!(refused.to_string().contains("no `hpd push` made it"), "{refused:?}");
        }
    }

    #[test]
    #[ignore = "needs a server"]
    fn a_collection_without_its_index_is_made_whole() {
        let mut client = client("no_index");
        let made = open_or_create(&mut client).expect("a collection");
        let (db_name, collection_name) = (String::new(), made.name.clone());
        let release = ReleaseCollection { db_name, collection_name: collection_name.clone() };
        client.ask("release", &release).expect("it is loaded");
        let index_name =
            made.described_index(&mut client).expect("an answer").expect("an index").index_name;
        let field_name = VECTOR.to_owned();
        let drop = DropIndex { db_name: String::new(), collection_name, field_name, index_name };
        client.ask("drop the index of", &drop).expect("there is one");
        let refused = Definition::open(&mut client).err().expect("it is not loaded");
        assert!(refused.hint_text().is_some_and(|hint| hint.contains("hpd push")), "{refused:?}");
        let mut again = open_or_create(&mut client).expect("it is made whole");
        assert_eq!(again.index, IndexKind::Flat);
        again.build_graph(&mut client).expect("it is ready");
        let again = Definition::open(&mut client).expect("an answer").expect("it is there");
        assert_eq!(again.index, IndexKind::Hnsw);
    }
}
