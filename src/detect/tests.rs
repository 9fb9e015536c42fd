//! Each kind of app by what is in its root: name and text of the files, and the programs.

use std::collections::BTreeMap;

use super::*;

/// A file with a text; `*` before the path: it can be executed.
/// `$` before a name: a variable of the app.
pub(super) struct Files(pub BTreeMap<&'static str, &'static str>);

impl Tree for Files {
    fn text(&self, path: &str) -> Option<String> {
        self.0.get(path).map(|text| (*text).to_owned())
    }

    fn is_program(&self, path: &str) -> bool {
        self.0.contains_key(format!("*{path}").as_str())
    }

    fn exists(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.0.keys().map(|key| key.trim_start_matches('*')).any(|key| key == path || key.starts_with(&below))
    }

    fn directories(&self) -> Vec<String> {
        let names = self.0.keys().filter_map(|path| path.trim_start_matches('*').split_once('/'));
        let mut names: Vec<String> = names.map(|(name, _)| name.to_owned()).filter(|name| !name.starts_with('.')).collect();
        names.dedup();
        names
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(format!("${name}").as_str()).map(|value| (*value).to_owned())
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
const GUNICORN: &str = ".venv/bin/gunicorn --workers 1 --threads 5 --keep-alive 5 --graceful-timeout 30 --bind 127.0.0.1:$PORT";

#[test]
fn django_is_served_by_the_server_of_its_environment() {
    let wsgi =
        found([("manage.py", MANAGE), ("mysite/wsgi.py", ""), ("mysite/asgi.py", ""), ("zoo/wsgi.py", ""), ("*.venv/bin/gunicorn", "")]);
    assert_eq!(line(&wsgi), (format!("{GUNICORN} mysite.wsgi:application"), Bind::Port, "TERM", 5));
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
        ("app.py", "import json\n\ndef application(environ, start_response):\n    pass\n", "app:application"),
        ("main.py", "def handle(environ: dict, start_response):\n    pass\n", "main:handle"),
        ("passenger_wsgi.py", "def application(environ, start_response):\n    pass\n", "passenger_wsgi:application"),
    ];
    for (file, text, target) in cases {
        let app = found([(file, text), ("*.venv/bin/gunicorn", ""), ("*.venv/bin/uvicorn", "")]);
        assert_eq!(app.command.join(" "), format!("{GUNICORN} {target}"), "{file}: {text}");
    }
    for (file, text, target) in [
        ("main.py", "app = FastAPI(title=\"=\")", "main:app"),
        ("app.py", "app = Starlette(routes=[\n", "app:app"),
        ("main.py", "def helper(x):\n    pass\nasync def app(scope, receive, send):\n", "main:app"),
        ("asgi.py", "async def app(scope, receive, send):\n", "asgi:app"),
    ] {
        let app = found([(file, text), ("*.venv/bin/gunicorn", ""), ("*.venv/bin/uvicorn", "")]);
        assert_eq!(app.command.join(" "), format!(".venv/bin/uvicorn --no-access-log --uds $SOCKET {target}"), "{file}: {text}");
    }
    for text in [
        "    app = Flask(__name__)",
        "class Flask(object):\n",
        "x = NotFlask()",
        "if x == Flask(1):\n",
        "# app = Flask(1)\n",
        "def app(x):\n",
    ] {
        assert!(
            missing([("app.py", text), ("*.venv/bin/gunicorn", "")]).starts_with("$ROOT/app.py has no app that could be seen"),
            "{text}"
        );
    }
}

#[test]
fn each_python_server_has_its_own_flags_and_stop_signal() {
    let wsgi = |server| line(&found([("app.py", "app = Flask(1)"), (server, "")]));
    let asgi = |server| line(&found([("app.py", "app = Quart(1)"), (server, "")]));
    let headers = "--trusted-proxy-headers=x-forwarded-for x-forwarded-host x-forwarded-proto";
    let waitress = format!(".venv/bin/waitress-serve --threads=5 {headers} --trusted-proxy=localhost --unix-socket=$SOCKET app:app");
    assert_eq!(wsgi("*.venv/bin/waitress-serve"), (waitress, Bind::Unix, "INT", 5));
    let hypercorn = ".venv/bin/hypercorn --graceful-timeout 30 --bind 127.0.0.1:$PORT app:app".to_owned();
    assert_eq!(asgi("*.venv/bin/hypercorn"), (hypercorn, Bind::Port, "TERM", 100));
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
        r#"{"scripts": {"start": "serve it"}}"#,
        r#"{"scripts": {"start": "node a.js && node b.js"}}"#,
        r#"{"scripts": {"start": "node a.js", "prestart": "make"}}"#,
    ] {
        let npm = node(start);
        assert_eq!((npm.command.join(" "), npm.warnings.len()), ("npm start".to_owned(), 1), "{start}");
    }
    let own = found([("package.json", r#"{"scripts": {"start": "serve -p $PORT"}}"#), ("*node_modules/.bin/serve", "")]);
    assert_eq!(own.command, ["node_modules/.bin/serve", "-p", "$PORT"]);
}

/// With a package.json.
#[track_caller]
fn package<const N: usize>(json: &'static str, files: [&'static str; N]) -> Result<Detected, String> {
    let files = files.into_iter().map(|file| (file, "")).chain([("package.json", json)]);
    detect(&Files(files.collect()), None).map_err(|missing| missing.0)
}

#[test]
fn nest_is_started_from_its_build() {
    let json = r#"{"dependencies": {"@nestjs/core": "^11"}, "scripts": {"build": "nest build", "start": "nest start", "start:prod": "node dist/main"}}"#;
    let built = package(json, ["dist/main.js", "node_modules/@nestjs/core/index.js"]).unwrap();
    assert_eq!((line(&built).0.as_str(), built.bind), ("node dist/main", Bind::Port));
    assert_eq!((built.why.as_str(), built.warnings.len()), ("NestJS in package.json, dist/main.js", 0));
    let said = package(json, ["src/main.ts", "pnpm-lock.yaml"]).unwrap_err();
    assert_eq!(said, "NestJS in package.json, and $ROOT/dist/main.js is not there: it is not built; run: cd $ROOT && pnpm run build");
    // A way of its own.
    let own = r#"{"dependencies": {"@nestjs/core": "^11"}, "scripts": {"start": "node server.js"}}"#;
    assert_eq!(package(own, ["dist/main.js", "server.js"]).unwrap().command, ["node", "server.js"]);
}

#[test]
fn a_development_server_gives_way_to_what_runs_in_production() {
    let both = r#"{"scripts": {"start": "nodemon app.js", "start:prod": "NODE_ENV=production node app.js"}}"#;
    let found = package(both, ["app.js"]).unwrap();
    assert_eq!(
        (found.command.join(" ").as_str(), found.why.as_str()),
        ("env NODE_ENV=production node app.js", "scripts.start:prod of package.json")
    );
    let alone = package(r#"{"scripts": {"start": "nodemon app.js"}}"#, ["*node_modules/.bin/nodemon"]).unwrap();
    let warning = "scripts.start of package.json starts nodemon, which is for development: add a script start:prod that runs what is built";
    assert_eq!(
        (alone.command.join(" ").as_str(), alone.warnings.as_slice()),
        ("node_modules/.bin/nodemon app.js", &[warning.to_owned()][..])
    );
    let production = r#"{"scripts": {"start": "node app.js", "start:prod": "node other.js"}}"#;
    assert_eq!(package(production, []).unwrap().command, ["node", "app.js"]);
}

#[test]
fn what_a_build_would_make_is_not_started_before_it_is_there() {
    let json = r#"{"scripts": {"build": "tsc", "start": "node --enable-source-maps ./dist/server"}}"#;
    let expected = "scripts.start of package.json is \"node --enable-source-maps ./dist/server\", and $ROOT/dist/server is not there: \
                    it is not built; run: cd $ROOT && yarn run build";
    assert_eq!(package(json, ["yarn.lock"]).unwrap_err(), expected);
    for file in ["dist/server.js", "dist/server/index.js", "dist/server"] {
        assert_eq!(package(json, [file]).unwrap().command.join(" "), "node --enable-source-maps ./dist/server", "{file}");
    }
}

#[test]
fn frameworks_that_are_built_are_started_from_what_the_build_makes() {
    let adapter = "env PROTOCOL_HEADER=x-forwarded-proto ADDRESS_HEADER=x-forwarded-for node build";
    let cases: [(&str, &str, &str, &str, &str); 6] = [
        ("@sveltejs/adapter-node", "vite preview", "SvelteKit", "build/index.js", adapter),
        ("nuxt", "nuxt preview", "Nuxt", ".output/server/index.mjs", "node .output/server/index.mjs"),
        ("@astrojs/node", "astro dev", "Astro", "dist/server/entry.mjs", "node dist/server/entry.mjs"),
        ("@remix-run/serve", "remix-serve build", "Remix", "build/server/index.js", "node_modules/.bin/remix-serve build/server/index.js"),
        ("@remix-run/serve", "remix-serve build", "Remix", "build/index.js", "node_modules/.bin/remix-serve build/index.js"),
        (
            "@react-router/serve",
            "react-router-serve x",
            "React Router",
            "build/server/index.js",
            "node_modules/.bin/react-router-serve build/server/index.js",
        ),
    ];
    for (depends, start, name, file, command) in cases {
        let json = format!(r#"{{"dependencies": {{"{depends}": "1"}}, "scripts": {{"start": "{start}"}}}}"#);
        let json: &'static str = json.leak();
        let found = package(json, [file, "node_modules/x"]).unwrap();
        assert_eq!((found.command.join(" ").as_str(), found.bind, found.warnings.len()), (command, Bind::Port, 0), "{json}");
        assert_eq!(found.why, format!("{name} in package.json, {file}"));
        assert!(package(json, []).unwrap_err().ends_with("is not there: it is not built; run: cd $ROOT && npm run build"), "{json}");
    }
    let nuxt = package(r#"{"dependencies": {"nuxt": "4"}}"#, [".output/server/index.mjs"]).unwrap();
    assert_eq!(nuxt.warnings, [""; 0], "it brings its modules along");
    let auto = package(r#"{"devDependencies": {"@sveltejs/kit": "2"}, "scripts": {"dev": "vite dev"}}"#, []).unwrap_err();
    assert!(auto.contains("npm install -D @sveltejs/adapter-node"), "{auto}");
}

#[test]
fn next_listens_where_it_is_told_whatever_its_script_says() {
    let json =
        r#"{"dependencies": {"next": "15"}, "scripts": {"start": "next start -p 3000 --hostname 0.0.0.0 --keepAliveTimeout 70000"}}"#;
    let found = package(json, [".next/BUILD_ID", "*node_modules/.bin/next"]).unwrap();
    let expected = "node_modules/.bin/next start --keepAliveTimeout 70000 -p $PORT -H 127.0.0.1";
    assert_eq!((found.command.join(" ").as_str(), found.bind), (expected, Bind::Port));
    let bare = package(r#"{"dependencies": {"next": "15"}}"#, [".next/BUILD_ID", "*node_modules/.bin/next"]).unwrap();
    assert_eq!(bare.command.join(" "), "node_modules/.bin/next start -p $PORT -H 127.0.0.1");
    assert!(package(json, ["*node_modules/.bin/next"]).unwrap_err().contains("it is not built; run: cd $ROOT && npm run build"));
    assert!(package(json, [".next/BUILD_ID"]).unwrap_err().ends_with("is not installed; run: cd $ROOT && npm install"));
}

#[test]
fn a_standalone_build_of_next_is_started_by_node() {
    let package = ("package.json", r#"{"dependencies": {"next": "15"}, "scripts": {"start": "next start"}}"#);
    let server = "const { startServer } = require('next/dist/server/lib/start-server')";
    let whole =
        found([package, (".next/standalone/server.js", server), (".next/standalone/.next/static/x.css", ""), (".next/BUILD_ID", "")]);
    assert_eq!((whole.command.join(" ").as_str(), whole.warnings.len()), ("node .next/standalone/server.js", 0));
    let alone = found([package, ("server.js", server), (".next/BUILD_ID", "")]);
    assert_eq!(alone.command.join(" "), "node server.js");
    let text =
        "its build leaves out the style sheets and scripts of the browser: cp -r .next/static $ROOT/.next/, and public beside server.js";
    assert_eq!(alone.warnings, [text]);
}

#[test]
fn what_runs_next_is_told_by_what_is_there() {
    let is_next = |command: &str, files: &[&'static str]| {
        let files = Files(files.iter().map(|file| (*file, "")).collect());
        is_next(&files, &command.split(' ').map(str::to_owned).collect::<Vec<_>>())
    };
    assert!(is_next("node_modules/.bin/next start", &[]));
    assert!(is_next("node server.js", &["server.js", ".next/BUILD_ID"]));
    assert!(is_next("node $ROOT/.next/standalone/server.js", &[".next/standalone/.next/BUILD_ID"]));
    assert!(is_next("npm start", &["node_modules/next/package.json", ".next/BUILD_ID"]));
    assert!(!is_next("node server.js", &["server.js"]));
    assert!(!is_next("npm start", &["node_modules/express/package.json"]));
    assert!(!is_next("bin/nextcloud", &[".next/BUILD_ID"]));
}

#[test]
fn socket_io_wants_clients_that_come_back_and_slots_for_those_that_stay() {
    let found = package(r#"{"dependencies": {"socket.io": "^4"}, "scripts": {"start": "node app.js"}}"#, ["node_modules/x"]).unwrap();
    assert_eq!(found.concurrency, 1000);
    assert!(found.sticky.is_some_and(|why| why.contains("one process")) && found.reasons.concurrency.contains("WebSocket"), "{found:?}");
    assert_eq!(package(r#"{"scripts": {"start": "node app.js"}}"#, []).unwrap().sticky, None);
}

#[test]
fn sessions_in_the_memory_of_a_process_want_clients_that_come_back() {
    let kept = |dependencies: &str| {
        let json = format!(r#"{{"dependencies": {{{dependencies}}}, "scripts": {{"start": "node app.js"}}}}"#);
        package(json.leak(), ["node_modules/x"]).unwrap().sticky
    };
    let express = r#""express": "5", "express-session": "1""#;
    assert!(kept(express).is_some_and(|why| why.starts_with("express-session keeps logins in the memory of a process")));
    for memory in ["memorystore", "connect-flash", "passport", "express-mysql2", "multer-file"] {
        assert!(kept(&format!(r#"{express}, "{memory}": "1""#)).is_some(), "{memory} is no store that all share");
    }
    for shared in [
        "connect-redis",
        "connect-mongo",
        "connect-pg-simple",
        "session-file-store",
        "connect-session-sequelize",
        "express-mysql-session",
        "connect-session-knex",
        "connect-sqlite3",
        "better-sqlite3-session-store",
        "@quixo3/prisma-session-store",
        "connect-mongodb-session",
    ] {
        assert_eq!(kept(&format!(r#"{express}, "{shared}": "1""#)), None, "{shared}");
    }
    for (name, is_kept) in [("@fastify/session", true), ("koa-generic-session", true), ("koa-session", false), ("cookie-session", false)] {
        assert_eq!(kept(&format!(r#""{name}": "1""#)).is_some(), is_kept, "{name}");
    }
    let procfile = found([("Procfile", "web: node web.js"), ("package.json", r#"{"dependencies": {"express-session": "1"}}"#)]);
    assert!(procfile.sticky.is_some() && procfile.concurrency == 100, "{procfile:?}");
    let assets = found([("Procfile", "web: bin/shop"), ("package.json", r#"{"dependencies": {"express-session": "1"}}"#)]);
    assert_eq!(assets.sticky, None, "the package.json is of another program");
    let lock = ("Gemfile.lock", "    puma (6.4.2)\n");
    assert!(found([lock, ("config.ru", "use Rack::Session::Pool\nrun App\n")]).sticky.is_some());
    assert_eq!(found([lock, ("config.ru", "# use Rack::Session::Pool\nuse Rack::Session::Cookie\n")]).sticky, None);
}

#[test]
fn socket_io_in_python_wants_clients_that_come_back() {
    let flask = [("app.py", "app = Flask(1)"), ("*.venv/bin/gunicorn", "")];
    let [app, server] = flask;
    let threads = found([app, server, ("requirements.txt", "Flask==3\nFlask_SocketIO>=5 # chat\n")]);
    assert_eq!((threads.sticky.is_some(), threads.concurrency), (true, 5), "a thread each: no more than there are");
    assert_eq!(found([app, server, ("requirements.txt", "# flask-socketio\nflask-socketio-less\n")]).sticky, None);
    let fast = [
        ("main.py", "app = FastAPI()"),
        ("*.venv/bin/uvicorn", ""),
        ("pyproject.toml", "dependencies = [\"python-socketio[asyncio]>=5\"]\n"),
    ];
    assert_eq!((found(fast).sticky.is_some(), found(fast).concurrency), (true, 1000));
}

#[test]
fn a_file_without_an_app_is_named_with_what_was_looked_for() {
    let said = missing([("main.py", "print(1)\n"), ("*.venv/bin/gunicorn", "")]);
    assert!(said.starts_with("$ROOT/main.py has no app that could be seen (app = Flask(...)"), "{said}");
    assert!(said.contains("def application(environ, start_response)") && said.contains("main:NAME"), "{said}");
}

#[test]
fn node_red_has_one_process() {
    for json in [r#"{"name": "node-red-project"}"#, r#"{"dependencies": {"node-red": "4"}, "scripts": {"start": "node-red -u ."}}"#] {
        let found = package(json, ["*node_modules/.bin/node-red"]).unwrap();
        let expected = "node_modules/.bin/node-red --userDir . --port $PORT -D uiHost=127.0.0.1";
        assert_eq!((found.command.join(" ").as_str(), found.alone.is_some()), (expected, true), "{json}");
    }
}

#[test]
fn other_runtimes_of_javascript_are_executed_as_their_scripts_say() {
    assert_eq!(package(r#"{"scripts": {"start": "bun run server.ts"}}"#, ["bun.lock"]).unwrap().command, ["bun", "run", "server.ts"]);
    let deno = found([("deno.json", r#"{"tasks": {"start": "deno run -A main.ts"}}"#)]);
    assert_eq!((deno.command.join(" ").as_str(), deno.why.as_str()), ("deno task start", "the task start of deno.json"));
}

#[test]
fn streamlit_keeps_its_visitors() {
    let app = ("app.py", "import streamlit as st\nst.title('x')\n");
    let found = found([app, ("*.venv/bin/streamlit", "")]);
    let expected = ".venv/bin/streamlit run app.py --server.port $PORT --server.address 127.0.0.1 --server.headless true";
    assert_eq!(line(&found), (expected.to_owned(), Bind::Port, "TERM", 1000));
    assert!(found.sticky.is_some());
    assert!(missing([app, ("*.venv/bin/python", ""), ("*.venv/bin/pip", "")]).ends_with("run: $ROOT/.venv/bin/pip install streamlit"));
    assert!(look([app, ("*.venv/bin/streamlit", "")], Some(Bind::Unix)).unwrap_err().contains("listens on a port"));
}

#[test]
fn php_has_its_own_server_which_is_for_development() {
    let page = found([("index.php", "")]);
    assert_eq!(line(&page), ("php -S 127.0.0.1:$PORT -t .".to_owned(), Bind::Port, "TERM", 1));
    assert!(page.warnings[0].contains("is PHP's server for development") && page.warnings[0].contains("FrankenPHP"), "{page:?}");
    let vite = ("package.json", r#"{"scripts": {"build": "vite build"}}"#);
    let laravel =
        found([("artisan", ""), ("public/index.php", ""), ("composer.json", "{\"require\": {}}"), ("vendor/autoload.php", ""), vite]);
    assert_eq!(laravel.command.join(" "), "php -S 127.0.0.1:$PORT -t public");
    let said = missing([("public/index.php", ""), ("composer.json", "{\"require\": {}}")]);
    assert!(said.ends_with("run: composer --working-dir=$ROOT install --no-dev"), "{said}");
    // A page beside an app of another kind is no app.
    assert_eq!(found([("index.php", ""), ("package.json", r#"{"scripts": {"start": "node a.js"}}"#)]).command, ["node", "a.js"]);
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
fn what_a_procfile_asks_for_beside_web_is_named() {
    let text = "web: ./serve\nrelease: ./migrate --all\nworker: ./work -c 2\n# comment: x\nempty:\n";
    let expected = [
        "the release line of the Procfile is not run by rota; before each restart: cd $ROOT && ./migrate --all",
        "the worker line of the Procfile is not run by rota, which serves HTTP: give \"./work -c 2\" a systemd service of its own",
    ];
    assert_eq!(found([("Procfile", text)]).warnings, expected);
    let without_web = found([("Procfile", "worker: ./work -c 2\n"), ("app.js", "")]);
    assert_eq!((without_web.command.join(" ").as_str(), without_web.warnings.as_slice()), ("node app.js", &[expected[1].to_owned()][..]));
}

#[test]
fn thruster_is_left_out_and_named() {
    for web in ["bin/thrust bin/rails server", "bundle exec thrust bin/rails server", "exec ./bin/thrust bin/rails server"] {
        let found = found([("Procfile", format!("web: {web}\n").leak())]);
        assert_eq!((found.command.join(" ").as_str(), found.bind), ("bin/rails server", Bind::Port), "{web}");
        assert!(found.warnings.len() == 1 && found.warnings[0].contains("HTTP_PORT (80)"), "{found:?}");
    }
    assert_eq!(without_thruster("bin/rails server"), None);
    assert_eq!(without_thruster("bin/thrust"), None);
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
