//! Which model a verb takes: the one that is named, by folder or as one of those that come with hpd, that of
//! `HPD_MODEL`, or the default.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::{Answer, Workshop, assert_refused, command, tiny_model};

/// A folder of two models that differ, the first of them the default.
fn place(folder: &Path) {
    tiny_model::write(&folder.join("tiny-quality"), 11);
    tiny_model::write(&folder.join("tiny-speed"), 12);
    let registry = r#"{"default": "tiny-quality", "models": {"tiny-quality": "quality", "tiny-speed": "speed"}}"#;
    fs::write(folder.join("hpd-models.json"), registry).unwrap();
}

/// A workshop with such a folder, `models`.
fn with_place() -> Workshop {
    let shop = Workshop::new();
    place(&shop.path("models"));
    shop
}

/// `hpd` that finds this folder first, and no network.
fn hpd(shop: &Workshop, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    alone(&mut command, shop).env("HPD_MODELS", shop.path("models"));
    command
}

/// Neither the user's own data nor the network.
fn alone<'a>(command: &'a mut Command, shop: &Workshop) -> &'a mut Command {
    command.env("XDG_DATA_HOME", shop.path("data")).env("HF_HUB_OFFLINE", "1")
}

fn run(command: &mut Command) -> Answer {
    Answer(command.output().unwrap())
}

/// Vectors of a few texts as printed, and what was said.
fn embed(shop: &Workshop, arguments: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    let texts = shop.texts(5);
    let call = ["embed", "--input", &texts, "--output", "-"];
    let answer = run(hpd(shop, &[&call, arguments].concat()).envs(variables.iter().copied()));
    (answer.stdout(), answer.stderr())
}

#[test]
fn the_default_is_used_where_none_is_named_and_said() {
    let shop = with_place();
    let (default, said) = embed(&shop, &[], &[]);
    let folder = shop.name("models/tiny-quality");
    let line =
        format!("no model is named; using `tiny-quality`, which comes with hpd (`{folder}`)\n");
    assert!(said.starts_with(&line), "{said}");
    let (named, said) = embed(&shop, &["--model", &folder], &[]);
    assert!(!said.contains("no model is named"), "{said}");
    assert_eq!(default, named);
    let (quiet, said) = embed(&shop, &["--quiet"], &[]);
    assert_eq!((quiet, said.as_str()), (default, ""));
}

#[test]
fn what_is_typed_comes_before_the_variable_and_the_variable_before_the_default() {
    let shop = with_place();
    let model = shop.name("model");
    let (plain, speed) = (
        embed(&shop, &["--model", &model], &[]).0,
        embed(&shop, &["--model", "tiny-speed"], &[]).0,
    );
    let (default, _) = embed(&shop, &[], &[]);
    assert!(plain != speed && speed != default && plain != default);

    let (vectors, said) = embed(&shop, &[], &[("HPD_MODEL", "tiny-speed")]);
    assert_eq!(vectors, speed);
    assert!(said.contains("using `tiny-speed`, which HPD_MODEL names\n"), "{said}");
    let (vectors, _) = embed(&shop, &["--model", "tiny-speed"], &[("HPD_MODEL", &model)]);
    assert_eq!(vectors, speed);
    let (vectors, _) = embed(&shop, &[], &[("HPD_MODEL", &model)]);
    assert_eq!(vectors, plain);
    let (vectors, _) = embed(&shop, &[], &[("HPD_MODEL", "")]);
    assert_eq!(vectors, default, "an empty variable is one that is not set");
}

#[test]
fn a_folder_of_the_same_name_comes_first_but_is_not_the_default() {
    let shop = with_place();
    tiny_model::write(&shop.path("here/tiny-quality"), 13);
    let texts = shop.texts(5);
    let embed = |arguments: &[&str]| {
        let call = [&["embed", "--input", &texts, "--output", "-"], arguments].concat();
        run(hpd(&shop, &call).current_dir(shop.path("here"))).stdout()
    };
    let (here, shipped) = (shop.name("here/tiny-quality"), shop.name("models/tiny-quality"));
    assert_eq!(embed(&["--model", "tiny-quality"]), embed(&["--model", &here]));
    assert_eq!(embed(&[]), embed(&["--model", &shipped]));
}

#[test]
fn a_store_keeps_its_model_by_name_wherever_that_lies() {
    let shop = with_place();
    let (store, texts) = (shop.name("notes.hpd"), shop.texts(5));
    let created = run(&mut hpd(&shop, &["index", "create", "--store", &store, "--input", &texts]));
    assert!(created.stderr().contains("using `tiny-quality`"), "{}", created.stderr());
    let inspected = run(&mut hpd(&shop, &["--json", "inspect", &store])).stdout();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["model"], "tiny-quality");

    // The variable names a model of another space: a store has its own.
    let search = ["search", "--store", &store, "w1"];
    fs::rename(shop.path("models"), shop.path("moved")).unwrap();
    let mut moved = hpd(&shop, &search);
    moved.env("HPD_MODELS", shop.path("moved")).env("HPD_MODEL", "tiny-speed");
    let found = run(&mut moved);
    assert!(found.stdout().contains("rank"));
    assert_eq!(found.stderr(), "");
    let add = ["index", "add", "--store", &store, "--input", &texts];
    run(hpd(&shop, &add).env("HPD_MODELS", shop.path("moved"))).stdout();

    place(&shop.path("models"));
    fs::write(shop.path("models/hpd-models.json"), r#"{"models": {}}"#).unwrap();
    let mut without = command(&search);
    alone(&mut without, &shop).env("HPD_MODELS", shop.path("models"));
    assert_refused(
        &run(&mut without),
        &["cannot open `tiny-quality`, the model that the store remembers", "`--model DIR`"],
    );
}

#[test]
fn every_verb_takes_the_default_and_the_names() {
    let shop = with_place();
    let sts = shop.write(
        "toy_test.tsv",
        b"subset\tscore\tsentence1\tsentence2\na\t1\tw1 w2\tw1 w3\na\t0\tw4\tw5 w6\na\t2\tw7\tw7\n",
    );
    let (exported, results) = (shop.name("exported"), shop.name("results.json"));
    for (name, named) in [("tiny-quality", false), ("tiny-speed", true)] {
        let calls: [(&[&str], &[&str]); 3] = [
            (&["bench", "encode", "--rounds", "1"], &["--model", name]),
            (&["evaluate", "--sts", &sts, "--output", &results, "--overwrite"], &["--model", name]),
            (&["export", "--output", &exported, "--overwrite"], &[name]),
        ];
        for (call, model) in calls {
            let model = if named { model } else { &[] };
            let answer = run(&mut hpd(&shop, &[call, model].concat()));
            answer.stdout();
            assert_eq!(answer.stderr().contains("using `tiny-quality`"), !named, "{call:?}");
        }
        let results: Value = serde_json::from_slice(&fs::read(&results).unwrap()).unwrap();
        assert_eq!(results["models"][0]["name"], name);
        let inspect = |what: &str| {
            let facts = run(&mut hpd(&shop, &["--json", "inspect", what, "--verify"])).stdout();
            serde_json::from_str::<Value>(&facts).unwrap()
        };
        assert_eq!(inspect(name)["weights"], inspect(&exported)["weights"]);
    }
}

#[test]
fn the_models_that_there_are_can_be_listed() {
    let shop = with_place();
    let table = run(&mut hpd(&shop, &["inspect", "--models"])).stdout();
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    let (quality, speed) = (shop.name("models/tiny-quality"), shop.name("models/tiny-speed"));
    assert_eq!(lines[0], ["model", "best", "at", "size", "place"]);
    assert_eq!(lines[1][..3], ["tiny-quality", "(default)", "quality"]);
    assert_eq!(lines[1].last(), Some(&quality.as_str()));
    assert_eq!(lines[2][..2], ["tiny-speed", "speed"]);

    let json = run(&mut hpd(&shop, &["inspect", "--models", "--json"])).stdout();
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["default"], &lines[1]["default"]), (&true.into(), &false.into()));
    assert_eq!(lines[1]["path"], speed.as_str());
    assert!(lines[1]["bytes"].as_u64().unwrap() > 10_000);
}

#[test]
fn what_cannot_be_found_is_said_with_the_names_there_are() {
    let shop = with_place();
    let texts = shop.texts(1);
    let embed = ["embed", "--input", &texts, "--output", "-", "--model"];
    let answer = run(&mut hpd(&shop, &[&embed[..], &["tiny-qality"]].concat()));
    assert_refused(&answer, &["`tiny-qality`", "hint: ", "`tiny-quality`, `tiny-speed`"]);
    let answer = run(&mut hpd(&shop, &[&embed[..], &["tiny-speed", "--revision", "v1"]].concat()));
    assert_refused(&answer, &["has no revisions", "leave out `--revision`"]);
    let answer = run(&mut hpd(&shop, &["inspect", "tiny-qality"]));
    assert_refused(&answer, &["there is no `tiny-qality`", "hpd inspect --models"]);
    let nowhere = shop.name("nowhere");
    let answer = run(hpd(&shop, &embed[..5]).env("HPD_MODELS", &nowhere));
    assert_refused(&answer, &["`HPD_MODELS` is", &nowhere, "hpd-models.json"]);
    fs::remove_dir_all(shop.path("models/tiny-quality")).unwrap();
    assert_refused(&run(&mut hpd(&shop, &embed[..5])), &["lists the model `tiny-quality`"]);
}

/// A program as if it were installed, in `usr/local/bin` below a folder of its own, far enough from the clone.
struct Installed(tempfile::TempDir, Workshop);

impl Installed {
    fn new() -> Self {
        // On the file system of the program, which is not copied: a file that was just written may still be open
        // for writing in a process that another test starts, and then cannot be run.
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let installed = Self(root, Workshop::new());
        fs::create_dir_all(installed.path("usr/local/bin")).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_hpd"), installed.program()).unwrap();
        installed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path(&format!("usr/local/bin/hpd{}", std::env::consts::EXE_SUFFIX))
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(self.program());
        command
            .args(arguments)
            .env("HPD_THREADS", "1")
            .env_remove("HPD_MODEL")
            .env_remove("HPD_MODELS");
        run(alone(&mut command, &self.1))
    }

    fn embed(&self) -> Answer {
        self.run(&["embed", "--input", &self.1.texts(2), "--output", "-"])
    }
}

#[test]
fn models_are_found_beside_the_installed_program() {
    for models in ["usr/local/bin/models", "usr/local/share/hpd/models"] {
        let installed = Installed::new();
        place(&installed.path(models));
        let answer = installed.embed();
        let (_, said) = (answer.stdout(), answer.stderr());
        let folder = fs::canonicalize(installed.path(models)).unwrap().join("tiny-quality");
        assert!(said.contains(folder.to_str().unwrap()), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_the_program_leads_to_its_models() {
    let installed = Installed::new();
    place(&installed.path("usr/local/bin/models"));
    let link = installed.1.path("hpd");
    std::os::unix::fs::symlink(installed.program(), &link).unwrap();
    let mut command = Command::new(link);
    command.args(["inspect", "--models"]).env_remove("HPD_MODELS");
    assert!(run(alone(&mut command, &installed.1)).stdout().contains("tiny-speed"));
}

#[cfg(not(feature = "bundled-model"))]
#[test]
fn where_there_is_no_model_at_all_the_way_out_is_said() {
    let installed = Installed::new();
    let (texts, store) = (installed.1.texts(1), installed.1.name("store"));
    let exported = installed.1.name("exported");
    let calls: [&[&str]; 4] = [
        &["embed", "--input", &texts, "--output", "-"],
        &["index", "create", "--store", &store, "--input", &texts],
        &["bench", "encode"],
        &["export", "--output", &exported],
    ];
    for call in calls {
        let words = ["no model is named, and none comes with this hpd", "hint: ", "HPD_MODELS=DIR"];
        assert_refused(&installed.run(call), &words);
    }
    assert!(!installed.1.path("store").exists());
    let listed = installed.run(&["inspect", "--models"]);
    assert_eq!(listed.0.status.code(), Some(1));
}

#[cfg(feature = "bundled-model")]
#[test]
fn a_bundled_model_is_used_where_nothing_lies_beside_the_program() {
    let installed = Installed::new();
    let listed = installed.run(&["inspect", "--models"]).stdout();
    assert!(listed.contains("(default)") && listed.contains("in the program"), "{listed}");
    let answer = installed.embed();
    assert_eq!(answer.stdout().lines().count(), 2);
    let name = answer.stderr().split('`').nth(1).unwrap().to_owned();
    let folder = installed.1.path("data/hpd/bundled").join(&name);
    assert!(answer.stderr().contains(folder.to_str().unwrap()), "{}", answer.stderr());
    assert!(folder.join("config.json").is_file());
    assert_eq!(installed.run(&["inspect", &name, "--verify"]).0.status.code(), Some(0));
}
