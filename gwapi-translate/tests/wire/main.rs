//! The wire from outside: what crosses it, and what both ends have after whatever happened to it.

mod encodings;
mod laws;
mod sessions;
