//! What somebody who is neither root nor rota's own user may ask, and hear. No I/O.

use std::borrow::Cow;

use crate::control::proto::{Reply, Request};
use crate::ids::AppName;
use crate::operators::{OperatedApp, Person, Rights};

/// Somebody who is known, and what he may do.
#[derive(Clone, Debug)]
pub struct Guest {
    pub person: Person,
    pub rights: Rights,
}

impl Guest {
    /// Err: why not, for him.
    pub fn may(&self, request: &Request) -> Result<(), String> {
        let Self { person: Person { name, uid, .. }, rights } = self;
        if rights.apps.is_empty() && !rights.looks {
            return Err(format!("uid {uid} may not operate this rota: only its own user, root and operators of an app may"));
        }
        if rights.looks && request.only_looks() {
            return Ok(());
        }
        if rights.apps.is_empty() {
            return Err(format!("uid {uid} may only look (server.control_group): status, history and requests"));
        }
        let mine = || listed(&rights.apps);
        let Some((verb, app)) = of_operators(request) else {
            return Err(format!("{name} may operate {}, not {}: that is for root and the user that rota runs as", mine(), others(request)));
        };
        match app {
            Some(app) => match rights.apps.iter().find(|mine| mine.name.as_str() == app) {
                None => Err(format!("{name} may {verb} {}, not {app}: operators of [app.{app}] would have to name {name}", mine())),
                Some(OperatedApp { is_root: true, .. }) if matches!(request, Request::Deploy { .. }) => {
                    Err(format!("{app} runs as root: {name} would be root by a directory of his choice; root may deploy it"))
                }
                Some(_) => Ok(()),
            },
            // What he hears is of his apps.
            None if request.only_looks() => Ok(()),
            None => Err(format!("{name} may {verb} {}, not all apps: name the one that is meant", mine())),
        }
    }

    /// What of a reply is his to know.
    pub fn hears(&self, mut reply: Reply) -> Reply {
        if self.rights.looks {
            return reply;
        }
        let is_mine = |app: &AppName| self.rights.apps.iter().any(|mine| mine.name == *app);
        match &mut reply {
            Reply::Status(status) => {
                status.apps.retain(|app| is_mine(&app.app));
                status.broken.retain(|broken| self.rights.apps.iter().any(|mine| mine.name.as_str() == broken.app));
            }
            Reply::History { apps } => apps.retain(|app| is_mine(&app.app)),
            Reply::Requests { requests, silent } => {
                requests.retain(|request| is_mine(&request.app));
                silent.retain(|process| process.split_once('/').is_some_and(|(app, _)| is_mine_named(&self.rights, app)));
            }
            Reply::Asked { .. }
            | Reply::Progress(_)
            | Reply::Ended(_)
            | Reply::Pausing(_)
            | Reply::Resumed { .. }
            | Reply::Detaching { .. }
            | Reply::Detached { .. }
            | Reply::Metrics { .. }
            | Reply::Drained { .. }
            | Reply::Plan { .. }
            | Reply::Upgrading { .. }
            | Reply::Upgraded(_)
            | Reply::Stopping
            | Reply::Error { .. } => {}
        }
        reply
    }
}

fn is_mine_named(rights: &Rights, app: &str) -> bool {
    rights.apps.iter().any(|mine| mine.name.as_str() == app)
}

/// What an operator may do, as a verb, and to which app. None: it is not for operators.
fn of_operators(request: &Request) -> Option<(&'static str, Option<&str>)> {
    match request {
        Request::Status { app } | Request::History { app } | Request::Requests { app, .. } => Some(("look at", app.as_deref())),
        Request::Restart { app, .. } => Some(("restart", app.as_deref())),
        Request::Deploy { app, .. } => Some(("deploy", Some(app))),
        Request::Rollback { app, .. } => Some(("roll back", Some(app))),
        Request::Abort { app, .. } => Some(("call off what is under way of", Some(app))),
        Request::Pause { app, .. } => Some(("pause", Some(app))),
        Request::Resume { app } => Some(("resume", Some(app))),
        Request::Detach { .. }
        | Request::Drain {}
        | Request::Undrain {}
        | Request::Drained {}
        | Request::Metrics { .. }
        | Request::Reload { .. }
        | Request::Upgrade { .. }
        | Request::Stop {} => None,
    }
}

/// What is for root alone.
fn others(request: &Request) -> Cow<'static, str> {
    match request {
        Request::Detach { app, number, .. } => Cow::Owned(format!("detach {app}/{number}")),
        Request::Drain {} => Cow::Borrowed("drain this rota"),
        Request::Undrain {} => Cow::Borrowed("undrain this rota"),
        Request::Drained {} => Cow::Borrowed("ask whether this rota is drained"),
        Request::Metrics { .. } => Cow::Borrowed("read what this rota counts"),
        Request::Reload { .. } => Cow::Borrowed("reload this rota"),
        Request::Upgrade { .. } => Cow::Borrowed("upgrade this rota"),
        Request::Stop {} => Cow::Borrowed("stop this rota"),
        Request::Status { .. }
        | Request::History { .. }
        | Request::Requests { .. }
        | Request::Restart { .. }
        | Request::Deploy { .. }
        | Request::Rollback { .. }
        | Request::Abort { .. }
        | Request::Pause { .. }
        | Request::Resume { .. } => Cow::Borrowed("that"),
    }
}

/// `blog`, `blog and shop`, `blog, shop and wiki`.
fn listed(apps: &[OperatedApp]) -> String {
    let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::proto::{InHand, parse_request};
    use crate::ids::{Generation, Number};

    fn guest(looks: bool, apps: &[&str]) -> Guest {
        let app = |name: &&str| OperatedApp { name: AppName::new(name.trim_end_matches('!')).unwrap(), is_root: name.ends_with('!') };
        let person = Person { name: "deploy".into(), uid: 4711, groups: vec![] };
        Guest { person, rights: Rights { looks, apps: apps.iter().map(app).collect() } }
    }

    fn may(guest: &Guest, request: &str) -> Result<(), String> {
        guest.may(&parse_request(format!("{{\"v\":1,\"do\":{request}}}").as_bytes()).unwrap())
    }

    #[test]
    fn an_operator_does_what_operators_do_to_his_apps() {
        let deploy = guest(false, &["blog", "wiki"]);
        for request in [
            r#""status""#,
            r#""status","app":"blog""#,
            r#""history""#,
            r#""requests""#,
            r#""restart","app":"wiki""#,
            r#""deploy","app":"blog","directory":"/x""#,
            r#""rollback","app":"blog""#,
            r#""abort","app":"blog""#,
            r#""pause","app":"blog""#,
            r#""resume","app":"blog""#,
        ] {
            assert_eq!(may(&deploy, request), Ok(()), "{request}");
        }
    }

    #[test]
    fn what_is_not_his_says_what_would_be_needed() {
        let (deploy, root) = (guest(false, &["blog", "wiki"]), "that is for root and the user that rota runs as");
        for (request, why) in [
            (r#""restart","app":"shop""#, "deploy may restart blog and wiki, not shop: operators of [app.shop] would have to name deploy"),
            (r#""status","app":"shop""#, "deploy may look at blog and wiki, not shop: operators of [app.shop] would have to name deploy"),
            (r#""restart""#, "deploy may restart blog and wiki, not all apps: name the one that is meant"),
            (r#""stop""#, &format!("deploy may operate blog and wiki, not stop this rota: {root}")),
            (r#""reload""#, &format!("deploy may operate blog and wiki, not reload this rota: {root}")),
            (r#""drain""#, &format!("deploy may operate blog and wiki, not drain this rota: {root}")),
            (r#""undrain""#, &format!("deploy may operate blog and wiki, not undrain this rota: {root}")),
            (r#""detach","app":"blog","number":2"#, &format!("deploy may operate blog and wiki, not detach blog/2: {root}")),
        ] {
            assert_eq!(may(&deploy, request), Err(why.to_owned()), "{request}");
        }
    }

    #[test]
    fn of_an_app_that_runs_as_root_he_chooses_no_directory() {
        let deploy = guest(false, &["blog!"]);
        assert_eq!(may(&deploy, r#""restart","app":"blog""#), Ok(()));
        assert!(may(&deploy, r#""deploy","app":"blog","directory":"/x""#).unwrap_err().starts_with("blog runs as root: "));
    }

    #[test]
    fn who_looks_and_who_is_nobody() {
        let (both, looker, nobody) = (guest(true, &["blog"]), guest(true, &[]), guest(false, &[]));
        assert_eq!(may(&both, r#""status","app":"shop""#), Ok(()));
        assert_eq!(may(&both, r#""restart","app":"blog""#), Ok(()));
        assert!(may(&looker, r#""restart","app":"blog""#).unwrap_err().contains("uid 4711 may only look"));
        assert!(may(&nobody, r#""status""#).unwrap_err().contains("may not operate this rota"));
    }

    #[test]
    fn a_reply_is_of_his_apps() {
        let request = |app: &str| InHand {
            app: AppName::new(app).unwrap(),
            number: Number(1),
            generation: Generation(1),
            class: "request".into(),
            line: "GET /".into(),
            client: None,
            seconds: 0.0,
            received: 0,
            unsent: 0,
        };
        let all =
            || Reply::Requests { requests: vec![request("blog"), request("shop")], silent: vec!["blog/1 g1".into(), "shop/1 g1".into()] };
        let his = Reply::Requests { requests: vec![request("blog")], silent: vec!["blog/1 g1".into()] };
        assert_eq!(guest(false, &["blog"]).hears(all()), his);
        assert_eq!(guest(true, &["blog"]).hears(all()), all());
    }
}
