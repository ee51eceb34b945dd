//! What is said of a document that breaks a rule: short, whatever stands in it.

use std::fmt::{self, Display, Write};

use crate::edges::intake::Rejected;

/// Bytes of a rule's text, and of a pointer. What is longer ends in `…`.
const MOST_RULE: usize = 512;
const MOST_POINTER: usize = 1024;

/// One step on the way into a document.
pub(super) enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

/// It breaks `rule` at the end of this way.
pub(super) fn rejected<'a>(
    way: impl IntoIterator<Item = Step<'a>>,
    rule: impl Display,
) -> Rejected {
    Rejected::invalid(pointer(way), bounded(rule, MOST_RULE))
}

/// An RFC 6901 pointer.
fn pointer<'a>(way: impl IntoIterator<Item = Step<'a>>) -> String {
    let mut text = Bounded::new(MOST_POINTER);
    for step in way {
        // A full text is what a bound is for.
        let _ = match step {
            Step::Index(index) => write!(text, "/{index}"),
            Step::Name(name) => write!(text, "/{}", Escaped(name)),
        };
    }
    text.end()
}

/// The first bytes of what it says.
pub(in crate::edges::intake) fn bounded(text: impl Display, most: usize) -> String {
    let mut short = Bounded::new(most);
    let _ = write!(short, "{text}");
    short.end()
}

/// `~` and `/` as RFC 6901 has them.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.0.split('~').enumerate() {
            if n > 0 {
                f.write_str("~0")?;
            }
            for (n, part) in part.split('/').enumerate() {
                if n > 0 {
                    f.write_str("~1")?;
                }
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}

/// A text that stops growing.
struct Bounded {
    text: String,
    most: usize,
    is_cut: bool,
}

impl Bounded {
    fn new(most: usize) -> Self {
        Self { text: String::new(), most, is_cut: false }
    }

    fn end(mut self) -> String {
        if self.is_cut {
            self.text.push('…');
        }
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let left = self.most - self.text.len();
        if more.len() <= left {
            self.text.push_str(more);
            return Ok(());
        }
        let end = (0..=left).rev().find(|&end| more.is_char_boundary(end)).unwrap_or(0);
        self.text.push_str(&more[..end]);
        self.is_cut = true;
        Err(fmt::Error)
    }
}
