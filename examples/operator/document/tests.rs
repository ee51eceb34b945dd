use std::fs;

use tempfile::TempDir;

use super::*;
use crate::clock::now;
use crate::value::MAX_DEPTH;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn read(files: &[(&str, &[u8])]) -> Vec<Found> {
    read_all(folder(files).path()).unwrap().collect()
}

/// The one fault of a folder of one file.
fn fault(name: &str, bytes: &[u8]) -> Fault {
    match &read(&[(name, bytes)])[..] {
        [Found::Problem(problem)] => problem.fault.clone(),
        other => panic!("{other:?}"),
    }
}

fn rule(name: &str, bytes: &[u8]) -> Rule {
    fault(name, bytes).rule
}

/// Origin and kind of what was found, in order.
fn listed(found: &[Found]) -> Vec<String> {
    let line = |found: &Found| match found {
        Found::Document(document) => format!("{} document", document.origin),
        Found::Skipped { origin, kind } => format!("{origin} skipped: {kind}"),
        Found::Problem(problem) => format!("{} problem", problem.origin),
    };
    found.iter().map(line).collect()
}

#[test]
fn files_are_read_in_the_order_of_their_names_at_any_depth() {
    let found = read(&[
        ("b.json", b"{}"),
        ("a/z/c.YAML", b"a: 1"),
        ("a/b.yml", b"a: 1\n---\nb: 2\n"),
        ("notes.md", b"# hi"),
        (".git/config.json", b"{}"),
        ("a/.hidden.json", b"{}"),
        ("none.yaml", b"# nothing\n---\n"),
    ]);
    assert_eq!(
        listed(&found),
        [
            "a/b.yml#1 document",
            "a/b.yml#2 document",
            "a/z/c.YAML#1 document",
            "b.json#1 document",
            "none.yaml#1 skipped: empty",
            "notes.md#1 skipped: neither JSON nor YAML",
        ]
    );
}

#[test]
fn a_file_may_have_one_mebibyte_and_no_more() {
    let mut bytes = vec![b' '; 1 << 20];
    bytes[0..2].copy_from_slice(b"{}");
    assert!(matches!(read(&[("a.json", &bytes)])[..], [Found::Document(_)]));
    bytes.push(b' ');
    assert_eq!(rule("a.json", &bytes), Rule::TooLarge { max_bytes: 1 << 20 });
}

#[test]
fn what_is_not_utf_8_is_said_by_its_first_wrong_byte() {
    assert_eq!(rule("a.json", b"{\"a\xff\"}"), Rule::NotUtf8 { at: 3 });
    assert_eq!(rule("a.yaml", b"a: \xc3\x28"), Rule::NotUtf8 { at: 3 });
}

#[test]
fn a_byte_order_mark_is_no_error() {
    assert!(matches!(read(&[("a.json", b"\xef\xbb\xbf{}")])[..], [Found::Document(_)]));
    assert!(matches!(read(&[("a.yaml", b"\xef\xbb\xbfa: 1")])[..], [Found::Document(_)]));
}

#[test]
fn what_is_not_json_or_yaml_is_said_with_its_place() {
    let Rule::NotJson(words) = rule("a.json", b"{\n  \"a\": 1\n  // why\n}") else { panic!() };
    assert_eq!(words, "JSON has no comments, at line 3 column 3");
    assert!(matches!(rule("a.json", b""), Rule::NotJson(_)));
    assert!(matches!(rule("a.json", b"{} {}"), Rule::NotJson(_)));
    assert!(matches!(rule("a.json", b"{\"a\": NaN}"), Rule::NotJson(_)));
    assert!(matches!(rule("a.json", b"{\"a\": 1e999}"), Rule::NotJson(_)));
    assert_eq!(fault("a.json", b"{\"a\": {\"b\": [1, x]}}").pointer, "/a/b/1");
    for bytes in [&b"a: [1, 2"[..], b"a: b: c", b"a: *nobody", b"a: .nan", b"{1: }}"] {
        assert!(matches!(rule("a.yaml", bytes), Rule::NotYaml(_)), "{:?}", str::from_utf8(bytes));
    }
}

#[test]
fn a_tab_that_indents_is_called_a_tab_with_its_line() {
    for (text, line) in [
        ("a:\n\tb: 1\n", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("\ta: 1\n\tb: 2\n", 1),
        ("spec:\n  a: 1\n\tb: 2\n", 3),
        ("a:\n  - b\n \t- c\n", 3),
        ("a: |\n  x\n\ty\nb: 1\n", 3),
        ("a: {\n\tb: 1\n}\n", 2),
        ("# one\na: 1\n---\nb:\n\tc: 1\n", 5),
    ] {
        let found = read(&[("a.yaml", text.as_bytes())]);
        let Some(Found::Problem(problem)) = found.last() else { panic!("{text:?} {found:?}") };
        let words = format!("a tab indents line {line}, where only spaces may");
        assert_eq!(problem.fault.rule, Rule::NotYaml(words), "{text:?}");
    }
    let Rule::NotYaml(words) = rule("a.yaml", b"a: [\n\t\n") else { panic!() };
    assert!(!words.contains("indents"), "{words}");
}

#[test]
fn duplicate_keys_are_found_in_both_languages_at_any_depth() {
    let deep = Fault::new("/a/0/b~1c", Rule::DuplicateKey);
    assert_eq!(fault("a.json", br#"{"a": [{"b/c": 1, "b/c": 2}]}"#), deep);
    assert_eq!(fault("a.yaml", b"a:\n  - b/c: 1\n    b/c: 2\n"), deep);
    assert_eq!(fault("a.yaml", b"a:\n  - {\"b/c\": 1, b/c: 2}\n"), deep);
    assert_eq!(fault("a.json", br#"{"a": 1, "\u0061": 2}"#), Fault::new("/a", Rule::DuplicateKey));
}

#[test]
fn a_bad_document_spoils_no_other_of_its_file() {
    let found = read(&[("a.yaml", b"a: 1\n---\nb: 1\nb: 2\n---\nc: [\n---\nd: 4\n")]);
    let expected =
        ["a.yaml#1 document", "a.yaml#2 problem", "a.yaml#3 problem", "a.yaml#4 document"];
    assert_eq!(listed(&found), expected);
}

#[test]
fn messages_count_lines_from_the_start_of_the_file() {
    let found = read(&[("a.yaml", b"a: 1\n---\nb: 1\n---\nc: 1\nd: ]\n")]);
    let Found::Problem(problem) = &found[2] else { panic!("{found:?}") };
    assert!(problem.to_string().contains("line 6 of the file"), "{problem}");
}

#[test]
fn nesting_ends_at_64() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();
    let too_deep = Fault::new("/0".repeat(MAX_DEPTH), Rule::TooDeep { max: MAX_DEPTH });
    for name in ["a.json", "a.yaml"] {
        assert!(matches!(read(&[(name, &nested(64))])[..], [Found::Document(_)]), "{name}");
        assert_eq!(fault(name, &nested(65)), too_deep, "{name}");
    }
    let maps = |depth: usize| ["{\"a\": ".repeat(depth), "1".into(), "}".repeat(depth)].concat();
    assert!(matches!(read(&[("a.json", maps(64).as_bytes())])[..], [Found::Document(_)]));
    assert_eq!(rule("a.json", maps(65).as_bytes()), Rule::TooDeep { max: MAX_DEPTH });
}

#[test]
fn nesting_10_000_deep_ends_at_once_in_a_typed_error() {
    let started = now();
    let brackets = "[".repeat(10_000);
    let braces = "{\"a\":".repeat(10_000);
    let block: String = (0..1_000).map(|depth| " ".repeat(depth) + "a:\n").collect();
    let keys = "? ".repeat(10_000);
    let dashes = "- ".repeat(10_000);
    for text in [&brackets, &braces] {
        assert_eq!(rule("a.json", text.as_bytes()), Rule::TooDeep { max: MAX_DEPTH });
    }
    for text in [&brackets, &braces, &block, &dashes, &keys] {
        let rule = rule("a.yaml", text.as_bytes());
        let shown: String = text.chars().take(10).collect();
        assert!(matches!(rule, Rule::TooDeep { .. } | Rule::Expands(_)), "{shown} {rule}");
    }
    assert!(started.elapsed().as_secs() < 10);
}

#[test]
fn aliases_that_explode_end_at_once_in_a_typed_error() {
    let started = now();
    let mut lists = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut maps = "a0: &a0 {k: x}\n".to_owned();
    for level in 1..20 {
        let below = level - 1;
        lists += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 9].join(", "));
        maps += &format!("a{level}: &a{level} {{l: *a{below}, r: *a{below}, s: *a{below}}}\n");
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 5_000].join(", "));
    let merges = format!("{maps}z:\n  <<: *a19\n");
    let itself = "a: &a [*a]\n".to_owned();
    for text in [&lists, &maps, &long, &merges] {
        let rule = rule("a.yaml", text.as_bytes());
        assert!(matches!(rule, Rule::Expands(_) | Rule::TooDeep { .. }), "{rule}");
    }
    let words = rule("a.yaml", lists.as_bytes()).to_string();
    assert!(words.contains(": its aliases repeat too much, at line "), "{words}");
    assert!(matches!(rule("a.yaml", itself.as_bytes()), Rule::NotYaml(_) | Rule::Expands(_)));
    assert!(started.elapsed().as_secs() < 10);
}

#[test]
fn plain_aliases_and_merges_are_fine() {
    let found = read(&[("a.yaml", b"a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")]);
    let [Found::Document(document)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        document.value,
        serde_json::json!({"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}})
    );
}
