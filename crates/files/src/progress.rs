//! How long work tells how far it is, without knowing of terminals.

/// Receives the progress of one piece of work after another. The command line draws bars; tests use [`Silent`].
pub trait Progress: Sync {
    /// A new stage begins, of `total` units if known. Ends the stage before.
    fn stage(&self, name: &str, total: Option<u64>);
    /// The current stage has moved on by `units`.
    fn advance(&self, units: u64);
    /// A few words beside the bar, such as the loss.
    fn message(&self, words: &str);
    /// A line worth keeping, such as a count of truncated texts. Not for every step.
    fn note(&self, line: &str);
    /// The last stage is over.
    fn finish(&self);
}

/// Progress that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn message(&self, _: &str) {}
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}
