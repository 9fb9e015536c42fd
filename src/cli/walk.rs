//! Where a walk is, in the words that `rota status` and `rota restart` share.

use super::table::harmless;
use crate::control::proto::Progress;

/// `2 of 4 replaced; process 3: boot`
pub fn place(walk: &Progress) -> String {
    let done = match walk.kind.as_str() {
        "rollback" => "back",
        "start" => "started",
        _ => "replaced",
    };
    let left: Vec<String> = walk.skipped.iter().map(ToString::to_string).collect();
    let left = if left.is_empty() { String::new() } else { format!(", left as they were: {}", left.join(", ")) };
    let number = walk.number.map(|number| format!("process {number}: ")).unwrap_or_default();
    harmless(&format!("{} of {} {done}{left}; {number}{}", walk.replaced, walk.of, walk.phase))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::ids::{AppName, Generation, Number};

    /// Of blog to g8: 2 of 4 are replaced, and process 3 boots.
    pub fn booting() -> Progress {
        Progress {
            app: AppName::new("blog").unwrap(),
            generation: Generation(8),
            kind: "restart".to_owned(),
            trigger: "command".to_owned(),
            phase: "boot".to_owned(),
            number: Some(Number(3)),
            replaced: 2,
            of: 4,
            seconds: 6.04,
            phase_seconds: 1.2,
            skipped: vec![],
        }
    }

    #[test]
    fn a_place_says_how_many_which_process_and_what_happens_to_it() {
        assert_eq!(place(&booting()), "2 of 4 replaced; process 3: boot");
        let of_kind = |kind: &str| Progress { kind: kind.to_owned(), ..booting() };
        assert_eq!(place(&of_kind("start")), "2 of 4 started; process 3: boot");
        assert_eq!(place(&of_kind("rollback")), "2 of 4 back; process 3: boot");
        assert_eq!(place(&Progress { number: None, phase: "resolve".to_owned(), ..booting() }), "2 of 4 replaced; resolve");
        let left = Progress { skipped: vec![Number(1), Number(2)], ..booting() };
        assert_eq!(place(&left), "2 of 4 replaced, left as they were: 1, 2; process 3: boot");
    }
}
