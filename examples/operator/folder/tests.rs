use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn folder(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    folder
}

/// What is found, by name: `read`, or why not.
fn listed(place: &Path) -> Vec<(String, &'static str)> {
    let what = |entry: &Entry| match &entry.what {
        What::File(..) => "read",
        What::Skipped(why) => why,
        What::Unreadable(_) => "unreadable",
    };
    find(place).unwrap().iter().map(|entry| (entry.name().to_string(), what(entry))).collect()
}

fn expected(entries: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    entries.iter().map(|&(name, what)| (name.to_owned(), what)).collect()
}

#[test]
fn a_mounted_config_map_is_read_and_each_file_once() {
    // As the kubelet lays it out, with one file in a folder of its own.
    let mount = folder(&["..2026_11_21/a.json", "..2026_11_21/b.yaml", "..2026_11_21/sub/c.yml"]);
    symlink("..2026_11_21", mount.path().join("..data")).unwrap();
    for name in ["a.json", "b.yaml", "sub"] {
        symlink(Path::new("..data").join(name), mount.path().join(name)).unwrap();
    }
    let all = expected(&[("a.json", "read"), ("b.yaml", "read"), ("sub/c.yml", "read")]);
    assert_eq!(listed(mount.path()), all);
}

#[test]
fn nothing_outside_the_folder_is_read_through_a_link() {
    let outside = folder(&["secret.json", "more/secret.json"]);
    let inside = folder(&["a.json"]);
    for (name, target) in [("link.json", "secret.json"), ("more", "more"), ("none.json", "none")] {
        symlink(outside.path().join(target), inside.path().join(name)).unwrap();
    }
    std::os::unix::net::UnixListener::bind(inside.path().join("socket.json")).unwrap();
    let all = [
        ("a.json", "read"),
        ("link.json", "symbolic link that leads out of the folder"),
        ("more", "symbolic link that leads out of the folder"),
        ("none.json", "symbolic link that leads nowhere"),
        ("socket.json", "not a regular file"),
    ];
    assert_eq!(listed(inside.path()), expected(&all));
}

#[test]
fn links_lead_in_no_circle_and_read_nothing_twice() {
    let folder = folder(&["a/b.json", ".hidden/c.json"]);
    for (name, target) in [
        ("a/around", ".."),
        ("again.json", "a/b.json"),
        ("first", ".hidden"),
        ("second.json", ".hidden/c.json"),
        ("itself.json", "itself.json"),
        (".hidden/back", "."),
    ] {
        symlink(target, folder.path().join(name)).unwrap();
    }
    let all = [
        ("a/around", "symbolic link to what is read already"),
        ("a/b.json", "read"),
        ("again.json", "symbolic link to what is read already"),
        ("first/back", "symbolic link to what is read already"),
        ("first/c.json", "read"),
        ("itself.json", "symbolic link that leads nowhere"),
        ("second.json", "symbolic link to what is read already"),
    ];
    assert_eq!(listed(folder.path()), expected(&all));
}

#[test]
fn one_file_may_be_named_and_the_folder_may_be_a_link() {
    let folder = folder(&["in/a.json", "in/notes.md"]);
    assert_eq!(listed(&folder.path().join("in/a.json")), expected(&[("a.json", "read")]));
    symlink("in", folder.path().join("link")).unwrap();
    let all = [("a.json", "read"), ("notes.md", "neither JSON nor YAML")];
    assert_eq!(listed(&folder.path().join("link")), expected(&all));
}

#[test]
fn what_is_neither_a_folder_nor_such_a_file_is_an_error_of_the_caller() {
    let folder = folder(&["notes.md"]);
    let words = find(&folder.path().join("notes.md")).unwrap_err().to_string();
    assert_eq!(words, "neither a folder nor a .json, .yaml or .yml file");
    assert!(find(&folder.path().join("none")).is_err());
    assert!(find(Path::new("/dev/null")).is_err());
}
