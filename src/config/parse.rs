//! From texts to a `Config`: the top of each file, and what only all files together show. Core: error pages are read by whoever is given for that.

use std::path::PathBuf;

use toml::de::DeTable;

use super::app::{app, long_socket_paths};
use super::keys::{APP, Role, SERVER, TOP};
use super::load::{Nothing, Reader, Sources};
use super::report::{Mistake, Place, PlacedApp, Report, SourceFile};
use super::section::{Section, Source, Value};
use super::{BrokenApp, Config, HostPattern, Loaded, Route, ServerConfig, routes, server, sizes};
use crate::ids::AppName;

/// Parses `files`, which name no error pages that are needed: rota.toml first, then those of apps.d, each an app named as the file's stem. No file at all is the defaults.
///
/// An `Err` holds every mistake of every file, warnings too; of what is no TOML, the first place of each file, because what follows it
/// is mostly its echo.
pub fn parse(files: &[SourceFile]) -> Result<Loaded, Report> {
    let (loaded, _) = as_far(files, &Nothing);
    if loaded.warnings.has_errors() { Err(loaded.warnings) } else { Ok(loaded) }
}

/// As [`parse`] for a server that has to serve: a mistake of one app costs that app alone ([`BrokenApp`]). An `Err` has a mistake that is no
/// single app's.
pub fn parse_to_serve(files: &[SourceFile]) -> Result<Loaded, Report> {
    let (loaded, is_served) = as_far(files, &Nothing);
    if is_served { Ok(loaded) } else { Err(loaded.warnings) }
}

/// What can be used of `files`, with all that is wrong. `false`: there is a mistake that is no single app's.
pub(super) fn as_far(files: &[SourceFile], reader: &dyn Reader) -> (Loaded, bool) {
    let found = Found::all(files, reader);
    let report = Report::new(found.mistakes, files.to_vec());
    let sources = Sources { files: files.to_vec(), unread: Vec::new() };
    (Loaded { config: config(found.server, found.apps), warnings: report, sources }, !found.is_broken)
}

/// The path of the control socket, whatever else is wrong in the file. `false`: it may be another, because there is no TOML behind a mistake.
pub fn control(file: &SourceFile) -> Option<(PathBuf, bool)> {
    let source = Source::new(file, Role::Main, &Nothing);
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    let is_named = |table: &DeTable<'_>| table.get("server").and_then(|server| server.get_ref().get("control")).is_some();
    let named = is_named(table.get_ref());
    let path = server::control(&Section::new(&source, Place::whole(&file.path), &TOP, Some(table.get_ref())).table("server", &SERVER));
    path.map(|path| (path, named || errors.is_empty()))
}

fn config(server: ServerConfig, described: Vec<Described>) -> Config {
    let (mut apps, mut broken) = (Vec::new(), Vec::new());
    for Described { name, place, app, routes, fault } in described {
        match (app, fault) {
            (Some(app), None) => apps.push(app.config),
            (app, fault) => {
                let routes = app.map_or(routes, |app| app.config.routes);
                // Where they cannot be read they may be any.
                let routes = if routes.is_empty() { vec![Route { host: HostPattern::Any, path: "/".to_owned() }] } else { routes };
                let why = fault.map_or_else(|| "it cannot be read".to_owned(), |fault| fault.line());
                broken.push(BrokenApp { name, file: place.file, why, routes });
            }
        }
    }
    apps.sort_by(|one, other| one.name.cmp(&other.name));
    broken.sort_by(|one, other| one.name.cmp(&other.name));
    Config { server, apps, broken }
}

/// What has been read so far.
#[derive(Debug)]
struct Found {
    server: ServerConfig,
    apps: Vec<Described>,
    mistakes: Vec<Mistake>,
    /// There is an error that is no single app's.
    is_broken: bool,
}

/// One app, as far as it could be read.
#[derive(Debug)]
struct Described {
    name: String,
    place: Place,
    app: Option<PlacedApp>,
    /// Where `app` is none.
    routes: Vec<Route>,
    /// The first error.
    fault: Option<Mistake>,
}

impl Found {
    fn all(files: &[SourceFile], reader: &dyn Reader) -> Self {
        let nothing = SourceFile { path: "rota.toml".into(), text: String::new() };
        let (main, apps) = files.split_first().unwrap_or((&nothing, &[]));
        let mut found = Self::of_main(main, reader);
        for file in apps {
            found.read_app(file, reader);
        }
        found.note_same_names();
        found.note_same_routes();
        found.note_socket_paths();
        found.note_sizes();
        found
    }

    fn of_main(file: &SourceFile, reader: &dyn Reader) -> Self {
        let source = Source::new(file, Role::Main, reader);
        let table = read_toml(&source);
        let top = Section::new(&source, Place::whole(&file.path), &TOP, table.as_ref());
        let named = top.get("app").map_or_else(Vec::new, |value| named_apps(&value));
        let server = server::server(&top.table("server", &SERVER));
        let is_broken = source.first_error(0).is_some();
        let mut apps = Vec::new();
        for (name, place, value) in named {
            let before = source.count();
            let section = value.table_at(place.clone(), &APP);
            let app = section.as_ref().and_then(|section| app(name, section));
            let fault = source.first_error(before);
            let routes = section.filter(|_| app.is_none()).map_or_else(Vec::new, |section| readable_routes(&section));
            apps.push(Described { name: name.to_owned(), place, app, routes, fault });
        }
        Self { server, apps, mistakes: source.into_mistakes(), is_broken }
    }

    fn read_app(&mut self, file: &SourceFile, reader: &dyn Reader) {
        let source = Source::new(file, Role::App, reader);
        let name = file.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let place = Place::whole(&file.path);
        let app = read_toml(&source).and_then(|table| app(&name, &Section::new(&source, place.clone(), &APP, Some(&table))));
        let fault = source.first_error(0);
        let routes = if app.is_none() { routes_of_file(file) } else { Vec::new() };
        self.apps.push(Described { name, place, app, routes, fault });
        self.mistakes.extend(source.into_mistakes());
    }

    /// The app at `index` is not what it should be.
    fn blame(&mut self, index: usize, mistake: Mistake) {
        self.apps[index].fault.get_or_insert_with(|| mistake.clone());
        self.mistakes.push(mistake);
    }

    /// Of two that contradict each other the one that is broken already, else the later one.
    fn blame_one(&mut self, first: usize, second: usize, mistake: Mistake) {
        let blamed = if self.apps[first].fault.is_some() { first } else { second };
        self.blame(blamed, mistake);
    }

    fn placed(&self) -> impl Iterator<Item = (usize, &PlacedApp)> {
        self.apps.iter().enumerate().filter_map(|(index, described)| Some((index, described.app.as_ref()?)))
    }

    fn note_same_names(&mut self) {
        let mut same = Vec::new();
        for (index, app) in self.placed() {
            let first = self.placed().find(|(first, known)| *first < index && known.config.name == app.config.name);
            if let Some((first, known)) = first {
                let message = format!("a second app named {}", app.config.name);
                let mistake = Mistake::error(app.place.clone(), message).also(known.place.clone(), "the first is here");
                same.push((first, index, mistake));
            }
        }
        same.into_iter().for_each(|(first, second, mistake)| self.blame_one(first, second, mistake));
    }

    fn note_same_routes(&mut self) {
        let routes_of = |(index, app): (usize, &'_ PlacedApp)| -> Vec<(usize, AppName, Route, Place)> {
            let routes = app.config.routes.iter().zip(&app.route_places);
            routes.map(|(route, place)| (index, app.config.name.clone(), route.clone(), place.clone())).collect()
        };
        let all: Vec<_> = self.placed().flat_map(routes_of).collect();
        for (at, (index, name, route, place)) in all.iter().enumerate() {
            let Some((first, first_name, _, first_place)) = all[..at].iter().find(|(_, _, first, _)| first == route) else { continue };
            let mistake = if first_name != name {
                Mistake::error(place.clone(), format!("apps {first_name} and {name} both take {}", describe(route)))
                    .help("give each app hosts or a path of its own")
            } else if first_place.file == place.file {
                Mistake::error(place.clone(), format!("app {name} has {} twice", describe(route)))
            } else {
                // Two apps of one name, which has been said.
                continue;
            };
            self.blame_one(*first, *index, mistake.also(first_place.clone(), "the first is here"));
        }
    }

    fn note_socket_paths(&mut self) {
        let run_dir = &self.server.run_dir;
        let long = |(index, app): (usize, &PlacedApp)| Some((index, long_socket_paths(&app.config, run_dir, &app.place)?));
        let long: Vec<_> = self.placed().filter_map(long).collect();
        long.into_iter().for_each(|(index, mistake)| self.blame(index, mistake));
    }

    fn note_sizes(&mut self) {
        let idle: Vec<_> = self.placed().filter_map(|(index, app)| Some((index, sizes::no_queue(app)?))).collect();
        idle.into_iter().for_each(|(index, mistake)| self.blame(index, mistake));
        // What a broken one wants takes no place from the others.
        loop {
            let good: Vec<(usize, &PlacedApp)> = self.placed().filter(|(index, _)| self.apps[*index].fault.is_none()).collect();
            let apps: Vec<&PlacedApp> = good.iter().map(|(_, app)| *app).collect();
            let Some((largest, mistake)) = sizes::too_many(&apps, &self.server.machine) else { return };
            let index = good[largest].0;
            self.blame(index, mistake);
        }
    }
}

/// Of an app that has another mistake, which has been noted.
fn readable_routes(section: &Section<'_>) -> Vec<Route> {
    routes::routes(section).into_iter().map(|(route, _)| route).collect()
}

/// Of a file whose app cannot be made of it. Behind a mistake of syntax there may be keys that are readable all the same.
fn routes_of_file(file: &SourceFile) -> Vec<Route> {
    let source = Source::new(file, Role::App, &Nothing);
    let (table, _) = DeTable::parse_recoverable(&file.text);
    if !["hosts", "path"].iter().any(|key| table.get_ref().contains_key(*key)) {
        return Vec::new();
    }
    readable_routes(&Section::new(&source, Place::whole(&file.path), &APP, Some(table.get_ref())))
}

/// None after a syntax error: half of a table may be missing then, and what would be said about it is noise.
fn read_toml<'t>(source: &Source<'t>) -> Option<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(&source.file.text);
    let first = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start));
    let Some(error) = first else {
        return Some(table.into_inner());
    };
    let place = source.place(error.span().unwrap_or(0..0));
    source.note(Mistake::error(place, error.message().replace('\n', ", ")));
    None
}

/// Names under `[app]`, each with its place and its value.
fn named_apps<'t>(value: &Value<'t>) -> Vec<(&'t str, Place, Value<'t>)> {
    if value.is_array() {
        value.note(value.error("an app has a name").help("write [app.NAME] instead of [[app]]"));
        return Vec::new();
    }
    value.entries()
}

fn describe(route: &Route) -> String {
    match &route.host {
        HostPattern::Exact(host) => format!("{host}{}", route.path),
        HostPattern::Suffix(suffix) => format!("*{suffix}{}", route.path),
        HostPattern::Any => format!("{} of any host", route.path),
    }
}
