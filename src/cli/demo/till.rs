//! The till: sets a TSS up as every integration does, sells, and exports.

use crate::app::SystemEntropy;
use crate::cli::client::{Api, text};
use crate::cli::files::write_private;
use crate::http::management_v0::random_uuid;
use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// PIN of the demo TSS; in till.json as well.
const ADMIN_PIN: &str = "123456789";
/// How often, and how many times, the state of an export is asked for.
const EXPORT_POLL: Duration = Duration::from_millis(100);
const EXPORT_POLLS_MAX: u32 = 600;

/// The till of this folder.
pub(super) struct Till<'a> {
    api: &'a Api,
    own: Own,
}

/// What the till remembers between two runs.
#[derive(Debug, Deserialize, Serialize)]
struct Own {
    tss_id: String,
    client_id: String,
    admin_pin: String,
}

impl<'a> Till<'a> {
    /// The till of an earlier run if it still works, otherwise a new one.
    pub(super) fn open(api: &'a Api, file: &Path) -> anyhow::Result<Self> {
        if let Ok(own) = std::fs::read_to_string(file)
            && let Ok(own) = serde_json::from_str::<Own>(&own)
            && still_works(api, &own)
        {
            return Ok(Self { api, own });
        }
        let own = set_up(api)?;
        write_private(file, serde_json::to_string_pretty(&own)?.as_bytes())?;
        Ok(Self { api, own })
    }

    /// Three receipts: one after an order, one cancelled, one simple. Answers with the first.
    pub(super) fn sell(&self) -> anyhow::Result<Value> {
        let dinner = new_id();
        self.step(&dinner, 1, "ACTIVE", None)?;
        // A type once given stays, so an order that becomes a receipt is a transaction of its own.
        self.order()?;
        let receipt = self.step(&dinner, 2, "FINISHED", Some(dinner_receipt()))?;

        let given_up = new_id();
        self.step(&given_up, 1, "ACTIVE", None)?;
        self.step(&given_up, 2, "CANCELLED", Some(newspaper_receipt()))?;

        let newspaper = new_id();
        self.step(&newspaper, 1, "ACTIVE", None)?;
        self.step(&newspaper, 2, "FINISHED", Some(newspaper_receipt()))?;
        println!("signed: an order and its receipt, a cancelled sale, a receipt");
        Ok(receipt)
    }

    fn order(&self) -> anyhow::Result<()> {
        let order = json!({"standard_v1": {"order": {"line_items": [
            {"quantity": "2", "text": "Maultaschen", "price_per_unit": "9.50"},
            {"quantity": "1", "text": "Apfelschorle", "price_per_unit": "2.42"},
        ]}}});
        let id = new_id();
        self.step(&id, 1, "ACTIVE", None)?;
        self.step(&id, 2, "FINISHED", Some(order)).map(drop)
    }

    fn step(
        &self,
        transaction: &str,
        revision: u32,
        state: &str,
        schema: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut body = json!({"state": state, "client_id": self.own.client_id});
        if let (Some(schema), Some(fields)) = (schema, body.as_object_mut()) {
            fields.insert("schema".to_owned(), schema);
        }
        let tss = &self.own.tss_id;
        let path = format!("/tss/{tss}/tx/{transaction}?tx_revision={revision}");
        self.api.put(&path, &body)
    }

    /// Exports everything and waits for it.
    pub(super) fn export(&self, file: &Path) -> anyhow::Result<()> {
        let path = format!("/tss/{}/export/{}", self.own.tss_id, new_id());
        self.api.put(&path, &json!({}))?;
        for _ in 0..EXPORT_POLLS_MAX {
            match text(&self.api.get(&path)?, "state")? {
                "COMPLETED" => {
                    let archive = self.api.download(&format!("{path}/file"))?;
                    write_private(file, &archive)?;
                    return Ok(());
                }
                "PENDING" | "WORKING" => thread::sleep(EXPORT_POLL),
                other => bail!("the export ended in the state {other}"),
            }
        }
        bail!("the export was not completed in time")
    }
}

fn still_works(api: &Api, own: &Own) -> bool {
    let is = |path: &str, state: &str| {
        api.get(path)
            .is_ok_and(|answer| text(&answer, "state").is_ok_and(|found| found == state))
    };
    is(&format!("/tss/{}", own.tss_id), "INITIALIZED")
        && is(
            &format!("/tss/{}/client/{}", own.tss_id, own.client_id),
            "REGISTERED",
        )
}

/// From nothing to a registered till.
fn set_up(api: &Api) -> anyhow::Result<Own> {
    let own = Own {
        tss_id: new_id(),
        client_id: new_id(),
        admin_pin: ADMIN_PIN.to_owned(),
    };
    let tss = format!("/tss/{}", own.tss_id);
    let created = api.put(&tss, &json!({}))?;
    let puk = text(&created, "admin_puk")?;
    api.patch(&tss, &json!({"state": "UNINITIALIZED"}))?;
    let pin = json!({"admin_puk": puk, "new_admin_pin": own.admin_pin});
    api.patch(&format!("{tss}/admin"), &pin)?;
    api.post(
        &format!("{tss}/admin/auth"),
        &json!({"admin_pin": own.admin_pin}),
    )?;
    api.patch(&tss, &json!({"state": "INITIALIZED"}))?;
    let client = format!("{tss}/client/{}", own.client_id);
    let serial = format!("DEMO-{}", own.client_id);
    api.put(&client, &json!({"serial_number": serial}))?;
    api.post(&format!("{tss}/admin/logout"), &json!({}))?;
    println!("TSS {} is set up, its till is {serial}", own.tss_id);
    Ok(own)
}

fn dinner_receipt() -> Value {
    json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [
            {"vat_rate": "NORMAL", "amount": "2.42"},
            {"vat_rate": "REDUCED_1", "amount": "19.00"},
        ],
        "amounts_per_payment_type": [{"payment_type": "NON_CASH", "amount": "21.42"}],
    }}})
}

fn newspaper_receipt() -> Value {
    json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [{"vat_rate": "REDUCED_1", "amount": "2.55"}],
        "amounts_per_payment_type": [{"payment_type": "CASH", "amount": "2.55"}],
    }}})
}

fn new_id() -> String {
    random_uuid(&SystemEntropy).to_string()
}
