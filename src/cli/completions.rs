//! `rota completions`: what a shell needs to complete the command line. What clap generates knows verbs and options; the names of apps are
//! asked of the server, by `rota __apps`, when somebody presses the key.

use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use super::Exit;
use super::say::print;
use super::verbs::Cli;
use crate::config;
use crate::control::client::Conversation;
use crate::control::proto::{Reply, Request};

pub fn run(shell: Shell) -> Exit {
    print(&script(shell))
}

/// The names of the apps, a line each, as the server has them; where none answers, as the configuration has them. Nothing else is said: a
/// person is typing.
pub fn apps(file: &Path, socket: Option<&Path>) -> Exit {
    let control = socket.map(Path::to_owned).or_else(|| config::control(file).ok().map(|(control, _)| control));
    let known = control.and_then(|control| names(&control)).unwrap_or_else(|| {
        let loaded = config::load_to_serve(file).ok();
        loaded.map_or_else(Vec::new, |loaded| loaded.config.apps.iter().map(|app| app.name.to_string()).collect())
    });
    print(&known.iter().map(|name| format!("{name}\n")).collect::<String>())
}

/// The history costs the server less than the status, which looks at each process.
fn names(control: &Path) -> Option<Vec<String>> {
    match Conversation::start(control, &Request::History { app: None }).and_then(|mut conversation| conversation.next_reply()) {
        Ok(Some(Reply::History { apps })) => Some(apps.iter().map(|app| app.app.to_string()).collect()),
        Ok(_) | Err(_) => None,
    }
}

fn script(shell: Shell) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rota", &mut bytes);
    let script = String::from_utf8_lossy(&bytes).into_owned();
    let verbs = verbs_of_apps();
    match shell {
        Shell::Bash => script + &BASH.replace("@VERBS@", &verbs.join("|")),
        Shell::Fish => script + &FISH.replace("@VERBS@", &verbs.join(" ")),
        Shell::Zsh => {
            let named = script
                .replace(":app -- Only this app:_default", ":app -- Only this app:_rota_apps")
                .replace(":app:_default", ":app:_rota_apps");
            match named.split_once("\n") {
                // Its first line says what it completes.
                Some((first, rest)) => format!("{first}\n{ZSH}{rest}"),
                None => named,
            }
        }
        _ => script,
    }
}

/// Those that take the name of an app first.
fn verbs_of_apps() -> Vec<String> {
    let takes_app = |verb: &&Command| !verb.is_hide_set() && verb.get_positionals().next().map(Arg::get_id).is_some_and(|id| id == "app");
    Cli::command().get_subcommands().filter(takes_app).map(|verb| verb.get_name().to_owned()).collect()
}

/// Adds the names to what the generated function has found, where the word is the first behind a verb that is no option.
const BASH: &str = r#"
_rota_with_apps() {
    _rota "$@"
    local word verb= named= before= at=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$before" in
            --config|--socket) at+=("$before" "$word"); before=; continue ;;
        esac
        before=
        case "$word" in
            --config|--socket) before=$word ;;
            -*) ;;
            *) if [ -z "$verb" ]; then verb=$word; else named=$word; fi ;;
        esac
    done
    case "$verb" in
        @VERBS@) ;;
        *) return ;;
    esac
    word=${COMP_WORDS[COMP_CWORD]}
    if [ -z "$named" ] && [ -z "$before" ] && [[ "$word" != -* ]]; then
        COMPREPLY=($(compgen -W "$(rota __apps "${at[@]}" 2>/dev/null)" -- "$word"))
    fi
}
complete -F _rota_with_apps -o nosort -o bashdefault -o default rota 2>/dev/null || complete -F _rota_with_apps -o bashdefault -o default rota
"#;
const FISH: &str = r#"
complete -c rota -n "__fish_seen_subcommand_from @VERBS@" -f -a "(rota __apps 2>/dev/null)"
"#;
const ZSH: &str = r#"
_rota_apps() {
    local -a apps
    apps=(${(f)"$(rota __apps 2>/dev/null)"})
    compadd -a apps
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_completed_in_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
        }
    }

    #[test]
    fn every_verb_of_apps_asks_for_their_names() {
        let verbs = verbs_of_apps();
        assert!(["status", "restart", "deploy", "logs", "detach"].iter().all(|verb| verbs.contains(&(*verb).to_owned())), "{verbs:?}");
        assert!(!verbs.contains(&"stop".to_owned()) && !verbs.contains(&"init".to_owned()), "{verbs:?}");
        assert_eq!(script(Shell::Zsh).matches(":_rota_apps'").count(), verbs.len());
    }
}
