//! A teacher on a graphics card: the same Transformer that students are, with all its layers and no projection.
//!
//! Where there is a card, half a million sentences take a large teacher minutes there and hours on the CPU. What a student can
//! be, a BERT with the mean over its tokens, a teacher can be too; any other stays on the CPU.

use burn::tensor::Device;
use hpd_encoder::{Activation as Hidden, Arithmetic, Model, Pooling};
use hpd_files::Result;
use hpd_files::vectors::Matrix;

use crate::fused::is_cpu;
use crate::recipe::Activation;
use crate::student::{HeadShape, Student};

/// The layers of `model` on `device`; `None` where they belong on the CPU: it is the device, the vectors shall be
/// computed in other numbers than f32, or a student could not be what the model is.
///
/// # Errors
/// When a tensor cannot be read.
pub(super) fn body(model: &Model, device: &Device) -> Result<Option<Student>> {
    let folder = model.folder();
    let same = folder.config.model_type.is_bert_family()
        && folder.config.hidden_act == Hidden::Gelu
        && folder.pooling == Pooling::mean()
        && folder.dense().next().is_none()
        && folder.default_prompt_name.is_none()
        && model.arithmetic() == Arithmetic::Float32;
    if is_cpu(device) || !same {
        return Ok(None);
    }
    layers_of(model, device).map(Some)
}

/// All layers of `model`, and a head that changes nothing.
fn layers_of(model: &Model, device: &Device) -> Result<Student> {
    let folder = model.folder();
    let width = folder.config.hidden_size;
    let head = HeadShape {
        dim: width,
        bias: false,
        activation: Activation::Identity,
        normalize: folder.normalizes(),
    };
    let mut itself = vec![0.0; width * width];
    (0..width).for_each(|i| itself[i * width + i] = 1.0);
    let layers: Vec<usize> = (0..folder.config.num_hidden_layers).collect();
    Student::from_folder(&folder.transformer, &layers, head, Some(&itself), 0, device)
}

/// The vectors of `texts`, and how many of them were too long for `model`, whose body `body` is.
///
/// # Errors
/// When a text cannot be tokenised.
pub(super) fn encode(model: &Model, body: &Student, texts: &[&str]) -> Result<(Matrix, usize)> {
    let tokens = model.tokenizer().tokenize(texts)?;
    let ids: Vec<&[u32]> = (0..tokens.len()).map(|i| tokens.text(i)).collect();
    Ok((body.embed(&ids), tokens.truncated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hpd_encoder::EncodeOptions;

    #[test]
    fn a_body_gives_the_vectors_of_its_model() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = folder.join("../../fixtures/encoder/bert_mean");
        let model = Model::open(&folder).unwrap();
        assert!(body(&model, &Device::flex()).unwrap().is_none());
        // What a card computes with is generic; the CPU stands in for one.
        let texts = ["a man plays the guitar", "", "someone makes music and the dog barks"];
        let student = layers_of(&model, &Device::flex().autodiff()).unwrap();
        let (found, truncated) = encode(&model, &student, &texts).unwrap();
        let expected = model.encode(&texts, &EncodeOptions::default()).unwrap().rows;
        assert_eq!((found.dim, truncated), (expected.dim, 0));
        for (a, b) in found.data.iter().zip(&expected.data) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
