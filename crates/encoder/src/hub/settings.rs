//! The environment variables of the hub, read in one place.

use std::fmt;
use std::fs;
use std::path::PathBuf;

/// Where models come from and where they are kept.
#[derive(Clone)]
pub struct HubSettings {
    /// Folder of the cache: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// Address of the hub: `HF_ENDPOINT`, or `https://huggingface.co`. Without a slash at its end.
    pub endpoint: String,
    /// Access token: `HF_TOKEN`, or what `hf auth login` has saved. Sent to the endpoint alone.
    pub token: Option<String>,
    /// Whether no request may be made: `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`.
    pub offline: bool,
}

impl Default for HubSettings {
    /// What holds when no variable is set.
    fn default() -> Self {
        Self::from_variables(|_| None)
    }
}

impl HubSettings {
    /// Reads the environment of this process.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Reads variables from `get`; empty ones count as not set.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| {
            get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let path = |name: &str| get(name).map(|path| from_home(&path));
        let home = path("HF_HOME").unwrap_or_else(|| {
            let caches =
                path("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")));
            caches.unwrap_or_default().join("huggingface")
        });
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self {
            cache: path("HF_HUB_CACHE")
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| home.join("hub")),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: get("HF_TOKEN")
                .or_else(|| get("HUGGING_FACE_HUB_TOKEN"))
                .or_else(|| saved_token(&token_file)),
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].iter().any(|name| is_on(get(name))),
        }
    }
}

/// A path as `huggingface_hub` takes it: where no shell has read it, `~` is still there.
fn from_home(path: &str) -> PathBuf {
    let below = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match (below, std::env::home_dir()) {
        (Some(below), Some(home)) => home.join(below.trim_start_matches('/')),
        _ => path.into(),
    }
}

fn saved_token(file: &std::path::Path) -> Option<String> {
    let token = fs::read_to_string(file).ok()?.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

/// As `huggingface_hub` reads it.
fn is_on(value: Option<String>) -> bool {
    value.is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()))
}

/// Never prints the token.
impl fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("HubSettings")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &token)
            .field("offline", &self.offline)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> HubSettings {
        HubSettings::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn cache_lies_where_huggingface_hub_has_it() {
        assert_eq!(with(&[("HF_HOME", "/a")]).cache, PathBuf::from("/a/hub"));
        assert_eq!(with(&[("HF_HOME", "/a"), ("HF_HUB_CACHE", "/b")]).cache, PathBuf::from("/b"));
        assert_eq!(with(&[("XDG_CACHE_HOME", "/c")]).cache, PathBuf::from("/c/huggingface/hub"));
        assert_eq!(with(&[("HUGGINGFACE_HUB_CACHE", "/d")]).cache, PathBuf::from("/d"));
        let home = std::env::home_dir().unwrap();
        assert_eq!(with(&[("HF_HOME", "~/hf")]).cache, home.join("hf/hub"));
        assert_eq!(with(&[("HF_HUB_CACHE", "~other/hf")]).cache, PathBuf::from("~other/hf"));
    }

    #[test]
    fn endpoint_has_no_slash_at_its_end_and_empty_variables_do_not_count() {
        assert_eq!(with(&[("HF_ENDPOINT", "http://h/")]).endpoint, "http://h");
        assert_eq!(with(&[("HF_ENDPOINT", "")]).endpoint, "https://huggingface.co");
    }

    #[test]
    fn offline_is_said_as_huggingface_hub_says_it() {
        assert!(with(&[("HF_HUB_OFFLINE", "1")]).offline);
        assert!(with(&[("TRANSFORMERS_OFFLINE", "TRUE")]).offline);
        assert!(!with(&[("HF_HUB_OFFLINE", "0")]).offline);
    }

    #[test]
    fn token_comes_from_the_variable_or_the_login_and_is_never_printed() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_saved\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(with(&[("HF_HOME", home)]).token.as_deref(), Some("hf_saved"));
        let settings = with(&[("HF_HOME", home), ("HF_TOKEN", "hf_given")]);
        assert_eq!(settings.token.as_deref(), Some("hf_given"));
        assert!(!format!("{settings:?}").contains("hf_given"));
        let settings = with(&[("HUGGING_FACE_HUB_TOKEN", "hf_earlier")]);
        assert_eq!(settings.token.as_deref(), Some("hf_earlier"));
    }
}
