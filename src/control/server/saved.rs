//! Clients of the control socket in what is left to the next rota: those that have not asked yet, that follow walks or an app that quiets, and
//! those that have not taken their last word. Who waits for other threads, or for a process to be gone, waits for moments, and is asked to ask
//! again.

use std::os::fd::AsFd;
use std::time::Instant;

use mio::net::UnixStream;
use serde::{Deserialize, Serialize};

use super::Ticket;
use super::connection::{Connection, Followed, Level, PATIENCE, Stage};
use crate::control::proto::{Pausing, Reply, reply_line};
use crate::upgrade::pack::{Pack, Place, Unpack};

#[derive(Debug, Serialize, Deserialize)]
pub struct SavedConnection {
    stream: Place,
    level: Level,
    stage: SavedStage,
    input: Vec<u8>,
    ignored: usize,
    output: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
enum SavedStage {
    Asking,
    Following {
        #[serde(with = "crate::moment")]
        since: Instant,
        walks: Vec<Followed>,
    },
    Quieting(Pausing),
    Upgrading,
    Leaving,
}

impl Connection {
    /// None: it has nobody on its other end who could be told anything.
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Option<SavedConnection> {
        let Self { stream, peer: _, level, guest: _, stage, input, ignored, output } = self;
        let mut output = output.clone();
        let stage = match stage {
            Stage::Asking { .. } => SavedStage::Asking,
            // What somebody may hear would have to be found out anew.
            Stage::Following { .. } | Stage::Quieting { .. } if *level == Level::Guest => ask_again(&mut output),
            Stage::Following { since, walks } => SavedStage::Following { since: *since, walks: walks.clone() },
            Stage::Quieting { told } => SavedStage::Quieting(told.clone()),
            Stage::Upgrading { .. } => SavedStage::Upgrading,
            Stage::Leaving { .. } => SavedStage::Leaving,
            Stage::Introducing { .. } | Stage::Detaching { .. } | Stage::Collecting { .. } | Stage::Reloading { .. } => {
                ask_again(&mut output)
            }
            Stage::Staying => return None,
        };
        let stream = pack.put(stream.as_fd());
        Some(SavedConnection { stream, level: *level, stage, input: input.clone(), ignored: *ignored, output })
    }
}

fn ask_again(output: &mut Vec<u8>) -> SavedStage {
    let message = "rota was upgraded meanwhile; ask again".to_owned();
    output.extend(reply_line(&Reply::Error { message }));
    SavedStage::Leaving
}

impl SavedConnection {
    pub fn restore(self, unpack: &mut Unpack) -> Result<Connection, String> {
        let stream = UnixStream::from_std(unpack.take(self.stream)?.into());
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|error| format!("SO_PEERCRED: {error}"))?;
        let until = Instant::now() + PATIENCE;
        let stage = match self.stage {
            SavedStage::Asking => Stage::Asking { until },
            SavedStage::Following { since, walks } => Stage::Following { since, walks },
            SavedStage::Quieting(told) => Stage::Quieting { told },
            // Of a rota that is no more.
            SavedStage::Upgrading => Stage::Upgrading { ticket: Ticket(0) },
            SavedStage::Leaving => Stage::Leaving { until },
        };
        Ok(Connection {
            stream,
            peer,
            level: self.level,
            guest: None,
            stage,
            input: self.input,
            ignored: self.ignored,
            output: self.output,
        })
    }
}
