//! A package.json, beside what builds and installations make: what must hold for any tree.

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8(bytes.to_vec()).ok();
    for beside in [&[][..], &["server.js", "yarn.lock"], &BUILT] {
        let mut files: std::collections::BTreeMap<_, _> = beside.iter().map(|path| ((*path).to_owned(), Some(String::new()))).collect();
        files.insert("package.json".to_owned(), text.clone());
        super::tree::looked_at(files);
    }
}

const BUILT: [&str; 8] = [
    "node_modules/x",
    "*node_modules/.bin/next",
    "dist/main.js",
    ".next/BUILD_ID",
    ".output/server/index.mjs",
    "build/index.js",
    "dist/server/entry.mjs",
    "build/server/index.js",
];
