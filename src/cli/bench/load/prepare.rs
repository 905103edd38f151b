//! Makes the TSSs and tills of a run, as any integration would.

use super::till::Till;
use crate::app::SystemEntropy;
use crate::cli::bench::fill::Filled;
use crate::cli::client::{Api, text};
use crate::http::management_v0::random_uuid;
use crate::verify::AnswerKey;
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use ureq::http::Method;

/// Who they are, for people who find them later.
const DESCRIPTION: &str = "Siegel bench (nobody's till)";
const ADMIN_PIN: &str = "0123456789";
/// TSSs made at the same time.
const THREADS: usize = 4;
/// How long, and how many times, a pool of prepared devices that is empty is waited for.
const POOL_PAUSE: Duration = Duration::from_millis(250);
const POOL_TRIES_MAX: u32 = 1200;
/// From how many TSSs on there is a word now and then.
const WORD_EVERY: u32 = 100;

/// What there is to load.
pub(super) struct Prepared {
    /// Neighbours have different TSSs.
    pub tills: Vec<Till>,
    /// One per TSS.
    pub keys: Vec<AnswerKey>,
}

struct Made {
    id: String,
    key: AnswerKey,
    tills: Vec<Till>,
}

/// Makes so many TSSs with so many tills in all.
pub(super) fn prepare(api: &Api, tss: u32, tills: u32) -> anyhow::Result<Prepared> {
    eprintln!("making {tss} TSSs with {tills} tills, described as {DESCRIPTION:?}; they stay");
    let next = AtomicU32::new(0);
    let made = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= tss {
                    return Ok(());
                }
                if at > 0 && at.is_multiple_of(WORD_EVERY) {
                    eprintln!("{at} of {tss} TSSs");
                }
                let own = tills / tss + u32::from(at < tills % tss);
                let done = make(api, usize::try_from(at)?, own)?;
                lock(&made).push((at, done));
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|_| bail!("making the TSSs ended in a panic"))
        })
    })?;
    let mut made = made
        .into_inner()
        .unwrap_or_else(|broken| broken.into_inner());
    made.sort_by_key(|(at, _)| *at);
    let (mut keys, mut queues) = (Vec::new(), Vec::new());
    eprintln!("the TSSs:");
    for (_, one) in made {
        eprintln!("{}", one.id);
        keys.push(one.key);
        queues.push(one.tills.into_iter());
    }
    let mut tills = Vec::new();
    loop {
        let round: Vec<_> = queues.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return Ok(Prepared { tills, keys });
        }
        tills.extend(round);
    }
}

/// The first of those that are there already.
pub(super) fn known(filled: &Filled, tss: u32) -> anyhow::Result<Prepared> {
    let (mut tills, mut keys) = (Vec::new(), Vec::new());
    for (tss_at, shop) in (0..tss).zip(&filled.shops) {
        let point = STANDARD.decode(&shop.public_key)?;
        keys.push(AnswerKey::from_point(&point).context("a public key is on no curve")?);
        tills.push(Till {
            tss: shop.tss.clone(),
            client: shop.client.clone(),
            tss_at: usize::try_from(tss_at)?,
            serial: shop.serial.clone(),
        });
    }
    Ok(Prepared { tills, keys })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

fn make(api: &Api, tss_at: usize, tills: u32) -> anyhow::Result<Made> {
    let id = new_id();
    let tss = format!("/tss/{id}");
    let created = create(api, &tss)?;
    let puk = text(&created, "admin_puk")?;
    api.patch(&tss, &json!({"state": "UNINITIALIZED"}))?;
    let pin = json!({"admin_puk": puk, "new_admin_pin": ADMIN_PIN});
    api.patch(&format!("{tss}/admin"), &pin)?;
    api.post(
        &format!("{tss}/admin/auth"),
        &json!({"admin_pin": ADMIN_PIN}),
    )?;
    api.patch(
        &tss,
        &json!({"state": "INITIALIZED", "description": DESCRIPTION}),
    )?;
    let mut made = Vec::new();
    for _ in 0..tills {
        let client = new_id();
        let serial = format!("BENCH-{client}");
        let path = format!("{tss}/client/{client}");
        api.put(&path, &json!({"serial_number": serial}))?;
        made.push(Till {
            tss: id.clone(),
            client,
            tss_at,
            serial,
        });
    }
    api.post(&format!("{tss}/admin/logout"), &json!({}))?;
    let shown = api.get(&tss)?;
    let point = STANDARD.decode(text(&shown, "public_key")?);
    let point = point.context("the public key of a TSS is no base64")?;
    let key = AnswerKey::from_point(&point).context("the public key of a TSS is on no curve")?;
    Ok(Made {
        id,
        key,
        tills: made,
    })
}

/// The pool of prepared devices may have to be filled first.
fn create(api: &Api, path: &str) -> anyhow::Result<Value> {
    for _ in 0..POOL_TRIES_MAX {
        let (status, body) = api.ask(&Method::PUT, path, &json!({}))?;
        match status {
            200 => return Ok(body),
            503 => thread::sleep(POOL_PAUSE),
            _ => bail!("a TSS could not be made: {status} {body}"),
        }
    }
    bail!("the server does not make enough TSSs; see pki.pool_target")
}

fn new_id() -> String {
    random_uuid(&SystemEntropy).to_string()
}
