//! What the documentation tells somebody to type is typed: each block of shell in it that says nothing else, on a server with an app `blog`;
//! each configuration of nginx and HAProxy is one. Those that stand in front of an app serve in [`crate::proxies`].

#[path = "../documents/blocks.rs"]
mod blocks;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::ports;
use crate::site::Site;

/// Where the documents have things, and where the site has them.
fn here(text: &str, site: &Site) -> String {
    let at = site.path("").display().to_string();
    let at = at.trim_end_matches('/');
    text.replace("/etc/rota", at).replace("/srv/blog", at)
}

/// Commands of those who build rota: CI runs them, not a machine that serves.
fn is_for_builders(script: &str) -> bool {
    let commands = |line: &str| ["cargo ", "tests/", "bench/", "ROTA_", "#"].iter().any(|first| line.starts_with(first)) || line.is_empty();
    script.lines().all(commands)
}

fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A server as the documents think of it: its app is `blog`, release 41 serves and 42 is there, and `rota` knows its configuration.
fn site() -> Site {
    let site = Site::prepare("processes = 2\nprobation = \"1ms\"\nbind = \"unix\"");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap().replace("[app.app", "[app.blog");
    fs::write(site.path("rota.toml"), config).unwrap();
    for version in ["41", "42"] {
        site.release(version, "");
        let release = site.path("releases").join(version);
        fs::create_dir(release.join("bin")).unwrap();
        // What `rota init` finds, and what a pause is for.
        program(&release.join("bin/server"), "exit 1");
        program(&release.join("migrate"), "exit 0");
    }
    site.flip("41");
    fs::create_dir(site.path("bin")).unwrap();
    let (rota, config) = (env!("CARGO_BIN_EXE_rota"), site.path("rota.toml"));
    let script = format!("case \" $* \" in *' --config '*) exec {rota} \"$@\" ;; esac\nexec {rota} --config {} \"$@\"", config.display());
    program(&site.path("bin/rota"), &script);
    site.serve()
}

#[test]
fn every_command_of_the_documents_does_what_it_is_there_for() {
    let site = site();
    let path = format!("{}:{}", site.path("bin").display(), std::env::var("PATH").unwrap());
    let run: Vec<_> = blocks::of("sh").into_iter().filter(|block| block.not_run.is_none() && !is_for_builders(&block.text)).collect();
    assert!(run.len() >= 5, "{run:#?}");
    for block in run {
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", &here(&block.text, &site)]).env("PATH", &path).current_dir(site.path("")).stdin(Stdio::null());
        let output = shell.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {}\n{}\n{said}", block.place, output.status, block.text);
        // What would be said of a release that is not in, without an exit status that says so.
        assert!(!said.contains("is not in: exit status"), "{}:\n{said}", block.place);
    }
}

/// The configuration in this language that has `word` in it.
pub fn configuration(language: &str, word: &str) -> String {
    let mut found: Vec<String> = blocks::of(language).into_iter().map(|block| block.text).filter(|text| text.contains(word)).collect();
    assert_eq!(found.len(), 1, "{language} with {word}");
    found.remove(0)
}

#[test]
fn every_configuration_of_nginx_and_haproxy_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let (key, certificate) = (dir.path().join("privkey.pem"), dir.path().join("fullchain.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=example.org",
        "-keyout",
    ]);
    assert!(openssl.arg(&key).arg("-out").arg(&certificate).output().unwrap().status.success(), "openssl");
    let checked = |program: &str, arguments: &[&str], text: &str, place: &str| {
        let file = dir.path().join("config");
        fs::write(&file, text).unwrap();
        let output = Command::new(program).args(arguments).arg(&file).output().unwrap();
        assert!(output.status.success(), "{place}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    };
    for block in blocks::of("nginx") {
        let listen = |port: &str| {
            format!("listen {};", if port == "443 ssl" { format!("{} ssl", ports::free()) } else { ports::free().to_string() })
        };
        let text = block.text.replace("/etc/letsencrypt/live/example.org", &at.to_string());
        let text = text.replace("listen 443 ssl;", &listen("443 ssl")).replace("listen 80;", &listen("80"));
        let text = format!("pid {at}/pid; error_log {at}/log;\nevents {{}}\nhttp {{ access_log off;\n{text}}}\n");
        checked("/usr/sbin/nginx", &["-t", "-q", "-e", &format!("{at}/log"), "-c"], &text, &block.place);
    }
    for block in blocks::of("haproxy") {
        let defaults = "defaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\n";
        checked("/usr/sbin/haproxy", &["-c", "-f"], &format!("{defaults}{}", block.text), &block.place);
    }
}
