use super::figures::{Latencies, per_second};
use super::{duration, rate};
use std::time::Duration;

#[test]
fn durations_have_a_unit_or_are_seconds() {
    let ms = |text| duration(text).map(|time| time.as_millis());
    assert_eq!(ms("8s"), Ok(8_000));
    assert_eq!(ms("8"), Ok(8_000));
    assert_eq!(ms("1.5s"), Ok(1_500));
    assert_eq!(ms("500ms"), Ok(500));
    assert_eq!(ms("2m"), Ok(120_000));
    for wrong in [
        "", "s", "8h", "-1s", "0s", "1ms", "NaN", "inf", "2d", "1e9s", "8 s",
    ] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn rates_are_positive_numbers() {
    assert_eq!(rate("0.5"), Ok(0.5));
    assert_eq!(rate("2000"), Ok(2000.0));
    for wrong in ["", "0", "-1", "NaN", "inf", "fast"] {
        assert!(rate(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn quantiles_are_those_of_what_was_recorded() {
    let mut latencies = Latencies::new().unwrap();
    for ms in 1..=100 {
        latencies.record(Duration::from_millis(ms));
    }
    let told = latencies.to_json();
    for (name, expected) in [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("max", 100.0)] {
        let found = told[name].as_f64().unwrap();
        assert!(
            (found - expected).abs() <= expected * 0.002,
            "{name} {found}"
        );
    }
    assert_eq!(latencies.count(), 100);
}

#[test]
fn a_rate_is_a_count_over_a_time() {
    assert_eq!(per_second(900, Duration::from_millis(1_500)), 600.0);
    assert_eq!(per_second(5, Duration::ZERO), 0.0);
}
