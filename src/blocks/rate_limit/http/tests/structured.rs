use proptest::prelude::*;

use super::super::structured::{Bare, Malformed, members};

/// Values and the parameters `a`, or that it is malformed.
fn read(line: &str) -> Result<Vec<(Bare<'_>, Option<Bare<'_>>)>, Malformed> {
    members(line).map(|member| member.map(|member| (member.value, member.parameter("a")))).collect()
}

#[test]
fn lists_of_items_are_read() {
    use Bare::{Integer, Other, Text};
    for (line, expected) in [
        ("", vec![]),
        ("  ", vec![]),
        ("7", vec![(Integer(7), None)]),
        ("-7;a=-999999999999999", vec![(Integer(-7), Some(Integer(-999_999_999_999_999)))]),
        (" \"x\";a=1 ", vec![(Text("x"), Some(Integer(1)))]),
        ("\"x\";  b=2;a=1;a=3", vec![(Text("x"), Some(Integer(3)))]),
        ("\"x\" ,\t\"y\";a", vec![(Text("x"), None), (Text("y"), Some(Other))]),
        ("\"a,b;a=1\";a=2", vec![(Text("a,b;a=1"), Some(Integer(2)))]),
        ("\"\\\"\\\\\";a=token/*:", vec![(Text("\\\"\\\\"), Some(Text("token/*:")))]),
        ("*t;a=:cHsdsRa894==:", vec![(Text("*t"), Some(Other))]),
        ("1.5;a=123456789012.123", vec![(Other, Some(Other))]),
        ("?1;a=?0", vec![(Other, Some(Other))]),
        ("@1659578233;a=%\"f%c3%bc\"", vec![(Other, Some(Other))]),
        ("x;*k_-.1=3;a=4", vec![(Text("x"), Some(Integer(4)))]),
        ("x;a=1;a=\"y\"", vec![(Text("x"), Some(Text("y")))]),
    ] {
        assert_eq!(read(line), Ok(expected), "{line}");
    }
}

#[test]
fn what_breaks_the_grammar_is_malformed() {
    for line in [
        ",",
        "x,",
        "x,,y",
        "x y",
        "(x y);a=1",
        "\"x",
        "\"\\x\"",
        "\"ü\"",
        "\"\t\"",
        "x;A=1",
        "x;=1",
        "x;a=",
        "x; ;a",
        "x ;a",
        "x;a =1",
        "-",
        "1234567890123456",
        "1.",
        "1.2345",
        "1234567890123.1",
        "--1",
        "+1",
        ":a b:",
        ":a",
        "?2",
        "?",
        "@1.5",
        "@",
        "%x",
        "%\"%C3\"",
        "%\"%c\"",
        "%\"",
        "=",
        "x;a=1,",
        "x;a==",
    ] {
        assert_eq!(read(line).err(), Some(Malformed), "{line}");
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Nothing follows what is malformed, and no parameter is asked for in vain.
    #[test]
    fn any_text_is_read_to_an_end(line in "[ -~\t]{0,40}|[a\";=, 0-9.:?@%\\\\-]{0,40}") {
        let all: Vec<_> = members(&line).collect();
        prop_assert!(all.len() <= line.len() + 1);
        let good = all.iter().take_while(|member| member.is_ok()).count();
        prop_assert!(good + 1 >= all.len());
    }

    #[test]
    fn integers_come_back(numbers in prop::collection::vec(-999_999_999_999_999..=999_999_999_999_999_i64, 1..9)) {
        let line: Vec<_> = numbers.iter().map(|number| format!("{number};a={number}")).collect();
        let expected: Vec<_> = numbers
            .iter()
            .map(|number| (Bare::Integer(*number), Some(Bare::Integer(*number))))
            .collect();
        let line = line.join(", ");
        prop_assert_eq!(read(&line), Ok(expected));
    }
}
