//! Configuration files: never a panic, each mistake has a place inside its text, and what is taken is what `Config` promises.
//!
//! An input is rota.toml and, behind joints, the files of apps.d.

use std::collections::HashSet;

use rota::config::{self, Config, Mistake, Place, SourceFile};
use rota::ids::GroupId;
use rota::router::Router;

pub fn check(bytes: &[u8]) {
    let texts = bytes.split(|byte| *byte == super::JOINT).map(|text| String::from_utf8_lossy(text).into_owned());
    let names = ["rota.toml", "apps.d/blog.toml", "apps.d/shop.toml", "apps.d/b\u{e4}d name.toml"];
    let files: Vec<SourceFile> = names.iter().zip(texts).map(|(path, text)| SourceFile { path: path.into(), text }).collect();
    let (report, whole) = match config::parse(&files) {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            keeps_its_promises(&loaded.config);
            (loaded.warnings, true)
        }
        Err(report) => (report, false),
    };
    assert_eq!(report.has_errors(), !whole);
    for mistake in report.mistakes() {
        has_its_places(mistake, &files);
    }
    let (plain, coloured) = (report.render(false), report.render(true));
    assert_eq!(plain.is_empty(), report.is_empty());
    assert!(plain.len() <= coloured.len());
    // A mistake shows at most its line twice, and there are not more of them than bytes.
    assert!(report.mistakes().len() <= 2 * bytes.len() + 2);
}

fn has_its_places(mistake: &Mistake, files: &[SourceFile]) {
    assert!(!mistake.message.is_empty());
    is_inside(&mistake.place, files);
    if let Some(also) = &mistake.also {
        is_inside(&also.place, files);
    }
}

fn is_inside(place: &Place, files: &[SourceFile]) {
    let file = files.iter().find(|file| file.path == place.file).unwrap_or_else(|| panic!("{place:?} is in no file"));
    let Some(position) = &place.position else { return };
    assert!(file.text.get(position.span.clone()).is_some(), "{position:?} is outside, or in the middle of a character");
    let before: Vec<&str> = file.text[..position.span.start].split('\n').collect();
    assert_eq!((position.line, position.column), (before.len(), before[before.len() - 1].chars().count() + 1));
}

fn keeps_its_promises(config: &Config) {
    assert!(!config.server.listen.is_empty());
    assert!((1..=128).contains(&config.server.limits.headers));
    let names: Vec<&str> = config.apps.iter().map(|app| app.name.as_str()).collect();
    assert!(names.is_sorted() && names.iter().collect::<HashSet<_>>().len() == names.len());
    let mut routes = HashSet::new();
    for (index, app) in config.apps.iter().enumerate() {
        assert!(
            app.processes.max >= 1.max(app.processes.min)
                && app.start.concurrency.is_none_or(|slots| slots >= 1)
                && app.start.command.as_ref().is_none_or(|words| !words.is_empty())
        );
        assert!(app.ready.path.starts_with('/') && app.warmup.iter().all(|path| path.starts_with('/')));
        assert!(app.ready.path.bytes().chain(app.default_host().bytes()).all(|byte| (0x21..0x7f).contains(&byte)), "it goes into a head");
        for route in &app.routes {
            assert!(routes.insert(format!("{route:?}")), "two apps have {route:?}");
            assert!(route.path == "/" || (route.path.starts_with('/') && !route.path.ends_with('/')));
            let router = Router::new([(GroupId(index as u16), route)]);
            let host = match &route.host {
                config::HostPattern::Exact(host) => host.clone(),
                config::HostPattern::Suffix(suffix) => format!("x{suffix}"),
                config::HostPattern::Any => "any.example".to_owned(),
            };
            assert!(router.route(Some(&host), &route.path).is_some(), "{route:?} leads to its app");
        }
    }
}
