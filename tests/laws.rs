//! The plan of the house: the tables of ARCHITECTURE.md and the code say the same.
//!
//! ARCHITECTURE.md has a row for each wing (what it may know) and for each room (what it knows). Here every import is read,
//! so that neither can change without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The wings of `src/`.
const WINGS: [&str; 6] = ["protocol", "network", "cache", "sender", "sys", "capi"];
/// The crates of the programs, and their names in the tables.
const CRATES: [(&str, &str); 6] = [
    ("mtasts", "library"),
    ("mtasts_host", "host"),
    ("mtasts_serve", "serve"),
    ("mtasts_survey", "survey"),
    ("mtasts_lab", "lab"),
    ("mtasts_report", "report"),
];
/// Where `unsafe` may stand: the system, the C boundary, and the network namespaces of the test Internet.
const UNSAFE: [&str; 3] = ["src/sys/", "src/capi/", "programs/lab/src/namespace.rs"];
/// The longest module in lines, without its tests, and those that may be longer.
const LONGEST: usize = 600;
const LONGER: [&str; 2] = ["src/protocol/policy.rs", "src/sender/queue.rs"];
/// The most that half of the modules may have.
const MEDIAN: usize = 200;
/// The most names that the crate may export.
const FRONT_DOOR: usize = 25;

type Graph = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files of Rust below a directory, as paths from the root, without those that are tests.
fn sources(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{directory} has no file");
    found
}

/// The programs, by the names of their directories.
fn programs() -> Vec<String> {
    let directories = fs::read_dir(root().join("programs")).unwrap();
    directories
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The lines of a file that are neither tests nor comments, and how many lines it has without its tests.
fn code(path: &str) -> (String, usize) {
    let text = read(&root().join(path));
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    let code = text.lines().map(|line| line.split("//").next().unwrap());
    (code.collect::<Vec<_>>().join("\n"), text.lines().count())
}

/// The name at the beginning of a text.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The rows of ARCHITECTURE.md whose first cell is one name in backticks: the name, and the names in the last cell.
fn table() -> Graph {
    let mut table = Graph::new();
    let text = read(&root().join("ARCHITECTURE.md"));
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [room, what, knows] = cells[..] else {
            panic!("a row has three cells: {row}")
        };
        assert!(!what.trim().is_empty(), "{row}");
        let names = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let room = names(room);
        assert_eq!(room.len(), 1, "a row for each room: {row}");
        let knows = names(knows);
        assert!(
            knows.is_empty() == row.contains("| nothing |"),
            "it knows rooms or nothing: {row}"
        );
        let before = table.insert(room[0].clone(), knows.into_iter().collect());
        assert_eq!(before, None, "{} has two rows", room[0]);
    }
    table
}

/// The wing of a room; a program is a wing of its own.
fn wing(room: &str) -> &str {
    room.split('/').next().unwrap()
}

/// What the mod.rs of a wing exports of its rooms by name: the wing and the item, and the room.
fn exports() -> BTreeMap<(String, String), String> {
    let mut exports = BTreeMap::new();
    for wing in WINGS {
        let (code, _) = code(&format!("src/{wing}/mod.rs"));
        for export in code
            .split("pub use ")
            .skip(1)
            .map(|rest| rest.split(';').next().unwrap())
        {
            let (room, items) = export.split_once("::").unwrap();
            for item in items.trim_matches(['{', '}']).split(',') {
                exports.insert((wing.to_owned(), item.trim().to_owned()), room.to_owned());
            }
        }
    }
    exports
}

/// What each room of the code knows. A room is a direct child of a wing, or a program.
fn rooms() -> Graph {
    let mut rooms = Graph::new();
    for path in sources("src") {
        let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').skip(1).collect();
        match parts[..] {
            // The wing itself, which declares its rooms.
            ["lib"] | [_, "mod"] => {}
            [only] => {
                rooms.entry(only.to_owned()).or_default();
            }
            [wing, room, ..] => {
                rooms.entry(format!("{wing}/{room}")).or_default();
            }
            [] => unreachable!(),
        }
    }
    let names: BTreeSet<String> = rooms.keys().cloned().collect();
    let exported = exports();
    for path in sources("src") {
        let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').skip(1).collect();
        let ([here, _, ..] | [here]) = parts[..] else {
            unreachable!()
        };
        let (code, _) = code(&path);
        let mut found = BTreeSet::new();
        // What is in the wing's own mod.rs belongs to its rooms alone, but for what that re-exports of a room.
        let mut imports = |wing: &str, item: &str| {
            let room = exported
                .get(&(wing.to_owned(), item.to_owned()))
                .map_or(item, |room| room);
            let room = format!("{wing}/{room}");
            if names.contains(&room) {
                found.insert(room);
            } else {
                assert_eq!(wing, here, "{path}: {item} is in another wing's mod.rs");
            }
        };
        for import in code.split("crate::").skip(1) {
            let wing = name(import);
            if WINGS.contains(&wing) {
                let item = import[wing.len()..].trim_start_matches("::");
                if let Some(list) = item.strip_prefix('{') {
                    let list = list.split('}').next().unwrap().split(',').map(str::trim);
                    list.for_each(|item| imports(wing, name(item)));
                } else {
                    imports(wing, name(item));
                }
            }
        }
        // The file of a room is one step below its wing, its children are more; mod.rs is its directory.
        let depth = parts.len() - 1 - usize::from(parts.last() == Some(&"mod"));
        let up = "super::".repeat(depth);
        for import in code.split(&up).skip(1).filter(|_| depth > 0) {
            let items = import
                .strip_prefix('{')
                .map_or(import, |list| list.split('}').next().unwrap());
            let end = if items == import { 1 } else { usize::MAX };
            for item in items.split(',').take(end).map(|item| name(item.trim())) {
                if item != "super" {
                    imports(here, item);
                }
            }
        }
        if let [_, "mod"] | ["lib"] = parts[..] {
            continue;
        }
        let room = parts[..parts.len().min(2)].join("/");
        found.remove(&room);
        rooms.get_mut(&room).unwrap().append(&mut found);
    }
    for program in programs() {
        let mut found = BTreeSet::new();
        for path in sources(&format!("programs/{program}/src")) {
            let (code, _) = code(&path);
            for (of, called) in CRATES {
                let begins = |(at, _): (usize, &str)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if code.match_indices(&format!("{of}::")).any(begins) {
                    found.insert(called.to_owned());
                }
            }
        }
        found.remove(&program);
        rooms.insert(program, found);
    }
    rooms
}

/// A way through a graph that comes back to where it began.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    fn visit(at: &str, graph: &Graph, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if let Some(begin) = way.iter().position(|before| before == at) {
            way.drain(..begin);
            return true;
        }
        way.push(at.to_owned());
        for next in graph.get(at).into_iter().flatten() {
            if !done.contains(next) && visit(next, graph, way, done) {
                return true;
            }
        }
        done.insert(at.to_owned());
        way.pop();
        false
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|begin| {
        let mut way = Vec::new();
        visit(begin, graph, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn every_room_has_a_row_and_knows_what_the_row_says() {
    let (rooms, table) = (rooms(), table());
    let is_wing = |name: &String| WINGS.contains(&name.as_str()) || name == "library";
    let mut wrong = Vec::new();
    for (room, knows) in &rooms {
        let Some(row) = table.get(room) else {
            wrong.push(format!("{room} has no row"));
            continue;
        };
        wrong.extend(
            knows
                .difference(row)
                .map(|other| format!("{room} imports {other}, which its row does not name")),
        );
        wrong.extend(
            row.difference(knows)
                .map(|other| format!("the row of {room} names {other}, which it does not import")),
        );
    }
    let rows = table.keys().filter(|name| !is_wing(name) && !rooms.contains_key(*name));
    wrong.extend(rows.map(|name| format!("there is no room {name}")));
    assert!(
        wrong.is_empty(),
        "ARCHITECTURE.md and the code differ:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn arrows_go_where_their_wings_allow() {
    let (rooms, table) = (rooms(), table());
    let mut wrong = Vec::new();
    // The row of a program is its rule.
    for (room, knows) in rooms.iter().filter(|(room, _)| room.contains('/')) {
        let here = wing(room);
        let allowed = table.get(here).unwrap_or_else(|| panic!("the wing {here} has no row"));
        let others = knows.iter().map(|other| wing(other)).filter(|other| *other != here);
        wrong.extend(
            others
                .filter(|other| !allowed.contains(*other))
                .map(|other| format!("{room} must not know {other}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_goes_in_a_circle() {
    assert_eq!(circle(&rooms()), None);
    assert_eq!(circle(&table()), None);
}

#[test]
fn unsafe_stands_at_the_system_and_at_the_c_boundary_alone() {
    for path in sources("src").into_iter().chain(sources("programs")) {
        let (code, _) = code(&path);
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let has = words.any(|word| word == "unsafe");
        assert!(!has || UNSAFE.iter().any(|place| path.starts_with(place)), "{path}");
    }
}

#[test]
fn modules_are_short() {
    let modules = sources("src").into_iter().chain(
        programs()
            .into_iter()
            .flat_map(|p| sources(&format!("programs/{p}/src"))),
    );
    let mut lengths: Vec<(usize, String)> = modules.map(|path| (code(&path).1, path)).collect();
    for (length, path) in &lengths {
        assert!(
            *length <= LONGEST || LONGER.contains(&path.as_str()),
            "{path} has {length} lines"
        );
    }
    lengths.sort();
    let (median, _) = lengths[lengths.len() / 2];
    assert!(median <= MEDIAN, "half of the modules have more than {median} lines");
}

#[test]
fn the_front_door_is_small() {
    let (code, _) = code("src/lib.rs");
    let items = |begin| {
        code.split(begin)
            .skip(1)
            .map(|rest| rest.split([';', ' ']).next().unwrap())
    };
    let mut names: Vec<&str> = Vec::new();
    for path in code
        .split("\npub use ")
        .skip(1)
        .map(|rest| rest.split(';').next().unwrap())
    {
        match path.split_once('{') {
            Some((_, list)) => names.extend(list.trim_end_matches('}').split(',').map(str::trim)),
            None => names.extend(path.rsplit("::").next()),
        }
    }
    // A module that is written here is a name, and what it has belongs to it. The wings are hidden, or behind a feature.
    names.extend(items("\npub mod ").filter(|name| code.contains(&format!("\npub mod {name} {{"))));
    names.retain(|name| !name.is_empty());
    assert!(names.contains(&"Resolver") && !names.contains(&"*"), "{names:?}");
    assert!(names.len() <= FRONT_DOOR, "{} names: {names:?}", names.len());
}
