//! Slots and tokens: what a module shows, which one is meant, and making a new one.

use super::config::Selector;
use super::errors::{Known, Trouble, describe};
use super::module::Module;
use crate::csp::{CspError, ModuleError};
use crate::terms::Secret;
use cryptoki::context::Pkcs11;
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::path::Path;

/// What a module says about itself and its slots.
#[derive(Clone, Debug)]
pub struct ModuleReport {
    /// Manufacturer, description and version of the library, or why it does not tell.
    pub library: Result<String, ModuleError>,
    /// Its slots, in its order.
    pub slots: Vec<SlotReport>,
}

/// A slot.
#[derive(Clone, Debug)]
pub struct SlotReport {
    /// Its id; may change between two starts.
    pub id: u64,
    /// The token in it, or why the module does not tell.
    pub token: Result<TokenReport, ModuleError>,
}

/// A token.
#[derive(Clone, Debug)]
pub struct TokenReport {
    /// Label; chooses the token in the configuration.
    pub label: String,
    /// Serial number; chooses the token in the configuration.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// Whether it can hold keys yet.
    pub initialized: bool,
    /// Whether a user PIN is set.
    pub user_pin_set: bool,
    /// Whether the user PIN is locked.
    pub user_pin_locked: bool,
    /// Whether one or a few more wrong PINs lock it.
    pub user_pin_tries_low: bool,
}

/// Lists the slots of a module. A slot whose token cannot be read is listed with the reason.
pub fn report(module: &Path) -> Result<ModuleReport, CspError> {
    let name = module.display().to_string();
    let (module, _) = Module::load(module)?;
    let _alone = module.alone(&name)?;
    let api = module.api();
    let library = api
        .get_library_info()
        .map(|info| {
            format!(
                "{} {} {}",
                info.manufacturer_id(),
                info.library_description(),
                info.library_version()
            )
        })
        .map_err(|error| describe(&error));
    let slots = api
        .get_slots_with_token()
        .map_err(|error| Trouble::Module(error).settle(&name, "list its slots"))?
        .into_iter()
        .map(|slot| SlotReport {
            id: slot.id(),
            token: token(api, slot),
        })
        .collect();
    Ok(ModuleReport { library, slots })
}

fn token(api: &Pkcs11, slot: Slot) -> Result<TokenReport, ModuleError> {
    let info = api.get_token_info(slot).map_err(|error| describe(&error))?;
    Ok(TokenReport {
        label: info.label().to_owned(),
        serial: info.serial_number().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        initialized: info.token_initialized(),
        user_pin_set: info.user_pin_initialized(),
        user_pin_locked: info.user_pin_locked(),
        user_pin_tries_low: info.user_pin_count_low() || info.user_pin_final_try(),
    })
}

/// Finds the slot of the configured token, and the token's label. A slot that cannot be read is
/// skipped with a warning: one broken token must not hide the others (PKCS#11 digest §1).
pub(super) fn find(api: &Pkcs11, selector: &Selector) -> Result<(Slot, String), Trouble> {
    let mut found = None;
    for slot in api.get_slots_with_token()? {
        if let Selector::Slot(id) = selector {
            if slot.id() == *id {
                let label =
                    token(api, slot).map_or_else(|_| format!("slot {id}"), |token| token.label);
                return Ok((slot, label));
            }
            continue;
        }
        let report = match token(api, slot) {
            Ok(report) => report,
            Err(error) => {
                tracing::warn!(slot = slot.id(), %error, "slot {}: token not readable, skipped", slot.id());
                continue;
            }
        };
        let fits = match selector {
            Selector::Label(label) => report.label == *label,
            Selector::Serial(serial) => report.serial == *serial,
            Selector::Slot(_) => false,
        };
        if fits && report.initialized {
            if found.is_some() {
                return Err(Trouble::Known(Known::TokenAmbiguous));
            }
            found = Some((slot, report.label));
        }
    }
    found.ok_or(Trouble::Known(Known::TokenNotFound))
}

/// The label of the token that this chooses. Needs no PIN.
pub fn label_in(module: &Path, selector: &Selector) -> Result<String, CspError> {
    let name = module.display().to_string();
    let (module, _) = Module::load(module)?;
    let _alone = module.alone(&name)?;
    let found = find(module.api(), selector).map(|(_, label)| label);
    found.map_err(|trouble| trouble.settle(&name, "show the token"))
}

/// Whether the configured token is still the one in this slot. Asks this slot alone: listing slots would
/// keep all other callers out of the module.
pub(super) fn is_still_in(api: &Pkcs11, slot: Slot, selector: &Selector) -> Result<bool, Trouble> {
    let info = api.get_token_info(slot)?;
    Ok(match selector {
        Selector::Label(label) => info.label() == label,
        Selector::Serial(serial) => info.serial_number() == serial,
        Selector::Slot(id) => slot.id() == *id,
    })
}

/// Refuses a login that could lock the token, or find it locked. Only the token remembers wrong PINs
/// longer than this process lives: whoever starts us again and again must not use up the last try.
pub(super) fn spare_pin(api: &Pkcs11, slot: Slot) -> Result<(), Trouble> {
    let info = api.get_token_info(slot)?;
    if info.user_pin_locked() {
        return Err(Trouble::Known(Known::PinLocked));
    }
    if info.user_pin_final_try() {
        return Err(Trouble::Known(Known::PinFinalTry));
    }
    Ok(())
}

/// Initialises the first token of the module that is not initialised yet: label, security officer's
/// PIN, user PIN. For development and tests; an operator's HSM is set up with its maker's tools.
pub fn initialise_token(
    module: &Path,
    label: &str,
    so_pin: &Secret,
    pin: &Secret,
) -> Result<(), CspError> {
    let (module, _) = Module::load(module)?;
    let _alone = module.alone(label)?;
    let api = module.api();
    let make = || -> Result<(), Trouble> {
        let slot = api
            .get_slots_with_token()?
            .into_iter()
            .find(|slot| token(api, *slot).is_ok_and(|report| !report.initialized))
            .ok_or(Trouble::Known(Known::TokenNotFound))?;
        let so_pin = AuthPin::from(so_pin.expose().to_owned());
        api.init_token(slot, &so_pin, label)?;
        let session = api.open_rw_session(slot)?;
        session.login(UserType::So, Some(&so_pin))?;
        session.init_pin(&AuthPin::from(pin.expose().to_owned()))?;
        session.logout()?;
        Ok(())
    };
    make().map_err(|trouble| trouble.settle(label, "be initialised"))
}
