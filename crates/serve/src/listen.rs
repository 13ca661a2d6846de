//! A port, the connections to it, and their end.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hpd_files::{Error, Result, interrupt};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use crate::{Keys, Service, app};

/// How soon a signal is noticed.
const GLANCE: Duration = Duration::from_millis(50);

/// How long requests that were begun may take once the server was asked to stop.
const GRACE: Duration = Duration::from_secs(30);

/// Takes a port of this machine; port 0 is any that is free.
///
/// # Errors
/// When the name is not this machine's, the port is taken, or the address can be reached by others while there is no key, unless
/// `anyone` may ask.
pub fn bind(hostname: &str, port: u16, keys: &Keys, anyone: bool) -> Result<TcpListener> {
    let place = format!("`{hostname}` port {port}");
    let found = (hostname, port).to_socket_addrs();
    let addresses: Vec<SocketAddr> = found
        .map_err(|e| {
            Error::input(format!("`{hostname}` is no address of this machine")).caused_by(e)
        })?
        .collect();
    for &address in &addresses {
        keys.check_address(address, anyone)?;
    }
    TcpListener::bind(&addresses[..]).map_err(|e| {
        Error::input(format!("cannot listen at {place}"))
            .hint("say another port with `--port`, or 0 for any that is free")
            .caused_by(e)
    })
}

/// Answers requests until [`interrupt`] is asked for, then ends those that were begun.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(listener: TcpListener, service: Service) -> Result<()> {
    let failed = |e| Error::io("serve", "the port", e);
    listener.set_nonblocking(true).map_err(failed)?;
    // Connections only read and write; what computes has threads of its own.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("connections")
        .enable_io()
        .enable_time()
        .build()
        .map_err(failed)?;
    let patience = service.limits.patience;
    let app = app(Arc::new(service));
    let served = runtime.block_on(async {
        accept(tokio::net::TcpListener::from_std(listener)?, app, patience).await;
        Ok(())
    });
    runtime.shutdown_background();
    served.map_err(failed)
}

/// Takes connections until there is an interrupt, then waits for the answers to what was asked before. `axum::serve` would know no
/// limit to how long the head of a request may take.
async fn accept(listener: tokio::net::TcpListener, app: Router, patience: Duration) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(patience);
    let connections = GracefulShutdown::new();
    while !interrupt::requested() {
        let stream = match timeout(GLANCE, listener.accept()).await {
            Ok(Ok((stream, _))) => stream,
            // Such as too many open files, which may be fewer in a moment.
            Ok(Err(_)) => {
                sleep(GLANCE).await;
                continue;
            }
            Err(_) => continue,
        };
        let service = TowerToHyperService::new(app.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        // It fails when a client goes away or speaks no HTTP, which the client knows.
        tokio::spawn(connections.watch(connection));
    }
    drop(listener);
    // Who keeps a connection busy for ever does not keep the server from stopping.
    let _ = timeout(GRACE, connections.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use axum::routing::get;

    use super::*;

    /// What a client reads until the server closes, when it sends so much.
    fn answer_to(sent: &str) -> String {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        runtime.spawn(async move {
            let app = Router::new().route("/", get(async || "here"));
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            accept(listener, app, Duration::from_millis(200)).await;
        });
        client.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        runtime.shutdown_background();
        answer
    }

    #[test]
    fn who_sends_no_head_in_time_is_let_go() {
        for beginning in ["", "GET / HTTP/1.1\r\nHost: h"] {
            let answer = answer_to(beginning);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
    }

    #[test]
    fn who_asks_is_answered_and_then_let_go() {
        let answer = answer_to("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
    }
}
