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

#[test]
fn distilbert_under_its_own_names_with_cls_pooling() {
    check("distilbert_cls");
}

#[test]
fn mpnet_with_distances_up_to_the_last_bucket() {
    check("mpnet_cls");
}

#[test]
fn modernbert_as_transformers_5_writes_it_past_its_window() {
    check("modernbert_new");
}

#[test]
fn modernbert_as_transformers_4_wrote_it_with_every_bias() {
    check("modernbert_old");
}

#[test]
fn static_embedding_with_a_head_and_the_truncation_of_its_tokenizer() {
    check("static_embedding");
}

#[test]
fn router_with_a_table_for_queries_and_a_transformer_for_documents() {
    check("router");
}

#[test]
fn model2vec_with_a_unigram_tokenizer_and_no_modules() {
    check("model2vec_plain");
}

#[test]
fn model2vec_with_a_quantised_vocabulary() {
    check("model2vec_mapped");
}
