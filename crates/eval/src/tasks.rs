//! Which tasks a folder holds, and which of them are wanted.

use std::path::{Path, PathBuf};

use hpd_files::{Error, Fingerprint, Result, fingerprint::Fingerprinter};
use serde::{Deserialize, Serialize};

use crate::files::evenly_spaced;
use crate::{classification, retrieval, sts};

/// The seven whose mean the papers print, in their order.
pub const SEVEN: [&str; 7] = ["sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr"];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Sentence similarity.
    #[serde(rename = "STS")]
    Sts,
    /// Retrieval.
    Retrieval,
    /// Classification.
    Classification,
}

/// One set to measure on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What tables call it: the file or folder name, without the split that was asked for.
    pub name: String,
    /// What is measured.
    pub kind: Kind,
    /// The file or folder.
    pub path: PathBuf,
    /// The part of the set, such as `test`.
    pub split: String,
    /// Whether it is run when nobody names tasks.
    default: bool,
}

/// A task with its data in memory.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Which task it is.
    pub task: Task,
    /// Its texts and gold.
    pub data: Data,
    /// Fingerprint of the files.
    pub revision: Fingerprint,
}

/// Texts and gold of a task.
#[derive(Clone, Debug)]
pub enum Data {
    /// Pairs of sentences.
    Sts(sts::Pairs),
    /// Documents, queries and judgements.
    Retrieval(retrieval::Collection),
    /// Labelled texts.
    Classification(classification::Set),
}

impl Data {
    /// All texts that are encoded for it.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Data::Sts(pairs) => strings(&pairs.sentences),
            Data::Retrieval(collection) => {
                [collection.query_texts(), strings(&collection.documents)].concat()
            }
            Data::Classification(set) => {
                [strings(&set.train.texts), strings(&set.test.texts)].concat()
            }
        }
    }
}

fn strings(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// At most `count` texts of the tasks, evenly spaced over all of them.
pub fn sample(tasks: &[Loaded], count: usize) -> Vec<String> {
    let texts: Vec<&str> = tasks.iter().flat_map(|task| task.data.texts()).collect();
    evenly_spaced(texts.len(), count).map(|i| texts[i].to_owned()).collect()
}

/// Finds STS tasks: every `.tsv` or `.tsv.gz` of a folder, or one such file. Those named `…_<split>` are the default ones.
///
/// # Errors
/// When the folder cannot be read or holds no such file.
pub fn find_sts(path: &Path, split: &str) -> Result<Vec<Task>> {
    let paths = if path.is_file() { vec![path.to_owned()] } else { entries(path)? };
    let task = |path: &PathBuf| {
        let file = file_name(path);
        let stem = file.strip_suffix(".gz").unwrap_or(&file).strip_suffix(".tsv")?;
        let name = stem.strip_suffix(&format!("_{split}"));
        Some(Task {
            name: name.unwrap_or(stem).to_owned(),
            kind: Kind::Sts,
            path: path.clone(),
            split: name.map_or_else(|| split_in(stem), |_| split.to_owned()),
            default: name.is_some() || paths.len() == 1,
        })
    };
    let tasks: Vec<Task> = paths.iter().filter_map(task).collect();
    nonempty(
        tasks,
        path,
        "a `.tsv` or `.tsv.gz` file with `subset`, `score`, `sentence1`, `sentence2`",
        &paths,
    )
}

/// Finds retrieval tasks: the folder itself when it holds a corpus, or else each folder in it that does and has
/// judgements for `split`.
///
/// # Errors
/// When the folder cannot be read or holds no such set.
pub fn find_retrieval(path: &Path, split: &str) -> Result<Vec<Task>> {
    let expected = format!("a folder with `corpus.jsonl`, `queries.jsonl` and `qrels/{split}.tsv`");
    let is_whole = |folder: &Path| retrieval::files(folder, split).is_ok();
    find_folders(path, split, Kind::Retrieval, retrieval::is_collection, is_whole, &expected)
        .map_err(|error| match &retrieval::splits(path)[..] {
            [] => error,
            there => error.hint(format!("--split {}", there.join(" or --split "))),
        })
}

/// Finds classification tasks: the folder itself when it holds a training part, or else each folder in it that does
/// and has a part `split`.
///
/// # Errors
/// When the folder cannot be read or holds no such set.
pub fn find_classification(path: &Path, split: &str) -> Result<Vec<Task>> {
    let expected =
        format!("a folder with `train.tsv` and `{split}.tsv`, columns `label` and `text`");
    let is_whole = |folder: &Path| classification::files(folder, split).is_ok();
    find_folders(path, split, Kind::Classification, classification::is_set, is_whole, &expected)
}

/// Tasks that are folders: `path` itself or those in it, as far as they have the split.
fn find_folders(
    path: &Path,
    split: &str,
    kind: Kind,
    is_task: fn(&Path) -> bool,
    is_whole: impl Fn(&Path) -> bool,
    expected: &str,
) -> Result<Vec<Task>> {
    let folders = if is_task(path) { vec![path.to_owned()] } else { entries(path)? };
    let task = |folder: &PathBuf| Task {
        name: file_name(&folder.canonicalize().unwrap_or_else(|_| folder.clone())),
        kind,
        path: folder.clone(),
        split: split.to_owned(),
        default: true,
    };
    let whole = folders.iter().filter(|folder| is_task(folder) && is_whole(folder));
    nonempty(whole.map(task).collect(), path, expected, &folders)
}

/// The tasks called `wanted`, or the default ones when nothing is; STS first, the seven in the papers' order, then by name.
///
/// # Errors
/// When a wanted name is unknown, or there is no default task.
pub fn choose(mut found: Vec<Task>, wanted: &[String]) -> Result<Vec<Task>> {
    found.sort_by_key(|task| (task.kind, place_in_papers(&task.name), task.name.clone()));
    if let Some(unknown) = wanted.iter().find(|name| !found.iter().any(|task| task.is(name))) {
        return Err(unknown_task(unknown, &found));
    }
    let known = names(&found);
    let is_wanted = |task: &Task| match wanted {
        [] => task.default,
        names => names.iter().any(|name| task.is(name)),
    };
    found.retain(is_wanted);
    if found.is_empty() {
        return Err(Error::input("none of the files found belongs to the split asked for")
            .hint(format!("name some with `--tasks`, of: {known}")));
    }
    Ok(found)
}

impl Task {
    /// Reads the task's files, keeping the first `limit` pairs or queries, or so many labelled texts of each part. A
    /// corpus stays whole, because leaving documents out would make the task easier.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn load(&self, limit: Option<usize>) -> Result<Loaded> {
        let limit = limit.unwrap_or(usize::MAX);
        let (data, files) = match self.kind {
            Kind::Sts => {
                let mut pairs = sts::read(&self.path)?;
                pairs.truncate(limit);
                sts::check_gold(&pairs, &self.path)?;
                (Data::Sts(pairs), vec![self.path.clone()])
            }
            Kind::Retrieval => {
                let mut collection = retrieval::read(&self.path, &self.split)?;
                collection.queries.truncate(limit);
                let files = retrieval::files(&self.path, &self.split)?;
                (Data::Retrieval(collection), files.to_vec())
            }
            Kind::Classification => {
                let mut set = classification::read(&self.path, &self.split)?;
                set.thin_out(limit);
                let files = classification::files(&self.path, &self.split)?;
                (Data::Classification(set), files.to_vec())
            }
        };
        Ok(Loaded { task: self.clone(), data, revision: fingerprint(&files)? })
    }

    /// Whether `name` means this task: as tables print it, or as the file is called, in any case.
    fn is(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(&self.name)
            || name.eq_ignore_ascii_case(&format!("{}_{}", self.name, self.split))
    }
}

fn fingerprint(files: &[PathBuf]) -> Result<Fingerprint> {
    let mut all = Fingerprinter::new();
    for file in files {
        all.add_part(Fingerprint::of_file(file)?.to_string().as_bytes());
    }
    Ok(all.finish())
}

fn unknown_task(name: &str, known: &[Task]) -> Error {
    let nearest = known.iter().map(|task| (edits(name, &task.name), &task.name)).min();
    let error = Error::input(format!("no task `{name}`; there are: {}", names(known)));
    match nearest {
        Some((edits, nearest)) if edits <= 1 + name.len() / 3 => {
            error.hint(format!("did you mean `--tasks {nearest}`?"))
        }
        _ => error,
    }
}

/// Levenshtein's distance, letter case aside.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

fn nonempty(tasks: Vec<Task>, path: &Path, expected: &str, seen: &[PathBuf]) -> Result<Vec<Task>> {
    if !tasks.is_empty() {
        return Ok(tasks);
    }
    let found: Vec<String> = seen.iter().take(10).map(|path| file_name(path)).collect();
    let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
    let more = if seen.len() > 10 { ", …" } else { "" };
    let path = path.display();
    Err(Error::input(format!("no task in `{path}`: expected {expected}, found {found}{more}")))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error| Error::io("read", folder, error);
    let entries = std::fs::read_dir(folder).map_err(fail)?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(fail)?;
    paths.sort();
    Ok(paths)
}

fn place_in_papers(name: &str) -> usize {
    SEVEN.iter().position(|known| *known == name).unwrap_or(SEVEN.len())
}

fn split_in(stem: &str) -> String {
    stem.rsplit_once('_').map_or("all", |(_, split)| split).to_owned()
}

fn names(tasks: &[Task]) -> String {
    tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn chosen(found: Vec<Task>, wanted: &[&str]) -> String {
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        names(&choose(found, &wanted).unwrap())
    }

    #[test]
    fn the_test_files_are_the_default_in_the_order_of_the_papers() {
        let folder = folder_with(&[
            "sickr_test.tsv",
            "biosses_test.tsv",
            "stsb_test.tsv.gz",
            "stsb_dev.tsv",
            "sts12_test.tsv",
            "notes.txt",
        ]);
        let found = || find_sts(folder.path(), "test").unwrap();
        assert_eq!(chosen(found(), &[]), "sts12, stsb, sickr, biosses");
        assert_eq!(chosen(found(), &["stsb_dev", "STS12"]), "sts12, stsb_dev");
        assert_eq!(chosen(found(), &["sickr_test"]), "sickr");
        assert_eq!(chosen(find_sts(folder.path(), "dev").unwrap(), &[]), "stsb");
    }

    #[test]
    fn retrieval_sets_without_the_split_are_passed_over() {
        let folder = folder_with(&[
            "a/corpus.jsonl.gz",
            "a/queries.jsonl",
            "a/qrels/test.tsv",
            "a/qrels/dev.tsv",
            "b/corpus.jsonl",
            "b/queries.jsonl.gz",
            "b/qrels/test.tsv",
            "c/readme",
        ]);
        assert_eq!(names(&find_retrieval(folder.path(), "test").unwrap()), "a, b");
        assert_eq!(names(&find_retrieval(folder.path(), "dev").unwrap()), "a");
        assert_eq!(names(&find_retrieval(&folder.path().join("b"), "test").unwrap()), "b");
        let error = find_retrieval(&folder.path().join("b"), "dev").unwrap_err();
        assert_eq!(error.hint_text(), Some("--split test"));
    }

    #[test]
    fn an_unknown_task_names_the_known_and_the_nearest() {
        let folder = folder_with(&["sts12_test.tsv", "sickr_test.tsv"]);
        let found = find_sts(folder.path(), "test").unwrap();
        let error = choose(found.clone(), &["sick-r".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "no task `sick-r`; there are: sts12, sickr");
        assert_eq!(error.hint_text(), Some("did you mean `--tasks sickr`?"));
        assert_eq!(choose(found, &["quora".to_owned()]).unwrap_err().hint_text(), None);
    }

    #[test]
    fn a_folder_without_tasks_tells_what_is_there() {
        let folder = folder_with(&["notes.txt"]);
        let error = find_sts(folder.path(), "test").unwrap_err().to_string();
        assert!(error.ends_with("found notes.txt"), "{error}");
        assert!(find_retrieval(folder.path(), "test").is_err());
        assert!(find_sts(&folder.path().join("absent"), "test").is_err());
    }

    #[test]
    fn edits_count_insertions_deletions_and_substitutions() {
        for (left, right, expected) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("STS12", "sts12", 0)]
        {
            assert_eq!(edits(left, right), expected);
            assert_eq!(edits(right, left), expected);
        }
    }
}
