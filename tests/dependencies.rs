//! What other people's code the binary is made of: from the registry alone, under licences that a distribution takes, each once, each that we
//! name with its reason. Advisories (RustSec) are not looked up here: their database cannot be had without the network.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

/// Every one of a package's licence words is one of these, or an alternative is.
const LICENCES: [&str; 6] = ["MIT", "Apache-2.0", "Unlicense", "Unicode-3.0", "BSD-3-Clause", "ISC"];

/// Packages that are there twice, and why.
const TWICE: [(&str, &str); 1] = [("syn", "while it compiles: the macros of the one half use version 2, of the other version 3")];

fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let done = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path", manifest])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let all: Value = serde_json::from_slice(&done.stdout).unwrap();
    all["packages"].as_array().unwrap().clone()
}

/// An SPDX expression without nesting below its alternatives: `(A OR B) AND C`, `A/B`, `A WITH B OR C`.
fn may_be_used(expression: &str) -> bool {
    let known = |word: &str| LICENCES.contains(&word.trim_matches(|char| char == '(' || char == ')').trim());
    let one_of = |part: &str| part.replace('/', " OR ").split(" OR ").any(known);
    expression.split(" AND ").all(one_of)
}

#[test]
fn every_package_may_be_passed_on_and_comes_from_the_registry() {
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for package in packages() {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        assert!(may_be_used(&text("license")), "{name}: {}", text("license"));
        // Ours has no source.
        let source = text("source");
        assert!(name == "rota" || source.starts_with("registry+"), "{name}: {source}");
        versions.entry(name).or_default().push(text("version"));
    }
    assert!(versions.len() > 50, "{}", versions.len());
    let twice: Vec<&str> = versions.iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| name.as_str()).collect();
    assert_eq!(twice, TWICE.map(|(name, _)| name), "{versions:?}");
}

#[test]
fn a_licence_is_one_of_those_that_may_be_passed_on() {
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception OR MIT"]
    {
        assert!(may_be_used(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT", "MITX"] {
        assert!(!may_be_used(bad), "{bad}");
    }
}

#[test]
fn each_dependency_has_its_reason_beside_it() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let mut among_the_six = false;
    let mut seen = 0;
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if !section.ends_with("dependencies]") || line.is_empty() || line.starts_with('[') {
            continue;
        }
        if line.starts_with('#') {
            among_the_six = line.contains("The six");
            continue;
        }
        seen += 1;
        assert!(among_the_six || line.contains(" # "), "Cargo.toml: why? {line}");
    }
    assert!(seen > 20, "{seen}");
}
