//! `hpd push` and `hpd search --store postgres://…` or `milvus://…` as a person types them.
//!
//! What needs a server is ignored unless asked for; `scripts/remote-round-trip.sh` starts them and asks.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod support;

use support::{Workshop, assert_refused, hpd};

#[cfg(not(feature = "postgres"))]
#[test]
fn a_build_without_postgresql_says_how_to_get_it() {
    assert_missing("postgres://me:s3cret@localhost/db?table=notes", ["PostgreSQL", "postgres"]);
}

#[cfg(not(feature = "milvus"))]
#[test]
fn a_build_without_milvus_says_how_to_get_it() {
    assert_missing("milvus://me:s3cret@localhost/db?collection=notes", ["Milvus", "milvus"]);
}

#[cfg(not(all(feature = "postgres", feature = "milvus")))]
fn assert_missing(address: &str, [name, feature]: [&str; 2]) {
    let shop = Workshop::new();
    let store = shop.store(3);
    let said = [format!("was built without {name}"), format!("--features hpd-cli/{feature}")];
    for answer in [
        hpd(&["push", "--store", &store, "--to", address]),
        hpd(&["search", "--store", address, "w1"]),
    ] {
        assert_refused(&answer, &said.each_ref().map(String::as_str));
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
    assert_refused(&to("milvuss://host"), &["speaks no TLS", "ssh -L"]);
    assert_refused(&to("https://host:19530"), &["no engine `https`", "milvus://localhost:19530"]);
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

#[cfg(any(feature = "postgres", feature = "milvus"))]
mod with_a_server {
    use std::process::Stdio;
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::Value;

    use super::support::{command, tiny_model};
    use super::*;

    /// An engine, and where one runs.
    #[derive(Clone, Copy)]
    struct Server {
        /// Has the address.
        variable: &'static str,
        /// What it calls a collection.
        word: &'static str,
        /// An address where there is no server, and that without its password.
        nowhere: [&'static str; 2],
    }

    #[cfg(feature = "postgres")]
    const POSTGRES: Server = Server {
        variable: "HPD_TEST_POSTGRES",
        word: "table",
        nowhere: [
            "postgres://me:s3cret@127.0.0.1:1/database",
            "postgres://me@127.0.0.1:1/database",
        ],
    };

    #[cfg(feature = "milvus")]
    const MILVUS: Server = Server {
        variable: "HPD_TEST_MILVUS",
        word: "collection",
        nowhere: ["milvus://me:s3cret@127.0.0.1:1/database", "milvus://me@127.0.0.1:1/database"],
    };

    impl Server {
        /// An address with a collection of its own.
        fn place(self) -> String {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let Self { variable, word, .. } = self;
            let server = std::env::var(variable).unwrap_or_else(|_| {
                panic!(
                    "{variable} is the address of a server; scripts/remote-round-trip.sh starts one"
                )
            });
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let joint = if server.contains('?') { '&' } else { '?' };
            format!("{server}{joint}{word}=hpd_cli_{}_{number}", std::process::id())
        }
    }

    /// Makes each function a test for each engine.
    macro_rules! for_each_engine {
        ($($(#[$attribute:meta])* $test:ident,)*) => {
            #[cfg(feature = "postgres")]
            mod on_postgres {
                $($(#[$attribute])*
                #[test]
                #[ignore = "needs a server"]
                fn $test() {
                    super::$test(super::POSTGRES);
                })*
            }

            #[cfg(feature = "milvus")]
            mod on_milvus {
                $($(#[$attribute])*
                #[test]
                #[ignore = "needs a server"]
                fn $test() {
                    super::$test(super::MILVUS);
                })*
            }
        };
    }

    for_each_engine! {
        a_store_is_pushed_and_found,
        what_cannot_be_done_there_is_refused,
        #[cfg(unix)]
        a_push_that_was_killed_goes_on,
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

    fn a_store_is_pushed_and_found(server: Server) {
        let (shop, place) = (Workshop::new(), server.place());
        let store = shop.store(700);
        let push = |more: &[&str]| {
            let arguments = [&["push", "--store", &store, "--to", &place], more].concat();
            hpd(&arguments).stdout()
        };
        let said = push(&["--index", "none"]);
        assert!(
            said.starts_with("700 added, 0 changed, 0 unchanged, 0 pruned; 700 documents at"),
            "{said}"
        );
        assert_found_there(&place, &store, &["--exactness", "exact"]);
        assert!(push(&[]).starts_with("0 added, 0 changed, 700 unchanged"));
        let counts: Value = serde_json::from_str(&push(&["--prune", "--json"])).unwrap();
        assert_eq!(counts["unchanged"], 700);
        for more in [&["--exactness", "high"][..], &["--limit", "30"], &["--min-score", "0.5"]] {
            assert_found_there(&place, &store, more);
        }
        let table = |store: &str| hpd(&["search", "--store", store, "w1 w2 w3"]).stdout();
        assert_eq!(table(&place), table(&store));
    }

    fn assert_found_there(place: &str, store: &str, more: &[&str]) {
        let (there, here) = (hits(place, more), hits(store, more));
        assert_eq!(there.len(), here.len());
        for (there, here) in there.iter().zip(&here) {
            assert_eq!((&there["id"], &there["text"]), (&here["id"], &here["text"]));
            let (there, here) = (there["score"].as_f64().unwrap(), here["score"].as_f64().unwrap());
            assert!((there - here).abs() < 1e-5, "{there} {here}");
        }
    }

    fn what_cannot_be_done_there_is_refused(server: Server) {
        let (shop, place) = (Workshop::new(), server.place());
        let store = shop.store(3);
        let absent = hpd(&["search", "--store", &place, "w1"]);
        assert_refused(
            &absent,
            &[&format!("there is no {} at", server.word), "hpd push --store DIR"],
        );
        hpd(&["push", "--store", &store, "--to", &place]).stdout();
        let hybrid = hpd(&["search", "--store", &place, "w1", "--hybrid"]);
        assert_refused(&hybrid, &["leave `--hybrid` out"]);
        tiny_model::write(&shop.path("other"), 2);
        let other = shop.name("other");
        let foreign = hpd(&["search", "--store", &place, "w1", "--model", &other]);
        assert_refused(&foreign, &["holds vectors of", "use `--model"]);
        let [nowhere, shown] = server.nowhere;
        let unreachable = hpd(&["push", "--store", &store, "--to", nowhere]);
        let said = [&format!("cannot reach `{shown}"), "is the server running"];
        assert_refused(&unreachable, &said);
        assert!(!unreachable.stderr().contains("s3cret"), "{}", unreachable.stderr());
    }

    #[cfg(unix)]
    fn a_push_that_was_killed_goes_on(server: Server) {
        let (shop, place) = (Workshop::new(), server.place());
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
