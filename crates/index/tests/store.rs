//! What a store refuses, keeps and says.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::fs;
use std::path::Path;

use hpd_files::{Error, ErrorKind, Silent};
use hpd_index::{
    Document, Hit, Indexed, Search, Standing, Store, StoreModel, StoreSettings, index_documents,
};
use proptest::prelude::*;

mod support;
use support::{DIM, document, matrix, settings, vector_of};

fn new_store(folder: &tempfile::TempDir) -> (std::path::PathBuf, Store) {
    let path = folder.path().join("notes.hpd");
    let store = Store::create(&path, &settings()).unwrap();
    (path, store)
}

fn add(store: &mut Store, documents: &[Document]) -> hpd_files::Result<()> {
    let vectors: Vec<_> = documents.iter().map(|document| vector_of(&document.text)).collect();
    store.add(documents, &matrix(&vectors))
}

/// Runs SQL on the database of a store behind its back.
fn tamper(store: &Path, sql: &str) {
    let database = rusqlite::Connection::open(store.join("store.sqlite")).unwrap();
    database.execute_batch(sql).unwrap();
}

fn refusal<T>(result: hpd_files::Result<T>) -> String {
    format!("{:?}", result.err().expect("this must be refused"))
}

#[test]
fn a_new_store_is_empty_whole_and_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = new_store(&folder);
    assert!(store.is_empty().unwrap());
    assert!(!store.is_complete().unwrap());
    assert_eq!(store.settings(), &settings());
    assert_eq!(store.verify().unwrap(), [""; 0]);
    drop(store);
    let files: Vec<_> =
        fs::read_dir(&path).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["store.sqlite"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn settings_come_back_as_they_were_given() {
    let folder = tempfile::tempdir().unwrap();
    let given = StoreSettings {
        query_prompt: Some("query: ".to_owned()),
        document_prompt: Some(String::new()),
        max_seq_length: Some(64),
        model: StoreModel { revision: Some("main".to_owned()), ..settings().model },
    };
    let path = folder.path().join("s.hpd");
    Store::create(&path, &given).unwrap();
    assert_eq!(Store::open_read_only(&path).unwrap().settings(), &given);
}

/// Read twice: from the input and from the database.
#[test]
fn numbers_of_metadata_keep_their_last_digit() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut store) = new_store(&folder);
    let numbers: Vec<f64> = (1..2000).map(|i| (f64::from(i) * 0.7).sin() * 1e3).collect();
    let line = format!("{{\"id\":\"a\",\"text\":\"t\",\"numbers\":{numbers:?}}}");
    let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
    let mut given = document("a", "t");
    given.metadata = read;
    add(&mut store, &[given]).unwrap();
    let mut found = Vec::new();
    store
        .for_each_document(|document, _| {
            let list = document.metadata["numbers"].as_array().unwrap().clone();
            found.extend(list.iter().map(|number| number.as_f64().unwrap()));
            Ok(())
        })
        .unwrap();
    assert_eq!(found, numbers);
}

#[test]
fn create_refuses_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _store) = new_store(&folder);
    let said = refusal(Store::create(&path, &settings()));
    assert!(said.contains("already there") && said.contains("hpd index add"), "{said}");

    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(refusal(Store::create(&file, &settings())).contains("already there"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let of_others = folder.path().join("of others");
    fs::create_dir(&of_others).unwrap();
    fs::write(of_others.join("file"), "precious").unwrap();
    assert!(refusal(Store::create(&of_others, &settings())).contains("not empty"));
    assert!(refusal(Store::create(Path::new("/"), &settings())).contains("not a name"));
}

#[test]
fn making_a_store_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    add(&mut store, &[document("a", "one")]).unwrap();
    drop(store);
    let other = StoreSettings { max_seq_length: Some(64), ..settings() };
    assert!(refusal(Store::create_or_continue(&path, &other)).contains("was begun with other"));
    let mut store = Store::create_or_continue(&path, &settings()).unwrap();
    assert_eq!(store.len().unwrap(), 1);
    store.set_complete().unwrap();
    drop(store);
    assert!(refusal(Store::create_or_continue(&path, &settings())).contains("already there"));
}

#[test]
fn create_takes_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    fs::create_dir(&path).unwrap();
    assert!(Store::create(&path, &settings()).is_ok());
}

#[test]
fn a_missing_store_is_told_with_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    for open in [Store::open, Store::open_read_only] {
        let said = refusal(open(&folder.path().join("none.hpd")));
        assert!(said.contains("is not there") && said.contains("hpd index create"), "{said}");
        assert!(refusal(open(folder.path())).contains("has no `store.sqlite`"));
    }
}

#[test]
fn what_is_no_database_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("store.sqlite"),
        "no database at all, but long enough ".repeat(40),
    )
    .unwrap();
    for open in [Store::open, Store::open_read_only] {
        let said = refusal(open(folder.path()));
        assert!(said.contains("is not an SQLite database") && said.contains("hint:"), "{said}");
    }
}

#[test]
fn a_database_of_others_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    tamper(folder.path(), "CREATE TABLE theirs (a)");
    let before = fs::read(folder.path().join("store.sqlite")).unwrap();
    for open in [Store::open, Store::open_read_only] {
        assert!(refusal(open(folder.path())).contains("not an hpd store"));
    }
    assert_eq!(fs::read(folder.path().join("store.sqlite")).unwrap(), before);
}

#[test]
fn a_later_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = new_store(&folder);
    drop(store);
    tamper(&path, "PRAGMA user_version = 3");
    let said = refusal(Store::open(&path));
    assert!(said.contains("has format 3, and this hpd reads formats up to 2"), "{said}");
}

#[test]
fn a_cut_off_database_is_told_as_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    let documents: Vec<_> =
        (0..500).map(|i| document(&i.to_string(), &format!("text {i}"))).collect();
    add(&mut store, &documents).unwrap();
    drop(store);
    let database = path.join("store.sqlite");
    let bytes = fs::read(&database).unwrap();
    fs::write(&database, &bytes[..bytes.len() / 2]).unwrap();
    let told = match Store::open_read_only(&path) {
        Ok(store) => refusal(store.search(&[1.0; DIM], 500)),
        Err(error) => format!("{error:?}"),
    };
    assert!(told.contains("is damaged"), "{told}");
}

#[test]
fn damage_is_noticed_or_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    let documents: Vec<_> =
        (0..300).map(|i| document(&i.to_string(), &format!("text {i}"))).collect();
    add(&mut store, &documents).unwrap();
    let hits = store.search(&[1.0; DIM], 300).unwrap();
    drop(store);
    let database = path.join("store.sqlite");
    let bytes = fs::read(&database).unwrap();
    let mut noticed = 0;
    for round in 0..60 {
        let mut damaged = bytes.clone();
        let at = (round * 104_729 + round * round * 7_919) % bytes.len();
        let length = (1 << (round % 10)).min(bytes.len() - at);
        damaged[at..at + length].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&database, &damaged).unwrap();
        match whole_hits(&path) {
            Some(found) => assert_eq!(found, hits, "{length} bytes changed at {at}"),
            None => noticed += 1,
        }
    }
    println!("{noticed} of 60 damages were noticed");
}

/// The first page holds SQLite's header and the table definitions, the second and third the settings.
#[test]
fn a_damaged_head_of_the_database_is_an_error_or_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    add(&mut store, &["a", "b", "c"].map(|id| document(id, id))).unwrap();
    let hits = store.search(&[1.0; DIM], 3).unwrap();
    drop(store);
    let database = path.join("store.sqlite");
    let whole = fs::read(&database).unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) };
    let place = prop_oneof![0usize..100, 0usize..4_096, 0usize..20_000];
    proptest!(config, |(at in place, bytes in prop::collection::vec(any::<u8>(), 1..9))| {
        let mut damaged = whole.clone();
        let range = at..(at + bytes.len()).min(damaged.len());
        damaged[range.clone()].copy_from_slice(&bytes[..range.len()]);
        fs::write(&database, &damaged).unwrap();
        if let Some(found) = whole_hits(&path) {
            prop_assert_eq!(&found[..], &hits[..found.len()]);
        }
        // A writer neither panics nor waits for ever.
        if let Ok(mut store) = Store::open(&path) {
            let _ = add(&mut store, &[document("d", "d")]);
            let _ = store.delete(&["a"]);
            let _ = store.derive_codes();
        }
        for name in ["store.sqlite-wal", "store.sqlite-shm", "store.sqlite-journal", "codes"] {
            let _ = fs::remove_file(path.join(name));
        }
    });
}

/// What a search of the whole store finds, unless something says that it is not whole.
fn whole_hits(path: &Path) -> Option<Vec<Hit>> {
    let store = Store::open_read_only(path).ok()?;
    let hits = store.search(&[1.0; DIM], 300).ok()?;
    store.verify().ok()?.is_empty().then_some(hits)
}

#[test]
fn verify_finds_what_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    let documents: Vec<_> = ["a", "b", "c", "d"].map(|id| document(id, id)).into();
    add(&mut store, &documents).unwrap();
    assert_eq!(store.verify().unwrap(), [""; 0]);
    drop(store);
    let nan: String = f32::NAN.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    tamper(
        &path,
        &format!(
            "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;
             UPDATE vectors SET vector = x'{}' WHERE row = 1;
             UPDATE vectors SET vector = x'00' WHERE row = 2;
             DELETE FROM vectors WHERE row = 3; DELETE FROM documents WHERE row = 4;",
            nan.repeat(DIM)
        ),
    );
    let store = Store::open_read_only(&path).unwrap();
    let problems = store.verify().unwrap().join("\n");
    for expected in [
        "row 1 has a number that is not finite",
        "row 2 is not 8 numbers long",
        "1 rows of `documents` are not in `vectors`",
        "1 rows of `vectors` are not in `documents`",
        "CHECK constraint failed",
        "row 1 of `vectors` does not match its checksum",
    ] {
        assert!(problems.contains(expected), "{expected} is not in:\n{problems}");
    }
    assert!(refusal(store.search(&[1.0; DIM], 5)).contains("row 2 has another width"));
}

#[test]
fn a_model_of_another_space_is_refused_by_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut store) = new_store(&folder);
    let other = StoreModel {
        name: "models/other".to_owned(),
        space: "space-2".to_owned(),
        ..settings().model
    };
    let error = store.check_space(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let said = format!("{error:?}");
    for word in ["models/student", "space-1", "models/other", "space-2", "--model models/student"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert!(store.remember_model(&other).is_err());
}

#[test]
fn other_weights_of_the_same_space_are_taken_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    let second = StoreModel {
        name: "models/int8".to_owned(),
        weights: "weights-2".to_owned(),
        ..settings().model
    };
    store.remember_model(&second).unwrap();
    drop(store);
    let store = Store::open_read_only(&path).unwrap();
    assert_eq!(store.settings().model, second);
    assert_eq!(store.summary().unwrap().weights_seen, ["weights-1", "weights-2"]);
}

#[test]
fn vectors_that_do_not_fit_are_refused_and_nothing_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut store) = new_store(&folder);
    let documents = [document("a", "one"), document("b", "two")];
    let mut not_finite = matrix(&[[0.5; DIM], [0.5; DIM]]);
    not_finite.data[DIM + 3] = f32::INFINITY;
    let narrow = hpd_files::vectors::Matrix { data: vec![0.0; 8], dim: 4 };

    assert!(refusal(store.add(&documents, &not_finite)).contains("`b` has a number that is not"));
    assert!(refusal(store.add(&documents, &narrow)).contains("shape [2, 8], found [2, 4]"));
    assert!(refusal(store.add(&documents, &matrix(&[[0.5; DIM]]))).contains("found [1, 8]"));
    assert!(refusal(add(&mut store, &[document("", "one")])).contains("empty id"));
    assert!(store.is_empty().unwrap());
    store.add(&[], &matrix(&[])).unwrap();
}

#[test]
fn equal_vectors_are_duplicates_however_they_are_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut store) = new_store(&folder);
    let length = 1.0 / (DIM as f32 + 1.0).sqrt();
    let vectors = [[length; DIM], [length; DIM], [-length; DIM]].map(|mut vector| {
        vector[0] *= 2.0_f32.sqrt();
        vector
    });
    store.add(&["a", "b", "c"].map(|id| document(id, id)), &matrix(&vectors)).unwrap();
    let groups = store.near_duplicates(1.0, &Silent).unwrap();
    let ids: Vec<Vec<_>> =
        groups.iter().map(|group| group.iter().map(|hit| &hit.id[..]).collect()).collect();
    assert_eq!(ids, [["a", "b"]]);
}

#[test]
fn queries_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, store) = new_store(&folder);
    assert!(refusal(store.search(&[1.0; 4], 1)).contains("has 4 dimensions"));
    assert!(refusal(store.search(&[], 1)).contains("has 0 dimensions"));
    assert!(refusal(store.search(&[f32::NAN; DIM], 1)).contains("not finite"));
    let search = Search { min_score: Some(f32::NAN), ..Search::default() };
    assert!(refusal(store.search_with(&matrix(&[[1.0; DIM]]), &search)).contains("no number"));
}

#[test]
fn texts_ids_and_metadata_come_back_to_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut store) = new_store(&folder);
    let mut strange = document("nul \0, quote ', 日本", "line\none\0two 🦀 \u{202e}");
    strange.metadata.insert("nested".to_owned(), serde_json::json!({"a": [1, 2.5, null, "\0"]}));
    add(&mut store, std::slice::from_ref(&strange)).unwrap();
    let hit = store.search(&[1.0; DIM], 1).unwrap().pop().unwrap();
    assert_eq!((hit.id, hit.text, hit.metadata), (strange.id, strange.text, strange.metadata));
}

#[test]
fn documents_are_compared_with_what_stands() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut store) = new_store(&folder);
    add(&mut store, &[document("a", "one two")]).unwrap();
    let mut other_metadata = document("a", "one two");
    other_metadata.metadata.clear();
    let standings = store
        .compare(&[
            document("a", "one two"),
            other_metadata,
            document("a", "three"),
            document("b", "one two"),
        ])
        .unwrap();
    use Standing::{MetadataDiffers, New, Same, TextDiffers};
    assert_eq!(standings, [Same, MetadataDiffers, TextDiffers, New]);
}

/// Indexes with an encoder that remembers what it was given, and fails when it has had enough.
fn index(
    store: &mut Store,
    documents: &[Document],
    patience: usize,
) -> (hpd_files::Result<Indexed>, Vec<String>) {
    let mut encoded: Vec<String> = Vec::new();
    let documents = documents.iter().cloned().map(Ok);
    let indexed = index_documents(
        store,
        documents,
        |texts| {
            if encoded.len() + texts.len() > patience {
                return Err(Error::input("enough"));
            }
            encoded.extend(texts.iter().map(|text| (*text).to_owned()));
            Ok(matrix(&texts.iter().map(|text| vector_of(text)).collect::<Vec<_>>()))
        },
        &Silent,
    );
    (indexed, encoded)
}

#[test]
fn only_texts_that_are_not_there_are_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut store) = new_store(&folder);
    let mut documents = vec![document("a", "one"), document("b", "two"), document("c", "three")];
    let (indexed, _) = index(&mut store, &documents, usize::MAX);
    assert_eq!(indexed.unwrap(), Indexed { added: 3, ..Indexed::default() });

    documents[0].text = "another".to_owned();
    documents[1].metadata.insert("tag".to_owned(), "x".into());
    documents.push(document("d", "four"));
    let (indexed, encoded) = index(&mut store, &documents, usize::MAX);
    assert_eq!(indexed.unwrap(), Indexed { added: 1, replaced: 1, updated: 1, unchanged: 1 });
    assert_eq!(encoded, ["another", "four"]);
    let hits = store.search(&vector_of("two"), 4).unwrap();
    assert!(hits.iter().any(|hit| hit.id == "b" && hit.metadata["tag"] == "x"));
}

#[test]
fn of_one_id_in_one_batch_the_last_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut store) = new_store(&folder);
    let documents = [document("a", "old"), document("b", "two"), document("a", "new")];
    let (_, encoded) = index(&mut store, &documents, usize::MAX);
    assert_eq!(encoded, ["two", "new"]);
    assert_eq!(store.len().unwrap(), 2);
}

#[test]
fn stopped_and_started_again_is_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<_> =
        (0..1_300).map(|i| document(&format!("id {i}"), &format!("text {i}"))).collect();
    let contents = |store: &Store| store.search(&[0.0; DIM], 2_000).unwrap();

    let mut whole = Store::create(&folder.path().join("whole.hpd"), &settings()).unwrap();
    index(&mut whole, &documents, usize::MAX).0.unwrap();
    let mut stopped = Store::create(&folder.path().join("stopped.hpd"), &settings()).unwrap();
    let (failed, encoded) = index(&mut stopped, &documents, 1_100);
    assert!(failed.is_err());
    assert_eq!(stopped.len().unwrap(), encoded.len() as u64);
    let (resumed, again) = index(&mut stopped, &documents, usize::MAX);
    assert_eq!(resumed.unwrap().unchanged, encoded.len() as u64);
    assert_eq!(encoded.len() + again.len(), documents.len());
    // All scores tie, so this is the order of insertion too.
    assert_eq!(contents(&stopped), contents(&whole));
}

fn everything(store: &Store) -> Vec<(Document, Vec<f32>)> {
    let mut documents = Vec::new();
    let take = |document, vector: &[f32]| {
        documents.push((document, vector.to_vec()));
        Ok(())
    };
    store.for_each_document(take).unwrap();
    documents
}

#[test]
fn embedding_anew_changes_nothing_until_all_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    let documents: Vec<_> =
        (0..1_300).map(|i| document(&format!("id {i}"), &format!("text {i}"))).collect();
    add(&mut store, &documents).unwrap();
    let before = everything(&store);
    let model = StoreModel {
        name: "models/other".to_owned(),
        weights: "weights-2".to_owned(),
        space: "space-2".to_owned(),
        dim: 3,
        ..settings().model
    };
    let other = StoreSettings { model, ..settings() };
    let new_vectors = |texts: &[&str]| {
        let data = texts.iter().flat_map(|text| vector_of(text)[..3].to_vec()).collect();
        hpd_files::vectors::Matrix { data, dim: 3 }
    };

    let mut stale = Store::open(&path).unwrap();
    let mut calls = 0;
    let stopped = store.re_embed(
        &other,
        |texts| {
            calls += 1;
            if calls == 3 { Err(Error::input("enough")) } else { Ok(new_vectors(texts)) }
        },
        &Silent,
    );
    assert!(stopped.is_err());
    assert_eq!(everything(&store), before);
    assert_eq!(Store::open(&path).unwrap().settings(), &settings());

    // Others go on meanwhile.
    stale.delete(&["id 7", "id 1290"]).unwrap();
    add(&mut stale, &[document("late", "late text")]).unwrap();
    let embedded = store.re_embed(&other, |texts| Ok(new_vectors(texts)), &Silent).unwrap();
    assert_eq!(embedded, 1_300 - 1_024 - 1 + 1, "what was embedded before is embedded again");
    assert_eq!(store.settings(), &other);
    assert_eq!(store.verify().unwrap(), [""; 0]);
    let after = everything(&store);
    assert_eq!(after.len(), 1_299);
    for (document, vector) in &after {
        assert_eq!(vector[..], vector_of(&document.text)[..3]);
    }
    assert_eq!(store.search(&[1.0; 3], 5).unwrap().len(), 5);
    for said in [
        refusal(add(&mut stale, &[document("too late", "text")])),
        refusal(stale.search(&[1.0; DIM], 5)),
    ] {
        assert!(said.contains("another model meanwhile") && said.contains("hint:"), "{said}");
    }
}

#[test]
fn of_two_who_embed_anew_the_first_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    let documents: Vec<_> = (0..600).map(|i| document(&i.to_string(), "text")).collect();
    add(&mut store, &documents).unwrap();
    let by = |weights: &str| {
        let model = StoreModel {
            weights: weights.to_owned(),
            space: format!("space of {weights}"),
            ..settings().model
        };
        StoreSettings { model, ..settings() }
    };
    let all = |texts: &[&str], number: f32| matrix(&vec![[number; DIM]; texts.len()]);
    let mut other = Store::open(&path).unwrap();
    let mut calls = 0;
    let encode_first = |texts: &[&str]| {
        calls += 1;
        if calls == 2 {
            // Begins anew, since it is by another model, and is stopped in its midst.
            let mut calls = 0;
            let stopped = |texts: &[&str]| {
                calls += 1;
                if calls == 2 { Err(Error::input("enough")) } else { Ok(all(texts, 2.0)) }
            };
            assert!(other.re_embed(&by("second"), stopped, &Silent).is_err());
        }
        Ok(all(texts, 1.0))
    };
    let said = refusal(store.re_embed(&by("first"), encode_first, &Silent));
    assert!(said.contains("another process") && said.contains("hint:"), "{said}");
    let embedded = other.re_embed(&by("second"), |texts| Ok(all(texts, 2.0)), &Silent).unwrap();
    assert_eq!(embedded, 88);
    assert!(everything(&other).iter().all(|(_, vector)| *vector == [2.0; DIM]));
    let model = StoreModel { weights: "third".to_owned(), ..settings().model };
    let said = refusal(store.remember_model(&model));
    assert!(said.contains("another model meanwhile"), "{said}");
    assert_eq!(Store::open(&path).unwrap().settings(), &by("second"));
}

#[test]
fn a_writer_goes_on_after_another_has_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    add(&mut store, &["a", "b", "c", "d"].map(|id| document(id, id))).unwrap();
    let mut other = Store::open(&path).unwrap();
    for id in ["a", "b", "c"] {
        store.compact().unwrap();
        assert_eq!(other.delete(&[id]).unwrap(), 1);
        other.compact().unwrap();
        add(&mut store, &[document(&format!("new {id}"), id)]).unwrap();
    }
    assert_eq!(other.verify().unwrap(), [""; 0]);
    assert_eq!(store.len().unwrap(), 4);
}

#[test]
fn a_full_disk_loses_nothing_that_stood() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    add(&mut store, &[document("a", "one")]).unwrap();
    store.limit_pages(40).unwrap();
    let long = "many words ".repeat(2_000);
    let documents: Vec<_> = (0..50).map(|i| document(&format!("id {i}"), &long)).collect();
    let said = refusal(add(&mut store, &documents));
    assert!(said.contains("cannot add to the store") && said.contains("no space left"), "{said}");
    assert_eq!(store.len().unwrap(), 1);
    store.delete(&["a"]).unwrap();
    drop(store);
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.verify().unwrap(), [""; 0]);
    add(&mut store, &documents).unwrap();
}

#[test]
fn a_copy_in_a_folder_without_write_permission_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = new_store(&folder);
    add(&mut store, &[document("a", "one")]).unwrap();
    drop(store);
    let permissions = |path: &Path, read_only| {
        let mut permissions = fs::metadata(path).unwrap().permissions();
        permissions.set_readonly(read_only);
        fs::set_permissions(path, permissions).unwrap();
    };
    permissions(&path.join("store.sqlite"), true);
    permissions(&path, true);
    let found = Store::open_read_only(&path).and_then(|store| store.search(&[1.0; DIM], 1));
    let may_write_anyway = fs::write(path.join("probe"), "").is_ok();
    permissions(&path, false);
    assert_eq!(found.unwrap()[0].id, "a");
    if may_write_anyway {
        println!("run by a user who may write everywhere: shows little");
    }
}
