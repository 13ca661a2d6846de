//! Fetching from a hub that runs on this machine, and the cache it leaves.
#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its message")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use hpd_encoder::Model;
use hpd_encoder::hub::{HubSettings, snapshot};
use hpd_files::{Error, Silent};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const MODULES: &str = r#"[
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
]"#;

/// A request as it came in.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    authorization: Option<String>,
    range: Option<usize>,
}

/// What the server has and how it misbehaves.
#[derive(Clone, Default)]
struct Site {
    files: BTreeMap<String, Vec<u8>>,
    /// Refuses requests without this token.
    token: Option<String>,
    /// Where weights are redirected to.
    storage: Option<String>,
    /// Sends no more than so many bytes of weights, and closes.
    cut_at: Option<usize>,
    /// Answers everything with this status and these headers.
    busy: Option<&'static str>,
    /// Answers ranges with the whole file.
    ignores_ranges: bool,
}

impl Site {
    fn with_model() -> Self {
        let weights: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let files = [
            ("modules.json", MODULES.as_bytes()),
            ("config.json", b"{}"),
            ("tokenizer.json", b"{ }"),
            ("1_Pooling/config.json", b"{  }"),
            ("model.safetensors", &weights),
            ("pytorch_model.bin", b"pickle"),
            ("onnx/model.onnx", b"onnx"),
        ];
        let files = files.map(|(name, contents)| (name.to_owned(), contents.to_vec())).into();
        Self { files, ..Self::default() }
    }

    fn list(&self) -> String {
        let entry = |(index, (name, contents)): (usize, (&String, &Vec<u8>))| {
            let size = contents.len();
            format!(r#"{{"rfilename":"{name}","size":{size},"blobId":"{index:040x}"}}"#)
        };
        let files: Vec<_> = self.files.iter().enumerate().map(entry).collect();
        format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, files.join(","))
    }

    /// Status line with headers, and body.
    fn answer(&self, request: &Request) -> (String, Vec<u8>) {
        if self.token.is_some() && request.authorization != self.token {
            return ("401 Unauthorized".to_owned(), Vec::new());
        }
        if let Some(busy) = self.busy {
            return (busy.to_owned(), Vec::new());
        }
        if request.path.starts_with("/api/models/org/tiny/revision/") {
            return ("200 OK".to_owned(), self.list().into_bytes());
        }
        let prefix = format!("/org/tiny/resolve/{COMMIT}/");
        let name = request.path.strip_prefix(&prefix).or(request.path.strip_prefix("/storage/"));
        let Some(contents) = name.and_then(|name| self.files.get(name)) else {
            return ("404 Not Found".to_owned(), Vec::new());
        };
        let is_large = name == Some("model.safetensors");
        if let (true, Some(storage)) = (is_large, &self.storage) {
            let found = format!("302 Found\r\nLocation: {storage}/storage/model.safetensors");
            return (found, Vec::new());
        }
        match request.range {
            Some(start) if start >= contents.len() => {
                ("416 Range Not Satisfiable".to_owned(), Vec::new())
            }
            Some(start) if !self.ignores_ranges => {
                ("206 Partial Content".to_owned(), contents[start..].to_vec())
            }
            _ => ("200 OK".to_owned(), contents.clone()),
        }
    }
}

/// A hub on a port of this machine.
struct Server {
    address: String,
    site: Arc<Mutex<Site>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(site: Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            site: Arc::new(Mutex::new(site)),
            requests: Arc::default(),
        };
        let (site, requests) = (Arc::clone(&server.site), Arc::clone(&server.requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let site = site.lock().unwrap().clone();
                serve(stream.unwrap(), &site, &requests);
            }
        });
        server
    }

    fn change(&self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site.lock().unwrap());
    }

    /// The requests since the last call.
    fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    fn settings(&self, cache: &Path) -> HubSettings {
        HubSettings {
            cache: cache.to_owned(),
            endpoint: self.address.clone(),
            token: None,
            offline: false,
        }
    }
}

fn serve(mut stream: TcpStream, site: &Site, requests: &Mutex<Vec<Request>>) {
    let head: Vec<String> = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let range = header("range")
        .map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
    let request = Request { path: path.to_owned(), authorization: header("authorization"), range };
    let (status, body) = site.answer(&request);
    let sent = match site.cut_at {
        Some(cut) if request.path.ends_with("model.safetensors") => {
            cut.saturating_sub(range.unwrap_or(0)).min(body.len())
        }
        _ => body.len(),
    };
    requests.lock().unwrap().push(request);
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // A client that has seen enough may have gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
}

fn fetch(settings: &HubSettings) -> Result<PathBuf, Error> {
    snapshot("org/tiny", None, settings, &Silent)
}

fn hint(error: &Error) -> &str {
    error.hint_text().unwrap_or_default()
}

#[test]
fn fetches_both_models_behind_a_router_and_the_second_time_makes_no_request() {
    let cache = tempfile::tempdir().unwrap();
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoder/router"));
    let mut site = Site::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                site.files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    let server = Server::start(site);
    let settings = server.settings(cache.path());
    let folder = fetch(&settings).unwrap();
    let (found, there) = (Model::open(&folder).unwrap(), Model::open(root).unwrap());
    assert_eq!(found.identity(), there.identity());
    assert!(!server.requests().is_empty());
    assert_eq!(fetch(&settings).unwrap(), folder);
    assert!(server.requests().is_empty());

    server.change(|site| drop(site.files.remove("router_config.json")));
    let error = fetch(&server.settings(&cache.path().join("other"))).unwrap_err();
    assert!(error.to_string().contains("has no `router_config.json`"), "{error}");
}

#[test]
fn fetches_what_a_model_needs_and_the_second_time_makes_no_request() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Site::with_model());
    let settings = server.settings(cache.path());
    let folder = fetch(&settings).unwrap();
    let repository = cache.path().join("models--org--tiny");
    assert_eq!(folder, repository.join("snapshots").join(COMMIT));
    let weights = fs::read(folder.join("model.safetensors")).unwrap();
    assert_eq!(weights, Site::with_model().files["model.safetensors"]);
    assert_eq!(fs::read(folder.join("1_Pooling/config.json")).unwrap(), b"{  }");
    assert!(!folder.join("pytorch_model.bin").exists());
    assert!(!folder.join("onnx").exists());
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(server.requests().len(), 6, "the list and five files");

    assert_eq!(fetch(&settings).unwrap(), folder);
    let offline = HubSettings { offline: true, ..settings };
    assert_eq!(fetch(&offline).unwrap(), folder);
    let by_commit = snapshot("org/tiny", Some(COMMIT), &offline, &Silent).unwrap();
    assert_eq!(by_commit, folder);
    assert!(server.requests().is_empty());
}

#[test]
fn blobs_have_the_hubs_names_and_snapshots_link_to_them() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Site::with_model());
    let folder = fetch(&server.settings(cache.path())).unwrap();
    let blobs = cache.path().join("models--org--tiny/blobs");
    let mut names: Vec<_> = fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [0, 1, 2, 3, 6].map(|index| format!("{index:040x}"));
    assert_eq!(names, expected, "and nothing unfinished");
    if cfg!(unix) {
        let link = fs::read_link(folder.join("1_Pooling/config.json")).unwrap();
        assert_eq!(link, PathBuf::from(format!("../../../blobs/{:040x}", 0)));
    }
}

#[test]
fn revision_is_asked_for_and_remembered() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Site::with_model());
    let settings = server.settings(cache.path());
    snapshot("org/tiny", Some("refs/v1.0"), &settings, &Silent).unwrap();
    assert_eq!(server.requests()[0].path, "/api/models/org/tiny/revision/refs%2Fv1.0?blobs=true");
    let reference = cache.path().join("models--org--tiny/refs/refs/v1.0");
    assert_eq!(fs::read_to_string(reference).unwrap(), COMMIT);
}

#[test]
fn token_goes_to_the_endpoint_and_to_nobody_else() {
    let cache = tempfile::tempdir().unwrap();
    let storage = Server::start(Site::with_model());
    let server = Server::start(Site {
        token: Some("Bearer hf_secret".to_owned()),
        // Another name, since it is the name of the host that the token is kept from.
        storage: Some(storage.address.replace("127.0.0.1", "localhost")),
        ..Site::with_model()
    });
    let settings =
        HubSettings { token: Some("hf_secret".to_owned()), ..server.settings(cache.path()) };
    fetch(&settings).unwrap();
    let bearer = Some("Bearer hf_secret".to_owned());
    assert!(server.requests().iter().all(|request| request.authorization == bearer));
    let stored = storage.requests();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].authorization, None);
}

#[test]
fn refusals_say_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let token = Some("Bearer another".to_owned());
    let server = Server::start(Site { token, ..Site::with_model() });
    let settings = server.settings(cache.path());
    let error = fetch(&settings).unwrap_err();
    assert!(error.to_string().contains("does not give access"), "{error}");
    assert!(hint(&error).contains("HF_TOKEN"));

    server.change(|site| site.token = None);
    let error = snapshot("org/other", Some("v2"), &settings, &Silent).unwrap_err();
    assert!(error.to_string().contains("`org/other` at `v2`"), "{error}");
    assert!(error.to_string().contains("404"), "{error}");

    for (busy, words) in [
        ("429 Too Many Requests\r\nRetry-After: 30", "try again in 30 seconds,"),
        (
            "503 Service Unavailable\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT",
            "try again after Wed, 21 Oct 2026 07:28:00 GMT,",
        ),
        ("500 Internal Server Error", "try again later,"),
    ] {
        server.change(|site| site.busy = Some(busy));
        let error = fetch(&settings).unwrap_err();
        assert!(error.to_string().contains(&busy[..3]), "{error}");
        assert!(hint(&error).contains(words), "{}", hint(&error));
    }
    server.change(|site| site.busy = None);

    let offline = HubSettings { offline: true, ..settings.clone() };
    let error = fetch(&offline).unwrap_err();
    assert!(hint(&error).contains("unset HF_HUB_OFFLINE"));

    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        fetch(&HubSettings { endpoint: format!("http://{unused}"), ..settings }).unwrap_err();
    assert!(error.to_string().contains("cannot reach http://127.0.0.1"), "{error}");
    assert!(hint(&error).contains("check the network"));
    assert!(!cache.path().join("models--org--tiny").exists());
}

#[test]
fn a_transfer_that_breaks_off_leaves_no_half_file_and_goes_on_later() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(Site { cut_at: Some(40_000), ..Site::with_model() });
    let settings = server.settings(cache.path());
    let error = fetch(&settings).unwrap_err();
    assert!(error.to_string().contains("`model.safetensors` broke off"), "{error}");
    assert!(hint(&error).contains("goes on where it stopped"));
    let repository = cache.path().join("models--org--tiny");
    let weights = repository.join("snapshots").join(COMMIT).join("model.safetensors");
    assert!(!weights.exists());
    assert!(!repository.join("blobs").join(format!("{:040x}", 2)).exists());
    assert!(!repository.join("refs/main").exists());
    let offline = HubSettings { offline: true, ..settings.clone() };
    assert!(fetch(&offline).is_err(), "half a snapshot is no model");

    server.requests();
    server.change(|site| site.cut_at = None);
    fetch(&settings).unwrap();
    assert_eq!(fs::read(&weights).unwrap(), Site::with_model().files["model.safetensors"]);
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "the list, and the rest of the weights");
    assert_eq!(requests[1].range, Some(40_000));
}

#[test]
fn a_transfer_starts_over_where_ranges_are_not_known_or_do_not_fit() {
    for spoilt in [vec![7; 40_000], vec![7; 200_000]] {
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(Site { ignores_ranges: true, ..Site::with_model() });
        let blobs = cache.path().join("models--org--tiny/blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(format!("{:040x}.incomplete", 2)), spoilt).unwrap();
        let folder = fetch(&server.settings(cache.path())).unwrap();
        let weights = fs::read(folder.join("model.safetensors")).unwrap();
        assert_eq!(weights, Site::with_model().files["model.safetensors"]);
    }
}

#[test]
fn a_model_without_modules_is_not_asked_for_them_again() {
    let cache = tempfile::tempdir().unwrap();
    let mut site = Site::with_model();
    site.files.remove("modules.json");
    let server = Server::start(site);
    let settings = server.settings(cache.path());
    let folder = fetch(&settings).unwrap();
    assert!(!folder.join("1_Pooling").exists());
    server.requests();
    fetch(&settings).unwrap();
    assert!(server.requests().is_empty());
}

#[test]
fn file_names_that_lead_out_of_the_cache_are_refused() {
    for name in ["../../config.json", "/etc/config.json", "a/../../config.json", "..\\config.json"]
    {
        let cache = tempfile::tempdir().unwrap();
        let mut site = Site::with_model();
        site.files.insert(name.replace('\\', "\\\\"), b"{}".to_vec());
        let server = Server::start(site);
        let error = fetch(&server.settings(cache.path())).unwrap_err();
        assert!(error.to_string().contains("is not a file name"), "{error}");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }
}
