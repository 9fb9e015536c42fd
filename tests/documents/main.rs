//! The documents lead somewhere and say what is so: links, headings, tables; each configuration in them is one, each command is one. What the
//! commands do when they are run is looked at by tests/it/documents.rs, and nginx's and HAProxy's configurations by tests/it/proxies.rs.

mod blocks;
mod commands;
mod pages;

use std::collections::BTreeSet;
use std::fs;

use clap::CommandFactory;
use rota::cli::Exit;
use rota::cli::verbs::Cli;
use rota::config::{self, SourceFile, reference};

/// Blocks that nobody runs. A new one needs a reason that nothing else would do for.
const NOT_RUN_MOST: usize = 4;

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages::all();
    let anchors = |path: &std::path::Path| -> Option<Vec<String>> {
        let page = pages.iter().find(|page| blocks::root().join(page.name).canonicalize().ok().as_deref() == Some(path))?;
        Some(page.headings().into_iter().map(|(_, _, anchor)| anchor).collect())
    };
    let mut wrong = Vec::new();
    for page in &pages {
        for (line, target) in page.links() {
            if target.starts_with("https://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').map_or((&*target, None), |(path, anchor)| (path, Some(anchor)));
            let file = if path.is_empty() { blocks::root().join(page.name) } else { page.folder().join(path) };
            match (file.canonicalize(), anchor) {
                (Err(_), _) => wrong.push(format!("{}:{line}: there is no {path}", page.name)),
                (Ok(_), None) => {}
                (Ok(file), Some(anchor)) => {
                    if !anchors(&file).is_some_and(|anchors| anchors.contains(&anchor.to_owned())) {
                        wrong.push(format!("{}:{line}: {target}: no heading of that name", page.name));
                    }
                }
            }
        }
    }
    none(wrong);
}

#[test]
fn every_document_is_found_from_the_readme() {
    let pages = pages::all();
    let (mut found, mut next) = (BTreeSet::new(), vec![blocks::root().join("README.md").canonicalize().unwrap()]);
    while let Some(file) = next.pop() {
        if !found.insert(file.clone()) {
            continue;
        }
        let page = pages.iter().find(|page| blocks::root().join(page.name).canonicalize().unwrap() == file);
        let links = page.map_or_else(Vec::new, |page| page.links().into_iter().map(|(_, to)| (page.folder(), to)).collect());
        next.extend(links.into_iter().filter_map(|(folder, to)| folder.join(to.split('#').next()?).canonicalize().ok()));
    }
    let lost: Vec<String> = pages
        .iter()
        .filter(|page| !found.contains(&blocks::root().join(page.name).canonicalize().unwrap()))
        .map(|page| page.name.into())
        .collect();
    none(lost);
    let listed: BTreeSet<String> = blocks::PAGES.iter().map(|name| (*name).to_owned()).collect();
    let there = fs::read_dir(blocks::root().join("docs")).unwrap().map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    none(there.filter(|name| !listed.contains(name)).collect());
}

#[test]
fn a_document_has_one_title_and_no_step_is_left_out_below_it() {
    let mut wrong = Vec::new();
    for page in pages::all() {
        let headings = page.headings();
        let titles = headings.iter().filter(|(level, _, _)| *level == 1).count();
        if titles != 1 || headings[0].0 != 1 {
            wrong.push(format!("{}: {titles} titles", page.name));
        }
        for pair in headings.windows(2) {
            if pair[1].0 > pair[0].0 + 1 {
                wrong.push(format!("{}: {:?} is too far below {:?}", page.name, pair[1].1, pair[0].1));
            }
        }
        let mut anchors = BTreeSet::new();
        wrong.extend(
            headings.iter().filter(|(_, _, anchor)| !anchors.insert(anchor)).map(|(_, text, _)| format!("{}: two {text:?}", page.name)),
        );
    }
    none(wrong);
}

#[test]
fn a_table_has_as_many_cells_in_each_row_as_it_has_columns() {
    let mut wrong = Vec::new();
    for page in pages::all() {
        let mut columns = None;
        for (number, line) in &page.lines {
            if !line.starts_with('|') {
                columns = None;
                continue;
            }
            let cells = line.replace("\\|", "").matches('|').count();
            if cells != *columns.get_or_insert(cells) || !line.ends_with('|') {
                wrong.push(format!("{}:{number}: {cells} bars", page.name));
            }
        }
    }
    none(wrong);
}

#[test]
fn the_readme_is_short() {
    let lines = blocks::text("README.md").lines().count();
    assert!(lines <= 150, "{lines} lines");
}

/// A first line `# /etc/rota/rota.toml` or `# /etc/rota/apps.d/NAME.toml` says which file it is; of an app's the root may be left out.
#[test]
fn every_configuration_is_one() {
    let mut wrong = Vec::new();
    let texts = blocks::of("toml");
    assert!(texts.len() > 10, "{} blocks", texts.len());
    for block in texts {
        let named = block.text.lines().next().and_then(|line| line.strip_prefix("# /etc/rota/"));
        let Some(name) = named else {
            wrong.push(format!("{}: its first line names no file", block.place));
            continue;
        };
        let dir = tempfile::tempdir().unwrap();
        // The pages that it names.
        for (folder, status) in [("errors", 404), ("apps.d/errors", 503)] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join(format!("{status}.html")), "<p>").unwrap();
        }
        let file = |name: &str, text: String| SourceFile { path: dir.path().join(name), text };
        let files = if name == "rota.toml" {
            vec![file(name, block.text.clone())]
        } else {
            let root = if block.text.contains("\nroot = ") { "" } else { "\nroot = \"/srv/blog/current\"\n" };
            vec![file("rota.toml", String::new()), file(name, format!("{}{root}", block.text))]
        };
        match config::parse(&files) {
            Ok(loaded) if loaded.warnings.to_string().is_empty() => {}
            Ok(loaded) => wrong.push(format!("{}: {}", block.place, loaded.warnings)),
            Err(report) => wrong.push(format!("{}: {report}", block.place)),
        }
    }
    none(wrong);
}

#[test]
fn every_command_is_one() {
    let mut wrong = Vec::new();
    let scripts = blocks::of("sh");
    assert!(scripts.len() > 8, "{} blocks", scripts.len());
    for block in scripts {
        wrong.extend(
            commands::of(&block.text).iter().filter_map(|words| commands::mistake(words)).map(|why| format!("{}: {why}", block.place)),
        );
    }
    none(wrong);
}

/// `rota status [APP] --json` in a sentence: the verb and its options are there.
#[test]
fn every_verb_and_option_that_is_named_is_there() {
    let mut wrong = Vec::new();
    for page in pages::all() {
        for (line, code) in page.code() {
            wrong.extend(commands::unknown(&code).map(|why| format!("{}:{line}: `{code}`: {why}", page.name)));
        }
    }
    none(wrong);
}

#[test]
fn every_verb_and_exit_status_is_in_the_tables_of_running() {
    let page = blocks::text("docs/running.md");
    let command = Cli::command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(|verb| format!("`rota {}", verb.get_name()));
    let in_table = |text: &str| page.lines().any(|line| line.starts_with("| ") && line.contains(text));
    none(verbs.filter(|verb| !in_table(verb)).collect());
    let rows = Exit::ALL.iter().map(|exit| format!("| {} | {}", *exit as u8, exit.meaning()));
    none(rows.filter(|row| !in_table(row)).collect());
}

/// `drain.timeout` and `surge = 0` in a sentence for users: the key is there.
#[test]
fn every_key_that_is_named_is_there() {
    let keys: BTreeSet<String> = reference::PARTS.iter().flat_map(reference::Part::rows).map(|row| row.name).collect();
    let names: BTreeSet<&str> = keys.iter().filter_map(|key| key.rsplit('.').next()).collect();
    let tables: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let mut wrong = Vec::new();
    for page in pages::all().iter().filter(|page| page.name == "README.md" || page.name.starts_with("docs/")) {
        for (line, code) in page.code() {
            let (key, has_value) = code.split_once(" = ").map_or((&*code, false), |(key, _)| (key, true));
            let key = key.strip_prefix("server.").unwrap_or(key);
            let is_key = match key.split_once('.') {
                Some((table, inner)) => tables.contains(table) && is_word(inner),
                // `server.js` is a file.
                None => (has_value || code.starts_with("server.") && key != "js") && is_word(key),
            };
            let of_statuses = key.strip_prefix("errors.").is_some_and(|status| status.bytes().all(|b| b.is_ascii_digit()));
            if is_key && !keys.contains(key) && !names.contains(key) && !of_statuses {
                wrong.push(format!("{}:{line}: there is no key `{key}`", page.name));
            }
        }
    }
    none(wrong);
}

/// The words that the status has for states and phases.
#[test]
fn the_glossary_has_the_words_of_the_status() {
    let rows =
        |page: &str| -> Vec<String> { blocks::text(page).lines().filter(|line| line.starts_with("| ")).map(str::to_owned).collect() };
    let listed: BTreeSet<String> =
        rows("docs/glossary.md").iter().filter_map(|row| Some(row.strip_prefix("| ")?.split(" |").next()?.to_owned())).collect();
    let of_status = ["`apps[].processes[].state`", "`apps[].walk.phase`"];
    let described = rows("docs/running.md").into_iter().filter(|row| of_status.iter().any(|field| row.starts_with(&format!("| {field}"))));
    let words: Vec<String> = described
        .filter(|row| !row.contains("state_seconds"))
        .flat_map(|row| -> Vec<String> { row.split('`').skip(3).step_by(2).map(str::to_owned).collect() })
        .collect();
    assert!(words.len() > 10, "{words:?}");
    none(words.into_iter().filter(|word| !listed.contains(word)).collect());
    let twice = rows("docs/glossary.md").len()
        - rows("docs/glossary.md").iter().filter(|row| row.contains("---") || row.starts_with("| word")).count();
    assert_eq!(listed.iter().filter(|word| *word != "word" && *word != "---").count(), twice, "a word stands twice");
}

#[test]
fn what_is_not_run_says_why_and_is_little() {
    let all: Vec<_> = pages::all().into_iter().flat_map(|page| page.blocks).collect();
    let known = ["", "sh", "toml", "nginx", "haproxy", "caddy", "env", "rust", "promql"];
    none(all.iter().filter(|b| !known.contains(&&*b.language)).map(|b| format!("{}: who runs {:?}?", b.place, b.language)).collect());
    let reasons: Vec<(&str, &str)> = all.iter().filter_map(|block| Some((&*block.place, block.not_run.as_deref()?))).collect();
    assert!(reasons.len() <= NOT_RUN_MOST, "{reasons:#?}");
    none(reasons.iter().filter(|(_, why)| why.split(' ').count() < 4).map(|(place, _)| format!("{place}: that is no reason")).collect());
}

#[test]
fn what_is_wrong_is_found() {
    let page = pages::parse("README.md", "# a\n[b](c.md#d) `[no](link)`\n<!-- not run: needs root and systemd -->\n```sh\nrota x\n```\n");
    assert_eq!(page.links(), [(2, "c.md#d".to_owned())]);
    assert_eq!(page.code(), [(2, "[no](link)".to_owned())]);
    assert_eq!(page.blocks[0].not_run.as_deref(), Some("needs root and systemd"));
    assert_eq!(pages::anchor("`root` and `rota deploy`: two, or 3"), "root-and-rota-deploy-two-or-3");
    assert!(commands::mistake(&["rota".into(), "statsu".into()]).is_some());
    assert!(commands::mistake(&["cargo".into(), "test".into(), "--test".into(), "nothing".into()]).is_some());
    assert_eq!(commands::of("a 'b c' | rota status # x\nif rota stop; then\n  d\nfi\n").len(), 4);
    assert!(commands::unknown("rota status --blockin").is_some() && commands::unknown("rota status [APP] --json").is_none());
}
