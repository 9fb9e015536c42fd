//! A command that runs beside the story: its output line by line as it comes, and how it ended. Nothing here blocks for long.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::story::Spoken;
use crate::pool::Exit;

/// A child whose stdout and stderr are heard as one. Dropping it while it runs ends it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    ended: Option<Exit>,
}

impl Running {
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = own_group(command).spawn()?;
        let (sender, lines) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Dropping `running` on an error ends the child.
        let running = Self { child, lines, ended: None };
        for pipe in [stdout.map(boxed), stderr.map(boxed)].into_iter().flatten() {
            let sender = sender.clone();
            thread::Builder::new().name("hear".into()).spawn(move || hear(pipe, &sender))?;
        }
        Ok(running)
    }
}

impl Spoken for Running {
    fn lines(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    fn ended(&mut self) -> io::Result<Option<(Exit, Vec<String>)>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let exit = exit(status);
        self.ended = Some(exit);
        Ok(Some((exit, rest(&self.lines))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It does not run for the server's sake: nothing is lost with it.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// In its own process group: a Ctrl-C at the terminal reaches the demo alone, which then ends its children in the right order.
pub fn own_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Asks with SIGTERM, and insists with SIGKILL when `patience` is over. Gives false when it had to insist.
pub fn stop(child: &mut Child, patience: Duration) -> io::Result<bool> {
    let limit = Instant::now() + patience;
    if child.try_wait()?.is_none()
        && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        // Not yet waited for, so the number is still the child's.
        kill_process(pid, Signal::TERM)?;
    }
    while child.try_wait()?.is_none() {
        if Instant::now() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// How it ended, in the words of the rest of rota.
pub fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, signal) => Exit::Signal { signal: signal.unwrap_or(0), core: status.core_dumped() },
    }
}

/// What it said last. Its pipes end with it, unless something it left behind holds them.
fn rest(lines: &Receiver<String>) -> Vec<String> {
    let limit = Instant::now() + LAST_WORDS;
    let mut rest = Vec::new();
    loop {
        match lines.recv_timeout(limit.saturating_duration_since(Instant::now())) {
            Ok(line) => rest.push(line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return rest,
        }
    }
}

fn hear(pipe: Box<dyn Read + Send>, sender: &Sender<String>) {
    for line in BufReader::new(pipe).split(b'\n') {
        // An error of a pipe, or nobody listens any more: nothing left to do.
        let Ok(line) = line else { return };
        if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn heard_to_the_end(mut running: Running) -> (Exit, Vec<String>) {
        let mut lines = Vec::new();
        loop {
            lines.extend(running.lines());
            if let Some((exit, last)) = running.ended().expect("a child of ours") {
                lines.extend(last);
                return (exit, lines);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn both_streams_and_the_exit_status_are_heard() {
        let running = Running::start(&mut shell("echo one; echo two >&2; printf three; exit 4")).expect("a shell");
        let (exit, mut lines) = heard_to_the_end(running);
        lines.sort();
        assert_eq!(exit, Exit::Status(4));
        assert_eq!(lines, ["one", "three", "two"]);
    }

    #[test]
    fn a_command_killed_by_a_signal_says_so() {
        let running = Running::start(&mut shell("kill -9 $$")).expect("a shell");
        assert_eq!(heard_to_the_end(running).0, Exit::Signal { signal: 9, core: false });
    }

    #[test]
    fn a_child_that_ignores_term_is_killed_and_one_that_does_not_is_not() {
        let mut meek = shell("exec sleep 60").spawn().expect("a shell");
        assert!(stop(&mut meek, Duration::from_secs(20)).expect("ended"));
        let mut deaf = shell("trap '' TERM; echo; exec sleep 60").stdout(Stdio::piped()).spawn().expect("a shell");
        // Its first output comes after the trap is set.
        deaf.stdout.take().expect("a pipe").read_exact(&mut [0]).expect("a newline");
        assert!(!stop(&mut deaf, Duration::from_millis(50)).expect("ended"));
    }
}
