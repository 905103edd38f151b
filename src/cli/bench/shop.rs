//! TSSs and tills of a measurement, made and used without HTTP.

use super::history::{Commands, History};
use crate::app::SystemEntropy;
use crate::http::management_v0::random_uuid;
use crate::receipt::Schema;
use crate::sma::{
    Command, CredentialDigest, MetadataPatch, NewTss, TransactionInput, TransactionOutcome,
    TransactionRef,
};
use crate::terms::{
    ClientId, ClientSerial, Entropy as _, LogFormat, Revision, SeTime, TransactionId, TssId,
};
use anyhow::Context as _;
use serde_json::json;

/// One TSS with one till.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shop {
    pub tss: TssId,
    pub client: ClientId,
}

impl Shop {
    /// Serial number of its till.
    pub(super) fn serial(&self) -> String {
        format!("BENCH-{}", self.client)
    }

    /// Makes one, of a free device, ready to sell. Nobody can log in to it: its PIN and PUK are random.
    pub(super) fn open(history: &mut History<'_>, now: SeTime) -> anyhow::Result<Self> {
        let shop = Self {
            tss: TssId::new(random_uuid(&SystemEntropy)),
            client: ClientId::new(random_uuid(&SystemEntropy)),
        };
        let serial = ClientSerial::try_from(shop.serial().as_str())?;
        let (puk, pin) = (secret(), secret());
        let metadata = MetadataPatch::new;
        let new = NewTss {
            format: LogFormat::V2,
            salt: [0; 16],
            puk,
            sealed_puk: Vec::new(),
            metadata: metadata(),
        };
        let commands = vec![
            Command::Assign(Box::new(new)),
            Command::TakeOver {
                metadata: metadata(),
            },
            Command::UnblockPin { puk, new_pin: pin },
            Command::AuthenticateUser { pin },
            Command::Initialize {
                description: Some("Siegel bench (nobody's till)".to_owned()),
                metadata: metadata(),
            },
            Command::RegisterClient {
                id: shop.client,
                serial,
                metadata: metadata(),
            },
            Command::LogOut,
        ];
        history.write(&Commands::from([(shop.tss, commands)]), now)?;
        Ok(shop)
    }

    /// So many whole transactions: two commands each.
    pub(super) fn sell(&self, transactions: usize) -> anyhow::Result<Vec<Command>> {
        let receipt = receipt()?;
        let mut commands = Vec::with_capacity(transactions.saturating_mul(2));
        for _ in 0..transactions {
            let id = TransactionId::new(random_uuid(&SystemEntropy));
            commands.push(Command::StartTransaction(self.input(id, 1, None)));
            let end = self.input(id, 2, Some(receipt.clone()));
            commands.push(Command::FinishTransaction(
                end,
                TransactionOutcome::Finished,
            ));
        }
        Ok(commands)
    }

    /// One step: the end of the open transaction, or the start of one, which is open then.
    pub(super) fn step(&self, open: &mut Option<TransactionId>) -> anyhow::Result<Command> {
        match open.take() {
            None => {
                let id = TransactionId::new(random_uuid(&SystemEntropy));
                *open = Some(id);
                Ok(Command::StartTransaction(self.input(id, 1, None)))
            }
            Some(id) => {
                let end = self.input(id, 2, Some(receipt()?));
                Ok(Command::FinishTransaction(
                    end,
                    TransactionOutcome::Finished,
                ))
            }
        }
    }

    fn input(&self, id: TransactionId, revision: u64, schema: Option<Schema>) -> TransactionInput {
        TransactionInput {
            transaction: TransactionRef::Id(id),
            revision: Revision::new(revision),
            client: self.client,
            schema,
            metadata: MetadataPatch::new(),
        }
    }
}

/// As most receipts are: two VAT rates, one payment.
fn receipt() -> anyhow::Result<Schema> {
    let schema = json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [
            {"vat_rate": "NORMAL", "amount": "2.42"},
            {"vat_rate": "REDUCED_1", "amount": "19.00"},
        ],
        "amounts_per_payment_type": [{"payment_type": "NON_CASH", "amount": "21.42"}],
    }}});
    Schema::parse(&schema)?.context("a receipt has a type")
}

fn secret() -> CredentialDigest {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    CredentialDigest::new(bytes)
}
