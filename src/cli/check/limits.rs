//! Limits that do not fit each other, or this machine.

use super::Problem;
use crate::config::{Config, ResourceLimit, Severity};
use crate::conn::room;
use crate::descriptors::Descriptors;
use crate::sys;

pub fn problems(config: &Config) -> Vec<Problem> {
    // The hard limit of whoever asks; rota raises its own soft one to it.
    let descriptors = Descriptors::share_out(sys::hard_limit(ResourceLimit::Nofile), config).problem(config);
    let warning = |text: String| (Severity::Warning, text);
    descriptors.into_iter().chain(body_problem(config)).map(warning).collect()
}

/// Bodies that are allowed, and for which there never is room.
fn body_problem(config: &Config) -> Option<String> {
    let most = room::most_of_one(config.server.spool_max);
    let larger = config.apps.iter().filter(|app| app.buffer.request && app.max_body > most);
    let names: Vec<String> = larger.map(|app| app.name.to_string()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "spool_max: one body may take {most} bytes of it, so that others find room, and limits.body of {} is more: what is larger is answered \
             507; raise spool_max, or lower limits.body",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, SourceFile};

    fn problem(server: &str, app: &str) -> Option<String> {
        let text = format!("[server]\n{server}\n[app.a]\nroot = \"/srv\"\ncommand = \"x\"\n{app}\n");
        body_problem(&config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config)
    }

    #[test]
    fn a_body_that_could_take_all_room_is_named_unless_it_needs_none() {
        assert_eq!(problem("", ""), None, "the defaults fit each other");
        assert!(problem("spool_max = \"1G\"", "").unwrap().contains("limits.body of a is more"));
        assert_eq!(problem("spool_max = \"1G\"", "limits.body = \"800M\""), None);
        assert_eq!(problem("spool_max = \"1G\"", "buffer.request = false"), None);
    }
}
