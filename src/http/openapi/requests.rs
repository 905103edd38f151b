//! Bodies of requests as the document describes them: the form that the dialect publishes. The door takes
//! more than that (numbers for text, `[]` for `{}`, unknown properties); see the table of differences.

use super::taximeter::Taximeter;
use std::collections::BTreeMap;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Metadata to be merged.
pub struct MetadataPatch(pub BTreeMap<String, Option<String>>);

impl ToSchema for MetadataPatch {}

impl PartialSchema for MetadataPatch {
    fn schema() -> RefOr<Schema> {
        let value = [Type::String, Type::Number, Type::Boolean, Type::Null];
        let value = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter(value))
            .max_length(Some(500));
        let about = "Texts kept for the owner. What is sent is merged into what is there: an empty text or \
                     `null` removes a pair. At most 40 pairs; keys of at most 40, values of at most 500 \
                     characters. Numbers and truth values become text.";
        ObjectBuilder::new()
            .description(Some(about))
            .additional_properties(Some(value))
            .into()
    }
}

/// Key and secret, or a refresh token.
#[derive(ToSchema)]
pub struct Login {
    /// With `api_secret`.
    #[schema(nullable = false)]
    pub api_key: Option<String>,
    /// With `api_key`.
    #[schema(nullable = false)]
    pub api_secret: Option<String>,
    /// Instead of both.
    #[schema(nullable = false)]
    pub refresh_token: Option<String>,
}

/// What a body may hold that could also be empty.
#[derive(ToSchema)]
pub struct WithMetadata {
    /// Merged into what is there.
    #[schema(nullable = false)]
    pub metadata: Option<MetadataPatch>,
}

/// A step in the life of a TSS. Nothing else may be in it.
#[derive(ToSchema)]
pub struct TssUpdate {
    /// The state to be. The same state again changes nothing but metadata.
    pub state: TssTarget,
    /// Taken over on the change to INITIALIZED.
    #[schema(nullable = false, pattern = r"^[A-Za-z0-9 '()+,\-./:=?]{0,100}$")]
    pub description: Option<String>,
    /// Merged into what is there.
    #[schema(nullable = false)]
    pub metadata: Option<MetadataPatch>,
}

/// States that a caller can ask for.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TssTarget {
    /// The owner has the PUK.
    Uninitialized,
    /// Signs transactions.
    Initialized,
    /// Ended for good.
    Disabled,
}

/// A new PIN for the admin.
#[derive(ToSchema)]
pub struct PinChange {
    /// As shown when the TSS was made.
    #[schema(min_length = 10, max_length = 256)]
    pub admin_puk: String,
    /// The PIN to be.
    #[schema(min_length = 6, max_length = 256)]
    pub new_admin_pin: String,
}

/// The admin's PIN.
#[derive(ToSchema)]
pub struct AdminLogin {
    /// As set with the PUK.
    #[schema(min_length = 1, max_length = 256)]
    pub admin_pin: String,
}

/// Nothing; whatever is in it is ignored.
#[derive(ToSchema)]
pub struct Ignored {}

/// A client to register.
#[derive(ToSchema)]
pub struct ClientRegistration {
    /// Serial number of the till. It is signed into every log message and becomes a part of file names.
    #[schema(pattern = r"^(?! )[A-Za-z0-9 '()+,\-.=]{1,70}(?<! )$")]
    pub serial_number: String,
    /// Merged into what is there.
    #[schema(nullable = false)]
    pub metadata: Option<MetadataPatch>,
}

/// Whether a client may sign.
#[derive(ToSchema)]
pub struct ClientUpdate {
    /// The state to be.
    pub state: ClientState,
    /// Merged into what is there.
    #[schema(nullable = false)]
    pub metadata: Option<MetadataPatch>,
}

/// State of a client.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientState {
    /// May sign.
    Registered,
    /// May not; can be registered again.
    Deregistered,
}

/// One step of a transaction.
#[derive(ToSchema)]
pub struct TransactionRequest {
    /// ACTIVE starts or updates, the others end.
    pub state: TransactionState,
    /// The till.
    #[schema(format = Uuid)]
    pub client_id: String,
    /// What to sign. May be left out at the start, and later on if it was given before.
    #[schema(nullable = false)]
    pub schema: Option<TransactionSchema>,
    /// Merged into what is there.
    #[schema(nullable = false)]
    pub metadata: Option<MetadataPatch>,
}

/// State of a transaction.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TransactionState {
    /// Started, not ended.
    Active,
    /// Ended.
    Finished,
    /// Ended as aborted.
    Cancelled,
}

/// What is signed. Where `raw` is given beside another form, as in answers that are sent back, the other form
/// counts.
#[derive(ToSchema)]
pub struct TransactionSchema {
    /// By meaning: a receipt, an order or something else.
    #[schema(nullable = false)]
    pub standard_v1: Option<StandardV1>,
    /// By bytes.
    #[schema(nullable = false)]
    pub raw: Option<Raw>,
    /// What a taximeter or odometer does.
    #[schema(nullable = false)]
    pub dsfinvtw_v1: Option<Taximeter>,
}

/// Exactly one of the three.
#[derive(ToSchema)]
pub struct StandardV1 {
    /// Becomes `Kassenbeleg-V1`.
    #[schema(nullable = false)]
    pub receipt: Option<Receipt>,
    /// Becomes `Bestellung-V1`.
    #[schema(nullable = false)]
    pub order: Option<Order>,
    /// Becomes `SonstigerVorgang`: any properties.
    #[schema(nullable = false)]
    pub other: Option<OtherProcess>,
}

/// Any properties.
#[derive(ToSchema)]
pub struct OtherProcess {}

/// A receipt (DSFinV-K, Anhang I).
#[derive(ToSchema)]
pub struct Receipt {
    /// Kind of receipt.
    pub receipt_type: ReceiptType,
    /// Gross turnover by rate; equal rates are added up.
    pub amounts_per_vat_rate: Vec<VatAmount>,
    /// How it was paid; equal kinds are added up.
    #[schema(nullable = false)]
    pub amounts_per_payment_type: Option<Vec<PaymentAmount>>,
}

/// Kind of receipt; signed as `BON_TYP` of DSFinV-K.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReceiptType {
    /// `Beleg`
    Receipt,
    /// `AVTraining`
    Training,
    /// `AVTransfer`
    Transfer,
    /// `AVBestellung`
    Order,
    /// `AVBelegabbruch`
    Cancellation,
    /// `AVBelegabbruch`
    Abort,
    /// `AVSachbezug`
    BenefitInKind,
    /// `AVRechnung`
    Invoice,
    /// `AVSonstige`
    Other,
    /// `AVBelegstorno`
    Annulation,
}

/// Turnover of one VAT rate.
#[derive(ToSchema)]
pub struct VatAmount {
    /// `NORMAL`, `REDUCED_1`, `SPECIAL_RATE_1`, `SPECIAL_RATE_2` or `NULL`; deprecated: `19`, `7`, `10.7`,
    /// `5.5` or `0`.
    #[schema(
        pattern = r"^(NORMAL|REDUCED_1|SPECIAL_RATE_1|SPECIAL_RATE_2|NULL|19(\.0{1,5})?|7(\.0{1,5})?|10\.70{0,4}|5\.50{0,4}|0(\.0{1,5})?)$"
    )]
    pub vat_rate: String,
    /// Gross, in euros. Surplus decimals are rounded, half away from zero.
    #[schema(pattern = r"^-?\d{1,15}(\.\d{1,5})?$")]
    pub amount: String,
}

/// What was paid in one way.
#[derive(ToSchema)]
pub struct PaymentAmount {
    /// In cash or in another way.
    pub payment_type: PaymentType,
    /// In that currency.
    #[schema(pattern = r"^-?\d{1,15}(\.\d{1,5})?$")]
    pub amount: String,
    /// ISO 4217; EUR where it is left out.
    #[schema(nullable = false, pattern = "^[A-Za-z]{3}$", default = "EUR")]
    pub currency_code: Option<String>,
}

/// How it was paid.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentType {
    /// `Bar`
    Cash,
    /// `Unbar`
    NonCash,
}

/// An order.
#[derive(ToSchema)]
pub struct Order {
    /// Its lines.
    pub line_items: Vec<LineItem>,
}

/// A line of an order.
#[derive(ToSchema)]
pub struct LineItem {
    /// How many.
    #[schema(pattern = r"^-?\d{1,15}(\.\d{1,5})?$")]
    pub quantity: String,
    /// Of what.
    #[schema(max_length = 255)]
    pub text: String,
    /// In euros.
    #[schema(pattern = r"^-?\d{1,15}(\.\d{1,5})?$")]
    pub price_per_unit: String,
}

/// What is signed, as it is.
#[derive(ToSchema)]
pub struct Raw {
    /// Of ASN.1 PrintableString.
    #[schema(pattern = r"^[A-Za-z0-9 '()+,\-./:=?]{0,100}$")]
    pub process_type: String,
    /// Base64.
    #[schema(format = Byte, pattern = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
    pub process_data: String,
}
