//! How many requests puma handles at a time, by its flags, its configuration and its defaults. The configuration is Ruby: what is read of it is
//! what Rails puts there (`ENV.fetch("RAILS_MAX_THREADS") { 5 }`), numbers, and names that stand for these.

use std::cell::Cell;

use super::{Tree, line, ruby};

/// What a command that starts puma is known to do.
pub(super) struct Puma {
    pub concurrency: u32,
    pub reason: &'static str,
    pub warning: Option<String>,
}

/// None: it does not start puma.
pub(super) fn of(tree: &dyn Tree, words: &[String]) -> Option<Puma> {
    let file_name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let is_puma = words.iter().any(|word| file_name(word) == "puma");
    let is_rails = words.windows(2).any(|pair| file_name(&pair[0]) == "rails" && ["server", "s"].contains(&pair[1].as_str()));
    let has_puma = || tree.text("Gemfile.lock").is_none_or(|lock| ruby::locks(&lock, "puma"));
    if !(is_puma || is_rails && has_puma()) {
        return None;
    }
    // The flags of `rails server` are others.
    let flag = |names: &[&str]| if is_puma { line::flag(words, names) } else { None };
    let files = match flag(&["-C", "--config"]) {
        Some(file) => vec![file.to_owned()],
        None => vec!["config/puma/production.rb".to_owned(), "config/puma.rb".to_owned()],
    };
    let text = files.iter().find_map(|file| tree.text(file)).filter(|text| text.len() <= LARGEST).unwrap_or_default();
    let source = Source { tree, words, text, values: Cell::new(VALUES) };
    let by_flag = flag(&["-t", "--threads"]).and_then(|text| text.rsplit(':').next()?.parse().ok());
    let by_file = source.setting("threads").and_then(Value::number);
    let by_variable = || ["PUMA_MAX_THREADS", "MAX_THREADS"].into_iter().find_map(|name| source.variable(name)?.parse().ok());
    let (threads, reason) = match (by_flag, by_file) {
        (Some(threads), _) => (threads, "as many as the threads that its flags say"),
        (None, Some(threads)) => (threads, "as many as the threads that puma's configuration says"),
        (None, None) => {
            (by_variable().unwrap_or(DEFAULT), "as many as puma's threads by default; neither a flag nor its configuration says it")
        }
    };
    let workers = match (flag(&["-w", "--workers"]), source.setting("workers")) {
        (Some(text), _) => text.parse().ok(),
        (None, Some(Value::Number(workers))) => Some(workers),
        (None, Some(Value::Unknown)) => None,
        (None, Some(Value::Nil) | None) => source.variable("WEB_CONCURRENCY").map_or(Some(0), |text| text.parse().ok()),
    };
    let concurrency = threads.checked_mul(workers.unwrap_or(0).max(1)).filter(|product| (1..=MOST).contains(product)).unwrap_or(DEFAULT);
    let warning = workers.is_none().then(|| CLUSTER.to_owned());
    Some(Puma { concurrency, reason, warning })
}

/// A configuration, with what its variables are.
struct Source<'a> {
    tree: &'a dyn Tree,
    words: &'a [String],
    text: String,
    /// That may still be found out: names lead to others, each by as many ways as somebody has written.
    values: Cell<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Number(u32),
    /// A variable that is not set.
    Nil,
    Unknown,
}

impl Value {
    fn number(self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(number),
            Self::Nil | Self::Unknown => None,
        }
    }
}

impl Source<'_> {
    /// What stands in front of the command wins, as it does when it is executed.
    fn variable(&self, name: &str) -> Option<String> {
        let assigned = |word: &String| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        self.words.iter().find_map(assigned).or_else(|| self.tree.variable(name))
    }

    fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()).filter(|line| !line.starts_with('#'))
    }

    /// The last value of the last line that calls this, as `threads 1, 5`.
    fn setting(&self, name: &str) -> Option<Value> {
        let given = |line: &'_ str| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '('])).map(str::to_owned);
        self.lines().rev().find_map(given).map(|rest| {
            let rest = [" if ", " unless "].iter().fold(rest.as_str(), |rest, word| rest.split(word).next().unwrap_or_default());
            self.value(split(within(rest.trim()), ",").last().copied().unwrap_or_default(), DEPTH)
        })
    }

    /// `depth`: of names and brackets that are followed.
    fn value(&self, text: &str, depth: u32) -> Value {
        let text = within(text.trim().trim_end_matches(".to_i").trim());
        let (Some(depth), Some(left)) = (depth.checked_sub(1), self.values.get().checked_sub(1)) else { return Value::Unknown };
        self.values.set(left);
        if let [first, rest @ ..] = split(text, "||").as_slice()
            && !rest.is_empty()
        {
            let values = std::iter::once(first).chain(rest).map(|part| self.value(part, depth));
            return values.into_iter().find(|value| *value != Value::Nil).unwrap_or(Value::Nil);
        }
        if let Some(inner) = text.strip_prefix("Integer") {
            return self.value(inner, depth);
        }
        if let Some(rest) = text.strip_prefix("ENV.fetch(") {
            return self.fetched(rest, depth);
        }
        if let Some(rest) = text.strip_prefix("ENV[") {
            return self.of_variable(rest.trim_end_matches(']')).unwrap_or(Value::Nil);
        }
        if let Ok(number) = text.parse() {
            return Value::Number(number);
        }
        let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let assigned = |line: &str| line.split_once('=').filter(|(name, _)| name.trim() == text).map(|(_, value)| value.to_owned());
        let assigned = is_name.then(|| self.lines().rev().find_map(assigned)).flatten();
        assigned.map_or(Value::Unknown, |value| self.value(&value, depth))
    }

    /// Behind `ENV.fetch(`: `"NAME") { 5 }`, `"NAME", 3)`.
    fn fetched(&self, rest: &str, depth: u32) -> Value {
        let Some((arguments, block)) = rest.split_once(')') else { return Value::Unknown };
        let arguments = split(arguments, ",");
        let name = arguments.first().copied().unwrap_or_default();
        let default = arguments.get(1).copied().unwrap_or_else(|| block.trim().trim_start_matches('{').trim_end_matches('}'));
        self.of_variable(name).unwrap_or_else(|| self.value(default, depth))
    }

    /// `name`: in quotes.
    fn of_variable(&self, name: &str) -> Option<Value> {
        let text = self.variable(name.trim().trim_matches(['"', '\'']))?;
        Some(text.trim().parse().map_or(Value::Unknown, Value::Number))
    }
}

/// Without a pair of brackets around all of it.
fn within(text: &str) -> &str {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    inner.filter(|inner| split(inner, ")").len() == 1).map_or(text, str::trim)
}

/// At what stands in no brackets.
fn split<'t>(text: &'t str, at: &str) -> Vec<&'t str> {
    let (mut parts, mut begin, mut open) = (Vec::new(), 0, 0_i32);
    for (index, c) in text.char_indices() {
        if open == 0 && index >= begin && text[index..].starts_with(at) {
            parts.push(&text[begin..index]);
            begin = index + at.len();
            continue;
        }
        match c {
            '(' | '{' | '[' => open += 1,
            ')' | '}' | ']' => open -= 1,
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

const CLUSTER: &str = "puma starts workers of its own, as many as its configuration finds out: set env.WEB_CONCURRENCY = \"0\", since rota \
     starts as many processes as processes says, or write workers and threads multiplied as concurrency";

/// On the usual Ruby.
const DEFAULT: u32 = 5;
const MOST: u32 = 10_000;
const DEPTH: u32 = 8;
/// A dozen are found out of the configurations that Rails makes.
const VALUES: u32 = 200;
/// Of a configuration (bytes); they have 2 KiB, of which most are comments.
const LARGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::Files;
    use super::*;

    fn puma(command: &str, files: &[(&'static str, &'static str)]) -> Option<(u32, bool)> {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        of(&Files(files.iter().copied().collect::<BTreeMap<_, _>>()), &words).map(|puma| (puma.concurrency, puma.warning.is_some()))
    }

    const RAILS_5: &str = "max_threads_count = ENV.fetch(\"RAILS_MAX_THREADS\") { 5 }\n\
        min_threads_count = ENV.fetch(\"RAILS_MIN_THREADS\") { max_threads_count }\n\
        threads min_threads_count, max_threads_count\n\
        # workers ENV.fetch(\"WEB_CONCURRENCY\") { 2 }\nport ENV.fetch(\"PORT\") { 3000 }\n";
    const RAILS_8: &str =
        "threads_count = ENV.fetch(\"RAILS_MAX_THREADS\", 3)\nthreads threads_count, threads_count\nplugin :tmp_restart\n";
    const RAILS_7_1: &str = "max_threads_count = ENV.fetch(\"RAILS_MAX_THREADS\") { 5 }\nthreads 1, max_threads_count\n\
        if ENV[\"RAILS_ENV\"] == \"production\"\n  require \"concurrent-ruby\"\n\
        \x20 worker_count = Integer(ENV.fetch(\"WEB_CONCURRENCY\") { Concurrent.physical_processor_count })\n\
        \x20 workers worker_count if worker_count > 1\nend\n";

    #[test]
    fn the_templates_of_rails_say_how_many_threads_puma_has() {
        let variable = ("$RAILS_MAX_THREADS", "7");
        for command in ["bundle exec puma -p $PORT", "bin/puma -C config/puma.rb", "bin/rails server", "bundle exec rails s -p $PORT"] {
            let of = |text| puma(command, &[("config/puma.rb", text)]);
            assert_eq!((of(RAILS_5), of(RAILS_8)), (Some((5, false)), Some((3, false))), "{command}");
            assert_eq!(puma(command, &[("config/puma.rb", RAILS_8), variable]), Some((7, false)), "{command}");
            assert_eq!(puma(command, &[]), Some((5, false)), "{command}");
            assert_eq!(of(RAILS_7_1), Some((5, true)), "{command}: a cluster of nobody knows how many");
            assert_eq!(puma(command, &[("config/puma.rb", RAILS_7_1), ("$WEB_CONCURRENCY", "2")]), Some((10, false)), "{command}");
        }
        assert_eq!(puma("env RAILS_MAX_THREADS=9 bin/rails server", &[("config/puma.rb", RAILS_5), variable]), Some((9, false)));
    }

    #[test]
    fn flags_win_over_the_configuration_and_other_files_are_read_where_they_are_named() {
        let file = ("config/puma.rb", RAILS_5);
        assert_eq!(puma("puma -t 3:3 -p $PORT", &[file]), Some((3, false)));
        assert_eq!(puma("puma -t1:4 -w 2", &[file]), Some((8, false)));
        assert_eq!(puma("puma -C other.rb", &[file, ("other.rb", "threads(0, 16)\nworkers 2\n")]), Some((32, false)));
        assert_eq!(puma("puma -C -", &[file]), Some((5, false)));
        assert_eq!(puma("puma", &[file, ("config/puma/production.rb", "threads 2 # few\n")]), Some((2, false)));
    }

    #[test]
    fn what_is_no_number_is_puma_s_default() {
        for (text, expected) in [
            ("threads Etc.nprocessors, 2 * 8\n", (5, false)),
            ("n = n\nthreads n, n\n", (5, false)),
            ("threads Integer(ENV['MIN'] || 1), Integer(ENV['MAX'] || 12)\n", (12, false)),
            ("threads 1, (ENV[\"MAX\"] || 6).to_i\n", (6, false)),
            ("workers ENV[\"WEB_CONCURRENCY\"] if ENV[\"WEB_CONCURRENCY\"]\n", (5, false)),
            ("workers Etc.nprocessors\nthreads 4\n", (4, true)),
            ("threads 0, 99999\nworkers 9999999\n", (5, false)),
            ("threads\n))((\nthreads )\n", (5, false)),
            // Each name is looked for in all of the file, by as many ways as lead to it: hours.
            (
                format!(
                    "n = ENV['X']\n{}a = {}\nb = {}\nthreads b\n",
                    "#\n".repeat(8000),
                    ["n"; 4000].join(" || "),
                    ["a"; 4000].join(" || ")
                )
                .leak(),
                (5, false),
            ),
            (format!("{}threads 7\n", "#\n".repeat(LARGEST)).leak(), (5, false)),
        ] {
            assert_eq!(puma("puma", &[("config/puma.rb", text)]), Some(expected), "{text}");
        }
    }

    #[test]
    fn rails_with_another_server_is_none_of_it() {
        assert_eq!(puma("bin/rails server", &[("Gemfile.lock", "    unicorn (6.1.0)\n")]), None);
        assert_eq!(puma("bin/rails console", &[]), None);
        assert_eq!(puma("bundle exec unicorn", &[("config/puma.rb", RAILS_5)]), None);
    }
}
