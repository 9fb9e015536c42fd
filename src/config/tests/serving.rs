//! What a server serves of a configuration with mistakes in it.

use super::*;

fn serving(texts: &[(&str, &str)]) -> Result<Loaded, Report> {
    let files: Vec<SourceFile> = texts.iter().map(|(path, text)| SourceFile { path: path.into(), text: (*text).to_owned() }).collect();
    parse_to_serve(&files)
}

/// Name, routes and mistake of one that is not served.
type Left = (String, Vec<String>, String);

/// Names of those that are served, and names, routes and mistakes of those that are not.
fn told(texts: &[(&str, &str)]) -> (Vec<String>, Vec<Left>) {
    let Config { apps, broken, .. } = serving(texts).unwrap().config;
    let route = |route: &Route| match &route.host {
        HostPattern::Exact(host) => format!("{host}{}", route.path),
        HostPattern::Suffix(suffix) => format!("*{suffix}{}", route.path),
        HostPattern::Any => route.path.clone(),
    };
    let broken = broken.into_iter().map(|app| (app.name, app.routes.iter().map(route).collect(), app.why)).collect();
    (apps.iter().map(|app| app.name.to_string()).collect(), broken)
}

fn broken(name: &str, routes: &[&str], why: &str) -> Left {
    (name.to_owned(), routes.iter().map(|route| (*route).to_owned()).collect(), why.to_owned())
}

#[test]
fn a_mistake_in_one_file_leaves_the_others_and_its_own_routes_are_known() {
    let texts = [
        ("rota.toml", "[app.main]\nroot = \"/\"\n"),
        ("apps.d/a.toml", "root = \"/\"\nhosts = [\"a\", \"*.a\"]\npath = \"/x\"\nprocesess = 2\n"),
        ("apps.d/b.toml", "hosts = \"b\"\nroot = \"/srv\nsurge = 0\n"),
        ("apps.d/c.toml", "= nothing can be read\n"),
        ("apps.d/d e.toml", "root = \"/\"\nhosts = \"d\"\n"),
    ];
    let (apps, left) = told(&texts);
    assert_eq!(apps, ["main"]);
    assert_eq!(left[0], broken("a", &["a/x", "*.a/x"], "apps.d/a.toml:4:1: unknown key \"procesess\""));
    let routes: Vec<_> = left.iter().map(|(name, routes, _)| (name.as_str(), routes[0].as_str())).collect();
    assert_eq!(routes, [("a", "a/x"), ("b", "b/"), ("c", "/"), ("d e", "d/")]);
    assert!(left[1].2.starts_with("apps.d/b.toml:2:"), "{}", left[1].2);
}

#[test]
fn a_table_of_rota_toml_is_an_app_of_its_own() {
    let (apps, left) = told(&[("rota.toml", "[app.a]\nroot = \"/\"\nhosts = \"a\"\n[app.b]\nroot = 5\nhosts = \"b\"\n")]);
    assert_eq!(apps, ["a"]);
    assert_eq!(left, [broken("b", &["b/"], "rota.toml:5:8: root is a text in quotes, not a whole number")]);
}

#[test]
fn a_mistake_of_the_server_is_everybody_s() {
    for text in ["[server]\nlisten = 1\n", "[sever]\n", "[server\n", "[app.a]\nroot = \"/\n"] {
        assert!(serving(&[("rota.toml", text)]).is_err(), "{text}");
    }
}

#[test]
fn of_two_that_contradict_each_other_one_serves() {
    let app = |more: &str| format!("root = \"/\"\n{more}");
    let (one, two) = (app("hosts = \"x\"\n"), app("hosts = \"x\"\n"));
    let (apps, left) = told(&[("rota.toml", ""), ("apps.d/a.toml", &one), ("apps.d/b.toml", &two)]);
    assert_eq!((apps, left[0].0.as_str()), (vec!["a".to_owned()], "b"));
    assert!(left[0].2.ends_with("apps a and b both take x/"), "{}", left[0].2);
    // The one that has a mistake already takes no good one with it.
    let wrong = app("hosts = \"x\"\nsurgee = 1\n");
    assert_eq!(told(&[("rota.toml", ""), ("apps.d/a.toml", &wrong), ("apps.d/b.toml", &two)]).0, ["b"]);
    // As many as there is room for; the one that wants most is the one with the slip of the pen.
    let sizes = [("rota.toml", "[server]\nmax_processes = 4\n"), ("apps.d/a.toml", "root = \"/\"\nhosts = \"a\"\nprocesses = 20\n")];
    let (apps, left) = told(&[sizes[0], sizes[1], ("apps.d/b.toml", "root = \"/\"\nhosts = \"b\"\nprocesses = 2\n")]);
    assert_eq!((apps, left[0].0.as_str()), (vec!["b".to_owned()], "a"));
}

#[test]
fn a_good_configuration_is_the_same_for_a_server_as_for_check() {
    let texts = [("rota.toml", "[app.a]\nroot = \"/\"\n")];
    let files: Vec<SourceFile> = texts.iter().map(|(path, text)| SourceFile { path: path.into(), text: (*text).to_owned() }).collect();
    assert_eq!(parse_to_serve(&files).unwrap(), parse(&files).unwrap());
}

#[test]
fn a_file_that_cannot_be_read_is_one_broken_app() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("apps.d")).unwrap();
    write(dir.path(), "rota.toml", "[app.m]\nroot = \"/\"\n");
    fs::write(dir.path().join("apps.d/a.toml"), b"root = \"\xff\"").unwrap();
    let loaded = load_to_serve(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new())).unwrap();
    assert!(loaded.warnings.has_errors());
    assert_eq!((loaded.config.apps.len(), loaded.config.broken[0].name.as_str()), (1, "a"));
    fs::remove_dir_all(dir.path().join("apps.d")).unwrap();
    write(dir.path(), "apps.d", "no directory");
    assert!(load_to_serve(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new())).is_err());
}

#[test]
fn what_can_be_read_is_read_whatever_else_cannot() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("apps.d")).unwrap();
    fs::write(dir.path().join("apps.d/a.toml"), b"root = \"\xff\"").unwrap();
    write(dir.path(), "apps.d/b.toml", "root = \"/\"\nhosts = \"b\"\n");
    write(dir.path(), "apps.d/c.toml", "root = [\n");
    let look = |main: Option<&str>| {
        if let Some(text) = main {
            write(dir.path(), "rota.toml", text);
        }
        let found = glance(&dir.path().join("rota.toml"), &Gate::to_look());
        let apps: Vec<String> = found.config.apps.iter().map(|app| app.name.to_string()).collect();
        (apps, found.config.broken.len(), found.report.mistakes().len(), found.knows_server)
    };
    let apps = vec!["b".to_owned()];
    assert_eq!(look(None), (apps.clone(), 2, 3, false));
    assert_eq!(look(Some("[server]\n")), (apps.clone(), 2, 2, true));
    assert_eq!(look(Some("[server]\nlisten = 1\n")), (apps, 2, 3, false));
}

#[test]
fn a_file_of_apps_d_that_is_not_read_is_named_if_it_seems_to_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("apps.d/more")).unwrap();
    write(dir.path(), "rota.toml", "");
    let names = [
        "blog.toml",
        "a.tml",
        "b.conf",
        "c",
        "d.TOML",
        "e.toml.txt",
        "f.toml~",
        "g.toml.bak",
        "h.toml.off",
        ".i.tml",
        "README",
        "README.md",
    ];
    for name in names {
        write(dir.path(), &format!("apps.d/{name}"), "root = \"/\"\n");
    }
    let loaded = load(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new())).unwrap();
    assert_eq!(loaded.config.apps.len(), 1);
    let named = |mistake: &Mistake| mistake.place.file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut said: Vec<String> = loaded.warnings.mistakes().iter().map(named).collect();
    said.sort();
    assert_eq!(said, ["a.tml", "b.conf", "c", "d.TOML"]);
    assert_eq!(loaded.warnings.mistakes()[0].message, "this is not read: the files of apps.d end in .toml");
}

#[test]
fn the_control_socket_is_found_beside_any_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rota.toml");
    let found = |text: &str| {
        fs::write(&path, text).unwrap();
        control(&path, &Gate::to_look()).map(|(path, trouble)| (path.display().to_string(), trouble.is_some())).ok()
    };
    let named = "[server]\ncontrol = \"/x/y.sock\"\n";
    assert_eq!(found(named), Some(("/x/y.sock".to_owned(), false)));
    assert_eq!(found(&format!("{named}lisen = 4\n[app.b]\nroot = \"\n")), Some(("/x/y.sock".to_owned(), false)));
    assert_eq!(found("[app.b]\nroot = 7\n"), Some(("/run/rota/control.sock".to_owned(), false)));
    assert_eq!(found("[app.b]\nroot = \"\n"), Some(("/run/rota/control.sock".to_owned(), true)));
    assert_eq!(found("[server]\ncontrol = 7\n"), None);
}
