use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::data_type::{ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ErrorKind;

/// Reads `bytes` as a file called `name`; also gives how many bad records were skipped.
fn read_with(name: &str, bytes: &[u8], options: &RecordOptions) -> Result<(Vec<Record>, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let mut records = Records::open(&Source::File(path), options)?;
    let all = records.by_ref().collect::<Result<_>>()?;
    Ok((all, records.bad()))
}

fn read(name: &str, bytes: &[u8]) -> Result<Vec<Record>> {
    read_with(name, bytes, &RecordOptions::default()).map(|(records, _)| records)
}

fn texts(name: &str, bytes: &[u8]) -> Vec<String> {
    read(name, bytes).unwrap().into_iter().map(|record| record.text).collect()
}

/// The message of the error, with the temporary folder taken out.
fn complaint(name: &str, bytes: &[u8]) -> String {
    let message = format!("{:?}", read(name, bytes).unwrap_err());
    let Some(at) = message.find(name) else { return message };
    let start = message[..at].rfind('`').map_or(0, |quote| quote + 1);
    format!("{}{}", &message[..start], &message[at..])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_line_is_a_record_even_an_empty_one() {
    assert_eq!(texts("a.txt", b"one\n\ntwo\n"), ["one", "", "two"]);
    assert_eq!(texts("a.txt", b"last line without end"), ["last line without end"]);
    assert_eq!(texts("a.txt", b"\n"), [""]);
    assert!(texts("a.txt", b"").is_empty());
}

#[test]
fn windows_line_ends_and_byte_order_marks_leave_no_trace() {
    assert_eq!(texts("a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree"), ["one", "two", "", "three"]);
    assert_eq!(texts("a.csv", b"\xef\xbb\xbftext\r\none\r\ntwo\r\n"), ["one", "two"]);
    assert_eq!(texts("a.jsonl", b"\xef\xbb\xbf{\"text\":\"one\"}\r\n\r\n"), ["one"]);
    assert_eq!(texts("a.txt", b"\xef\xbb\xbf"), Vec::<String>::new());
}

#[test]
fn gzip_is_known_by_its_magic_and_may_have_several_members() {
    let members = [gzip(b"one\ntw"), gzip(b""), gzip(b"o\n")].concat();
    assert_eq!(texts("a.txt.gz", &members), ["one", "two"]);
    assert_eq!(texts("no_ending", &members), ["one", "two"]);
    assert_eq!(texts("a.jsonl.gz", &gzip(b"{\"text\":\"x\"}")), ["x"]);
    assert_eq!(texts("a.tsv.gz", &gzip(b"n\ttext\n1\tx\n")), ["x"]);
}

#[test]
fn a_cut_off_gzip_is_an_error_even_when_bad_records_are_skipped() {
    let noise: String =
        (0..5000u32).map(|i| format!("{}\n", i.wrapping_mul(2_654_435_761))).collect();
    let whole = gzip(noise.as_bytes());
    let skip_bad = RecordOptions { skip_bad: true, ..RecordOptions::default() };
    for length in [3, 10, whole.len() / 2, whole.len() - 1] {
        let error = read_with("a.gz", &whole[..length], &skip_bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(error.hint_text(), Some("the file is cut off or damaged; fetch it again"));
    }
    assert!(
        complaint("a.gz", &whole[..whole.len() / 2]).starts_with("cannot read `a.gz` past line ")
    );
}

#[test]
fn bad_lines_are_named() {
    assert_eq!(
        complaint("a.txt", b"fine\nnot f\xffine\n"),
        "line 2 of `a.txt` is not UTF-8: found byte 0xff at offset 5"
    );
    assert!(
        complaint("a.jsonl", b"\n{\"text\": 1").starts_with("line 2 of `a.jsonl` is no valid JSON")
    );
    assert!(complaint("a.jsonl", b"[1]\n").starts_with("line 1 of `a.jsonl` is no JSON object"));
    assert_eq!(
        complaint("a.jsonl", b"{\"body\":\"x\",\"title\":\"y\"}\n"),
        "no field `text` in line 1 of `a.jsonl`; it has `body`, `title`\nhint: name the field with `--text-field NAME`"
    );
    assert_eq!(
        complaint("a.jsonl", b"{\"text\":null}\n"),
        "field `text` in line 1 of `a.jsonl` is null; expected a string"
    );
    assert_eq!(
        complaint("a.csv", b"id,text\n1,\"a\nb\"\n2,x,y\n"),
        "line 4 of `a.csv` has 3 fields, but the header has 2"
    );
    assert_eq!(
        complaint("a.csv", b"id,body\n1,x\n"),
        "no field `text` in the header of `a.csv`; it has `id`, `body`\nhint: name the field with `--text-field NAME`"
    );
}

#[test]
fn lone_surrogates_are_an_error_and_pairs_are_not() {
    for line in [r#"{"text":"\ud83d"}"#, r#"{"text":"\udc00 x"}"#, r#"{"\ud83d":"","text":""}"#] {
        assert!(
            complaint("a.jsonl", line.as_bytes()).starts_with("line 1 of `a.jsonl` is no valid")
        );
    }
    assert_eq!(texts("a.jsonl", br#"{"text":"\ud83d\ude00"}"#), ["\u{1f600}"]);
}

#[test]
fn skipped_bad_records_are_counted() {
    let skip_bad = RecordOptions { skip_bad: true, ..RecordOptions::default() };
    let lines = b"{\"text\":\"a\"}\nbroken\n{\"text\":\"\xff\"}\n{\"text\":\"b\"}\n";
    let (records, bad) = read_with("a.jsonl", lines, &skip_bad).unwrap();
    assert_eq!((records.len(), bad), (2, 2));
    let (records, bad) = read_with("a.csv", b"text\na\nb,c\nd\n", &skip_bad).unwrap();
    assert_eq!((records.len(), bad), (2, 1));
}

#[test]
fn ids_are_found_by_name_and_integers_become_strings() {
    let ids = |line: &str| read("a.jsonl", line.as_bytes()).unwrap()[0].id.clone();
    assert_eq!(ids(r#"{"id":"x","text":""}"#).as_deref(), Some("x"));
    assert_eq!(
        ids(r#"{"_id":18446744073709551615,"text":""}"#).as_deref(),
        Some("18446744073709551615")
    );
    assert_eq!(ids(r#"{"id":-3,"text":""}"#).as_deref(), Some("-3"));
    assert_eq!(ids(r#"{"id":null,"text":""}"#), None);
    assert_eq!(ids(r#"{"id":"","text":""}"#), None);
    assert_eq!(ids(r#"{"text":""}"#), None);
    assert!(complaint("a.jsonl", br#"{"id":1e30,"text":""}"#).contains("64-bit integer"));
    assert!(complaint("a.jsonl", br#"{"id":[1],"text":""}"#).contains("is an array"));

    let options = RecordOptions { id_field: Some("key".to_owned()), ..RecordOptions::default() };
    let (records, _) = read_with("a.csv", b"key,id,text\nk,i,t\n", &options).unwrap();
    assert_eq!(records[0].id.as_deref(), Some("k"));
    assert_eq!(records[0].fields.get("id"), Some(&json!("i")));
    assert!(read_with("a.jsonl", br#"{"text":""}"#, &options).is_err());
    let error = read_with("a.csv", b"key,text\nk,a\n,b\n", &options).unwrap_err().to_string();
    assert!(error.starts_with("field `key` in line 3 of"), "{error}");
    let skip_bad = RecordOptions { skip_bad: true, ..options };
    assert_eq!(read_with("a.csv", b"key,text\nk,a\n,b\n", &skip_bad).unwrap().1, 1);
}

#[test]
fn other_fields_are_kept() {
    let records = read("a.jsonl", br#"{"_id":"7","title":"T","text":"x","year":1999}"#).unwrap();
    assert_eq!(records[0].fields.get("title"), Some(&json!("T")));
    assert_eq!(records[0].fields.get("year"), Some(&json!(1999)));
    assert_eq!(records[0].fields.len(), 2);
}

#[test]
fn quotation_marks_count_in_csv_and_are_text_in_tsv() {
    assert_eq!(texts("a.csv", b"n,text\n1,\"a, \"\"b\"\"\nc\"\n"), ["a, \"b\"\nc"]);
    assert_eq!(texts("a.tsv", b"n\ttext\n1\t\"a\n2\tb\n"), ["\"a", "b"]);
}

#[test]
fn formats_are_told_by_the_name_or_by_hand() {
    for (name, format) in [
        ("a.txt", Format::Lines),
        ("a", Format::Lines),
        ("a.JSONL", Format::JsonLines),
        ("a.ndjson.gz", Format::JsonLines),
        ("a.csv.gz", Format::Csv),
        ("a.tsv", Format::Tsv),
        ("a.parquet", Format::Parquet),
        ("csv", Format::Lines),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
    let options = RecordOptions { format: Some(Format::Lines), ..RecordOptions::default() };
    assert_eq!(read_with("a.jsonl", b"{}\n", &options).unwrap().0[0].text, "{}");
    assert!("xml".parse::<Format>().is_err());
}

#[test]
fn a_line_past_the_limit_is_bad_and_the_next_one_is_fine() {
    let mut bytes = vec![b'x'; LONGEST_RECORD as usize + 1];
    bytes.extend(b"\nshort\n");
    let skip_bad = RecordOptions { skip_bad: true, ..RecordOptions::default() };
    let (records, bad) = read_with("a.txt", &bytes, &skip_bad).unwrap();
    assert_eq!((records.len(), bad), (1, 1));
    assert_eq!(records[0].text, "short");
}

#[test]
fn an_unclosed_quotation_mark_does_not_swallow_a_large_file() {
    let mut bytes = b"text\n\"".to_vec();
    bytes.resize(LONGEST_RECORD as usize + (1 << 20), b'x');
    assert!(complaint("a.csv", &bytes).contains("is a quotation mark not closed?"));
}

#[test]
fn several_sources_are_one_stream_and_missing_ones_are_found_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a.txt"), folder.path().join("b.jsonl"));
    fs::write(&first, "one\ntwo\n").unwrap();
    let sources = [Source::from(first), Source::from(second.clone())];
    assert!(Records::open_all(&sources, &RecordOptions::default()).is_err());
    fs::write(&second, "{\"text\":\"three\"}\n").unwrap();
    let records = Records::open_all(&sources, &RecordOptions::default()).unwrap();
    let texts: Vec<_> = records.map(|record| record.unwrap().text).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

fn parquet_file(ids: &[Option<i64>], texts: &[Option<&str>]) -> Vec<u8> {
    let schema = "message m { optional int64 id; optional binary text (UTF8);
        required group tags (LIST) { repeated group list { required int32 element; } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::default());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    for (ids, texts) in ids.chunks(2).zip(texts.chunks(2)) {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let levels: Vec<i16> = ids.iter().map(|id| i16::from(id.is_some())).collect();
        let values: Vec<i64> = ids.iter().flatten().copied().collect();
        column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
        let values: Vec<_> = texts.iter().flatten().map(|text| (*text).into()).collect();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let zeros = vec![0; ids.len()];
        column
            .typed::<parquet::data_type::Int32Type>()
            .write_batch(&[], Some(&zeros), Some(&zeros))
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn parquet_gives_its_scalar_columns() {
    let bytes = parquet_file(&[Some(1), None, Some(-5)], &[Some("one"), Some(""), Some("drei ü")]);
    let records = read("a.parquet", &bytes).unwrap();
    let found: Vec<_> = records.iter().map(|r| (r.id.as_deref(), r.text.as_str())).collect();
    assert_eq!(found, [(Some("1"), "one"), (None, ""), (Some("-5"), "drei ü")]);
    assert!(records.iter().all(|record| record.fields.is_empty()));
}

#[test]
fn a_parquet_row_without_text_is_bad() {
    let bytes = parquet_file(&[Some(1), Some(2)], &[Some("one"), None]);
    assert_eq!(
        complaint("a.parquet", &bytes),
        "field `text` in row 2 of `a.parquet` is null; expected a string"
    );
}

#[test]
fn parquet_from_standard_input_is_refused() {
    let options = RecordOptions { format: Some(Format::Parquet), ..RecordOptions::default() };
    assert!(Records::open(&Source::Stdin, &options).is_err());
}

#[test]
fn passing_over_records_ends_where_reading_them_would() {
    let bytes = "{\"text\":\"a\"}\n\n{\"text\":\"b\"}\nbroken\n{\"text\":\"c\"}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, bytes).unwrap();
    let options = RecordOptions { skip_bad: true, ..RecordOptions::default() };
    let open = || Records::open(&Source::File(path.clone()), &options).unwrap();

    let mut read = open();
    assert_eq!(read.next().unwrap().unwrap().text, "a");
    assert_eq!(read.next().unwrap().unwrap().text, "b");
    let mut passed = open();
    assert_eq!(passed.pass_over(2).unwrap(), 2);
    assert_eq!(passed.consumed(), read.consumed());
    assert_eq!(passed.next().unwrap().unwrap().text, "c");
    assert_eq!((passed.position(), passed.bad()), (4, 1));
    assert_eq!(open().pass_over(9).unwrap(), 4);
}

#[test]
fn a_change_before_the_position_changes_what_was_consumed() {
    let consumed = |name: &str, bytes: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let mut records = Records::open(&Source::File(path), &RecordOptions::default()).unwrap();
        records.pass_over(2).unwrap();
        records.consumed()
    };
    assert_eq!(consumed("a.txt", b"a\nb\nc"), consumed("a.txt", b"a\nb\nother"));
    assert_ne!(consumed("a.txt", b"a\nb\nc"), consumed("a.txt", b"ab\n\nc"));
    assert_ne!(consumed("a.csv", b"text,x\na,b\nc,d\n"), consumed("a.csv", b"x,text\na,b\nc,d\n"));
    let file = |second| parquet_file(&[None, None, None], &[Some("a"), Some(second), Some("c")]);
    assert_ne!(consumed("a.parquet", &file("b")), consumed("a.parquet", &file("x")));
}

#[test]
fn what_follows_the_last_record_is_not_in_what_was_consumed() {
    let folder = tempfile::tempdir().unwrap();
    let files = [("a.jsonl", "{\"text\":\"a\"}\n\n \n"), ("b.csv", "text\n"), ("c.jsonl", "\n")];
    let sources = files.map(|(name, bytes)| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        Source::File(path)
    });
    let open = || Records::open_all(&sources, &RecordOptions::default()).unwrap();
    let (mut read, mut passed) = (open(), open());
    assert_eq!(read.by_ref().count(), 1);
    assert_eq!(passed.pass_over(1).unwrap(), 1);
    assert_eq!(read.consumed(), passed.consumed());
}

#[test]
fn the_stream_ends_after_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    fs::write(&path, b"\xff\nfine\n").unwrap();
    let mut records = Records::open(&Source::File(path), &RecordOptions::default()).unwrap();
    assert!(records.next().unwrap().is_err());
    assert!(records.next().is_none());
}

#[test]
fn folders_and_missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing.txt")] {
        let mut outcome = Records::open(&Source::File(path.clone()), &RecordOptions::default())
            .and_then(|records| records.collect::<Result<Vec<_>>>());
        let error = outcome.as_mut().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(&path.display().to_string()));
    }
}

#[test]
fn open_text_reads_plain_and_gzip_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tsv.gz");
    for bytes in [b"a\tb\n".to_vec(), gzip(b"a\tb\n")] {
        fs::write(&path, bytes).unwrap();
        let mut text = String::new();
        open_text(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "a\tb\n");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn lines_round_trip(texts_in in prop::collection::vec("[^\r\n]*", 0..20), crlf: bool, zip: bool) {
        let end = if crlf { "\r\n" } else { "\n" };
        let text: String = texts_in.iter().map(|text| format!("{text}{end}")).collect();
        // A byte order mark at the very start is not text.
        prop_assume!(!text.starts_with('\u{feff}'));
        let bytes = if zip { gzip(text.as_bytes()) } else { text.into_bytes() };
        prop_assert_eq!(texts("a.txt", &bytes), texts_in);
    }

    #[test]
    fn json_round_trips(texts_in in prop::collection::vec(".*", 0..20)) {
        let lines: Vec<_> = texts_in.iter().map(|text| json!({ "text": text }).to_string()).collect();
        prop_assert_eq!(texts("a.jsonl", lines.join("\n").as_bytes()), texts_in);
    }

    #[test]
    fn csv_round_trips(texts_in in prop::collection::vec(".*", 0..20)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["text", "n"]).unwrap();
        for text in &texts_in {
            writer.write_record([text, "1"]).unwrap();
        }
        prop_assert_eq!(texts("a.csv", &writer.into_inner().unwrap()), texts_in);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), skip_bad: bool) {
        let options = RecordOptions { skip_bad, ..RecordOptions::default() };
        for name in ["a.txt", "a.jsonl", "a.csv", "a.tsv", "a.parquet"] {
            let _ = read_with(name, &bytes, &options);
        }
    }

    #[test]
    fn a_damaged_parquet_file_is_no_panic(at in 0usize..2000, byte: u8, cut in 0usize..2000) {
        let mut bytes = parquet_file(&[Some(1), None, Some(3)], &[Some("one"), Some("two"), Some("two")]);
        let (at, cut) = (at % bytes.len(), cut % bytes.len());
        let _ = read("a.parquet", &bytes[..cut]);
        bytes[at] = byte;
        let _ = read("a.parquet", &bytes);
    }
}
