//! How fast a store is, and how much room it takes: documents are added, found and opened again.
//!
//! `cargo run --release -p hpd-index --example store_speed -- [DOCUMENTS] [DIM] [FOLDER]`
//!
//! `cargo run --release -p hpd-index --example store_speed -- DOCUMENTS.npy QUERIES.npy [FOLDER]`
//!
//! A folder that is named is kept; where it holds a store already, nothing is added and the rest is measured.
//!
//! Vectors are those of the files, brought to length 1, or made: random points of a sphere around random centres, so that near ones
//! exist. Made ones lie closer to each other than sentences do, so an exact search has more to look up among them.
//! Searches are one query at a time on one thread, warm unless it says cold; recall compares with the exact search.
#![allow(clippy::unwrap_used, reason = "an example may panic")]
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hpd_files::vectors::{Matrix, read_matrix};
use hpd_index::{Document, Exactness, Hit, Search, Store, StoreModel, StoreSettings};

const BATCH: usize = 512;
const CENTRES: usize = 5_000;
const QUERIES: usize = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let scratch = std::env::temp_dir().join(format!("store-speed-{}", std::process::id()));
    let folder = arguments.get(2).map_or(scratch.clone(), PathBuf::from);
    // One thread for searches; codes are written on as many as there are.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (documents, points, queries) = points_and_queries(&arguments);

    if !folder.exists() {
        add(&folder, &points, documents);
    }
    rebuild(&folder, documents);
    report_size(&folder, documents);
    pool.install(|| {
        drop_from_memory(&folder);
        open_and_search(&folder, "cold", &queries[0]);
        bring_to_memory(&folder);
        open_and_search(&folder, "warm", &queries[0]);
        let store = Store::open_read_only(&folder).unwrap();
        let exact = search_all(&store, Exactness::Exact, &queries);
        for exactness in [Exactness::High, Exactness::Fast] {
            let found = search_all(&store, exactness, &queries);
            println!("{exactness:>5}: recall@10 {:.4}", recall(&found, &exact));
        }
        search_together(&store, &queries);
    });
    let _ = fs::remove_dir_all(&scratch);
}

/// How many documents, the point of each, and the queries.
fn points_and_queries(arguments: &[String]) -> (usize, Points, Vec<Vec<f32>>) {
    if let [documents, queries, ..] = arguments
        && documents.ends_with(".npy")
    {
        let read = |path: &String| read_matrix(Path::new(path)).unwrap();
        let (documents, queries) = (read(documents), read(queries));
        let queries = queries.rows().take(QUERIES).map(at_unit_length).collect();
        return (documents.len(), Points::Read(documents), queries);
    }
    let number = |i: usize, default| arguments.get(i).map_or(default, |n| n.parse().unwrap());
    let (documents, dim) = (number(0, 100_000), number(1, 128));
    let centres = (0..CENTRES).map(|i| gaussian(i as u64, dim)).collect();
    let points = Points::Made { dim, centres };
    let queries = (0..QUERIES).map(|i| points.point(usize::MAX - i)).collect();
    (documents, points, queries)
}

enum Points {
    /// Those of a file.
    Read(Matrix),
    /// Points around centres.
    Made { dim: usize, centres: Vec<Vec<f32>> },
}

impl Points {
    fn dim(&self) -> usize {
        match self {
            Self::Read(matrix) => matrix.dim,
            Self::Made { dim, .. } => *dim,
        }
    }

    fn point(&self, i: usize) -> Vec<f32> {
        match self {
            Self::Read(matrix) => at_unit_length(matrix.row(i)),
            Self::Made { dim, centres } => {
                let own = gaussian(i as u64 + (1 << 40), *dim);
                let centre = &centres[i % CENTRES];
                let mut point: Vec<f32> =
                    centre.iter().zip(&own).map(|(centre, own)| centre + own).collect();
                // Later numbers vary less, as those of a PCA do.
                point.iter_mut().enumerate().for_each(|(j, x)| *x /= (1.0 + j as f32).powf(0.4));
                at_unit_length(&point)
            }
        }
    }
}

fn at_unit_length(point: &[f32]) -> Vec<f32> {
    let length = point.iter().map(|x| x * x).sum::<f32>().sqrt();
    point.iter().map(|x| x / length).collect()
}

/// Numbers that look normally distributed: sums of uniform ones.
fn gaussian(seed: u64, dim: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0;
    let mut number = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let uniform = |bits: u64| (bits & 0xffff) as f32 / 65_536.0;
        (0..4).map(|i| uniform(state >> (16 * i))).sum::<f32>() - 2.0
    };
    // The first ones still look like the seed.
    (0..8 + dim).map(|_| number()).skip(8).collect()
}

fn add(folder: &Path, points: &Points, documents: usize) {
    let model = StoreModel { dim: points.dim(), ..StoreModel::default() };
    let mut store =
        Store::create(folder, &StoreSettings { model, ..StoreSettings::default() }).unwrap();
    let mut seconds = 0.0;
    for start in (0..documents).step_by(BATCH) {
        let range = start..(start + BATCH).min(documents);
        let batch: Vec<Document> = range.clone().map(document).collect();
        let data = range.flat_map(|i| points.point(i)).collect();
        let started = Instant::now();
        store.add(&batch, &Matrix { data, dim: points.dim() }).unwrap();
        seconds += started.elapsed().as_secs_f64();
    }
    let started = Instant::now();
    store.derive_codes().unwrap();
    drop(store);
    seconds += started.elapsed().as_secs_f64();
    println!(
        "added {documents} documents in batches of {BATCH}: {seconds:.1} s, {:.0} documents/s, {:.1} µs each",
        documents as f64 / seconds,
        seconds / documents as f64 * 1e6
    );
}

fn document(i: usize) -> Document {
    let text =
        format!("document {i} is about {} and has some ten words, as sentences do", i * 7919);
    let metadata = serde_json::Map::from_iter([("number".to_owned(), i.into())]);
    Document { id: format!("document-{i}"), text, metadata }
}

fn rebuild(folder: &Path, documents: usize) {
    let store = Store::open(folder).unwrap();
    let _ = fs::remove_file(folder.join("codes"));
    let started = Instant::now();
    store.derive_codes().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "codes made anew: {seconds:.2} s, {:.0} rows/s on {} threads",
        documents as f64 / seconds,
        rayon::current_num_threads()
    );
}

fn report_size(folder: &Path, documents: usize) {
    for file in fs::read_dir(folder).unwrap().flatten() {
        let bytes = file.metadata().unwrap().len() as f64 / documents as f64;
        println!("{}: {bytes:.1} bytes a document on disk", file.file_name().display());
    }
}

/// Asks the system to forget the files; where it does not, cold is warm.
fn drop_from_memory(folder: &Path) {
    for file in fs::read_dir(folder).unwrap().flatten() {
        let path = format!("if={}", file.path().display());
        let dd = std::process::Command::new("dd")
            .args([&path, "iflag=nocache", "count=0", "status=none"])
            .status();
        if !dd.is_ok_and(|status| status.success()) {
            println!("the files could not be dropped from memory");
        }
    }
}

/// Reads the files once: a search looks single rows up all over the database, and each first look would wait for the disk.
fn bring_to_memory(folder: &Path) {
    for file in fs::read_dir(folder).unwrap().flatten() {
        std::io::copy(&mut fs::File::open(file.path()).unwrap(), &mut std::io::sink()).unwrap();
    }
}

fn open_and_search(folder: &Path, temperature: &str, query: &[f32]) {
    let started = Instant::now();
    let store = Store::open_read_only(folder).unwrap();
    let opened = started.elapsed();
    let queries = Matrix { data: query.to_vec(), dim: query.len() };
    let started = Instant::now();
    store.search_with(&queries, &Search::default()).unwrap();
    println!("{temperature}: opened in {opened:.1?}, first search {:.1?}", started.elapsed());
}

fn search_all(store: &Store, exactness: Exactness, queries: &[Vec<f32>]) -> Vec<Vec<Hit>> {
    let options = Search { exactness, ..Search::default() };
    let search = |query: &Vec<f32>| {
        let queries = Matrix { data: query.clone(), dim: query.len() };
        store.search_with(&queries, &options).unwrap().pop().unwrap()
    };
    search(&queries[0]);
    let mut times = Vec::new();
    let found = queries
        .iter()
        .map(|query| {
            let started = Instant::now();
            let hits = search(query);
            times.push(started.elapsed().as_secs_f64() * 1e3);
            hits
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{exactness:>5}: {:.2} ms a query (median), {:.2} ms (95 %)", at(0.5), at(0.95));
    found
}

fn search_together(store: &Store, queries: &[Vec<f32>]) {
    let together = Matrix { data: queries.concat(), dim: queries[0].len() };
    for exactness in [Exactness::Exact, Exactness::High, Exactness::Fast] {
        let options = Search { exactness, ..Search::default() };
        let started = Instant::now();
        store.search_with(&together, &options).unwrap();
        let each = started.elapsed().as_secs_f64() * 1e3 / queries.len() as f64;
        println!("{exactness:>5}: {each:.2} ms a query, {} at once", queries.len());
    }
    println!("memory of this process: {:.0} MB resident", resident_megabytes());
}

fn resident_megabytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1e3
}

fn recall(found: &[Vec<Hit>], exact: &[Vec<Hit>]) -> f64 {
    let of_one = |(found, exact): (&Vec<Hit>, &Vec<Hit>)| {
        let there = exact.iter().filter(|hit| found.iter().any(|other| other.id == hit.id)).count();
        there as f64 / exact.len() as f64
    };
    found.iter().zip(exact).map(of_one).sum::<f64>() / exact.len() as f64
}
