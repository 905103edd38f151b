//! Requests to a foreign CA and what comes back, on real tokens.

use super::bench::START;
use crate::support::foreign_ca::{Authority, Pki, Wish, ca_usage, key_on, name, public, rsa_key};
use crate::support::ledger::{self, Place};
use crate::support::token::{self, TestEntropy, TestToken};
use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::x509::extension::KeyUsage;
use openssl::x509::{X509, X509Extension, X509Req};
use siegel::app::{ForeignCa, ForeignCaError};
use siegel::csp::pkcs11::Pkcs11Token;
use siegel::ledger::{DeviceRow, DeviceState, Store};
use siegel::pki::{CaCertificate, CaRole, Checked, ForeignCertificate, WaitingDevice};
use siegel::terms::{Curve, Environment, SeTime, SerialNumber};

const DAY_S: i64 = 86_400;

/// A token, a ledger, and a CA that is not ours.
pub struct Office {
    pub store: Store,
    pub pki: Pki,
    pub csp: Pkcs11Token,
    pub environment: Environment,
    pub token: TestToken,
    _place: Place,
}

impl Office {
    pub fn new(environment: Environment) -> Self {
        Self::on(ledger::sqlite(), environment)
    }

    fn on(place: Place, environment: Environment) -> Self {
        let token = token::softhsm();
        Self {
            store: place.open(),
            pki: Pki::new(START),
            csp: token.open(),
            environment,
            token,
            _place: place,
        }
    }

    fn foreign(&self) -> ForeignCa<'_> {
        ForeignCa::new(&self.store, &self.token.label, self.environment).unwrap()
    }

    fn request(&self) -> WaitingDevice {
        self.request_on(Curve::Secp256r1)
    }

    fn request_on(&self, curve: Curve) -> WaitingDevice {
        let now = time(START);
        let made = self.foreign().request(&self.csp, &TestEntropy, curve, now);
        made.unwrap()
    }

    fn import(&self, files: &[&[u8]]) -> Result<Checked, ForeignCaError> {
        self.import_at(START, files)
    }

    fn import_at(&self, now_s: i64, files: &[&[u8]]) -> Result<Checked, ForeignCaError> {
        let read = |file: &&[u8]| ForeignCertificate::read(file).unwrap();
        let given: Vec<_> = files.iter().flat_map(read).collect();
        self.foreign().import(&given, time(now_s))
    }

    /// What is kept of devices and CAs.
    fn kept(&self) -> (Vec<DeviceRow>, Vec<CaCertificate>) {
        let mut cas = self.store.cas(Environment::Test).unwrap();
        cas.extend(self.store.cas(Environment::Live).unwrap());
        (self.store.devices().unwrap(), cas)
    }

    /// Sees this refused, and nothing changed.
    #[track_caller]
    fn refused(&self, files: &[&[u8]], says: &str) {
        let before = self.kept();
        let Err(ForeignCaError::Refused(error)) = self.import(files) else {
            panic!("this was to be refused: {says}");
        };
        assert!(error.to_string().contains(says), "{error}, not {says}");
        assert_eq!(self.kept(), before);
    }

    /// The only state of all devices.
    fn states(&self) -> Vec<DeviceState> {
        let rows = self.store.devices().unwrap();
        rows.into_iter().map(|row| row.state).collect()
    }
}

fn time(seconds: i64) -> SeTime {
    SeTime::try_from(seconds).unwrap()
}

fn der(certificate: &X509) -> Vec<u8> {
    certificate.to_der().unwrap()
}

/// An extension of this kind with these bytes.
fn raw_extension(oid: &str, critical: bool, value: &[u8]) -> X509Extension {
    let oid = Asn1Object::from_str(oid).unwrap();
    let value = Asn1OctetString::new_from_bytes(value).unwrap();
    X509Extension::new_from_der(&oid, critical, &value).unwrap()
}

#[test]
fn a_request_verifies_names_its_key_and_is_its_only_one() {
    let office = Office::new(Environment::Live);
    for curve in [
        Curve::Secp256r1,
        Curve::Secp384r1,
        Curve::BrainpoolP256r1,
        Curve::BrainpoolP384r1,
    ] {
        let waiting = office.request_on(curve);
        let request = X509Req::from_pem(waiting.request_pem().unwrap().as_bytes()).unwrap();
        assert_eq!(request.to_der().unwrap(), waiting.request);
        assert!(request.verify(&request.public_key().unwrap()).unwrap());
        let point = &waiting.key.public_key.point;
        assert_eq!(
            waiting.serial_number,
            SerialNumber::of_public_point(point),
            "TR-03153-1 §9.3.2"
        );
        let named: Vec<_> = request
            .subject_name()
            .entries()
            .map(|entry| {
                (
                    entry.object().nid(),
                    String::from_utf8(entry.data().as_slice().to_vec()).unwrap(),
                )
            })
            .collect();
        let serial = waiting.serial_number.to_string();
        assert!(named.contains(&(Nid::COMMONNAME, serial)), "{named:?}");
        assert!(named.contains(&(Nid::COUNTRYNAME, "DE".to_owned())));
        assert_eq!(waiting.signature_counter.value(), 1, "rule L-12");
    }
    let kept = office.store.waiting_devices(&office.token.label).unwrap();
    assert_eq!(kept.len(), 4);
    assert_eq!(
        kept,
        office.store.waiting_devices(&office.token.label).unwrap()
    );
    // Nothing is offered to a TSS before its certificate is there.
    assert_eq!(office.store.free_devices(Environment::Live).unwrap(), 0);
    assert_eq!(office.states(), [DeviceState::Waiting; 4]);
}

#[test]
fn a_certificate_makes_its_device_ready_with_the_whole_chain() {
    let office = Office::new(Environment::Live);
    let (first, second) = (office.request(), office.request());
    let certificate = office.pki.certify(&first, START);
    let checked = office.import(&[&certificate, &office.pki.chain()]).unwrap();
    let [ready] = checked.devices.as_slice() else {
        panic!("{:?}", checked.devices)
    };
    assert_eq!(ready.serial_number, first.serial_number);
    assert_eq!(ready.certificate, certificate);
    assert_eq!(ready.certificate_not_after, time(START + 365 * DAY_S));
    assert_eq!(ready.signature_counter.value(), 1, "that of the request");
    assert_eq!(checked.notes, [""; 0]);

    let cas = office.store.cas(Environment::Live).unwrap();
    let of = |role| cas.iter().find(|ca| ca.role == role).unwrap();
    assert_eq!(cas.len(), 2);
    assert_eq!(ready.issuer, of(CaRole::Issuing).serial_number);
    assert_eq!(of(CaRole::Issuing).issuer, of(CaRole::Root).serial_number);
    assert_eq!(of(CaRole::Root).issuer, of(CaRole::Root).serial_number);
    assert!(cas.iter().all(|ca| ca.key.is_none()));
    assert_eq!(
        of(CaRole::Root).certificate,
        der(&office.pki.root.certificate)
    );

    let ready = |kept: &Store| kept.free_devices(Environment::Live).unwrap();
    assert_eq!(ready(&office.store), 1);
    // The chain is known by now.
    let certificate = office.pki.certify(&second, START);
    let checked = office.import(&[&certificate]).unwrap();
    assert_eq!((checked.devices.len(), checked.cas.len()), (1, 0));
    assert_eq!(ready(&office.store), 2);
    assert_eq!(office.store.free_devices(Environment::Test).unwrap(), 0);
}

#[test]
fn the_same_import_again_changes_nothing() {
    let office = Office::new(Environment::Live);
    let waiting = office.request();
    let certificate = office.pki.certify(&waiting, START);
    let files: [&[u8]; 2] = [&certificate, &office.pki.chain()];
    office.import(&files).unwrap();
    let kept = office.kept();
    let again = office.import(&files).unwrap();
    assert_eq!(again.repeated, [waiting.serial_number]);
    assert!(again.devices.is_empty() && again.cas.is_empty());
    // Twice in one run is no more than once.
    let twice = office.import(&[&certificate, &certificate]).unwrap();
    assert_eq!(twice.repeated, [waiting.serial_number]);
    assert_eq!(office.kept(), kept);
}

#[test]
fn every_form_of_file_is_read() {
    let office = Office::new(Environment::Test);
    let [a, b, c, d] = [(); 4].map(|()| office.request());
    let pem = |der: &[u8]| X509::from_der(der).unwrap().to_pem().unwrap();
    let [a, b, c, d] = [a, b, c, d].map(|one| office.pki.certify(&one, START));
    let root = der(&office.pki.root.certificate);
    let issuing = der(&office.pki.issuing.certificate);
    // A bundle with words between its blocks, as some authorities send it.
    let bundle = [
        b"Your certificates:\n".to_vec(),
        pem(&a),
        pem(&issuing),
        pem(&b),
    ]
    .concat();
    let concatenated = [c.clone(), root, d.clone()].concat();
    let checked = office.import(&[&bundle, &concatenated]).unwrap();
    assert_eq!((checked.devices.len(), checked.cas.len()), (4, 2));
    assert_eq!(office.states(), [DeviceState::Ready; 4]);

    let key = key_on(Nid::SECP384R1).private_key_to_pem_pkcs8().unwrap();
    let mut cut = c.clone();
    cut.pop();
    for wrong in [
        b"".to_vec(),
        b"no certificate".to_vec(),
        cut,
        [c.as_slice(), b"\0"].concat(),
        [pem(&a), key].concat(),
    ] {
        assert!(ForeignCertificate::read(&wrong).is_err());
    }
}

#[test]
fn what_a_request_was_not_made_for_is_refused() {
    let office = Office::new(Environment::Live);
    let waiting = office.request();
    let chain = office.pki.chain();
    let elsewhere = Office::new(Environment::Live);
    let foreign = office.pki.certify(&elsewhere.request(), START);
    office.refused(&[&foreign, &chain], "made no request for");
    // One wrong certificate, and nothing of the run is taken.
    let right = office.pki.certify(&waiting, START);
    office.refused(&[&right, &foreign, &chain], "made no request for");
    office.refused(&[&chain], "only of CAs");

    let mut wish = Wish::device(&waiting, START);
    wish.valid.1 += DAY_S;
    let other = der(&office.pki.issuing.issue(&wish));
    office.refused(&[&right, &other, &chain], "a key gets one, ever");
    office.import(&[&right, &chain]).unwrap();
    office.refused(&[&other, &chain], "a key gets one, ever");
}

#[test]
fn a_certificate_for_a_key_in_another_token_is_refused() {
    let office = Office::new(Environment::Live);
    let waiting = office.request();
    let certificate = office.pki.certify(&waiting, START);
    let chain = office.pki.chain();
    let given: Vec<_> = [certificate.as_slice(), &chain]
        .into_iter()
        .flat_map(|file| ForeignCertificate::read(file).unwrap())
        .collect();
    for (token, environment) in [
        ("another token", Environment::Live),
        ("another token", Environment::Test),
    ] {
        let other = ForeignCa::new(&office.store, token, environment).unwrap();
        let Err(ForeignCaError::Refused(error)) = other.import(&given, time(START)) else {
            panic!("taken for {token} and {environment}")
        };
        let told = error.to_string();
        assert!(told.contains(&office.token.label), "{told}");
        assert!(told.contains("for LIVE"), "{told}");
    }
    // The same token can not be one for TEST.
    let mixed = ForeignCa::new(&office.store, &office.token.label, Environment::Test);
    assert!(matches!(mixed.map(drop), Err(ForeignCaError::Token(_))));
    assert_eq!(office.states(), [DeviceState::Waiting]);
    office.import(&[&certificate, &chain]).unwrap();
}

#[test]
fn a_certificate_that_is_not_fit_for_log_messages_is_refused() {
    let office = Office::new(Environment::Live);
    let (waiting, other) = (office.request(), office.request());
    let chain = office.pki.chain();
    let refused = |says: &str, spoil: &dyn Fn(&mut Wish)| {
        let mut wish = Wish::device(&waiting, START);
        spoil(&mut wish);
        let certificate = der(&office.pki.issuing.issue(&wish));
        office.refused(&[&certificate, &chain], says);
    };
    refused("that the device is a CA", &|wish| wish.is_ca = true);
    refused("keyUsage", &|wish| wish.usage = None);
    refused("digitalSignature", &|wish| {
        let mut usage = KeyUsage::new();
        usage.critical().key_agreement();
        wish.usage = Some(usage);
    });
    refused("sign certificates", &|wish| {
        let mut usage = ca_usage();
        usage.digital_signature();
        wish.usage = Some(usage);
    });
    refused("serial number of another device", &|wish| {
        wish.subject = name(&[("C", "DE"), ("CN", &other.serial_number.to_string())]);
    });
    refused("does not name the serial number", &|wish| {
        wish.subject = name(&[("C", "DE"), ("CN", "Kasse")]);
    });
    refused("has ended", &|wish| {
        wish.valid = (START - 9 * DAY_S, START - DAY_S)
    });
    refused("not yet valid", &|wish| {
        wish.valid = (START + DAY_S, START + 9 * DAY_S);
    });
    refused("critical extension", &|wish| {
        wish.more.push(raw_extension("1.2.3.4", true, b"\x05\x00"));
    });
    refused("critical extension", &|wish| {
        // extKeyUsage is known to OpenSSL, but nothing that a reader of log messages looks at.
        wish.more.push(raw_extension(
            "2.5.29.37",
            true,
            b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01",
        ));
    });
    // privateKeyUsagePeriod: notBefore and notAfter as [0] and [1].
    let period = |first: Option<&[u8]>, last: Option<&[u8]>| {
        let mut value = vec![0x30, 0];
        for (tag, time) in [(0x80, first), (0x81, last)] {
            if let Some(time) = time {
                value.extend([tag, 15]);
                value.extend(time);
            }
        }
        value[1] = u8::try_from(value.len() - 2).unwrap();
        raw_extension("2.5.29.16", false, &value)
    };
    refused("used yet", &|wish| {
        wish.more.push(period(Some(b"20400101000000Z"), None));
    });
    refused("used any more", &|wish| {
        wish.more.push(period(None, Some(b"20200101000000Z")));
    });
    // The last of all these times ends the use.
    let mut wish = Wish::device(&waiting, START);
    wish.more.push(period(None, Some(b"20270201000000Z")));
    let certificate = der(&office.pki.issuing.issue(&wish));
    let checked = office.import(&[&certificate, &chain]).unwrap();
    assert_eq!(
        checked.devices[0].certificate_not_after,
        time(1_801_440_000),
        "2027-02-01"
    );
}

#[test]
fn the_serial_number_may_stand_where_authorities_put_it() {
    let office = Office::new(Environment::Live);
    let waiting = office.request();
    let mut wish = Wish::device(&waiting, START);
    let serial = waiting.serial_number.to_string().to_uppercase();
    wish.subject = name(&[("C", "DE"), ("CN", "TSE 17"), ("serialNumber", &serial)]);
    let certificate = der(&office.pki.issuing.issue(&wish));
    office.import(&[&certificate, &office.pki.chain()]).unwrap();
}

#[test]
fn a_chain_that_does_not_hold_is_refused() {
    let office = Office::new(Environment::Live);
    let waiting = office.request();
    let right = office.pki.certify(&waiting, START);
    let root = der(&office.pki.root.certificate);
    let issuing = der(&office.pki.issuing.certificate);
    office.refused(&[&right], "no certificate of \"CN=Issuing");
    office.refused(&[&right, &issuing], "no certificate of \"CN=Root");
    office.refused(&[&right, &root], "no certificate of \"CN=Issuing");

    // Same names, other keys.
    let namesake = Pki::new(START);
    office.refused(&[&right, &namesake.chain()], "chain of device");
    let by_namesake = namesake.certify(&waiting, START);
    office.refused(&[&by_namesake, &office.pki.chain()], "chain of device");
    // A byte of the signature.
    let mut forged = right.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    office.refused(&[&forged, &root, &issuing], "certificate signature failure");

    let below_root = |spoil: &dyn Fn(&mut Wish)| {
        let key = key_on(Nid::SECP384R1);
        let mut wish = Wish::authority("Odd", &key, START);
        spoil(&mut wish);
        office.pki.root.below(&wish, key)
    };
    let refused = |says: &str, spoil: &dyn Fn(&mut Wish)| {
        let odd = below_root(spoil);
        let certificate = der(&odd.issue(&Wish::device(&waiting, START)));
        office.refused(&[&certificate, &der(&odd.certificate), &root], says);
    };
    refused("expired", &|wish| wish.valid.1 = START - 1);
    refused("chain of device", &|wish| {
        let mut usage = KeyUsage::new();
        usage.critical().crl_sign();
        wish.usage = Some(usage);
    });
    refused("critical extension", &|wish| {
        // nameConstraints, no matter which.
        let value = b"\x30\x08\xa0\x06\x30\x04\x82\x02de";
        wish.more.push(raw_extension("2.5.29.30", true, value));
    });
    // One that is no CA.
    let odd = below_root(&|wish| wish.is_ca = false);
    let certificate = der(&odd.issue(&Wish::device(&waiting, START)));
    office.refused(
        &[&certificate, &der(&odd.certificate), &root],
        "made no request for",
    );
    // A CA that allows no CA below itself.
    let strict = below_root(&|wish| wish.path_len = Some(0));
    let key = key_on(Nid::SECP384R1);
    let third = strict.below(&Wish::authority("Third", &key, START), key);
    let certificate = der(&third.issue(&Wish::device(&waiting, START)));
    let (strict, third) = (der(&strict.certificate), der(&third.certificate));
    office.refused(&[&certificate, &third, &strict, &root], "path length");
}

#[test]
fn weak_issuers_are_refused_in_live_and_told_in_test() {
    let weak_key = key_on(Nid::X9_62_PRIME256V1);
    let rsa = rsa_key();
    for environment in [Environment::Live, Environment::Test] {
        let office = Office::new(environment);
        let root = der(&office.pki.root.certificate);
        let judged = |issuer: &Authority, waiting: &WaitingDevice, digest| {
            let mut wish = Wish::device(waiting, START);
            wish.digest = digest;
            let certificate = der(&issuer.issue(&wish));
            let files: [&[u8]; 3] = [&certificate, &der(&issuer.certificate), &root];
            if environment == Environment::Live {
                office.refused(&files, "less than 384 bits");
            } else {
                let notes = office.import(&files).unwrap().notes;
                assert!(notes[0].contains("less than 384 bits"), "{notes:?}");
                assert_eq!(notes.len(), 1);
            }
        };
        let waiting = office.request();
        judged(&office.pki.issuing, &waiting, MessageDigest::sha256());
        let wish = Wish::authority("Weak", &weak_key, START);
        let weak = office.pki.root.below(&wish, weak_key.clone());
        judged(&weak, &office.request(), MessageDigest::sha384());

        // No reader of exports could verify these.
        let waiting = office.request();
        let wish = Wish::authority("RSA", &rsa, START);
        let by_rsa = office.pki.root.below(&wish, rsa.clone());
        let certificate = der(&by_rsa.issue(&Wish::device(&waiting, START)));
        let says = "no uncompressed point";
        office.refused(&[&certificate, &der(&by_rsa.certificate), &root], says);
        let mut wish = Wish::device(&waiting, START);
        wish.digest = MessageDigest::sha1();
        let certificate = der(&office.pki.issuing.issue(&wish));
        let issuing = der(&office.pki.issuing.certificate);
        office.refused(&[&certificate, &issuing, &root], "SHA-2 or SHA-3");
    }
}

#[test]
fn a_device_ends_with_the_first_of_its_issuers() {
    let office = Office::new(Environment::Live);
    let waiting = office.request();
    let key = key_on(Nid::SECP384R1);
    let mut wish = Wish::authority("Short", &key, START);
    wish.valid.1 = START + 30 * DAY_S;
    let short = office.pki.root.below(&wish, key);
    let certificate = der(&short.issue(&Wish::device(&waiting, START)));
    let root = der(&office.pki.root.certificate);
    let checked = office
        .import(&[&certificate, &der(&short.certificate), &root])
        .unwrap();
    assert_eq!(
        checked.devices[0].certificate_not_after,
        time(START + 30 * DAY_S)
    );
}

#[test]
fn the_key_of_a_ca_is_kept_with_one_certificate() {
    let office = Office::new(Environment::Live);
    let (first, second) = (office.request(), office.request());
    let chain = office.pki.chain();
    office
        .import(&[&office.pki.certify(&first, START), &chain])
        .unwrap();
    let key = office.pki.issuing.key.clone();
    let mut wish = Wish::authority("Issuing", &key, START);
    wish.valid.1 += DAY_S;
    let renewed = office.pki.root.below(&wish, key);
    let certificate = der(&renewed.issue(&Wish::device(&second, START)));
    let says = "another certificate of the same key";
    office.refused(&[&certificate, &der(&renewed.certificate)], says);
    // By the one that is kept, the same chain holds.
    office.import(&[&certificate]).unwrap();
}

#[test]
fn test_and_live_share_no_issuer() {
    let office = Office::new(Environment::Live);
    let live = office.request();
    let test_token = token::softhsm();
    let test = ForeignCa::new(&office.store, &test_token.label, Environment::Test).unwrap();
    let request = || {
        let csp = test_token.open();
        test.request(&csp, &TestEntropy, Curve::Secp256r1, time(START))
            .unwrap()
    };
    let read = |files: &[&[u8]]| -> Vec<_> {
        let read = |file: &&[u8]| ForeignCertificate::read(file).unwrap();
        files.iter().flat_map(read).collect()
    };
    let for_test = office.pki.certify(&request(), START);
    let given = read(&[&for_test, &office.pki.chain()]);
    test.import(&given, time(START)).unwrap();
    // Known as an issuer of TEST by now, whoever gives its certificate.
    let for_live = office.pki.certify(&live, START);
    let says = "is one of the other environment";
    office.refused(&[&for_live], says);
    office.refused(&[&for_live, &office.pki.chain()], says);

    let pki = Pki::new(START);
    let for_live = pki.certify(&live, START);
    office.import(&[&for_live, &pki.chain()]).unwrap();
    let for_test = pki.certify(&request(), START);
    let Err(ForeignCaError::Refused(error)) = test.import(&read(&[&for_test]), time(START)) else {
        panic!("an issuer of LIVE has issued for TEST")
    };
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn a_ca_of_another_installation_that_calls_itself_a_test_is_refused_in_live() {
    let office = Office::new(Environment::Live);
    let waiting = office.request();
    let key = key_on(Nid::SECP384R1);
    let mut wish = Wish::authority("Siegel TEST Root CA", &key, START);
    wish.subject = name(&[("C", "DE"), ("O", "Siegel TEST"), ("CN", "Root")]);
    wish.key = public(&key);
    let root = Authority::root(&wish, key);
    let certificate = der(&root.issue(&Wish::device(&waiting, START)));
    office.refused(&[&certificate, &der(&root.certificate)], "is a test CA");
}
