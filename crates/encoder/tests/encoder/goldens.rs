//! Small random models against vectors that sentence-transformers gave (`fixtures/encoder/make_encoder_goldens.py`).

use crate::golden::{Golden, fixtures};
use hpd_encoder::Model;

fn check(name: &str) {
    let folder = fixtures().join(name);
    let golden = Golden::read(&folder.join("golden.json"));
    golden.check(&Model::open(&folder).unwrap());
}

#[test]
fn bert_with_mean_pooling_and_normalize() {
    check("bert_mean");
}

#[test]
fn bert_with_cls_and_mean_pooling_two_dense_modules_and_prompts_left_out() {
    check("bert_heads");
}

#[test]
fn roberta_in_the_layout_of_version_6() {
    check("roberta_new");
}

#[test]
fn xlm_roberta_in_bfloat16_shards_with_max_pooling() {
    check("xlm_roberta_max");
}
