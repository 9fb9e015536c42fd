//! Where a walk is, in the words that `rota status` and `rota restart` share.

use super::table::{harmless, span};
use crate::control::proto::Progress;

/// `2 of 4 replaced; process 3: boot`
pub fn place(walk: &Progress) -> String {
    let done = match walk.kind.as_str() {
        "back" => "back",
        "start" => "started",
        _ => "replaced",
    };
    let left: Vec<String> = walk.skipped.iter().map(ToString::to_string).collect();
    let left = if left.is_empty() { String::new() } else { format!(", left as they were: {}", left.join(", ")) };
    let number = walk.number.map(|number| format!("process {number}: ")).unwrap_or_default();
    let answer = walk.answer.as_deref().map(|answer| format!(", {answer}")).unwrap_or_default();
    harmless(&format!("{} of {} {done}{left}; {number}{}{answer}", walk.replaced, walk.of, phase(walk)))
}

/// What happens to the process in hand: the word of the protocol where it says enough.
fn phase(walk: &Progress) -> &str {
    match walk.phase.as_str() {
        "bake" => "watching the new release",
        phase => phase,
    }
}

/// `about 6 s left`, `later` seconds after it was said; None: nobody knows.
pub fn left(walk: &Progress, later: f64) -> Option<String> {
    let left = walk.left_seconds? - later;
    Some(if left < 1.0 { "about done".to_owned() } else { format!("about {} left", span(left.round()).replace(".0", "")) })
}

/// Why the old process goes before the new one is started.
pub fn room(walk: &Progress) -> Option<String> {
    let found = walk.makes_room.as_deref()?;
    // A key and its value speak for themselves.
    let why = if found.contains(" = ") { harmless(found) } else { format!("memory is short ({})", harmless(found)) };
    Some(format!("{why}: the old one goes first"))
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
            answer: None,
            left_seconds: None,
            makes_room: None,
            skipped: vec![],
        }
    }

    #[test]
    fn a_place_says_how_many_which_process_and_what_happens_to_it() {
        assert_eq!(place(&booting()), "2 of 4 replaced; process 3: boot");
        let of_kind = |kind: &str| Progress { kind: kind.to_owned(), ..booting() };
        assert_eq!(place(&of_kind("start")), "2 of 4 started; process 3: boot");
        assert_eq!(place(&of_kind("back")), "2 of 4 back; process 3: boot");
        assert_eq!(place(&of_kind("rollback")), "2 of 4 replaced; process 3: boot");
        assert_eq!(place(&Progress { number: None, phase: "resolve".to_owned(), ..booting() }), "2 of 4 replaced; resolve");
        let left = Progress { skipped: vec![Number(1), Number(2)], ..booting() };
        assert_eq!(place(&left), "2 of 4 replaced, left as they were: 1, 2; process 3: boot");
        let answers = Progress { answer: Some("GET / answered 500".to_owned()), ..booting() };
        assert_eq!(place(&answers), "2 of 4 replaced; process 3: boot, GET / answered 500");
        let baking = Progress { phase: "bake".to_owned(), number: Some(Number(1)), replaced: 1, ..booting() };
        assert_eq!(place(&baking), "1 of 4 replaced; process 1: watching the new release");
    }

    #[test]
    fn the_time_left_runs_down_and_never_below_nothing() {
        let walk = Progress { left_seconds: Some(12.4), ..booting() };
        let says = [0.0, 6.0, 11.0, 11.6, 60.0].map(|later| left(&walk, later).unwrap());
        assert_eq!(says, ["about 12 s left", "about 6 s left", "about 1 s left", "about done", "about done"]);
        assert_eq!(left(&booting(), 0.0), None);
    }

    #[test]
    fn why_the_old_one_goes_first_is_said() {
        let room = |why: &str| room(&Progress { makes_room: Some(why.to_owned()), ..booting() }).unwrap();
        assert_eq!(room("surge = 0"), "surge = 0: the old one goes first");
        assert_eq!(room("leader = \"exclusive\""), "leader = \"exclusive\": the old one goes first");
        assert_eq!(room("max_processes = 4"), "max_processes = 4: the old one goes first");
        assert_eq!(room("80 MiB of memory are left"), "memory is short (80 MiB of memory are left): the old one goes first");
    }
}
