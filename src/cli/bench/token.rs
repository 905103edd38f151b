//! The token alone: its own signatures, as the lanes ask for them.

use super::BenchArgs;
use super::figures::{Latencies, per_second};
use crate::app::{MachineWatch, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::csp::pkcs11::{Pkcs11Token, ThrowAwayKey, environment};
use crate::csp::{Csp, KeyPair, check};
use crate::telemetry;
use crate::terms::{Entropy as _, Hash};
use anyhow::{Context as _, bail};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long signatures are verified in software, for comparison.
const VERIFY_TIME: Duration = Duration::from_millis(500);

/// Signs with a throw-away key on the first token of the configuration, and tells the rate.
pub(super) fn run(file: &Path, args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let config = Config::read(file)?;
    environment::reexec_with(&environment::merge(&config.tokens)?)?;
    telemetry::start_for_command()?;
    let section = config.tokens.first().context("there is no token")?;
    let (entropy, clock) = (Arc::new(SystemEntropy), Arc::new(SystemClock::new()));
    let token = Pkcs11Token::open_on_trial(section.clone(), entropy, clock)?;
    let key = ThrowAwayKey::make(&token, config.curve)?;
    let digest = digest_for(key.pair());
    // Proves the key, which the first signature of every handle must be.
    let signature = token.sign(key.pair(), &digest)?;
    check::verify(&key.pair().public_key, &digest, &signature)?;
    let (made, latencies, took) = sign(&token, key.pair(), args)?;
    let verified = verifications(key.pair(), &digest, &signature)?;
    let rate = per_second(made, took);
    if args.json {
        let document = json!({
            "token": token.token(),
            "curve": config.curve.name(),
            "threads": args.threads,
            "signatures_per_second": rate,
            "latency_ms": latencies.to_json(),
            "verifications_per_second_and_core": verified,
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        let (label, curve, threads) = (token.token(), config.curve.name(), args.threads);
        println!("token {label}, {curve}, {threads} threads: {rate:.1} signatures/s");
        println!("{}", latencies.text());
        println!("verified in software by one core: {verified:.1} signatures/s");
    }
    Ok(ExitCode::SUCCESS)
}

fn digest_for(key: &KeyPair) -> Vec<u8> {
    let len = match key.public_key.curve.default_hash() {
        Hash::Sha256 | Hash::Sha3_256 => 32,
        Hash::Sha384 | Hash::Sha3_384 => 48,
        Hash::Sha512 | Hash::Sha3_512 => 64,
    };
    let mut digest = vec![0; len];
    SystemEntropy.fill(&mut digest);
    digest
}

/// All threads sign for the same time. Returns how often, how long each took, and the time.
fn sign(
    token: &Pkcs11Token,
    key: &KeyPair,
    args: &BenchArgs,
) -> anyhow::Result<(u64, Latencies, Duration)> {
    let watch = MachineWatch::start();
    let work = || -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::new()?;
        let mut digest = digest_for(key);
        while watch.elapsed() < args.duration {
            // Another one each time, as in real life.
            if let Some(first) = digest.first_mut() {
                *first = first.wrapping_add(1);
            }
            let one = MachineWatch::start();
            token.sign(key, &digest)?;
            latencies.record(one.elapsed());
        }
        Ok(latencies)
    };
    let all = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(work)).collect();
        let mut all = Latencies::new()?;
        for thread in threads {
            match thread.join() {
                Ok(latencies) => all.add(&latencies?)?,
                Err(_) => bail!("signing ended in a panic"),
            }
        }
        Ok(all)
    })?;
    Ok((all.count(), all, watch.elapsed()))
}

fn verifications(key: &KeyPair, digest: &[u8], signature: &[u8]) -> anyhow::Result<f64> {
    let key = check::ParsedKey::parse(&key.public_key)?;
    let watch = MachineWatch::start();
    let mut count = 0_u64;
    while watch.elapsed() < VERIFY_TIME {
        key.verify(digest, signature)?;
        count = count.saturating_add(1);
    }
    Ok(per_second(count, watch.elapsed()))
}
