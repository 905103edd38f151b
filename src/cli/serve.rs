//! `siegel serve`: the server.

use crate::app::{Node, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::csp::pkcs11::environment;
use crate::http;
use crate::ledger::SealingKey;
use crate::telemetry;
use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `siegel serve`.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Configuration; see schema/siegel.example.toml.
    #[arg(long, default_value = "var/siegel.toml")]
    config: PathBuf,
    /// Address and port, instead of `server.listen`.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Only says whether the configuration makes sense.
    #[arg(long)]
    check_config: bool,
}

/// Serves until it is told to stop (SIGTERM, SIGINT), then answers what it has taken. A start that a token
/// refuses for its PIN has an exit code of its own, see `cli`.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    if args.check_config {
        SealingKey::from_file(&config.seal_key_file)?;
        println!("{} makes sense", args.config.display());
        return Ok(());
    }
    // Before any thread is made: it may start this process again.
    environment::reexec_with(&environment::merge(&config.tokens)?)?;
    forbid_core_dumps()?;
    let tracing = telemetry::start(&config.log, config.telemetry.otlp.as_ref())?;
    // Early, so that a port in use is told before anything is touched.
    let address = args.listen.unwrap_or(config.listen);
    let listener = listen(address, "server.listen, --listen")?;
    let watched = config.telemetry.metrics_listen;
    let watched = watched.map(|address| listen(address, "telemetry.metrics_listen"));
    let watched = watched.transpose()?;
    allow_files();
    tracing::warn!(
        "Siegel is not certified by the BSI: its signatures do not fulfil the duties of § 146a AO"
    );
    if config.has_live() {
        tracing::warn!("LIVE tokens are in use without a certificate, as the configuration says");
    }
    let node = Node::start(
        &config,
        Arc::new(SystemClock::new()),
        Arc::new(SystemEntropy),
    )?;
    let served = actix_web::rt::System::new().block_on(serve(&node, listener, watched));
    node.stop();
    drop(tracing);
    // Kept until the process is gone: threads that sign would otherwise close their sessions while the
    // module's own end-of-process code runs, and SoftHSM then crashes now and again.
    std::mem::forget(node);
    served
}

/// `setting` is where the address comes from.
fn listen(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let help = if error.kind() == ErrorKind::AddrInUse {
            "another program listens there, perhaps another server; stop it, or choose another port"
        } else if error.kind() == ErrorKind::AddrNotAvailable {
            "no network interface of this machine has this address; choose another address"
        } else if error.kind() == ErrorKind::PermissionDenied {
            "this user may not listen on this port; choose one above 1023"
        } else {
            "choose another address or port"
        };
        let what = format!("{address} cannot be listened on: {help} ({setting})");
        anyhow::Error::from(error).context(what)
    })
}

/// `watched` is where metrics are told.
async fn serve(
    node: &Node,
    listener: TcpListener,
    watched: Option<TcpListener>,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let watched = watched.map(|listener| tell_metrics(node, listener));
    let watched = watched.transpose().context("metrics cannot be told")?;
    let server = http::serve(node.door(), listener).context("HTTP cannot be served")?;
    let handle = server.handle();
    // Before anybody hears that we are ready: a signal that came earlier would end the process at once.
    match stop_signal() {
        Ok(signal) => drop(actix_web::rt::spawn(async move {
            signal.await;
            tracing::info!("stopping: no more connections, open calls are answered");
            handle.stop(true).await;
        })),
        Err(error) => {
            tracing::error!(%error, "signals cannot be received; stop with SIGKILL, nothing is lost");
        }
    }
    tracing::info!("ready on http://{address}/api/v2");
    let served = server.await;
    // Last, so that somebody who watches sees the end.
    if let Some(watched) = watched {
        watched.stop(false).await;
    }
    served.context("the HTTP server ended by itself")
}

fn tell_metrics(node: &Node, listener: TcpListener) -> std::io::Result<ServerHandle> {
    let address = listener.local_addr()?;
    let metrics = node.metrics();
    let server = http::serve_metrics(Arc::new(move || metrics.text()), listener)?;
    let handle = server.handle();
    drop(actix_web::rt::spawn(server));
    tracing::info!("metrics on http://{address}/metrics");
    Ok(handle)
}

/// Catches signals from now on; what is returned waits for the first one.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Each connection is a file to the system, and many systems allow a thousand unless they are asked for
/// more. Without it the server accepts fewer connections; that is no reason not to start.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

/// PINs and keys of this process must not reach a disk.
pub(super) fn forbid_core_dumps() -> anyhow::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).context("core dumps could not be forbidden")
}
