//! What a schedule does, chosen by its seed: orders to rota and faults around it, in random order.

use crate::seed::Rng;
use crate::wait;

/// One schedule.
#[derive(Debug)]
pub struct Plan {
    pub processes: usize,
    /// The rest of the app's table.
    pub keys: String,
    /// rota's log goes into a pipe that nobody reads until the end.
    pub silent_log: bool,
    /// State and spool directories are on file systems that can be filled.
    pub small_disk: bool,
    /// What is done, and milliseconds before it.
    pub steps: Vec<(u64, Step)>,
}

#[derive(Clone, Debug)]
pub enum Step {
    Order(Order),
    Fault(Fault),
}

/// What rota is told.
#[derive(Clone, Debug)]
pub enum Order {
    /// By its name.
    Deploy(Release),
    /// `current` is flipped, and a restart asked for.
    Flip(Release, How),
    /// The same release again.
    Restart,
    Rollback,
    Abort,
    Pause {
        millis: u64,
    },
    Resume,
    Detach {
        number: u64,
    },
}

/// Who asks for the restart after a flip.
#[derive(Clone, Copy, Debug)]
pub enum How {
    Command,
    Blocking,
    /// USR2
    Signal,
    /// The restart file is touched.
    File,
}

#[derive(Clone, Copy, Debug)]
pub struct Release(pub &'static str);

impl Release {
    /// No process of it ever becomes ready.
    pub fn never_serves(self) -> bool {
        NEVER.contains(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a process of the app, whatever it does.
    Kill,
    /// SIGSTOP of rota, and SIGCONT.
    Freeze { millis: u64 },
    /// rota can open this many descriptors more, for a time.
    Descriptors { spare: u64, millis: u64 },
    /// Both directories are full, for a time.
    Disk { millis: u64 },
    /// There is no memory for one more process, for a time.
    Memory { millis: u64 },
    /// So many clients of the control socket that never read.
    Deaf { clients: u64 },
}

impl Fault {
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Kill => "app process killed",
            Fault::Freeze { .. } => "rota stopped",
            Fault::Descriptors { .. } => "descriptors short",
            Fault::Disk { .. } => "disk full",
            Fault::Memory { .. } => "memory short",
            Fault::Deaf { .. } => "deaf control clients",
        }
    }
}

impl Plan {
    /// `mounts`: file systems can be mounted here.
    pub fn of(seed: u64, mounts: bool) -> Self {
        let mut rng = Rng::new(seed);
        let processes = rng.within(1, 3);
        let policy = rng.pick(&["resist", "rollback", "continue"]).unwrap();
        let (surge, bind) = (rng.within(0, 2), rng.pick(&["unix", "port", "fd"]).unwrap());
        // A sound release is not to fail because others use the machine, too.
        let ready = 2500 * wait::pace().min(4);
        let keys = format!(
            "processes = {processes}\nconcurrency = 8\nbind = {bind:?}\nsurge = {surge}\non_failure = {policy:?}\nprobation = \"100ms\"\n\
             ready.timeout = \"{ready}ms\"\nstop.timeout = \"300ms\"\ndrain.timeout = \"2s\"\nqueue.max = 1000\ntimeouts.pooled = \"100ms\"\n\
             restart_file = \"tmp/restart.txt\""
        );
        let mut plan = Self {
            processes: processes as usize,
            keys,
            silent_log: rng.percent(30),
            small_disk: mounts && rng.percent(40),
            steps: Vec::new(),
        };
        for _ in 0..rng.within(6, 14) {
            // Often at once: faults are to meet walks.
            let before = if rng.percent(30) { 0 } else { rng.within(0, 250) };
            let step = if rng.percent(50) { Step::Order(plan.order(&mut rng)) } else { Step::Fault(plan.fault(&mut rng)) };
            plan.steps.push((before, step));
        }
        plan
    }

    fn order(&self, rng: &mut Rng) -> Order {
        let release =
            Release(if rng.percent(60) { rng.pick(&GOOD).unwrap() } else { rng.pick(&[&NEVER[..], &SOMETIMES[..]].concat()).unwrap() });
        match rng.within(0, 99) {
            0..25 => Order::Deploy(release),
            25..55 => Order::Flip(release, rng.pick(&[How::Command, How::Command, How::Blocking, How::Signal, How::File]).unwrap()),
            55..65 => Order::Restart,
            65..75 => Order::Rollback,
            75..82 => Order::Abort,
            82..88 => Order::Pause { millis: rng.within(50, 800) },
            88..92 => Order::Resume,
            _ => Order::Detach { number: rng.within(1, self.processes as u64) },
        }
    }

    fn fault(&self, rng: &mut Rng) -> Fault {
        match rng.within(0, 99) {
            0..45 => Fault::Kill,
            45..57 => Fault::Freeze { millis: if rng.percent(20) { 3500 } else { rng.within(50, 1600) } },
            57..70 => Fault::Descriptors { spare: rng.within(0, 8), millis: rng.within(100, 900) },
            70..80 if self.small_disk => Fault::Disk { millis: rng.within(100, 900) },
            70..90 => Fault::Memory { millis: rng.within(100, 900) },
            _ => Fault::Deaf { clients: rng.within(5, 70) },
        }
    }

    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.steps.iter().filter_map(|(_, step)| match step {
            Step::Fault(fault) => Some(fault),
            Step::Order(_) => None,
        })
    }

    pub fn has(&self, name: &str) -> bool {
        self.faults().any(|fault| fault.name() == name)
    }
}

const GOOD: [&str; 6] = ["", "boot_delay 100", "boot_delay 400\nnoise 300", "ignores_term", "leaves_children", "leaves_sessions"];
const NEVER: [&str; 6] =
    ["leaves_sessions\nexit_at_boot 0", "exit_at_boot 1", "hang_at_boot", "answers 500", "wrong_port", "noise 500\nexit_at_boot 3"];
const SOMETIMES: [&str; 3] = ["process=2 exit_at_boot 1", "dies_after 50", "dies_after 300"];
