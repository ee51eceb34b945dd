//! A JSON Schema, compiled once.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::rejections::bounded;
use crate::edges::intake::Rejected;

/// A schema that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the JSON Schema can't be used: {said}")]
pub struct SchemaError {
    said: String,
}

pub(super) struct Schema(Validator);

impl Schema {
    pub(super) fn new(schema: &Value) -> Result<Self, SchemaError> {
        let options = jsonschema::options()
            // Whatever features another crate switches on in that library.
            .offline()
            .should_validate_formats(true)
            // In linear time: documents come from anybody.
            .with_pattern_options(PatternOptions::regex());
        let validator = options.build(schema);
        validator.map(Self).map_err(|error| SchemaError { said: bounded(error, 512) })
    }

    /// The first rule that the document breaks.
    pub(super) fn check(&self, document: &Value) -> Result<(), Rejected> {
        self.0.validate(document).map_err(|error| {
            let pointer = bounded(error.instance_path(), 1024);
            // What stands in the document is not repeated: it may be long, and it may be secret.
            Rejected::invalid(pointer, bounded(error.masked(), 512))
        })
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}
