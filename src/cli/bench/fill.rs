//! Fills a throw-away installation with TSSs and genuine signed messages, as fast as token and ledger go.
//! For `scripts/bench`; refuses a ledger in which anybody else has anything.

use super::BenchArgs;
use super::ca::test_ca;
use super::history::{Commands, History};
use super::shop::Shop;
use crate::app::{SystemClock, SystemEntropy};
use crate::cli::admin::{create_api_key, create_organization};
use crate::config::Config;
use crate::csp::Csp;
use crate::csp::pkcs11::{Pkcs11Token, environment};
use crate::http::management_v0::random_uuid;
use crate::ledger::Store;
use crate::sma::Caller;
use crate::telemetry;
use crate::terms::{Clock, Entropy, Environment, OrganizationId, SessionId};
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Name of the organisation.
const OWNER: &str = "Siegel bench";
/// TSSs, and transactions of each, that share a commit.
const SHOPS_PER_COMMIT: usize = 16;
const TRANSACTIONS_PER_COMMIT: usize = 256;
const SIGNERS: usize = 2;

/// What a fill leaves for the load.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Filled {
    pub api_key: String,
    pub api_secret: String,
    organization: String,
    pub shops: Vec<FilledShop>,
}

/// A TSS with its till.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct FilledShop {
    pub tss: String,
    pub client: String,
    pub serial: String,
    /// In base64.
    pub public_key: String,
}

impl Filled {
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} could not be read", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} was not written by --fill", file.display()))
    }

    fn write(&self, file: &Path) -> anyhow::Result<()> {
        crate::cli::files::write_private(file, serde_json::to_string(self)?.as_bytes())
    }
}

/// Makes TSSs until there are as many as wanted, and then so many messages with all of them.
pub(super) fn run(config: &Path, args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let file = args.shops.as_deref().context("--fill needs --shops")?;
    let config = Config::read(config)?;
    environment::reexec_with(&environment::merge(&config.tokens)?)?;
    telemetry::start_for_command()?;
    let store = Store::open(&config.store, &SystemEntropy)?;
    let mut filled = known_or_new(&store, file)?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let section = config.tokens.first().context("there is no token")?;
    let opened = Pkcs11Token::open(section.clone(), Arc::clone(&entropy), Arc::clone(&clock))?;
    let token: Arc<dyn Csp> = Arc::new(opened);
    let organization: OrganizationId = filled.organization.parse()?;
    let mut history = History {
        lane: store.lane_for_token(token.token())?,
        token: token.as_ref(),
        caller: Caller {
            organization,
            environment: Environment::Test,
            session: SessionId::new(random_uuid(&SystemEntropy)),
        },
        rules: config.rules.clone(),
        threads: SIGNERS,
    };
    let wanted = usize::try_from(args.tss)?;
    if filled.shops.len() < wanted {
        let ca = test_ca(&store, &token, &clock)?;
        while filled.shops.len() < wanted {
            if store.free_devices_in(token.token(), Environment::Test)? == 0 {
                store.add_device(&ca.prepare(config.curve)?)?;
            }
            let shop = Shop::open(&mut history, clock.now())?;
            let row = store
                .tss(shop.tss)?
                .context("a TSS that was made is gone")?;
            filled.shops.push(FilledShop {
                tss: shop.tss.to_string(),
                client: shop.client.to_string(),
                serial: shop.serial(),
                public_key: STANDARD.encode(&row.tss.device.public_point),
            });
        }
        filled.write(file)?;
    }
    let written = sell(&mut history, clock.as_ref(), &filled, args.messages)?;
    println!("{} TSSs, {written} messages more", filled.shops.len());
    Ok(ExitCode::SUCCESS)
}

/// What an earlier fill has left, or a new owner in a ledger that has none.
fn known_or_new(store: &Store, file: &Path) -> anyhow::Result<Filled> {
    let others = store.organizations()?;
    if others.iter().any(|other| other.name != OWNER) {
        bail!("there is somebody else's data in this ledger; --fill is for throw-away ones");
    }
    if file.exists() {
        let filled = Filled::read(file)?;
        let id = &filled.organization;
        if others.iter().any(|other| other.id.to_string() == *id) {
            return Ok(filled);
        }
        bail!("{} belongs to another ledger", file.display());
    }
    if !others.is_empty() {
        bail!("the ledger was filled before; give the file that this fill has written");
    }
    let owner = create_organization(store, OWNER)?;
    let key = create_api_key(store, owner.id, "bench", Environment::Test)?;
    let filled = Filled {
        api_key: key.row.key,
        api_secret: key.secret,
        organization: owner.id.to_string(),
        shops: Vec::new(),
    };
    filled.write(file)?;
    Ok(filled)
}

/// Whole transactions, a group of TSSs after the other. Returns how many messages there are more.
fn sell(
    history: &mut History<'_>,
    clock: &dyn Clock,
    filled: &Filled,
    messages: u64,
) -> anyhow::Result<u64> {
    let shop = |shop: &FilledShop| -> anyhow::Result<Shop> {
        Ok(Shop {
            tss: shop.tss.parse()?,
            client: shop.client.parse()?,
        })
    };
    let shops: Vec<Shop> = filled
        .shops
        .iter()
        .map(shop)
        .collect::<anyhow::Result<_>>()?;
    let mut written = 0_u64;
    for group in shops.chunks(SHOPS_PER_COMMIT).cycle() {
        let left = usize::try_from(messages.saturating_sub(written))?;
        if left < 2 {
            break;
        }
        let now = TRANSACTIONS_PER_COMMIT.min(left / 2);
        let share = now.div_ceil(group.len());
        let mut commands = Commands::new();
        let mut given = 0;
        for shop in group {
            let own = share.min(now - given);
            if own > 0 {
                commands.insert(shop.tss, shop.sell(own)?);
                given += own;
            }
        }
        let done = history.write(&commands, clock.now())?;
        written = written.saturating_add(done.messages);
    }
    Ok(written)
}
