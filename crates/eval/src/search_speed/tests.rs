//! What the experiment says of small vectors. No time is checked, only that there is one.

use std::collections::HashMap;

use hpd_files::Silent;

use super::*;
use crate::retrieval::Query;

/// Directions spread over a sphere; each query is near the document of its number.
fn vectors(name: &str, dim: usize) -> Vectors {
    let number = |i: usize, j: usize| (((i + 1) * (j + 3) * 7919) % 1009) as f32 / 504.5 - 1.0;
    let row = |i: usize| (0..dim).map(move |j| number(i, j));
    let documents = Matrix { data: (0..300).flat_map(row).collect(), dim };
    let mut queries = Matrix { data: documents.data[..20 * dim].to_vec(), dim };
    queries.data.iter_mut().step_by(9).for_each(|x| *x += 0.1);
    Vectors { name: name.to_owned(), queries, documents, encoding: Some(0.5) }
}

fn collection() -> Collection {
    let query = |i| Query { relevance: HashMap::from([(i, 1.0)]), ..Query::default() };
    Collection {
        documents: vec![String::new(); 300],
        queries: (0..20).map(query).collect(),
        ..Collection::default()
    }
}

fn settings() -> Settings {
    Settings {
        sizes: vec![1000, 200],
        rounds: 2,
        batch: 7,
        threads: vec![1, 2],
        memory: u64::MAX,
        answers: true,
    }
}

#[test]
fn every_form_is_measured_at_every_size_and_scored_where_it_is_judged() {
    let models = [vectors("teacher", 96), vectors("student", 32)];
    let results = measure(&models, Some(&collection()), &settings(), &Silent).unwrap();
    assert_eq!(results.rows.len(), 3 * 2 * 5);
    for row in &results.rows {
        assert!(row.milliseconds > 0.0 && row.milliseconds_batched > 0.0);
        assert!(row.times_faster.is_some() && row.milliseconds_of_rounds.len() == 2);
        assert_eq!(row.mrr_at_10.is_some(), row.documents == 300);
        assert!(row.recall_at_10 > 0.9, "{row:?}");
        assert!(row.answers.len() == 20 && row.answers.iter().all(|places| places.len() == 10));
        if row.form == "float32" {
            assert_eq!(row.recall_at_10, 1.0);
            assert!(row.mrr_at_10.is_none_or(|mrr| mrr > 0.99));
        }
    }
    let [first, _, _, high, _] = &results.rows[..5] else { panic!("five forms") };
    assert_eq!((first.documents, first.threads, first.times_smaller), (200, 1, 1.0));
    assert_eq!((high.form.as_str(), high.bytes_per_vector), ("bits, high", 44.0));

    let table = table(&results);
    assert!(
        table.contains("1000 vectors, 2 threads")
            && table.contains("teacher encodes a query in 0.50 ms")
    );
    let svg = plot(&results);
    assert_eq!(svg.matches("<polyline").count(), 5);
    assert_eq!(svg.matches("<circle").count(), 15);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
}

#[test]
fn what_does_not_fit_into_memory_is_left_out_and_named() {
    let models = [vectors("teacher", 96), vectors("student", 32)];
    let of = |memory| {
        let settings = Settings { memory, sizes: vec![5000], ..settings() };
        measure(&models, None, &settings, &Silent).unwrap()
    };
    let results = of(3_000_000);
    assert_eq!(results.left_out.len(), 1);
    assert!(results.left_out[0].starts_with("teacher: 5000 vectors of 96 numbers"));
    let large: Vec<_> = results.rows.iter().filter(|row| row.documents == 5000).collect();
    assert_eq!(large.len(), 2 * 4);
    assert!(large.iter().all(|row| row.model == "student" && row.times_faster.is_none()));
    assert!(large.iter().all(|row| row.times_smaller >= 3.0));

    let results = of(1_000_000);
    assert!(results.rows.iter().all(|row| row.documents == 300));
    assert!(results.left_out[0].starts_with("student: 5000"));
}

#[test]
fn vectors_that_do_not_belong_together_are_refused() {
    let refused = |models: &[Vectors], settings: &Settings| {
        measure(models, None, settings, &Silent).unwrap_err().to_string()
    };
    let good = vectors("a", 8);
    let empty = Vectors { documents: Matrix { data: Vec::new(), dim: 8 }, ..good.clone() };
    assert!(refused(&[], &settings()).contains("no vectors"));
    assert!(refused(&[empty], &settings()).contains("no queries or no documents"));
    let narrow = Vectors { queries: vectors("b", 4).queries, ..good.clone() };
    assert!(refused(&[narrow], &settings()).contains("queries of 4 numbers and documents of 8"));
    let mut fewer = vectors("c", 4);
    fewer.documents.data.truncate(40);
    assert!(refused(&[good.clone(), fewer], &settings()).contains("different documents"));
    let none = Settings { rounds: 0, ..settings() };
    assert!(refused(&[good], &none).contains("at least 1"));
}
