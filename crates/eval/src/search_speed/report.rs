//! The retrieval experiment as a table.

use super::{Results, Row};
use crate::report::aligned;

/// The results as aligned text: a block of rows for each size and number of threads.
pub fn table(results: &Results) -> String {
    let Results { documents, queries, batch, rounds, machine, .. } = results;
    let mut text = format!(
        "{documents} documents, {queries} queries, medians of {rounds} rounds on {}\n",
        machine.cpu
    );
    for encoding in &results.models {
        if let Some(milliseconds) = encoding.milliseconds {
            let model = &encoding.model;
            text.push_str(&format!(
                "{model} encodes a query in {milliseconds:.2} ms, which no time below holds\n"
            ));
        }
    }
    let block = |a: &Row, b: &Row| (a.documents, a.threads) == (b.documents, b.threads);
    for rows in results.rows.chunk_by(block) {
        let threads = match rows[0].threads {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        };
        text.push_str(&format!("\n{} vectors, {threads}\n", rows[0].documents));
        let mut lines = vec![header(*batch)];
        lines.extend(rows.iter().map(line));
        text.push_str(&aligned(&lines));
    }
    for left_out in &results.left_out {
        text.push_str(&format!("\nleft out, since memory is bounded: {left_out}"));
    }
    text
}

fn header(batch: usize) -> Vec<String> {
    let columns = [
        "vectors",
        "dim",
        "MRR@10",
        "nDCG@10",
        "recall@10",
        "ms a query",
        "faster",
        "of a batch",
        "faster",
        "bytes",
        "smaller",
        "built s",
        "loaded s",
    ];
    let name = |column: &str| match column {
        "of a batch" => format!("ms of {batch}"),
        other => other.to_owned(),
    };
    columns.into_iter().map(name).collect()
}

fn line(row: &Row) -> Vec<String> {
    let hundredfold = |score: Option<f64>| {
        score.map_or_else(|| "-".to_owned(), |score| format!("{:.2}", 100.0 * score))
    };
    let times =
        |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1} ×"));
    vec![
        format!("{}, {}", row.model, row.form),
        row.dimensions.to_string(),
        hundredfold(row.mrr_at_10),
        hundredfold(row.ndcg_at_10),
        format!("{:.4}", row.recall_at_10),
        format!("{:.3}", row.milliseconds),
        times(row.times_faster),
        format!("{:.3}", row.milliseconds_batched),
        times(row.times_faster_batched),
        format!("{:.0}", row.bytes_per_vector),
        times(Some(row.times_smaller)),
        format!("{:.2}", row.build_seconds),
        format!("{:.2}", row.load_seconds),
    ]
}
