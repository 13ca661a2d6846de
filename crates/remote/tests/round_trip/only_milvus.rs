//! What only Milvus does.

use super::*;

/// What tests make remains there: whoever pushes never drops a collection, and so has no words for it.
pub(crate) fn server() -> Server {
    Server::of("HPD_TEST_MILVUS", |_| ())
}

#[test]
#[ignore = "needs a server"]
fn exactness_is_refused_where_the_index_has_none() {
    let shop = Shop::new(&server(), &numbered(300));
    let exact = Search { exactness: Exactness::Exact, ..Search::default() };
    shop.push(Push::default()).unwrap();
    assert_found_as_in_the_store(&shop, &exact);
    shop.push(Push { index: true, ..Push::default() }).unwrap();
    let refused = open(&shop.address).unwrap().search(&queries(&["q"]), &exact).unwrap_err();
    assert!(refused.hint_text().unwrap().contains("--index none"), "{refused:?}");
}

#[test]
#[ignore = "needs a server"]
fn more_hits_than_milvus_gives_are_refused() {
    let shop = Shop::new(&server(), &numbered(3));
    shop.push(Push::default()).unwrap();
    let mut remote = open(&shop.address).unwrap();
    let search = |limit| Search { limit, ..Search::default() };
    assert_eq!(remote.search(&queries(&["q"]), &search(16_384)).unwrap()[0].len(), 3);
    let refused = remote.search(&queries(&["q"]), &search(16_385)).unwrap_err();
    assert!(refused.to_string().contains("at most 16384"), "{refused}");
    assert!(refused.hint_text().unwrap().contains("--limit"), "{refused:?}");
}

#[test]
#[ignore = "needs a server"]
fn what_an_expression_cannot_say_is_looked_for_further_away() {
    let several = |i: usize| {
        document(&format!("n{i}"), json!({"i": [i, i + 1], "s": "x".repeat(40) + &i.to_string()}))
    };
    let mut documents: Vec<_> = (0..2000).map(several).collect();
    documents.push(document("many", json!({"i": (0..5000).collect::<Vec<_>>()})));
    let shop = Shop::new(&server(), &documents);
    shop.push(Push::default()).unwrap();
    let long = "x".repeat(40);
    for written in [
        "i > 1990".to_owned(),
        "NOT i <= 1990".to_owned(),
        "i BETWEEN 4000 AND 4001".to_owned(),
        "i = 4999 OR i = 17".to_owned(),
        "i NOT EXISTS".to_owned(),
        format!("s > '{long}1990' AND s < '{long}1995'"),
        format!("NOT s < '{long}9'"),
    ] {
        let filter: Filter = written.parse().unwrap();
        assert_found_as_in_the_store(&shop, &Search { filter: Some(&filter), ..Search::default() });
    }
    let all: Filter = "i >= 0".parse().unwrap();
    let search = Search { filter: Some(&all), min_score: Some(0.7), ..Search::default() };
    assert_found_as_in_the_store(&shop, &search);
}

#[test]
#[ignore = "needs a server"]
fn long_texts_lose_their_end_and_long_ids_and_metadata_are_refused() {
    let long =
        Document { id: "long".to_owned(), text: "a€".repeat(40_000), ..Document::default() };
    let mut shop = Shop::new(&server(), &[long]);
    let mut collection = shop.collection();
    let (documents, vectors) = ([named("x", "é".repeat(32_768))], queries(&["x"]));
    let upserted = collection.upsert(&documents, &vectors).unwrap();
    assert_eq!((upserted.added, upserted.cut), (1, 1));
    assert_eq!(shop.push(Push { prune: true, ..Push::default() }).unwrap().pruned, 1);
    assert_eq!(shop.push(Push::default()).unwrap().unchanged, 1);
    let hit = collection.search(&queries(&["q"]), &Search::default()).unwrap().remove(0).remove(0);
    assert!(hit.text.len() > 65_530 && "a€".repeat(40_000).starts_with(&hit.text));
    let metadata = Map::from_iter([("k".to_owned(), json!("x".repeat(65_536)))]);
    for (refused, word) in [
        (Document { id: "m".to_owned(), metadata, ..Document::default() }, "whose metadata has"),
        (named(&"x".repeat(65_536), String::new()), "whose id has"),
    ] {
        shop.add(std::slice::from_ref(&refused));
        let said = shop.push(Push::default()).unwrap_err();
        assert!(said.to_string().contains(word), "{said}");
        shop.store.delete(&[refused.id.as_str()]).unwrap();
    }
}

fn named(id: &str, text: String) -> Document {
    Document { id: id.to_owned(), text, ..Document::default() }
}

#[test]
#[ignore = "needs a server"]
fn nul_is_kept() {
    let document = Document {
        id: "a\0".to_owned(),
        text: "x\0y".to_owned(),
        metadata: Map::from_iter([("k\0".to_owned(), json!(["\0", "\\u0000"]))]),
    };
    let shop = Shop::new(&server(), &[document]);
    assert_eq!(shop.push(Push::default()).unwrap().added, 1);
    assert_eq!(shop.push(Push { prune: true, ..Push::default() }).unwrap().unchanged, 1);
    assert_found_as_in_the_store(&shop, &Search::default());
}

#[test]
#[ignore = "needs a server"]
fn of_documents_with_the_same_id_the_last_stays() {
    let shop = Shop::new(&server(), &[]);
    let mut collection = shop.collection();
    let twice = ["first", "last"].map(|text| named("a", text.to_owned()));
    let vectors = queries(&["a", "a"]);
    assert_eq!(collection.upsert(&twice, &vectors).unwrap().added, 1);
    assert_eq!(collection.len().unwrap(), 1);
    let hits = collection.search(&queries(&["q"]), &Search::default()).unwrap().remove(0);
    assert_eq!(hits[0].text, "last");
}

#[test]
#[ignore = "needs a server"]
fn sixteen_bits_are_refused_by_a_server_without_them() {
    let shop = Shop::new(&server(), &numbered(300));
    match open_or_create(&shop.address, shop.store.settings(), Layout { half: true }) {
        Err(refused) => {
            assert!(refused.hint_text().unwrap().contains("without `--half`"), "{refused:?}");
        }
        // Milvus itself has them, the server that tests are made with does not.
        Ok(mut half) => {
            push(&shop.store, half.as_mut(), Push::default(), &Silent).unwrap();
            let query = queries(&["one query"]);
            let found = half.search(&query, &Search::default()).unwrap().remove(0);
            let exact = shop.store.search_with(&query, &Search::default()).unwrap().remove(0);
            for (found, exact) in found.iter().zip(&exact) {
                assert!((found.score - exact.score).abs() < 2e-3, "{found:?} {exact:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs a server"]
fn ids_come_in_pages_without_gaps() {
    let shop = Shop::new(&server(), &numbered(1000));
    shop.push(Push::default()).unwrap();
    let mut collection = shop.collection();
    let mut ids = collection.ids_after(None, 70).unwrap();
    while let Some(last) = ids.last().cloned() {
        let page = collection.ids_after(Some(&last), 70).unwrap();
        if page.is_empty() {
            break;
        }
        ids.extend(page);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
}
