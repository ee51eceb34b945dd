//! Bounds, under either spelling: `min_replicas` and `minReplicas` mean the same.

use serde_json::Value;

use super::fields::{Fields, integer, text};
use crate::intent::Constraints;
use crate::problem::{Fault, Rule};

/// Reads the bounds out of an open object; whatever else it holds is left alone.
pub(super) fn read(fields: &Fields<'_>) -> Result<Constraints, Fault> {
    let min = either(fields, ["min_replicas", "minReplicas"])?;
    let max = either(fields, ["max_replicas", "maxReplicas"])?;
    let allowed = either(fields, ["allowed_namespaces", "allowedNamespaces"])?;
    let constraints = Constraints {
        min_replicas: fields.optional(min, integer(0..=u32::MAX))?,
        max_replicas: fields.optional(max, integer(1..=u32::MAX))?,
        allowed_namespaces: fields.list(allowed, text)?,
    };
    constraints.consistent().map_err(|rule| Fault::new(fields.at(min), rule))?;
    Ok(constraints)
}

/// Whichever spelling is there.
fn either<'n>(fields: &Fields<'_>, [snake, camel]: [&'n str; 2]) -> Result<&'n str, Fault> {
    match (fields.raw(snake), fields.raw(camel)) {
        (Some(_), Some(_)) => Err(Fault::new(fields.at(camel), Rule::BothSpellings)),
        (None, Some(_)) => Ok(camel),
        (_, None) => Ok(snake),
    }
}

/// The number of replicas in an open object, where it must make sense because it is acted on.
pub(super) fn replicas(value: &Value) -> Result<u32, Rule> {
    integer(0..=i32::MAX.unsigned_abs())(value)
}
