//! Bytes that come to the example `operator` as a file or a request, in every language and form that
//! it knows, the text form among them. The seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use operator::{
    answer, chance, clock, content, dates, document, folder, formats, generate, intake, intent,
    language, names, problem, reader, value,
};

#[allow(dead_code, unused_imports, reason = "the example has more use for it")]
#[path = "../../examples/operator"]
mod operator {
    pub(crate) mod answer;
    pub(crate) mod chance;
    pub(crate) mod clock;
    pub(crate) mod content;
    pub(crate) mod dates;
    pub(crate) mod document;
    pub(crate) mod folder;
    pub(crate) mod formats;
    pub(crate) mod generate;
    pub(crate) mod intake;
    pub(crate) mod intent;
    pub(crate) mod language;
    pub(crate) mod names;
    pub(crate) mod problem;
    pub(crate) mod reader;
    pub(crate) mod value;
}

fuzz_target!(|bytes: &[u8]| intake::claims::claims(bytes));
