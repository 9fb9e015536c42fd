//! From texts to a `Config`: the top of each file, and what only all files together show. Core: no I/O but for the error pages.

use toml::de::DeTable;

use super::app::{app, long_socket_paths};
use super::keys::{APP, Role, SERVER, TOP};
use super::report::{Mistake, Place, PlacedApp, Report, SourceFile};
use super::section::{Section, Source, Value};
use super::{Config, HostPattern, Loaded, Route, ServerConfig, server, sizes};
use crate::ids::AppName;

/// Reads `files`: rota.toml first, then those of apps.d, each an app named as the file's stem. No file at all is the defaults.
///
/// An `Err` holds every mistake of every file, warnings too; of what is no TOML, the first place of each file, because what follows it
/// is mostly its echo.
pub fn parse(files: &[SourceFile]) -> Result<Loaded, Report> {
    let mut found = Found::default();
    let nothing = SourceFile { path: "rota.toml".into(), text: String::new() };
    let (main, apps) = files.split_first().unwrap_or((&nothing, &[]));
    let server = found.read_main(main);
    for file in apps {
        found.read_app(file);
    }
    found.note_same_names();
    found.note_same_routes();
    found.note_socket_paths(&server);
    found.note_sizes(&server);
    let report = Report::new(found.mistakes, files.to_vec());
    if report.has_errors() {
        return Err(report);
    }
    let mut apps: Vec<_> = found.apps.into_iter().map(|app| app.config).collect();
    apps.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Loaded { config: Config { server, apps }, warnings: report })
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Found {
    apps: Vec<PlacedApp>,
    mistakes: Vec<Mistake>,
}

impl Found {
    fn read_main(&mut self, file: &SourceFile) -> ServerConfig {
        let source = Source::new(file, Role::Main);
        let table = read_toml(&source);
        let top = Section::new(&source, Place::whole(&file.path), &TOP, table.as_ref());
        for (name, place, value) in top.get("app").map_or_else(Vec::new, |value| named_apps(&value)) {
            self.apps.extend(value.table_at(place, &APP).and_then(|section| app(name, &section)));
        }
        let server = server::server(&top.table("server", &SERVER));
        self.mistakes.extend(source.into_mistakes());
        server
    }

    fn read_app(&mut self, file: &SourceFile) {
        let source = Source::new(file, Role::App);
        if let Some(table) = read_toml(&source) {
            let name = file.path.file_stem().unwrap_or_default().to_string_lossy();
            self.apps.extend(app(&name, &Section::new(&source, Place::whole(&file.path), &APP, Some(&table))));
        }
        self.mistakes.extend(source.into_mistakes());
    }

    fn note_same_names(&mut self) {
        for (index, app) in self.apps.iter().enumerate() {
            if let Some(first) = self.apps[..index].iter().find(|first| first.config.name == app.config.name) {
                let message = format!("a second app named {}", app.config.name);
                self.mistakes.push(Mistake::error(app.place.clone(), message).also(first.place.clone(), "the first is here"));
            }
        }
    }

    fn note_same_routes(&mut self) {
        let routes_of = |app: &'_ PlacedApp| -> Vec<(AppName, Route, Place)> {
            let routes = app.config.routes.iter().zip(&app.route_places);
            routes.map(|(route, place)| (app.config.name.clone(), route.clone(), place.clone())).collect()
        };
        let all: Vec<_> = self.apps.iter().flat_map(routes_of).collect();
        for (index, (name, route, place)) in all.iter().enumerate() {
            let Some((first_name, _, first_place)) = all[..index].iter().find(|(_, first, _)| first == route) else { continue };
            let mistake = if first_name != name {
                Mistake::error(place.clone(), format!("apps {first_name} and {name} both take {}", describe(route)))
                    .help("give each app hosts or a path of its own")
            } else if first_place.file == place.file {
                Mistake::error(place.clone(), format!("app {name} has {} twice", describe(route)))
            } else {
                // Two apps of one name, which has been said.
                continue;
            };
            self.mistakes.push(mistake.also(first_place.clone(), "the first is here"));
        }
    }

    fn note_socket_paths(&mut self, server: &ServerConfig) {
        let long = self.apps.iter().filter_map(|app| long_socket_paths(&app.config, &server.run_dir, &app.place));
        self.mistakes.extend(long);
    }

    fn note_sizes(&mut self, server: &ServerConfig) {
        self.mistakes.extend(self.apps.iter().filter_map(sizes::no_queue));
        self.mistakes.extend(sizes::too_many(&self.apps, &server.machine));
    }
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
