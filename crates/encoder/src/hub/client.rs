//! The requests: one list of files, then each file that is missing.
//!
//! A transfer goes to `blobs/NAME.incomplete`, is continued where an earlier one stopped, and gets its name
//! when it has its full length. A lock on that file lets two processes fetch the same model.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hpd_files::{Error, ErrorKind, Fingerprint, Progress, Result, atomic, interrupt};
use serde::Deserialize;
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, RANGE, RETRY_AFTER};
use ureq::http::{Response, StatusCode};

use super::cache::{Repository, is_commit, is_inside};
use super::{HubSettings, contents};
use crate::modules::MODULES;

/// One model at one revision on the hub.
pub(super) struct Client<'a> {
    settings: &'a HubSettings,
    id: &'a str,
    revision: &'a str,
    agent: Agent,
}

/// What the hub tells of a repository.
#[derive(Deserialize)]
struct Listing {
    #[serde(rename = "sha")]
    commit: String,
    siblings: Vec<Entry>,
}

/// A file of a repository. Mirrors do not always give more than the name.
#[derive(Clone, Deserialize)]
struct Entry {
    #[serde(rename = "rfilename")]
    name: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Clone, Deserialize)]
struct LargeFile {
    sha256: Option<String>,
}

/// Attempts at a file whose transfer breaks off, each going on where the last one stopped.
const ATTEMPTS: usize = 5;

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a HubSettings, id: &'a str, revision: &'a str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Large files are redirected to a storage host, which must not see the token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("hpd/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { settings, id, revision, agent }
    }

    /// Fetches what is missing of the snapshot and gives its folder.
    pub(super) fn fetch(&self, cache: &Repository, progress: &dyn Progress) -> Result<PathBuf> {
        let listing = self.list()?;
        let commit = &listing.commit;
        let snapshot = cache.snapshot(commit);
        let names: BTreeSet<&str> =
            listing.siblings.iter().map(|entry| entry.name.as_str()).collect();
        let modules = match listing.find(MODULES) {
            Some(entry) => {
                self.fetch_file(cache, commit, entry, progress)?;
                Some(read_text(&snapshot.join(MODULES))?)
            }
            None => {
                cache.set_absent(commit, MODULES)?;
                None
            }
        };
        let damaged = |file: &str, error| {
            Error::model(format!("`{file}` of `{}` is damaged", self.id)).caused_by(error)
        };
        let mut modules =
            contents::modules(modules.as_deref()).map_err(|error| damaged(MODULES, error))?;
        if let Some(file) = contents::router_file(&modules) {
            let Some(entry) = listing.find(&file) else {
                return Err(self.failed(&format!("it lists a router and has no `{file}`")));
            };
            self.fetch_file(cache, commit, entry, progress)?;
            let list = read_text(&snapshot.join(&file))?;
            modules = contents::routed(modules, &list).map_err(|error| damaged(&file, error))?;
        }
        let wanted: Vec<&Entry> = contents::wanted(&names, &modules)
            .into_iter()
            .filter_map(|name| listing.find(name))
            .filter(|entry| !snapshot.join(&entry.name).exists())
            .collect();
        progress.stage("fetch", wanted.iter().map(|entry| entry.size).sum());
        for entry in wanted {
            progress.message(&entry.name);
            self.fetch_file(cache, commit, entry, progress)?;
        }
        progress.finish();
        // Only now, so that a snapshot that is whole is not hidden by one that is not.
        cache.set_reference(self.revision, commit)?;
        Ok(snapshot)
    }

    /// The commit and its files.
    fn list(&self) -> Result<Listing> {
        let revision = self.revision.replace('/', "%2F");
        let url = format!(
            "{}/api/models/{}/revision/{revision}?blobs=true",
            self.settings.endpoint, self.id
        );
        let mut response = self.get(&url, 0)?;
        let listing: Listing = response.body_mut().read_json().map_err(|error| {
            self.failed("the list of its files is not what the hub gives").caused_by(error)
        })?;
        let strange = listing.siblings.iter().find(|entry| !is_inside(&entry.name));
        match strange {
            _ if !is_commit(&listing.commit) => {
                Err(self.failed(&format!("`{}` is not a commit", listing.commit)))
            }
            Some(entry) => Err(self.failed(&format!("`{}` is not a file name", entry.name))),
            None => Ok(listing),
        }
    }

    /// Brings one file into the cache, unless it is there.
    fn fetch_file(
        &self,
        cache: &Repository,
        commit: &str,
        entry: &Entry,
        progress: &dyn Progress,
    ) -> Result<()> {
        let name = entry.blob_name(commit);
        let blob = cache.blob(&name);
        if !blob.is_file() {
            let unfinished = cache.blob(&format!("{name}.incomplete"));
            atomic::create_parent(&blob)?;
            let fail = |error| Error::io("write", &unfinished, error);
            // Windows locks only what is open for reading or writing, and appending alone is neither.
            let mut file = File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(&unfinished)
                .map_err(fail)?;
            file.lock().map_err(fail)?;
            // Another process may have brought it while this one waited.
            if !blob.is_file() {
                let url = self.file_url(commit, &entry.name);
                self.download(&url, entry, &mut file, progress)?;
                file.sync_all().map_err(fail)?;
                atomic::rename(&unfinished, &blob)?;
            }
        }
        cache.link(commit, &entry.name, &name)
    }

    fn file_url(&self, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{}", self.settings.endpoint, self.id, percent_encoded(name))
    }

    /// Fills `file` to its full length, going on where it ends.
    fn download(
        &self,
        url: &str,
        entry: &Entry,
        file: &mut File,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            let before = length(file)?;
            result = self.transfer(url, entry, file, progress);
            match &result {
                Err(error) if error.kind() == ErrorKind::Network && length(file)? > before => {}
                _ => break,
            }
        }
        result
    }

    fn transfer(
        &self,
        url: &str,
        entry: &Entry,
        file: &mut File,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut start = length(file)?;
        if entry.size == Some(start) {
            return Ok(());
        }
        let mut response = self.get(url, start)?;
        if start > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // The server knows no ranges, or what was begun is not a beginning of this file.
            file.set_len(0).map_err(|e| Error::io("write", "a download", e))?;
            start = 0;
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                response = self.get(url, 0)?;
            }
        }
        progress.advance(start);
        copy(&mut response.body_mut().as_reader(), file, progress)
            .map_err(|error| self.broken_off(&entry.name, error))?;
        match (entry.size, length(file)?) {
            (Some(size), found) if size != found => {
                Err(self
                    .failed(&format!("`{}` came with {found} bytes, expected {size}", entry.name)))
            }
            _ => Ok(()),
        }
    }

    /// A request, from byte `start` of the answer on. Success, or an error in words.
    fn get(&self, url: &str, start: u64) -> Result<Response<ureq::Body>> {
        // Ranges and lengths count the bytes of the file, not of a compressed answer.
        let mut request = self.agent.get(url).header(ACCEPT_ENCODING, "identity");
        if let Some(token) = &self.settings.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        let response = request.call().map_err(|error| {
            self.failed(&format!("cannot reach {}", self.settings.endpoint))
                .hint("check the network, or name a model folder")
                .caused_by(error)
        })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => Ok(response),
            status => Err(self.refused(status, retry_after(&response))),
        }
    }

    /// `retry_after` is what the server says of trying again.
    fn refused(&self, status: StatusCode, retry_after: Option<String>) -> Error {
        let endpoint = &self.settings.endpoint;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let hint = match self.settings.token {
                    Some(_) => "check the id, and that the token in HF_TOKEN may read this model",
                    None => "check the id; a private or gated model needs a token in HF_TOKEN",
                };
                self.failed(&format!("{endpoint} does not give access to it (status {status})"))
                    .hint(hint)
            }
            StatusCode::NOT_FOUND => self
                .failed(&format!("{endpoint} has no such model or revision (status {status})"))
                .hint("check the id and `--revision`, or name a folder that exists"),
            _ => self.failed(&format!("{endpoint} answered with status {status}")).hint(format!(
                "try again {}, or name a model folder",
                retry_after.as_deref().unwrap_or("later")
            )),
        }
    }

    fn broken_off(&self, file: &str, error: std::io::Error) -> Error {
        // Errors of this program travel through `io::Error` unchanged.
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => self
                .failed(&format!("the transfer of `{file}` broke off"))
                .hint("run the same command again; it goes on where it stopped")
                .caused_by(error),
        }
    }

    fn failed(&self, reason: &str) -> Error {
        let Self { id, revision, .. } = self;
        Error::new(ErrorKind::Network, format!("cannot fetch `{id}` at `{revision}`: {reason}"))
    }
}

impl Listing {
    fn find(&self, name: &str) -> Option<&Entry> {
        self.siblings.iter().find(|entry| entry.name == name)
    }
}

impl Entry {
    /// The hub's own name for the contents, so that other programs find the blob; made up where it gives none.
    fn blob_name(&self, commit: &str) -> String {
        let large = self.lfs.as_ref().and_then(|lfs| lfs.sha256.clone());
        let is_hash =
            |name: &String| name.len() >= 40 && name.bytes().all(|b| b.is_ascii_hexdigit());
        large.or_else(|| self.blob.clone()).filter(is_hash).unwrap_or_else(|| {
            Fingerprint::of(format!("{commit}/{}", self.name).as_bytes()).to_string()
        })
    }
}

/// The header `Retry-After` in words: it has seconds or a date. Nothing waits for it here, a person does.
fn retry_after(response: &Response<ureq::Body>) -> Option<String> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse::<u64>() {
        Ok(seconds) => Some(format!("in {seconds} seconds")),
        Err(_) if value.is_empty() => None,
        Err(_) => Some(format!("after {value}")),
    }
}

fn copy(from: &mut impl Read, to: &mut File, progress: &dyn Progress) -> std::io::Result<()> {
    let mut piece = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&piece[..count])
            .map_err(|e| std::io::Error::other(Error::io("write", "the model cache", e)))?;
        progress.advance(count as u64);
        interrupt::check("what was fetched is kept").map_err(std::io::Error::other)?;
    }
}

fn length(file: &File) -> Result<u64> {
    file.metadata().map(|data| data.len()).map_err(|e| Error::io("read", "a download", e))
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Error::io("read", path, e))
}

/// A file name as a part of a URL.
fn percent_encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    name.bytes().map(encode).collect()
}
