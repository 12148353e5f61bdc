//! The architecture as a test: one home per foreign library, arrows that point down, files and functions of a readable size.
//!
//! The limits are ratchets: they only get tighter.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a source file.
const FILE_LINES_MAX: usize = 700;
/// Most lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Which rooms may name which rooms.
const ARROWS: [(&str, &[&str]); 8] = [
    ("model", &[]),
    ("storage", &["model"]),
    ("cluster", &["model", "storage"]),
    ("sql", &["model"]),
    ("server", &["model", "storage", "cluster", "sql"]),
    ("tests", &[]),
    ("sqllogictests", &["tests"]),
    ("benches", &["tests"]),
];

/// Foreign libraries that are named in one room only.
const HOMES: [(&str, &str); 9] = [
    ("pgwire", "server"),
    ("axum", "server"),
    ("clap", "server"),
    ("sqlparser", "sql"),
    ("datafusion", "sql"),
    ("datafusion-distributed", "sql"),
    ("openraft", "cluster"),
    ("tonic", "cluster"),
    ("rocksdb", "storage"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

fn manifests() -> BTreeMap<String, toml_edit::DocumentMut> {
    let workspace: toml_edit::DocumentMut =
        read(&root().join("Cargo.toml")).parse().expect("the workspace manifest is TOML");
    let members = workspace["workspace"]["members"].as_array().expect("members are listed");
    members
        .iter()
        .map(|member| {
            let path = root().join(member.as_str().expect("a member is a path")).join("Cargo.toml");
            let manifest: toml_edit::DocumentMut = read(&path).parse().expect("a member's manifest is TOML");
            (manifest["package"]["name"].as_str().expect("a member has a name").to_owned(), manifest)
        })
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names under `[dependencies]`, and under `[dev-dependencies]` if `tests_too`.
fn dependencies(manifest: &toml_edit::DocumentMut, tests_too: bool) -> Vec<String> {
    let sections = if tests_too { &["dependencies", "dev-dependencies"][..] } else { &["dependencies"] };
    let tables = sections.iter().filter_map(|section| manifest.get(section)?.as_table_like());
    tables.flat_map(|table| table.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()).collect()
}

#[test]
fn arrows_point_down() {
    let rooms: Vec<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    for (room, manifest) in manifests() {
        let (_, allowed) = ARROWS
            .iter()
            .find(|(known, _)| *known == room)
            .unwrap_or_else(|| panic!("{room} is a new room: say what it may name"));
        for dependency in dependencies(&manifest, true) {
            if rooms.contains(&dependency.as_str()) {
                assert!(allowed.contains(&dependency.as_str()), "{room} must not name {dependency}");
            }
        }
    }
}

#[test]
fn every_foreign_library_has_one_home() {
    for (room, manifest) in manifests() {
        for dependency in dependencies(&manifest, false) {
            if let Some((_, home)) = HOMES.iter().find(|(library, _)| *library == dependency) {
                assert_eq!(room, *home, "{dependency} is named in {room}: its home is {home}");
            }
        }
    }
}

/// A dependency costs every build; one that nobody names costs it for nothing.
#[test]
fn every_dependency_is_named_in_the_sources() {
    let workspace: toml_edit::DocumentMut = read(&root().join("Cargo.toml")).parse().expect("it is TOML");
    let mut wanted: Vec<String> = Vec::new();
    let mut wrong = Vec::new();
    for member in workspace["workspace"]["members"].as_array().expect("members are listed") {
        let folder = root().join(member.as_str().expect("a member is a path"));
        let manifest: toml_edit::DocumentMut = read(&folder.join("Cargo.toml")).parse().expect("it is TOML");
        let texts: Vec<String> = sources_of(&folder).iter().map(|path| read(path)).collect();
        for dependency in dependencies(&manifest, true) {
            let name = dependency.replace('-', "_");
            let forms = [format!("{name}::"), format!("{name}!"), format!("use {name};")];
            if !texts.iter().any(|text| forms.iter().any(|form| text.contains(form))) {
                wrong.push(format!("{}: nothing names {dependency}", folder.display()));
            }
            wanted.push(dependency);
        }
    }
    let offered = workspace["workspace"]["dependencies"].as_table_like().expect("versions are listed");
    wrong.extend(
        offered
            .iter()
            .filter(|(name, _)| !wanted.iter().any(|dependency| dependency == name))
            .map(|(name, _)| format!("Cargo.toml: no member wants {name}")),
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn sources() -> Vec<PathBuf> {
    sources_of(&root())
}

/// The sources of a folder, without those of a member that lies inside it.
fn sources_of(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "data" {
                if top == root() || !path.join("Cargo.toml").exists() {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = read(&path);
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{}: {lines} lines, {FILE_LINES_MAX} at most", path.display()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{}: does not open by saying what it is for", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Functions of a file that are too long, as (line, name, lines).
///
/// The sources are formatted, so a function ends at the first line that is its own indentation and a closing brace.
fn long_functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words: Vec<&str> = code.split([' ', '(', '<']).collect();
        let Some(at) = words.iter().position(|word| *word == "fn") else { continue };
        let modifiers = ["pub", "async", "const", "unsafe", "crate)", "super)"];
        if code.starts_with("//") || !words[..at].iter().all(|word| modifiers.contains(word)) {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let length = lines[start..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
        if length > FUNCTION_LINES_MAX && !lines[start].ends_with(';') {
            long.push((start + 1, words.get(at + 1).unwrap_or(&"").to_string(), length));
        }
    }
    long
}

#[test]
fn functions_are_short() {
    let mut wrong = Vec::new();
    for path in sources() {
        for (line, name, lines) in long_functions(&read(&path)) {
            wrong.push(format!("{}:{line}: fn {name} has {lines} lines, {FUNCTION_LINES_MAX} at most", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_check_for_long_functions_bites() {
    let body = "    x();\n".repeat(FUNCTION_LINES_MAX);
    assert_eq!(long_functions(&format!("pub fn long() {{\n{body}}}\n")).len(), 1);
    assert!(long_functions("fn short() {\n    x();\n}\n").is_empty());
}
