//! How tasks lie on disk: each file plain or gzipped, and what stands for a file when only a few rows are wanted.

use std::path::{Path, PathBuf};

/// `name` or `name.gz` in a folder, whichever is there.
pub(crate) fn plain_or_gzip(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

/// At most `wanted` places of `count`, the first among them, evenly spaced.
pub(crate) fn evenly_spaced(count: usize, wanted: usize) -> impl Iterator<Item = usize> {
    let wanted = wanted.min(count);
    // In 128 bits no product overflows.
    (0..wanted).map(move |i| (i as u128 * count as u128 / wanted as u128) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_over_all() {
        assert_eq!(evenly_spaced(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
        assert_eq!(evenly_spaced(3, usize::MAX).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(evenly_spaced(0, 5).count() + evenly_spaced(5, 0).count(), 0);
    }
}
