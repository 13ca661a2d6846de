//! A port, the connections to it, and their end.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use hpd_files::{Error, Result, interrupt};
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
    let app = app(Arc::new(service));
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let serving = axum::serve(listener, app).with_graceful_shutdown(until_interrupted());
        let serving = tokio::spawn(async move { serving.await });
        until_interrupted().await;
        // Who keeps a connection open for ever does not keep the server from stopping.
        match timeout(GRACE, serving).await {
            Ok(Ok(served)) => served,
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    });
    runtime.shutdown_background();
    served.map_err(failed)
}

async fn until_interrupted() {
    while !interrupt::requested() {
        sleep(GLANCE).await;
    }
}
