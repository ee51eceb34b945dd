//! What is told of a failure. To show it is the operator's code, which may panic.

use std::error::Error;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::json::bounded;
use crate::ground::quiet::drop_quietly;
use crate::pipeline::Failure;

/// An error with what it comes from, as far as that is of use, in so many bytes at most.
pub(super) fn told(error: &Failure, most: usize) -> String {
    let shown = catch_unwind(AssertUnwindSafe(|| bounded(Chain(error), most)));
    shown.unwrap_or_else(|panic| {
        drop_quietly(panic);
        "an error that panics when it is shown".to_owned()
    })
}

struct Chain<'a>(&'a Failure);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DEEPEST: usize = 8;
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        for _ in 0..DEEPEST {
            let Some(error) = source else { break };
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
