//! What PyTorch wrote comes back; what nobody should write is refused, and nothing panics.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Expected {
    shape: Vec<usize>,
    data: Vec<f32>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/checkpoint")).join(name)
}

/// `fixtures/checkpoint/make_checkpoints.py` made files and expectation.
fn assert_is_as_expected(name: &str) {
    let expected = fs::read_to_string(fixture("expected.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_str(&expected).unwrap();
    let found = read(&fixture(name)).unwrap();
    assert_eq!(found.len(), expected.len());
    for tensor in found {
        let expected = &expected[&tensor.name];
        assert_eq!(tensor.shape, expected.shape, "{}", tensor.name);
        assert_eq!(tensor.data, expected.data, "{}", tensor.name);
    }
}

#[test]
fn zipped_checkpoint_gives_what_pytorch_gives() {
    assert_is_as_expected("zipped.bin");
}

#[test]
fn checkpoint_from_before_pytorch_1_6_gives_the_same() {
    assert_is_as_expected("in_a_row.bin");
}

#[test]
fn state_dict_inside_another_dict_is_found() {
    assert_is_as_expected("nested.bin");
}

#[test]
fn a_whole_module_is_refused_by_the_name_of_its_class() {
    let error = read(&fixture("module.bin")).unwrap_err();
    assert!(error.to_string().contains("`torch.nn.modules.linear.Linear`"), "{error}");
    assert!(error.to_string().contains("no code of a checkpoint is run"), "{error}");
}

/// A file of the old format around the opcodes of a state dict.
fn around(opcodes: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [magic, b"\x80\x02M\xe9\x03.".as_slice(), b"\x80\x02}.", b"\x80\x02", opcodes].concat()
}

/// A dict with one tensor `t`; numbers in the pickle's own spelling.
fn one_tensor(length: &str, offset: &str, sizes: &str, strides: &str) -> Vec<u8> {
    let dict = format!(
        "}}X\x01\0\0\0tctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
         X\x01\0\0\x000X\x03\0\0\0cpu{length}tQ{offset}({sizes}t({strides}tNNtRs."
    );
    let mut file = around(dict.as_bytes());
    file.extend(b"\x80\x02]X\x01\0\0\x000a.");
    file.extend(2_u64.to_le_bytes());
    file.extend(1.5_f32.to_le_bytes());
    file.extend(2.5_f32.to_le_bytes());
    file
}

fn refusal(file: &[u8]) -> String {
    tensors(file).unwrap_err()
}

#[test]
fn hand_made_tensor_is_read() {
    let read = tensors(&one_tensor("K\x02", "K\x01", "K\x01", "K\x01")).unwrap();
    assert_eq!((read[0].name.as_str(), &read[0].data), ("t", &vec![2.5]));
}

#[test]
fn shapes_that_reach_beyond_their_storage_are_refused() {
    let beyond = "reach beyond storage `0` of 2 numbers";
    assert!(refusal(&one_tensor("K\x02", "K\x01", "K\x02", "K\x01")).contains(beyond));
    assert!(refusal(&one_tensor("K\x02", "K\x00", "K\x02", "K\x02")).contains(beyond));
    assert!(refusal(&one_tensor("K\x03", "K\x00", "K\x02", "K\x01")).contains(beyond));
    let most = "J\x7f\x7f\x7f\x7f";
    assert!(refusal(&one_tensor("K\x02", most, "K\x02", most)).contains(beyond));
}

#[test]
fn tensors_larger_than_the_file_are_refused_before_memory_is_taken() {
    let huge = "J\x7f\x7f\x7f\x7f".repeat(2);
    let file = one_tensor("K\x02", "K\x00", &huge, "K\x00K\x00");
    assert!(refusal(&file).contains("far more numbers than the file"));
}

#[test]
fn names_that_run_code_are_refused() {
    for (module, name) in
        [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("posix", "x")]
    {
        let call = format!("c{module}\n{name}\n(X\x02\0\0\0lstR.");
        let reason = refusal(&around(call.as_bytes()));
        assert!(reason.contains(&format!("`{module}.{name}`")), "{reason}");
        let (short, shorter) = (module.len() as u8, name.len() as u8);
        let call = [
            b"\x8c".as_slice(),
            &[short],
            module.as_bytes(),
            b"\x8c",
            &[shorter],
            name.as_bytes(),
            b"\x93.",
        ];
        assert!(refusal(&around(&call.concat())).contains(&format!("`{module}.{name}`")));
    }
}

#[test]
fn broken_pickles_are_refused() {
    for opcodes in [
        b".".as_slice(),
        b"h\x07.",
        b"j\xff\xff\xff\xff.",
        b"0.",
        b"t.",
        b"(0.",
        b"}(Nu.",
        b"NNs.",
        b"NNa.",
        b"NN\x85R.",
        b"NQ.",
        b"Nb.",
        b"\x8a\xff",
        b"X\xff\xff\xff\xff",
        b"X\x01\0\0\0\xff.",
        b"\x81.",
        b"\xff.",
        b"ccollections\nOrderedDict\nN\x85R.",
        b"cendless",
        b"",
    ] {
        assert!(tensors(&around(opcodes)).is_err(), "{opcodes:?}");
    }
    assert!(refusal(b"not a checkpoint").contains("neither a zip file nor a pickle"));
    assert!(refusal(b"\x80\x02N.").contains("not one that `torch.save` wrote"));
    assert!(refusal(&around(b"}.\x80\x02].")).contains("no tensors"));
}

#[test]
fn deep_nesting_and_self_reference_do_no_harm() {
    let deep = [b"]".repeat(200_000), b"a".repeat(199_999), b".\x80\x02].".to_vec()].concat();
    assert!(refusal(&around(&deep)).contains("no dict of tensors"));
    let own = b"}q\x00X\x0a\0\0\0state_dicth\x00s.\x80\x02].";
    assert!(refusal(&around(own)).contains("no tensors"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for name in ["zipped.bin", "in_a_row.bin"] {
        let file = fs::read(fixture(name)).unwrap();
        for length in 0..file.len() {
            assert!(tensors(&file[..length]).is_err(), "{name} cut at {length}");
        }
    }
}

proptest! {
    #[test]
    fn damage_anywhere_never_panics(
        name in prop::sample::select(vec!["zipped.bin", "nested.bin", "in_a_row.bin"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = fs::read(fixture(name)).unwrap();
        for (place, byte) in damage {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let _ = tensors(&file);
    }

    #[test]
    fn random_opcodes_never_panic(
        opcodes in prop::collection::vec(
            prop::sample::select(b"\x80\x95(01N\x88KMJ\x8aGXT\x8cU)]}\x85\x86\x87taesuqr\x94hjc\x93QRb.\0\x01".to_vec()),
            0..64,
        ),
    ) {
        let _ = tensors(&around(&opcodes));
    }
}
