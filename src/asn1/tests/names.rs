//! File names both ways.

use crate::asn1::{LogFileName, LogKindName, LogTime, TransactionPhase};

fn transaction(client_id: &str, file_counter: Option<u64>) -> LogFileName {
    LogFileName {
        time: LogTime::Utc("181109153045Z".into()),
        signature_counter: 1572,
        kind: LogKindName::Transaction {
            number: 713,
            phase: TransactionPhase::Start,
            client_id: client_id.into(),
        },
        file_counter,
    }
}

#[track_caller]
fn both_ways(text: &str, name: LogFileName) {
    assert_eq!(text.parse(), Ok(name.clone()));
    assert_eq!(name.to_string(), text);
}

#[test]
fn the_examples_of_the_guideline_are_read_and_written() {
    both_ways(
        "Utc_181109153045Z_Sig-1572_Log-Tra_No-713_Start_Client-03.log",
        transaction("03", None),
    );
    both_ways(
        "Gent_20181109084236Z_Sig-1743_Log-Sys_UpdateTime.log",
        LogFileName {
            time: LogTime::Generalized("20181109084236Z".into()),
            signature_counter: 1743,
            kind: LogKindName::System {
                event_type: "UpdateTime".into(),
            },
            file_counter: None,
        },
    );
    both_ways(
        "Unixt_1543565694_Sig-1853_Log-Aud_Fc-1.log",
        LogFileName {
            time: LogTime::Unix(1_543_565_694),
            signature_counter: 1853,
            kind: LogKindName::Audit,
            file_counter: Some(1),
        },
    );
}

#[test]
fn client_ids_of_other_makers_are_taken_verbatim() {
    for client_id in [
        "Kasse 1",
        "a.b-c_d",
        " ",
        "_",
        "Start_Client-x",
        "x_Client-",
        "x_Log-Aud",
        "x.log",
        "x_Fc-",
        "x_Fc-1a",
        "Käse/1",
        "_Sig-1_Log-Sys_x",
    ] {
        let name = transaction(client_id, None);
        both_ways(&name.to_string(), name.clone());
        let name = transaction(client_id, Some(0));
        both_ways(&name.to_string(), name);
    }
}

#[test]
fn a_file_counter_at_the_end_of_a_client_id_reads_as_one_but_still_fits() {
    let name = transaction("Kasse_Fc-3", None);
    let text = name.to_string();
    // The text does not tell the two apart; the grammar gives it to the counter.
    assert_eq!(text.parse(), Ok(transaction("Kasse", Some(3))));
    assert!(name.fits(&text));
    assert!(transaction("Kasse", None).fits(&text));
    assert!(!transaction("Kasse_Fc-4", None).fits(&text));

    // With a counter of its own the client id comes back whole.
    let name = transaction("Kasse_Fc-3", Some(1));
    both_ways(&name.to_string(), name.clone());
    assert!(name.fits(&name.to_string()));

    // A client id of nothing but a counter stays a client id.
    both_ways(
        &transaction("_Fc-3", None).to_string(),
        transaction("_Fc-3", None),
    );
}

#[test]
fn a_name_fits_with_any_file_counter_and_with_nothing_else() {
    let name = transaction("K", None);
    let stem = "Utc_181109153045Z_Sig-1572_Log-Tra_No-713_Start_Client-K";
    for good in ["", "_Fc-0", "_Fc-12"] {
        assert!(name.fits(&format!("{stem}{good}.log")), "{good}");
    }
    for bad in ["_Fc-", "_Fc-01", "_Fc-x", "2", "_", ".log"] {
        assert!(!name.fits(&format!("{stem}{bad}.log")), "{bad}");
    }
    assert!(!name.fits(stem));
    assert!(!name.fits(""));
    let with_counter = transaction("K", Some(7));
    assert!(with_counter.fits(&format!("{stem}.log")));
}

#[test]
fn what_is_no_log_file_name_is_refused() {
    for bad in [
        "",
        ".log",
        "info.csv",
        "Utc_.log",
        "Unix_1_Sig-1_Log-Aud.log",
        "Utct_1_Sig-1_Log-Aud.log",
        "unixt_1_Sig-1_Log-Aud.log",
        "Unixt__Sig-1_Log-Aud.log",
        "Unixt_1Z_Sig-1_Log-Aud.log",
        "Unixt_-1_Sig-1_Log-Aud.log",
        "Unixt_+1_Sig-1_Log-Aud.log",
        "Unixt_1.5_Sig-1_Log-Aud.log",
        "Unixt_01_Sig-1_Log-Aud.log",
        "Unixt_9223372036854775808_Sig-1_Log-Aud.log",
        "Utc_Z_Sig-1_Log-Aud.log",
        "Utc_1z_Sig-1_Log-Aud.log",
        "Utc_1ZZ_Sig-1_Log-Aud.log",
        "Unixt_1_Sig-_Log-Aud.log",
        "Unixt_1_Sig-01_Log-Aud.log",
        "Unixt_1_Sig-18446744073709551616_Log-Aud.log",
        "Unixt_1_Sig-1_Log-Aud",
        "Unixt_1_Sig-1_Log-Aud.LOG",
        "Unixt_1_Sig-1_Log-Aud.log ",
        "./Unixt_1_Sig-1_Log-Aud.log",
        "Unixt_1_Sig-1_Log-Audit.log",
        "Unixt_1_Sig-1_Log-Aud_Fc-.log",
        "Unixt_1_Sig-1_Log-Aud_Fc-01.log",
        "Unixt_1_Sig-1_Log-Aud_Fc-1_Fc-1.log",
        "Unixt_1_Sig-1_Log-Sys_.log",
        "Unixt_1_Sig-1_Log-Sys_update_Time.log",
        "Unixt_1_Sig-1_Log-Sys_x1.log",
        "Unixt_1_Sig-1_Log-Tra_No-1_Start_Client-.log",
        "Unixt_1_Sig-1_Log-Tra_No-_Start_Client-x.log",
        "Unixt_1_Sig-1_Log-Tra_No-00_Start_Client-x.log",
        "Unixt_1_Sig-1_Log-Tra_No-1_start_Client-x.log",
        "Unixt_1_Sig-1_Log-Tra_No-1_Start_x.log",
        "Unixt_1_Sig-1_Log-Tra_No-1_Start_Client-a\nb.log",
    ] {
        assert!(bad.parse::<LogFileName>().is_err(), "{bad}");
    }
}

#[test]
fn the_largest_numbers_fit() {
    let text =
        "Unixt_9223372036854775807_Sig-18446744073709551615_Log-Aud_Fc-18446744073709551615.log";
    let name: LogFileName = text.parse().unwrap();
    assert_eq!(name.time, LogTime::Unix(i64::MAX));
    assert_eq!(name.to_string(), text);
}
