//! Who may ask: keys, and where a server without any may listen.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use hpd_files::{Error, Result};

/// The keys that are taken; with none, everyone may ask.
///
/// Kept as hashes, which also makes comparing them take the same time wherever they differ.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<blake3::Hash>);

impl Keys {
    /// Keys as they are sent, each behind `Authorization: Bearer`.
    ///
    /// # Errors
    /// When one is empty, or has spaces or signs that no header carries.
    pub fn new<S: AsRef<str>>(keys: &[S]) -> Result<Self> {
        keys.iter()
            .map(|key| {
                let key = key.as_ref();
                let is_sent_whole =
                    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
                is_sent_whole.then(|| blake3::hash(key.as_bytes())).ok_or_else(|| {
                    Error::input("a key is empty or has other signs than visible ASCII")
                        .hint("make one with `openssl rand -hex 32`")
                })
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether everyone may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request with these headers may be answered.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        if self.is_empty() {
            return true;
        }
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = sent.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| blake3::hash(key.trim().as_bytes()))
        });
        // Every key is looked at, whichever it is.
        key.is_some_and(|key| self.0.iter().fold(false, |found, known| found | (*known == key)))
    }

    /// Refuses to be open to the whole network by mistake.
    pub(crate) fn check_address(&self, address: SocketAddr, anyone: bool) -> Result<()> {
        if address.ip().is_loopback() || !self.is_empty() || anyone {
            return Ok(());
        }
        Err(Error::input(format!("`{}` can be reached by others, and no key is set", address.ip()))
            .hint("set one with HPD_API_KEY or --api-key-file, or say --allow-anonymous"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))])
    }

    #[test]
    fn only_a_whole_key_is_taken() {
        let keys = Keys::new(&["abc", "def"]).expect("two keys");
        assert!(keys.admit(&sent("Bearer abc")) && keys.admit(&sent("bearer  def")));
        for wrong in ["Bearer ab", "Bearer abcd", "Bearer", "abc", "Basic abc", "Bearer abc def"] {
            assert!(!keys.admit(&sent(wrong)), "{wrong}");
        }
        assert!(!keys.admit(&HeaderMap::new()));
        assert!(Keys::default().admit(&HeaderMap::new()));
        assert!(Keys::new(&[""]).is_err() && Keys::new(&["a b"]).is_err());
    }

    #[test]
    fn without_a_key_only_this_machine_is_served() {
        let [own, all] = ["127.0.0.1:80", "0.0.0.0:80"].map(|a| a.parse().expect("an address"));
        let none = Keys::default();
        assert!(none.check_address(own, false).is_ok() && none.check_address(all, true).is_ok());
        assert!(none.check_address(all, false).is_err());
        assert!(Keys::new(&["abc"]).expect("a key").check_address(all, false).is_ok());
    }
}
