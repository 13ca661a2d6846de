//! Texts of a request in each of the shapes clients send, and the vectors they become.

use hpd_encoder::{EncodeOptions, Model, Tokens};
use hpd_files::vectors::Matrix;
use serde::Deserialize;

use crate::failure::Failure;

/// One text or many, as words or as ids of the model's own tokenizer, special ones included.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a text, a list of texts, a list of token ids, or a list of such lists"
)]
pub(crate) enum Inputs {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    ManyIds(Vec<Vec<u32>>),
}

/// What became of them.
pub(crate) struct Embedded {
    /// `[texts, dim]`.
    pub(crate) rows: Matrix,
    /// Tokens that were encoded.
    pub(crate) tokens: usize,
    /// Texts that lost their end.
    pub(crate) truncated: usize,
}

impl Inputs {
    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(_) | Self::Ids(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::ManyIds(texts) => texts.len(),
        }
    }

    /// Their ids, cut at what the model takes or refused if they are longer.
    pub(crate) fn tokenize(
        self,
        model: &Model,
        options: &EncodeOptions,
        truncate: bool,
    ) -> Result<Tokens, Failure> {
        let model = model.route(options)?;
        let tokens = match self {
            Self::Text(text) => model.tokenize(&[text], options)?,
            Self::Texts(texts) => model.tokenize(&texts, options)?,
            Self::Ids(ids) => given(&[ids], model)?,
            Self::ManyIds(texts) => given(&texts, model)?,
        };
        if tokens.truncated > 0 && !truncate {
            let (long, all, longest) = (tokens.truncated, tokens.len(), model.max_seq_length());
            return Err(Failure::invalid(format!(
                "{long} of {all} texts are longer than the {longest} tokens the model takes; shorten them, or let `truncate` be true"
            )));
        }
        Ok(tokens)
    }
}

/// Ids as they are, for those who tokenise themselves.
fn given(texts: &[Vec<u32>], model: &Model) -> Result<Tokens, Failure> {
    let longest = model.max_seq_length();
    let mut tokens = Tokens { offsets: vec![0], ..Tokens::default() };
    for (i, ids) in texts.iter().enumerate() {
        if ids.is_empty() {
            return Err(Failure::invalid(format!("text {i} has no token ids")));
        }
        tokens.ids.extend(&ids[..ids.len().min(longest)]);
        tokens.offsets.push(tokens.ids.len());
        tokens.truncated += usize::from(ids.len() > longest);
    }
    let refused = |error| {
        Failure::invalid(format!("{error}; send texts, or ids of the model's own tokenizer"))
    };
    model.check_tokens(&tokens).map_err(refused)?;
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_are_read() {
        let read = |json: &str| serde_json::from_str::<Inputs>(json);
        assert!(matches!(read("\"a\""), Ok(Inputs::Text(text)) if text == "a"));
        assert!(matches!(read("[\"a\", \"b\"]"), Ok(Inputs::Texts(texts)) if texts.len() == 2));
        assert!(matches!(read("[1, 2]"), Ok(Inputs::Ids(ids)) if ids == [1, 2]));
        assert!(matches!(read("[[1], [2, 3]]"), Ok(Inputs::ManyIds(texts)) if texts.len() == 2));
        for wrong in ["1", "null", "{}", "[1, \"a\"]", "[-1]", "[[\"a\"]]"] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains("a text, a list of texts"), "{error}");
        }
    }
}
