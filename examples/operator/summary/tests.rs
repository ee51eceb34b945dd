use super::text::two_digits;
use super::*;

#[test]
fn a_time_has_two_significant_digits_and_a_unit() {
    for (micros, words) in [
        (0, "0 ms"),
        (4, "0 ms"),
        (5, "0.01 ms"),
        (301, "0.30 ms"),
        (994, "0.99 ms"),
        (996, "1.0 ms"),
        (1_249, "1.2 ms"),
        (9_960, "10 ms"),
        (65_536, "66 ms"),
        (122_900, "120 ms"),
        (994_000, "990 ms"),
        (999_600, "1.0 s"),
        (5_242_880, "5.2 s"),
        (42_400_000, "42 s"),
        (119_000_000, "120 s"),
    ] {
        assert_eq!(two_digits(Duration::from_micros(micros)).to_string(), words);
    }
}
