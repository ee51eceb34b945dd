//! The building holds: what `ARCHITECTURE.md` says of the floors and of the absences, proven from
//! the sources. Comments and strings don't count as code.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Lowest first; a file may name its own floor's things and those of the floors below.
const FLOORS: [&str; 5] = ["ground", "gates", "blocks", "facade", "edges"];

/// Inside a floor above the ground a room names no other, except (who, whom):
const SIDEWAYS: [(&str, &str); 3] = [
    ("gates/semaphore", "gates/wait_queue"),
    ("blocks/http_transport", "blocks/circuit_breaker"),
    ("blocks/http_transport", "blocks/retry"),
];

/// Files that may hold `unsafe`.
const UNSAFE: [&str; 4] = [
    "blocks/worker_pool/node.rs",
    "ground/time/clock.rs",
    "gates/object_pool/bytes/buf.rs",
    "gates/object_pool/slots.rs",
];

/// What may stand in only one file, and where.
const ONLY_IN: [(&str, &str); 6] = [
    ("Instant::now", "ground/time/clock.rs"),
    ("SystemTime::now", "ground/time/clock.rs"),
    ("parking_lot::", "ground/primitives.rs"),
    ("sync::atomic", "ground/primitives.rs"),
    ("unbounded_channel", "nowhere"),
    ("std::sync::mpsc", "nowhere"),
];

#[test]
fn the_sources_keep_to_the_architecture() {
    let sources = Sources::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(sources.code.len() > 20, "the sources were found");
    let wrong = sources.violations();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_import_upwards_or_sideways_is_found() {
    let lib = "pub use blocks::retry; pub use ground::priority::Priority;";
    let planted = |path: &str, code: &str| {
        let mut files = vec![("lib.rs", lib), ("ground/priority.rs", "")];
        files.extend(["gates/wait_queue/mod.rs", "gates/semaphore/mod.rs"].map(|path| (path, "")));
        files.extend(["blocks/retry/mod.rs", "blocks/worker_pool/mod.rs"].map(|path| (path, "")));
        files.push((path, code));
        Sources::planted(&files).violations().len()
    };
    let found = [
        ("ground/x.rs", "use crate::gates::wait_queue::Plan;"),
        ("gates/wait_queue/x.rs", "fn f() { crate::blocks::retry::Backoff::default() }"),
        ("gates/wait_queue/x.rs", "use crate::{Priority, retry::Backoff};"),
        ("gates/wait_queue/x.rs", "use crate::gates::{semaphore::{self, Permit}, wait_queue};"),
        ("blocks/worker_pool/x.rs", "use super::super::retry::Backoff;"),
        ("blocks/worker_pool/mod.rs", "use super::retry::Backoff;"),
        ("blocks/worker_pool/x.rs", "use crate::facade::pipeline::Gate;"),
        ("blocks/worker_pool/x.rs", "use crate::Unheard;"),
        ("gates/semaphore/x.rs", "use crate::*;"),
        ("ground/x.rs", "use super::super::retry::Backoff;"),
    ];
    for (path, code) in found {
        assert_eq!(
            planted(path, code),
            if code.contains("{self,") { 2 } else { 1 },
            "{path}: {code}"
        );
    }
    let fine = [
        (
            "gates/semaphore/x.rs",
            "use crate::gates::wait_queue::{Plan, Turn}; use crate::Priority;",
        ),
        ("blocks/http_transport/x.rs", "use crate::retry::Backoff;"),
        ("blocks/worker_pool/x.rs", "use super::core::Crew; pub(crate) fn f() {}"),
        (
            "blocks/worker_pool/x.rs",
            "// use crate::facade::pipeline;\nconst S: &str = \"crate::facade\";",
        ),
        ("ground/x.rs", "use super::priority::Priority;"),
    ];
    for (path, code) in fine {
        assert_eq!(planted(path, code), 0, "{path}: {code}");
    }
}

#[test]
fn a_forbidden_word_is_found() {
    let planted = |path: &str, code: &str| Sources::planted(&[(path, code)]).violations().len();
    for code in [
        "fn f() { unsafe { g() } }",
        "let now = Instant::now();",
        "let now = tokio::time::Instant::now ();",
        "tokio::sync::mpsc::unbounded_channel()",
        "use std::sync::atomic::AtomicU64;",
        "#[cfg(headworks_loom)]\nuse x;",
        "if cfg!(headworks_loom) {}",
        "#[cfg(not(headworks_loom))]\nmod y;",
        "let x = loom::model(f);",
        "let c = '\"'; let now = Instant::now(); let d = '\"';",
    ] {
        assert_eq!(planted("gates/semaphore/x.rs", code), 1, "{code}");
    }
    for (path, code) in [
        ("ground/time/clock.rs", "Instant::now()"),
        ("ground/primitives.rs", "#[cfg(headworks_loom)] use loom::sync::Mutex;"),
        ("gates/semaphore/mod.rs", "#[cfg(all(test, not(headworks_loom)))]\nmod tests;"),
        ("gates/semaphore/mod.rs", "#[cfg(all(test, headworks_loom))]\nmod loom_tests;"),
        ("gates/semaphore/loom_tests.rs", "loom::model(f)"),
        ("gates/semaphore/tests/more.rs", "use std::sync::atomic::AtomicU64; Instant::now()"),
        ("gates/semaphore/x.rs", "/// never unsafe, never `Instant::now`\nfn f<'a>(s: &'a str) {}"),
        ("gates/semaphore/x.rs", "let s = r#\"unsafe \" Instant::now\"#; let is_unsafe = true;"),
    ] {
        assert_eq!(planted(path, code), 0, "{path}: {code}");
    }
}

/// Code by path below `src/`, without comments and the insides of strings.
struct Sources {
    code: BTreeMap<String, String>,
    /// `floor/room` of every room there is.
    rooms: BTreeSet<String>,
    /// What the crate's root offers by name, and whose it is.
    root: BTreeMap<String, String>,
}

impl Sources {
    fn read(src: &Path) -> Self {
        let mut files = Vec::new();
        let mut folders = vec![src.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let below =
                        path.strip_prefix(src).unwrap().to_str().unwrap().replace('\\', "/");
                    files.push((below, fs::read_to_string(&path).unwrap()));
                }
            }
        }
        Self::new(files.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    }

    fn planted(files: &[(&str, &str)]) -> Self {
        Self::new(files.iter().copied())
    }

    fn new<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let code: BTreeMap<_, _> =
            files.map(|(path, text)| (path.to_owned(), code_of(text))).collect();
        let rooms = code.keys().filter_map(|path| room_of(path)).collect();
        let mut root = BTreeMap::new();
        for import in paths_after("use ", code.get("lib.rs").map_or("", String::as_str)) {
            let [floor, room, ..] = import.as_slice() else { continue };
            let name = import.last().map(String::as_str).unwrap_or_default();
            root.insert(name.to_owned(), format!("{floor}/{room}"));
        }
        Self { code, rooms, root }
    }

    fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (path, code) in &self.code {
            wrong.extend(self.imports(path, code));
            wrong.extend(words(path, code));
        }
        wrong
    }

    /// Whom `path` names and must not.
    fn imports(&self, path: &str, code: &str) -> Vec<String> {
        let Some(own_floor) = path.split('/').next().and_then(floor) else { return Vec::new() };
        let own = room_of(path).unwrap_or_default();
        let mut whom: Vec<Vec<String>> = paths_after("crate::", code);
        for supers in paths_after("super::", code) {
            whom.extend(above(path, supers));
        }
        let mut wrong = Vec::new();
        for named in whom {
            let (first, second) = (&named[0], named.get(1).map_or("", String::as_str));
            let room = if floor(first).is_some() {
                format!("{first}/{second}")
            } else {
                match self.root.get(first) {
                    Some(room) => room.clone(),
                    None => {
                        wrong.push(format!("{path}: crate::{first} is nothing that lib.rs names"));
                        continue;
                    }
                }
            };
            let their_floor = room.split('/').next().and_then(floor).unwrap_or(FLOORS.len());
            let sideways = their_floor == own_floor
                && own_floor > 0
                && room != own
                && self.rooms.contains(&room)
                && !SIDEWAYS.contains(&(own.as_str(), room.as_str()));
            if their_floor > own_floor || sideways {
                wrong.push(format!("{path} names {}, which is not below it", named.join("::")));
            }
        }
        wrong
    }
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == name)
}

/// `floor/room` of a file: its folder or, directly on the floor, its own name.
fn room_of(path: &str) -> Option<String> {
    let mut parts = path.split('/');
    let (floor_name, room) = (parts.next()?, parts.next()?);
    floor(floor_name)?;
    (room != "mod.rs").then(|| format!("{floor_name}/{}", room.trim_end_matches(".rs")))
}

/// What a path that began with `super::` names, from the root; `None` when it stays in the room.
/// (Inside an inline module it names less far up than is taken here, so nothing is overlooked.)
fn above(path: &str, named: Vec<String>) -> Option<Vec<String>> {
    let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let mut module: Vec<String> = module.split('/').map(str::to_owned).collect();
    module.pop();
    let further = named.iter().take_while(|name| *name == "super").count();
    for _ in 0..further {
        module.pop();
    }
    let from_root = module.is_empty();
    module.extend(named.into_iter().skip(further));
    (from_root || module.len() >= 2).then_some(module)
}

/// Words that have their place, or none.
fn words(path: &str, code: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let tight: String = code.split(' ').collect();
    // Tests bring their own clock, and count with what loom need not see.
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    for (word, only) in ONLY_IN {
        if path != only && (only == "nowhere" || !is_test) && tight.contains(word) {
            wrong.push(format!("{path}: {word} belongs to {only}"));
        }
    }
    let is_word = |word: &&str| !word.is_empty();
    let split = |c: char| !c.is_alphanumeric() && c != '_';
    if !UNSAFE.contains(&path) && code.split(split).filter(is_word).any(|word| word == "unsafe") {
        wrong.push(format!("{path}: unsafe"));
    }
    if path != "ground/primitives.rs" {
        let gates_a_test = |line: &str| {
            line.trim_start().starts_with("#[cfg(") && line.split(split).any(|word| word == "test")
        };
        let modelled = |line: &&str| line.contains("headworks_loom") && !gates_a_test(line);
        if code.lines().any(|line| modelled(&line)) {
            wrong.push(format!("{path}: headworks_loom other than to gate a test"));
        }
        if !path.contains("/loom_tests") && tight.contains("loom::") {
            wrong.push(format!("{path}: loom by name"));
        }
    }
    wrong
}

/// Every path that follows `start`, use trees spread out, without `start` and without aliases.
fn paths_after(start: &str, code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(start) {
        let before = rest[..at].chars().next_back();
        rest = &rest[at + start.len()..];
        // Neither the end of a longer word, nor further on in a path that began before.
        if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            tree(&mut rest.trim_start(), &[], &mut paths);
        }
    }
    paths
}

/// One use tree at the front of `rest`: `a::b`, `a::*`, `a::{b, c::{d}}`.
fn tree(rest: &mut &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    loop {
        *rest = rest.trim_start();
        if let Some(inside) = rest.strip_prefix('{') {
            *rest = inside;
            while !rest.trim_start().starts_with('}') && !rest.is_empty() {
                tree(rest, &path, paths);
                let next = rest.find([',', '}']).unwrap_or(rest.len());
                *rest = rest[next..].strip_prefix(',').unwrap_or(&rest[next..]);
            }
            *rest = rest.trim_start().strip_prefix('}').unwrap_or("");
            return;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*');
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        if name != "self" {
            path.push(name.to_owned());
        }
        *rest = after;
        match rest.trim_start().strip_prefix("::") {
            Some(more) => *rest = more,
            None => break,
        }
    }
    if !path.is_empty() {
        paths.push(path);
    }
}

/// The text without comments, and with nothing between the quotes.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = skip(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            if !rest.starts_with('/') {
                code.push_str("\"\"");
            }
            rest = &rest[skipped..];
        }
    }
    code
}

/// How long the comment or literal at the front of `rest` is; 0 when there is none.
fn skip(rest: &str, before: Option<char>) -> usize {
    let until = |from: usize, end: &str| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        until(2, "*/")
    } else if rest.starts_with('"') {
        quoted(rest, '"')
    } else if !in_word && (rest.starts_with("r\"") || rest.starts_with("r#")) {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        match rest[1 + hashes..].starts_with('"') {
            true => until(2 + hashes, &format!("\"{}", "#".repeat(hashes))),
            false => 0,
        }
    } else if rest.starts_with("'\\") {
        quoted(rest, '\'')
    } else if rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
        rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at)
    } else {
        0
    }
}

/// A literal between two of `quote`, in which a backslash takes the next character with it.
fn quoted(rest: &str, quote: char) -> usize {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}
