//! What only PostgreSQL does.

use super::*;

pub(crate) fn server() -> Server {
    Server::of("HPD_TEST_POSTGRES", |place| sql(place, "DROP TABLE IF EXISTS TABLE_NAME"))
}

fn sql(place: &Address, statement: &str) {
    let mut client = postgres::Client::connect(&server().address, postgres::NoTls).unwrap();
    let table = format!("\"{}\"", place.collection().unwrap());
    client.batch_execute(&statement.replace("TABLE_NAME", &table)).unwrap();
}

#[test]
#[ignore = "needs a server"]
fn the_index_is_walked_and_finds_as_many_as_are_asked_for() {
    let shop = Shop::new(&server(), &numbered(1500));
    shop.push(Push { index: true, ..Push::default() }).unwrap();
    let few: Filter = "i < 20".parse().unwrap();
    // As with a table that is too large to be read for each query.
    let server = server().address;
    let joint = if server.contains('?') { '&' } else { '?' };
    let forced = "options=-c%20enable_seqscan%3Doff%20-c%20enable_sort%3Doff";
    let address: Address = format!("{server}{joint}{forced}").parse().unwrap();
    let address = address.with_collection(shop.address.collection().unwrap()).unwrap();
    let mut remote = open(&address).unwrap();
    let query = queries(&["one query"]);
    for (filter, limit, expected) in [(None, 10, 10), (None, 1300, 1300), (Some(&few), 15, 15)] {
        let search = Search { limit, filter, ..Search::default() };
        let hits = remote.search(&query, &search).unwrap().remove(0);
        let exact = shop.store.search_with(&query, &search).unwrap().remove(0);
        assert_nearly_all(&hits, &exact, expected);
    }
}

#[test]
#[ignore = "needs a server"]
fn somebody_elses_table_is_left_alone() {
    let shop = Shop::new(&server(), &numbered(3));
    let missing = open(&shop.address).err().unwrap();
    assert!(missing.hint_text().unwrap().contains("hpd push"), "{missing:?}");
    sql(&shop.address, "CREATE TABLE TABLE_NAME (id text)");
    for refused in [
        open(&shop.address).err().unwrap(),
        open_or_create(&shop.address, &settings(), Layout::default()).err().unwrap(),
    ] {
        assert!(refused.to_string().contains("no `hpd push` made it"), "{refused}");
    }
}

#[test]
#[ignore = "needs a server"]
fn sixteen_bits_cost_digits_and_no_hits() {
    let shop = Shop::new(&server(), &numbered(300));
    let layout = Layout { half: true };
    let mut half = open_or_create(&shop.address, shop.store.settings(), layout).unwrap();
    push(&shop.store, half.as_mut(), Push { index: true, ..Push::default() }, &Silent).unwrap();
    let query = queries(&["one query"]);
    let found = half.search(&query, &Search::default()).unwrap().remove(0);
    let exact = shop.store.search_with(&query, &Search::default()).unwrap().remove(0);
    for (found, exact) in found.iter().zip(&exact) {
        assert!((found.score - exact.score).abs() < 2e-3, "{found:?} {exact:?}");
    }
    assert_eq!(found[0].id, exact[0].id);
}

#[test]
#[ignore = "needs a server"]
fn nul_becomes_a_mark_in_texts_and_is_refused_in_ids() {
    let document = Document {
        id: "a".to_owned(),
        text: "x\0y".to_owned(),
        metadata: Map::from_iter([("k\0".to_owned(), json!(["\0", "\\u0000"]))]),
    };
    let mut shop = Shop::new(&server(), &[document]);
    assert_eq!(shop.push(Push::default()).unwrap().added, 1);
    assert_eq!(shop.push(Push::default()).unwrap().unchanged, 1);
    let hit = open(&shop.address)
        .unwrap()
        .search(&queries(&["q"]), &Search::default())
        .unwrap()
        .remove(0)
        .remove(0);
    assert_eq!(hit.text, "x\u{fffd}y");
    assert_eq!(Value::Object(hit.metadata), json!({"k\u{fffd}": ["\u{fffd}", "\\u0000"]}));
    for id in ["b\0c", &"x".repeat(3000)] {
        let named = Document { id: id.to_owned(), ..Document::default() };
        shop.add(std::slice::from_ref(&named));
        let refused = shop.push(Push::default()).unwrap_err();
        assert!(refused.to_string().contains("whose id has"), "{refused}");
        shop.store.delete(&[id]).unwrap();
    }
}

#[test]
#[ignore = "needs a server"]
fn texts_may_be_long() {
    let text = "a 'quoted' word\n".repeat(100_000);
    let shop =
        Shop::new(&server(), &[Document { id: "long".to_owned(), text, ..Document::default() }]);
    shop.push(Push::default()).unwrap();
    assert_found_as_in_the_store(&shop, &Search::default());
}
