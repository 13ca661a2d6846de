//! Documents and their vectors in one SQLite store: add, delete, search.
