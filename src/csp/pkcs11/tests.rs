use super::environment::{EnvironmentError, merge, merge_libraries, reexec_with};
use super::errors::{Fault, Known, Trouble, classify, describe};
use super::gate::Gate;
use super::*;
use crate::csp::{CspError, KeyId};
use crate::terms::{Curve, Entropy};
use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

const PIN: &str = "6f2b-pin";

fn module(code: RvError) -> Error {
    Error::Pkcs11(code, Function::Sign)
}

/// What the caller of the port gets for a code.
fn settled(code: RvError) -> CspError {
    Trouble::Module(module(code)).settle("token", "sign")
}

#[test]
fn a_code_means_the_same_to_everyone_and_an_unknown_one_is_doubtful() {
    for (code, fault) in [
        (RvError::PinIncorrect, Fault::Pin),
        (RvError::PinLocked, Fault::Pin),
        (RvError::PinExpired, Fault::Pin),
        (RvError::SessionHandleInvalid, Fault::Session),
        (RvError::OperationActive, Fault::Session),
        (RvError::CryptokiNotInitialized, Fault::Device),
        (RvError::DeviceError, Fault::Device),
        (RvError::TokenNotPresent, Fault::Device),
        (RvError::UserNotLoggedIn, Fault::Device),
        (RvError::SessionCount, Fault::Busy),
        (RvError::MechanismInvalid, Fault::Unsupported),
        // One code for a deleted key and for vanished storage.
        (RvError::ObjectHandleInvalid, Fault::Doubtful),
        (RvError::KeyHandleInvalid, Fault::Doubtful),
        (RvError::GeneralError, Fault::Doubtful),
        (RvError::VendorDefined(7), Fault::Doubtful),
    ] {
        assert_eq!(classify(&module(code)), fault, "{code:?}");
    }
    assert_eq!(classify(&Error::NullFunctionPointer), Fault::Unsupported);
    assert_eq!(classify(&Error::InvalidValue), Fault::Doubtful);
}

#[test]
fn each_class_of_error_reaches_the_caller_with_the_answer_of_the_module() {
    assert!(
        matches!(settled(RvError::PinLocked), CspError::PinRefused { source, .. } if source.0 == "C_Sign: PinLocked")
    );
    assert!(matches!(
        settled(RvError::SessionClosed),
        CspError::SessionLost { .. }
    ));
    assert!(matches!(
        settled(RvError::DeviceRemoved),
        CspError::DeviceGone {
            source: Some(_),
            ..
        }
    ));
    assert!(matches!(
        settled(RvError::SessionCount),
        CspError::Busy { .. }
    ));
    assert!(matches!(
        settled(RvError::CurveNotSupported),
        CspError::NotSupported { action: "sign", .. }
    ));
    assert!(matches!(
        settled(RvError::GeneralError),
        CspError::Failed { action: "sign", .. }
    ));
    let settle = |known| Trouble::Known(known).settle("token", "sign");
    let id = KeyId::new([1; 16]);
    assert!(matches!(
        settle(Known::WrongKey(id)),
        CspError::WrongKey { key, .. } if key == id
    ));
    // A token that is not shown just now, or has lost its canary, may come back.
    for known in [Known::TokenNotFound, Known::CanaryMissing] {
        assert!(matches!(settle(known), CspError::DeviceGone { .. }));
    }
    assert!(matches!(
        settle(Known::TokenAmbiguous),
        CspError::Failed { .. }
    ));
}

#[test]
fn a_token_that_is_lost_or_refuses_its_pin_is_not_taken_for_one_that_cannot_wrap() {
    let is_inability = |code| Trouble::Module(module(code)).is_inability();
    // Modules refuse what they do not know by many codes.
    for code in [RvError::MechanismInvalid, RvError::GeneralError] {
        assert!(is_inability(code), "{code:?}");
    }
    for code in [
        RvError::DeviceRemoved,
        RvError::SessionHandleInvalid,
        RvError::SessionCount,
        RvError::PinExpired,
    ] {
        assert!(!is_inability(code), "{code:?}");
    }
    assert!(Trouble::Known(Known::Unfit { action: "wrap" }).is_inability());
    assert!(!Trouble::Busy.is_inability());
}

#[test]
fn an_answer_is_one_short_line() {
    let answer = describe(&module(RvError::DeviceError)).to_string();
    assert_eq!(answer, "C_Sign: DeviceError");
}

#[test]
fn a_point_is_taken_raw_or_wrapped_and_told_apart_by_its_length_alone() {
    for curve in Curve::ALL {
        let mut raw = vec![0x3f; curve.point_len()];
        raw[0] = 4;
        assert_eq!(curves::point(curve, &raw), Some(raw.as_slice()));
        let mut wrapped = vec![4];
        if raw.len() > 127 {
            wrapped.push(0x81);
        }
        wrapped.push(u8::try_from(raw.len()).unwrap());
        wrapped.extend(&raw);
        assert_eq!(curves::point(curve, &wrapped), Some(raw.as_slice()));
        for wrong in [&raw[1..], &wrapped[..wrapped.len() - 1], &[][..]] {
            assert_eq!(curves::point(curve, wrong), None, "{curve:?}");
        }
        let mut compressed = raw;
        compressed[0] = 2;
        assert_eq!(curves::point(curve, &compressed), None);
    }
    // A raw point on P-256 that is also a well-formed OCTET STRING of 63 bytes.
    let mut both = vec![7; 65];
    (both[0], both[1]) = (4, 0x3f);
    assert_eq!(
        curves::point(Curve::Secp256r1, &both),
        Some(both.as_slice())
    );
}

#[test]
fn curves_have_the_parameters_of_the_digest() {
    for (curve, parameters) in [
        (Curve::Secp256r1, "06082a8648ce3d030107"),
        (Curve::Secp384r1, "06052b81040022"),
        (Curve::Secp521r1, "06052b81040023"),
        (Curve::BrainpoolP256r1, "06092b2403030208010107"),
        (Curve::BrainpoolP384r1, "06092b240303020801010b"),
        (Curve::BrainpoolP512r1, "06092b240303020801010d"),
    ] {
        let parameters = hex::decode(parameters).unwrap();
        assert_eq!(curves::parameters(curve), parameters);
        assert_eq!(curves::from_parameters(&parameters), Some(curve));
    }
    assert_eq!(curves::from_parameters(&[0x05, 0x00]), None);
}

#[test]
fn who_wants_to_be_alone_waits_for_those_inside_and_keeps_others_out() {
    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);
    let gate = Gate::default();
    let (one, two) = (gate.enter(SHORT).unwrap(), gate.enter(SHORT).unwrap());
    assert!(gate.close(SHORT).is_none(), "two are inside");
    drop(one);
    assert!(gate.close(SHORT).is_none(), "one is inside");
    // After a closer that gave up the gate is open again.
    drop(gate.enter(SHORT).unwrap());
    drop(two);
    let closed = gate.close(SHORT).unwrap();
    assert!(gate.enter(SHORT).is_none());
    assert!(gate.close(SHORT).is_none(), "one at a time");
    drop(closed);

    let inside = gate.enter(SHORT).unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let closed = gate.close(LONG).unwrap();
            tell.send("alone").unwrap();
            drop(closed);
        });
        // Nobody gets in any more once the closer waits; whoever gets in before it leaves again.
        while gate.enter(Duration::ZERO).is_some() {}
        assert!(told.try_recv().is_err(), "not alone while one is inside");
        drop(inside);
        assert_eq!(told.recv(), Ok("alone"));
    });
    drop(gate.enter(SHORT).unwrap());
}

#[test]
fn throw_away_keys_bear_their_mark_and_no_other_key_does() {
    struct Ones;
    impl Entropy for Ones {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(1);
        }
    }
    let id = keys::probe_id(&Ones);
    assert_eq!(id.as_bytes(), b"sglprobe\x01\x01\x01\x01\x01\x01\x01\x01");
}

fn raw() -> RawToken {
    toml::from_str(
        "name = \"hsm\"\nenvironment = \"TEST\"\nmodule = \"lib/module.so\"\nlabel = \"tss\"\n\
         pin_file = \"pin\"\n",
    )
    .unwrap()
}

fn folder_with_pin(pin: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pin");
    std::fs::write(&file, pin).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    folder
}

#[test]
fn a_section_is_checked_and_the_pin_is_read_without_its_line_break() {
    for pin in [format!("{PIN}\n"), format!("{PIN}\r\n"), PIN.to_owned()] {
        let folder = folder_with_pin(pin.as_bytes());
        let config = raw().check(folder.path()).unwrap();
        assert_eq!(config.pin.expose(), PIN);
        assert_eq!(config.token, Selector::Label("tss".to_owned()));
        assert_eq!(config.module, folder.path().join("lib/module.so"));
        assert_eq!((config.sessions_max, config.session_wait_ms), (8, 2_000));
        for printed in [format!("{config:?}"), format!("{:#?}", config.pin)] {
            assert!(!printed.contains(PIN), "{printed}");
        }
    }
}

#[test]
fn a_pin_that_others_could_read_is_refused() {
    let folder = folder_with_pin(PIN.as_bytes());
    let file = folder.path().join("pin");
    for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let error = raw().check(folder.path()).unwrap_err();
        let sentence = format!(
            "token hsm: its PIN file {} can be read by others; set its mode to 0600",
            file.display()
        );
        assert_eq!(error.to_string(), sentence, "{mode:o}");
    }
    std::fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
    raw().check(folder.path()).unwrap();
}

#[test]
fn a_pin_that_cannot_be_one_is_refused_unseen() {
    let too_long = vec![b'1'; 1_025];
    for pin in [&b""[..], b"\n", b"12\x0034", b"\xff\xfe", &too_long] {
        let folder = folder_with_pin(pin);
        let error = raw().check(folder.path()).unwrap_err();
        assert!(
            matches!(error, TokenConfigError::PinUnreadable { .. }),
            "{error:?}"
        );
    }
    // A path that names something endless.
    let endless = RawToken {
        pin_file: Some("/dev/zero".into()),
        ..raw()
    };
    let error = endless.check(Path::new(".")).unwrap_err();
    assert!(matches!(error, TokenConfigError::PinUnreadable { .. }));
    let longest = folder_with_pin(&vec![b'1'; 1_024]);
    assert_eq!(
        raw().check(longest.path()).unwrap().pin.expose().len(),
        1_024
    );
    let unset = RawToken {
        pin_file: None,
        pin_env: Some("SIEGEL_TEST_NO_SUCH_VARIABLE".to_owned()),
        ..raw()
    };
    let error = unset.check(Path::new(".")).unwrap_err();
    assert!(matches!(
        error,
        TokenConfigError::PinUnreadable { source: None, .. }
    ));
}

#[test]
fn a_section_that_leaves_a_choice_open_is_refused() {
    let folder = folder_with_pin(PIN.as_bytes());
    let text = |text: &str| Some(text.to_owned());
    let sections = [
        RawToken {
            name: String::new(),
            ..raw()
        },
        RawToken {
            environment: "PROD".to_owned(),
            ..raw()
        },
        RawToken {
            label: None,
            ..raw()
        },
        RawToken {
            serial: text("1"),
            ..raw()
        },
        RawToken {
            slot: Some(1),
            ..raw()
        },
        RawToken {
            pin_file: None,
            ..raw()
        },
        RawToken {
            pin_env: text("PIN"),
            ..raw()
        },
        RawToken {
            sessions_max: Some(0),
            ..raw()
        },
        RawToken {
            sessions_max: Some(1_025),
            ..raw()
        },
    ];
    for section in sections {
        let error = section.clone().check(folder.path()).unwrap_err();
        assert!(
            matches!(error, TokenConfigError::Invalid { .. }),
            "{section:?}"
        );
    }
    let unknown = "name = \"hsm\"\nenvironment = \"TEST\"\nmodule = \"m\"\npin = \"1234\"\n";
    assert!(toml::from_str::<RawToken>(unknown).is_err());
}

#[test]
fn what_lies_beside_the_configuration_is_named_in_full() {
    let folder = folder_with_pin(PIN.as_bytes());
    std::fs::write(folder.path().join("module.conf"), "").unwrap();
    let section = RawToken {
        module: "module.so".into(),
        module_env: BTreeMap::from([
            ("BESIDE".to_owned(), "module.conf".to_owned()),
            ("ELSEWHERE".to_owned(), "other.conf".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]),
        ..raw()
    };
    let (module, variables) = section.library(folder.path());
    // Nothing of that name is there: left to the dynamic loader.
    assert_eq!(module, Path::new("module.so"));
    let beside = folder.path().join("module.conf");
    assert_eq!(variables["BESIDE"], beside.to_str().unwrap());
    assert_eq!(variables["ELSEWHERE"], "other.conf");
    assert_eq!(variables["EMPTY"], "");
    std::fs::write(folder.path().join("module.so"), "").unwrap();
    let (module, _) = section.library(folder.path());
    assert_eq!(module, folder.path().join("module.so"));
    let config = section.check(folder.path()).unwrap();
    assert_eq!(config.module_env, variables);
    assert_eq!(merge([&config]).unwrap(), variables);
}

#[test]
fn tokens_share_one_environment_or_are_told_apart_by_name() {
    let variables = |value: &str| BTreeMap::from([("CONF".to_owned(), value.to_owned())]);
    let (same, other) = (variables("a"), variables("b"));
    let merged = merge_libraries([("one", &same), ("two", &same)]).unwrap();
    assert_eq!(merged, same);
    let error = merge_libraries([("one", &same), ("two", &other)]).unwrap_err();
    assert!(
        matches!(&error, EnvironmentError::Conflict { name, first, second }
            if (name.as_str(), first.as_str(), second.as_str()) == ("CONF", "one", "two")),
        "{error:?}"
    );
    for (name, value) in [("", "a"), ("A=B", "a"), ("A\0", "a"), ("A", "\0")] {
        let odd = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let error = merge_libraries([("one", &odd)]).unwrap_err();
        assert!(matches!(error, EnvironmentError::NotPossible { .. }));
    }
    // Nothing to set, so nothing is started again.
    reexec_with(&BTreeMap::new()).unwrap();
    let path = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    reexec_with(&path).unwrap();
}

#[test]
fn a_table_suffices_with_all_that_is_needed_and_one_curve_a_tss_may_have() {
    let line = |line: &str, verdict, needed| Finding {
        line: line.to_owned(),
        verdict,
        needed,
        detail: String::new(),
    };
    let good = || {
        vec![
            line("mechanism CKM_ECDSA", Verdict::Works, true),
            line("curve secp384r1", Verdict::Works, false),
            line("data object: change in place", Verdict::Fails, false),
            line("signing rate, 1 thread", Verdict::Measured, false),
        ]
    };
    assert!(suffices(&good()));
    let mut lacking = good();
    lacking[0].verdict = Verdict::Fails;
    assert!(!suffices(&lacking));
    // 521 bits is no curve of TSSs here.
    let mut other = good();
    other[1].line = curve_line(Curve::Secp521r1);
    assert!(!suffices(&other));
    assert!(!suffices(&[]));
}
