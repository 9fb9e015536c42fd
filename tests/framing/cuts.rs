//! However a stream is cut into reads, it means the same.

use super::meaning::{self, End, Meaning};
use super::random::{Random, mutated, seeds};
use super::samples::{REQUESTS, RESPONSES};

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn a_request_cut_at_any_byte_means_the_same_as_in_one_piece() {
    for sample in REQUESTS {
        let whole = known_end(meaning::of_requests([*sample]));
        for at in 0..=sample.len() {
            let cut = known_end(meaning::of_requests([&sample[..at], &sample[at..]]));
            assert_eq!(cut, whole, "cut at {at}: {}", shown(sample));
        }
        assert_eq!(known_end(meaning::of_requests(sample.chunks(1))), whole, "byte by byte: {}", shown(sample));
    }
}

#[test]
fn a_response_cut_at_any_byte_means_the_same_as_in_one_piece() {
    for (request, sample) in RESPONSES {
        let whole = meaning::of_responses(request, [*sample]);
        for at in 0..=sample.len() {
            let cut = meaning::of_responses(request, [&sample[..at], &sample[at..]]);
            assert_eq!(cut, whole, "cut at {at}: {}", shown(sample));
        }
        assert_eq!(meaning::of_responses(request, sample.chunks(1)), whole, "byte by byte: {}", shown(sample));
    }
}

#[test]
fn a_mutated_stream_means_the_same_in_any_cut() {
    let responses: Vec<&[u8]> = RESPONSES.iter().map(|(_, response)| *response).collect();
    for seed in seeds(10_000) {
        let mut random = Random::new(seed);
        let bytes = mutated(&mut random, REQUESTS);
        let (early, late) = bytes.split_at(random.below(bytes.len() + 1));
        let whole = refused_or_not(meaning::of_requests([&bytes[..]]));
        for cut in [meaning::of_requests([early, late]), meaning::of_requests(bytes.chunks(1))] {
            assert_eq!(refused_or_not(cut), whole, "ROTA_SEED={seed}, cut at {}: {}", early.len(), shown(&bytes));
        }
        let (request, _) = RESPONSES[random.below(RESPONSES.len())];
        let bytes = mutated(&mut random, &responses);
        let (early, late) = bytes.split_at(random.below(bytes.len() + 1));
        let whole = meaning::of_responses(request, [&bytes[..]]);
        for cut in [meaning::of_responses(request, [early, late]), meaning::of_responses(request, bytes.chunks(1))] {
            assert_eq!(cut, whole, "ROTA_SEED={seed}, cut at {}: {}", early.len(), shown(&bytes));
        }
    }
}

/// How many bytes stand behind the last request depends on the last read only: no part of the meaning.
fn known_end(mut meaning: Meaning) -> Meaning {
    if let End::Over(_) = meaning.end {
        meaning.end = End::Over(0);
    }
    meaning
}

/// Of two faults in one head the one that is seen first names the status, and that may depend on the cut.
fn refused_or_not(meaning: Meaning) -> Meaning {
    let mut meaning = known_end(meaning);
    if let End::Refused(_) = meaning.end {
        meaning.end = End::Refused(0);
    }
    meaning
}
