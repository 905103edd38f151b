//! `siegel bench`: how fast a server, a token or a ledger is.
//!
//! Invariant: what is measured is real work on real adapters, and nothing of a shop is used or changed: the
//! load makes TSSs of its own, the token signs with a throw-away key, the ledger is one made for the
//! measurement and removed after it.

mod ca;
mod figures;
mod fill;
mod history;
mod load;
mod shop;
mod soft_token;
mod store;
mod token;

use anyhow::bail;
use clap::ValueEnum;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Found out: an answer was wrong.
const WRONG: u8 = 1;

/// Arguments of `siegel bench`.
///
/// Three measurements; exactly one of --url, --csp and --ledger chooses.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["url", "csp", "ledger", "fill"]))]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct BenchArgs {
    /// Loads the server with this base URL, such as http://127.0.0.1:8080/api/v2. Plain HTTP only.
    ///
    /// Makes TSSs and clients of its own under the API key and leaves them there, described as "Siegel
    /// bench"; never point it at the organisation of a shop. `siegel admin tss disable` ends a TSS.
    #[arg(long, value_name = "URL", requires_all = ["api_key", "api_secret"])]
    url: Option<String>,
    /// API key to log in with.
    #[arg(long, value_name = "KEY", requires = "url")]
    api_key: Option<String>,
    /// Secret of the API key.
    #[arg(
        long,
        value_name = "SECRET",
        requires = "url",
        allow_hyphen_values = true
    )]
    api_secret: Option<String>,
    /// TSSs to make and to spread the load over.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tss: u32,
    /// Tills (registered clients) in all, shared out over the TSSs, at least one each. The default is one
    /// per connection.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tills: Option<u32>,
    /// Connections that stay open; each carries one transaction at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// The calls of a transaction.
    #[arg(long, value_enum, default_value_t = Shape::StartFinish)]
    shape: Shape,
    /// Transactions per second, begun at fixed times whether or not the server keeps up (open loop). The
    /// latency of a start counts from the moment it should have begun. Without it each connection begins
    /// the next transaction when the last one has ended (closed loop).
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How long to measure: 8s, 500ms or 2m. Transactions that have begun by then are ended, and count.
    #[arg(long, default_value = "8s", value_parser = duration)]
    duration: Duration,
    /// Checks every signature that is answered, while loading: exit code 1 if one is wrong. Takes cores from
    /// the server if that runs on the same machine.
    #[arg(long, requires = "url")]
    verify: bool,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
    /// Measures how fast the token of the configuration signs, with a throw-away key.
    #[arg(long, requires = "config")]
    csp: bool,
    /// Measures how fast a ledger commits, in the kind of database that the configuration names: a SQLite
    /// file beside the ledger, or a schema of its own in the PostgreSQL database. It is removed afterwards.
    #[arg(long, requires = "config")]
    ledger: bool,
    /// Fills a throw-away ledger, for `scripts/bench`: --tss TSSs and so many --messages more.
    #[arg(long, hide = true, requires_all = ["config", "shops"])]
    fill: bool,
    /// Messages to fill in.
    #[arg(long, hide = true, default_value_t = 0)]
    messages: u64,
    /// What a fill has left: its TSSs and tills. With --url they are loaded, and none are made.
    #[arg(long, hide = true, value_name = "FILE")]
    shops: Option<PathBuf>,
    /// Configuration of a server, for --csp and --ledger.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Threads that sign at the same time, for --csp.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
}

const AFTER_HELP: &str = "\
Of a load, --json gives messages_per_second and transactions_per_second (answered within the duration), \
latency_ms {p50, p95, p99, max} over all calls, operations with count and latency_ms for start, update and finish, \
and errors as {code: count}: codes of the server, HTTP_nnn for an answer without one, CONNECTION and TIMEOUT for none, \
NOT_STARTED for transactions of --rate that no connection was free for, SIGNATURE_INVALID, COUNTER_DOUBLED and \
ANSWER_WRONG from --verify.

Exit code 0: measured; 1: --verify found something wrong; 2: it could not be measured.";

/// The calls of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Two calls.
    StartFinish,
    /// Three calls.
    StartUpdateFinish,
}

/// Runs the measurement that was chosen.
pub(super) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    match (&args.url, &args.config) {
        (Some(url), _) => load::run(url, args),
        (None, Some(config)) if args.csp => token::run(config, args),
        (None, Some(config)) if args.ledger => store::run(config, args),
        (None, Some(config)) if args.fill => fill::run(config, args),
        (None, Some(_) | None) => {
            bail!("one of --url, --csp and --ledger chooses what is measured")
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok();
    let rate = rate.filter(|rate| (0.01..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| "give transactions per second, from 0.01 to 1000000".to_owned())
}

/// A number with its unit; without one, seconds.
fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST_S: f64 = 86_400.0;
    let split = text.find(|letter: char| letter.is_ascii_alphabetic());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => f64::NAN,
    };
    let seconds = number
        .parse::<f64>()
        .map_or(f64::NAN, |number| number * factor);
    if !(0.05..=LONGEST_S).contains(&seconds) {
        return Err("give a time such as 8s, 500ms or 2m, from 50ms to one day".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests;
