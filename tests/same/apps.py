"""The apps: where each comes from, how its documentation installs and starts it, what it is asked, and what differs each time."""

import dataclasses

from client import Ask

PASSWORD = ("Authorization", "Basic YW5uOnNlY3JldA==")  # ann:secret
FORM = ("Content-Type", "application/x-www-form-urlencoded")
JSON = ("Content-Type", "application/json")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
UPLOAD = bytes(range(256)) * 4096  # 1 MiB, every byte value

NEVER_THERE = [
    Ask("nothing there", "/no/such/page"),
    Ask("nothing there, with bytes that are escaped", "/no/such%20page/%C3%BC?a=b&a=%2F"),
    Ask("no place of a file", "/.env"),
    Ask("HEAD", "/", "HEAD"),
    Ask("a method of one's own", "/", "PURGE"),
    Ask("OPTIONS", "/", "OPTIONS"),
]


@dataclasses.dataclass(frozen=True)
class App:
    """`generate` runs in an empty directory, then what is ours is copied over it, then `install` runs.

    `alone` is the command of its documentation, with $PORT replaced.
    """

    name: str
    generate: tuple
    install: tuple
    alone: str
    asks: list
    packages: tuple = ()  # (program, Debian package)
    env: dict = dataclasses.field(default_factory=dict)  # the same with and without rota, where it is added to the configuration
    talk: str = ""  # a client of the app's own; what it prints is compared, too. $URL is replaced
    masks: tuple = ()  # (pattern, why it is another one each time)


def common(echo=Ask("POST", "/echo", "POST", (TEXT,), "grüße\n".encode()), **more):
    """Dynamic, POST, password, stream: the four that every app of ours has at the same paths."""
    return [
        Ask("dynamic", "/"),
        Ask("dynamic with a query", "/?a=1&b=%20"),
        echo,
        Ask("without the password", more.get("private", "/private")),
        Ask("with the password", more.get("private", "/private"), fields=(PASSWORD,)),
        Ask("stream", more.get("stream", "/stream"), fields=(("Accept", "text/event-stream"),), pieces=True),
        *NEVER_THERE,
    ]


NODE = (("node", "nodejs"), ("npm", "npm"))
NPM = "npm install --silent --no-audit --no-fund --no-update-notifier"

APPS = [
    App(
        "django",
        (
            "python3 -m venv .venv",
            ".venv/bin/pip install --quiet --disable-pip-version-check django==5.2.* gunicorn",
            ".venv/bin/django-admin startproject mysite .",
        ),
        (
            "mv site/urls.py mysite/urls.py",
            "printf \"DEBUG = False\\nALLOWED_HOSTS = ['site.example', 'localhost', '127.0.0.1']\\n\" >> mysite/settings.py",
            ".venv/bin/python manage.py migrate --verbosity 0",
        ),
        ".venv/bin/gunicorn --threads 4 --bind 127.0.0.1:$PORT mysite.wsgi",
        [
            *common(),
            Ask("a redirect of the app", "/admin/"),
            Ask("a form", "/admin/login/"),
            Ask("a form without its token", "/admin/login/", "POST", (FORM,), b"username=ann"),
            Ask("1 MiB of body", "/echo", "POST", (TEXT,), UPLOAD),
        ],
        masks=(
            (r"csrftoken=\w+", "a token each time"),
            (r'csrfmiddlewaretoken" value="\w+', "the same"),
            (r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", "the time of day"),
        ),
    ),
    App(
        "rails",
        (
            "rails new site --minimal --skip-bundle --skip-git --skip-bootsnap --skip-active-record --skip-test",
            "cp -a site/. . && rm -r site",
        ),
        (
            # Debian has the gems; what the generator asks for beside them is for development.
            "printf \"gem 'rails', '~> 6.1'\\ngem 'puma'\\n\" > Gemfile",
            "bundle install --local --quiet",
        ),
        "bundle exec puma -b tcp://127.0.0.1:$PORT",
        [
            *common(),
            Ask("static", "/site.css", file=True),
            Ask("static, again", "/robots.txt", file=True),
            Ask("a page", "/404.html", file=True),
            Ask("1 MiB of body", "/echo", "POST", (TEXT,), UPLOAD),
        ],
        packages=(("rails", "ruby-rails"), ("puma", "puma"), ("bundle", "ruby-bundler")),
        env={"RAILS_ENV": "production", "RAILS_SERVE_STATIC_FILES": "1", "SECRET_KEY_BASE": "0123456789abcdef" * 8},
        masks=((r"^[0-9a-f]{8}-?[0-9a-f-]{23,27}$", "X-Request-Id"), (r"^[0-9]+\.[0-9]+$", "X-Runtime")),
    ),
    App(
        "express",
        (),
        ("npm init -y >/dev/null", "npm pkg set scripts.start='node app.js'", f"{NPM} express express-basic-auth"),
        "node app.js",
        [
            *common(private="/report.txt"),
            Ask("static without the password", "/docs/"),
            Ask("static with it", "/report.txt", fields=(PASSWORD,)),
            Ask("a directory", "/docs", fields=(PASSWORD,)),
            Ask("part of a file", "/report.txt", fields=(PASSWORD, ("Range", "bytes=2-7"))),
            Ask("what looks like a source", "/config.inc.php"),
            Ask("1 MiB of body", "/echo", "POST", (TEXT,), UPLOAD),
        ],
        packages=NODE,
    ),
    App(
        "next",
        (),
        (f"{NPM} next@15 react@19 react-dom@19", "NEXT_TELEMETRY_DISABLED=1 npx next build"),
        "npx next start -p $PORT -H 127.0.0.1",
        [
            *common(Ask("POST", "/api/echo", "POST", (TEXT,), "grüße\n".encode()), private="/api/private", stream="/api/stream"),
            Ask("static", "/robots.txt"),
            Ask("a page without its script", "/?_rsc=1", fields=(("RSC", "1"),)),
            Ask("packed", "/robots.txt", fields=(("Accept-Encoding", "gzip"),)),
        ],
        packages=NODE,
        masks=((r"(?<![\w-])[\w-]{21,22}(?![\w-])", "an id of each rendering"),),
    ),
    App(
        "nest",
        ("npx --yes @nestjs/cli@11 new site --directory . --skip-git --skip-install --package-manager npm",),
        ("rm -rf test src/*.spec.ts src/app.service.ts", NPM, "npm run --silent build"),
        "node dist/main",
        common(Ask("POST", "/echo", "POST", (JSON,), b'{"a": [1, "b"]}')),
        packages=NODE,
    ),
    App(
        "socketio",
        (),
        (f"{NPM} socket.io socket.io-client express",),
        "node index.js",
        [
            Ask("dynamic", "/"),
            Ask("a script of the library", "/socket.io/socket.io.js"),
            Ask("a handshake", "/socket.io/?EIO=4&transport=polling"),
            Ask("a session that is not there", "/socket.io/?EIO=4&transport=polling&sid=none"),
            Ask("a POST to it", "/socket.io/?EIO=4&transport=polling&sid=none", "POST", (TEXT,), b"40"),
            *NEVER_THERE,
        ],
        packages=NODE,
        talk="node talk.js $URL",
        masks=((r'"sid":"[\w-]+"', "a session each time"),),
    ),
    App(
        "streamlit",
        ("python3 -m venv .venv", ".venv/bin/pip install --quiet --disable-pip-version-check streamlit"),
        (),
        ".venv/bin/streamlit run app.py --server.port $PORT --server.address 127.0.0.1 --server.headless true",
        [
            Ask("the page", "/"),
            Ask("alive", "/_stcore/health"),
            Ask("its settings", "/_stcore/host-config"),
            Ask("a page within the page", "/other"),
            *NEVER_THERE,
        ],
        masks=((r"_streamlit_xsrf=[^;]+", "a token each time"), (r"expires=[^;]+", "from now on")),
    ),
    App(
        "nodered",
        (),
        (f"npm init -y >/dev/null && {NPM} node-red bcryptjs",),
        "node_modules/.bin/node-red --userDir . --settings settings.js",
        [
            Ask("the editor", "/"),
            Ask("a script of it", "/red/red.min.js"),
            Ask("a style of it", "/red/style.min.css"),
            Ask("without the password", "/flows"),
            Ask(
                "a wrong password",
                "/auth/token",
                "POST",
                (FORM,),
                b"client_id=node-red-admin&grant_type=password&scope=*&username=ann&password=wrong",
            ),
            Ask("POST to a flow", "/echo", "POST", (JSON,), b'{"a": 1}'),
            *NEVER_THERE,
        ],
        packages=NODE,
    ),
    App(
        "php",
        (),
        (),
        "php -S 127.0.0.1:$PORT -t public",
        [
            *common(),
            Ask("static", "/site.css"),
            Ask("a source that is executed", "/config.inc.php"),
            Ask("a page by its name", "/index.php"),
        ],
        packages=(("php", "php-cli"),),
    ),
    App(
        "go",
        (),
        ("go build -o site .",),
        "./site",
        [
            *common(),
            Ask("static", "/files/site.css"),
            Ask("a directory without its slash", "/files/docs"),
            Ask("a directory", "/files/docs/"),
            Ask("1 MiB of body", "/echo", "POST", (TEXT,), UPLOAD),
            Ask("a path with dots", "/files/../files/site.css"),
        ],
        packages=(("go", "golang-go"),),
    ),
]
