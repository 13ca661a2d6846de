//! The routes as clients see them, called without a port, on models small enough to stand in the repository.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod limits;
mod openai;
mod openapi;
mod search;
mod support;
mod tei;
