//! Bodies of taximeters and odometers (DSFinV-TW) as the document describes them.

use utoipa::ToSchema;

/// Exactly one of these. `power_up`, `driver_status` and `trip_receipt` start as `{}`.
#[derive(ToSchema)]
pub struct Taximeter {
    /// Becomes `Einschalten-V1`.
    #[schema(nullable = false)]
    pub power_up: Option<PowerUp>,
    /// Becomes `Ausschalten-V1`; always `{}`.
    #[schema(nullable = false)]
    pub power_off: Option<PowerOff>,
    /// Becomes `Fahrer-V1`.
    #[schema(nullable = false)]
    pub driver_status: Option<DriverStatus>,
    /// Becomes `Fahrtbeleg-V1`.
    #[schema(nullable = false)]
    pub trip_receipt: Option<TripReceipt>,
    /// Becomes `Frei-V1`.
    #[schema(nullable = false)]
    pub empty_trip: Option<Reading>,
    /// Becomes `Pause-V1`.
    #[schema(nullable = false)]
    pub r#break: Option<Reading>,
    /// Becomes `SonstigerVorgangTW`.
    #[schema(nullable = false, max_length = 512)]
    pub other: Option<String>,
}

/// A meter that was switched on.
#[derive(ToSchema)]
pub struct PowerUp {
    /// The meter.
    #[schema(nullable = false)]
    pub system: Option<MeterSystem>,
    /// What it has counted.
    #[schema(nullable = false)]
    pub counter_unit: Option<CounterUnit>,
    /// How it is set.
    #[schema(nullable = false)]
    pub generic_data: Option<GenericData>,
}

/// A meter that was switched off.
#[derive(ToSchema)]
pub struct PowerOff {}

/// A meter.
#[derive(ToSchema)]
pub struct MeterSystem {
    /// Kind.
    pub meter_type: MeterType,
    /// Who made it.
    #[schema(max_length = 50)]
    pub manufacturer: String,
    /// Which one.
    #[schema(max_length = 50)]
    pub model: String,
}

/// Kind of a meter.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MeterType {
    /// `T`
    Taximeter,
    /// `W`
    Odometer,
}

/// What a meter has counted.
#[derive(ToSchema)]
pub struct CounterUnit {
    /// All kilometres.
    #[schema(pattern = r"^\d{1,16}\.\d{3}$")]
    pub total_kilometers: String,
    /// With passengers.
    #[schema(pattern = r"^\d{1,16}\.\d{3}$")]
    pub total_kilometers_with_passengers: String,
    /// Trips with passengers.
    #[schema(pattern = r"^\d{1,20}$")]
    pub total_passenger_transfers: String,
    /// Surcharges or base amounts.
    #[schema(pattern = r"^-?\d{1,16}\.\d{2}$")]
    pub total_surcharge_or_base_amount: String,
    /// All that was billed.
    #[schema(pattern = r"^-?\d{1,16}\.\d{2}$")]
    pub total_billed_amount: String,
}

/// How a meter is set.
#[derive(ToSchema)]
pub struct GenericData {
    /// Its constant.
    #[schema(pattern = r"^\d{1,10}$")]
    pub constant: String,
    /// When it was last backed up.
    #[schema(min_length = 1, max_length = 40, pattern = "^[^_^]+$")]
    pub last_backup: String,
    /// The vehicle.
    #[schema(min_length = 1, max_length = 20, pattern = "^[^_/^]+$")]
    pub vehicle_id: String,
    /// Its own time.
    #[schema(min_length = 1, max_length = 40, pattern = "^[^_^]+$")]
    pub local_time: String,
    /// The tariff; `0` by default.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 50,
        pattern = "^[^_/^]+$"
    )]
    pub tariff_id: Option<String>,
}

/// Whether a driver comes or goes.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DriverStatusType {
    /// `Fahreranmeldung`
    Logon,
    /// `Fahrerabmeldung`
    Logoff,
}

/// A driver who comes or goes.
#[derive(ToSchema)]
pub struct DriverStatus {
    /// Which of both.
    #[schema(nullable = false)]
    pub r#type: Option<DriverStatusType>,
    /// Who.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 40,
        pattern = "^[^_/^]+$"
    )]
    pub driver_id: Option<String>,
}

/// What the meter shows.
#[derive(ToSchema)]
pub struct Reading {
    /// Kilometres.
    #[schema(pattern = r"^\d{1,16}\.\d{3}$")]
    pub kilometer_reading: String,
}

/// How a trip was billed.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TripType {
    /// `Tarif`
    Tariff,
    /// `Sonstige`
    Other,
}

/// The receipt of a trip.
#[derive(ToSchema)]
pub struct TripReceipt {
    /// Kind of the meter.
    #[schema(nullable = false)]
    pub meter_type: Option<MeterType>,
    /// The vehicle.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 20,
        pattern = "^[^_/^]+$"
    )]
    pub vehicle_id: Option<String>,
    /// The tariff; `0` by default.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 50,
        pattern = "^[^_/^]+$"
    )]
    pub tariff_id: Option<String>,
    /// How it was billed.
    #[schema(nullable = false)]
    pub trip_type: Option<TripType>,
    /// The trip.
    #[schema(nullable = false)]
    pub trip_data: Option<TripData>,
    /// NORMAL, REDUCED_1 and NULL only.
    #[schema(nullable = false)]
    pub amounts_per_vat_rate: Option<Vec<TripVatAmount>>,
    /// How it was paid.
    #[schema(nullable = false)]
    pub amounts_per_payment_type: Option<TripPayments>,
}

/// A trip.
#[derive(ToSchema)]
pub struct TripData {
    /// When it began.
    #[schema(min_length = 1, max_length = 40, pattern = "^[^_^]+$")]
    pub trip_start: String,
    /// When it ended.
    #[schema(min_length = 1, max_length = 40, pattern = "^[^_^]+$")]
    pub trip_end: String,
    /// Kilometres.
    #[schema(pattern = r"^\d{1,16}\.\d{3}$")]
    pub distance_traveled: String,
    /// The fare.
    #[schema(pattern = r"^-?\d{1,16}\.\d{2}$")]
    pub fare: String,
    /// Surcharges.
    #[schema(pattern = r"^-?\d{1,16}\.\d{2}$")]
    pub surcharge: String,
    /// All of it.
    #[schema(pattern = r"^-?\d{1,16}\.\d{2}$")]
    pub total_billed: String,
}

/// Turnover of one VAT rate.
#[derive(ToSchema)]
pub struct TripVatAmount {
    /// NORMAL, REDUCED_1 or NULL.
    #[schema(pattern = "^(NORMAL|REDUCED_1|NULL)$")]
    pub vat_rate: String,
    /// Gross.
    #[schema(pattern = r"^-?\d{1,16}\.\d{2}$")]
    pub amount: String,
}

/// What was paid, by way.
#[derive(ToSchema)]
pub struct TripPayments {
    /// In cash.
    #[schema(nullable = false)]
    pub cash: Option<Vec<TripPayment>>,
    /// In another way.
    #[schema(nullable = false)]
    pub non_cash: Option<Vec<TripPayment>>,
}

/// What was paid.
#[derive(ToSchema)]
pub struct TripPayment {
    /// In that currency.
    #[schema(pattern = r"^-?\d{1,16}\.\d{2}$")]
    pub amount: String,
    /// ISO 4217; EUR where it is left out.
    #[schema(nullable = false, pattern = "^[A-Za-z]{3}$", default = "EUR")]
    pub currency_code: Option<String>,
}
