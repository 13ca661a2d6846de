//! How good is a model: sentence similarity and retrieval.
