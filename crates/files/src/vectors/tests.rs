use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use ::safetensors::Dtype;
use ::safetensors::tensor::{TensorView, serialize};
use half::{bf16, f16};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::Error;

fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(name: &str, bytes: &[u8]) -> Result<Matrix> {
    let (_folder, path) = file(name, bytes);
    read_matrix(&path)
}

/// An `.npy` file as numpy would write it, with any header.
fn npy_file(version: u8, literal: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((literal.len() as u16).to_le_bytes()),
        _ => bytes.extend((literal.len() as u32).to_le_bytes()),
    }
    bytes.extend(literal.as_bytes());
    bytes.extend(data);
    bytes
}

fn literal(descr: &str, fortran: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
}

fn complaint(outcome: Result<Matrix>) -> String {
    format!("{:?}", outcome.unwrap_err())
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

#[test]
fn every_float_type_of_npy_is_read() {
    let expected = Matrix { data: vec![1.0, -2.5, 0.0, 3.0, 4.0, 5.0], dim: 3 };
    let numbers = &expected.data;
    let half: Vec<u8> = numbers.iter().flat_map(|&n| f16::from_f32(n).to_le_bytes()).collect();
    let double: Vec<u8> = numbers.iter().flat_map(|&n| f64::from(n).to_le_bytes()).collect();
    for (descr, data) in [("<f2", half), ("<f4", floats(numbers)), ("<f8", double)] {
        for version in [1, 2, 3] {
            let bytes = npy_file(version, &literal(descr, "False", "(2, 3)"), &data);
            assert_eq!(read("a.npy", &bytes).unwrap(), expected, "{descr} in version {version}");
        }
    }
}

#[test]
fn fortran_order_is_refused_unless_it_makes_no_difference() {
    let bytes = npy_file(1, &literal("<f4", "True", "(2, 2)"), &floats(&[1.0; 4]));
    assert!(complaint(read("a.npy", &bytes)).contains("ascontiguousarray"));
    let bytes = npy_file(1, &literal("<f4", "True", "(4, 1)"), &floats(&[1.0; 4]));
    assert_eq!(read("a.npy", &bytes).unwrap().len(), 4);
}

#[test]
fn hostile_npy_headers_are_errors() {
    let data = floats(&[1.0; 4]);
    let lie = "(18446744073709551615, 18446744073709551615)";
    for (literal, words) in [
        (literal("<f4", "False", "(3, 2)"), "but 16 bytes follow"),
        (literal("<f4", "False", "(1, 2)"), "but 16 bytes follow"),
        (literal("<f4", "False", "(4,)"), "expected two dimensions"),
        (literal("<f4", "False", "()"), "expected two dimensions"),
        (literal("<f4", "False", "(4, 0)"), "expected some columns"),
        (literal("<f4", "False", lie), "but 16 bytes follow"),
        (literal("<f4", "False", "(99999999999999999999, 2)"), "cannot be understood"),
        (literal("<f4", "False", "(-2, 2)"), "cannot be understood"),
        (literal(">f4", "False", "(2, 2)"), "of type `>f4`"),
        (literal("|O", "False", "(2, 2)"), "of type `|O`"),
        ("{'descr': [('a', '<f4')], }".to_owned(), "cannot be understood"),
        ("{".to_owned(), "cannot be understood"),
        (String::new(), "cannot be understood"),
    ] {
        let found = complaint(read("a.npy", &npy_file(1, &literal, &data)));
        assert!(found.contains(words), "{literal}: {found}");
    }
    assert!(complaint(read("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff")).contains("a header of"));
    assert!(complaint(read("a.npy", b"PK\x03\x04 an npz")).contains("does not start as"));
    assert!(complaint(read("a.bin", b"")).contains("ends neither in"));
}

#[test]
fn nan_and_infinity_are_named_by_row() {
    for (bad, word) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let data = floats(&[1.0, 2.0, 3.0, bad, 5.0, 6.0]);
        let found =
            complaint(read("a.npy", &npy_file(1, &literal("<f4", "False", "(3, 2)"), &data)));
        assert!(found.contains(&format!("holds {word} in row 1, column 1")), "{found}");
    }
    // A block is no new start of counting.
    let mut numbers = vec![0.0; 20];
    numbers[14] = f32::NAN;
    let (_folder, path) =
        file("a.npy", &npy_file(1, &literal("<f4", "False", "(10, 2)"), &floats(&numbers)));
    let mut reader = MatrixReader::open(&path).unwrap();
    assert_eq!(reader.next_block(4).unwrap().unwrap().len(), 4);
    assert!(reader.next_block(4).unwrap_err().to_string().contains("row 7, column 0"));
}

fn tensors(list: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let views: Vec<_> = list
        .iter()
        .map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap())
        })
        .collect();
    serialize(views, None).unwrap()
}

#[test]
fn safetensors_gives_its_only_matrix_or_the_one_named_embeddings() {
    let (a, b) = (floats(&[1.0, 2.0]), floats(&[3.0, 4.0]));
    let only = tensors(&[("x", Dtype::F32, &[1, 2], &a), ("bias", Dtype::F32, &[2], &b)]);
    assert_eq!(read("a.safetensors", &only).unwrap().data, [1.0, 2.0]);
    let named = tensors(&[("embeddings", Dtype::F32, &[2, 1], &b), ("x", Dtype::F32, &[1, 2], &a)]);
    assert_eq!(read("a.safetensors", &named).unwrap(), Matrix { data: vec![3.0, 4.0], dim: 1 });
    let unclear = tensors(&[("x", Dtype::F32, &[1, 2], &a), ("y", Dtype::F32, &[1, 2], &b)]);
    assert!(complaint(read("a.safetensors", &unclear)).contains("`x`, `y`"));
    let none = tensors(&[("x", Dtype::F32, &[2], &a)]);
    assert!(complaint(read("a.safetensors", &none)).contains("no tensor has two dimensions"));
    let integers = tensors(&[("x", Dtype::I32, &[1, 2], &a)]);
    assert!(complaint(read("a.safetensors", &integers)).contains("of type I32"));
}

#[test]
fn safetensors_halves_are_read() {
    let numbers = [1.0, -0.5, 3.0];
    let half: Vec<u8> = numbers.iter().flat_map(|&n| f16::from_f32(n).to_le_bytes()).collect();
    let brain: Vec<u8> = numbers.iter().flat_map(|&n| bf16::from_f32(n).to_le_bytes()).collect();
    for (dtype, data) in [(Dtype::F16, half), (Dtype::BF16, brain)] {
        let bytes = tensors(&[("x", dtype, &[1, 3], &data)]);
        assert_eq!(read("a.safetensors", &bytes).unwrap().data, numbers);
    }
}

#[test]
fn hostile_safetensors_headers_are_errors() {
    let with_header = |header: &str, data: &[u8]| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    };
    let tensor = |shape: &str, offsets: &str| {
        format!("{{\"x\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    for bytes in [
        b"".to_vec(),
        u64::MAX.to_le_bytes().to_vec(),
        1_000_000u64.to_le_bytes().to_vec(),
        with_header("not json", b""),
        with_header(&tensor("[2,2]", "[0,16]"), &[0; 15]),
        with_header(&tensor("[2,2]", "[16,0]"), &[0; 16]),
        with_header(&tensor("[2,2]", "[0,18446744073709551615]"), &[0; 16]),
        with_header(&tensor("[18446744073709551615,2]", "[0,16]"), &[0; 16]),
        with_header(&tensor("[3,2]", "[0,16]"), &[0; 16]),
    ] {
        let found = complaint(read("a.safetensors", &bytes));
        assert!(found.contains("cut off or damaged"), "{found}");
    }
}

#[test]
fn a_written_npy_header_has_room_for_any_row_count() {
    for (rows, dim) in [(0, 1), (u64::MAX, 1 << 40)] {
        assert_eq!(npy::header(Element::Float32, rows, dim).len(), npy::HEADER_BYTES);
    }
}

fn ids(count: usize) -> Vec<Option<String>> {
    (0..count).map(|i| (i % 3 != 0).then(|| format!("id {i} ü"))).collect()
}

fn write(name: &str, blocks: &[Block], width: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let format = VectorFormat::of(&path).unwrap();
    let mut writer = VectorWriter::create(&path, format, blocks[0].element(), width).unwrap();
    for block in blocks {
        let rows = match block {
            Block::Float32(numbers) => numbers.len(),
            Block::Int8(numbers) => numbers.len(),
            Block::UInt8(numbers) => numbers.len(),
        };
        writer.write(&ids(rows / width), block).unwrap();
    }
    writer.finish().unwrap();
    (folder, path)
}

#[test]
fn json_lines_keep_ids_and_integers() {
    let (_folder, path) = write("a.jsonl", &[Block::Int8(vec![-128, 127, 0, 1])], 2);
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "{\"embedding\":[-128,127]}\n{\"id\":\"id 1 ü\",\"embedding\":[0,1]}\n"
    );
}

#[test]
fn bytes_are_written_as_numpy_does() {
    let (_folder, path) = write("a.npy", &[Block::UInt8(vec![1, 2]), Block::UInt8(vec![3, 4])], 2);
    let bytes = fs::read(path).unwrap();
    let (header, data) = bytes.split_at(128);
    assert_eq!(data, [1, 2, 3, 4]);
    let header = String::from_utf8_lossy(&header[10..]);
    assert_eq!(header.trim_end(), "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }");
    assert!(header.ends_with('\n'));
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.npy", "a.jsonl", "a.parquet"] {
        let path = folder.path().join(name);
        let format = VectorFormat::of(&path).unwrap();
        let mut writer = VectorWriter::create(&path, format, Element::Float32, 2).unwrap();
        writer.write(&ids(1), &Block::Float32(vec![1.0, 2.0])).unwrap();
        assert!(writer.write(&ids(2), &Block::Float32(vec![1.0, 2.0])).is_err());
        assert!(writer.write(&ids(1), &Block::Int8(vec![1, 2])).is_err());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(VectorFormat::of(Path::new("a.txt")).is_err());
}

/// Rows of a Parquet file of vectors as JSON.
fn parquet_rows(path: &Path) -> Vec<Value> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    let number = |field: &Field| match field {
        Field::Float(x) => json!(x),
        Field::Byte(n) => json!(n),
        Field::UByte(n) => json!(n),
        other => panic!("{other:?}"),
    };
    rows.map(|row| {
        let columns = row.unwrap().into_columns();
        let id = match &columns[0].1 {
            Field::Str(id) => json!(id),
            _ => Value::Null,
        };
        let Field::ListInternal(list) = &columns[1].1 else { panic!("no list") };
        json!({ "id": id, "embedding": list.elements().iter().map(number).collect::<Vec<_>>() })
    })
    .collect()
}

#[test]
fn parquet_keeps_ids_and_every_type() {
    let expected = |numbers: [Value; 2]| {
        vec![
            json!({ "id": null, "embedding": [numbers[0]] }),
            json!({ "id": "id 1 ü", "embedding": [numbers[1]] }),
        ]
    };
    for (block, numbers) in [
        (Block::Float32(vec![0.1, -3.0]), [json!(0.1f32), json!(-3.0f32)]),
        (Block::Int8(vec![-128, 127]), [json!(-128), json!(127)]),
        (Block::UInt8(vec![0, 255]), [json!(0), json!(255)]),
    ] {
        let (_folder, path) = write("a.parquet", &[block], 1);
        assert_eq!(parquet_rows(&path), expected(numbers));
    }
}

#[test]
fn parquet_of_several_row_groups_keeps_its_order() {
    let rows = 300usize;
    let block =
        |start: usize| Block::Float32((0..rows).flat_map(|i| [(start + i) as f32; 8]).collect());
    let (_folder, path) = write("a.parquet", &[block(0), block(rows), block(2 * rows)], 8);
    let found = parquet_rows(&path);
    assert_eq!(found.len(), 3 * rows);
    assert!((0..3 * rows).all(|i| found[i]["embedding"][7] == json!(i as f32)));
}

#[test]
fn an_empty_file_of_vectors_is_a_file() {
    for name in ["a.npy", "a.jsonl", "a.parquet"] {
        let (_folder, path) = write(name, &[Block::Float32(Vec::new())], 3);
        if name == "a.npy" {
            assert_eq!(read_matrix(&path).unwrap(), Matrix { data: Vec::new(), dim: 3 });
        }
    }
}

#[test]
fn errors_name_the_file() {
    let error: Error = read("a.npy", b"").unwrap_err();
    assert!(error.to_string().starts_with("cannot read vectors from `"));
}

fn finite() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("finite", |x| x.is_finite())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn npy_round_trips_in_blocks(data in prop::collection::vec(finite(), 0..120), dim in 1usize..5, block in 1usize..9) {
        let data = data[..data.len() / dim * dim].to_vec();
        let blocks: Vec<_> = data.chunks(2 * dim).map(|rows| Block::Float32(rows.to_vec())).collect();
        prop_assume!(!blocks.is_empty());
        let (_folder, path) = write("a.npy", &blocks, dim);
        let mut reader = MatrixReader::open(&path).unwrap();
        prop_assert_eq!(reader.rows() * dim, data.len());
        let mut found = Vec::new();
        while let Some(rows) = reader.next_block(block).unwrap() {
            found.extend(rows.data);
        }
        prop_assert_eq!(found, data);
    }

    #[test]
    fn json_floats_read_back_exactly(data in prop::collection::vec(finite(), 1..50)) {
        let (_folder, path) = write("a.jsonl", &[Block::Float32(data.clone())], 1);
        let text = fs::read_to_string(path).unwrap();
        let found: Vec<f32> = text.lines().map(|line| {
            let line: HashMap<String, Value> = serde_json::from_str(line).unwrap();
            line["embedding"][0].to_string().parse().unwrap()
        }).collect();
        prop_assert_eq!(found, data);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..144, byte: u8) {
        let _ = read("a.npy", &bytes);
        let _ = read("a.safetensors", &bytes);
        let mut npy = npy_file(1, &literal("<f4", "False", "(2, 2)"), &floats(&[1.0; 4]));
        let mut tensor = tensors(&[("x", Dtype::F32, &[2, 2], &floats(&[1.0; 4]))]);
        let (in_npy, in_tensor) = (at % npy.len(), at % tensor.len());
        npy[in_npy] = byte;
        tensor[in_tensor] = byte;
        let _ = read("a.npy", &npy);
        let _ = read("a.safetensors", &tensor);
    }
}
