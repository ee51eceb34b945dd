use headworks::pipeline::PipelineConfig;
use headworks::rate_limit::TieredQuota;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::layer::PREFIX;
use super::*;
use crate::problem::with_causes;

fn of(
    args: &[&str],
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Options, SettingsError> {
    let path = file.map(|text| {
        let path = NamedTempFile::new().unwrap();
        std::fs::write(&path, text).unwrap();
        path
    });
    let config = path.as_ref().map(|path| format!("--config={}", path.path().display()));
    let args = ["operator"].into_iter().chain(args.iter().copied()).map(str::to_owned);
    let environment =
        environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    read(args.chain(config), environment)
}

fn wrong(args: &[&str], environment: &[(&str, &str)], file: Option<&str>) -> String {
    with_causes(&of(args, environment, file).unwrap_err())
}

#[test]
fn the_file_is_below_the_environment_and_that_below_the_command_line() {
    let file = "drain: 1s\nllm_rate: 10\ndeadline: 1m\npipeline: {seats: 1, queue_capacity: 10, starvation_bound: 3}\n";
    let environment = [
        ("HEADWORKS_LLM_RATE", "20"),
        ("HEADWORKS_DEADLINE", "2m"),
        ("HEADWORKS_PIPELINE__SEATS", "2"),
        ("HEADWORKS_QUEUE", "20"),
        ("PATH", "/bin"),
    ];
    let options = of(&["--deadline", "3m", "--workers", "3"], &environment, Some(file)).unwrap();
    let seconds = |time: std::time::Duration| time.as_secs();
    assert_eq!(seconds(options.drain), 1, "the file alone");
    assert_eq!(options.llm.llm_rate, 20, "the environment over the file");
    assert_eq!(options.deadline.map(seconds), Some(180), "the command line over both");
    let pipeline = &options.rooms.pipeline;
    assert_eq!((pipeline.starvation_bound, pipeline.queue_capacity, pipeline.seats), (3, 20, 3));
    assert_eq!(&*pipeline.name, "operator", "what nobody says stays as it is");
    assert_eq!(options.rooms.transport.open_overall, 3, "a connection for each worker");
    let named = ("HEADWORKS_CONFIG", "/none/there.yaml");
    assert!(
        wrong(&[], &[named], None).starts_with("cannot read the settings in /none/there.yaml: ")
    );
    assert!(of(&[], &[named], Some("")).is_ok(), "--config is said later");
}

/// Every leaf of a configuration, with a text that changes it, and what that makes of it.
fn changed(path: String, value: &Value, found: &mut Vec<(String, String, Value)>) {
    let mut one = |text: &str, value: Value| found.push((path.clone(), text.to_owned(), value));
    match value {
        Value::Object(map) if map.len() == 2 && map.contains_key("nanos") => {
            one("77s", json!({"secs": 77, "nanos": 0}));
        }
        Value::Object(map) => {
            for (name, value) in map {
                changed(format!("{path}.{name}"), value, found);
            }
        }
        Value::Null => one("77s", json!({"secs": 77, "nanos": 0})),
        Value::Number(number) if number.is_u64() => {
            let more = number.as_u64().unwrap() + 1;
            one(&more.to_string(), json!(more));
        }
        Value::Number(number) => {
            let more = number.as_f64().unwrap() + 0.25;
            one(&more.to_string(), json!(more));
        }
        Value::String(was) if was == "full" => one("shadow", json!("shadow")),
        Value::String(_) => one("another", json!("another")),
        other => panic!("{path}: {other} is of a kind that no test says"),
    }
}

#[test]
fn every_field_of_the_pipeline_is_reached_by_the_environment_and_by_the_file() {
    let whole = PipelineConfig::default().with_ingress(TieredQuota::default());
    let whole = serde_json::to_value(whole).unwrap();
    let mut fields = Vec::new();
    changed("pipeline".to_owned(), &whole, &mut fields);
    assert!(fields.len() > 25, "{fields:?}");
    for (key, text, expected) in fields {
        let name = format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase());
        let names: Vec<_> = key.split('.').collect();
        let file = names.iter().rev().fold(json!(text), |inner, name| json!({ *name: inner }));
        let by_file = of(&[], &[], Some(&file.to_string())).map_err(|it| with_causes(&it));
        let by_variable = of(&[], &[(&name, &text)], None).map_err(|it| with_causes(&it));
        for options in [by_variable.unwrap(), by_file.unwrap()] {
            let config = serde_json::to_value(&options.rooms.pipeline).unwrap();
            let pointer = format!("/{}", names[1..].join("/"));
            assert_eq!(config.pointer(&pointer), Some(&expected), "{name}={text}");
        }
    }
}

#[test]
fn every_flag_is_reached_by_the_environment() {
    let command = Options::command();
    for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
        let name = format!("{PREFIX}{}", flag.replace('-', "_").to_ascii_uppercase());
        // Not a value of any flag that has rules; of the others, one.
        match of(&[], &[(&name, "\u{1}")], None) {
            Err(SettingsError::Unknown { .. }) => {
                assert!(["help", "version"].contains(&flag), "{flag}")
            }
            Err(error) if flag == "config" => assert!(matches!(error, SettingsError::Read { .. })),
            _ => {}
        }
    }
}

#[test]
fn other_rooms_are_reached_too() {
    let environment = [
        ("HEADWORKS_WATCH", "in"),
        ("HEADWORKS_WATCH__EXTENSIONS", "json, yaml"),
        ("HEADWORKS_WATCH__RESCAN_EVERY", "null"),
        ("HEADWORKS_SERVE", "127.0.0.1:9"),
        ("HEADWORKS_SERVE__RATE__PER_KEY__RATE", "7"),
        ("HEADWORKS_STATE__MAX_FILES", "9"),
        ("HEADWORKS_BREAKER__NAME", "model"),
        ("HEADWORKS_TRANSPORT__OPEN_PER_HOST", "5"),
        ("HEADWORKS_LLM_CACHE", "7s"),
        ("HEADWORKS_LLM_CACHE__CAPACITY", "70"),
        ("HEADWORKS_PIPELINE__ENFORCEMENT__SHARE", "0.5"),
        ("HEADWORKS_JSON", "true"),
    ];
    let options = of(&[], &environment, None).unwrap();
    let rooms = &options.rooms;
    assert_eq!(rooms.watch.extensions, ["json", "yaml"]);
    assert_eq!((rooms.watch.rescan_every, rooms.watch.directory.to_str()), (None, Some("in")));
    let rate = rooms.serve.rate.as_ref().unwrap();
    assert_eq!((rate.per_key.rate, rate.per_key.burst), (7, 40));
    assert_eq!((rooms.state.max_files, rooms.transport.open_per_host), (9, 5));
    assert_eq!(rooms.llm_cache.ttl, Some(std::time::Duration::from_secs(7)));
    assert_eq!((rooms.llm_cache.capacity, &*rooms.breaker.name), (70, "model"));
    assert_eq!(rooms.pipeline.enforcement, headworks::Enforcement::Share(0.5));
    assert!(options.json);
    let file = "serve: {address: '127.0.0.1:0', rate: null}\npipeline: {ingress: {}}\njson: false\n\
                watch: {directory: in, workers: 2}\nllm_cache: {ttl: 3s}\nstate: kept\n";
    let options = of(&[], &[], Some(file)).unwrap();
    assert_eq!((options.rooms.watch.workers, options.watch), (2, Some("in".into())));
    assert_eq!((options.serve.map(|at| at.port()), options.state), (Some(0), Some("kept".into())));
    assert_eq!(options.llm.llm_cache, std::time::Duration::from_secs(3));
    assert_eq!(options.rooms.serve.rate, None);
    assert_eq!(options.rooms.pipeline.ingress, Some(TieredQuota::default()));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (name, text, words) in [
        ("HEADWORKS_DRIAN", "5s", "there is no such setting"),
        ("HEADWORKS_HELP", "true", "there is no such setting"),
        ("HEADWORKS_DRAIN", "5", "as in 250ms, 5s or 2m"),
        ("HEADWORKS_SERVE__BIND", "x", "it is called `serve.address`"),
        ("HEADWORKS_JSON", "yes", "must be true or false"),
        ("HEADWORKS_PIPE__SEATS", "5", "rooms with fields are pipeline, "),
        ("HEADWORKS_PIPELINE__SAETS", "5", "unknown field `saets`, expected one of `name`, `queue"),
        ("HEADWORKS_PIPELINE__SEATS", "many", "invalid type: string \"many\", expected usize"),
        ("HEADWORKS_PIPELINE__SEATS", "-1", "invalid value: integer `-1`, expected usize"),
        ("HEADWORKS_PIPELINE__CRITICAL_GRACE", "long", "as in 250ms, 5s or 2m"),
        ("HEADWORKS_PIPELINE__KEY_BACKOFF__FRIST", "5s", "unknown field `frist`"),
        ("HEADWORKS_PIPELINE__SEATS__MORE", "5", "invalid type: map"),
        ("HEADWORKS_WORKERS", "0.5", "expected usize"),
    ] {
        let said = wrong(&[], &[(name, text)], None);
        assert!(said.starts_with(&format!("the variable {name}: ")), "{said}");
        assert!(said.contains(words), "{said}");
    }
    for (file, place, words) in [
        ("drain: 5", "drain in ", "as in 250ms, 5s or 2m"),
        ("drain: [5s]", "drain in ", "must be one value"),
        ("pipeline: {seats: x}", "pipeline.seats in ", "expected usize"),
        ("pipeline: 5", "pipeline in ", "there is no such setting"),
        ("pipeline:\n  key_backoff: {first: 1}", "pipeline.key_backoff.first in ", "Duration"),
    ] {
        let said = wrong(&[], &[], Some(file));
        assert!(said.starts_with(place) && said.contains(words), "{said}");
    }
    assert!(wrong(&[], &[], Some("drain: 5s\ndrain: 6s")).contains("the key is there twice"));
    assert!(wrong(&[], &[], Some("- 5s")).contains("settings are names and their values"));
    let twice = [("HEADWORKS_WORKERS", "5"), ("HEADWORKS_PIPELINE__SEATS", "6")];
    let said = wrong(&[], &twice, None);
    assert!(said.ends_with("HEADWORKS_WORKERS are the same setting, pipeline.seats"), "{said}");
    let said = wrong(&["--generate", "5"], &[("HEADWORKS_WATCH", "in")], None);
    assert!(said.starts_with("with what the file and the environment say: "), "{said}");
    assert!(said.contains("--generate"), "{said}");
}

#[test]
fn what_kubernetes_says_of_a_service_is_nobodys_setting() {
    let links = [
        ("HEADWORKS_SERVICE_HOST", "10.0.0.1"),
        ("HEADWORKS_SERVICE_PORT", "80"),
        ("HEADWORKS_SERVICE_PORT_HTTP", "80"),
        ("HEADWORKS_PORT", "tcp://10.0.0.1:80"),
        ("HEADWORKS_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("HEADWORKS_INTAKE_SERVICE_HOST", "10.0.0.1"),
    ];
    assert!(of(&[], &links, None).is_ok());
    let command = Options::command();
    let names = command.get_arguments().filter_map(clap::Arg::get_long);
    assert!(!names.collect::<String>().contains("port"), "a flag that could be taken for one");
}

#[test]
fn whoever_says_what_the_library_refuses_is_known() {
    let seats = ("HEADWORKS_PIPELINE__SEATS", "0");
    let options = of(&[], &[seats, ("HEADWORKS_SERVE__READY_RATIO", "2")], None).unwrap();
    let said = |options: &Options, field| {
        options.rooms.said_by(options, field).map(|said| said.to_string())
    };
    let variable = |name| Some(format!("the variable {name}"));
    assert_eq!(said(&options, "pipeline.seats"), variable("HEADWORKS_PIPELINE__SEATS"));
    let ratio = variable("HEADWORKS_SERVE__READY_RATIO");
    assert_eq!(said(&options, "intake.http.ready_ratio"), ratio);
    assert_eq!(said(&options, "pipeline.queue_capacity"), None);
    let options = of(&["--workers", "5"], &[seats], None).unwrap();
    assert_eq!(said(&options, "pipeline.seats"), Some("--workers".to_owned()));
}
