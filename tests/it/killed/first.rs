//! The first release of all, before any was accepted by a walk that ended.

use rustix::process::Signal;

use super::Record;
use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire;

#[test]
fn a_first_release_that_was_overtaken_and_proved_itself_serves_again() {
    let mut site = Site::prepare("processes = 2\nconcurrency = 4\nbind = \"unix\"\nprobation = \"300ms\"");
    site.release("1", "");
    site.flip("1");
    site.launch();
    wait::until("the first process is ready", secs(20), || site.log().contains("ready after"));
    // The first start has not ended: no release is known to work yet.
    site.deploy("2", "exit_at_boot 1").expect(4);
    wait::until("release 1 serves", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.text() == "1"));
    wait::until("it has proved itself", secs(20), || Record::read(&site).is_ok_and(|record| record.good.as_deref() == Some("1")));
    assert_eq!(Record::read(&site).unwrap().check_history(), Ok(()));
    site.signal(Signal::KILL);
    site.wait_end(secs(10));
    wait::until("nothing is left", secs(10), || site.left().is_empty());
    let site = site.serve();
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}
