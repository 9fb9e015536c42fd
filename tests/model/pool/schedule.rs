//! The story of one seed: some apps, a time of faults, a time of calm, and the end.

use std::time::Duration;

use rota::config::{BakeConfig, LeaderPolicy, Lifespan, OnFailure, Sizes};
use rota::pool::{Aim, FailureKind, Limits, Outcome, Settings};

use super::books::{App, Check, Proc, ensure};
use super::rng::Rng;
use super::wear;
use super::world::{Told, World};

/// Longer than any chain of timeouts and backoffs.
const QUIET: Duration = Duration::from_secs(1_800);

pub fn run(seed: u64, told: Told) -> Result<World, String> {
    let mut rng = Rng::new(seed);
    let apps: Vec<Settings> = (0..rng.pick(&[1, 1, 2, 2, 3]).unwrap_or(1)).map(|_| settings(&mut rng)).collect();
    // Those that may have none need one place between them.
    let least = apps.iter().map(|app| u64::from(app.processes.min)).sum::<u64>() + u64::from(apps.iter().any(|app| app.processes.min == 0));
    let limits = Limits {
        processes: if rng.percent(50) { rng.within(least, least + 3) as usize } else { usize::MAX },
        spawning: if rng.percent(40) { rng.within(1, 3) as usize } else { usize::MAX },
    };
    let mut world = World::new(rng.next(), limits, told);
    for settings in apps {
        let short = world.rng.pick(&[0, 0, 0, 10, 30, 100]).unwrap_or(0);
        world.add(settings, short);
    }
    let faults = world.rng.within(10, 100);
    for _ in 0..faults {
        something_happens(&mut world)?;
        world.look(false)?;
    }
    if world.apps[0].ending {
        return end(world);
    }
    comes_to_rest(&mut world)?;
    a_good_release_goes_in(&mut world)?;
    let at_once = world.rng.percent(30);
    for _ in 0..world.rng.within(0, 6) {
        let app = any_app(&mut world);
        world.arrive(app)?;
    }
    world.stop(at_once)?;
    end(world)
}

fn settings(rng: &mut Rng) -> Settings {
    let processes = sizes(rng);
    let drain_timeout = rng.within(100, 30_000);
    let drain_longest = if rng.percent(40) { 0 } else { drain_timeout + rng.within(0, 60_000) };
    Settings {
        processes,
        concurrency: rng.within(1, 3) as u32,
        // What varies grows for what waits.
        queue_max: rng.within(u64::from(processes.min < processes.max), 5) as usize,
        queue_timeout: Duration::from_millis(rng.within(100, 30_000)),
        ready_timeout: Duration::from_millis(rng.within(500, 20_000)),
        probation: Duration::from_millis(if rng.percent(10) { 0 } else { rng.within(1, 5_000) }),
        drain_timeout: Duration::from_millis(drain_timeout),
        drain_longest: Duration::from_millis(drain_longest),
        stop_timeout: Duration::from_millis(rng.within(100, 10_000)),
        on_failure: rng.pick(&[OnFailure::Resist, OnFailure::Rollback, OnFailure::Continue]).unwrap_or(OnFailure::Resist),
        surge: rng.pick(&[0, 1, 1, 2, 3]).unwrap_or(1),
        leader: if rng.percent(30) { LeaderPolicy::Exclusive } else { LeaderPolicy::Overlap },
        bake: rng.percent(40).then(|| bake(rng)),
        lifespan: lifespan(rng),
    }
}

fn lifespan(rng: &mut Rng) -> Lifespan {
    let memory = rng.percent(20).then(|| rng.within(wear::MOST / 2, wear::MOST));
    let memory_hard = rng.percent(20).then(|| memory.unwrap_or(wear::MOST / 2) + rng.within(1, wear::MOST));
    Lifespan {
        memory,
        memory_hard,
        processes: None,
        requests: rng.percent(20).then(|| rng.within(1, 30)),
        age: rng.percent(5).then(|| Duration::from_secs(rng.within(5, 600))),
    }
}

fn sizes(rng: &mut Rng) -> Sizes {
    if rng.percent(40) {
        return Sizes::fixed(rng.within(1, 4) as u16);
    }
    let min = rng.within(0, 3) as u16;
    let max = rng.within(u64::from(min.max(1)), 4) as u16;
    Sizes { min, max, idle: Duration::from_millis(rng.within(100, 60_000)) }
}

fn bake(rng: &mut Rng) -> BakeConfig {
    BakeConfig {
        time: Duration::from_millis(rng.within(1, 20_000)),
        max_5xx: rng.within(0, 30) as u8,
        max_refused: 100,
        max_slowdown: rng.within(1, 4) as u16,
    }
}

fn any_app(world: &mut World) -> usize {
    world.rng.within(0, world.apps.len() as u64 - 1) as usize
}

fn something_happens(world: &mut World) -> Check {
    let app = any_app(world);
    match world.rng.within(0, 999) {
        0..330 => world.arrive(app),
        330..370 => world.leave(app),
        370..730 => {
            let time = match world.rng.within(0, 9) {
                0..=5 => world.rng.within(0, 1_000),
                6..=8 => world.rng.within(1_000, 10_000),
                _ => world.rng.within(10_000, 120_000),
            };
            world.pass(Duration::from_millis(time))
        }
        730..800 => world.ask(app),
        800..815 => world.restart_all(),
        815..835 => world.abort(app),
        835..850 => world.pause(app),
        850..860 => world.resume(app),
        860..880 => world.recycle(app),
        880..884 => rush(world, app),
        884..888 => world.weigh(app),
        888..890 => world.stick(app),
        890..930 => world.dies(app),
        930..945 => {
            let working = |proc: &Proc| proc.leader && proc.ended.is_none() && proc.first_signal.is_none();
            let able: Vec<usize> = (0..world.apps[app].procs.len()).filter(|proc| working(&world.apps[app].procs[*proc])).collect();
            let Some(proc) = world.rng.pick(&able) else { return Ok(()) };
            world.fail(app, proc, FailureKind::Thread("index out of bounds".to_owned()))
        }
        945..990 => stale_news(world, app),
        _ => {
            let at_once = world.rng.percent(30);
            world.stop(at_once)
        }
    }
}

/// Many requests, while whatever is under way goes on.
fn rush(world: &mut World, app: usize) -> Check {
    for _ in 0..world.rng.within(20, 80) {
        world.arrive(app)?;
        let time = world.rng.within(0, 300);
        world.pass(Duration::from_millis(time))?;
    }
    Ok(())
}

/// News of a process that has gone long ago changes nothing.
fn stale_news(world: &mut World, app: usize) -> Check {
    let gone: Vec<_> = world.apps[app].procs.iter().filter(|proc| proc.gone).map(|proc| proc.id).collect();
    let Some(id) = world.rng.pick(&gone) else { return Ok(()) };
    let (what, now) = (world.rng.within(0, 3), world.now);
    let group = world.pool.group_mut(id.group);
    match what {
        0 => group.ready(id, now),
        1 => group.spawned(id, 1, now),
        2 => group.group_empty(id, now),
        _ => group.exited(id, rota::pool::Exit::Status(0), Vec::new(), now),
    }
    world.check_views()
}

/// Nothing new happens. What was broken by chance is so no more, what its release breaks still is.
fn comes_to_rest(world: &mut World) -> Check {
    world.calm = world.calm.or(Some(world.now));
    world.pass(QUIET)?;
    // An app whose every release was bad has nothing to go back to, or only what served for a moment in its first start: it tries for
    // ever, until someone brings a better one.
    world.good_releases = true;
    for app in 0..world.apps.len() {
        if !world.apps[app].good.is_some_and(|good| world.apps[app].works(good)) {
            world.restart(app, Aim::Root)?;
        }
    }
    world.pass(QUIET)?;
    world.check_views()?;
    for app in &world.apps {
        app.check_at_rest()?;
        let resists = world.pool.group(app.id).view(world.now).resists.is_some();
        // Where processes are replaced again and again none is idle for long.
        let ages = app.settings.lifespan.age.is_some();
        ensure!(app.wanted() == app.min() || resists || ages, "{} processes stay, {} are the least", app.wanted(), app.min());
    }
    Ok(())
}

/// A good release meets calm, with requests on the way: it must go in, and nothing may serve less for it.
fn a_good_release_goes_in(world: &mut World) -> Check {
    let mut asked = Vec::new();
    for app in 0..world.apps.len() {
        world.apps[app].fewest = usize::MAX;
        let aim = if world.rng.percent(20) { Aim::AllAtOnce } else { Aim::Root };
        asked.push(world.restart(app, aim)?);
    }
    for _ in 0..20 {
        let app = any_app(world);
        world.arrive(app)?;
        let time = world.rng.within(0, 2_000);
        world.pass(Duration::from_millis(time))?;
    }
    world.pass(QUIET)?;
    for (app, generation) in asked.into_iter().enumerate() {
        let books = &world.apps[app];
        books.check_at_rest()?;
        ensure!(books.asked[&generation] == Some(Outcome::Done), "a good release ended as {:?}", books.asked[&generation]);
        ensure!(books.good == Some(generation) && books.serving().all(|proc| proc.generation == generation), "{generation} is not in");
        let out_of_service = match world.apps[app].aims[&generation] {
            Aim::AllAtOnce => books.max(),
            Aim::Root | Aim::Deploy(_) | Aim::Rollback(_) => usize::from(books.may_go_first()),
        };
        ensure!(books.fewest + out_of_service >= books.min(), "only {} of {} served during a good restart", books.fewest, books.min());
        ensure!(world.pool.group(books.id).view(world.now).resists.is_none(), "the group resists a release that went in");
    }
    Ok(())
}

/// After a stop everything is gone in bounded time.
fn end(mut world: World) -> Result<World, String> {
    world.calm = world.calm.or(Some(world.now));
    if world.rng.percent(20) {
        let time = world.rng.within(0, 40_000);
        world.pass(Duration::from_millis(time))?;
        world.stop(true)?;
    }
    world.pass(QUIET)?;
    ensure!(world.pool.is_stopped(), "not stopped");
    world.drain_queues()?;
    ensure!(world.pool.next_deadline().is_none(), "something is still to come");
    world.apps.iter().try_for_each(App::check_at_rest)?;
    Ok(world)
}
