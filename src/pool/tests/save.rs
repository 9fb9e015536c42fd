//! The table is saved in one rota and goes on in the next. That nothing at all is lost shows the model, which saves it at any moment.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;

use super::*;
use crate::moment::counted_from;

type Strs = Pool<&'static str>;

/// As JSON, counted from the rig's now.
fn saved(rig: &Rig) -> Value {
    counted_from(rig.now, || serde_json::to_value(rig.pool.save().unwrap()).unwrap())
}

/// `now`: what was the moment of the saving.
fn restored(saved: &Value, now: Instant, order: &[&str]) -> Result<(Strs, Numbers), String> {
    let number = |app: &AppName| Some(GroupId(order.iter().position(|other| app.as_str() == *other)? as u16));
    let saved: Saved<Group<&'static str>> =
        counted_from(now, || serde_json::from_str(&saved.to_string())).map_err(|error| error.to_string())?;
    Pool::restore(saved, number)
}

fn from(address: &str) -> Visitor {
    Visitor::of(Some(address.parse::<IpAddr>().unwrap()))
}

/// A restart is under way: one of two has been replaced, the old one has a session, and three requests wait.
fn in_the_midst() -> (Rig, Vec<Claim>) {
    let mut rig = Rig::of(Limits { processes: 7, spawning: 2 }, [("blog", SETTINGS), ("shop", SETTINGS)]);
    rig.steps();
    for name in ["blog/1 g1", "shop/1 g1", "blog/2 g1", "shop/2 g1"] {
        rig.ready(name);
        rig.steps_for(2.0);
    }
    rig.turn_to("blog");
    let mut claims: Vec<Claim> = (0..2).map(|_| rig.claim("in hand")).collect();
    rig.restart();
    rig.steps();
    rig.ready("blog/1 g2");
    rig.steps_for(3.0);
    claims.push(rig.claim("on the new one"));
    for (id, address) in [(1, "192.0.2.1"), (2, "192.0.2.1"), (3, "127.0.0.1")] {
        let (who, now) = (Waiter { id: WaitId(id), visitor: from(address) }, rig.now + Duration::from_secs(id));
        assert!(matches!(rig.group().admit(Wish::Anywhere, who, address, now), Admission::Queued));
    }
    rig.after(5.0);
    (rig, claims)
}

#[test]
fn a_walk_goes_on_where_it_was_under_another_number_and_by_another_clock() {
    let (mut rig, claims) = in_the_midst();
    let saved = saved(&rig);
    let later = rig.now + Duration::from_secs(3600);
    let (mut pool, numbers) = restored(&saved, later, &["shop", "blog"]).unwrap();
    let (old, new) = (rig.pool.find("blog").unwrap(), pool.find("blog").unwrap());
    assert_eq!((numbers.group(old), new), (Ok(new), GroupId(1)));
    // What waits comes again, and what is in hand is counted.
    let text = |waiting: &Waiting<&'static str>| serde_json::to_string(&waiting.with(0)).unwrap();
    let waiting: Vec<_> = counted_from(rig.now, || rig.pool.group(old).waiting().map(|waiting| (text(waiting), waiting.what)).collect());
    for (text, what) in waiting {
        let waiting: Waiting<u8> = counted_from(later, || serde_json::from_str(&text).unwrap());
        pool.group_mut(new).wait_again(waiting.with(what));
    }
    let counted = claims.iter().fold(HashMap::new(), |mut counted, claim| {
        *counted.entry(numbers.process(claim.process()).unwrap()).or_default() += 1;
        counted
    });
    let CameOver { differs, granted } = pool.came_over(&counted, later);
    assert!(differs.is_empty() && granted.is_empty(), "{differs:?}");
    assert_eq!(pool.group(new).view(later), rig.pool.group(old).view(rig.now));
    assert_eq!(pool.next_deadline().map(|at| at - later), rig.pool.next_deadline().map(|at| at - rig.now));
    assert!(pool.next_step(later).is_none(), "no step is named again");
    // The one that drains gives back its slot; the queue is served in the order of then.
    for claim in claims {
        let text = counted_from(rig.now, || serde_json::to_string(&claim).unwrap());
        let again: Claim = counted_from(later, || serde_json::from_str(&text).unwrap());
        let again = again.numbered(&numbers).unwrap();
        let granted = pool.group_mut(new).finish(again, Ended::Answered(200), later).map(|(claim, what)| (claim.process().serial, what));
        assert_eq!(granted, rig.finish(claim).map(|(claim, what)| (claim.process().serial, what)));
    }
    assert_eq!(pool.group(new).view(later), rig.view());
    let steps = |pool: &mut Strs, now| std::iter::from_fn(|| pool.next_step(now)).map(|step| format!("{step:?}")).collect::<Vec<_>>();
    let named = steps(&mut pool, later);
    let numbers_of_then = named.iter().map(|step| step.replace("GroupId(1)", "GroupId(0)")).collect::<Vec<_>>();
    assert_eq!(numbers_of_then, steps(&mut rig.pool, rig.now));
    assert!(!named.is_empty());
}

#[test]
fn what_did_not_come_over_leaves_its_slot_and_its_place() {
    let (rig, claims) = in_the_midst();
    let (mut pool, _) = restored(&saved(&rig), rig.now, &["blog", "shop"]).unwrap();
    let of = claims[2].process();
    drop(claims);
    let who = Waiter { id: WaitId(3), visitor: from("127.0.0.1") };
    pool.group_mut(GroupId(0)).wait_again(Waiting { who, since: rig.now, bound: None, what: "came" });
    let CameOver { differs, granted } = pool.came_over(&HashMap::new(), rig.now);
    let said: Vec<String> = differs.iter().map(ToString::to_string).collect();
    assert!(said.contains(&"blog/1 g2: 1 sessions were saved, 0 are there".to_owned()) && said.len() == 3, "{said:?}");
    assert!(matches!(&granted[..], [(claim, "came")] if claim.process() == of || claim.process().group == of.group));
    pool.check().unwrap();
}

#[test]
fn what_cannot_be_taken_over_is_named() {
    let (rig, _claims) = in_the_midst();
    let good = saved(&rig);
    let why = |change: &dyn Fn(&mut Value)| {
        let mut saved = good.clone();
        change(&mut saved);
        restored(&saved, rig.now, &["blog", "shop"]).unwrap_err()
    };
    assert!(why(&|saved| saved["format"] = 2.into()).contains("format 2 of the pool is not understood, 1 is"));
    let more = |saved: &mut Value| (saved["groups"][0]["walk"]["new"], saved["more"]) = (1.into(), 1.into());
    let mut of_a_later_one = good.clone();
    more(&mut of_a_later_one);
    restored(&of_a_later_one, rig.now, &["blog", "shop"]).expect("what a later version has besides is its own");
    let missing = |saved: &mut Value| drop(saved["groups"][1].as_object_mut().unwrap().remove("outcomes"));
    assert!(why(&missing).contains("missing field `outcomes`"));
    assert!(why(&|saved| saved["groups"][0]["processes"][0]["state"] = "asleep".into()).contains("asleep"));
    assert!(why(&|saved| saved["groups"][0]["processes"][0]["number"] = 9.into()).starts_with("blog: process 9 with serial"));
    assert!(why(&|saved| saved["groups"][1]["good"] = Value::Null).starts_with("shop: nothing is wanted of a group that does not end"));
    assert!(why(&|saved| saved["groups"][1]["app"] = "mail".into()) == "mail: it was saved, and is not in the configuration");
    assert!(why(&|saved| saved["limits"]["processes"] = 3.into()).contains("processes are there or promised, 3 may be"));
    assert_eq!(restored(&good, rig.now, &["new", "blog", "shop"]).unwrap_err(), "shop: its number is 2, 2 apps were saved");
}

#[test]
fn an_app_that_was_taken_out_is_left_behind_once_it_has_ended() {
    let mut rig = Rig::of(Limits::default(), [("blog", SETTINGS), ("shop", SETTINGS)]);
    rig.steps();
    rig.ready("shop/1 g1");
    rig.steps_for(2.0);
    let now = rig.now;
    rig.group().take_out(now);
    let why = rig.pool.save().unwrap_err();
    assert!(why.starts_with("blog was taken out of the configuration and has not ended: 1 of its processes"), "{why}");
    rig.steps();
    rig.exits("blog/1 g1", 0);
    rig.steps();
    let (pool, numbers) = restored(&saved(&rig), now, &["shop"]).unwrap();
    assert_eq!((pool.groups().count(), numbers.group(GroupId(1))), (1, Ok(GroupId(0))));
    assert_eq!(numbers.group(GroupId(0)), Err("no app was saved with number 0".to_owned()));
}

#[test]
fn a_release_that_was_being_resolved_is_resolved_anew() {
    let mut rig = Rig::serving(SETTINGS);
    let asked = |step| match step {
        Some(Step::Resolve { ask, .. }) => ask.generation,
        other => panic!("{other:?}"),
    };
    let now = rig.now;
    rig.restart();
    assert_eq!(asked(rig.pool.next_step(now)), Generation(2));
    assert!(rig.pool.next_step(now).is_none());
    rig.group().resolve_again();
    assert_eq!(asked(rig.pool.next_step(now)), Generation(2));
    // Another was asked for meanwhile.
    rig.restart();
    rig.group().resolve_again();
    assert_eq!(rig.steps(), ["g2: superseded by g3", "resolve g3", "spawn 1 g3"]);
    // Of a first start nothing but its walk is known.
    let mut rig = Rig::new(SETTINGS);
    assert_eq!(asked(rig.pool.next_step(rig.now)), Generation(1));
    rig.group().resolve_again();
    assert_eq!(rig.steps(), ["resolve g1", "spawn 1 g1"]);
}
