//! What was seen last of one app, and whether what is there now asks for a restart. Events only say that it is time to look: nothing in
//! here depends on which came. `now` comes in; what is on the disk comes in as a [`Sight`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::AppConfig;

use super::way::{End, Found, Link, Spot, Stamp, Way};

/// What of one app is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub root: PathBuf,
    /// Absolute; it may lead through `root`.
    pub restart_file: Option<PathBuf>,
    /// Whether `root` that leads elsewhere asks for a restart.
    pub watch: bool,
}

/// What is there at one moment.
#[derive(Debug)]
pub struct Sight {
    root: Way,
    file: Option<Way>,
}

/// The part of a sight that the next one is compared with.
#[derive(Debug)]
pub struct Seen {
    /// None: `root` has led nowhere so far.
    root: Option<PathBuf>,
    root_links: Vec<Link>,
    /// None: it was missing.
    file: Option<FileId>,
    file_links: Vec<Link>,
}

/// Another file, or the same one touched, has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
    modified: Stamp,
}

/// Why to restart. `Display` says what changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The restart file was touched, replaced or created.
    File { path: PathBuf },
    /// `root` leads to another directory than before, `leads_to`; `link` is the symlink that changed, None if none did.
    Root { link: Option<Link>, leads_to: PathBuf },
}

/// Something happened and nobody has looked yet.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    first: Instant,
    last: Instant,
}

impl Subject {
    /// None: nothing of this app is watched.
    pub fn of(app: &AppConfig) -> Option<Self> {
        let root = app.start.root.clone();
        let restart_file = app.restart_file.as_ref().map(|file| root.join(file));
        (restart_file.is_some() || app.watch).then_some(Self { root, restart_file, watch: app.watch })
    }

    /// Looks at the disk; `mark` as in [`Way::walk`]. A spot is [`Spot::Last`] only where the restart file is.
    pub fn look(&self, mark: &mut dyn FnMut(Spot<'_>)) -> Sight {
        let root = Way::walk(&self.root, &mut |spot| match spot {
            Spot::Passed(..) | Spot::Named(..) => mark(spot),
            Spot::Last(dir, fd, name) => mark(Spot::Named(dir, fd, name)),
        });
        let file = self.restart_file.as_ref().map(|path| Way::walk(path, mark));
        Sight { root, file }
    }
}

impl Sight {
    /// The one that is further than anybody looks.
    pub fn too_long<'s>(&self, subject: &'s Subject) -> Option<&'s Path> {
        let file = || self.file.as_ref().filter(|way| way.is_too_long).and(subject.restart_file.as_deref());
        if self.root.is_too_long { Some(&subject.root) } else { file() }
    }
}

impl Seen {
    /// Nothing was there. What is seen first is taken with [`Self::compare`], whose answer means nothing then.
    pub fn nothing() -> Self {
        Self { root: None, root_links: Vec::new(), file: None, file_links: Vec::new() }
    }

    /// Takes what is there now, and says what of it asks for a restart: the symlink first, as that is the greater change.
    pub fn compare(&mut self, subject: &Subject, sight: Sight) -> Option<Change> {
        let switched = self.compare_root(sight.root).filter(|_| subject.watch);
        let touched = subject.restart_file.as_ref().zip(sight.file).and_then(|(path, way)| self.compare_file(path, way));
        switched.or(touched)
    }

    fn compare_root(&mut self, way: Way) -> Option<Change> {
        // A root that leads nowhere is half-way through its change, or a mistake: what serves stays.
        let End::At(root, found) = way.end else { return None };
        if !found.is_directory || self.root.as_ref() == Some(&root) {
            return None;
        }
        let link = way.links.iter().find(|link| !self.root_links.contains(link)).cloned();
        self.root_links = way.links;
        self.root = Some(root.clone());
        Some(Change::Root { link, leads_to: root })
    }

    fn compare_file(&mut self, path: &Path, way: Way) -> Option<Change> {
        let now = match way.end {
            End::At(_, found) => Some(FileId::of(found)),
            End::NoEntry => None,
            // Its directory is away: what it holds when it is back is compared with what it held.
            End::Broken(_) => return None,
        };
        let same_way = self.file_links == way.links;
        let is_new = now.is_some() && now != self.file;
        // The file of another release is no touched one, unless it was touched after the switch, before anybody looked. The clock of both
        // stamps ticks every few milliseconds: within a tick a restart too many is better than a touch without one.
        let touched = is_new && (same_way || now.map(|file| file.modified) >= way.switched);
        self.file = now;
        self.file_links = way.links;
        touched.then(|| Change::File { path: path.to_owned() })
    }
}

impl FileId {
    fn of(found: Found) -> Self {
        Self { device: found.device, inode: found.inode, modified: found.modified }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => write!(f, "{} was touched", path.display()),
            Self::Root { link: Some(link), leads_to } if link.to == *leads_to => {
                write!(f, "{} points to {} now", link.at.display(), link.to.display())
            }
            Self::Root { link: Some(link), leads_to } => {
                write!(f, "{} points to {} now: root is {}", link.at.display(), link.to.display(), leads_to.display())
            }
            Self::Root { link: None, leads_to } => write!(f, "root is {} now", leads_to.display()),
        }
    }
}

impl Pending {
    /// Something happened, perhaps again.
    pub fn note(pending: &mut Option<Self>, now: Instant) {
        match pending {
            Some(pending) => pending.last = now,
            None => *pending = Some(Self { first: now, last: now }),
        }
    }

    /// When it is time to look.
    pub fn deadline(&self) -> Instant {
        (self.last + QUIET).min(self.first + PATIENCE)
    }

    /// When it happened last.
    pub fn last(&self) -> Instant {
        self.last
    }
}

/// A deployment script that switches a symlink and touches a file has done both when nothing has happened for so long.
const QUIET: Duration = Duration::from_millis(200);
/// What goes on and on does not put the restart off for longer.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    /// Releases 1 and 2, and `current`, which points to 1.
    struct Stage {
        _dir: tempfile::TempDir,
        dir: PathBuf,
        subject: Subject,
        seen: Seen,
    }

    impl Stage {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let dir = fs::canonicalize(temp.path()).unwrap();
            for release in ["1", "2"] {
                fs::create_dir_all(dir.join("releases").join(release).join("tmp")).unwrap();
            }
            let root = dir.join("current");
            let subject = Subject { restart_file: Some(root.join("tmp/restart.txt")), root, watch: true };
            Self { _dir: temp, dir, subject, seen: Seen::nothing() }
        }

        fn started() -> Self {
            let mut stage = Self::new();
            stage.flip("1");
            stage.change();
            stage
        }

        fn only_file(mut self) -> Self {
            self.subject.watch = false;
            self
        }

        fn flip(&self, release: &str) {
            symlink(Path::new("releases").join(release), self.dir.join("next")).unwrap();
            fs::rename(self.dir.join("next"), self.dir.join("current")).unwrap();
        }

        /// Writes the restart file of a release, modified `ago` seconds before now.
        fn touch(&self, release: &str, ago: u64) {
            let path = self.dir.join("releases").join(release).join("tmp/restart.txt");
            let file = fs::File::create(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(ago)).unwrap();
        }

        /// What there is to see now.
        fn change(&mut self) -> Option<Change> {
            let sight = self.subject.look(&mut |_| {});
            self.seen.compare(&self.subject, sight)
        }

        fn touched(&self) -> Option<Change> {
            self.subject.restart_file.clone().map(|path| Change::File { path })
        }

        fn said(&mut self) -> String {
            self.change().map_or("nothing".to_owned(), |change| change.to_string().replace(self.dir.to_str().unwrap(), "DIR"))
        }
    }

    #[test]
    fn a_created_a_touched_and_a_replaced_file_are_touched_ones() {
        let mut stage = Stage::started();
        stage.touch("1", 30);
        assert_eq!(stage.said(), "DIR/current/tmp/restart.txt was touched");
        assert_eq!(stage.said(), "nothing", "it is told once");
        stage.touch("1", 20);
        assert_eq!(stage.change(), stage.touched());
        // As an editor or rsync does it: with the same time.
        let tmp = stage.dir.join("releases/1/tmp");
        let modified = fs::metadata(tmp.join("restart.txt")).unwrap().modified().unwrap();
        fs::File::create(tmp.join("new")).unwrap().set_modified(modified).unwrap();
        fs::rename(tmp.join("new"), tmp.join("restart.txt")).unwrap();
        assert_eq!(stage.change(), stage.touched());
    }

    #[test]
    fn a_file_that_was_there_before_is_no_touched_one() {
        let mut stage = Stage::new();
        stage.flip("1");
        stage.touch("1", 0);
        stage.change();
        assert_eq!(stage.change(), None);
        fs::set_permissions(stage.dir.join("releases/1/tmp/restart.txt"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(stage.change(), None, "other permissions");
    }

    #[test]
    fn a_removed_file_asks_for_nothing_and_one_that_comes_back_does() {
        let mut stage = Stage::started();
        stage.touch("1", 30);
        stage.change();
        fs::remove_file(stage.dir.join("releases/1/tmp/restart.txt")).unwrap();
        assert_eq!(stage.change(), None);
        stage.touch("1", 20);
        assert_eq!(stage.change(), stage.touched());
    }

    #[test]
    fn a_directory_that_is_moved_away_and_back_brings_no_touched_file() {
        let mut stage = Stage::started();
        stage.touch("1", 30);
        stage.change();
        let (tmp, away) = (stage.dir.join("releases/1/tmp"), stage.dir.join("away"));
        fs::rename(&tmp, &away).unwrap();
        assert_eq!(stage.change(), None);
        fs::rename(&away, &tmp).unwrap();
        assert_eq!(stage.change(), None);
        fs::remove_dir_all(&tmp).unwrap();
        assert_eq!(stage.change(), None);
        fs::create_dir(&tmp).unwrap();
        stage.touch("1", 20);
        assert_eq!(stage.change(), stage.touched());
    }

    #[test]
    fn a_switched_symlink_says_where_it_points() {
        let mut stage = Stage::started();
        stage.flip("2");
        assert_eq!(stage.said(), "DIR/current points to releases/2 now: root is DIR/releases/2");
        fs::remove_file(stage.dir.join("current")).unwrap();
        assert_eq!(stage.change(), None, "half-way");
        symlink(stage.dir.join("releases/1"), stage.dir.join("current")).unwrap();
        assert_eq!(stage.said(), "DIR/current points to DIR/releases/1 now");
    }

    #[test]
    fn another_symlink_to_the_same_release_asks_for_nothing() {
        let mut stage = Stage::started();
        stage.touch("1", 30);
        stage.change();
        stage.flip("2");
        stage.flip("1");
        assert_eq!(stage.change(), None);
        fs::remove_file(stage.dir.join("current")).unwrap();
        symlink(stage.dir.join("releases/1"), stage.dir.join("current")).unwrap();
        assert_eq!(stage.change(), None, "another spelling");
    }

    #[test]
    fn a_symlink_above_the_root_is_on_its_way() {
        let mut stage = Stage::new();
        fs::create_dir_all(stage.dir.join("disk2/releases/1/tmp")).unwrap();
        symlink("releases", stage.dir.join("all")).unwrap();
        stage.subject.root = stage.dir.join("all/1");
        stage.change();
        fs::remove_file(stage.dir.join("all")).unwrap();
        symlink("disk2/releases", stage.dir.join("all")).unwrap();
        assert_eq!(stage.said(), "DIR/all points to disk2/releases now: root is DIR/disk2/releases/1");
    }

    #[test]
    fn a_root_that_appears_late_is_a_change_and_a_file_is_no_root() {
        let mut stage = Stage::new();
        assert_eq!(stage.change(), None);
        symlink("releases/3", stage.dir.join("current")).unwrap();
        assert_eq!(stage.change(), None);
        fs::write(stage.dir.join("releases/3"), "").unwrap();
        assert_eq!(stage.change(), None);
        fs::remove_file(stage.dir.join("releases/3")).unwrap();
        fs::create_dir(stage.dir.join("releases/3")).unwrap();
        assert_eq!(stage.said(), "DIR/current points to releases/3 now: root is DIR/releases/3");
    }

    #[test]
    fn the_restart_file_of_another_release_is_no_touched_one() {
        let mut stage = Stage::started().only_file();
        stage.touch("1", 30);
        stage.touch("2", 20);
        stage.change();
        stage.flip("2");
        assert_eq!(stage.change(), None);
        stage.touch("1", 10);
        assert_eq!(stage.change(), None, "of the old release");
        stage.touch("2", 5);
        assert_eq!(stage.change(), stage.touched());
    }

    #[test]
    fn a_file_that_was_touched_right_after_the_switch_is_a_touched_one() {
        let mut stage = Stage::started().only_file();
        stage.touch("1", 30);
        stage.touch("2", 20);
        stage.change();
        stage.flip("2");
        stage.touch("2", 0);
        assert_eq!(stage.change(), stage.touched());
    }

    #[test]
    fn a_shared_directory_is_the_same_after_a_switch() {
        let mut stage = Stage::new().only_file();
        fs::create_dir(stage.dir.join("shared")).unwrap();
        for release in ["1", "2"] {
            let tmp = stage.dir.join("releases").join(release).join("tmp");
            fs::remove_dir(&tmp).unwrap();
            symlink("../../shared", tmp).unwrap();
        }
        stage.flip("1");
        stage.touch("1", 30);
        stage.change();
        stage.flip("2");
        assert_eq!(stage.change(), None);
        stage.touch("1", 20);
        assert_eq!(stage.change(), stage.touched(), "whichever release it is touched through");
    }

    #[test]
    fn a_switch_and_a_touch_are_one_change() {
        let mut stage = Stage::started();
        stage.flip("2");
        stage.touch("2", 0);
        assert!(matches!(stage.change(), Some(Change::Root { .. })));
        assert_eq!(stage.change(), None);
    }

    #[test]
    fn it_is_time_to_look_when_nothing_has_happened_for_a_while_but_not_later_than_in_two_seconds() {
        let start = Instant::now();
        let after = |ms: u64| start + Duration::from_millis(ms);
        let mut pending = None;
        Pending::note(&mut pending, start);
        assert_eq!(pending.unwrap().deadline(), after(200));
        Pending::note(&mut pending, after(150));
        assert_eq!(pending.unwrap().deadline(), after(350));
        for ms in (300..=1900).step_by(100) {
            Pending::note(&mut pending, after(ms));
        }
        assert_eq!(pending.unwrap().deadline(), after(2000));
        assert_eq!(pending.unwrap().last(), after(1900));
    }
}
