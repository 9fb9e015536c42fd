//! A log that nobody reads: rota's standard error is a small pipe, and full.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire;

/// The reader's end, which nobody reads from until the end.
#[derive(Debug)]
pub struct Silent(File);

impl Silent {
    /// Starts the server of a site with its log into a small pipe.
    pub fn launch(site: &mut Site) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        rustix::pipe::fcntl_setpipe_size(&writer, 16 * 1024).unwrap();
        site.launch_into(Stdio::null(), Stdio::from(writer));
        Self(File::from(reader))
    }

    /// What is in it now: the server can write again.
    pub fn read(&mut self) -> String {
        rustix::io::ioctl_fionbio(&self.0, true).unwrap();
        let mut bytes = Vec::new();
        // Its error is that there is no more yet.
        let _ = self.0.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up_and_says_later_what_is_missing() {
    let mut site = Site::prepare("processes = 2\nconcurrency = 4\nbind = \"unix\"\nprobation = \"50ms\"");
    site.release("1", "noise 300");
    site.flip("1");
    let mut log = Silent::launch(&mut site);
    site.wait_served();
    site.deploy("2", "noise 300").expect(0);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
    let old = log.read();
    assert!(old.contains("app/1 g1 pid ") && old.contains(" stdout: noise ") && !old.contains("lines were dropped"), "{old}");
    // There is room again: the next lines go in, and the first of them says that some did not.
    site.deploy("3", "exit_at_boot 1").expect(4);
    let mut new = String::new();
    wait::until("the gap is told", secs(10), || {
        new.push_str(&log.read());
        new.contains(" dropped here: nobody read the log")
    });
    assert!(new.contains("restart of app g3"), "{new}");
}
