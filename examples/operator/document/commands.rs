//! One line of words, read as the flat document that says the same.

use serde_json::{Value, json};

use crate::problem::{Fault, Rule};

/// Lines that say something, and their numbers, from 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let says_something = |line: &str| !line.is_empty() && !line.starts_with('#');
    let lines = text.lines().map(str::trim).enumerate();
    lines.filter(move |(_, line)| says_something(line)).map(|(index, line)| (index + 1, line))
}

/// `scale NAME to N in ns NAMESPACE`, with its fixed words in any case. What stands in the places of
/// the others is held to the rules of the flat form, so a pointer is one into that.
pub(super) fn from_command(line: &str) -> Result<Value, Fault> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [scale, name, to, replicas, within, ns, namespace] = words[..] else {
        return Err(unread());
    };
    let fixed = [(scale, "scale"), (to, "to"), (within, "in"), (ns, "ns")];
    if !fixed.iter().all(|(word, fixed)| word.eq_ignore_ascii_case(fixed)) {
        return Err(unread());
    }
    let replicas = replicas.parse::<i64>().map_or_else(|_| json!(replicas), |number| json!(number));
    Ok(json!({
        "intent_type": "scaling", "target": name, "namespace": namespace, "replicas": replicas,
    }))
}

fn unread() -> Fault {
    Fault::new("", Rule::UnknownForm("a command is `scale NAME to N in ns NAMESPACE`"))
}
