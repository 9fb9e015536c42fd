//! What happens in one round of each row, and how it must end. A broken release is followed by a good one: a group that could not go on
//! from there would have lost more than requests.

use std::time::Instant;

use rustix::process::Signal;

use crate::wait::{self, secs};

use super::cells::{Fault, Row};
use super::stage::{Left, Stage, holding, open, pace};

pub fn play(stage: &mut Stage) {
    match stage.cell.row {
        Row::Good | Row::IgnoresTerm | Row::LeavesChildren => stage.good_release(),
        Row::TenReleases => (0..10).for_each(|_| stage.good_release()),
        Row::TenTriggers => ten_triggers(stage),
        Row::TriggerDuring => trigger_during(stage),
        Row::FlipHalfWay => flip_half_way(stage),
        Row::Broken(fault) => broken(stage, fault, 1),
        Row::BrokenAtLast(fault) => broken(stage, fault, stage.cell.processes),
        Row::OldKilled => old_killed(stage),
        Row::NewKilledBooting => new_killed_booting(stage),
        Row::NewKilledServing => new_killed_serving(stage),
    }
}

fn ten_triggers(stage: &mut Stage) {
    let version = stage.release(stage.cell.row.behaviour());
    stage.span(&version, |stage| {
        let began = Instant::now();
        for turn in 0..10 {
            pace(began, turn);
            if turn % 2 == 0 {
                stage.site.signal(Signal::USR2);
            } else {
                stage.site.rota(&["restart", "app", "--no-wait"]).expect(0);
            }
        }
        // All ten are for one release.
        stage.deployments += 1;
        stage.statuses.push(0);
        wait::until("the walk ends", secs(60), || !stage.walks());
        Left { old: 0, new: stage.cell.processes }
    });
}

/// The second restart is asked for when the first is half-way.
fn trigger_during(stage: &mut Stage) {
    let before = stage.newest();
    let first = stage.gated(middle(stage));
    let second = stage.write(stage.cell.row.behaviour());
    stage.span(&second, |stage| {
        let (overtaken, done) = std::thread::scope(|scope| {
            let site = &stage.site;
            let overtaken = scope.spawn(|| site.rota(&["restart", "app"]));
            half_way(stage, before);
            site.flip(&second);
            let done = site.rota(&["restart", "app"]);
            (overtaken.join().expect("a command does not panic"), done)
        });
        stage.note(&overtaken, 6);
        stage.note(&done, 0)
    });
    stage.also_during(&first);
}

fn flip_half_way(stage: &mut Stage) {
    let before = stage.newest();
    let version = stage.gated(middle(stage));
    let broken = stage.write("exit_at_boot 1");
    stage.span(&version, |stage| {
        let said = std::thread::scope(|scope| {
            let site = &stage.site;
            let said = scope.spawn(|| site.rota(&["restart", "app"]));
            half_way(stage, before);
            site.flip(&broken);
            open(site, &version);
            said.join().expect("a command does not panic")
        });
        stage.note(&said, 0)
    });
}

/// The process that boots when a walk is half-way.
fn middle(stage: &Stage) -> usize {
    stage.cell.processes.min(2)
}

/// Waits until the walk is in the middle: one of several replaced and the second booting, or the only one booting.
fn half_way(stage: &Stage, before: u64) {
    wait::until("the walk is half-way", secs(60), || {
        !stage.newer(before, "starting").is_empty() && stage.newer(before, "serving").len() == middle(stage) - 1
    });
}

/// The processes from number `first` on do not start.
fn broken(stage: &mut Stage, fault: Fault, first: usize) {
    let n = stage.cell.processes;
    let end = stage.cell.end_of_failure(first, n);
    let only = if first == 1 { String::new() } else { format!("process={first} ") };
    let version = stage.release(&format!("{only}{}", fault.behaviour()));
    stage.span(&version, |stage| {
        let said = stage.site.rota(&["restart", "app"]);
        stage.note(&said, end.status);
        Left { old: end.old, new: end.new }
    });
    if first > 1 {
        stage.also_during(&version);
    }
    stage.good_release();
}

/// The old one that is killed serves: beside the first new one, or, where it is the only one, while the new one boots.
fn old_killed(stage: &mut Stage) {
    let before = stage.newest();
    let version = stage.gated(middle(stage));
    stage.span(&version, |stage| {
        let said = std::thread::scope(|scope| {
            let site = &stage.site;
            let restart = scope.spawn(move || site.rota(&["restart", "app"]));
            half_way(stage, before);
            let victim = *site.serving(before).first().expect("an old process serves");
            stage.fault(victim);
            open(site, &version);
            restart.join().expect("a command does not panic")
        });
        stage.kills += 1;
        stage.note(&said, 0)
    });
    stage.see_every_client();
}

/// A release whose process is killed before it was ready has failed, whoever killed it.
fn new_killed_booting(stage: &mut Stage) {
    let before = stage.newest();
    let end = stage.cell.end_of_failure(1, 1);
    let version = stage.gated(1);
    stage.span(&version, |stage| {
        let said = std::thread::scope(|scope| {
            let site = &stage.site;
            let restart = scope.spawn(move || site.rota(&["restart", "app"]));
            let victim = wait::found("the new one boots", secs(30), || stage.newer(before, "starting").first().copied());
            stage.fault(victim);
            restart.join().expect("a command does not panic")
        });
        stage.note(&said, end.status);
        Left { old: end.old, new: end.new }
    });
    stage.good_release();
}

/// A new one that has proved itself is killed while an old one drains: that is no failure of the release.
fn new_killed_serving(stage: &mut Stage) {
    let before = stage.newest();
    holding(stage, |stage, let_go| {
        let version = stage.release(stage.cell.row.behaviour());
        stage.span(&version, |stage| {
            let said = std::thread::scope(|scope| {
                let site = &stage.site;
                let restart = scope.spawn(move || site.rota(&["restart", "app"]));
                wait::until("an old one drains and a new one serves", secs(30), || {
                    let drains = site.processes().iter().any(|(_, g, _, state)| *g == before && state == "draining");
                    drains && !stage.newer(before, "serving").is_empty()
                });
                let victim = stage.newer(before, "serving")[0];
                stage.fault(victim);
                wait::until("it is replaced", secs(30), || {
                    let serving = stage.newer(before, "serving");
                    !serving.is_empty() && !serving.contains(&victim)
                });
                let_go(stage);
                restart.join().expect("a command does not panic")
            });
            stage.kills += 1;
            stage.note(&said, 0)
        });
    });
    stage.see_every_client();
}
