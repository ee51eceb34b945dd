//! What lies around the handler, outermost first:
//!
//! 1. `observe`: counts and times every answer; gives those that will not change again.
//! 2. `size`: no body that says of itself that it is too long, and none that becomes so.
//! 3. `log`: one event for each answer, with nothing in it that is a secret.
//! 4. `stack`: security headers, CORS, (a probe's answer, a foreign page's refusal), rate limit, and
//!    the handler, which asks for the bearer token first.

pub(super) mod log;
pub(super) mod observe;
pub(super) mod size;
pub(super) mod stack;
