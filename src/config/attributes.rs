//! `umask`, `nice`, `oom_score_adj`, `no_new_privs` and the resource limits among `limits`: what a process is started with and keeps. Core:
//! text only.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::section::{Section, Value};
use super::units::{GIB, KIB};

/// What the kernel holds a process to, whoever it runs as. Part of what is kept with a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnAttributes {
    /// Bits that a new file does not get (umask(2)).
    pub umask: u32,
    /// -20 to 19 (nice(2)). None: rota's own.
    pub nice: Option<i32>,
    /// -1000 to 1000 (proc(5)). None: [`OOM_SCORE_ABOVE`] more than rota's own, so that the kernel, short of memory, ends an app and not rota.
    pub oom_score_adj: Option<i32>,
    /// No program that it executes gives it more rights: setuid and setgid bits and file capabilities mean nothing (prctl(2)).
    pub no_new_privs: bool,
    /// Soft and hard limit alike (setrlimit(2)); None: no limit. What is not named stays as rota was started with.
    pub rlimits: Vec<(ResourceLimit, Option<u64>)>,
}

/// Prints itself as its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourceLimit {
    /// Open descriptors.
    Nofile,
    /// Processes and threads of the user, those of other apps too.
    Nproc,
    /// Bytes of a core file.
    Core,
    /// Bytes of any file that is written.
    Fsize,
    /// Bytes locked into memory.
    Memlock,
    /// Bytes of the main thread's stack.
    Stack,
}

impl Default for SpawnAttributes {
    fn default() -> Self {
        Self { umask: 0o022, nice: None, oom_score_adj: None, no_new_privs: false, rlimits: Vec::new() }
    }
}

impl fmt::Display for ResourceLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, _) = LIMITS.iter().find(|(_, limit)| limit == self).unwrap_or(&LIMITS[0]);
        f.write_str(key)
    }
}

/// `limits`: the app's table of that name.
pub fn attributes(app: &Section<'_>, limits: &Section<'_>) -> SpawnAttributes {
    let rlimit = |(key, limit): &(&'static str, ResourceLimit)| Some((*limit, rlimit(&limits.get(key.strip_prefix("limits.")?)?, *limit)?));
    let default = SpawnAttributes::default();
    SpawnAttributes {
        umask: app.get("umask").and_then(|value| umask(&value)).unwrap_or(default.umask),
        nice: app.get("nice").and_then(|value| value.signed(-20..=19)),
        oom_score_adj: app.get("oom_score_adj").and_then(|value| value.signed(-1000..=1000)),
        no_new_privs: app.truth("no_new_privs", default.no_new_privs),
        rlimits: LIMITS.iter().filter_map(rlimit).collect(),
    }
}

fn umask(value: &Value<'_>) -> Option<u32> {
    octal(value, "octal digits in quotes, as \"022\" or \"0027\"")
}

/// Octal digits, as a shell's umask takes and shows them. A number would be read as a decimal one by people and TOML alike.
pub fn octal(value: &Value<'_>, help: &str) -> Option<u32> {
    if !value.is_text() {
        value.note(value.error(format!("{} is a text in quotes", value.name)).help(help));
        return None;
    }
    let text = value.text()?;
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mask = u32::from_str_radix(text, 8).ok().filter(|mask| is_octal && *mask <= 0o777);
    if mask.is_none() {
        value.note(value.error(format!("{} cannot be {text:?}", value.name)).help(help));
    }
    mask
}

/// Some(None): no limit.
fn rlimit(value: &Value<'_>, limit: ResourceLimit) -> Option<Option<u64>> {
    if value.is_text() && value.text() == Some("unlimited") && limit != ResourceLimit::Nofile {
        return Some(None);
    }
    match limit {
        // Less than the least of each lets no program start.
        ResourceLimit::Nofile => value.number(16..=1 << 30),
        ResourceLimit::Nproc => value.number(1..=1 << 22),
        ResourceLimit::Core | ResourceLimit::Fsize | ResourceLimit::Memlock => value.size(0..=1024 * GIB),
        ResourceLimit::Stack => value.size(64 * KIB..=GIB),
    }
    .map(Some)
}

/// Keys, as ulimit and limits.conf(5) call them.
pub const LIMITS: [(&str, ResourceLimit); 6] = [
    ("limits.nofile", ResourceLimit::Nofile),
    ("limits.nproc", ResourceLimit::Nproc),
    ("limits.core", ResourceLimit::Core),
    ("limits.fsize", ResourceLimit::Fsize),
    ("limits.memlock", ResourceLimit::Memlock),
    ("limits.stack", ResourceLimit::Stack),
];

/// As if the app took a tenth of the machine's memory more than it does (proc(5)): more than rota ever takes.
pub const OOM_SCORE_ABOVE: i32 = 100;
