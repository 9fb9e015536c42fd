//! Names that are the app's to answer although its public directory has a file of that name: what a server would execute, and what editors,
//! dumps, backups and version control leave behind. Sent as a file it shows a source or a password; the app refuses it, or knows what it is.
//!
//! One table, each kind with its reason. In doubt a name is in it: what is missed here is read by strangers, what is here in vain is a file
//! that the app can still send itself.

/// Why no file of this name is sent; None: it may be. `name` is decoded, its segments divided by `/`; each of them is looked at, as servers
/// take `index.php/x` for `index.php`. The case of letters makes no difference, nor do blanks and dots at the end of a segment.
pub fn withheld(name: &[u8]) -> Option<&'static str> {
    name.split(|byte| *byte == b'/').find_map(of_segment)
}

/// Names with one reason.
struct Kind {
    why: &'static str,
    at: At,
    /// Lower case. A number behind a word is of no account, as in `php7`.
    words: &'static [&'static str],
}

/// Where a word makes a name one of its kind. The *ends* of a name are its parts behind the first dot, each up to its first sign that is no
/// letter or digit: `config.php_2.bak` has the ends `php` and `bak`.
#[derive(PartialEq, Eq)]
enum At {
    /// It is any of the ends.
    AnyEnd,
    /// It is the last end, but for [`WRAPPED`] and numbers behind it: `rb` of `app.rb.gz`. For words that stand inside of other names too:
    /// `messages.pl.js` is Polish.
    LastEnd,
    /// The part that has the last end ends in it: `old` of `settings.py.old` and of `app.yml_old`.
    Tail,
    /// It is the whole name.
    Whole,
}

fn of_segment(segment: &[u8]) -> Option<&'static str> {
    let end = segment.iter().rposition(|byte| !matches!(byte, b'.' | b' '))?;
    let bare = &segment[..=end];
    if bare.ends_with(b"~") || (bare.len() > 1 && bare.starts_with(b"#") && bare.ends_with(b"#")) {
        return Some(LEFT);
    }
    if let Some(why) = reason(At::Whole, bare) {
        return Some(why);
    }
    let dot = bare.iter().position(|byte| *byte == b'.')?;
    let parts = || bare[dot + 1..].split(|byte| *byte == b'.');
    let wraps = |part: &&[u8]| is_any(WRAPPED, part) || part.iter().all(u8::is_ascii_digit);
    let by_last = |last: &[u8]| reason(At::LastEnd, head(last)).or_else(|| reason(At::Tail, tail(last)));
    let any = || parts().find_map(|part| reason(At::AnyEnd, head(part)));
    let backup = || is_archive_of_backup(bare, parts().next_back()?).then_some(DUMPED);
    any().or_else(|| parts().rfind(|part| !wraps(part)).and_then(by_last)).or_else(backup)
}

fn reason(at: At, word: &[u8]) -> Option<&'static str> {
    let digits = word.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let plain = &word[..word.len() - digits];
    let has = |kind: &&Kind| kind.at == at && (is_any(kind.words, word) || (digits > 0 && is_any(kind.words, plain)));
    TABLE.iter().find(has).map(|kind| kind.why)
}

fn is_any(words: &[&str], word: &[u8]) -> bool {
    words.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}

/// `php` of `php~2`, `db` of `db-wal`.
fn head(part: &[u8]) -> &[u8] {
    &part[..part.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(part.len())]
}

/// `old` of `yml_old`.
fn tail(part: &[u8]) -> &[u8] {
    &part[part.iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1)..]
}

/// `backup-2026.tar.gz`, `site_dump.zip`: few downloads are called so, and it is what strangers try first.
fn is_archive_of_backup(bare: &[u8], end: &[u8]) -> bool {
    is_any(ARCHIVES, end) && bare.split(|byte| !byte.is_ascii_alphabetic()).any(|word| is_any(BACKUPS, word))
}

const EXECUTED: &str = "a server executes it; as a file it shows its source";
const SETTINGS: &str = "it has settings, and often a password";
const KEY: &str = "it is a key or a store of keys";
const DUMPED: &str = "it is a database or the dump of one";
const LEFT: &str = "an editor or a backup left it behind: an older state of a file that may not be sent as it is";
const LOGGED: &str = "it is a log, or what a process left";
const MANAGED: &str = "version control, a package manager or a build tool has it here for itself";

const TABLE: &[Kind] = &[
    Kind {
        why: EXECUTED,
        at: At::AnyEnd,
        words: &[
            "php", "phps", "phpt", "pht", "phtm", "phtml", "phar", "cgi", "fcgi", "asp", "aspx", "asa", "asax", "ascx", "ashx", "asmx",
            "axd", "cshtml", "vbhtml", "jsp", "jspx", "jspf", "jspa", "jsw", "jsv", "jhtml", "cfm", "cfml", "cfc", "erb", "rhtml", "psgi",
            "wsgi",
        ],
    },
    Kind {
        why: EXECUTED,
        at: At::LastEnd,
        words: &[
            "inc", "pl", "pm", "plx", "py", "pyc", "pyo", "pyw", "pyx", "rb", "rbw", "ru", "rake", "lua", "tcl", "sh", "bash", "zsh",
            "ksh", "csh", "bat", "cmd", "ps1", "psm1", "vbs", "shtml", "shtm", "stm", "ex", "exs", "eex", "heex", "leex", "war", "ear",
        ],
    },
    Kind {
        why: SETTINGS,
        at: At::LastEnd,
        words: &["ini", "conf", "cnf", "cfg", "config", "env", "htaccess", "htpasswd", "tfvars", "tfstate"],
    },
    Kind {
        why: SETTINGS,
        at: At::Whole,
        words: &[
            "htaccess",
            "htpasswd",
            "env",
            "database.yml",
            "secrets.yml",
            "credentials.yml",
            "docker-compose.yml",
            "docker-compose.yaml",
            "compose.yml",
            "compose.yaml",
            "web-inf",
            "meta-inf",
        ],
    },
    Kind {
        why: KEY,
        at: At::LastEnd,
        words: &["key", "pem", "p8", "p12", "pfx", "pkcs12", "jks", "keystore", "ppk", "kdb", "kdbx", "ovpn", "enc"],
    },
    Kind { why: KEY, at: At::Whole, words: &["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"] },
    Kind { why: DUMPED, at: At::AnyEnd, words: &["sql", "mysql", "pgsql", "psql", "sqlite", "sqlitedb"] },
    Kind {
        why: DUMPED,
        at: At::LastEnd,
        words: &[
            "db", "db3", "s3db", "sl3", "sdb", "mdb", "accdb", "dbf", "dump", "dmp", "pgdump", "bson", "rdb", "aof", "ldif", "frm", "ibd",
            "myd", "myi",
        ],
    },
    Kind {
        why: LEFT,
        at: At::Tail,
        words: &[
            "bak",
            "backup",
            "bkp",
            "bk",
            "bck",
            "old",
            "orig",
            "original",
            "save",
            "sav",
            "saved",
            "swp",
            "swo",
            "swn",
            "swm",
            "swl",
            "tmp",
            "temp",
            "copy",
            "prev",
            "previous",
            "rej",
            "mine",
            "new",
            "deleted",
            "removed",
            "disabled",
            "autosave",
            "asv",
            "rpmsave",
            "rpmnew",
            "rpmorig",
            "part",
            "crdownload",
            "un",
        ],
    },
    Kind { why: LOGGED, at: At::LastEnd, words: &["log", "pid", "core"] },
    Kind { why: LOGGED, at: At::Whole, words: &["error_log", "access_log", "nohup.out", "core"] },
    Kind { why: MANAGED, at: At::LastEnd, words: &["lock", "lockb", "gemspec"] },
    Kind {
        why: MANAGED,
        at: At::Whole,
        words: &[
            "cvs",
            "rcs",
            "sccs",
            "_darcs",
            "_mtn",
            "composer.json",
            "package.json",
            "package-lock.json",
            "npm-shrinkwrap.json",
            "pnpm-lock.yaml",
            "bower.json",
            "gemfile",
            "rakefile",
            "capfile",
            "guardfile",
            "procfile",
            "makefile",
            "dockerfile",
            "vagrantfile",
            "jenkinsfile",
            "pipfile",
            "requirements.txt",
            "pyproject.toml",
            "cargo.toml",
            "go.mod",
            "go.sum",
            "gruntfile.js",
            "gulpfile.js",
            "webpack.config.js",
            "vite.config.js",
            "tsconfig.json",
        ],
    },
];

/// What is put behind a name without making another thing of it.
const WRAPPED: &[&str] = &[
    "gz", "bz2", "xz", "zst", "zstd", "br", "lz", "lz4", "lzma", "z", "7z", "zip", "rar", "tar", "tgz", "txt", "gpg", "asc", "dist",
    "sample", "example", "default", "local",
];
const ARCHIVES: &[&str] = &["gz", "bz2", "xz", "zst", "7z", "zip", "rar", "tar", "tgz", "tbz", "tbz2", "txz", "tzst"];
const BACKUPS: &[&str] = &["backup", "backups", "bak", "dump", "dumps", "dbdump", "mysqldump", "pgdump"];

#[cfg(test)]
mod tests {
    use super::super::types;
    use super::*;

    /// Names that have the word where its kind looks for it.
    fn names(kind: &Kind, word: &str) -> Vec<String> {
        match kind.at {
            At::AnyEnd => vec![format!("a.{word}"), format!("a.x.{word}.gz"), format!("a.{word}.other"), format!("a.{word}_2.js")],
            At::LastEnd => ["", ".gz", ".zst", ".1", "-wal", ".txt"].iter().map(|end| format!("a.{word}{end}")).collect(),
            At::Tail => [".", ".html.", ".yml_", ".yml-"].iter().map(|before| format!("a{before}{word}")).collect(),
            At::Whole => vec![word.to_owned()],
        }
    }

    #[test]
    fn each_entry_of_the_table_withholds_its_names_however_they_are_written() {
        for kind in TABLE {
            for word in kind.words {
                assert_eq!(word.to_lowercase(), **word);
                for name in names(kind, word) {
                    for written in [name.clone(), name.to_uppercase(), format!("{name}."), format!("{name} "), format!("{name}. . ")] {
                        for path in [written.clone(), format!("{written}/index.html"), format!("sub/{written}"), format!("a.b/{written}/x")]
                        {
                            assert!(withheld(path.as_bytes()).is_some(), "{path}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_people_leave_behind_has_many_shapes() {
        for name in [
            "index.php~",
            "index.php.~1~",
            "#index.php#",
            "index.php;x",
            "index.php::$DATA",
            "INDEX.PhP7",
            "config.php.bak",
            "config.php.save.1",
            "config.inc.php",
            "config.php (1)",
            "Copy of config.php",
            "config.php_2026",
            "config.php.txt",
            "page.aspx.cs",
            "index.html.erb",
            "index.html~",
            "style.css.orig",
            "style.css.rej",
            "app.yml_old",
            "notes.old2",
            "dump.sql.gz",
            "dump.sql.zst",
            "dump.sql.2026-01-01.gz",
            "dump.sql.part1",
            "x.sqlite3",
            "x.sqlite3-wal",
            "x.db-journal",
            "Thumbs.db",
            "backup.tar.gz",
            "site-backup-2026.zip",
            "mysqldump.tgz",
            "prod.env",
            "prod.env.local",
            "app.ini.dist",
            "master.key",
            "credentials.yml.enc",
            "error.log.1",
            "yarn.lock",
            "CVS/Entries",
        ] {
            assert!(withheld(name.as_bytes()).is_some(), "{name}");
        }
    }

    #[test]
    fn what_a_site_is_made_of_is_sent() {
        for name in [
            "index.html",
            "robots.txt",
            "assets/app-1a2b3c4d.css",
            "app.min.js",
            "app.js.map",
            "app.css.gz",
            "app.js.br",
            "jquery-3.6.0.min.js",
            "messages.pl.js",
            "ru.json",
            "strings.ru.json",
            "page.html.1",
            "v1.2/app.css",
            "sql-wasm.wasm",
            "sql.js",
            "php.svg",
            "old.css",
            "backup.html",
            "backup/index.html",
            "new/app.css",
            "core.js",
            "key.svg",
            "config.js",
            "config.json",
            "admin/config.yml",
            "openapi.yaml",
            "manifest.json",
            ".well-known/stellar.toml",
            ".well-known/security.txt",
            "user.config.js",
            "site.webmanifest",
            "video.mp4",
            "font.woff2",
            "archive.zip",
            "release-1.2.tar.gz",
            "a#b.txt",
            "a~b.txt",
            "#",
            "...",
            "",
            "users",
            "apple-touch-icon.png",
            "old-browsers.js",
            "photo.old-town.jpg",
            "sw.js",
            "flash.swf",
            "log.html",
            "lock.svg",
        ] {
            assert_eq!(withheld(name.as_bytes()), None, "{name}");
        }
        for end in types::ends() {
            assert_eq!(withheld(format!("a.{end}").as_bytes()), None, "{end}");
        }
    }
}
