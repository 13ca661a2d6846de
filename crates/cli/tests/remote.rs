//! `hpd push` and `hpd search --store postgres://…` as a person types them.
//!
//! What needs a server is ignored unless asked for; `scripts/remote-round-trip.sh` starts one and asks.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod support;

use support::{Workshop, assert_refused, hpd};

#[test]
#[cfg(not(feature = "postgres"))]
fn a_build_without_the_engine_says_how_to_get_it() {
    let shop = Workshop::new();
    let store = shop.store(3);
    let address = "postgres://me:s3cret@localhost/database?table=notes";
    for answer in [
        hpd(&["push", "--store", &store, "--to", address]),
        hpd(&["search", "--store", address, "w1"]),
    ] {
        let said = ["this hpd was built without PostgreSQL", "--features hpd-cli/postgres"];
        assert_refused(&answer, &said);
        assert!(!answer.stderr().contains("s3cret"));
    }
}

#[test]
fn wrong_addresses_are_refused_before_anything_else() {
    let shop = Workshop::new();
    let store = shop.store(3);
    let to = |address: &str| hpd(&["push", "--store", &store, "--to", address]);
    assert_refused(&to("notes"), &["`notes` is no address", "postgres://user@host"]);
    assert_refused(&to("mysql://me:s3cret@host"), &["no engine `mysql`"]);
    assert_refused(&to("postgres://host?table=a'b"), &["`a'b` is no name of a table"]);
    let two = ["push", "--store", &store, "--to", "postgres://host?table=a", "--collection", "b"];
    assert_refused(&hpd(&two), &["`--collection` names `b`"]);
    let folder = ["search", "--store", &store, "w1", "--collection", "a"];
    assert_refused(&hpd(&folder), &["is a folder"]);
}

#[test]
fn verbs_for_folders_do_not_repeat_an_address() {
    let shop = Workshop::new();
    let (model, texts) = (shop.name("model"), shop.texts(3));
    let store = "postgres://me:s3cret@host/database?table=notes";
    for arguments in [
        ["similar", "--store", store, "1"].as_slice(),
        &["index", "add", "--store", store, "--input", &texts],
        &["index", "create", "--store", store, "--model", &model, "--input", &texts],
    ] {
        let answer = hpd(arguments);
        assert_refused(&answer, &["a store is a folder here", "hpd search --store ADDRESS"]);
        assert!(!answer.stderr().contains("s3cret"), "{arguments:?}");
    }
}

#[cfg(feature = "postgres")]
mod with_a_server {
    use std::process::Stdio;
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::Value;

    use super::support::{command, tiny_model};
    use super::*;

    /// An address with a table of its own.
    fn place() -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("HPD_TEST_POSTGRES").expect(
            "HPD_TEST_POSTGRES is the address of a server; scripts/remote-round-trip.sh starts one",
        );
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let joint = if server.contains('?') { '&' } else { '?' };
        format!("{server}{joint}table=hpd_cli_{}_{number}", std::process::id())
    }

    /// How many documents are there, or none where there is no table yet.
    fn documents(place: &str) -> u64 {
        let collection = hpd_remote::open(&place.parse().unwrap());
        collection.and_then(|mut collection| collection.len()).unwrap_or(0)
    }

    fn hits(store: &str, more: &[&str]) -> Vec<Value> {
        let arguments = [&["search", "--store", store, "w1 w2 w3", "--json"], more].concat();
        let lines = hpd(&arguments).stdout();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    #[ignore = "needs a server"]
    fn a_store_is_pushed_and_found() {
        let (shop, place) = (Workshop::new(), place());
        let store = shop.store(700);
        let push = |more: &[&str]| {
            let arguments = [&["push", "--store", &store, "--to", &place], more].concat();
            hpd(&arguments).stdout()
        };
        let said = push(&[]);
        assert!(
            said.starts_with("700 added, 0 changed, 0 unchanged, 0 pruned; 700 documents at"),
            "{said}"
        );
        assert!(push(&[]).starts_with("0 added, 0 changed, 700 unchanged"));
        let counts: Value = serde_json::from_str(&push(&["--prune", "--json"])).unwrap();
        assert_eq!(counts["unchanged"], 700);
        for more in [&["--exactness", "exact"][..], &["--limit", "30"], &["--min-score", "0.5"]] {
            let (there, here) = (hits(&place, more), hits(&store, more));
            assert_eq!(there.len(), here.len());
            for (there, here) in there.iter().zip(&here) {
                assert_eq!((&there["id"], &there["text"]), (&here["id"], &here["text"]));
                let (there, here) =
                    (there["score"].as_f64().unwrap(), here["score"].as_f64().unwrap());
                assert!((there - here).abs() < 1e-5, "{there} {here}");
            }
        }
        let table = |store: &str| hpd(&["search", "--store", store, "w1 w2 w3"]).stdout();
        assert_eq!(table(&place), table(&store));
    }

    #[test]
    #[ignore = "needs a server"]
    fn what_cannot_be_done_there_is_refused() {
        let (shop, place) = (Workshop::new(), place());
        let store = shop.store(3);
        let absent = hpd(&["search", "--store", &place, "w1"]);
        assert_refused(&absent, &["there is no table at", "hpd push --store DIR"]);
        hpd(&["push", "--store", &store, "--to", &place]).stdout();
        let hybrid = hpd(&["search", "--store", &place, "w1", "--hybrid"]);
        assert_refused(&hybrid, &["leave `--hybrid` out"]);
        tiny_model::write(&shop.path("other"), 2);
        let other = shop.name("other");
        let foreign = hpd(&["search", "--store", &place, "w1", "--model", &other]);
        assert_refused(&foreign, &["holds vectors of", "use `--model"]);
        let nowhere = "postgres://me:s3cret@127.0.0.1:1/database";
        let unreachable = hpd(&["push", "--store", &store, "--to", nowhere]);
        assert_refused(
            &unreachable,
            &["cannot reach `postgres://me@127.0.0.1:1/database", "is the server running"],
        );
        assert!(!unreachable.stderr().contains("s3cret"), "{}", unreachable.stderr());
    }

    #[test]
    #[cfg(unix)]
    #[ignore = "needs a server"]
    fn a_push_that_was_killed_goes_on() {
        let (shop, place) = (Workshop::new(), place());
        let store = shop.store(8000);
        let arguments = ["push", "--store", &store, "--to", &place, "--json"];
        let mut push = command(&arguments).stdout(Stdio::null()).spawn().unwrap();
        while documents(&place) == 0 {
            assert!(push.try_wait().unwrap().is_none(), "it ended before a document was seen");
        }
        push.kill().unwrap();
        push.wait().unwrap();
        let stood = documents(&place);
        assert!((1..8000).contains(&stood), "{stood}");
        let counts: Value = serde_json::from_str(&hpd(&arguments).stdout()).unwrap();
        assert_eq!(counts["documents"], 8000);
        assert!(counts["unchanged"].as_u64().unwrap() >= stood, "{counts}");
        let again: Value = serde_json::from_str(&hpd(&arguments).stdout()).unwrap();
        assert_eq!(again["unchanged"], 8000);
    }
}
