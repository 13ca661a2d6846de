//! Texts that wait to be encoded, from all requests at once.
//!
//! `Queue::encode ─Waiting─> one thread: Batch ─Model::encode_tokens─> rows, given back to each request`
//!
//! Nothing is waited for: a batch is what is there when the last one is done, so a lone request is encoded at once and
//! many that come together share the encoder. A batch takes from all requests in turn, each an equal share of its tokens, so a
//! short question is not kept behind a thousand paragraphs. Requests whose client has gone are dropped.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use hpd_encoder::{EncodeOptions, Model, Prompt, Side, Tokens};
use hpd_files::vectors::Matrix;
use hpd_files::{Error, Result};
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::metrics::Metrics;

/// Texts with one kind of prompt, for one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextKind {
    pub(crate) prompt: Prompt,
    pub(crate) side: Option<Side>,
}

impl TextKind {
    pub(crate) fn of(options: &EncodeOptions) -> Self {
        Self { prompt: options.prompt.clone(), side: options.side }
    }

    /// Whole vectors, as the folder leaves them; each request shortens its own.
    fn options(&self) -> EncodeOptions {
        EncodeOptions { prompt: self.prompt.clone(), side: self.side, ..EncodeOptions::default() }
    }
}

/// The way to the thread that encodes.
pub(crate) struct Queue {
    sender: Sender<Waiting>,
    metrics: Arc<Metrics>,
}

/// A request's texts, some of them encoded already.
struct Waiting {
    tokens: Tokens,
    kind: TextKind,
    rows: Vec<f32>,
    /// Texts that have their row.
    done: usize,
    since: Instant,
    answer: oneshot::Sender<Result<Matrix, Failure>>,
}

impl Queue {
    /// Starts the thread, which ends with the queue. A batch is at most `batch_tokens` long, or one text.
    pub(crate) fn start(
        model: Arc<Model>,
        batch_tokens: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let (sender, receiver) = channel();
        let worker =
            Worker { model, batch_tokens, metrics: metrics.clone(), waiting: VecDeque::new() };
        std::thread::Builder::new()
            .name("batches".to_owned())
            .spawn(move || worker.run(&receiver))
            .map_err(|e| Error::io("start", "the thread that encodes", e))?;
        Ok(Self { sender, metrics })
    }

    /// One row for each text, all numbers of the model.
    pub(crate) async fn encode(&self, tokens: Tokens, kind: TextKind) -> Result<Matrix, Failure> {
        let (answer, rows) = oneshot::channel();
        let gone = || Failure::internal("the thread that encodes has ended");
        let waiting =
            Waiting { tokens, kind, rows: Vec::new(), done: 0, since: Instant::now(), answer };
        self.metrics.queue_size.inc();
        self.sender.send(waiting).map_err(|_| gone())?;
        rows.await.map_err(|_| gone())?
    }
}

struct Worker {
    model: Arc<Model>,
    batch_tokens: usize,
    metrics: Arc<Metrics>,
    waiting: VecDeque<Waiting>,
}

impl Worker {
    fn run(mut self, receiver: &Receiver<Waiting>) {
        loop {
            if self.waiting.is_empty() {
                match receiver.recv() {
                    Ok(first) => self.waiting.push_back(first),
                    Err(_) => return,
                }
            }
            self.waiting.extend(receiver.try_iter());
            self.drop_abandoned();
            if !self.waiting.is_empty() {
                self.encode_a_batch();
            }
        }
    }

    fn drop_abandoned(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        self.metrics.queue_size.sub((before - self.waiting.len()) as i64);
    }

    fn encode_a_batch(&mut self) {
        let kind = self.waiting[0].kind.clone();
        let shares = shares(&self.waiting, self.batch_tokens);
        let mut batch = Tokens { offsets: vec![0], ..Tokens::default() };
        for (waiting, &share) in self.waiting.iter().zip(&shares) {
            if waiting.done == 0 && share > 0 {
                self.metrics.queue_seconds.observe(waiting.since.elapsed().as_secs_f64());
            }
            for text in waiting.done..waiting.done + share {
                batch.ids.extend_from_slice(waiting.tokens.text(text));
                batch.offsets.push(batch.ids.len());
            }
        }
        let first_goes_on = self.waiting[0].done + shares[0] < self.waiting[0].tokens.len();
        let began = Instant::now();
        // A defect that one text brings to light must not end the service for all others.
        let encoded =
            catch_unwind(AssertUnwindSafe(|| self.model.encode_tokens(&batch, &kind.options())));
        self.metrics.observe_batch(batch.len(), batch.ids.len(), began.elapsed());
        let encoded = match encoded {
            Ok(rows) => rows.map_err(Failure::from),
            Err(_) => Err(Failure::internal("encoding failed; the server's log says more")),
        };
        match encoded {
            Ok(rows) => self.give(&rows, &shares),
            Err(failure) => self.fail(&failure, &shares),
        }
        // The next batch is of another's kind of text, and what it has left over goes to another first.
        if first_goes_on && !self.waiting.is_empty() {
            self.waiting.rotate_left(1);
        }
    }

    /// Gives each request the rows of its share, and answers those that are whole.
    fn give(&mut self, rows: &Matrix, shares: &[usize]) {
        let mut row = 0;
        let mut unfinished = VecDeque::new();
        for (mut waiting, &share) in std::mem::take(&mut self.waiting).into_iter().zip(shares) {
            waiting.rows.extend_from_slice(&rows.data[row * rows.dim..(row + share) * rows.dim]);
            row += share;
            waiting.done += share;
            if waiting.done < waiting.tokens.len() {
                unfinished.push_back(waiting);
                continue;
            }
            self.metrics.queue_size.dec();
            // Nobody waits any more: no harm.
            let _ = waiting.answer.send(Ok(Matrix { data: waiting.rows, dim: rows.dim }));
        }
        self.waiting = unfinished;
    }

    fn fail(&mut self, failure: &Failure, shares: &[usize]) {
        let all = std::mem::take(&mut self.waiting).into_iter().zip(shares);
        for (waiting, &share) in all {
            if share == 0 {
                self.waiting.push_back(waiting);
                continue;
            }
            self.metrics.queue_size.dec();
            let _ = waiting.answer.send(Err(failure.clone()));
        }
    }
}

/// How many texts of each request the next batch takes: of those of the first one's kind in turn, an equal share of the tokens
/// each, and what is left over from the first on.
fn shares(waiting: &VecDeque<Waiting>, batch_tokens: usize) -> Vec<usize> {
    let is_alike = |other: &Waiting| other.kind == waiting[0].kind;
    let alike = waiting.iter().filter(|other| is_alike(other)).count();
    let mut left = batch_tokens;
    let mut shares = vec![0; waiting.len()];
    for allowance in [batch_tokens / alike, batch_tokens] {
        for (share, request) in shares.iter_mut().zip(waiting).filter(|(_, other)| is_alike(other))
        {
            let first = request.done + *share;
            let mut allowed = allowance.min(left);
            for text in first..request.tokens.len() {
                let length = request.tokens.text(text).len();
                let is_alone = left == batch_tokens;
                if length > allowed && !is_alone {
                    break;
                }
                allowed = allowed.saturating_sub(length);
                left = left.saturating_sub(length);
                *share += 1;
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(lengths: &[usize], prompt: &str) -> Waiting {
        let mut tokens = Tokens { offsets: vec![0], ..Tokens::default() };
        for &length in lengths {
            tokens.ids.extend(vec![1; length]);
            tokens.offsets.push(tokens.ids.len());
        }
        Waiting {
            tokens,
            kind: TextKind { prompt: Prompt::Text(prompt.to_owned()), side: None },
            rows: Vec::new(),
            done: 0,
            since: Instant::now(),
            answer: oneshot::channel().0,
        }
    }

    fn shared(requests: Vec<Waiting>, batch_tokens: usize) -> Vec<usize> {
        shares(&VecDeque::from(requests), batch_tokens)
    }

    #[test]
    fn all_that_fits_is_taken_at_once() {
        assert_eq!(shared(vec![waiting(&[3; 4], ""), waiting(&[5], "")], 100), [4, 1]);
    }

    #[test]
    fn a_short_question_is_not_kept_behind_many_texts() {
        assert_eq!(shared(vec![waiting(&[10; 1000], ""), waiting(&[5], "")], 100), [9, 1]);
        assert_eq!(shared(vec![waiting(&[10; 9], ""), waiting(&[10; 9], "")], 100), [5, 5]);
    }

    #[test]
    fn a_text_longer_than_a_batch_is_one() {
        assert_eq!(shared(vec![waiting(&[500, 500], ""), waiting(&[5], "")], 100), [1, 0]);
    }

    #[test]
    fn another_prompt_is_another_batch() {
        assert_eq!(shared(vec![waiting(&[5, 5], "a"), waiting(&[5], "b")], 100), [2, 0]);
    }

    #[test]
    fn many_more_requests_than_tokens_still_get_on() {
        let requests = (0..200).map(|_| waiting(&[5], "")).collect();
        let shares = shared(requests, 100);
        assert_eq!(shares.iter().sum::<usize>(), 20);
        assert!(shares[..20].iter().all(|&share| share == 1));
    }
}
