//! Files of variables: never a panic, a mistake has a line of the text and nothing of what stands there, and what is read can be written so that
//! it is read again.

use rota::config::env_file;

pub fn check(bytes: &[u8]) {
    let variables = match env_file::parse(bytes) {
        Ok(variables) => variables,
        Err(bad) => {
            assert!((1..=lines(bytes)).contains(&bad.line), "{bad}");
            return;
        }
    };
    let mut again = String::new();
    let mut last = 1;
    for variable in &variables {
        assert!((last..=lines(bytes)).contains(&variable.line), "{variable:?}");
        last = variable.line;
        assert!(variable.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{variable:?}");
        assert!(!variable.name.is_empty() && !variable.name.as_bytes()[0].is_ascii_digit(), "{variable:?}");
        assert!(!variable.value.contains('\0'), "{variable:?}");
        again.push_str(&format!("{}=\"{}\"\n", variable.name, quoted(&variable.value)));
    }
    let read = env_file::parse(again.as_bytes()).expect("well written");
    let pairs = |variables: &[env_file::Variable]| variables.iter().map(|one| (one.name.clone(), one.value.clone())).collect::<Vec<_>>();
    assert_eq!(pairs(&read), pairs(&variables));
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn quoted(value: &str) -> String {
    let escaped = |c: char| if matches!(c, '\\' | '"' | '$' | '`') { format!("\\{c}") } else { c.to_string() };
    value.chars().map(escaped).collect()
}
