//! Streamlit: a script that its own server runs anew for each visitor.

use super::{Detected, LONG_LIVED, Missing, Reasons, Tree, python};
use crate::config::Bind;

pub(super) fn find(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let imports = |text: &str| text.lines().any(|line| line.starts_with("import streamlit") || line.starts_with("from streamlit"));
    let file = FILES.into_iter().find(|file| tree.text(file).is_some_and(|text| imports(&text)))?;
    let seen = format!("import streamlit in {file}");
    let Some(directory) = python::environment_with(tree, "streamlit") else {
        return Some(Err(python::not_installed(tree, "streamlit", &seen)));
    };
    if asked.is_some_and(|bind| bind != Bind::Port) {
        return Some(Err(Missing(format!("{seen}: Streamlit listens on a port; leave bind out"))));
    }
    let program = format!("{directory}/streamlit");
    let words = [&program, "run", file, "--server.port", "$PORT", "--server.address", "127.0.0.1", "--server.headless", "true"];
    let command = words.map(str::to_owned).to_vec();
    let mut found = Detected::new(command, Bind::Port, format!("{seen}, streamlit in {directory}"), STREAMLIT);
    found.concurrency = LONG_LIVED;
    found.sticky = Some("what a visitor did stands in one process, and uploads have to come to it");
    Some(Ok(found))
}

const FILES: [&str; 7] = ["streamlit_app.py", "app.py", "main.py", "Home.py", "home.py", "dashboard.py", "streamlit_app/app.py"];

const STREAMLIT: Reasons = Reasons {
    command: "headless: it asks no questions and opens no browser",
    stop: "what programs expect; rota sends it when nothing is in hand",
    concurrency: "each open page holds one for as long as it is open",
};
