//! The targets of the fuzzer over what is kept of its inputs, on any toolchain: each file of tests/fuzz/corpus/TARGET, and mutations of it.
//! `tests/fuzz/run` is the fuzzer itself.
//!
//! `ROTA_SEED=n` replays one seed (each failure names its own); `ROTA_SWEEP=n` tries n seeds instead of the usual number.

mod targets;

#[path = "../framing/random.rs"]
mod random;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use random::{Random, mutated, seeds};

/// By name of the file.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn what_must_hold_holds_for_the_corpus() {
    for (target, check) in targets::TARGETS {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{target} has no corpus");
        for (path, bytes) in corpus {
            assert!(catch_unwind(|| check(&bytes)).is_ok(), "{}: {}", path.display(), bytes.escape_ascii());
        }
    }
}

#[test]
fn what_must_hold_holds_for_mutations_of_the_corpus() {
    for (target, check) in targets::TARGETS {
        let corpus = corpus(target);
        let samples: Vec<&[u8]> = corpus.iter().map(|(_, bytes)| bytes.as_slice()).filter(|bytes| !bytes.is_empty()).collect();
        for seed in seeds(3000) {
            let bytes = mutated(&mut Random::new(seed), &samples);
            assert!(catch_unwind(|| check(&bytes)).is_ok(), "{target} ROTA_SEED={seed}: {}", bytes.escape_ascii());
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(targets::find(&name).is_some(), "no target named {name}");
    }
}
