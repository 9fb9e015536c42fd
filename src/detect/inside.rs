//! Nothing outside of the tree is looked at, whatever its files say of others: a module, a program, a page, a configuration.

use super::Tree;

/// The tree, for those that read names in it.
pub(super) struct Inside<'t>(pub &'t dyn Tree);

impl Tree for Inside<'_> {
    fn text(&self, path: &str) -> Option<String> {
        if is_inside(path) { self.0.text(path) } else { None }
    }

    fn is_program(&self, path: &str) -> bool {
        is_inside(path) && self.0.is_program(path)
    }

    fn exists(&self, path: &str) -> bool {
        is_inside(path) && self.0.exists(path)
    }

    fn directories(&self) -> Vec<String> {
        self.0.directories()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name)
    }
}

/// By its words alone: where links lead is the kernel's to judge.
fn is_inside(path: &str) -> bool {
    let mut depth = 0_usize;
    let stays = path.split('/').all(|part| match part {
        "" | "." => true,
        ".." => depth.checked_sub(1).map(|above| depth = above).is_some(),
        _ => {
            depth += 1;
            true
        }
    });
    stays && !path.starts_with('/') && !path.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::super::tests::Files;
    use super::super::{Missing, detect};
    use super::*;

    #[test]
    fn a_path_that_leads_out_by_its_words_is_outside() {
        for inside in ["app.py", "a/b", "./a", "a/../b", "a//b", "a/..", "...", ".next/x", ""] {
            assert!(is_inside(inside), "{inside}");
        }
        for outside in ["/etc/passwd", "..", "../x", "a/../../b", "./../x", "a\0b"] {
            assert!(!is_inside(outside), "{outside:?}");
        }
    }

    #[test]
    fn what_is_found_is_told_without_controls_and_not_at_length() {
        let look = |files: &[(&'static str, &'static str)]| detect(&Files(files.iter().copied().collect()), None);
        let found = look(&[("x\u{1b}[2J/app.py", "app = Flask()\n"), ("x\u{1b}[2J/__init__.py", ""), ("*.venv/bin/gunicorn", "")]).unwrap();
        assert_eq!(found.why, "app = Flask() in x\\u{1b}[2J/app.py, gunicorn in .venv/bin");
        let found = look(&[("Procfile", "web: node x.js\nrelease: \u{7}\u{202e}x\n")]).unwrap();
        assert!(found.warnings[0].ends_with("&& \\u{7}\\u{202e}x"), "{found:?}");
        let long: &str = format!("{{\"scripts\": {{\"build\": \"x\", \"start\": \"node {}\"}}}}", "y".repeat(60_000)).leak();
        let Missing(text) = look(&[("package.json", long)]).unwrap_err();
        assert!(text.len() < 2100 && text.ends_with(" bytes more)"), "{} bytes", text.len());
        let long: &str = format!("web: node {}\n", "y ".repeat(100_000)).leak();
        let Missing(text) = look(&[("Procfile", long)]).unwrap_err();
        assert_eq!(text, "the web line of $ROOT/Procfile is longer than 65536 bytes");
        let long: &str =
            format!("{{\"scripts\": {{\"start\": \"next start {}\"}}, \"dependencies\": {{\"next\": \"1\"}}}}", "-p 1 ".repeat(100_000))
                .leak();
        let found = look(&[("package.json", long), (".next/BUILD_ID", ""), ("*node_modules/.bin/next", "")]).unwrap();
        assert_eq!(found.command.join(" "), "node_modules/.bin/next start -p $PORT -H 127.0.0.1");
        let Missing(text) = look(&[("Procfile", "web: node a\0b\n")]).unwrap_err();
        assert_eq!(text, "what the web line of the Procfile says is no command: there is a NUL character in it");
    }

    #[test]
    fn nothing_is_read_where_a_file_leads_out() {
        let manage = ("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', '../x')\n");
        let server = ("*.venv/bin/gunicorn", "");
        let look = |files: &[(&'static str, &'static str)]| detect(&Files(files.iter().copied().collect()), None);
        // With the same name inside it would be one.
        assert!(look(&[manage, server, ("/x/wsgi.py", "")]).is_err());
        assert!(look(&[("Cargo.toml", "[package]\nname = \"../../x\"\n"), ("*bin/../../x", "")]).is_err());
    }
}
