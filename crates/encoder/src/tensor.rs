//! A tensor as it stands in a file: a name, a shape, numbers.

use std::borrow::Cow;

use hpd_files::fingerprint::Fingerprinter;
use hpd_files::{Error, Fingerprint, Result};
use safetensors::tensor::{Dtype, View};

/// A named f32 tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name Hugging Face gives it, such as `encoder.layer.0.output.dense.weight`.
    pub name: String,
    /// Sizes of the dimensions, outermost first; a scalar has none.
    pub shape: Vec<usize>,
    /// As many numbers as the product of the shape.
    pub data: Vec<f32>,
}

impl Tensor {
    /// Refuses a tensor whose numbers do not fill its shape or are not all finite.
    ///
    /// # Errors
    /// When the count disagrees with the shape, or a number is NaN or infinite.
    pub fn check(&self) -> Result<()> {
        let Self { name, shape, data } = self;
        let expected = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        if expected != Some(data.len()) {
            return Err(Error::model(format!(
                "tensor `{name}` has shape {shape:?} but {} numbers",
                data.len()
            )));
        }
        match data.iter().position(|number| !number.is_finite()) {
            Some(at) => Err(Error::model(format!(
                "tensor `{name}` holds {} at position {at}; expected finite numbers",
                data[at]
            ))),
            None => Ok(()),
        }
    }
}

/// A tensor as it lies in a file, of whatever type.
pub(crate) struct StoredTensor<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Cow<'a, [usize]>,
    /// The numbers, little-endian and row-major.
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl<'a> From<&'a Tensor> for StoredTensor<'a> {
    fn from(Tensor { name, shape, data }: &'a Tensor) -> Self {
        Self {
            name: name.into(),
            dtype: Dtype::F32,
            shape: shape.into(),
            bytes: bytemuck::cast_slice(data).into(),
        }
    }
}

/// The fingerprint of a set of tensors: names, shapes, types and bytes, in the order of the names. Which files
/// they lie in, and where, leaves no trace.
pub(crate) fn fingerprint<'a>(tensors: impl IntoIterator<Item = StoredTensor<'a>>) -> Fingerprint {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = Fingerprinter::new();
    for StoredTensor { name, dtype, shape, bytes } in &tensors {
        let mut form: Vec<u8> =
            shape.iter().flat_map(|&size| (size as u64).to_le_bytes()).collect();
        // The first folders had nothing but f32 and did not say so; what they call themselves stays true.
        if *dtype != Dtype::F32 {
            form.extend(dtype.to_string().bytes());
        }
        hasher.add_part(name.as_bytes()).add_part(&form).add_part(bytes);
    }
    hasher.finish()
}

/// How safetensors sees it when writing.
impl View for &StoredTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], data: &[f32]) -> Tensor {
        Tensor { name: name.to_owned(), shape: shape.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn check_names_the_tensor_that_does_not_fill_its_shape() {
        assert!(tensor("a", &[2, 2], &[0.0; 4]).check().is_ok());
        assert!(tensor("scalar", &[], &[0.0]).check().is_ok());
        let error = tensor("a", &[2, 2], &[0.0; 3]).check().unwrap_err();
        assert_eq!(error.to_string(), "tensor `a` has shape [2, 2] but 3 numbers");
        assert!(tensor("a", &[usize::MAX, 2], &[]).check().is_err());
        let error = tensor("a", &[2], &[0.0, f32::NAN]).check().unwrap_err();
        assert!(error.to_string().contains("NaN at position 1"), "{error}");
    }

    #[test]
    fn fingerprint_knows_names_shapes_types_and_numbers_but_not_the_order() {
        let of = |tensors: &[&Tensor]| fingerprint(tensors.iter().map(|t| StoredTensor::from(*t)));
        let (a, b) = (tensor("a", &[2], &[1.0, 2.0]), tensor("b", &[1], &[3.0]));
        assert_eq!(of(&[&a, &b]), of(&[&b, &a]));
        assert_ne!(of(&[&a]), of(&[&tensor("b", &[2], &[1.0, 2.0])]));
        assert_ne!(of(&[&a]), of(&[&tensor("a", &[2, 1], &[1.0, 2.0])]));
        assert_ne!(of(&[&a]), of(&[&tensor("a", &[2], &[1.0, 2.5])]));
        let of_type = |dtype| fingerprint([StoredTensor { dtype, ..StoredTensor::from(&a) }]);
        assert_ne!(of_type(Dtype::F16), of_type(Dtype::BF16));
        assert_ne!(of_type(Dtype::I32), of(&[&a]));
    }

    /// Folders name themselves by it, and stores remember those names.
    #[test]
    fn fingerprint_of_floats_is_what_it_always_was() {
        let (a, b) = (tensor("a", &[2], &[1.0, 2.0]), tensor("b", &[], &[3.0]));
        let found = fingerprint([&b, &a].map(StoredTensor::from)).to_string();
        assert_eq!(found, "83178d70263e1a28a45cb2043a3d4cef");
    }
}
