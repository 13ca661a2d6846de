//! Which files of a repository make a model.
//!
//! The same question is asked twice: of the hub's list, to fetch no more than is needed (a repository often
//! holds the weights five times over, for ONNX, OpenVINO, TensorFlow …), and of a snapshot in the cache, to
//! know whether it is whole.

use std::collections::BTreeSet;
use std::path::Path;

use crate::int8;
use crate::modules::{MODULES, Module, Router};

/// The file that lists the parts of a pickled checkpoint.
const PICKLE_INDEX: &str = "pytorch_model.bin.index.json";

/// The modules of a folder; a folder without a list is one Transformer.
pub(super) fn modules(list: Option<&str>) -> Result<Vec<Module>, serde_json::Error> {
    list.map_or_else(|| Ok(vec![Module::alone("Transformer")]), serde_json::from_str)
}

/// The same with those behind a router, whose own list is `router`.
pub(super) fn routed(
    mut modules: Vec<Module>,
    router: &str,
) -> Result<Vec<Module>, serde_json::Error> {
    let router: Router = serde_json::from_str(router)?;
    let place = modules.first().map_or_else(String::new, |module| module.path.clone());
    modules.extend(router.all(&place));
    Ok(modules)
}

/// Where the list of a router lies, if there is one.
pub(super) fn router_file(modules: &[Module]) -> Option<String> {
    modules.first().and_then(Module::router_file)
}

/// Those of a repository's files that `hpd` can use, in the order to fetch them: weights last, so that a
/// snapshot with weights has everything.
pub(super) fn wanted<'names>(
    names: &BTreeSet<&'names str>,
    modules: &[Module],
) -> Vec<&'names str> {
    let folders: BTreeSet<&str> =
        modules.iter().map(|module| module.path.as_str()).chain([""]).collect();
    let in_modules = names.iter().copied().filter(|name| folders.contains(parts(name).0));
    let mut wanted: Vec<_> = in_modules.filter(|name| is_wanted(name, names)).collect();
    wanted.sort_by_key(|name| (is_weights(name), *name));
    wanted
}

/// `folder/name` → (`folder`, `name`).
fn parts(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

fn is_wanted(path: &str, names: &BTreeSet<&str>) -> bool {
    let (folder, name) = parts(path);
    let beside = |other: &str| {
        let other = if folder.is_empty() { other.to_owned() } else { format!("{folder}/{other}") };
        names.contains(other.as_str())
    };
    let whole = beside("model.safetensors");
    let sharded = beside("model.safetensors.index.json");
    // Beside floats they are left: a model is what other programs take it for.
    let int8 = !whole && !sharded && beside(int8::FILE);
    let pickled = !whole && !sharded && !int8;
    let is_shard = |start: &str| name.starts_with(start) && name.contains("-of-");
    match name {
        "model.safetensors" | "README.md" => true,
        "model.safetensors.index.json" => !whole,
        int8::FILE => int8,
        "pytorch_model.bin" => pickled,
        PICKLE_INDEX => pickled && !beside("pytorch_model.bin"),
        _ if name.ends_with(".bin") => {
            pickled
                && !beside("pytorch_model.bin")
                && beside(PICKLE_INDEX)
                && is_shard("pytorch_model-")
        }
        "sentencepiece.bpe.model" | "spiece.model" | "tokenizer.model" => true,
        _ if name.ends_with(".safetensors") => !whole && sharded && is_shard("model-"),
        _ => [".json", ".txt"].iter().any(|end| name.ends_with(end)) && !name.contains(".index."),
    }
}

/// Whether a snapshot has all that its modules need. `lists_modules` tells a model that has no
/// `modules.json` from one of which that file was not fetched.
pub(super) fn is_whole(snapshot: &Path, lists_modules: bool) -> bool {
    let list = std::fs::read_to_string(snapshot.join(MODULES)).ok();
    if lists_modules && list.is_none() {
        return false;
    }
    all_modules(snapshot, list.as_deref())
        .is_some_and(|modules| modules.iter().all(|module| is_there(module, snapshot)))
}

/// The modules of a snapshot, those behind a router too; `None` if a list is damaged or missing.
fn all_modules(snapshot: &Path, list: Option<&str>) -> Option<Vec<Module>> {
    let modules = modules(list).ok()?;
    let Some(file) = router_file(&modules) else { return Some(modules) };
    routed(modules, &std::fs::read_to_string(snapshot.join(file)).ok()?).ok()
}

fn is_there(module: &Module, snapshot: &Path) -> bool {
    let folder = snapshot.join(&module.path);
    let has = |name: &str| folder.join(name).is_file();
    match module.class() {
        "Transformer" => has("config.json") && has("tokenizer.json") && has_weights(&folder),
        "StaticEmbedding" => has("tokenizer.json") && has_weights(&folder),
        "Dense" => has("config.json") && has_weights(&folder),
        "Pooling" => has("config.json"),
        _ => true,
    }
}

fn has_weights(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    ["model.safetensors", int8::FILE, "pytorch_model.bin"].into_iter().any(has)
        || ["model.safetensors.index.json", PICKLE_INDEX]
            .into_iter()
            .any(|index| has_shards(folder, index).unwrap_or(false))
}

fn has_shards(folder: &Path, index: &str) -> Option<bool> {
    let index = std::fs::read(folder.join(index)).ok()?;
    let index: serde_json::Value = serde_json::from_slice(&index).ok()?;
    let shards = index.get("weight_map")?.as_object()?;
    Some(
        shards.values().all(|shard| shard.as_str().is_some_and(|name| folder.join(name).is_file())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"[
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    ]"#;

    fn wanted_of(names: &[&'static str]) -> Vec<&'static str> {
        wanted(&names.iter().copied().collect(), &modules(Some(LIST)).unwrap())
    }

    #[test]
    fn only_what_a_model_needs_is_wanted_and_weights_come_last() {
        let names = [
            ".gitattributes",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "README.md",
            "config.json",
            "model.safetensors",
            "model_fp16.safetensors",
            "modules.json",
            "onnx/model.onnx",
            "openvino/openvino_model.bin",
            "openvino/config.json",
            "pytorch_model.bin",
            "rust_model.ot",
            "tf_model.h5",
            "tokenizer.json",
            "train_script.py",
            "vocab.txt",
        ];
        let expected = [
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "README.md",
            "config.json",
            "modules.json",
            "tokenizer.json",
            "vocab.txt",
            "2_Dense/model.safetensors",
            "model.safetensors",
        ];
        assert_eq!(wanted_of(&names), expected);
    }

    #[test]
    fn pickles_are_wanted_only_where_there_is_nothing_better() {
        let names = ["2_Dense/pytorch_model.bin", "pytorch_model.bin"];
        assert_eq!(wanted_of(&names), names);
        let shards = [
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ];
        assert_eq!(wanted_of(&shards).len(), 3);
        let parts = [
            "pytorch_model-00001-of-00002.bin",
            "pytorch_model-00002-of-00002.bin",
            "pytorch_model.bin.index.json",
            "training_args.bin",
        ];
        assert_eq!(wanted_of(&parts), [parts[2], parts[0], parts[1]]);
    }

    #[test]
    fn eight_bits_are_wanted_where_there_are_no_floats() {
        let int8 = "model.int8.safetensors";
        assert_eq!(wanted_of(&[int8, "pytorch_model.bin"]), [int8]);
        assert_eq!(wanted_of(&[int8, "model.safetensors"]), ["model.safetensors"]);
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "tokenizer.json", int8] {
            assert!(!is_whole(dir.path(), false));
            std::fs::write(dir.path().join(name), "{}").unwrap();
        }
        assert!(is_whole(dir.path(), false));
    }

    #[test]
    fn a_snapshot_is_whole_when_every_module_is() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            assert!(!is_whole(dir.path(), false));
            put(name, "{}");
        }
        assert!(is_whole(dir.path(), false), "a plain Transformer");
        assert!(!is_whole(dir.path(), true), "its list of modules was not fetched");
        put(MODULES, LIST);
        put("2_Dense/config.json", "{}");
        assert!(!is_whole(dir.path(), true), "neither pooling nor the head's weights are there");
        put("1_Pooling/config.json", "{}");
        assert!(!is_whole(dir.path(), true), "the head has no weights");
        put(
            "2_Dense/model.safetensors.index.json",
            r#"{"weight_map":{"a":"model-1-of-1.safetensors"}}"#,
        );
        assert!(!is_whole(dir.path(), true), "the head has no shard");
        put("2_Dense/model-1-of-1.safetensors", "");
        assert!(is_whole(dir.path(), true));
    }

    #[test]
    fn behind_a_router_everything_of_both_models_is_wanted() {
        let list = r#"[{"path": "", "type": "sentence_transformers.models.Router"}]"#;
        let router = r#"{"types": {"query": "sentence_transformers.models.StaticEmbedding",
            "document": "sentence_transformers.models.Transformer",
            "document/1_Pooling": "sentence_transformers.models.Pooling"}, "structure": {}}"#;
        let names = [
            "document/1_Pooling/config.json",
            "document/config.json",
            "document/onnx/model.onnx",
            "document/tokenizer.json",
            "modules.json",
            "query/tokenizer.json",
            "router_config.json",
            "document/model.safetensors",
            "query/model.safetensors",
        ];
        let listed = modules(Some(list)).unwrap();
        assert_eq!(router_file(&listed).as_deref(), Some("router_config.json"));
        let listed = routed(listed, router).unwrap();
        let expected: Vec<_> =
            names.iter().copied().filter(|name| !name.contains("onnx")).collect();
        assert_eq!(wanted(&names.iter().copied().collect(), &listed), expected);

        let dir = tempfile::tempdir().unwrap();
        for (name, text) in names
            .map(|name| (name, "{}"))
            .into_iter()
            .chain([(MODULES, list), ("router_config.json", router)])
        {
            assert!(!is_whole(dir.path(), true) || name == "router_config.json", "{name}");
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert!(is_whole(dir.path(), true));
        std::fs::remove_file(dir.path().join("query/model.safetensors")).unwrap();
        assert!(!is_whole(dir.path(), true));
    }
}
