//! The way to the server: gRPC over an unencrypted connection, and its errors in the words of the workspace.

use std::env;
use std::error::Error as StdError;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hpd_files::{Error, ErrorKind, Result, interrupt};
use http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;
use tokio::runtime::{self, Runtime};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::messages::{self, Answer, Status};
use crate::Address;

/// Where Milvus listens unless told otherwise.
const PORT: u16 = 19530;

/// How long the server may take to let one in.
const REACH: Duration = Duration::from_secs(10);

/// How long it may take for one answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits between two tries, and between two looks at work that the server does alone.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// Tries while the server says that too much is asked of it: with pauses that double, about five minutes.
const TRIES: u32 = 14;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Bytes of the largest answer that is taken in.
const LARGEST_ANSWER: usize = 1 << 30;

/// Of [`Status`]: too much is asked at once, and there is no such collection (now, and before Milvus 2.3).
const TOO_MUCH: i32 = 8;
const NO_COLLECTION: i32 = 100;
const NO_COLLECTION_BEFORE: i32 = 4;
/// There is no index yet (now, and before).
const NO_INDEX: i32 = 700;
const NO_INDEX_BEFORE: i32 = 25;

/// A connection, and whose.
pub(super) struct Client {
    runtime: Runtime,
    grpc: Grpc<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    pub(super) address: Address,
    pub(super) database: String,
}

impl Client {
    pub(super) fn connect(address: &Address) -> Result<Self> {
        let place = Place::of(address)?;
        place.check_secrecy(address)?;
        let authorization = place.authorization().map(|token| {
            let mut token: MetadataValue<Ascii> = token.parse().map_err(|_| unreadable(address))?;
            token.set_sensitive(true);
            Ok(token)
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::new(ErrorKind::Io, "cannot open a connection").caused_by(e))?;
        let endpoint = Endpoint::from_shared(format!("http://{}:{}", place.host, place.port))
            .map_err(|_| unreadable(address))?
            .connect_timeout(REACH)
            .timeout(PATIENCE)
            .tcp_nodelay(true);
        let channel = runtime.block_on(endpoint.connect()).map_err(|e| {
            Error::new(ErrorKind::Network, format!("cannot reach `{address}`"))
                .hint(IS_IT_RUNNING)
                .caused_by(last_cause(&e))
        })?;
        Ok(Self {
            runtime,
            grpc: Grpc::new(channel).max_decoding_message_size(LARGEST_ANSWER),
            authorization: authorization.transpose()?,
            address: address.clone(),
            database: place.database,
        })
    }

    /// Asks the server, which `deed` ("search", "push to") is done for.
    pub(super) fn ask<R: messages::Request>(
        &mut self,
        deed: &str,
        request: &R,
    ) -> Result<R::Answer> {
        let answer = self.try_to_ask(deed, request)?;
        match answer.status().filter(|status| status.code != 0 || status.error_code != 0) {
            Some(status) => Err(self.refused(deed, status)),
            None => Ok(answer),
        }
    }

    /// The same; an answer that there is no such collection, or no index, is none.
    pub(super) fn look<R: messages::Request>(
        &mut self,
        deed: &str,
        request: &R,
    ) -> Result<Option<R::Answer>> {
        let answer = self.try_to_ask(deed, request)?;
        match answer.status().filter(|status| status.code != 0 || status.error_code != 0) {
            Some(status) if is_absent(status) => Ok(None),
            Some(status) => Err(self.refused(deed, status)),
            None => Ok(Some(answer)),
        }
    }

    /// Asks again, less and less often, while the server has too much to do.
    fn try_to_ask<R: messages::Request>(&mut self, deed: &str, request: &R) -> Result<R::Answer> {
        let mut pause = GLANCE;
        for _ in 1..TRIES {
            let answer = self.send(request).map_err(|status| self.failed(deed, status))?;
            if answer.status().is_none_or(|status| status.code != TOO_MUCH) {
                return Ok(answer);
            }
            wait(pause)?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.send(request).map_err(|status| self.failed(deed, status))
    }

    fn send<R: messages::Request>(&mut self, request: &R) -> Result<R::Answer, tonic::Status> {
        let mut request = Request::new(request.clone());
        if let Some(token) = &self.authorization {
            request.metadata_mut().insert("authorization", token.clone());
        }
        let grpc = &mut self.grpc;
        self.runtime.block_on(async {
            grpc.ready().await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
            let path = PathAndQuery::from_static(R::METHOD);
            let answer = grpc.unary(request, path, ProstCodec::<R, R::Answer>::default()).await?;
            Ok(answer.into_inner())
        })
    }

    /// What the way to the server made of a request.
    fn failed(&self, deed: &str, status: tonic::Status) -> Error {
        let failed = Error::new(ErrorKind::Network, format!("cannot {deed} `{}`", self.address));
        let hint = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => CHECK_USER,
            Code::DeadlineExceeded | Code::Cancelled => {
                "the server takes too long: run the command again"
            }
            Code::Unimplemented => {
                "the server is too old, or no Milvus: hpd needs Milvus 2.4 or later"
            }
            Code::ResourceExhausted => {
                "the server takes no message so large: give a smaller `--limit`"
            }
            _ => IS_IT_RUNNING,
        };
        failed.hint(hint).caused_by(status.message().to_owned())
    }

    /// What the server itself refused.
    fn refused(&self, deed: &str, status: &Status) -> Error {
        let failed = Error::new(ErrorKind::Network, format!("cannot {deed} `{}`", self.address));
        let reason = status.reason.to_lowercase();
        let hint = if is_absent(status) {
            Some("it was dropped meanwhile: push again")
        } else if reason.contains("database") {
            Some("make the database first, or leave it out of the address for `default`")
        } else if reason.contains("auth") || reason.contains("permission") {
            Some(CHECK_USER)
        } else if status.code == TOO_MUCH {
            Some("the server has too much to do: run the command again later, it goes on")
        } else {
            None
        };
        let failed = failed.caused_by(format!("{} (code {})", status.reason, status.code));
        match hint {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

/// What lies behind all that only says that something lies behind.
fn last_cause(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}

/// Sleeps, and wakes for a Ctrl-C.
fn wait(pause: Duration) -> Result<()> {
    for _ in 0..pause.as_millis() / GLANCE.as_millis() {
        interrupt::check("what was done so far stands, run the command again to go on")?;
        thread::sleep(GLANCE);
    }
    Ok(())
}

const IS_IT_RUNNING: &str = "is the server running there, and may this machine reach it?";
const CHECK_USER: &str =
    "check user and password; a password is best given by the variable MILVUS_PASSWORD";

fn is_absent(status: &Status) -> bool {
    [NO_COLLECTION, NO_INDEX].contains(&status.code)
        || status.code == 0 && [NO_COLLECTION_BEFORE, NO_INDEX_BEFORE].contains(&status.error_code)
}

fn unreadable(address: &Address) -> Error {
    Error::input(format!("cannot read the address `{address}`"))
        .hint("an address is `milvus://user@host:19530/database?collection=notes`")
}

/// What an address says.
struct Place {
    user: Option<String>,
    password: Option<String>,
    /// In brackets where it is of IPv6.
    host: String,
    port: u16,
    database: String,
    /// Whether texts may go over a network as they are: `secure=false`.
    is_open: bool,
}

impl Place {
    fn of(address: &Address) -> Result<Self> {
        let (_, rest) =
            address.connection().split_once("://").ok_or_else(|| unreadable(address))?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (who, rest) = match rest.rsplit_once('@') {
            Some((who, rest)) => (Some(who), rest),
            None => (None, rest),
        };
        let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = split_port(host).ok_or_else(|| unreadable(address))?;
        let decoded = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            decoded.map(String::from).map_err(|_| unreadable(address))
        };
        let (user, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
            Some((user, "")) => (Some(decoded(user)?), None),
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (None, None),
        };
        let database = decoded(database)?;
        let is_open = match parameters {
            "" => false,
            "secure=false" => true,
            _ => {
                return Err(Error::input(format!(
                    "the address `{address}` has parameters that hpd does not know for Milvus"
                ))
                .hint("it knows `collection=NAME` and `secure=false`"));
            }
        };
        let host = if host.is_empty() { "localhost" } else { host }.to_owned();
        Ok(Self { user, password, host, port, database, is_open })
    }

    /// Nothing goes over a network in the open unless that was said.
    fn check_secrecy(&self, address: &Address) -> Result<()> {
        let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&self.host.as_str());
        if is_here || self.is_open {
            return Ok(());
        }
        Err(Error::input(format!(
            "the connection to `{address}` would go over the network unencrypted, and hpd speaks no TLS"
        ))
        .hint("go through a tunnel, `ssh -N -L 19530:localhost:19530 HOST`, to `localhost`; or accept it with `secure=false` in the address"))
    }

    /// User and password as Milvus takes them.
    fn authorization(&self) -> Option<String> {
        let user = self.user.as_ref()?;
        let password = self.password.clone().or_else(|| env::var("MILVUS_PASSWORD").ok());
        Some(BASE64_STANDARD.encode(format!("{user}:{}", password.unwrap_or_default())))
    }
}

/// Host and port; the host in brackets where it has colons itself.
fn split_port(place: &str) -> Option<(&str, u16)> {
    let end = place.rfind(']').map_or(0, |at| at + 1);
    match place[end..].split_once(':') {
        Some((rest, port)) => Some((&place[..end + rest.len()], port.parse().ok()?)),
        None => Some((place, PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place> {
        Place::of(&text.parse()?)
    }

    #[test]
    fn an_address_is_taken_apart() {
        let all = place("milvus://me:p%40ss:x@db.example.com:7/texts?collection=a&secure=false");
        let all = all.expect("an address");
        assert_eq!(
            (all.host.as_str(), all.port, all.database.as_str()),
            ("db.example.com", 7, "texts")
        );
        assert_eq!(all.authorization().as_deref(), Some("bWU6cEBzczp4"));
        assert!(all.is_open);
        let least = place("milvus://").expect("an address");
        assert_eq!(
            (least.host.as_str(), least.port, least.database.as_str()),
            ("localhost", PORT, "")
        );
        assert_eq!(least.authorization(), None);
        let six = place("milvus://[::1]:20/x").expect("an address");
        assert_eq!((six.host.as_str(), six.port), ("[::1]", 20));
        for wrong in ["milvus://host:port", "milvus://host?timeout=3", "milvus://host:99999"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_open_unasked() {
        let secrecy = |text: &str| place(text)?.check_secrecy(&text.parse()?);
        for open in ["milvus://localhost", "milvus://127.0.0.1:19530", "milvus://[::1]"] {
            secrecy(open).expect(open);
        }
        secrecy("milvus://db.example.com?secure=false").expect("it was said");
        let refused = secrecy("milvus://me:s3cret@db.example.com").expect_err("a network");
        assert!(refused.hint_text().is_some_and(|hint| hint.contains("ssh")), "{refused:?}");
        assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
    }
}
