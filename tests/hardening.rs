//! tests/hardening.md and tests/behaviours.md say what is so: each row of the first has a verdict, each of the second a test, and what they
//! name, tests and code, is there by that name.

use std::fs;
use std::path::{Path, PathBuf};

/// One row of the table of requirements.
struct Row {
    id: String,
    code: String,
    test: String,
    verdict: String,
}

/// What a verdict begins with, and how the head of the file calls its rows: in this order.
const VERDICTS: [(&str, &str); 5] =
    [("OK", "OK"), ("OK, no test", "OK without a test"), ("Decided", "decided otherwise"), ("MISSING", "MISSING"), ("WRONG", "WRONG")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("tests").join(name)).unwrap()
}

/// The rows of a page's sections, by their cells; those of other tables have another id.
fn rows_of<const CELLS: usize>(page: &str) -> Vec<[String; CELLS]> {
    let text = |cell: &str| cell.trim().trim_start_matches("| ").trim_end_matches(" |").to_owned();
    let cells = page.lines().filter(|line| line.starts_with("| ")).map(|line| line.split(" | ").map(text).collect::<Vec<_>>());
    let is_row = |cells: &Vec<String>| cells[0].split('.').all(|part| part.parse::<u32>().is_ok());
    cells.filter(is_row).map(|cells| cells.try_into().unwrap_or_else(|cells| panic!("not {CELLS} cells: {cells:?}"))).collect()
}

fn rows() -> Vec<Row> {
    let rows = rows_of(&page("hardening.md")).into_iter().map(|[id, _, _, code, test, verdict]| Row { id, code, test, verdict });
    let rows: Vec<Row> = rows.collect();
    assert!(rows.len() > 100, "{} rows were found", rows.len());
    rows
}

/// Id and tests of each.
fn behaviours() -> Vec<(String, String)> {
    let rows: Vec<_> = rows_of(&page("behaviours.md")).into_iter().map(|[id, _, test]| (id, test)).collect();
    assert!(rows.len() > 30, "{} rows were found", rows.len());
    rows
}

/// The longest of the verdicts that it begins with.
fn verdict(row: &Row) -> &'static str {
    let ends = |rest: &str| rest.chars().next().is_none_or(|next| ".,:;( ".contains(next));
    let known = VERDICTS.iter().map(|(verdict, _)| *verdict).filter(|verdict| row.verdict.strip_prefix(verdict).is_some_and(ends));
    known.max_by_key(|verdict| verdict.len()).unwrap_or_else(|| panic!("{}: {:?} is no verdict", row.id, row.verdict))
}

/// The things that a cell names: without what is in parentheses, and with those of the row before in the place of `same`.
fn named(cell: &str, before: &[String]) -> Vec<String> {
    let mut depth = 0;
    let text: String = cell
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(');
            let outside = depth == 0;
            depth -= i32::from(*c == ')');
            outside
        })
        .collect();
    let mut things = Vec::new();
    for thing in text.split([',', ';']).map(str::trim).filter(|thing| !thing.is_empty() && *thing != "–") {
        if thing == "same" {
            things.extend_from_slice(before);
        } else {
            things.push(thing.to_owned());
        }
    }
    things
}

/// `base/PATH.rs` or `base/PATH/mod.rs`.
fn file(base: &str, path: &str) -> Option<String> {
    let file = root().join(base).join(format!("{path}.rs"));
    let folder = root().join(base).join(path).join("mod.rs");
    fs::read_to_string(file).or_else(|_| fs::read_to_string(folder)).ok()
}

fn has_test(text: &str, name: &str) -> bool {
    text.split_once(&format!("fn {name}()")).is_some_and(|(before, _)| before.trim_end().ends_with("#[test]"))
}

fn has_item(text: &str, name: &str) -> bool {
    let ends = |rest: &str| rest.chars().next().is_none_or(|next| !next.is_alphanumeric() && next != '_');
    let kinds = ["fn", "struct", "enum", "const", "static", "trait"].into_iter();
    kinds.flat_map(|kind| text.split(&format!("{kind} {name}")).skip(1).collect::<Vec<_>>()).any(ends)
}

/// Where a test of this name should be, if it is not there.
fn missing_test(thing: &str) -> Option<String> {
    let (base, path) = match thing.strip_prefix("unit ") {
        Some(path) => ("src", path),
        None => ("tests", thing),
    };
    let (path, name) = path.split_once("::").map_or((path, None), |(path, name)| (path, Some(name)));
    match (file(base, path), name) {
        (None, _) => Some(format!("there is no {base}/{path}.rs")),
        (Some(text), None) => (!text.contains("#[test]")).then(|| format!("no test is in {base}/{path}.rs")),
        (Some(text), Some(name)) => (!has_test(&text, name)).then(|| format!("no test {name} is in {base}/{path}.rs")),
    }
}

#[test]
fn every_row_has_a_verdict_and_a_test_or_says_that_it_has_none() {
    let mut wrong = Vec::new();
    for row in rows() {
        let has_test = row.test != "–";
        match verdict(&row) {
            "OK" | "Decided" if !has_test => wrong.push(format!("{}: no test is named, which \"OK, no test\" would say", row.id)),
            "OK, no test" if has_test => wrong.push(format!("{}: a test is named", row.id)),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_behaviour_has_a_test() {
    let without: Vec<String> = behaviours().into_iter().filter(|(_, test)| named(test, &[]).is_empty()).map(|(id, _)| id).collect();
    assert!(without.is_empty(), "{}", without.join(", "));
}

#[test]
fn every_test_that_is_named_is_there() {
    let (mut wrong, mut before) = (Vec::new(), Vec::new());
    for (id, test) in rows().into_iter().map(|row| (row.id, row.test)).chain(behaviours()) {
        let things = named(&test, &before);
        wrong.extend(things.iter().filter_map(|thing| missing_test(thing)).map(|why| format!("{id}: {why}")));
        before = things;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `file::item`, `file::Type::item`, `file`, or `` `item` `` of the file named before it. What is no place in the code is said in words.
#[test]
fn every_place_in_the_code_that_is_named_is_there() {
    let (mut wrong, mut before) = (Vec::new(), Vec::new());
    for row in rows() {
        let things = named(&row.code, &before);
        let mut last = None;
        for thing in things.iter().filter(|thing| *thing != "httparse" && !thing.ends_with(" none")) {
            let (path, items) = match thing.strip_prefix('`') {
                Some(item) => (last.clone().unwrap_or_default(), item.trim_end_matches('`').to_owned()),
                None => thing.split_once("::").map_or((thing.clone(), String::new()), |(path, items)| (path.to_owned(), items.to_owned())),
            };
            match file("src", &path) {
                None => wrong.push(format!("{}: {thing}: there is no src/{path}.rs", row.id)),
                Some(text) => {
                    let lost = items.split("::").filter(|item| !item.is_empty() && !has_item(&text, item));
                    wrong.extend(lost.map(|item| format!("{}: no {item} is in src/{path}.rs", row.id)));
                }
            }
            last = Some(path);
        }
        before = things;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_head_counts_what_the_rows_say() {
    let rows = rows();
    let counts = VERDICTS.iter().filter_map(|(known, called)| {
        let ids: Vec<&str> = rows.iter().filter(|row| verdict(row) == *known).map(|row| &*row.id).collect();
        let which = if *known == "OK" { String::new() } else { format!(" ({})", ids.join(", ")) };
        (!ids.is_empty()).then(|| format!("{} {called}{which}", ids.len()))
    });
    let expected = format!("{} rows: {}.", rows.len(), counts.collect::<Vec<_>>().join(", "));
    assert!(page("hardening.md").lines().any(|line| line == expected), "it should say: {expected}");
}

#[test]
fn what_is_not_there_is_found() {
    let here = Path::new(file!()).file_stem().unwrap().to_str().unwrap();
    assert_eq!(missing_test(&format!("{here}::what_is_not_there_is_found")), None);
    assert!(missing_test(&format!("{here}::no_such_test")).is_some());
    assert!(missing_test(&format!("{here}::rows")).is_some(), "a function that is no test");
    assert!(missing_test("unit http/no_such_file").is_some());
    assert!(has_item("pub fn split()", "split") && !has_item("fn split_target()", "split"));
    assert_eq!(named("a::b (c, d), same; `e`", &["f".to_owned()]), ["a::b", "f", "`e`"]);
}
