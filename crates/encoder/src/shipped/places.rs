//! Folders in which a folder `models` may lie. Which platform keeps data where is known here and nowhere else.

use std::path::{Path, PathBuf};

/// The fourth folder of `target/TRIPLE/release/hpd` is the clone, and no layout is deeper. Not farther: the upper folders
/// of a path are more often other people's.
const LEVELS: usize = 4;

/// The folders from that of the program upwards, each followed by the place where a system keeps a program's data.
pub(super) fn around(program: &Path) -> impl Iterator<Item = PathBuf> {
    let above = program.ancestors().skip(1).take(LEVELS);
    above.flat_map(|folder| [folder.to_owned(), folder.join("share").join("hpd")])
}

/// The folder of what hpd keeps for this user. `XDG_DATA_HOME` decides on every platform where it is set; relative
/// paths in it do not count, as its specification says.
pub(super) fn user_data(get: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let below = |variable: &str, folders: &[&str]| {
        let home = get(variable)?;
        home.is_absolute().then(|| home.join(folders.iter().collect::<PathBuf>()))
    };
    let usual = || {
        if cfg!(windows) {
            below("LOCALAPPDATA", &[])
        } else if cfg!(target_os = "macos") {
            below("HOME", &["Library", "Application Support"])
        } else {
            below("HOME", &[".local", "share"])
        }
    };
    Some(below("XDG_DATA_HOME", &[]).or_else(usual)?.join("hpd"))
}
