//! A store through the command line: `hpd index`, `hpd search`, and what `hpd inspect` says of it.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Answer, Workshop, assert_refused, command, hpd};

const NOTES: &[u8] = br#"{"id": "spider", "text": "w1 w2 w3", "tag": "animal"}
{"id": "storm", "text": "w50 w51", "year": 1987}
{"id": 3, "text": "w100 w101 w102 w103"}
"#;

/// A workshop with a store of three notes.
fn notes() -> (Workshop, String) {
    let shop = Workshop::new();
    let (store, model) = (shop.name("notes.hpd"), shop.name("model"));
    let input = shop.write("notes.jsonl", NOTES);
    hpd(&["index", "create", "--store", &store, "--model", &model, "--input", &input]).stdout();
    (shop, store)
}

fn add(store: &str, input: &str) -> Answer {
    hpd(&["index", "add", "--store", store, "--input", input])
}

fn hits(store: &str, query: &str) -> Vec<Value> {
    let answer = hpd(&["search", "--store", store, query, "--json"]).stdout();
    answer.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn ids(store: &str) -> Vec<String> {
    let text = |hit: &Value| hit["id"].as_str().expect("an id").to_owned();
    let mut ids: Vec<_> = hits(store, "w1").iter().map(text).collect();
    ids.sort();
    ids
}

fn inspected(path: &str) -> Value {
    serde_json::from_str(&hpd(&["inspect", path, "--json"]).stdout()).expect("a line of JSON")
}

/// Snapshots without what changes from run to run.
fn stable(shop: &Workshop) -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&shop.name(""), "[FOLDER]/");
    settings.add_filter(r"[0-9a-f]{32}", "[FINGERPRINT]");
    settings.add_filter(r"\d+\.\d kB", "[SIZE]");
    settings.add_filter(r"0\.\d{3}\b", "0.###");
    settings.add_filter(r"hpd \d+\.\d+\.\d+", "hpd [VERSION]");
    settings.bind_to_scope()
}

#[test]
fn each_verb_says_what_it_did() {
    let shop = Workshop::new();
    let _stable = stable(&shop);
    let (store, model) = (shop.name("notes.hpd"), shop.name("model"));
    let input = shop.write("notes.jsonl", NOTES);
    let create = hpd(&["index", "create", "--store", &store, "--model", &model, "--input", &input]);
    insta::assert_snapshot!(create.stdout(), @"3 added, 0 replaced, 0 with new metadata, 0 unchanged; 3 documents in all");

    let more = br#"{"id": "spider", "text": "w1 w2 w3", "tag": "insect"}
{"id": "storm", "text": "w50 w52"}
{"id": "new", "text": "w7"}"#;
    let added = add(&store, &shop.write("more.jsonl", more));
    insta::assert_snapshot!(added.stdout(), @"1 added, 1 replaced, 1 with new metadata, 0 unchanged; 4 documents in all");

    let deleted = hpd(&["index", "delete", "--store", &store, "storm", "unheard"]);
    insta::assert_snapshot!(deleted.stdout(), @"1 of 2 deleted; 3 documents remain");

    let found = hpd(&["search", "--store", &store, "w1 w2 w3", "--limit", "2"]);
    insta::assert_snapshot!(found.stdout(), @r"
    rank   score  id      text
       1   1.000  spider  w1 w2 w3
       2   0.###  3       w100 w101 w102 w103
    ");
    insta::assert_snapshot!(hpd(&["inspect", &store, "--verify"]).stdout(), @r"
    store `[FOLDER]/notes.hpd`
    documents        3
    dimensions       32
    bytes            [SIZE]
    bytes of codes   128 bytes
    model            [FOLDER]/model
    space            [FINGERPRINT]
    weights seen     [FINGERPRINT]
    query prompt     the model's own
    document prompt  the model's own
    max seq length   the model's own
    format           2
    created by       hpd [VERSION]
    complete         yes
    whole            yes
    ");
    insta::assert_snapshot!(hpd(&["inspect", &model]).stdout(), @r"
    model `[FOLDER]/model`
    architecture        bert
    layers              2
    hidden width        32
    feed-forward width  64
    attention heads     2
    vocabulary          204
    pooling             mean
    head                Normalize
    dimensions          32
    normalizes          yes
    max seq length      64
    prompts             none
    default prompt      none
    parameters          25792
    stored as           float
    bytes               [SIZE]
    weights             [FINGERPRINT]
    space               [FINGERPRINT]
    ");
}

#[test]
fn a_hit_is_a_line_of_json_with_all_that_is_known() {
    let (_shop, store) = notes();
    let found = hits(&store, "w1 w2 w3");
    assert_eq!(found.len(), 3);
    let best = &found[0];
    assert!((best["score"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{best}");
    assert_eq!(
        (&best["query"], &best["rank"], &best["id"], &best["text"], &best["metadata"]),
        (
            &json!("w1 w2 w3"),
            &json!(1),
            &json!("spider"),
            &json!("w1 w2 w3"),
            &json!({"tag": "animal"})
        )
    );
    let scores: Vec<_> = found.iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert!(ids(&store).contains(&"3".to_owned()), "a number is an id too");
}

#[test]
fn many_queries_are_answered_in_order() {
    let (shop, store) = notes();
    let queries = shop.write("queries.txt", b"w50 w51\n\nw1 w2 w3\n");
    let search = ["search", "--store", &store, "-k", "1", "--queries", &queries];
    let lines = hpd(&[&search[..], &["--json"]].concat()).stdout();
    let found: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pairs: Vec<_> = found.iter().map(|hit| (&hit["query"], &hit["id"])).collect();
    assert_eq!(
        pairs,
        [(&json!("w50 w51"), &json!("storm")), (&json!("w1 w2 w3"), &json!("spider"))]
    );
    assert!(hpd(&search).stdout().starts_with("w50 w51:\nrank"));
}

#[test]
fn no_is_exit_status_1() {
    let (shop, store) = notes();
    let none = hpd(&["search", "--store", &store, "w1", "--min-score", "1.5"]);
    assert_eq!(none.0.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&none.0.stdout), "no hits\n");
    assert_eq!(hpd(&["index", "delete", "--store", &store, "x"]).0.status.code(), Some(1));

    let empty = shop.name("empty.hpd");
    hpd(&["index", "create", "--store", &empty, "--model", &shop.name("model")]).stdout();
    assert_eq!(hpd(&["search", "--store", &empty, "w1"]).0.status.code(), Some(1));
}

#[test]
fn ids_to_delete_come_from_a_file_too() {
    let (shop, store) = notes();
    let file = shop.write("ids.txt", b"storm\n3\n\nunheard\n");
    let deleted = hpd(&["index", "delete", "--store", &store, "--ids", &file, "--json"]).stdout();
    assert_eq!(deleted, "{\"deleted\":2,\"documents\":1}\n");
    assert_eq!(ids(&store), ["spider"]);
}

#[test]
fn a_filter_narrows_search_and_deletion() {
    let (_shop, store) = notes();
    let search =
        |filter: &str| hpd(&["search", "--store", &store, "w1", "--json", "--filter", filter]);
    let found = search("tag = 'animal' OR year > 2000").stdout();
    assert!(found.lines().count() == 1 && found.contains("spider"), "{found}");
    assert_eq!(search("tag = 'plant'").0.status.code(), Some(1));
    let refused = search("tag == 'animal'");
    assert_refused(&refused, &["cannot read the filter", "\n      ^", "hint: equality is one `=`"]);

    let delete = |filter: &str| hpd(&["index", "delete", "--store", &store, "--filter", filter]);
    assert_eq!(delete("tag EXISTS").stdout(), "1 deleted; 2 documents remain\n");
    assert_eq!(delete("tag EXISTS").0.status.code(), Some(1));
    assert_eq!(ids(&store), ["3", "storm"]);
}

#[test]
fn hybrid_search_counts_the_very_word_whatever_stands_around_it() {
    let (_shop, store) = notes();
    let hybrid = ["search", "--store", &store, "--hybrid", "--json"];
    for (query, id) in [("w51", "storm"), ("w103 NEAR(\"", "3"), ("w3*", "spider")] {
        let found = hpd(&[&hybrid[..], &[query]].concat()).stdout();
        let mut hits = found.lines().map(|hit| serde_json::from_str::<Value>(hit).unwrap());
        let hit = hits.find(|hit| hit["id"] == id).expect("all are found");
        // The weight of the words, which only this one has.
        assert!(hit["score"].as_f64().unwrap() > 0.399, "{query}: {hit}");
    }
    let filtered = hpd(&[&hybrid[..], &["w51", "--filter", "tag = 'animal'"]].concat()).stdout();
    assert!(filtered.lines().count() == 1 && filtered.contains("spider"), "{filtered}");
}

#[test]
fn lines_of_text_are_named_by_what_they_say() {
    let (shop, store) = notes();
    let first = shop.write("first.txt", b"w5 w6\n\n  \nw7 w8\nw5 w6\n");
    let report = hpd(&["index", "add", "--store", &store, "--input", &first, "--json"]).stdout();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["added"], &report["documents"]), (&json!(2), &json!(5)));

    let moved = shop.write("moved.txt", b"w9\nw7 w8\nw5 w6\n");
    assert!(add(&store, &moved).stdout().starts_with("1 added, 0 replaced"));
}

#[test]
fn long_texts_and_skipped_records_are_counted() {
    let (shop, store) = notes();
    let long = "w1 ".repeat(100);
    let lines = format!("{{\"text\": \"{long}\"}}\n{{\"text\": \n");
    let input = shop.write("long.jsonl", lines.as_bytes());
    let answer = hpd(&["index", "add", "--store", &store, "--input", &input, "--skip-bad"]);
    answer.stdout();
    let said = answer.stderr();
    assert!(said.contains("1 texts were longer") && said.contains("1 bad records"), "{said}");
}

#[test]
fn prompts_and_lengths_hold_for_all_that_follows() {
    let shop = Workshop::new();
    let (store, model) = (shop.name("s.hpd"), shop.name("model"));
    let create = ["index", "create", "--store", &store, "--model", &model];
    let settings = ["--query-prompt", "w9 ", "--document-prompt", "w8 ", "--max-seq-length", "8"];
    hpd(&[&create[..], &settings].concat()).stdout();
    let added = add(&store, &shop.write("long.txt", b"w1 w2\nw1 w2 w3 w4 w5 w6 w7 w8 w9\n"));
    added.stdout();
    assert!(added.stderr().contains("1 texts were longer"), "{}", added.stderr());
    let about = inspected(&store);
    assert_eq!(
        (&about["query_prompt"], &about["document_prompt"], &about["max_seq_length"]),
        (&json!("w9 "), &json!("w8 "), &json!(8))
    );
    // The document was embedded as `w8 w1 w2`; only that very query has its vector.
    let plain = hits(&store, "w1 w2")[0]["score"].as_f64().unwrap();
    assert!(plain < 0.9999, "{plain}");
}

#[test]
fn a_model_that_moved_is_told_and_can_be_named() {
    let (shop, store) = notes();
    fs::rename(shop.path("model"), shop.path("elsewhere")).unwrap();
    let refused = hpd(&["search", "--store", &store, "w1"]);
    assert_refused(&refused, &["the model that the store remembers", "hint: ", "--model DIR"]);
    let elsewhere = shop.name("elsewhere");
    hpd(&["search", "--store", &store, "--model", &elsewhere, "w1"]).stdout();
    // Adding with a model makes the store remember it.
    let input = shop.write("more.txt", b"w8\n");
    hpd(&["index", "add", "--store", &store, "--model", &elsewhere, "--input", &input]).stdout();
    hpd(&["search", "--store", &store, "w1"]).stdout();
}

#[test]
fn a_store_that_is_not_there_is_told_with_how_to_make_it() {
    let shop = Workshop::new();
    let (store, input) = (shop.name("none.hpd"), shop.write("a.txt", b"w1\n"));
    assert_refused(&add(&store, &input), &["is not there", "hpd index create --store"]);
    assert_refused(&hpd(&["search", "--store", &store, "w1"]), &["is not there"]);
    assert!(!Path::new(&store).exists());
}

#[test]
fn nothing_is_made_for_input_or_a_model_that_is_not_there() {
    let shop = Workshop::new();
    let (store, model) = (shop.name("s.hpd"), shop.name("model"));
    let (no_input, no_model) = (shop.name("no.txt"), shop.name("no-model"));
    let create = ["index", "create", "--store", &store, "--model"];
    let answer = hpd(&[&create[..], &[&model, "--input", &no_input]].concat());
    assert_refused(&answer, &["no.txt"]);
    assert_refused(&hpd(&[&create[..], &[&no_model]].concat()), &["no-model"]);
    assert!(!Path::new(&store).exists());
}

/// `ulimit -f` lets a file grow to so many blocks; with its signal ignored, writing fails as on a full disk.
#[cfg(unix)]
#[test]
fn a_file_size_limit_loses_nothing_that_stood() {
    let (shop, store) = notes();
    let input = shop.texts(3_000);
    let script = "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\"";
    let answer = support::shell(script, &["index", "add", "--store", &store, "--input", &input]);
    assert_refused(&answer, &["cannot add to the store", "file size limit"]);
    let about = hpd(&["inspect", "--verify", &store]);
    assert!(about.0.status.success(), "{}", about.stderr());
    assert!(add(&store, &input).stdout().ends_with("3003 documents in all\n"));
}

/// Runs a script for which mounts are its own affair, with `hpd` as `"$0"` and `arguments`. `None`, with a word, where a
/// user may not do that.
#[cfg(target_os = "linux")]
#[allow(clippy::print_stderr, reason = "who runs the tests is told what did not run")]
fn with_own_mounts(script: &str, arguments: &[&str]) -> Option<Answer> {
    let mounts = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"])
        .output();
    if !mounts.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this user may not mount anything, even in a name space of its own");
        return None;
    }
    let mut command = std::process::Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-euc", script]);
    command.arg(env!("CARGO_BIN_EXE_hpd")).args(arguments).env("HPD_THREADS", "1");
    Some(Answer(command.output().expect("unshare starts")))
}

/// A disk of four megabytes: what does not fit is refused, what stood is found and can be searched on the full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing_and_is_searched() {
    let (shop, store) = notes();
    let (disk, some, many) = (shop.name("disk"), shop.texts(1_500), shop.texts(20_000));
    fs::create_dir(&disk).unwrap();
    hpd(&["index", "add", "--store", &store, "--input", &some]).stdout();
    // $1 disk, $2 store, $3 texts
    let script = r#"
        mount -t tmpfs -o size=4m none "$1"
        cp -r "$2" "$1/store"
        cat /dev/zero > "$1/filling" 2>/dev/null && exit 88
        "$0" search --store "$1/store" --limit 1 "w100 w101 w102 w103" --json || exit 89
        rm "$1/filling"
        "$0" index add --store "$1/store" --input "$3" && exit 90
        test $? = 2 || exit 91
        cat /dev/zero > "$1/filling" 2>/dev/null && exit 92
        "$0" search --store "$1/store" --limit 1 "w100 w101 w102 w103" --json || exit 93
        rm -f "$1/store/codes" && cat /dev/zero >> "$1/filling" 2>/dev/null && exit 94
        "$0" search --store "$1/store" --limit 1 "w100 w101 w102 w103" --json || exit 95
        test ! -e "$1/store/.codes.unfinished" || exit 97
        rm "$1/filling"
        "$0" inspect --verify "$1/store" >&2 || exit 96
    "#;
    let Some(answer) = with_own_mounts(script, &[&disk, &store, &many]) else { return };
    let (said, found) = (answer.stderr(), answer.stdout());
    assert!(said.contains("cannot add to the store") && said.contains("space"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let lines: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|hit| hit["id"] == "3"), "{found}");
}

/// A mount that is read-only holds for everybody, also for root.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_store_is_searched_and_refuses_changes() {
    let (shop, store) = notes();
    let texts = shop.texts(3);
    // $1 store, $2 texts
    let script = r#"
        mount --bind "$1" "$1"
        mount -o remount,bind,ro "$1"
        "$0" search --store "$1" --limit 1 "w100 w101 w102 w103" --json || exit 90
        "$0" inspect --verify "$1" >&2 || exit 91
        "$0" index add --store "$1" --input "$2" && exit 92
        test $? = 2 || exit 93
        "$0" index compact --store "$1" && exit 94
        test $? = 2 || exit 95
    "#;
    let Some(answer) = with_own_mounts(script, &[&store, &texts]) else { return };
    let (said, found) = (answer.stderr(), answer.stdout());
    assert!(said.contains("error: ") && !said.contains("panicked"), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap()["id"], "3", "{found}");
    assert!(add(&store, &texts).stdout().ends_with("6 documents in all\n"));
}

#[test]
fn a_newer_format_and_a_foreign_database_are_refused() {
    let (shop, store) = notes();
    let database = shop.path("notes.hpd/store.sqlite");
    let mut bytes = fs::read(&database).unwrap();
    // Bytes 60 to 63 of an SQLite file are the user version, 68 to 71 the application id.
    bytes[63] = 9;
    fs::write(&database, &bytes).unwrap();
    assert_refused(
        &hpd(&["search", "--store", &store, "w1"]),
        &["has format 9", "formats up to 2"],
    );
    bytes[71] ^= 1;
    fs::write(&database, &bytes).unwrap();
    assert_refused(&hpd(&["inspect", &store]), &["not an hpd store"]);
}

#[test]
fn what_is_not_whole_is_exit_status_1() {
    let (shop, store) = notes();
    let database = shop.path("notes.hpd/store.sqlite");
    let mut bytes = fs::read(&database).unwrap();
    let text = b"w100 w101 w102 w103";
    let at = bytes.windows(text.len()).position(|window| window == text).expect("it is stored");
    bytes[at] = b'x';
    fs::write(&database, &bytes).unwrap();
    assert!(hpd(&["inspect", &store]).0.status.success(), "only `--verify` looks at every byte");
    let verified = hpd(&["inspect", &store, "--verify"]);
    assert_eq!(verified.0.status.code(), Some(1));
    let said = String::from_utf8_lossy(&verified.0.stdout).into_owned();
    assert!(said.contains("not whole: row 3 of `documents` does not match its checksum"), "{said}");
    assert_refused(&hpd(&["search", "--store", &store, "w1"]), &["is damaged", "hint: "]);
}

#[test]
fn a_store_is_kept_in_order() {
    let (shop, store) = notes();
    let many = shop.texts(3_000);
    hpd(&["index", "add", "--store", &store, "--input", &many, "--durability", "normal"]).stdout();
    let about = inspected(&store);
    assert!(about["bytes_of_codes"].as_u64().unwrap() > 0, "{about}");
    let verified = hpd(&["index", "verify", "--store", &store]).stdout();
    assert_eq!(verified, "3003 documents, all whole\n");
    assert!(hpd(&["index", "compact", "--store", &store]).stdout().contains(" before, "));

    let codes = shop.path("notes.hpd/codes");
    let mut bytes = fs::read(&codes).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&codes, bytes).unwrap();
    let verified = hpd(&["index", "verify", "--store", &store, "--json"]);
    assert_eq!(verified.0.status.code(), Some(1), "{}", verified.stderr());
    hpd(&["search", "--store", &store, "w1 w2", "--exactness", "exact"]).stdout();
    hpd(&["search", "--store", &store, "w1 w2", "--exactness", "exact"]).stdout();
    hpd(&["index", "verify", "--store", &store]).stdout();
    let refused = hpd(&["search", "--store", &store, "w1", "--exactness", "somewhat"]);
    assert!(refused.stderr().contains("expected exact, high or fast"), "{}", refused.stderr());
}

#[test]
fn documents_are_exported_with_their_vectors() {
    let (shop, store) = notes();
    let (lines, table) = (shop.name("notes.jsonl"), shop.name("notes.parquet"));
    let refused = hpd(&["index", "export", "--store", &store, "--output", &lines]);
    assert_refused(&refused, &["there already", "--overwrite"]);
    hpd(&["index", "export", "--store", &store, "--output", &lines, "--overwrite"]).stdout();
    let first: Value =
        serde_json::from_str(fs::read_to_string(&lines).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["id"], &first["text"], &first["metadata"]["tag"]),
        (&json!("spider"), &json!("w1 w2 w3"), &json!("animal"))
    );
    assert_eq!(first["embedding"].as_array().unwrap().len(), 32);
    hpd(&["index", "export", "--store", &store, "--output", &table]).stdout();
    // What was exported can be made a store again.
    let (again, model) = (shop.name("again.hpd"), shop.name("model"));
    let create = hpd(&["index", "create", "--store", &again, "--model", &model, "--input", &table]);
    assert!(create.stdout().starts_with("3 added"));
    assert_eq!(ids(&again), ids(&store));
    let npy = shop.name("notes.npy");
    let refused = hpd(&["index", "export", "--store", &store, "--output", &npy]);
    assert_refused(&refused, &["no place for texts"]);
}

#[test]
fn documents_are_embedded_anew_with_another_model() {
    let (shop, store) = notes();
    let other = shop.name("other");
    support::tiny_model::write(&shop.path("other"), 2);
    assert_refused(
        &hpd(&["search", "--store", &store, "--model", &other, "w1"]),
        &["holds vectors of"],
    );
    let said = hpd(&["index", "re-embed", "--store", &store, "--model", &other]).stdout();
    assert!(said.starts_with("3 documents embedded anew"), "{said}");
    let found = hits(&store, "w1 w2 w3");
    assert_eq!(found[0]["id"], json!("spider"));
    assert!((found[0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    hpd(&["index", "verify", "--store", &store]).stdout();
}

#[test]
fn other_things_are_told_for_what_they_are() {
    let shop = Workshop::new();
    let header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    npy.extend(header);
    npy.resize(127, b' ');
    npy.push(b'\n');
    npy.extend([0.5f32; 6].iter().flat_map(|number| number.to_le_bytes()));
    let vectors = inspected(&shop.write("v.npy", &npy));
    assert_eq!(
        (&vectors["kind"], &vectors["rows"], &vectors["dimensions"], &vectors["type"]),
        (&json!("vectors"), &json!(2), &json!(3), &json!("float32"))
    );

    fs::create_dir(shop.path("student.run")).unwrap();
    shop.write("student.run/run.json", br#"{"version": 1, "status": "running", "output": "student", "binding": {}, "results": null}"#);
    shop.write("student.run/metrics.jsonl", b"{\"step\": 1}\n{\"step\": 2, \"loss\": 0.5}\n{\"st");
    let run = inspected(&shop.name("student.run"));
    assert_eq!(
        (&run["kind"], &run["status"], &run["last_metrics"]["step"]),
        (&json!("run"), &json!("running"), &json!(2))
    );

    assert_eq!(inspected(&shop.name("model"))["kind"], json!("model"));
    assert_refused(&hpd(&["inspect", &shop.name("")]), &["neither a model folder, a store"]);
    assert_refused(&hpd(&["inspect", &shop.name("nothing")]), &["there is no"]);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (_shop, store) = notes();
    let mut child = command(&["search", "--store", &store, "w1", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("hpd starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("hpd ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn neighbours_of_a_document_and_near_duplicates_are_found() {
    let (shop, store) = notes();
    let copies = br#"{"id": "copy", "text": "w1 w2 w3"}
{"id": "second copy", "text": "w1 w2 w3"}"#;
    add(&store, &shop.write("copies.jsonl", copies)).stdout();

    let similar = hpd(&["similar", "--store", &store, "spider", "--limit", "2", "--json"]).stdout();
    let hits: Vec<Value> =
        similar.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["copy", "second copy"]);
    assert!(hits[0].get("query").is_none() && hits[0]["rank"] == 1);
    assert_refused(&hpd(&["similar", "--store", &store, "unheard"]), &["no document `unheard`"]);
    let none = hpd(&["similar", "--store", &store, "spider", "--filter", "year = 3"]);
    assert_eq!((none.0.status.code(), none.0.stdout.as_slice()), (Some(1), &b"no hits\n"[..]));

    let groups = hpd(&["dedupe", "--store", &store, "--threshold", "0.999", "--json"]).stdout();
    let group: Value = serde_json::from_str(groups.trim()).unwrap();
    let documents = group["documents"].as_array().unwrap();
    let ids: Vec<_> = documents.iter().map(|document| document["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["spider", "copy", "second copy"]);
    let none = hpd(&["dedupe", "--store", &store, "--threshold", "1.5"]);
    assert_eq!(none.0.status.code(), Some(1));
    assert_refused(&hpd(&["dedupe", "--store", &store, "--threshold", "nan"]), &["no number"]);
}
