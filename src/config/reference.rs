//! The keys as people read them: the texts of conf/rota.toml and docs/configuration.md, and the rows of rota.toml(5), all from `keys`. Core:
//! text only.

use super::keys::{APP, Effect, Key, Keys, SERVER, Without};

/// A key as a reader meets it.
#[derive(Debug)]
pub struct Row {
    /// With the tables that it is in: `drain.timeout`, `listen[].mode`.
    pub name: String,
    pub kind: &'static str,
    /// What holds without it, in words; empty of a table.
    pub without: String,
    pub meaning: &'static str,
    /// What it and the following are about, where that begins.
    pub heading: Option<&'static str>,
    /// When another value takes effect.
    pub effect: Effect,
}

/// The two kinds of file, and how their keys are called.
pub const PARTS: [Part; 2] = [
    Part { title: "[server]", about: "In `rota.toml`, under `[server]`.", keys: &SERVER },
    Part {
        title: "An app",
        about: "At the top of `apps.d/NAME.toml`, or in `rota.toml` under `[app.NAME]`. A file of apps.d describes one app, named as the file.",
        keys: &APP,
    },
];

/// One of them.
#[derive(Debug)]
pub struct Part {
    pub title: &'static str,
    pub about: &'static str,
    keys: &'static Keys,
}

impl Part {
    /// Those of a table follow it.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for key in self.keys.keys {
            rows.push(row(key, key.name.to_owned(), Effect::AtOnce));
            let of = if is_list(key) { format!("{}[]", key.name) } else { key.name.to_owned() };
            let inner = key.inner.map_or(&[][..], |inner| inner.keys);
            rows.extend(inner.iter().map(|inner| row(inner, format!("{of}.{}", inner.name), key.effect)));
        }
        rows
    }
}

fn row(key: &Key, name: String, of_table: Effect) -> Row {
    let without = match key.without {
        Without::Default(value) => format!("`{value}`"),
        Without::Else { what, example } if what == example => format!("`{what}`"),
        Without::Else { what, example } => format!("{what}; as `{example}`"),
        Without::Required { example } => format!("required; as `{example}`"),
        Without::OfItsKeys => String::new(),
    };
    Row { name, kind: key.kind, without, meaning: key.meaning, heading: key.heading, effect: key.effect.max(of_table) }
}

/// A value among others in a list: it cannot be written with dots.
fn is_list(key: &Key) -> bool {
    key.inner.is_some() && !matches!(key.without, Without::OfItsKeys)
}

/// conf/rota.toml.
pub fn rota_toml() -> String {
    let part = |title: &str, keys: &Keys| format!("\n#{title}\n{}", keys.keys.iter().map(settings).collect::<String>());
    format!("{TOML_HEAD}{}\n{APP_HEAD}{}", part("[server]", &SERVER), part("[app.blog]", &APP))
}

/// What a file says of a key: a comment, and the key with a value.
fn settings(key: &Key) -> String {
    let heading = key.heading.map(|heading| format!("\n# == {heading} ==\n")).unwrap_or_default();
    match key.inner {
        Some(inner) if !is_list(key) => {
            let inner: String = inner.keys.iter().map(|inner| setting(inner, &format!("{}.{}", key.name, inner.name), "")).collect();
            format!("{heading}\n{}#\n{inner}", comment("# ", key.meaning))
        }
        Some(inner) => {
            let item = |item: &Key| comment("# - ", &format!("{} = {}: {}", item.name, shown(item).1, item.meaning));
            let items: String = inner.keys.iter().map(item).collect();
            format!("{heading}\n{}", setting(key, key.name, &format!("# It may be a table, with these keys:\n{items}")))
        }
        None => format!("{heading}\n{}", setting(key, key.name, "")),
    }
}

fn setting(key: &Key, name: &str, more: &str) -> String {
    let (mark, value) = shown(key);
    let without = match key.without {
        Without::Else { what, example } if what != example => format!(" By default: {what}."),
        _ => String::new(),
    };
    format!("{}{more}{mark}{name} = {value}\n", comment("# ", &format!("{}{without}", key.meaning)))
}

/// A default is marked so that taking the mark away changes nothing; an example has a space behind the mark.
fn shown(key: &Key) -> (&'static str, &'static str) {
    match key.without {
        Without::Default(value) | Without::Required { example: value } => ("#", value),
        Without::Else { example, .. } => ("# ", example),
        Without::OfItsKeys => ("# ", "{}"),
    }
}

/// In lines that fit.
fn comment(mark: &str, text: &str) -> String {
    let mut lines = vec![mark.trim_end().to_owned()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line + 1 + word.chars().count() > WIDTH {
            lines.push("#".to_owned() + &" ".repeat(mark.len() - 2));
        }
        let last = lines.last_mut().expect("there is one from the start");
        last.push(' ');
        last.push_str(word);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// docs/configuration.md.
pub fn markdown() -> String {
    let mut page = MARKDOWN_HEAD.to_owned();
    for part in &PARTS {
        page += &format!("\n## {}\n\n{}\n", part.title, part.about);
        for row in part.rows() {
            if let Some(heading) = row.heading {
                page += &format!("\n### {heading}\n\n| key | takes | default | meaning |\n| --- | --- | --- | --- |\n");
            }
            let meaning = format!("{}{}", row.meaning, effect(row.effect));
            let cells = [format!("`{}`", row.name), row.kind.to_owned(), row.without, meaning];
            page += &format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
    }
    page
}

/// What a change of it needs; what holds at once needs nothing.
pub fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::AtOnce => "",
        Effect::Listeners => " A change opens and closes listeners.",
        Effect::Restart => " A change takes a rolling restart of the app.",
        Effect::Start => " A change takes effect when rota is started anew.",
    }
}

const WIDTH: usize = 140;

const TOML_HEAD: &str = "\
# rota.toml: the server and, if you like, its apps. `rota check` reads it and says what is wrong.
#
# A line with # right before the key shows a default: take the # away to change it. A line with # and a space is an example.
# Times are \"250ms\", \"30s\", \"5m\" or \"1h\"; sizes are bytes or \"64K\", \"512M\", \"1G\".
";

const APP_HEAD: &str = "
# An app: here as [app.NAME], or as a file apps.d/NAME.toml with the same keys at its top. It needs a root, and a user
# when rota runs as root.
";

const MARKDOWN_HEAD: &str = "\
# Configuration

<!-- Made from src/config/keys; ROTA_WRITE=1 cargo test --lib conf_files writes it anew. -->

`/etc/rota/rota.toml`, and one file for each app in `apps.d` beside it. `rota check` shows each mistake with its place and the key that was
probably meant. The same keys are in [conf/rota.toml](../conf/rota.toml), the file to start from, and in `rota man config`.

Times are `\"250ms\"`, `\"30s\"`, `\"5m\"` or `\"1h\"`; sizes are bytes or `\"64K\"`, `\"512M\"`, `\"1G\"`. A key with a dot may stand in a table:
`drain.timeout = \"60s\"` is `drain = { timeout = \"60s\" }`, or a line below `[drain]`.

Another value takes effect at `rota reload`, at once where nothing else is said.
";
