//! Python: Django by its manage.py, others by the file that makes the app. The server is the one that is installed in the app's own
//! environment.

use super::servers::{DAPHNE, GUNICORN, HYPERCORN, Server, UVICORN, WAITRESS};
use super::{Detected, Missing, Tree};
use crate::config::Bind;

/// How an app is called by its server (PEP 3333; the ASGI specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    Wsgi,
    Asgi,
}

pub(super) fn django(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let manage = tree.text("manage.py")?;
    let settings = manage.split("DJANGO_SETTINGS_MODULE").nth(1)?;
    let module = settings.split(['"', '\'']).nth(2).unwrap_or_default();
    let package = module.split('.').next().unwrap_or_default();
    let named = [package.to_owned()].into_iter().filter(|package| !package.is_empty());
    let packages: Vec<String> = named.chain(tree.directories()).collect();
    let with = |file: &str| packages.iter().find(|package| tree.text(&format!("{package}/{file}")).is_some());
    let (wsgi, asgi) = (with("wsgi.py"), with("asgi.py"));
    // startproject makes both files: who installed a server for ASGI means that one.
    let found = match (asgi.filter(|_| wsgi.is_none() || installed(tree, Interface::Asgi).is_some()), wsgi) {
        (Some(package), _) => (package, Interface::Asgi),
        (None, Some(package)) => (package, Interface::Wsgi),
        (None, None) => {
            return Some(Err(Missing("$ROOT/manage.py is Django's, and no wsgi.py or asgi.py stands in a directory beside it".to_owned())));
        }
    };
    let (package, interface) = found;
    let file = match interface {
        Interface::Wsgi => "wsgi",
        Interface::Asgi => "asgi",
    };
    Some(start(tree, &format!("{package}.{file}:application"), interface, asked, &format!("manage.py, {package}/{file}.py")))
}

/// An app that a file makes.
pub(super) fn find(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let is_package = |name: &String| name == "app" || tree.text(&format!("{name}/__init__.py")).is_some();
    let inner = tree.directories().into_iter().filter(is_package).flat_map(|package| {
        let of = |file: &&str| format!("{package}/{file}");
        ["main.py", "app.py", "wsgi.py", "asgi.py", "__init__.py"].iter().map(of).collect::<Vec<_>>()
    });
    let files = FILES.iter().map(|file| (*file).to_owned()).chain(inner);
    files.into_iter().find_map(|file| {
        let (name, interface, what) = app_in(&tree.text(&file)?, &file)?;
        let module = file.trim_end_matches(".py").trim_end_matches("/__init__").replace('/', ".");
        Some(start(tree, &format!("{module}:{name}"), interface, asked, &format!("{what} in {file}")))
    })
}

/// What a server is told to serve of a module, how, and by what that was seen.
fn app_in(text: &str, file: &str) -> Option<(String, Interface, String)> {
    let top = Top::of(text);
    if let Some(((class, interface), name)) = CLASSES.iter().zip(top.of_class).find_map(|(class, name)| Some((class, name?))) {
        return Some((name.to_owned(), *interface, format!("{name} = {class}()")));
    }
    let [application, app] = top.named;
    if let Some((name, interface)) = application.callable.or(app.callable).or(top.callable) {
        return Some((name.to_owned(), interface, format!("def {name}")));
    }
    let by_name = match file {
        "wsgi.py" | "passenger_wsgi.py" => Some(Interface::Wsgi),
        "asgi.py" => Some(Interface::Asgi),
        _ => None,
    };
    if let Some(interface) = by_name
        && let Some((name, _)) = NAMES.into_iter().zip([application, app]).find(|(_, named)| named.is_bound)
    {
        return Some((name.to_owned(), interface, name.to_owned()));
    }
    let factory = FACTORIES.into_iter().zip(top.has_factory).find(|(_, is_there)| *is_there)?.0;
    text.contains("Flask(").then(|| (format!("{factory}()"), Interface::Wsgi, format!("def {factory}")))
}

/// What is made at the top of a module, each thing by the first line that makes it. One pass: a file may be made to cost much.
#[derive(Clone, Copy, Debug, Default)]
struct Top<'t> {
    of_class: [Option<&'t str>; CLASSES.len()],
    /// Of NAMES.
    named: [Named<'t>; NAMES.len()],
    /// Whatever its name.
    callable: Option<(&'t str, Interface)>,
    has_factory: [bool; FACTORIES.len()],
}

/// What a name of NAMES is.
#[derive(Clone, Copy, Debug, Default)]
struct Named<'t> {
    callable: Option<(&'t str, Interface)>,
    is_bound: bool,
}

impl<'t> Top<'t> {
    fn of(text: &'t str) -> Self {
        let mut top = Self::default();
        // What is further in, empty or a comment makes nothing here.
        let is_word = |line: &&str| line.starts_with(|c: char| c.is_alphabetic() || c == '_');
        text.lines().filter(is_word).for_each(|line| top.see(line));
        top
    }

    fn see(&mut self, line: &'t str) {
        if let Some((name, class)) = made_by(line)
            && let Some(at) = CLASSES.iter().position(|(known, _)| *known == class)
        {
            self.of_class[at].get_or_insert(name);
        }
        let callable = callable(line);
        self.callable = self.callable.or(callable);
        for (name, named) in NAMES.into_iter().zip(&mut self.named) {
            named.callable = named.callable.or(callable.filter(|(known, _)| *known == name));
            named.is_bound = named.is_bound || binds(line, name);
        }
        for (name, is_there) in FACTORIES.into_iter().zip(&mut self.has_factory) {
            *is_there = *is_there || defines(line, name);
        }
    }
}

/// The name that a line at the top of a module gives to a new object, and the class: `app = flask.Flask(__name__)`.
fn made_by(line: &str) -> Option<(&str, &str)> {
    let (left, mut right) = line.split_once('=')?;
    let name = left.split(':').next()?.trim_end();
    // app = application = Flask(...)
    while let Some((next, rest)) = right.split_once('=').filter(|(next, _)| is_name(next.trim())) {
        debug_assert!(next.len() < right.len());
        right = rest;
    }
    let callee = right.split_once('(')?.0.trim();
    is_name(name).then_some((name, callee.rsplit('.').next()?))
}

/// A function that is an app by what it takes: `def application(environ, start_response)`, `async def app(scope, receive, send)`.
fn callable(line: &str) -> Option<(&str, Interface)> {
    let (start, interface, wanted) = match line.strip_prefix("async def ") {
        Some(rest) => (rest, Interface::Asgi, &["scope", "receive", "send"][..]),
        None => (line.strip_prefix("def ")?, Interface::Wsgi, &["environ", "start_response"][..]),
    };
    let (name, rest) = start.split_once('(')?;
    let taken = rest.split_once(')').map_or(rest, |(taken, _)| taken).split(',').map(|one| one.split(':').next().unwrap_or_default());
    let mut taken = taken.map(str::trim).filter(|name| !name.is_empty());
    let is_same = |other: &&str| taken.next().is_some_and(|one| one == *other || (*other == "environ" && ENVIRON.contains(&one)));
    (wanted.iter().all(is_same) && taken.next().is_none()).then(|| (name.trim(), interface))
}

/// A line at the top of a module gives this name to something: by assignment, import or definition.
fn binds(line: &str, name: &str) -> bool {
    let assigned = line.split_once('=').is_some_and(|(left, _)| left.split(':').next().unwrap_or_default().trim_end() == name);
    let imported = line.starts_with("from ")
        && line.split_once(" import ").is_some_and(|(_, names)| {
            names.split(',').any(|part| part.trim().trim_matches(['(', ')']).rsplit(" as ").next().is_some_and(|last| last.trim() == name))
        });
    assigned || imported || defines(line.strip_prefix("async ").unwrap_or(line), name)
}

/// `def NAME(`
fn defines(line: &str, name: &str) -> bool {
    line.strip_prefix("def ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn start(tree: &dyn Tree, app: &str, interface: Interface, asked: Option<Bind>, seen: &str) -> Result<Detected, Missing> {
    let found = installed(tree, interface).filter(|(server, _)| !app.ends_with(')') || server.program == GUNICORN.program);
    match found {
        Some((server, directory)) => {
            let program = format!("{directory}/{}", server.program);
            server.start(&[&program], &[app], asked, format!("{seen}, {} in {directory}", server.program))
        }
        None => {
            let server = match interface {
                Interface::Wsgi => &GUNICORN,
                Interface::Asgi => &UVICORN,
            };
            Err(not_installed(tree, server.program, seen))
        }
    }
}

/// The server for an interface that the app has in its environment, and the directory.
fn installed(tree: &dyn Tree, interface: Interface) -> Option<(&'static Server, &'static str)> {
    let servers: &[&Server] = match interface {
        Interface::Wsgi => &[&GUNICORN, &WAITRESS],
        Interface::Asgi => &[&UVICORN, &HYPERCORN, &DAPHNE],
    };
    servers.iter().find_map(|server| Some((*server, environment_with(tree, server.program)?)))
}

/// The app's own environment that has a program.
pub(super) fn environment_with(tree: &dyn Tree, program: &str) -> Option<&'static str> {
    ENVIRONMENTS.into_iter().find(|directory| tree.is_program(&format!("{directory}/{program}")))
}

/// What installs a server for an app, which was seen by `seen`.
pub(super) fn not_installed(tree: &dyn Tree, server: &str, seen: &str) -> Missing {
    let environment = environment_with(tree, "python");
    let requirements = if tree.text("requirements.txt").is_some() { "-r $ROOT/requirements.txt " } else { "" };
    let (what, install) = match environment {
        _ if tree.text("uv.lock").is_some() => (format!("{server} is not installed"), format!("uv --directory $ROOT add {server}")),
        Some(directory) if tree.is_program(&format!("{directory}/pip")) => {
            (format!("{server} is not installed in {directory}"), format!("$ROOT/{directory}/pip install {server}"))
        }
        Some(directory) => {
            let python = format!("$ROOT/{directory}/python");
            (format!("{server} is not installed in {directory}"), format!("uv pip install --python {python} {server}"))
        }
        None => {
            let install = format!("python3 -m venv $ROOT/.venv && $ROOT/.venv/bin/pip install {requirements}{server}");
            ("there is no .venv with its packages".to_owned(), install)
        }
    };
    Missing(format!("{seen}: {what}; run: {install}"))
}

/// A file that names a package, in whatever way: `flask-socketio==5`, `"Flask_SocketIO>=5"`. Of lock files and comments nothing is read.
pub(super) fn names(text: &str, package: &str) -> bool {
    let alike = |c: char| if c == '_' { '-' } else { c.to_ascii_lowercase() };
    text.lines().any(|line| {
        let line: String = line.split('#').next().unwrap_or_default().chars().map(alike).collect();
        line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.')).any(|word| word == package)
    })
}

/// A file of FILES that is there: for an app that was not found.
pub(super) fn unfit_file(tree: &dyn Tree) -> Option<&'static str> {
    FILES.into_iter().find(|file| tree.text(file).is_some())
}

/// The file that names a framework, and the framework: for an app that was not found.
pub(super) fn named_framework(tree: &dyn Tree) -> Option<(&'static str, &'static str)> {
    ["requirements.txt", "pyproject.toml"].into_iter().find_map(|file| {
        let text = tree.text(file)?.to_lowercase();
        let framework = ["django", "flask", "fastapi", "starlette", "quart"].into_iter().find(|name| text.contains(name))?;
        Some((file, framework))
    })
}

const CLASSES: [(&str, Interface); 4] =
    [("Flask", Interface::Wsgi), ("FastAPI", Interface::Asgi), ("Starlette", Interface::Asgi), ("Quart", Interface::Asgi)];

/// What an app is called, the first before the second.
const NAMES: [&str; 2] = ["application", "app"];

/// What makes an app.
const FACTORIES: [&str; 2] = ["create_app", "make_app"];

/// Other names of what a WSGI app takes first.
const ENVIRON: [&str; 2] = ["env", "environment"];

/// The order is that in which people mean them: a file that is named after the interface is for the server.
const FILES: [&str; 7] = ["wsgi.py", "asgi.py", "app.py", "main.py", "application.py", "server.py", "passenger_wsgi.py"];

/// As an error names them.
pub(super) const PLACES: &str = "app = Flask(...), FastAPI(...) or Starlette(...), def application(environ, start_response) or async def \
    app(scope, receive, send), at the beginning of a line in wsgi.py, asgi.py, app.py, main.py or a package";

/// Where an app names its packages.
pub(super) const NAMING: [&str; 3] = ["requirements.txt", "pyproject.toml", "Pipfile"];

const ENVIRONMENTS: [&str; 2] = [".venv/bin", "venv/bin"];
