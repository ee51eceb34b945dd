use headworks::Priority;

use super::*;

fn decoded(text: &str, origin: &Origin) -> Vec<Result<Order, Rejected>> {
    Documents { deadline: None }.decode(text.as_bytes(), origin)
}

fn sent(text: &str, media_type: Option<&str>) -> Vec<Result<Order, Rejected>> {
    decoded(text, &request(media_type))
}

fn request(media_type: Option<&str>) -> Origin {
    Origin::Request { media_type: media_type.map(str::to_owned), tenant: "lab".into() }
}

fn keys(documents: &[Result<Order, Rejected>]) -> Vec<&str> {
    documents.iter().map(|one| &*one.as_ref().unwrap().key).collect()
}

const FLAT: &str =
    r#"{"intent_type":"scaling","target":"web","namespace":"lab","replicas":3,"priority":9}"#;

#[test]
fn every_form_of_the_samples_is_decoded_from_bytes_alone() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/intents");
    let found = crate::document::read_all(samples.as_ref()).unwrap().map(read);
    let intents = found.filter(|read| matches!(read, Read::Intent(..))).count();
    let files = crate::folder::find(samples.as_ref()).unwrap();
    let of_bytes = files.iter().filter_map(|entry| match &entry.what {
        crate::folder::What::File(path, _) => Some(std::fs::read(path).unwrap()),
        _ => None,
    });
    let accepted = |bytes: Vec<u8>| {
        let origin = request(None);
        let read = Documents { deadline: None }.decode(&bytes, &origin);
        read.iter().filter(|one| one.is_ok()).count()
    };
    assert!(intents > 10);
    assert_eq!(of_bytes.map(accepted).sum::<usize>(), intents);
}

#[test]
fn a_command_is_the_flat_document_that_says_the_same() {
    let command = sent("  Scale web TO 3 in NS lab \n", Some("text/plain"));
    let flat = r#"{"intent_type":"scaling","target":"web","namespace":"lab","replicas":3}"#;
    let (command, flat) = (command[0].as_ref().unwrap(), &sent(flat, None)[0]);
    let flat = flat.as_ref().unwrap();
    assert_eq!((&command.key, command.content), (&flat.key, flat.content));
    assert_eq!(command.payload.request, flat.payload.request);
}

#[test]
fn a_file_of_commands_has_one_a_line() {
    let text = "# up\nscale web to 3 in ns lab\n\nscale db to 1 in ns lab\nscale all\n";
    let read = decoded(text, &Origin::File { path: "up.txt".into() });
    assert_eq!(keys(&read[..2]), ["lab/web", "lab/db"]);
    let rejected = read[2].as_ref().unwrap_err().to_string();
    assert!(rejected.contains("`scale NAME to N in ns NAMESPACE`"), "{rejected}");
    assert_eq!(read[0].as_ref().unwrap().payload.origin.document, 2, "the line's number");
}

#[test]
fn what_a_command_says_is_held_to_the_rules_of_the_flat_form() {
    for (text, pointer) in [
        ("scale web to 0 in ns lab", "/replicas"),
        ("scale web to -3 in ns lab", "/replicas"),
        ("scale web to 999999999999999999999 in ns lab", "/replicas"),
        ("scale web to many in ns lab", "/replicas"),
        ("scale ../web to 3 in ns lab", "/target"),
        ("scale web to 3 in ns lab.x", "/namespace"),
        ("scale web to 3", ""),
        ("scale web to 3 in ns lab now", ""),
    ] {
        match sent(text, None).remove(0).unwrap_err() {
            Rejected::Invalid { pointer: at, .. } => assert_eq!(at, pointer, "{text}"),
            other => panic!("{text}: {other}"),
        }
    }
}

#[test]
fn a_language_that_is_named_is_held_to() {
    assert!(sent(FLAT, Some("application/json"))[0].is_ok());
    assert!(sent(FLAT, Some("application/yaml"))[0].is_ok(), "JSON is YAML, too");
    assert!(sent("intent_type: scaling", Some("application/json"))[0].is_err());
    let form = Some("application/x-www-form-urlencoded");
    assert!(sent(FLAT, form)[0].is_ok(), "what curl says of anything");
}

#[test]
fn an_intent_carries_what_its_document_says() {
    let intent = sent(FLAT, None).remove(0).unwrap();
    assert_eq!(
        (&*intent.key, &*intent.tenant, intent.priority, intent.generation, intent.deadline),
        ("lab/web", "lab", Priority::Urgent, None, None)
    );
    let documents = Documents { deadline: Some(Duration::from_secs(5)) };
    let origin = request(None);
    assert!(documents.decode(FLAT.as_bytes(), &origin)[0].as_ref().unwrap().deadline.is_some());
}

#[test]
fn what_is_no_intent_is_skipped_and_bytes_that_are_no_text_are_wrong() {
    let skipped = sent("kind: Deployment\n---\nkind: Service\n", None);
    assert_eq!(skipped.len(), 2);
    assert!(skipped.iter().all(|one| matches!(one, Err(Rejected::Skipped { .. }))));
    let read = Documents { deadline: None }.decode(b"\xff\xfe", &request(None));
    assert!(matches!(&read[..], [Err(Rejected::Invalid { .. })]));
}

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/operator_formats");
    let seeds: Vec<_> =
        std::fs::read_dir(seeds).unwrap().map(|seed| seed.unwrap().path()).collect();
    assert!(seeds.len() > 5);
    seeds.iter().for_each(|seed| claims::claims(&std::fs::read(seed).unwrap()));
}
