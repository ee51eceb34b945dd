//! Cuts a YAML file into its documents.

/// One document of a file, with its own `---` line.
#[derive(Debug, PartialEq)]
pub(super) struct Part<'a> {
    pub(super) text: &'a str,
    pub(super) first_line: u64,
}

/// Cuts at `---` and `...`, which at the start of a line can be nothing else in YAML. Parts
/// without content (comments, an empty document) are no documents; directives and comments above
/// a `---` stay with what follows.
pub(super) fn split_yaml(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut start = Start { at: 0, line: 1, marked: false, filled: false };
    let (mut at, mut line) = (0, 1);
    for raw in text.split_inclusive('\n') {
        let is = |marker: &str| {
            raw.strip_prefix(marker)
                .is_some_and(|rest| rest.trim_start() != rest || rest.is_empty())
        };
        if is("---") && (start.marked || start.filled) {
            start.close(text, at, &mut parts);
            start = Start { at, line, marked: false, filled: false };
        }
        if is("---") {
            start.marked = true;
            start.filled |= is_content(&raw[3..]);
        } else if is("...") {
            start.close(text, at + raw.len(), &mut parts);
            start = Start { at: at + raw.len(), line: line + 1, marked: false, filled: false };
        } else {
            start.filled |= is_content(raw) && !raw.starts_with('%');
        }
        at += raw.len();
        line += 1;
    }
    start.close(text, at, &mut parts);
    parts
}

/// Where the document being cut begins.
struct Start {
    at: usize,
    line: u64,
    marked: bool,
    filled: bool,
}

impl Start {
    fn close<'a>(&self, text: &'a str, end: usize, parts: &mut Vec<Part<'a>>) {
        if self.filled {
            parts.push(Part { text: &text[self.at..end], first_line: self.line });
        }
    }
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_cut_only_where_a_document_ends() {
        let cut = |text| split_yaml(text).iter().map(|part| part.first_line).collect::<Vec<_>>();
        assert_eq!(cut("a: 1"), [1]);
        assert_eq!(cut("# note\n\n---\na: 1\n---\nb: 2\n"), [1, 5]);
        assert_eq!(cut("%YAML 1.2\n---\na: 1\n...\n# end\n"), [1]);
        assert_eq!(cut("--- {a: 1}\n--- # none\n---\n--- b\n"), [1, 4]);
        assert_eq!(cut("a: |\n  ---\n  text\n----\n---x: 1\n"), [1]);
        assert_eq!(cut("a: 1\r\n---\r\nb: 2\r\n"), [1, 2]);
        assert_eq!(cut(""), [0; 0]);
    }
}
