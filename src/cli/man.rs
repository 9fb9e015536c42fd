//! `rota man`: the man pages. rota(8) is made of the definitions of the help, rota.toml(5) of the table of keys.

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Exit;
use super::exit::SEVERAL;
use super::say::print;
use super::verbs::{Cli, ManPage};
use crate::config::reference::{self, Row};

pub fn run(page: ManPage) -> Exit {
    print(&match page {
        ManPage::Rota => self::page(),
        ManPage::Config => config_page(),
    })
}

/// rota.toml(5).
fn config_page() -> String {
    let mut title = Roff::new();
    title.control("TH", ["rota.toml", "5", "", concat!("rota ", env!("CARGO_PKG_VERSION")), "File formats"]);
    let mut page = title.to_roff();
    page += &section("NAME", &[("", "rota.toml - configuration of rota(8) and its apps")]);
    page += &section("DESCRIPTION", &CONFIG_DESCRIPTION.map(|text| ("", text)));
    for part in &reference::PARTS {
        page += &section(&part.title.to_uppercase(), &[("", &plain(part.about))]);
        page += &part.rows().iter().map(of_key).collect::<String>();
    }
    page += &section("FILES", &FILES);
    page + &section("SEE ALSO", &[("", "rota(8), rota check, rota init")])
}

fn of_key(row: &Row) -> String {
    let mut roff = Roff::new();
    if let Some(heading) = row.heading {
        roff.control("SS", [heading]);
    }
    roff.control("TP", []);
    roff.text([bold(&row.name), roman(" ("), roman(plain(row.kind)), roman(")")]);
    let without = if row.without.is_empty() { String::new() } else { format!(" Default: {}.", plain(&row.without)) };
    roff.text([roman(plain(row.meaning) + &without)]);
    roff.to_roff()
}

/// Without the marks of code.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// rota(8), in roff, with the macros of man(7).
fn page() -> String {
    let command = Cli::command().disable_help_subcommand(true);
    let man = Man::new(command.clone()).section("8").source(concat!("rota ", env!("CARGO_PKG_VERSION"))).manual("System administration");
    let whole = |render: Render<'_>| rendered(&man, render);
    let mut page = whole(&|man, out| man.render_title(out));
    page += &whole(&|man, out| man.render_name_section(out));
    page += &whole(&|man, out| man.render_synopsis_section(out));
    page += &section("DESCRIPTION", &DESCRIPTION.map(|text| ("", text)));
    page += &whole(&|man, out| man.render_options_section(out));
    page += ".SH COMMANDS\n";
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        page += &of_verb(verb);
    }
    let statuses: Vec<(String, &str)> = Exit::ALL.iter().map(|exit| ((*exit as u8).to_string(), exit.meaning())).collect();
    let statuses: Vec<(&str, &str)> = statuses.iter().map(|(number, meaning)| (number.as_str(), *meaning)).collect();
    page += &section("EXIT STATUS", &statuses);
    page += &format!(".PP\n{SEVERAL}\n");
    page += &section("FILES", &FILES);
    page += &section("SIGNALS", &SIGNALS);
    page + &section("EXAMPLES", &EXAMPLES)
}

/// A verb as a part of the section COMMANDS: its own page without the headings.
fn of_verb(verb: &clap::Command) -> String {
    let name = format!("rota {}", verb.get_name());
    let man = Man::new(verb.clone().bin_name(&name).disable_help_flag(true));
    let parts = [
        rendered(&man, &|man, out| man.render_synopsis_section(out)),
        rendered(&man, &|man, out| man.render_description_section(out)),
        rendered(&man, &|man, out| man.render_options_section(out)),
    ];
    let mut text = format!(".SS \"{name}\"\n");
    for line in parts.iter().flat_map(|part| part.lines()).filter(|line| !is_preamble(line)) {
        text.push_str(if line.starts_with(".SH ") { ".PP" } else { line });
        text.push('\n');
    }
    let statuses = statuses_of(verb);
    if statuses.is_empty() { text } else { format!("{text}.PP\nExit status: {}.\n", statuses.join(", ")) }
}

/// The numbers in its help; what they mean stands once in the page.
fn statuses_of(verb: &clap::Command) -> Vec<String> {
    let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
    let known = |number: &&str| Exit::ALL.iter().any(|exit| (*exit as u8).to_string() == **number);
    help.lines().filter_map(|line| line.split_whitespace().next()).filter(known).map(str::to_owned).collect()
}

type Render<'a> = &'a dyn Fn(&Man, &mut Vec<u8>) -> std::io::Result<()>;

fn rendered(man: &Man, render: Render<'_>) -> String {
    let mut bytes = Vec::new();
    render(man, &mut bytes).expect("a vector takes all");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What defines the apostrophe; once in a page is enough.
fn is_preamble(line: &str) -> bool {
    line.starts_with(".ie ") || line.starts_with(".el ")
}

/// Paragraphs; those with a name are hung under it.
fn section(heading: &str, paragraphs: &[(&str, &str)]) -> String {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (name, text) in paragraphs {
        if name.is_empty() {
            roff.control("PP", []);
        } else {
            roff.control("TP", []);
            roff.text([bold(*name)]);
        }
        roff.text([roman(*text)]);
    }
    roff.to_roff()
}

const DESCRIPTION: [&str; 4] = [
    "rota starts and supervises the processes of web apps, in any language, and passes HTTP requests to them. A deployment replaces the \
     processes one at a time while requests keep flowing. A release that does not start changes nothing that visitors see.",
    "rota serve is the server. All other commands talk to it over its control socket, as the user that it runs as or as root. A command \
     that waits can be interrupted: what it asked for goes on in the server.",
    "An app needs no more than its root: where the configuration has no command, each release is looked at, and its Procfile, manage.py, \
     config.ru, package.json, app.py and the like say how it is started. rota check shows what that comes to; rota init writes it into a file.",
    "A restart takes what the app's root names, with symlinks resolved once. A release that was chosen by rota deploy or rota rollback stays \
     until root names something new. When the server is started again it brings back the release that was accepted last, and deploys what \
     root names if that is new.",
];

const CONFIG_DESCRIPTION: [&str; 3] = [
    "The configuration is TOML. rota.toml has [server] and, if you like, apps as [app.NAME]; each file NAME.toml in apps.d beside it is one app \
     more, with the keys of an app at its top. Unknown keys and impossible values are mistakes: rota check shows each with its place.",
    "Times are \"250ms\", \"30s\", \"5m\" or \"1h\"; sizes are bytes or \"64K\", \"512M\", \"1G\". A key with a dot may stand in a table: \
     drain.timeout = \"60s\" is drain = { timeout = \"60s\" }. What stands in brackets behind a key here is what its value is.",
    "The least that an app needs: root = \"/srv/blog/current\" and, where rota is root, user = \"blog\".",
];

const FILES: [(&str, &str); 5] = [
    ("/etc/rota/rota.toml", "The configuration: the server, and apps if you like. --config names another."),
    ("/etc/rota/apps.d/*.toml", "One app each, beside the configuration."),
    ("/run/rota", "control.sock, and the sockets of the apps; server.control and server.run_dir name other places."),
    ("/var/log/rota", "Log files, where access_log or an app's log names them here; else all goes to standard output and error."),
    ("/var/lib/rota", "Which release serves, those before it, and the history; server.state_dir names another place."),
];

const SIGNALS: [(&str, &str); 5] = [
    ("USR1", "Opens log files anew, after they were renamed: of access_log, and of the apps' log."),
    ("USR2", "Restarts all apps, one after another, as rota restart does."),
    ("TERM, INT", "Stops: what is in hand is answered, then the apps are stopped. A second one: now."),
    ("HUP", "Reads the configuration again and does what it changes, as rota reload; what came of it is in the log."),
    ("QUIT", "Writes the state of everything to the log."),
];

const EXAMPLES: [(&str, &str); 4] = [
    ("rota init /srv/blog/current", "Writes /etc/rota/apps.d/blog.toml by what is in the directory."),
    ("rota deploy blog /srv/blog/releases/42", "Puts a release into service, waits, and tells how it ended."),
    ("rota pause blog --for 20s && migrate; rota resume blog", "Has the requests of an app wait while its database changes."),
    ("rota status --watch", "Shows every process, again and again."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_exit_status_file_and_signal_is_in_the_page() {
        // As a reader sees it: roff writes a hyphen as \- and begins words that are bold with \fB.
        let page = page().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "");
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            assert!(page.contains(&format!("\n.SS \"rota {name}\"\n")), "{name}\n{page}");
            let waits = ["restart", "reload", "deploy", "rollback", "abort"].contains(&name);
            assert_eq!(statuses_of(verb).len() == Exit::OF_A_WALK.len(), waits, "{name}: {:?}", statuses_of(verb));
            let shown = verb.get_arguments().filter(|argument| !argument.is_hide_set());
            for option in shown.filter_map(|argument| argument.get_long()).filter(|option| *option != "help") {
                assert!(page.contains(&format!("--{option}")), "{name} --{option}");
            }
        }
        for exit in Exit::ALL {
            assert!(page.contains(&format!("\n.TP\n{}\n{}\n", exit as u8, exit.meaning())), "{exit:?}\n{page}");
        }
        for (name, _) in FILES.iter().chain(&SIGNALS) {
            assert!(page.contains(&format!("\n.TP\n{name}\n")), "{name}");
        }
        let document = include_str!("../../docs/running.md");
        assert!(SIGNALS.iter().all(|(name, _)| document.contains(&format!("\n| {name} | "))), "docs/running.md has each signal");
        assert!(!page.contains("__"), "what rota calls itself with is hidden");
    }

    #[test]
    fn every_key_is_in_the_page_of_the_configuration_with_its_kind_and_default() {
        let page = config_page().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "");
        let rows: Vec<Row> = reference::PARTS.iter().flat_map(reference::Part::rows).collect();
        assert!(rows.len() > 90, "{}", rows.len());
        for row in rows {
            assert!(page.contains(&format!("\n.TP\n{} ({})\n", row.name, plain(row.kind))), "{}\n{page}", row.name);
        }
        assert!(page.starts_with(".TH rota.toml 5 ") && page.contains("\n.SH \"AN APP\"\n"), "{page}");
        assert!(page.contains("\nHow long a restart waits for them. ") && page.contains(" Default: \"60s\".\n"), "{page}");
    }
}
