//! The load: tills that call a server.

mod check;
mod connection;
mod engine;
mod prepare;
mod schedule;
mod tally;
mod till;

use super::fill::Filled;
use super::{BenchArgs, Shape, WRONG};
use anyhow::Context as _;
use check::Checker;
use std::process::ExitCode;
use std::time::Duration;
use tally::Tally;
use till::Till;

/// Where a server is: plain HTTP, one host, one port.
struct Server {
    /// `host:port`.
    authority: String,
    /// Before `/tss`.
    path: String,
    token: String,
}

/// Everything a run needs to know.
struct Plan {
    server: Server,
    tills: Vec<Till>,
    connections: usize,
    shape: Shape,
    rate: Option<f64>,
    duration: Duration,
}

/// Prepares, loads and tells the outcome.
pub(super) fn run(url: &str, args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let (authority, path) = split_url(url)?;
    let key = args.api_key.as_deref().unwrap_or_default();
    let secret = args.api_secret.as_deref().unwrap_or_default();
    let api = crate::cli::client::Api::log_in(url, key, secret)?;
    let tills = args.tills.unwrap_or(args.connections).max(args.tss);
    let prepared = match &args.shops {
        Some(file) => prepare::known(&Filled::read(file)?, args.tss)?,
        None => prepare::prepare(&api, args.tss, tills)?,
    };
    let checker = args
        .verify
        .then(|| Checker::start(prepared.keys))
        .transpose()?;
    let plan = Plan {
        server: Server {
            authority,
            path,
            token: api.token().to_owned(),
        },
        tills: prepared.tills,
        connections: usize::try_from(args.connections)?,
        shape: args.shape,
        rate: args.rate,
        duration: args.duration,
    };
    let mut tally = engine::run(plan, checker.as_ref())?;
    let is_right = match checker {
        Some(checker) => tally.take_findings(checker.finish()?),
        None => true,
    };
    tell(&tally, args)?;
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(WRONG)
    })
}

fn tell(tally: &Tally, args: &BenchArgs) -> anyhow::Result<()> {
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&tally.to_json(args.duration)?)?
        );
    } else {
        print!("{}", tally.text(args.duration)?);
    }
    Ok(())
}

/// Authority and path of the base URL.
fn split_url(url: &str) -> anyhow::Result<(String, String)> {
    let problem = || format!("{url} is no base URL; give one such as http://127.0.0.1:8080/api/v2");
    let uri: ureq::http::Uri = url.trim_end_matches('/').parse().with_context(problem)?;
    if uri.scheme_str() != Some("http") || uri.query().is_some() {
        anyhow::bail!("{}", problem());
    }
    let host = uri.host().with_context(problem)?;
    let port = uri.port_u16().unwrap_or(80);
    let path = uri.path().trim_end_matches('/').to_owned();
    Ok((format!("{host}:{port}"), path))
}
