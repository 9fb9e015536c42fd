//! The directories that an app's files are sent from, left to another rota as they are open: to open them anew takes a disk, and until that has
//! answered visitors would get the app's answers.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AppFolders, Folder, Links, Public, Standing, Way};
use crate::once::Said;
use crate::upgrade::pack::{Pack, Place, Unpack};

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SavedFolders {
    public: Vec<(Standing, SavedPublic)>,
    #[serde(with = "crate::path_text")]
    without: Vec<PathBuf>,
    sendfile: Option<SavedFolder>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedPublic {
    #[serde(with = "crate::path_text")]
    root: PathBuf,
    folder: SavedFolder,
    ways: Vec<SavedWay>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedWay {
    #[serde(with = "crate::bytes")]
    name: Vec<u8>,
    folder: SavedFolder,
    file: Option<Bytes>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bytes(#[serde(with = "crate::bytes")] Vec<u8>);

#[derive(Debug, Serialize, Deserialize)]
struct SavedFolder {
    #[serde(with = "crate::path_text")]
    paths: Vec<PathBuf>,
    fd: Place,
    is_local: bool,
    links: Links,
}

impl AppFolders {
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedFolders {
        let Self { public, without, sendfile } = self;
        SavedFolders {
            public: public.iter().map(|(standing, public)| (*standing, public.save(pack))).collect(),
            without: without.clone(),
            sendfile: sendfile.as_ref().map(|folder| folder.save(pack)),
        }
    }
}

impl Public {
    fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedPublic {
        let Self { root, folder, ways } = self;
        let way = |way: &'a Way, pack: &mut Pack<'a>| {
            let Way { name, folder, file } = way;
            SavedWay { name: name.clone(), folder: folder.save(pack), file: file.clone().map(Bytes) }
        };
        SavedPublic { root: root.clone(), folder: folder.save(pack), ways: ways.iter().map(|one| way(one, pack)).collect() }
    }
}

impl Folder {
    fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedFolder {
        let Self { paths, fd, is_local, links, not_sent: _ } = self;
        SavedFolder { paths: paths.to_vec(), fd: pack.put(fd.as_fd()), is_local: *is_local, links: *links }
    }
}

impl SavedFolders {
    pub fn restore(self, unpack: &mut Unpack) -> Result<AppFolders, String> {
        let mut public = Vec::new();
        for (standing, SavedPublic { root, folder, ways }) in self.public {
            let folder = folder.restore(unpack)?;
            let mut way =
                |SavedWay { name, folder, file }| Ok(Way { name, folder: folder.restore(unpack)?, file: file.map(|Bytes(file)| file) });
            let ways = ways.into_iter().map(&mut way).collect::<Result<_, String>>()?;
            public.push((standing, Arc::new(Public { root, folder, ways })));
        }
        let sendfile = self.sendfile.map(|folder| folder.restore(unpack)).transpose()?.map(Arc::new);
        Ok(AppFolders { public, without: self.without, sendfile })
    }
}

impl SavedFolder {
    fn restore(self, unpack: &mut Unpack) -> Result<Folder, String> {
        let Self { paths, fd, is_local, links } = self;
        let paths = paths.try_into().map_err(|_| "a directory has two names".to_owned())?;
        Ok(Folder { paths, fd: unpack.take(fd)?, is_local, links, not_sent: Said::default() })
    }
}
