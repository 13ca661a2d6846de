//! The real teacher, all-MiniLM-L6-v2, against vectors that sentence-transformers gave; skipped where it is absent.
//!
//! `HPD_TEACHER=/path/to/all-MiniLM-L6-v2 cargo test --release -p hpd-encoder`; the golden is made by
//! `fixtures/encoder/make_encoder_goldens.py --teacher DIR`.

use std::path::Path;

use crate::golden::{Golden, fixtures};
use hpd_encoder::Model;

#[test]
fn the_teacher_gives_the_vectors_of_sentence_transformers() {
    let Some(folder) = std::env::var_os("HPD_TEACHER") else {
        eprintln!("skipped: HPD_TEACHER does not name the folder of all-MiniLM-L6-v2");
        return;
    };
    let model = Model::open(Path::new(&folder)).unwrap();
    Golden::read(&fixtures().join("teacher.json")).check(&model);
}
