//! The rules compared, on backends that are only modelled.

mod backend;
mod rivals;
mod tests;
