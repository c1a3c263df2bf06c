//! Status: our part of it, and how it gets to the API server.

mod laggards;
mod ledger;
mod manager;
mod merge;
mod withdraw;
mod writer;

pub(crate) use laggards::Sets;
pub(crate) use ledger::Heard;
pub(crate) use manager::field_manager;
pub use merge::{
    MAX_ADDRESSES, MAX_ANCESTORS, MAX_ANCESTORS_OF_X_BACKEND, MAX_CONDITIONS, MAX_LISTENERS,
    MAX_MESSAGE, MAX_PARENTS, Merged, Stored, merge, observed_generation, patch,
};
pub use withdraw::{OwnedFields, withdraw};
pub(crate) use writer::{StatusHandle, start};
