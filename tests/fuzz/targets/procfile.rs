//! A Procfile, beside programs that its lines may name: what must hold for any tree.

pub fn check(bytes: &[u8]) {
    let beside = ["*.venv/bin/gunicorn", "*node_modules/.bin/next", "*bin/server", "Gemfile.lock", "config/puma.rb", "gunicorn.conf.py"];
    let mut files: std::collections::BTreeMap<_, _> = beside.iter().map(|path| ((*path).to_owned(), Some(String::new()))).collect();
    files.insert("Procfile".to_owned(), String::from_utf8(bytes.to_vec()).ok());
    super::tree::looked_at(files);
}
