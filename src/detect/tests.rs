//! Each kind of app by what is in its root: name and text of the files, and the programs.

use std::collections::BTreeMap;

use super::*;

/// A file with a text; `*` before the path: it can be executed.
struct Files(BTreeMap<&'static str, &'static str>);

impl Tree for Files {
    fn text(&self, path: &str) -> Option<String> {
        self.0.get(path).map(|text| (*text).to_owned())
    }

    fn is_program(&self, path: &str) -> bool {
        self.0.contains_key(format!("*{path}").as_str())
    }

    fn directories(&self) -> Vec<String> {
        let names = self.0.keys().filter_map(|path| path.trim_start_matches('*').split_once('/'));
        let mut names: Vec<String> = names.map(|(name, _)| name.to_owned()).filter(|name| !name.starts_with('.')).collect();
        names.dedup();
        names
    }
}

fn look<const N: usize>(files: [(&'static str, &'static str); N], asked: Option<Bind>) -> Result<Detected, String> {
    detect(&Files(BTreeMap::from(files)), asked).map_err(|missing| missing.0)
}

#[track_caller]
fn found<const N: usize>(files: [(&'static str, &'static str); N]) -> Detected {
    look(files, None).unwrap()
}

#[track_caller]
fn missing<const N: usize>(files: [(&'static str, &'static str); N]) -> String {
    look(files, None).unwrap_err()
}

/// As a shell would be given it, with stop signal and concurrency.
fn line(found: &Detected) -> (String, Bind, &'static str, u32) {
    (found.command.join(" "), found.bind, found.stop.word(), found.concurrency)
}

const MANAGE: &str = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings.production')\n";
const GUNICORN: &str = ".venv/bin/gunicorn --workers 1 --threads 5 --keep-alive 5 --graceful-timeout 30 --bind unix:$SOCKET";

#[test]
fn django_is_served_by_the_server_of_its_environment() {
    let wsgi =
        found([("manage.py", MANAGE), ("mysite/wsgi.py", ""), ("mysite/asgi.py", ""), ("zoo/wsgi.py", ""), ("*.venv/bin/gunicorn", "")]);
    assert_eq!(line(&wsgi), (format!("{GUNICORN} mysite.wsgi:application"), Bind::Unix, "TERM", 5));
    assert_eq!(wsgi.why, "manage.py, mysite/wsgi.py, gunicorn in .venv/bin");
    let both =
        [("manage.py", MANAGE), ("mysite/wsgi.py", ""), ("mysite/asgi.py", ""), ("*venv/bin/gunicorn", ""), ("*venv/bin/uvicorn", "")];
    let expected = "venv/bin/uvicorn --no-access-log --uds $SOCKET mysite.asgi:application";
    assert_eq!(line(&found(both)), (expected.to_owned(), Bind::Unix, "TERM", 100));
    let elsewhere = found([("manage.py", MANAGE), ("config/wsgi.py", ""), ("*.venv/bin/gunicorn", "")]);
    assert!(elsewhere.command.ends_with(&["config.wsgi:application".to_owned()]), "{elsewhere:?}");
}

#[test]
fn a_django_app_with_a_front_end_is_no_node_app() {
    let package = ("package.json", r#"{"scripts": {"start": "webpack serve"}}"#);
    let both = found([("manage.py", MANAGE), ("mysite/wsgi.py", ""), package, ("*.venv/bin/gunicorn", "")]);
    assert_eq!(both.why, "manage.py, mysite/wsgi.py, gunicorn in .venv/bin");
    assert!(missing([("config.ru", ""), package]).contains("Gemfile"));
}

#[test]
fn a_manage_py_that_is_not_django_s_says_nothing() {
    let flask = found([("manage.py", "print()"), ("app.py", "app = Flask(__name__)"), ("*.venv/bin/gunicorn", "")]);
    assert_eq!(flask.why, "app = Flask() in app.py, gunicorn in .venv/bin");
    assert!(missing([("manage.py", MANAGE)]).contains("no wsgi.py or asgi.py"));
}

#[test]
fn the_app_of_a_python_module_is_found_by_what_makes_it() {
    let cases = [
        ("app.py", "app = Flask(__name__)", "app:app"),
        ("main.py", "site: flask.Flask = flask.Flask('x')\n", "main:site"),
        ("app.py", "app = application = Flask(__name__)", "app:app"),
        ("app.py", "from flask import Flask\n\ndef create_app(x=1):\n    app = Flask(__name__)\n", "app:create_app()"),
        ("blog/__init__.py", "app = Flask(__name__)", "blog:app"),
        ("app/main.py", "app = Flask(__name__)", "app.main:app"),
        ("wsgi.py", "from blog import create_app\napplication = create_app()\n", "wsgi:application"),
        ("wsgi.py", "from blog import (x, site as app)\n", "wsgi:app"),
        ("passenger_wsgi.py", "def application(environ, start_response):\n    pass\n", "passenger_wsgi:application"),
    ];
    for (file, text, target) in cases {
        let app = found([(file, text), ("*.venv/bin/gunicorn", ""), ("*.venv/bin/uvicorn", "")]);
        assert_eq!(app.command.join(" "), format!("{GUNICORN} {target}"), "{file}: {text}");
    }
    for (file, text, target) in [
        ("main.py", "app = FastAPI(title=\"=\")", "main:app"),
        ("app.py", "app = Starlette(routes=[\n", "app:app"),
        ("asgi.py", "async def app(scope, receive, send):\n", "asgi:app"),
    ] {
        let app = found([(file, text), ("*.venv/bin/gunicorn", ""), ("*.venv/bin/uvicorn", "")]);
        assert_eq!(app.command.join(" "), format!(".venv/bin/uvicorn --no-access-log --uds $SOCKET {target}"), "{file}: {text}");
    }
    for text in ["    app = Flask(__name__)", "class Flask(object):\n", "x = NotFlask()", "if x == Flask(1):\n", "# app = Flask(1)\n"] {
        assert!(missing([("app.py", text), ("*.venv/bin/gunicorn", "")]).contains("nothing in $ROOT"), "{text}");
    }
}

#[test]
fn each_python_server_has_its_own_flags_and_stop_signal() {
    let wsgi = |server| line(&found([("app.py", "app = Flask(1)"), (server, "")]));
    let asgi = |server| line(&found([("app.py", "app = Quart(1)"), (server, "")]));
    let headers = "--trusted-proxy-headers=x-forwarded-for x-forwarded-host x-forwarded-proto";
    let waitress = format!(".venv/bin/waitress-serve --threads=5 {headers} --trusted-proxy=localhost --unix-socket=$SOCKET app:app");
    assert_eq!(wsgi("*.venv/bin/waitress-serve"), (waitress, Bind::Unix, "INT", 5));
    let hypercorn = ".venv/bin/hypercorn --graceful-timeout 30 --bind unix:$SOCKET app:app".to_owned();
    assert_eq!(asgi("*.venv/bin/hypercorn"), (hypercorn, Bind::Unix, "TERM", 100));
    assert_eq!(asgi("*venv/bin/daphne"), ("venv/bin/daphne --proxy-headers -u $SOCKET app:app".to_owned(), Bind::Unix, "TERM", 100));
}

#[test]
fn a_python_server_that_is_missing_is_said_with_what_installs_it() {
    let app = ("app.py", "app = Flask(__name__)");
    let seen = "app = Flask() in app.py: ";
    let cases = [
        (
            missing([app, ("*.venv/bin/python", ""), ("*.venv/bin/pip", "")]),
            "gunicorn is not installed in .venv/bin; run: $ROOT/.venv/bin/pip install gunicorn",
        ),
        (
            missing([app, ("*venv/bin/python", "")]),
            "gunicorn is not installed in venv/bin; run: uv pip install --python $ROOT/venv/bin/python gunicorn",
        ),
        (missing([app, ("uv.lock", "")]), "gunicorn is not installed; run: uv --directory $ROOT add gunicorn"),
        (
            missing([app, ("requirements.txt", "flask")]),
            "there is no .venv with its packages; run: python3 -m venv $ROOT/.venv && $ROOT/.venv/bin/pip install -r $ROOT/requirements.txt gunicorn",
        ),
    ];
    for (said, expected) in cases {
        assert_eq!(said, format!("{seen}{expected}"));
    }
    let factory = "def create_app():\n    return Flask(1)\n";
    let said = missing([("app.py", factory), ("*.venv/bin/waitress-serve", ""), ("*.venv/bin/python", ""), ("*.venv/bin/pip", "")]);
    assert!(said.starts_with("def create_app in app.py: gunicorn is not"), "only gunicorn calls a function: {said}");
}

#[test]
fn a_bind_that_was_asked_for_wins() {
    let app = ("app.py", "app = FastAPI()");
    let port = look([app, ("*.venv/bin/uvicorn", "")], Some(Bind::Port)).unwrap();
    assert_eq!(port.command.join(" "), ".venv/bin/uvicorn --no-access-log --host 127.0.0.1 --port $PORT app:app");
    let fd = look([app, ("*.venv/bin/uvicorn", "")], Some(Bind::Fd)).unwrap();
    assert_eq!((fd.command.join(" "), fd.bind), (".venv/bin/uvicorn --no-access-log --fd 3 app:app".to_owned(), Bind::Fd));
    let said = look([app, ("*.venv/bin/daphne", "")], Some(Bind::Fd)).unwrap_err();
    assert_eq!(said, "bind = \"fd\": daphne takes no such socket; leave bind out");
    assert_eq!(look([("app.js", "")], Some(Bind::Unix)).unwrap().bind, Bind::Unix);
    assert!(look([("Procfile", "web: run $PORT")], Some(Bind::Unix)).is_err());
    assert!(look([("Procfile", "web: run $PORT $SOCKET")], None).is_err());
}

#[test]
fn rack_is_served_by_the_server_of_its_lock_file() {
    let lock = "GEM\n  specs:\n    nio4r (2.7.0)\n    puma (6.4.2)\n      nio4r (~> 2.0)\n";
    let puma = found([("config.ru", "run App"), ("Gemfile.lock", lock)]);
    assert_eq!(line(&puma), ("bundle exec puma -w 0 -t 5:5 -b unix://$SOCKET".to_owned(), Bind::Unix, "TERM", 5));
    assert_eq!(puma.why, "config.ru, puma in Gemfile.lock");
    let unicorn = found([("config.ru", ""), ("Gemfile.lock", "    unicorn (6.1.0)\n      puma (0)\n")]);
    assert_eq!(line(&unicorn), ("bundle exec unicorn -l $SOCKET".to_owned(), Bind::Unix, "QUIT", 1));
    assert!(missing([("config.ru", ""), ("Gemfile.lock", "    puma_worker_killer (1)\n")]).ends_with("bundle add puma"));
    assert!(missing([("config.ru", ""), ("Gemfile", "gem \"puma\"")]).ends_with("cd $ROOT && bundle install"));
    assert!(missing([("config.ru", "")]).ends_with("cd $ROOT && bundle init && bundle add rack puma"));
}

#[test]
fn a_start_script_that_names_node_is_that_command() {
    let node = |start: &'static str| found([("package.json", start)]);
    let plain = node(r#"{"scripts": {"start": "node --max-old-space-size=200 server.js"}}"#);
    assert_eq!(line(&plain), ("node --max-old-space-size=200 server.js".to_owned(), Bind::Port, "TERM", 100));
    assert_eq!((plain.why.as_str(), plain.warnings.len()), ("scripts.start of package.json", 0));
    let variable = node(r#"{"scripts": {"start": "NODE_ENV=production node app.js"}}"#);
    assert_eq!(variable.command, ["env", "NODE_ENV=production", "node", "app.js"]);
    for start in [
        r#"{"scripts": {"start": "next start"}}"#,
        r#"{"scripts": {"start": "node a.js && node b.js"}}"#,
        r#"{"scripts": {"start": "node a.js", "prestart": "make"}}"#,
    ] {
        let npm = node(start);
        assert_eq!((npm.command.join(" "), npm.warnings.len()), ("npm start".to_owned(), 1), "{start}");
    }
    let next = found([("package.json", r#"{"scripts": {"start": "next start -p $PORT"}}"#), ("*node_modules/.bin/next", "")]);
    assert_eq!(next.command, ["node_modules/.bin/next", "start", "-p", "$PORT"]);
}

#[test]
fn what_a_node_app_lacks_is_said() {
    let express = ("package.json", r#"{"scripts": {"start": "node app.js"}, "dependencies": {"express": "^5"}}"#);
    assert_eq!(found([express]).warnings, ["its dependencies are not installed: npm --prefix $ROOT install"]);
    assert_eq!(found([express, ("package-lock.json", "")]).warnings, ["its dependencies are not installed: npm --prefix $ROOT ci"]);
    assert_eq!(found([express, ("node_modules/express/index.js", "")]).warnings, [""; 0]);
    let said = missing([("package.json", r#"{"main": "web.js", "scripts": {"test": "x"}}"#), ("web.js", "")]);
    let expected = "$ROOT/package.json has no start script: npm --prefix $ROOT pkg set scripts.start=\"node web.js\", or write: command = \"node web.js\"";
    assert_eq!(said, expected);
    assert!(missing([("package.json", "{")]).starts_with("$ROOT/package.json cannot be read: "));
    assert_eq!(found([("package.json", "{}"), ("server.js", "")]).command, ["node", "server.js"]);
    assert_eq!(found([("app.js", "")]).command, ["node", "app.js"]);
}

#[test]
fn a_procfile_comes_before_everything_else() {
    let procfile =
        |text: &'static str| found([("Procfile", text), ("manage.py", MANAGE), ("*.venv/bin/gunicorn", ""), ("*.venv/bin/python", "")]);
    let plain = procfile("release: x\nweb: gunicorn --threads 4 -w 2 app:app\n");
    assert_eq!(line(&plain), (".venv/bin/gunicorn --threads 4 -w 2 app:app".to_owned(), Bind::Port, "TERM", 8));
    assert_eq!(plain.why, "the web line of the Procfile");
    assert_eq!(line(&procfile("web: gunicorn -c x.py app:app")).3, 100, "its own file may say anything");
    assert_eq!(procfile("web: A=1 gunicorn 'a b'").command, ["env", "A=1", ".venv/bin/gunicorn", "a b"]);
}

#[test]
fn a_procfile_line_gets_a_shell_only_where_it_needs_one() {
    let command = |text: &'static str| found([("Procfile", text), ("*.venv/bin/gunicorn", "")]).command;
    let shell = |line: &str| ["sh".to_owned(), "-c".to_owned(), line.to_owned()];
    assert_eq!(command("web: ./serve 'a b' --port ${PORT}"), ["./serve", "a b", "--port", "${PORT}"]);
    assert_eq!(command("web: exec bundle exec puma"), ["bundle", "exec", "puma"]);
    assert_eq!(command("web: serve --port ${PORT:-5000}"), shell("exec serve --port ${PORT:-5000}"));
    assert_eq!(command("web: A=$HOME serve"), shell("exec env A=$HOME serve"));
    assert_eq!(command("web: cd web && ./serve"), shell("cd web && ./serve"));
    assert_eq!(command("web: gunicorn $OPTIONS a:b"), shell("PATH=\"$PWD/.venv/bin:$PATH\"; exec gunicorn $OPTIONS a:b"));
}

#[test]
fn a_procfile_names_a_server_and_gets_its_settings() {
    let settings = |text: &'static str| {
        let (_, bind, stop, concurrency) = line(&found([("Procfile", text)]));
        (bind, stop, concurrency)
    };
    assert_eq!(settings("web: bundle exec unicorn -p $PORT"), (Bind::Port, "QUIT", 1));
    assert_eq!(settings("web: bundle exec unicorn -p $PORT -c config/unicorn.rb"), (Bind::Port, "QUIT", 100));
    assert_eq!(settings("web: bundle exec puma -t 1:16 -p $PORT"), (Bind::Port, "TERM", 16));
    assert_eq!(settings("web: bin/waitress-serve --unix-socket=$SOCKET a:b"), (Bind::Unix, "INT", 4));
    assert_eq!(settings("web: ./other"), (Bind::Port, "TERM", 100));
    let open = found([("Procfile", "web: uvicorn --host 0.0.0.0 --port $PORT a:b")]);
    assert_eq!(open.warnings, ["it listens on every address, and so can be reached past rota; 127.0.0.1 is enough"]);
    assert!(missing([("Procfile", "web:\n")]).contains("is empty"));
    assert_eq!(found([("Procfile", "worker: x"), ("app.js", "")]).command, ["node", "app.js"]);
}

#[test]
fn a_program_is_found_by_the_name_that_its_build_gives_it() {
    assert_eq!(line(&found([("*bin/server", "")])), ("bin/server".to_owned(), Bind::Port, "TERM", 100));
    assert_eq!(found([("*server", "")]).command, ["./server"]);
    assert_eq!(found([("go.mod", "module example.org/shop/v2\n"), ("*bin/shop", "")]).command, ["bin/shop"]);
    let cargo = "[package]\nname = \"shop\"\n";
    assert_eq!(found([("Cargo.toml", cargo), ("*target/release/shop", "")]).command, ["target/release/shop"]);
    assert!(missing([("go.mod", "module shop\n")]).ends_with("run: cd $ROOT && go build -o bin/shop ."));
    assert!(missing([("Cargo.toml", cargo)]).ends_with("run: cd $ROOT && cargo build --release"));
}

#[test]
fn nothing_at_all_is_said_with_what_was_looked_for() {
    assert!(missing([]).starts_with("nothing in $ROOT says how the app is started: no Procfile"));
    assert!(missing([("index.php", "")]).contains("FrankenPHP"));
    assert!(missing([("requirements.txt", "Flask==3\n")]).starts_with("requirements.txt names flask, and no file has its app"));
}

#[test]
fn rails_says_in_its_production_file_who_sends_its_public_files() {
    const LOCK: &str = "GEM\n  specs:\n    puma (6.4.2)\n    rails (7.1.3)\n";
    let need = |production: Option<&'static str>| {
        let files = [("config.ru", ""), ("Gemfile.lock", LOCK), ("public/404.html", "")];
        let production = production.map(|text| ("config/environments/production.rb", text));
        public_need(&Files(files.into_iter().chain(production).collect()))
    };
    for (production, expected) in [
        (None, RailsFiles::Server),
        (Some("  config.public_file_server.enabled = ENV[\"RAILS_SERVE_STATIC_FILES\"].present?\n"), RailsFiles::Server),
        (Some("  config.public_file_server.enabled = false\n"), RailsFiles::Server),
        (Some("  config.serve_static_assets = false # nginx\n"), RailsFiles::Server),
        (Some("  config.public_file_server.enabled = true # by itself\n"), RailsFiles::Rails),
        (Some("  # config.public_file_server.enabled = false\n"), RailsFiles::Rails),
        (Some("  config.public_file_server.headers = {}\n"), RailsFiles::Rails),
    ] {
        assert_eq!(need(production), Some(PublicNeed::Of(expected)), "{production:?}");
    }
    let other = |files: [(&'static str, &'static str); 2]| public_need(&Files(BTreeMap::from(files)));
    assert_eq!(other([("Gemfile.lock", "    sinatra (4.0.0)\n"), ("public/a.css", "")]), Some(PublicNeed::Unknown));
    assert_eq!(other([("Gemfile.lock", "    rails-i18n (7.0.8)\n"), ("config.ru", "")]), None);
}
