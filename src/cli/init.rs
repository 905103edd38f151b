//! `siegel init`: a data folder for development, CI and first steps.

use super::files::write_private;
use crate::app::SystemEntropy;
use crate::csp::pkcs11::{environment, initialise_token};
use crate::ledger::SealingKey;
use crate::terms::{Entropy as _, Secret};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where distributions put SoftHSM's library.
const SOFTHSM_PLACES: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Label of the token that is made.
const TOKEN_LABEL: &str = "siegel-test";

/// Arguments of `siegel init`.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// Folder to make; one that holds a siegel.toml is left as it is.
    #[arg(long, default_value = "var")]
    dir: PathBuf,
    /// Port to write into the configuration.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// SoftHSM's library, where it is not in one of the usual places.
    #[arg(long)]
    softhsm: Option<PathBuf>,
}

pub(super) fn run(args: &InitArgs) -> anyhow::Result<()> {
    let configuration = args.dir.join("siegel.toml");
    if configuration.exists() {
        println!(
            "{} is there already; nothing was changed",
            configuration.display()
        );
        return Ok(());
    }
    fs::create_dir_all(&args.dir)
        .with_context(|| format!("the folder {} could not be made", args.dir.display()))?;
    let dir = args
        .dir
        .canonicalize()
        .context("the data folder has no absolute path")?;
    let module = softhsm(args.softhsm.as_deref())?;
    let softhsm_conf = dir.join("softhsm2.conf");
    let conf_text = softhsm_conf
        .to_str()
        .context("the data folder's path must be UTF-8")?;
    // SoftHSM reads its variable from the process; this starts the same command again with it set.
    environment::reexec_with(&BTreeMap::from([(
        "SOFTHSM2_CONF".to_owned(),
        conf_text.to_owned(),
    )]))?;
    make_token(&dir, &softhsm_conf, &module)?;
    let seal_key = dir.join("seal.key");
    if !seal_key.exists() {
        SealingKey::create_file(&seal_key, &SystemEntropy).context("seal.key could not be made")?;
    }
    // Last, because its presence says that everything else is there.
    write_private(
        &configuration,
        configuration_text(args.port, &module).as_bytes(),
    )?;
    println!(
        "{} is ready; start with: siegel serve --config {0}",
        configuration.display()
    );
    Ok(())
}

fn softhsm(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let places = SOFTHSM_PLACES.map(PathBuf::from);
    let found = given
        .map(Path::to_owned)
        .or_else(|| places.into_iter().find(|path| path.exists()));
    match found {
        Some(path) if path.exists() => Ok(path),
        Some(path) => bail!("there is no SoftHSM library at {}", path.display()),
        None => bail!(
            "SoftHSM was not found: install the package softhsm2, or name its library with --softhsm"
        ),
    }
}

/// A token of its own, in the data folder. Its SO PIN is thrown away: nothing here ever needs it.
fn make_token(dir: &Path, conf: &Path, module: &Path) -> anyhow::Result<()> {
    let pin_file = dir.join("token.pin");
    let tokens = dir.join("tokens");
    if pin_file.exists() && tokens.exists() {
        return Ok(());
    }
    fs::create_dir_all(&tokens).context("the folder of the token could not be made")?;
    let conf_text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    write_private(conf, conf_text.as_bytes())?;
    let pin = random_digits(16);
    initialise_token(module, TOKEN_LABEL, &random_digits(16), &pin)
        .context("the SoftHSM token could not be made")?;
    write_private(&pin_file, pin.expose().as_bytes())
}

fn random_digits(count: usize) -> Secret {
    let mut bytes = vec![0; count];
    SystemEntropy.fill(&mut bytes);
    Secret::new(
        bytes
            .into_iter()
            .map(|byte| char::from(b'0' + byte % 10))
            .collect(),
    )
}

fn configuration_text(port: u16, module: &Path) -> String {
    format!(
        r#"# Configuration of a Siegel for development and tests. Every key: schema/siegel.example.toml
# Siegel is not certified by the BSI; nothing signed here is good for tax purposes.

[server]
listen = "127.0.0.1:{port}"

[ledger]
sqlite = "siegel.db"

[secrets]
seal_key_file = "seal.key"

[[token]]
name = "main"
environment = "TEST"
module = "{}"
label = "{TOKEN_LABEL}"
pin_file = "token.pin"

[token.module_env]
SOFTHSM2_CONF = "softhsm2.conf"
"#,
        module.display()
    )
}
