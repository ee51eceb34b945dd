use super::*;
use crate::settings::{self, SettingsError};

fn parse(args: &[&str]) -> Result<Options, clap::Error> {
    match settings::read(["operator"].iter().chain(args), []) {
        Err(SettingsError::Args(error)) => Err(error),
        read => Ok(read.unwrap()),
    }
}

/// The message for a command line that makes no sense.
fn refused(args: &[&str]) -> String {
    let error = parse(args).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{args:?}");
    error.to_string()
}

#[test]
fn the_command_line_is_well_formed() {
    Options::command().debug_assert();
    assert!(parse(&[]).is_ok());
}

#[test]
fn help_names_every_flag_with_its_default() {
    let help = Options::command().render_long_help().to_string();
    for flag in Options::command().get_arguments() {
        let long = flag.get_long().unwrap();
        let from = help.find(&format!("--{long}")).unwrap_or_else(|| panic!("{long}"));
        let rest = &help[from + 2..];
        let text = &rest[..rest.find("\n      --").unwrap_or(rest.len())];
        let takes_value = flag.get_action().takes_values() && long != "generate";
        assert!(!takes_value || text.contains("default:"), "{text}");
    }
}

#[test]
fn help_says_which_files_are_read_and_what_becomes_of_links() {
    let help = Options::command().render_long_help().to_string();
    for word in ["*.json", "*.yaml", "*.yml", "ymbolic", "begin with a dot", "ConfigMap"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn times_have_units() {
    for (text, millis) in [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("0s", 0)] {
        assert_eq!(values::time(text), Ok(Duration::from_millis(millis)));
    }
    for text in ["", "5", "s", "-1s", "1.5s", "5h", "5 s", "ms250"] {
        let words = values::time(text).unwrap_err();
        assert!(words.ends_with("as in 250ms, 5s or 2m"), "{text}: {words}");
    }
    for text in ["99999999999999999999s", "1441m", "86401s"] {
        assert_eq!(values::time(text).unwrap_err(), "must be at most a day, 1440m");
    }
}

#[test]
fn faults_are_a_ratio_or_a_list() {
    assert!((values::faults("0.05").unwrap().sum() - 0.05).abs() < 1e-9);
    let listed = values::faults("hang=0.25,reset=0.5").unwrap();
    assert_eq!((listed.hang, listed.reset, listed.prose), (0.25, 0.5, 0.0));
    for text in ["2", "-1", "NaN", "x", "hang=2", "dance=0.1", "hang=0.9,reset=0.9", "hang=1,"] {
        assert!(values::faults(text).is_err(), "{text}");
    }
    assert!(values::faults("dance=1").unwrap_err().contains("only rate-limited, server-error"));
}

#[test]
fn a_value_out_of_range_is_refused_by_the_name_of_its_flag() {
    for (flag, value, rule) in [
        ("--generate", "0", "1..=999999999"),
        ("--generate", "-1", "invalid digit"),
        ("--workers", "0", "1..=65536"),
        ("--workers", "many", "invalid digit"),
        ("--queue", "0", "1..=1000000"),
        ("--deadline", "0s", "at least 1ms"),
        ("--deadline", "2 hours", "as in 250ms, 5s or 2m"),
        ("--drain", "5", "as in 250ms, 5s or 2m"),
        ("--llm-rate", "0", "1..=10000000"),
        ("--llm-timeout", "0ms", "at least 1ms"),
        ("--llm-cache", "0s", "at least 1ms"),
        ("--llm-latency", "2000m", "at most a day"),
        ("--llm-sigma", "-1", "from 0 to 3"),
        ("--llm-sigma", "99", "from 0 to 3"),
        ("--llm-sigma", "NaN", "from 0 to 3"),
        ("--llm-faults", "-0.1", "from 0 to 1"),
        ("--llm-faults", "NaN", "from 0 to 1"),
        ("--llm-faults", "hang=1.5", "hang must be a number from 0 to 1"),
        ("--commit", "nowhere", "git, memory"),
        ("--llm-style", "grpc", "openai, ollama"),
        ("--branch", "a..b", "git allows"),
        ("--branch", "x.lock", "git allows"),
        ("--branch", "", "names of letters"),
        ("--deploy-path", "..", "names of letters"),
        ("--deploy-path", "/etc", "names of letters"),
        ("--repo", "", "a value is required"),
        ("--watch", "", "a value is required"),
        ("--serve", "localhost", "invalid socket address"),
        ("--serve", "8080", "invalid socket address"),
    ] {
        let words = refused(&[flag, value]);
        assert!(words.contains(&format!("'{flag} <")), "{words}");
        assert!(words.contains(rule), "{words}");
    }
}

#[test]
fn a_url_is_absolute_and_has_a_host() {
    for (url, rule) in [
        ("notaurl", "beginning with http:// or https://"),
        ("localhost:11434", "beginning with http:// or https://"),
        ("/v1", "beginning with http:// or https://"),
        ("ftp://host", "beginning with http:// or https://"),
        ("http://", "with a host"),
        ("http://:80", "with a host"),
        ("http://a b", "without odd characters"),
        ("", "with a host"),
        ("http://host:99999", "with a port"),
        ("http://me:secret@host", "without credentials"),
        ("http://host?key=1", "ending with its path"),
        ("http://host#there", "ending with its path"),
    ] {
        let words = refused(&["--llm-url", url]);
        assert!(words.contains("--llm-url <URL>") && words.contains(rule), "{url}: {words}");
    }
    let url = |url| parse(&["--llm-url", url]).unwrap().llm.llm_url.unwrap();
    assert_eq!(url("http://localhost:11434/"), "http://localhost:11434");
    assert_eq!(url("https://[::1]:8443/proxy"), "https://[::1]:8443/proxy");
}

#[test]
fn flags_that_exclude_each_other_are_refused() {
    for args in [
        &["--generate", "5", "--intents", "x"][..],
        &["--watch", "y", "--intents", "x"],
        &["--serve", "127.0.0.1:0", "--generate", "5"],
        &["--commit", "memory", "--repo", "x"],
        &["--llm-url", "http://host", "--llm-faults", "0"],
        &["--llm-url", "http://host", "--llm-sigma", "0"],
        &["--llm-url", "http://host", "--llm-latency", "1ms"],
    ] {
        let words = refused(args);
        assert!(words.contains("cannot be used with"), "{words}");
    }
    for args in [
        &["--serve", "0.0.0.0:80"][..],
        &["--serve", "[::]:80"],
        &["--watch", "x", "--metrics", "0.0.0.0:80"],
        &["--serve", "192.0.2.1:80"],
    ] {
        let words = refused(args);
        assert!(words.contains("'--serve-anywhere' has to allow"), "{words}");
        assert!(parse(&[args, &["--serve-anywhere"]].concat()).is_ok());
    }
    for at in ["127.0.0.1:0", "127.0.0.2:80", "[::1]:80"] {
        assert!(parse(&["--serve", at]).is_ok(), "{at}");
    }
    assert!(refused(&["--state", "x"]).contains("'--state <DIR>' is for '--watch <DIR>'"));
    assert!(refused(&["--metrics", "127.0.0.1:0"]).contains("'--metrics <IP:PORT>' is for"));
    assert!(parse(&["--state", "x", "--serve", "127.0.0.1:0"]).is_ok());
    assert!(refused(&["--token-file", "x"]).contains("--serve <IP:PORT>"));
    refused(&["--no-such-flag"]);
    assert_eq!(parse(&["--help"]).unwrap_err().exit_code(), 0);
}
