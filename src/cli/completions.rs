//! `rota completions`: what a shell needs to complete the command line. What clap generates knows verbs and options; the names of apps are
//! asked of the server, by `rota __apps`, when somebody presses the key.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use super::Exit;
use super::say::print;
use super::verbs::Cli;
use crate::config;
use crate::control::client::Conversation;
use crate::control::proto::{Reply, Request};
use crate::ids::Number;
use crate::named_file::Gate;

pub fn run(shell: Shell) -> Exit {
    print(&script(shell))
}

/// The names of the apps, a line each, as the server has them; where none answers, as the configuration has them. Nothing else is said: a
/// person is typing.
pub fn apps(file: &Path, socket: Option<&Path>) -> Exit {
    let control = socket.map(Path::to_owned).or_else(|| config::control(file, &Gate::to_look()).ok().map(|(control, _)| control));
    let known = control
        .and_then(|control| names(&control))
        .unwrap_or_else(|| config::glance(file, &Gate::to_look()).config.apps.iter().map(|app| app.name.to_string()).collect());
    print(&known.iter().map(|name| format!("{name}\n")).collect::<String>())
}

/// The numbers of the processes of an app, a line each.
pub fn processes(file: &Path, socket: Option<&Path>, app: &str) -> Exit {
    let control = socket.map(Path::to_owned).or_else(|| config::control(file, &Gate::to_look()).ok().map(|(control, _)| control));
    let request = Request::Status { app: Some(app.to_owned()) };
    let reply = control.and_then(|control| Conversation::start(&control, &request).and_then(|mut asked| asked.next_reply()).ok().flatten());
    let Some(Reply::Status(status)) = reply else { return Exit::NoServer };
    let numbers: BTreeSet<Number> = status.apps.iter().flat_map(|app| &app.processes).map(|process| process.number).collect();
    print(&numbers.iter().map(|number| format!("{number}\n")).collect::<String>())
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
        Shell::Bash => {
            script
                + &BASH
                    .replace("@VERBS@", &verbs.iter().map(|verb| format!("{verb}:0")).collect::<Vec<_>>().join("|"))
                    .replace("@VALUED@", &valued())
        }
        Shell::Fish => {
            let others: Vec<&str> = verbs.iter().map(String::as_str).filter(|verb| *verb != "deploy").collect();
            script + &FISH.replace("@VERBS@", &verbs.join(" ")).replace("@OTHERS@", &others.join(" "))
        }
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

/// Options that have a value behind them, as bash's patterns have them: `--config|-n`.
fn valued() -> String {
    let top = Cli::command();
    let options =
        top.get_opts().chain(top.get_subcommands().flat_map(Command::get_opts)).filter(|option| option.get_action().takes_values());
    let names = options.flat_map(|option| {
        let long = option.get_long().map(|long| format!("--{long}"));
        let short = option.get_short().map(|short| format!("-{short}"));
        long.into_iter().chain(short)
    });
    names.collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join("|")
}

/// The generated function knows verbs, options and their values. What stands behind a verb is ours to find: names of apps, numbers of processes,
/// directories, or nothing, and never options that nobody has begun.
const BASH: &str = r#"
_rota_with_apps() {
    _rota "$@"
    local word verb= before= found=() named=() at=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        # --config=FILE is three words for bash.
        if [ -n "$before" ] && [ "$word" = "=" ]; then continue; fi
        case "$before" in
            "") ;;
            --config|--socket) at+=("$before" "$word"); before=; continue ;;
            *) before=; continue ;;
        esac
        case "$word" in
            @VALUED@) before=$word ;;
            -*) ;;
            *) if [ -z "$verb" ]; then verb=$word; else named+=("$word"); fi ;;
        esac
    done
    word=${COMP_WORDS[COMP_CWORD]}
    if [ "$word" = "=" ]; then word=; fi
    case "$before" in
        "") ;;
        --user) COMPREPLY=($(compgen -u -- "$word")); return ;;
        --config|--socket|--color|--output|-o) return ;;
        *) COMPREPLY=(); compopt +o default +o bashdefault 2>/dev/null; return ;;
    esac
    if [[ "$word" == -* ]]; then return; fi
    if [ -z "$verb" ] || [ "$verb" = completions ] || [ "$verb" = help ]; then
        for word in "${COMPREPLY[@]}"; do
            case "$word" in -*|__*) ;; *) found+=("$word") ;; esac
        done
        COMPREPLY=("${found[@]}")
        return
    fi
    COMPREPLY=()
    case "$verb:${#named[@]}" in
        @VERBS@) COMPREPLY=($(compgen -W "$(rota __apps "${at[@]}" 2>/dev/null)" -- "$word")) ;;
        detach:1) COMPREPLY=($(compgen -W "$(rota __processes "${at[@]}" "${named[0]}" 2>/dev/null)" -- "$word")) ;;
        deploy:1|init:0) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    esac
    compopt +o default +o bashdefault 2>/dev/null
}
complete -F _rota_with_apps -o nosort -o bashdefault -o default rota 2>/dev/null || complete -F _rota_with_apps -o bashdefault -o default rota
"#;
const FISH: &str = r#"
function __rota_at
    set -l words
    for word in (commandline -opc)[2..]
        string match -q -- '-*' $word; or set -a words $word
    end
    test (count $words) -eq (math $argv[1] + 1); and contains -- $words[1] $argv[2..]
end
complete -c rota -n "__rota_at 0 @VERBS@" -f -a "(rota __apps 2>/dev/null)"
complete -c rota -n "__rota_at 1 detach" -f -a "(rota __processes (commandline -opc)[-1] 2>/dev/null)"
complete -c rota -n "__rota_at 1 deploy" -f -a "(__fish_complete_directories)"
complete -c rota -n "__rota_at 0 init" -f -a "(__fish_complete_directories)"
complete -c rota -n "__rota_at 1 @OTHERS@" -f
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
