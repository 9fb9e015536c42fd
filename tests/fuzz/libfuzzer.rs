//! One target under libFuzzer: the one that ROTA_FUZZ_TARGET names.

#![no_main]

mod targets;

use std::sync::LazyLock;

static CHECK: LazyLock<targets::Check> = LazyLock::new(|| {
    let wanted = std::env::var("ROTA_FUZZ_TARGET").expect("ROTA_FUZZ_TARGET names a target");
    targets::find(&wanted).unwrap_or_else(|| panic!("no target named {wanted}"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| CHECK(bytes));
